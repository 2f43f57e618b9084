//! Adding content. An [`Ingest`] is a session: while it lives no garbage is
//! collected, so blobs and layers that no image needs yet are safe. Each blob
//! and each layer is worked on by one command at a time; the others wait and
//! find it done. The last session to end clears away what nobody needs any more.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rcnt_base::files::{Durability, Lock, create_dirs, write_json};
use rcnt_base::ids::Digest;
use rcnt_base::tree;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::blob::{Added, BlobError, BlobWriter};
use super::{Paths, StoreError};
use crate::manifest::Descriptor;
use crate::unpack::{self, Unpacked};

/// A session of adding content; see the module. May be shared by threads, but
/// one thread holds at most one [`BlobWriter`] at a time: the second could wait
/// for itself.
#[derive(Debug)]
pub struct Ingest {
    paths: Arc<Paths>,
    /// Always there until drop.
    writers: Option<Lock>,
    /// Whether what is staged is to stay when the session ends.
    keep: AtomicBool,
}

/// Whether a blob has to be fetched.
#[derive(Debug)]
pub enum Fetch {
    /// It is here already.
    Present,
    /// Write it here.
    Write(Box<BlobWriter>),
}

/// `layers/<hex>/layer.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerInfo {
    pub(crate) schema: u32,
    pub(crate) diff_id: Digest,
    /// Bytes of its files.
    pub(crate) size: u64,
    /// Entries of its archive.
    pub(crate) entries: u64,
}

impl LayerInfo {
    pub(super) const FILE: &str = "layer.json";
}

/// A layer being unpacked, in `tmp/`; removed on drop unless staged.
#[derive(Debug)]
pub(crate) struct LayerDir {
    path: PathBuf,
}

impl LayerDir {
    pub(super) fn create(paths: &Paths) -> Result<Self, StoreError> {
        let dir = Self { path: paths.fresh_tmp("layer") };
        // A crashed process with our pid may have left one.
        tree::remove(&dir.path).map_err(|e| paths.error("remove", &dir.path, e))?;
        create_dirs(&dir.diff()).map_err(|e| paths.error("create", &dir.path, e))?;
        Ok(dir)
    }

    pub(super) fn diff(&self) -> PathBuf {
        self.path.join("diff")
    }

    /// Moves the unpacked layer to the staged ones, if it is the `wanted` one.
    pub(super) fn stage(
        self,
        paths: &Paths,
        unpacked: Unpacked,
        wanted: Option<&Digest>,
    ) -> Result<(), BlobError> {
        let Unpacked { diff_id, size, entries, compression: _ } = unpacked;
        if let Some(wanted) = wanted.filter(|wanted| **wanted != diff_id) {
            let error = unpack::UnpackError::DiffId { actual: diff_id };
            return Err(BlobError::Unpack(wanted.clone(), error));
        }
        let info = LayerInfo { schema: 1, diff_id: diff_id.clone(), size, entries };
        let file = self.path.join(LayerInfo::FILE);
        write_json(&file, &info, Durability::Volatile)
            .map_err(|e| paths.error("write", &file, e))?;
        let staged = paths.staged_layers().join(diff_id.hex());
        if paths.has_layer(&diff_id) {
            // Two imports of one archive: no lock could be taken on a name not yet known.
            return Ok(());
        }
        std::fs::rename(&self.path, &staged).map_err(|e| paths.error("write", &staged, e))?;
        Ok(())
    }
}

impl Drop for LayerDir {
    fn drop(&mut self) {
        // Renamed away when staged: then there is nothing to remove. What cannot
        // be removed now is garbage that `gc` finds in `tmp/`.
        let _ = tree::remove(&self.path);
    }
}

impl Ingest {
    pub(super) fn begin(paths: Arc<Paths>) -> Result<Self, StoreError> {
        let lock = paths.writers_lock();
        let writers = Lock::wait_shared(&lock).map_err(|e| paths.error("lock", &lock, e))?;
        for dir in [paths.staged_blobs(), paths.staged_layers()] {
            create_dirs(&dir).map_err(|e| paths.error("create", &dir, e))?;
        }
        Ok(Self { paths, writers: Some(writers), keep: AtomicBool::new(false) })
    }

    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    /// What is whole stays when the session ends, for the next attempt to begin
    /// with. Else it is removed, unless it has become part of an image.
    pub(crate) fn keep_staged(&self) {
        self.keep.store(true, Ordering::Relaxed);
    }

