//! The image store of one data root. The directory tree is the database:
//!
//! ```text
//! images/
//!   blobs/sha256/<hex>     every blob of every image, as it came, durable
//!   layers/<hex>/diff      a layer unpacked once, by diff id: an overlay lower directory
//!   layers/<hex>/layer.json  its size
//!   records/<hex>.json     one image: manifest, configuration, layers; <hex> is its id
//!   refs/<name>            one name → one image
//!   staging/<boot>/{blobs,layers}/<hex>   checked and whole, but not yet durable
//!   tmp/                   being written; lock files of blobs and layers
//!   lock, writers.lock     see below
//! ```
//!
//! Nothing appears under its name before it is whole: it is written in `tmp/`,
//! renamed to `staging/` when its digest is right, and to its place when one
//! syncfs(2) has made it durable. What is staged is trusted until the next boot
//! only, so a power cut can cost work but never an image that was reported.
//!
//! Locks: whoever adds content holds `writers.lock` shared ([`Ingest`]); whoever
//! needs an image to stay holds `lock` shared ([`Lease`]); names and records
//! change under `lock` exclusive; garbage is collected with both exclusive.
//! Readers take none.

mod blob;
mod commit;
mod ingest;
mod names;
mod records;
mod remove;
mod resolve;
mod staging;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcnt_base::files::{Lock, create_dirs};
use rcnt_base::ids::Digest;

pub use blob::{BlobError, BlobWriter};
pub(crate) use commit::LAYERS_MAX;
pub use commit::{CommitError, NewImage};
pub use ingest::{Fetch, Ingest};
pub(crate) use records::Record;
pub use remove::{InUse, RemoveError, Removed, Use};
pub use resolve::{Image, ImageSummary, ResolveError};

/// The store could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The kernel refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// "read", "write", "create"…
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No space or quota left. Nothing of the attempt is left behind.
    #[error("image store {} is full: no space left on its disk", root.display())]
    Full {
        /// The store.
        root: PathBuf,
    },
    /// The file system is mounted read-only.
    #[error("image store {} is read-only", root.display())]
    ReadOnly {
        /// The store.
        root: PathBuf,
    },
    /// A file of the store is not what it should be.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        what: String,
    },
}

/// Where the store keeps what; shared by everything that works on it.
#[derive(Debug)]
pub(crate) struct Paths {
    root: PathBuf,
    boot: String,
}

impl Paths {
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }
    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }
    pub(crate) fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.layers().join(diff_id.hex())
    }
    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }
    pub(crate) fn records(&self) -> PathBuf {
        self.root.join("records")
    }
    pub(crate) fn refs(&self) -> PathBuf {
        self.root.join("refs")
    }
    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }
    pub(crate) fn staged_blobs(&self) -> PathBuf {
        self.staging().join(&self.boot).join("blobs")
    }
    pub(crate) fn staged_layers(&self) -> PathBuf {
        self.staging().join(&self.boot).join("layers")
    }
    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }
    pub(crate) fn writers_lock(&self) -> PathBuf {
        self.root.join("writers.lock")
    }

    /// A name in `tmp/` that nobody else uses: two processes differ by pid, two
    /// threads by the counter.
    pub(crate) fn fresh_tmp(&self, what: &str) -> PathBuf {
        static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let nth = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.tmp().join(format!("{what}.{}.{nth}", std::process::id()))
    }

    /// Turns a kernel error into the store's: a full disk has its own words.
    pub(crate) fn error(
        &self,
        action: &'static str,
        path: &Path,
        source: impl Into<io::Error>,
    ) -> StoreError {
        let source = source.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StoreError::Full { root: self.root.clone() }
            }
            io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { root: self.root.clone() },
            _ => StoreError::Io { action, path: path.to_owned(), source },
        }
    }
}

/// An image store. Cheap to open and to clone; holds no lock by itself.
#[derive(Debug, Clone)]
pub struct Store {
    paths: Arc<Paths>,
}

/// While it lives, no image, layer or name is removed. `run` holds one from
/// [`Store::resolve`] until the container that uses the image is on disk. Drop
/// it before forking: a child that inherits it keeps the lock.
#[derive(Debug)]
pub struct Lease(#[expect(dead_code, reason = "held for its drop")] Lock);

impl Store {
    /// Opens the store below `root` (`data-root/images`), making its directories.
    ///
    /// # Errors
    /// The kernel's reason, with the path.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let paths = Paths { root: root.to_owned(), boot: boot_id() };
        // One look is enough for a store that has been opened before.
        if !paths.tmp().is_dir() {
            for dir in [paths.blobs(), paths.layers(), paths.records(), paths.refs()] {
                create_dirs(&dir).map_err(|e| paths.error("create", &dir, e))?;
            }
            // Last, since its presence says the rest is there.
            create_dirs(&paths.tmp()).map_err(|e| paths.error("create", &paths.tmp(), e))?;
        }
        Ok(Self { paths: Arc::new(paths) })
    }

    /// Keeps every image in place while the lease lives; waits for a removal
    /// that is under way.
    ///
    /// # Errors
    /// The lock cannot be taken.
    pub fn lease(&self) -> Result<Lease, StoreError> {
        let path = self.paths.lock();
        Lock::wait_shared(&path).map(Lease).map_err(|e| self.paths.error("lock", &path, e))
    }

    /// Begins adding content; see [`Ingest`].
    ///
    /// # Errors
    /// The lock cannot be taken or the staging directories not be made.
    pub fn ingest(&self) -> Result<Ingest, StoreError> {
        Ingest::begin(Arc::clone(&self.paths))
    }

    pub(crate) fn paths(&self) -> &Arc<Paths> {
        &self.paths
    }

    pub(crate) fn exclusive(&self) -> Result<Lock, StoreError> {
        let path = self.paths.lock();
        Lock::wait(&path).map_err(|e| self.paths.error("lock", &path, e))
    }
}

/// This boot's id; staged content of another boot is not trusted. Without one,
/// nothing staged by another process is.
fn boot_id() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let id: String = read.chars().filter(char::is_ascii_alphanumeric).collect();
    if id.is_empty() { format!("pid{}", std::process::id()) } else { id }
}
