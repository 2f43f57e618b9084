//! `load`: every image of an archive, whatever tool wrote it. All layers first,
//! two at a time, then one commit: either every image is in the store, durable
//! and named, or none has a name.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcnt_base::ids::Digest;

use super::members::{Members, Section};
use super::{Input, docker, oci};
use crate::config::ConfigError;
use crate::manifest::{Descriptor, ManifestError};
use crate::progress::Progress;
use crate::reference::{Reference, ReferenceError};
use crate::store::{BlobError, CommitError, Fetch, Ingest, NewImage, Store, StoreError};
use crate::unpack::UnpackError;

/// One line of `load`'s output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// `Loaded image: x:y`
    Named(Reference),
    /// `Loaded image ID: sha256:…`
    Id(Digest),
}

impl std::fmt::Display for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name) => write!(f, "Loaded image: {}", name.familiar()),
            Self::Id(id) => write!(f, "Loaded image ID: {id}"),
        }
    }
}

/// Why an archive was not loaded. Nothing of it has a name then.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is not there or not readable.
    #[error("cannot open {}", .0.display())]
    Open(PathBuf, #[source] std::io::Error),
    /// Reading stopped in the middle.
    #[error("cannot read archive")]
    Read(#[source] std::io::Error),
    /// Not a tar, or a broken one.
    #[error(transparent)]
    Archive(#[from] UnpackError),
    /// Neither docker's list nor OCI's.
    #[error("not an image archive: it has neither manifest.json nor index.json")]
    NotImages,
    /// It names a file it does not have.
    #[error("archive has no {0}")]
    Missing(String),
    /// A list or configuration beyond reason.
    #[error("{name} of {size} bytes is larger than {max}")]
    TooLarge {
        /// The member.
        name: String,
        /// Its bytes.
        size: u64,
        /// The bound.
        max: u64,
    },
    /// More files than an image archive has.
    #[error("archive has more than {0} files")]
    TooManyMembers(usize),
    /// A list that is no JSON or says nothing sensible.
    #[error("{0} is malformed")]
    Json(String, #[source] serde_json::Error),
    /// A list that contradicts itself.
    #[error("{name}: {what}")]
    Malformed {
        /// The member.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// A member whose name says another digest than its content.
    #[error("{name} has the wrong content: its digest is {actual}")]
    Digest {
        /// The member.
        name: String,
        /// The content's.
        actual: Digest,
    },
    /// A member whose size is not the one its descriptor says.
    #[error("{name} has the wrong size: {actual} bytes instead of {expected}")]
    Size {
        /// The member.
        name: String,
        /// The descriptor's.
        expected: u64,
        /// The archive's.
        actual: u64,
    },
    /// A name no image can have.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A manifest or index.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A blob.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Making the image.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An image of the archive, before its layers are in the store.
pub(super) struct Planned {
    pub(super) image: NewImage,
    pub(super) layers: Vec<PlannedLayer>,
}

/// A layer and where its bytes are.
#[derive(Clone)]
pub(super) struct PlannedLayer {
    pub(super) blob: Descriptor,
    pub(super) diff_id: Digest,
    pub(super) from: Section,
}

/// Loads every image of `input`. Layers that the store has are not read.
///
/// # Errors
/// [`LoadError`]; the store is as before, but for content `gc` will free.
pub fn load(
    store: &Store,
    input: Input<'_>,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>, LoadError> {
    let ingest = store.ingest()?;
    let members = Members::open(input, store.paths())?;
    let planned = if let Some(list) = members.find(docker::LIST)? {
        docker::plan(&members, list, &ingest)?
    } else if let Some(index) = members.find(oci::INDEX)? {
        oci::plan(&members, index, &ingest)?
    } else {
        return Err(LoadError::NotImages);
    };
    let mut layers: Vec<&PlannedLayer> = planned.iter().flat_map(|p| &p.layers).collect();
    layers.sort_by(|a, b| a.blob.digest.cmp(&b.blob.digest));
    layers.dedup_by(|a, b| a.blob.digest == b.blob.digest && a.diff_id == b.diff_id);
    // The longest first: the last worker to finish then finishes early.
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.from.len()));
    add_layers(&ingest, &layers, progress)?;
    let images: Vec<NewImage> = planned.into_iter().map(|p| p.image).collect();
    let ids = ingest.commit(&images)?;
    let mut loaded = Vec::new();
    for (image, id) in images.into_iter().zip(ids) {
        if image.names.is_empty() {
            loaded.push(Loaded::Id(id));
        }
        loaded.extend(image.names.into_iter().map(Loaded::Named));
    }
    Ok(loaded)
}

/// Each worker is itself a pipeline of three threads, so as many workers as
/// processors keep them busy; more would only need memory.
fn add_layers(
    ingest: &Ingest,
    layers: &[&PlannedLayer],
    progress: &dyn Progress,
) -> Result<(), LoadError> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = processors.min(4).min(layers.len());
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<LoadError>> = Mutex::new(None);
    let slot = || failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let work = || {
        while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
            if slot().is_some() {
                return;
            }
            if let Err(e) = add_layer(ingest, layer, progress) {
                slot().get_or_insert(e);
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..workers {
            // A thread that cannot be had is a worker less.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let failed = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    failed.map_or(Ok(()), Err)
}

fn add_layer(
    ingest: &Ingest,
    layer: &PlannedLayer,
    progress: &dyn Progress,
) -> Result<(), LoadError> {
    let id = layer.diff_id.short();
    let Fetch::Write(mut to) = ingest.layer(&layer.blob, &layer.diff_id)? else {
        progress.finish(id, "Already exists");
        return Ok(());
    };
    progress.start(id, "Loading layer", Some(layer.from.len()));
    let mut from = layer.from.clone();
    let mut buffer = vec![0; 256 << 10];
    // What an interrupted attempt left was checked like anything else.
    let mut skip = to.offset();
    let mut done = 0u64;
    loop {
        let n = from.read(&mut buffer).map_err(LoadError::Read)?;
        if n == 0 {
            break;
        }
        let bytes = buffer.get(..n).unwrap_or_default();
        let old = usize::try_from(skip).unwrap_or(usize::MAX).min(n);
        skip -= old as u64;
        to.write_all(bytes.get(old..).unwrap_or_default()).map_err(write_error)?;
        done += n as u64;
        progress.advance(id, done);
    }
    to.finish()?;
    progress.finish(id, "Loaded");
    Ok(())
}

/// A [`BlobError`] or [`StoreError`] that came through [`Write`].
pub(super) fn write_error(error: std::io::Error) -> LoadError {
    match error.downcast::<BlobError>() {
        Ok(blob) => blob.into(),
        Err(error) => match error.downcast::<StoreError>() {
            Ok(store) => store.into(),
            Err(error) => LoadError::Read(error),
        },
    }
}
