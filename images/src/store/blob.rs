//! Writing one blob: into `tmp/`, hashed on the way, renamed when size and
//! digest are right. A layer's blob is unpacked while it arrives.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use rcnt_base::files::Lock;
use rcnt_base::ids::Digest;
use sha2::{Digest as _, Sha256};

use super::ingest::LayerDir;
use super::{Paths, StoreError};
use crate::manifest::Descriptor;
use crate::unpack::chunks::{ChunkReader, ChunkWriter, channel};
use crate::unpack::{self, UnpackError};

/// Why a blob was not added. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The content is not what its name says.
    #[error("blob {expected} has the wrong content: its digest is {actual}")]
    Digest {
        /// The name.
        expected: Digest,
        /// The content's.
        actual: Digest,
    },
    /// More or fewer bytes than the descriptor says.
    #[error("blob {digest} has the wrong size: {actual} bytes instead of {expected}")]
    Size {
        /// The name.
        digest: Digest,
        /// The descriptor's.
        expected: u64,
        /// What came.
        actual: u64,
    },
    /// The layer in it cannot be unpacked.
    #[error("cannot unpack layer {}", .0.short())]
    Unpack(Digest, #[source] UnpackError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A blob being written. Feed it through [`Write`], then [`BlobWriter::finish`].
/// Dropped before that, it leaves nothing, unless [`BlobWriter::keep_partial`].
#[derive(Debug)]
pub struct BlobWriter {
    paths: Arc<Paths>,
    part: PathBuf,
    file: File,
    hasher: Sha256,
    written: u64,
    expected: Option<(Digest, u64)>,
    keep: bool,
    pipe: Option<LayerPipe>,
    _lock: Option<Lock>,
}

/// The layer that unpacks beside the download.
#[derive(Debug)]
struct LayerPipe {
    to: Option<ChunkWriter>,
    thread: Option<Thread>,
    diff_id: Option<Digest>,
    _lock: Option<Lock>,
}

impl LayerPipe {
    fn start(dir: LayerDir, stored: Option<Digest>) -> io::Result<(ChunkWriter, Thread)> {
        let (to, from) = channel();
        let thread = std::thread::Builder::new().name("unpack".to_owned()).spawn(move || {
            let mut from: ChunkReader = from;
            let done = unpack::unpack(&mut from, &dir.diff(), stored.as_ref());
            // A sender with bytes left over must not wait for a reader that is gone.
            drop(from);
            done.map(|unpacked| (dir, unpacked))
        })?;
        Ok((to, thread))
    }

    fn join(&mut self) -> Option<Result<(LayerDir, unpack::Unpacked), UnpackError>> {
        drop(self.to.take());
        let joined = self.thread.take()?.join();
        Some(joined.unwrap_or_else(|_| Err(UnpackError::Interrupted)))
    }
}

type Thread = JoinHandle<Result<(LayerDir, unpack::Unpacked), UnpackError>>;

/// What a finished writer added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Set when the blob was unpacked as a layer.
    pub(crate) diff_id: Option<Digest>,
    pub(crate) compression: unpack::Compression,
}

impl BlobWriter {
    /// Under the blob's lock; a partial file of an earlier attempt is continued.
    pub(super) fn resume(
        paths: Arc<Paths>,
        blob: &Descriptor,
        lock: Lock,
        layer: Option<(LayerDir, Digest, Lock)>,
    ) -> Result<Self, BlobError> {
        let part = paths.tmp().join(format!("blob-{}.part", blob.digest.hex()));
        let expected = (blob.digest.clone(), blob.size);
        let mut writer = Self::open(paths, part, Some(expected.clone()), Some(lock))?;
        if let Some((dir, diff_id, lock)) = layer {
            writer.attach(dir, Some(diff_id), Some(lock), Some(expected.0))?;
        }
        writer.reread()?;
        Ok(writer)
    }

    /// A layer whose digests nobody has told: `import`.
    pub(super) fn unnamed(paths: Arc<Paths>, dir: LayerDir) -> Result<Self, BlobError> {
        let part = paths.fresh_tmp("blob");
        let mut writer = Self::open(paths, part, None, None)?;
        writer.attach(dir, None, None, None)?;
        Ok(writer)
    }

