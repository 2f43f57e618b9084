//! Claim files: one record per take, hard-linked under the name of everything
//! that is claimed. A name exists with its whole content or not at all, and
//! a thousand ports cost a thousand link(2) calls, not a thousand files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirEntryExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use rcnt_base::files::{create_dirs, remove_if_exists};
use rcnt_base::ids::ContainerId;
use serde::{Deserialize, Serialize};

use super::{ClaimsUndo, lock};
use crate::ports::Protocol;

/// What a claim file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Version of this form.
    pub(crate) schema: u32,
    /// Who holds the claim.
    pub(crate) owner: ContainerId,
    /// The owner's name at the time.
    pub(crate) name: String,
    /// The process that took it; it may end before the owner does.
    pub(crate) pid: u32,
    /// Its start time in clock ticks since boot: tells it from a later process of the same number.
    pub(crate) start: u64,
}

/// Larger claim files are none of ours.
const MAX_ENTRY: u64 = 4096;

impl Entry {
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        use std::io::Read;
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(MAX_ENTRY).read_to_end(&mut bytes)?;
        serde_json::from_slice(&bytes).map_err(io::Error::from)
    }

    /// Whether the process that took it still runs.
    fn taker_lives(&self) -> bool {
        start_time(self.pid).is_some_and(|start| start == self.start)
    }
}

/// Start time of process `pid` in clock ticks since boot, field 22 of `/proc/<pid>/stat`
/// (`proc_pid_stat(5)`).
fn start_time(pid: u32) -> Option<u64> {
    use std::io::Read;
    // One read: 52 numbers and a name of 15 bytes are far less than this.
    let mut buffer = [0; 2048];
    let length = std::fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut buffer).ok()?;
    let stat = String::from_utf8_lossy(buffer.get(..length)?);
    // The command name may hold anything, spaces and parentheses too: count from its end.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// A record being handed out. The file it is written in goes on drop; its other names stay.
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
}

const TEMPORARY: &str = ".claim.";

impl Record {
    pub(crate) fn write(exec_root: &Path, owner: &ContainerId, name: &str) -> io::Result<Self> {
        // The pid keeps two processes apart, the counter two threads of one.
        static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let nth = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let pid = std::process::id();
        let entry = Entry {
            schema: 1,
            owner: owner.clone(),
            name: name.to_owned(),
            pid,
            start: start_time(pid).unwrap_or(0),
        };
        let record = Self { path: exec_root.join(format!("{TEMPORARY}{pid}.{nth}")) };
        let mut file = match record.create() {
            // Left by a process of the same number that was killed: nobody else writes this name.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                remove_if_exists(&record.path)?;
                record.create()?
            }
            created => created?,
        };
        file.write_all(&serde_json::to_vec(&entry)?)?;
        Ok(record)
    }

    fn create(&self) -> io::Result<std::fs::File> {
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path)
    }

    /// Gives this record one more name; `false` when the name is taken.
    pub(crate) fn claim(&self, path: &Path) -> io::Result<bool> {
        let linked = match std::fs::hard_link(&self.path, path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                create_dirs(path.parent().unwrap_or(path))?;
                std::fs::hard_link(&self.path, path)
            }
            linked => linked,
        };
        match linked {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Takes back a name that [`Self::claim`] just gave, under the same lock.
    pub(crate) fn give_back(&self, path: &Path) -> io::Result<()> {
        remove_if_exists(path)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // A temporary left over is removed by reap.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Removes the files of `undo` that are its owner's; the claims lock is held.
pub(super) fn remove_owned(exec_root: &Path, undo: &ClaimsUndo) -> io::Result<()> {
    // Names of one record share an inode: it is read once, however many ports it holds.
    let mut owned: BTreeSet<(u64, u64)> = BTreeSet::new();
    let mut first_error = Ok(());
    for file in &undo.files {
        // The list comes from a file: nothing outside the exec root is ever touched.
        if !file.components().all(|c| matches!(c, Component::Normal(_))) {
            continue;
        }
        let path = exec_root.join(file);
        let Ok(meta) = path.symlink_metadata() else { continue };
        let inode = (meta.dev(), meta.ino());
        if !owned.contains(&inode) {
            match Entry::read(&path) {
                Ok(entry) if entry.owner == undo.owner => _ = owned.insert(inode),
                _ => continue,
            }
        }
        if let Err(e) = remove_if_exists(&path)
            && first_error.is_ok()
        {
            first_error = Err(e);
        }
    }
    first_error
}

/// Frees the claims of the dead: those whose owner `is_live` denies and whose taker runs no more.
/// Returns the files removed. `is_live` is called under the claims lock: it may read state, but
/// not take or release claims.
///
/// # Errors
/// A directory that cannot be read, or a claim that cannot be removed.
pub fn reap(exec_root: &Path, is_live: &dyn Fn(&ContainerId) -> bool) -> io::Result<Vec<PathBuf>> {
    let lock = match lock(exec_root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        lock => lock?,
    };
    let mut verdicts: BTreeMap<u64, bool> = BTreeMap::new();
    let mut dead = |path: &Path, inode: u64| {
        *verdicts.entry(inode).or_insert_with(|| match Entry::read(path) {
            Ok(entry) => !entry.taker_lives() && !is_live(&entry.owner),
            // Claims appear whole: a damaged one is what a power cut left of a dead one.
            Err(e) => e.kind() != io::ErrorKind::NotFound,
        })
    };
    let mut removed = Vec::new();
    let mut sweep = |dir: &Path, prefix: &str| -> io::Result<()> {
        for entry in read_dir(dir)? {
            let (path, inode) = (entry.path(), entry.ino());
            let ours = entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes());
            if ours && entry.file_type()?.is_file() && dead(&path, inode) {
                remove_if_exists(&path)?;
                removed.push(path);
            }
        }
        Ok(())
    };
    sweep(&exec_root.join("ports"), "")?;
    for network in read_dir(&exec_root.join("networks"))? {
        sweep(&network.path().join("ip"), "")?;
    }
    sweep(exec_root, TEMPORARY)?;
    drop(lock);
    Ok(removed)
}

/// A directory's entries; none when it does not exist.
pub(super) fn read_dir(dir: &Path) -> io::Result<Vec<std::fs::DirEntry>> {
    match std::fs::read_dir(dir) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        entries => entries?.collect(),
    }
}

/// Every claim on `port`: the address claimed, and the file.
pub(super) fn claims_of_port(
    exec_root: &Path,
    protocol: Protocol,
    port: u16,
) -> Vec<(IpAddr, PathBuf)> {
    let (start, end) = (format!("{protocol}-"), format!("-{port}"));
    let entries = read_dir(&exec_root.join("ports")).unwrap_or_default();
    let claim = |entry: &std::fs::DirEntry| {
        let name = entry.file_name();
        let address = name.to_str()?.strip_prefix(&start)?.strip_suffix(&end)?;
        Some((address.parse().ok()?, entry.path()))
    };
    entries.iter().filter_map(claim).collect()
}
