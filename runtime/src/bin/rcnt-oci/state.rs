//! What is kept of a container between two calls: one directory per container
//! below `--root`, with `state.json` and, until it is started, `exec.fifo`.
//!
//! `state.json` is written before anything else is made, so that whatever a
//! killed command leaves is found by [`crate::delete`]; its pid is 0 until the
//! first process is ready. Commands that change a container lock its directory
//! (flock(2)): that lock goes with its holder, however that one ends.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rcnt_base::files::{Durability, read_json, write_json};
use rcnt_runtime::cgroup;
use rcnt_runtime::intel_rdt::Group;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use rcnt_runtime::oci::Spec;
use rcnt_runtime::oci::spec::OCI_VERSION;
use rcnt_runtime::plan::CgroupPlan;

/// How long another command may hold a container's lock.
const PATIENCE: Duration = Duration::from_secs(10);

/// `state.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Saved {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    /// 0 while it is being created.
    pub(crate) pid: i32,
    /// Tells the process from a later one with its pid (proc_pid_stat(5), field 22).
    pub(crate) start_time: u64,
    /// RFC 3339.
    pub(crate) created: String,
    pub(crate) cgroup: CgroupPlan,
    /// Its shares of cache and memory bandwidth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) intel_rdt: Option<Group>,
    /// Its processes have the session keyring of their callers.
    #[serde(default)]
    pub(crate) no_new_keyring: bool,
    /// What its streams were when it was made, for CRIU to find its pipes.
    #[serde(default)]
    pub(crate) descriptors: Vec<String>,
    /// The configuration as it was at creation.
    pub(crate) config: Spec,
}

/// What clients read: runtime-spec "State", with what runc adds, in its order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    oci_version: &'static str,
    pub(crate) id: String,
    pub(crate) pid: i32,
    pub(crate) status: &'static str,
    pub(crate) bundle: PathBuf,
    rootfs: PathBuf,
    pub(crate) created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    pub(crate) owner: String,
}

/// runtime-spec, "State".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// The directory of one container.
#[derive(Debug, Clone)]
pub(crate) struct Directory(PathBuf);

/// A container nobody else changes while this lives.
#[derive(Debug)]
pub(crate) struct Lock(OwnedFd);

/// Why a container's state cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("container id cannot be empty")]
    NoId,
    #[error("invalid container ID format: {0:?} (letters, digits and _+-. only)")]
    Id(String),
    #[error("container {0:?} does not exist")]
    Missing(String),
    #[error("container with given ID already exists: {0:?}")]
    Exists(String),
    #[error("container {0:?} is in use by another command")]
    Busy(String),
    #[error("cannot use the state of container {id:?}")]
    Io {
        id: String,
        #[source]
        source: io::Error,
    },
}

