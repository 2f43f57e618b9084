//! `import`: the files of a root file system as an image of one layer. The
//! archive becomes the layer's blob as it is, if layers may be stored so.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;

use rcnt_base::ids::Digest;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Input;
use super::changes::{ChangeError, apply_changes};
use super::docker::descriptor;
use super::load::{LoadError, write_error};
use crate::config::{HistoryEntry, ImageConfig, RootFs};
use crate::manifest::{Manifest, OCI_CONFIG, Platform};
use crate::reference::Reference;
use crate::store::{BlobError, CommitError, NewImage, Store, StoreError};

/// xz's dictionary may take this much memory: `xz -9` needs 64 MiB.
const XZ_MEMORY_KIB: u32 = 130 << 10;

/// What `import` is told besides the archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// The image's name; without one it is dangling.
    pub name: Option<Reference>,
    /// `--change` instructions, in order.
    pub changes: Vec<String>,
    /// `--message`.
    pub message: Option<String>,
    /// `--platform`; this machine's by default.
    pub platform: Option<Platform>,
}

/// Why a root file system was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is not there or not readable.
    #[error("cannot open {}", .0.display())]
    Open(PathBuf, #[source] std::io::Error),
    /// Reading stopped in the middle.
    #[error("cannot read archive")]
    Read(#[source] std::io::Error),
    /// Nothing came.
    #[error("archive is empty")]
    Empty,
    /// A `--change`.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The archive.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Making the image.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The configuration cannot be written as JSON.
    #[error("cannot write image configuration")]
    Json(#[source] serde_json::Error),
}

/// Imports `input` and returns the image's id.
///
/// # Errors
/// [`ImportError`]; nothing is left behind.
pub fn import(
    store: &Store,
    input: Input<'_>,
    options: &ImportOptions,
) -> Result<Digest, ImportError> {
    // Before any work: the changes must make sense.
    let mut config = ImageConfig::default();
    apply_changes(&mut config.config, &options.changes)?;
    let ingest = store.ingest()?;
    let from = match &input {
        Input::Path(path) => path.display().to_string(),
        Input::Stream(_) => "-".to_owned(),
    };
    let mut writer = ingest.unnamed_layer()?;
    match input {
        Input::Stream(stream) => copy(stream, &mut writer)?,
        Input::Path(path) => {
            let mut file = File::open(path).map_err(|e| ImportError::Open(path.to_owned(), e))?;
            copy(&mut file, &mut writer)?;
        }
    }
    let added = ingest.finish_import(writer)?;
    let diff_id = added.diff_id.unwrap_or_else(|| added.digest.clone());
    describe(&mut config, diff_id, options, &from);
    let json = config.to_json().map_err(ImportError::Json)?;
    let id = ingest.put(&json)?;
    let blob = descriptor(added.compression.layer_media_type(), added.digest, added.size);
    let about = descriptor(OCI_CONFIG.to_owned(), id.clone(), json.len() as u64);
    let manifest =
        serde_json::to_vec(&Manifest::synthesise(about, vec![blob])).map_err(ImportError::Json)?;
    let names = options.name.iter().cloned().collect();
    ingest.commit(&[NewImage { manifest, names }])?;
    Ok(id)
}

fn describe(config: &mut ImageConfig, diff_id: Digest, options: &ImportOptions, from: &str) {
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let comment = options.message.clone().unwrap_or_else(|| format!("Imported from {from}"));
    // The only failure is a year beyond 9999.
    let created = OffsetDateTime::now_utc().format(&Rfc3339).ok();
    config.architecture = platform.architecture;
    config.os = platform.os;
    config.variant = platform.variant;
    config.created.clone_from(&created);
    config.comment = Some(comment.clone());
    config.rootfs = RootFs { diff_ids: vec![diff_id], ..RootFs::default() };
    config.history = vec![HistoryEntry { created, comment, ..HistoryEntry::default() }];
}

/// Copies an archive to the layer's blob. Layers have no media type for xz, so
/// that one is stored as the plain archive inside it.
fn copy(from: &mut (dyn Read + Send), to: &mut dyn Write) -> Result<(), ImportError> {
    let mut from = BufReader::with_capacity(256 << 10, from);
    let head = from.fill_buf().map_err(ImportError::Read)?;
    if head.is_empty() {
        return Err(ImportError::Empty);
    }
    if head.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        let xz = lzma_rust2::XzReader::new_mem_limit(from, true, XZ_MEMORY_KIB);
        return copy_all(xz, to);
    }
    copy_all(from, to)
}

fn copy_all(mut from: impl Read, to: &mut dyn Write) -> Result<(), ImportError> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(ImportError::Read(e)),
        };
        to.write_all(buffer.get(..n).unwrap_or_default()).map_err(|e| match write_error(e) {
            LoadError::Blob(e) => ImportError::Blob(e),
            LoadError::Store(e) => ImportError::Store(e),
            LoadError::Read(e) => ImportError::Read(e),
            other => ImportError::Read(std::io::Error::other(other)),
        })?;
    }
}