    fn open(
        paths: Arc<Paths>,
        part: PathBuf,
        expected: Option<(Digest, u64)>,
        lock: Option<Lock>,
    ) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&part)
            .map_err(|e| paths.error("create", &part, e))?;
        let hasher = Sha256::new();
        Ok(Self {
            paths,
            part,
            file,
            hasher,
            written: 0,
            expected,
            keep: false,
            pipe: None,
            _lock: lock,
        })
    }

    fn attach(
        &mut self,
        dir: LayerDir,
        diff_id: Option<Digest>,
        lock: Option<Lock>,
        stored: Option<Digest>,
    ) -> Result<(), StoreError> {
        let (to, thread) = LayerPipe::start(dir, stored)
            .map_err(|e| self.paths.error("start a thread to unpack", &self.part, e))?;
        self.pipe = Some(LayerPipe { to: Some(to), thread: Some(thread), diff_id, _lock: lock });
        Ok(())
    }

    /// Takes up what an earlier attempt left; what is more than the blob may
    /// have is thrown away.
    fn reread(&mut self) -> Result<(), BlobError> {
        let error = |e| self.paths.error("read", &self.part, e);
        let left = self.file.metadata().map_err(error)?.len();
        let Some((_, size)) = &self.expected else { return Ok(()) };
        if left > *size {
            return Ok(self.file.set_len(0).map_err(error)?);
        }
        let mut old = self.file.try_clone().map_err(error)?.take(left);
        let mut buffer = vec![0; 128 << 10];
        loop {
            let n = old.read(&mut buffer).map_err(|e| self.paths.error("read", &self.part, e))?;
            let Some(bytes) = buffer.get(..n).filter(|b| !b.is_empty()) else { return Ok(()) };
            self.take_in(bytes)?;
        }
    }

    fn take_in(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        if let Some(pipe) = &mut self.pipe
            && let Some(to) = &mut pipe.to
            && to.write_all(bytes).is_err()
        {
            // The reader has ended: either it failed, and finish says why, or
            // the archive ended before its file did.
            pipe.to = None;
        }
        Ok(())
    }

    /// Bytes already there from an interrupted attempt: fetch from here on.
    pub fn offset(&self) -> u64 {
        self.written
    }

    /// The blob's name; `None` while importing.
    pub fn digest(&self) -> Option<&Digest> {
        self.expected.as_ref().map(|(digest, _)| digest)
    }

    /// Leaves what has come so far for the next attempt to continue, for a
    /// broken connection. Not for wrong content.
    pub fn keep_partial(mut self) {
        self.keep = true;
    }

    /// Throws away what has come so far and begins again at offset 0, for a
    /// server that does not honour ranges.
    ///
    /// # Errors
    /// The store.
    pub fn restart(mut self) -> Result<Self, BlobError> {
        let error = |e| self.paths.error("write", &self.part, e);
        if self.written == 0 {
            return Ok(self);
        }
        self.file.set_len(0).map_err(error)?;
        io::Seek::rewind(&mut self.file).map_err(error)?;
        (self.hasher, self.written) = (Sha256::new(), 0);
        if let Some(mut pipe) = self.pipe.take() {
            // What was unpacked so far is dropped with the failed attempt.
            let _ = pipe.join();
            let dir = LayerDir::create(&self.paths)?;
            let (diff_id, lock) = (pipe.diff_id.take(), pipe._lock.take());
            self.attach(dir, diff_id, lock, self.digest().cloned())?;
        }
        Ok(self)
    }

    /// Checks size and digest, waits for the layer to be unpacked, and puts
    /// both where [`super::Ingest::commit`] finds them.
    ///
    /// # Errors
    /// [`BlobError`]; nothing is left behind.
    pub fn finish(self) -> Result<(), BlobError> {
        self.finish_added().map(|_| ())
    }

    pub(crate) fn finish_added(mut self) -> Result<Added, BlobError> {
        let unpacked = self.pipe.as_mut().and_then(LayerPipe::join);
        let actual = Digest::from_sha256(std::mem::take(&mut self.hasher).finalize().into());
        // Wrong content is the cause when the layer in it does not unpack either.
        if let Some((digest, size)) = &self.expected {
            if self.written != *size {
                let (digest, expected) = (digest.clone(), *size);
                return Err(BlobError::Size { digest, expected, actual: self.written });
            }
            if actual != *digest {
                return Err(BlobError::Digest { expected: digest.clone(), actual });
            }
        }
        let mut added = Added {
            digest: actual,
            size: self.written,
            diff_id: None,
            compression: unpack::Compression::None,
        };
        let wanted = self.pipe.as_ref().and_then(|pipe| pipe.diff_id.clone());
        if let Some(result) = unpacked {
            let named = wanted.clone().unwrap_or_else(|| added.digest.clone());
            let (dir, unpacked) = result.map_err(|e| self.unpack_error(named.clone(), e))?;
            added.diff_id = Some(unpacked.diff_id.clone());
            added.compression = unpacked.compression;
            dir.stage(&self.paths, unpacked, wanted.as_ref())?;
        }
        let staged = self.paths.staged_blobs().join(added.digest.hex());
        std::fs::rename(&self.part, &staged).map_err(|e| self.paths.error("write", &staged, e))?;
        self.keep = true;
        Ok(added)
    }

    fn unpack_error(&self, layer: Digest, error: UnpackError) -> BlobError {
        match error.storage_full() {
            true => StoreError::Full { root: self.paths.root().to_owned() }.into(),
            false => BlobError::Unpack(layer, error),
        }
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some((digest, size)) = &self.expected
            && self.written.saturating_add(bytes.len() as u64) > *size
        {
            let actual = self.written.saturating_add(bytes.len() as u64);
            let (digest, expected) = (digest.clone(), *size);
            return Err(io::Error::other(BlobError::Size { digest, expected, actual }));
        }
        let n = self.file.write(bytes).map_err(|e| {
            let kind = e.kind();
            io::Error::new(kind, self.paths.error("write", &self.part, e))
        })?;
        self.take_in(bytes.get(..n).unwrap_or_default()).map_err(io::Error::other)?;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            // Waits, so that nothing is being written when the caller goes on.
            let _ = pipe.join();
        }
        if !self.keep {
            let _ = std::fs::remove_file(&self.part);
        }
    }
}
