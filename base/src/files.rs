//! The directory tree is the database: files are written whole and renamed,
//! locks are flock(2). Readers take no lock.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Whether a write must survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The page cache is enough: the file describes something a reboot ends anyway.
    Volatile,
    /// fsync the file before the rename and the directory after it.
    Durable,
}

fn at<T>(path: &Path, what: &str, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|e| io::Error::new(e.kind(), format!("cannot {what} {}: {e}", path.display())))
}

/// Writes `bytes` to a new file beside `path` and renames it there: readers see
/// the old file or the new one, never a part. Mode 0600.
///
/// # Errors
/// The kernel's reason, with the path. The temporary file is removed.
pub fn write_atomic(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    write_atomic_mode(path, bytes, 0o600, durability)
}

/// [`write_atomic`] with a mode, for files that other users may read
/// (`/etc/hosts` inside a container).
///
/// # Errors
/// As [`write_atomic`].
pub fn write_atomic_mode(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    durability: Durability,
) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The pid keeps two processes apart, the counter two threads of one.
    static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let nth = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let temp = dir.join(format!(".{name}.{}.{nth}.tmp", std::process::id()));
    let written = (|| {
        let mut file = create_anew(&temp, mode)?;
        file.write_all(bytes)?;
        // open(2)'s mode is cut by the umask; what we were asked for is exact.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        if durability == Durability::Durable {
            file.sync_all()?;
        }
        std::fs::rename(&temp, path)?;
        if durability == Durability::Durable {
            sync_dir(dir)?;
        }
        Ok(())
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temp);
    }
    at(path, "write", written)
}

/// Whether a file of this name is one that [`write_atomic`] has not renamed yet. Where
/// nobody writes, because a lock is held, whoever made it was killed.
pub fn is_unfinished(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".tmp")
}

/// Creates a file that nobody else can have open. A process that was killed with
/// the pid we have now may have left one of that name.
fn create_anew(path: &Path, mode: u32) -> io::Result<File> {
    let create = || OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    match create() {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(path)?;
            create()
        }
        created => created,
    }
}

/// Makes names created in or removed from `dir` survive a power cut.
///
/// # Errors
/// The kernel's reason.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Reads a JSON state file.
///
/// # Errors
/// `NotFound` when it is absent; `InvalidData` naming the file when it is not
/// what its type says.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    read_json_at(rustix::fs::CWD, path)
}

/// As [`read_json`], of a path below an open directory: of many files below the same
/// one, most of the way to each is looked up once.
///
/// # Errors
/// As [`read_json`].
pub fn read_json_at<T: DeserializeOwned>(dir: impl AsFd, path: &Path) -> io::Result<T> {
    let bytes = at(path, "read", read_small(dir, path))?;
    serde_json::from_slice(&bytes).map_err(|e| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged: {e}", path.display()))
    })
}

/// What most state files are smaller than.
const SMALL: usize = 8 << 10;