    /// Whether the blob is here.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        matches!(self.paths.blob_size(digest), Ok(Some(_)))
    }

    /// Whether the layer is here, unpacked.
    pub fn has_layer(&self, diff_id: &Digest) -> bool {
        self.paths.has_layer(diff_id)
    }

    /// Reads a small blob that is here.
    ///
    /// # Errors
    /// It is not here, or has more than `max` bytes.
    pub fn read_blob(&self, digest: &Digest, max: u64) -> Result<Vec<u8>, StoreError> {
        self.paths.read_blob(digest, max)
    }

    /// Adds a small blob whose bytes are at hand.
    ///
    /// # Errors
    /// The store.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::from_sha256(Sha256::digest(bytes).into());
        if !self.has_blob(&digest) {
            let path = self.paths.staged_blobs().join(digest.hex());
            rcnt_base::files::write_atomic(&path, bytes, Durability::Volatile)
                .map_err(|e| self.paths.error("write", &path, e))?;
        }
        Ok(digest)
    }

    /// Begins a blob that is not to be unpacked: a configuration. Waits while
    /// another command writes the same.
    ///
    /// # Errors
    /// The store, or a blob of that name and another size is here.
    pub fn blob(&self, blob: &Descriptor) -> Result<Fetch, BlobError> {
        let Some(lock) = self.missing_blob(blob)? else { return Ok(Fetch::Present) };
        let writer = BlobWriter::resume(Arc::clone(&self.paths), blob, lock, None)?;
        Ok(Fetch::Write(Box::new(writer)))
    }

    /// Begins a layer's blob, which is unpacked while it is written. When the
    /// blob is here but not the layer, unpacks it and answers `Present`. Waits
    /// while another command works on the same.
    ///
    /// # Errors
    /// As [`Ingest::blob`]; or the blob that is here cannot be unpacked.
    pub fn layer(&self, blob: &Descriptor, diff_id: &Digest) -> Result<Fetch, BlobError> {
        let Some(lock) = self.missing_blob(blob)? else {
            self.unpack(&blob.digest, diff_id)?;
            return Ok(Fetch::Present);
        };
        let layer = match self.missing_layer(diff_id)? {
            Some(lock) => Some((LayerDir::create(&self.paths)?, diff_id.clone(), lock)),
            None => None,
        };
        let writer = BlobWriter::resume(Arc::clone(&self.paths), blob, lock, layer)?;
        Ok(Fetch::Write(Box::new(writer)))
    }

    /// Begins a layer whose digests are not known beforehand.
    pub(crate) fn unnamed_layer(&self) -> Result<BlobWriter, BlobError> {
        let dir = LayerDir::create(&self.paths)?;
        BlobWriter::unnamed(Arc::clone(&self.paths), dir)
    }

    /// Unpacks the layer in a blob that is here, unless it is unpacked already.
    pub(crate) fn unpack(&self, blob: &Digest, diff_id: &Digest) -> Result<(), BlobError> {
        let Some(_lock) = self.missing_layer(diff_id)? else { return Ok(()) };
        let dir = LayerDir::create(&self.paths)?;
        let file = self.paths.open_blob(blob)?;
        // Its digest is not checked again here, so the layer's own is.
        let unpacked =
            unpack::unpack(file, &dir.diff(), None).map_err(|e| match e.storage_full() {
                true => StoreError::Full { root: self.paths.root().to_owned() }.into(),
                false => BlobError::Unpack(diff_id.clone(), e),
            })?;
        dir.stage(&self.paths, unpacked, Some(diff_id))
    }

    /// `None`: the blob is here. Else the lock under which to write it.
    fn missing_blob(&self, blob: &Descriptor) -> Result<Option<Lock>, BlobError> {
        let here = || match self.paths.blob_size(&blob.digest)? {
            Some(actual) if actual != blob.size => {
                let (digest, expected) = (blob.digest.clone(), blob.size);
                Err(BlobError::Size { digest, expected, actual })
            }
            found => Ok(found.is_some()),
        };
        if here()? {
            return Ok(None);
        }
        let lock = self.work_lock("blob", &blob.digest)?;
        Ok((!here()?).then_some(lock))
    }

    fn missing_layer(&self, diff_id: &Digest) -> Result<Option<Lock>, StoreError> {
        if self.has_layer(diff_id) {
            return Ok(None);
        }
        let lock = self.work_lock("layer", diff_id)?;
        Ok((!self.has_layer(diff_id)).then_some(lock))
    }

    fn work_lock(&self, what: &str, digest: &Digest) -> Result<Lock, StoreError> {
        let path = self.paths.tmp().join(format!("{what}-{}.lock", digest.hex()));
        Lock::wait(&path).map_err(|e| self.paths.error("lock", &path, e))
    }

    pub(crate) fn finish_import(&self, writer: BlobWriter) -> Result<Added, BlobError> {
        writer.finish_added()
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        let failed = !*self.keep.get_mut();
        if failed {
            self.paths.mark_abandoned();
        }
        drop(self.writers.take());
        // Others are at work and may count on what is staged: the last one clears it away.
        if let Ok(Some(_alone)) = Lock::try_now(&self.paths.writers_lock()) {
            self.paths.clear_away(failed);
        }
    }
}