impl Directory {
    /// Where container `id` is kept.
    pub(crate) fn of(root: &Path, id: &str) -> Result<Self, StateError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_+-.".contains(&b);
        if id.is_empty() {
            return Err(StateError::NoId);
        }
        if id == "." || id == ".." || !id.bytes().all(plain) {
            return Err(StateError::Id(id.to_owned()));
        }
        Ok(Self(root.join(id)))
    }

    fn id(&self) -> String {
        self.0.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn io<T, E: Into<io::Error>>(&self, result: Result<T, E>) -> Result<T, StateError> {
        result.map_err(Into::into).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StateError::Missing(self.id()),
            io::ErrorKind::AlreadyExists => StateError::Exists(self.id()),
            _ => StateError::Io { id: self.id(), source },
        })
    }

    /// Claims the id, of several that try one gets it, and locks it.
    pub(crate) fn claim(&self) -> Result<Lock, StateError> {
        use std::os::unix::fs::DirBuilderExt;
        let root = self.0.parent().unwrap_or(Path::new("/"));
        let named = |source| StateError::Io { id: self.id(), source };
        rcnt_base::files::create_dirs(root).map_err(named)?;
        // Others may pass through, to the FIFO; only root lists it.
        self.io(std::fs::DirBuilder::new().mode(0o711).create(&self.0))?;
        self.lock_to_change().inspect_err(|error| {
            if matches!(error, StateError::Io { .. }) {
                // Empty, or somebody else's by now.
                let _ = std::fs::remove_dir(&self.0);
            }
        })
    }

    /// For a command that changes the container.
    pub(crate) fn lock_to_change(&self) -> Result<Lock, StateError> {
        self.lock(FlockOperation::NonBlockingLockExclusive)
    }

    /// For a command that needs it to stay as it is.
    pub(crate) fn lock_to_use(&self) -> Result<Lock, StateError> {
        self.lock(FlockOperation::NonBlockingLockShared)
    }

    /// Waits for the lock, but not for ever: whoever holds it may hang in a hook.
    fn lock(&self, operation: FlockOperation) -> Result<Lock, StateError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock = Lock(self.io(open(&self.0, flags, Mode::empty()))?);
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(200);
        loop {
            match flock(&lock.0, operation) {
                Ok(()) if lock.is_void() => return Err(StateError::Missing(self.id())),
                Ok(()) => return Ok(lock),
                Err(Errno::WOULDBLOCK) if Instant::now() > deadline => {
                    return Err(StateError::Busy(self.id()));
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(error) => return self.io(Err(error)),
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    /// Whether some command is changing the container now.
    fn is_locked(&self) -> bool {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(fd) = open(&self.0, flags, Mode::empty()) else { return false };
        matches!(flock(&fd, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK))
    }

    /// Forgets the container.
    pub(crate) fn remove(&self) -> Result<(), StateError> {
        self.io(rcnt_base::files::remove_tree(&self.0))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn fifo(&self) -> PathBuf {
        self.0.join("exec.fifo")
    }

    /// Where the root file system is while CRIU restores.
    pub(crate) fn criu_root(&self) -> PathBuf {
        self.0.join("criu-root")
    }

    pub(crate) fn load(&self) -> Result<Saved, StateError> {
        self.io(read_json(&self.0.join("state.json")))
    }

    pub(crate) fn save(&self, saved: &Saved) -> Result<(), StateError> {
        self.io(write_json(&self.0.join("state.json"), saved, Durability::Volatile))
    }

    pub(crate) fn exists(&self) -> bool {
        self.0.exists()
    }

    /// What state the container is in now.
    pub(crate) fn status(&self, saved: &Saved) -> Status {
        if saved.pid == 0 && self.is_locked() {
            Status::Creating
        } else if !is_alive(saved.pid, saved.start_time) {
            Status::Stopped
        } else if is_frozen(saved) {
            Status::Paused
        } else if self.waits_for_start(saved.pid) {
            Status::Created
        } else {
            Status::Running
        }
    }

    /// Whether process `pid` still has the FIFO open, which it closes by exec: a
    /// killed `start` may have left the file behind.
    fn waits_for_start(&self, pid: i32) -> bool {
        let Ok(fifo) = std::fs::metadata(self.fifo()) else { return false };
        let same = |fd: std::fs::DirEntry| {
            std::fs::metadata(fd.path())
                .is_ok_and(|it| (it.dev(), it.ino()) == (fifo.dev(), fifo.ino()))
        };
        match std::fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(fds) => fds.flatten().any(same),
            Err(_) => true,
        }
    }

    /// What clients are told.
    pub(crate) fn report(&self, saved: &Saved, status: Status) -> Report {
        let owner = std::fs::metadata(&self.0).map_or(0, |dir| dir.uid());
        Report { owner: user_name(owner), ..saved.report(status) }
    }
}

impl Lock {
    /// Whether the directory has been removed since it was opened.
    pub(crate) fn is_void(&self) -> bool {
        fstat(&self.0).is_ok_and(|it| it.st_nlink == 0)
    }
}

/// The freezer's own word: whoever paused it need not have been us.
fn is_frozen(saved: &Saved) -> bool {
    let layout = cgroup::layout_of(&saved.cgroup);
    layout.is_ok_and(|layout| cgroup::is_frozen(&layout, &saved.cgroup.path))
}

/// The host's name for a user, `#12` if there is none.
fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    user_in(&passwd, uid).unwrap_or_else(|| format!("#{uid}"))
}

/// passwd(5)
pub(crate) fn user_in(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

impl Saved {
    /// runtime-spec "State", with runc's `created` and `rootfs` besides.
    fn report(&self, status: Status) -> Report {
        let root = self.config.root().as_ref().map(|root| self.bundle.join(root.path()));
        Report {
            oci_version: OCI_VERSION,
            id: self.id.clone(),
            pid: if status == Status::Stopped { 0 } else { self.pid },
            status: status.word(),
            bundle: self.bundle.clone(),
            rootfs: root.unwrap_or_default(),
            created: self.created.clone(),
            annotations: self.config.annotations().iter().flatten().map(own).collect(),
            owner: String::new(),
        }
    }

    /// The same for hooks.
    pub(crate) fn json(&self, status: Status) -> serde_json::Value {
        serde_json::to_value(self.report(status)).unwrap_or_default()
    }

    /// Its first process, as long as there is one.
    pub(crate) fn living(&self) -> Option<OwnedFd> {
        let pidfd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Looked at after opening: whoever had the number then has it since the start.
        is_alive(self.pid, self.start_time).then_some(pidfd)
    }

    /// Its first process's pid.
    pub(crate) fn pid(&self) -> io::Result<Pid> {
        Pid::from_raw(self.pid).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// A descriptor of its first process, which it still is.
    pub(crate) fn first_process(&self) -> io::Result<OwnedFd> {
        self.living().ok_or_else(|| Errno::SRCH.into())
    }
}

fn own((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

/// When process `pid` started, in clock ticks after boot; `None` when there is
/// none or only its exit status is left.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

pub(crate) fn is_alive(pid: i32, since: u64) -> bool {
    start_time(pid) == Some(since)
}

/// All containers below `root` by name; directories that are no containers are
/// told of and skipped.
///
/// # Errors
/// `root` cannot be read.
pub(crate) fn all(root: &Path) -> io::Result<Vec<(Directory, Saved)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let directory = Directory(entry.path());
        match directory.load() {
            Ok(saved) => found.push((directory, saved)),
            // Deleted meanwhile, or not quite there yet.
            Err(StateError::Missing(_)) => {}
            Err(error) => log::warn!("{}", rcnt_base::report::chain(&error)),
        }
    }
    found.sort_by(|(_, a), (_, b)| a.id.cmp(&b.id));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_never_leave_the_root() {
        let of = |id: &str| Directory::of(Path::new("/r"), id).is_ok();
        assert!(of("a-b_c.d+1"));
        assert!(["", ".", "..", "a/b", "a b", "\u{e4}"].iter().all(|id| !of(id)));
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        let me = i32::try_from(std::process::id()).unwrap();
        let since = start_time(me).unwrap();
        assert!(is_alive(me, since) && !is_alive(me, since + 1));
    }

    #[test]
    fn one_claim_wins_and_its_lock_goes_with_the_directory() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::of(root.path(), "c").unwrap();
        assert!(matches!(directory.lock_to_use(), Err(StateError::Missing(_))));
        let lock = directory.claim().unwrap();
        assert!(matches!(directory.claim(), Err(StateError::Exists(_))));
        assert!(directory.is_locked() && !lock.is_void());
        directory.remove().unwrap();
        assert!(lock.is_void() && !directory.is_locked());
        let again = directory.claim().unwrap();
        assert!(lock.is_void() && !again.is_void());
    }

    #[test]
    fn readers_share_a_container() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::of(root.path(), "c").unwrap();
        drop(directory.claim().unwrap());
        let _one = directory.lock_to_use().unwrap();
        let _two = directory.lock_to_use().unwrap();
        assert!(!directory.is_locked());
    }

    #[test]
    fn users_are_found_by_number() {
        let passwd = "root:x:0:0::/:/bin/sh\nbroken\nme:x:7:8::/:/bin/sh\n";
        assert_eq!(user_in(passwd, 7).as_deref(), Some("me"));
        assert_eq!(user_in(passwd, 8), None);
    }
}