/// The whole file, in one read(2) if it is small. A read of a regular file is only
/// short at its end, and files here are replaced, never changed.
fn read_small(dir: impl AsFd, path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut file = File::from(openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
    let mut bytes = Vec::with_capacity(SMALL);
    rustix::io::read(&file, spare_capacity(&mut bytes))?;
    if bytes.len() == bytes.capacity() {
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Writes a JSON state file with [`write_atomic`].
///
/// # Errors
/// As [`write_atomic`].
pub fn write_json<T: Serialize>(path: &Path, value: &T, durability: Durability) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(value).map_err(io::Error::other)?;
    bytes.push(b'\n');
    write_atomic(path, &bytes, durability)
}

/// Removes a file; "already gone" is success.
///
/// # Errors
/// Anything but "not found".
pub fn remove_if_exists(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => at(path, "remove", Err(e)),
        _ => Ok(()),
    }
}

/// [`crate::tree::remove`], with the path in its error.
///
/// # Errors
/// Anything but "not found".
pub fn remove_tree(path: &Path) -> io::Result<()> {
    at(path, "remove", crate::tree::remove(path))
}

/// Creates a directory and its parents, mode 0700.
///
/// # Errors
/// The kernel's reason, with the path.
pub fn create_dirs(path: &Path) -> io::Result<()> {
    at(path, "create", DirBuilder::new().recursive(true).mode(0o700).create(path))
}

/// An flock(2) held until drop, or until the last process that inherited the
/// descriptor is gone. The file stays: its name is the lock's name.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    fn open(path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
    }

    /// Waits for the lock.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub fn wait(path: &Path) -> io::Result<Self> {
        Self::wait_for(path, FlockOperation::LockExclusive)
    }

    /// Waits for a shared lock: many readers, or one [`Lock::wait`]er.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub fn wait_shared(path: &Path) -> io::Result<Self> {
        Self::wait_for(path, FlockOperation::LockShared)
    }

    /// As [`Lock::wait_shared`], for a lock that somebody else has made; an absent
    /// one is an error.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub fn wait_shared_existing(path: &Path) -> io::Result<Self> {
        let file = at(path, "open", File::open(path))?;
        Self::lock_file(path, file, FlockOperation::LockShared)
    }

    fn wait_for(path: &Path, operation: FlockOperation) -> io::Result<Self> {
        let file = at(path, "open", Self::open(path))?;
        Self::lock_file(path, file, operation)
    }

    fn lock_file(path: &Path, file: File, operation: FlockOperation) -> io::Result<Self> {
        loop {
            match flock(&file, operation) {
                Err(rustix::io::Errno::INTR) => {}
                done => return at(path, "lock", done.map_err(Into::into)).map(|()| Self(file)),
            }
        }
    }

    /// Takes the lock if it is free; `None` means somebody holds it.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub fn try_now(path: &Path) -> io::Result<Option<Self>> {
        let file = at(path, "open", Self::open(path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => at(path, "lock", Err(e.into())),
        }
    }

    /// Whether somebody holds the lock now. A missing file is held by nobody.
    pub fn is_held(path: &Path) -> bool {
        Self::is_held_at(rustix::fs::CWD, path)
    }

    /// As [`Lock::is_held`], of a path below an open directory.
    pub fn is_held_at(dir: impl AsFd, path: &Path) -> bool {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let Ok(file) = openat(dir, path, flags, Mode::empty()) else { return false };
        matches!(
            flock(&file, FlockOperation::NonBlockingLockShared),
            Err(rustix::io::Errno::WOULDBLOCK)
        )
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_whole_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write_atomic(&path, b"one", Durability::Durable).unwrap();
        write_atomic(&path, b"two", Durability::Volatile).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_temporary_of_a_killed_process_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("state.json"), dir.path().join("other"));
        write_atomic(&other, b"left", Durability::Volatile).unwrap();
        // Pids come back: every name that this process could be about to use is taken.
        for nth in 0..10_000 {
            let name = format!(".state.json.{}.{nth}.tmp", std::process::id());
            std::fs::hard_link(&other, dir.path().join(name)).unwrap();
        }
        write_atomic(&path, b"new", Durability::Volatile).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        // Replaced, not written to: it may be another file's second name.
        assert_eq!(std::fs::read(&other).unwrap(), b"left");
    }

    #[test]
    fn a_lock_excludes_until_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(!Lock::is_held(&path));
        let held = Lock::wait(&path).unwrap();
        assert!(Lock::is_held(&path));
        assert!(Lock::try_now(&path).unwrap().is_none());
        drop(held);
        assert!(!Lock::is_held(&path));
    }

    #[test]
    fn damaged_state_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        write_atomic(&path, b"{", Durability::Volatile).unwrap();
        let error = read_json::<u32>(&path).unwrap_err();
        assert!(error.to_string().contains("x.json is damaged"), "{error}");
    }

    #[test]
    fn json_of_any_size_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        for size in [0, 10, SMALL - 3, SMALL - 2, SMALL - 1, SMALL, 3 * SMALL] {
            let (path, text) = (dir.path().join("text.json"), "x".repeat(size));
            write_json(&path, &text, Durability::Volatile).unwrap();
            assert_eq!(read_json::<String>(&path).unwrap(), text, "{size}");
        }
    }
}
