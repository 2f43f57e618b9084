//! What is kept of a container between two calls: one directory per container
//! below `--root`, with `state.json` and, until it is started, `exec.fifo`.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rcnt_base::files::{Durability, read_json, write_json};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use rcnt_runtime::oci::Spec;
use rcnt_runtime::oci::spec::OCI_VERSION;

/// `state.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Saved {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) pid: i32,
    /// Tells the process from a later one with its pid (proc_pid_stat(5), field 22).
    pub(crate) start_time: u64,
    /// RFC 3339.
    pub(crate) created: String,
    pub(crate) cgroup: PathBuf,
    pub(crate) paused: bool,
    /// What its streams were when it was made, for CRIU to find its pipes.
    #[serde(default)]
    pub(crate) descriptors: Vec<String>,
    /// The configuration as it was at creation.
    pub(crate) config: Spec,
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

/// Why a container's state cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("container id {0:?} is not made of letters, digits and _+-.")]
    Id(String),
    #[error("container {0} does not exist")]
    Missing(String),
    #[error("container with id exists already: {0}")]
    Exists(String),
    #[error("cannot use the state of container {id}")]
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
        if id.is_empty() || id == "." || id == ".." || !id.bytes().all(plain) {
            return Err(StateError::Id(id.to_owned()));
        }
        Ok(Self(root.join(id)))
    }

    fn id(&self) -> String {
        self.0.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn io<T>(&self, result: io::Result<T>) -> Result<T, StateError> {
        result.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StateError::Missing(self.id()),
            io::ErrorKind::AlreadyExists => StateError::Exists(self.id()),
            _ => StateError::Io { id: self.id(), source },
        })
    }

    /// Claims the id: of several that try, one gets it.
    pub(crate) fn claim(&self) -> Result<(), StateError> {
        use std::os::unix::fs::DirBuilderExt;
        let parent = self.0.parent().unwrap_or(Path::new("/"));
        self.io(rcnt_base::files::create_dirs(parent))?;
        self.io(std::fs::DirBuilder::new().mode(0o711).create(&self.0))
    }

    /// Forgets the container.
    pub(crate) fn remove(&self) -> Result<(), StateError> {
        self.io(rcnt_base::files::remove_tree(&self.0))
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
        if !is_alive(saved.pid, saved.start_time) {
            Status::Stopped
        } else if saved.paused {
            Status::Paused
        } else if self.fifo().exists() {
            Status::Created
        } else {
            Status::Running
        }
    }
}

impl Saved {
    /// runtime-spec "State", with runc's `created` and `rootfs` besides.
    pub(crate) fn json(&self, status: Status) -> Value {
        let root = self.config.root().as_ref().map(|root| self.bundle.join(root.path()));
        let annotations: BTreeMap<String, String> =
            self.config.annotations().clone().unwrap_or_default();
        json!({
            "ociVersion": OCI_VERSION,
            "id": self.id,
            "pid": if status == Status::Stopped { 0 } else { self.pid },
            "status": status.word(),
            "bundle": self.bundle,
            "rootfs": root,
            "created": self.created,
            "annotations": annotations,
        })
    }

    /// A descriptor of its first process, which it still is.
    pub(crate) fn first_process(&self) -> io::Result<OwnedFd> {
        let pidfd = pidfd_open(self.pid()?, PidfdFlags::empty())?;
        // Looked at after opening: whoever had the number then has it since the start.
        if is_alive(self.pid, self.start_time) {
            return Ok(pidfd);
        }
        Err(rustix::io::Errno::SRCH.into())
    }

    /// Its first process.
    pub(crate) fn pid(&self) -> io::Result<Pid> {
        Pid::from_raw(self.pid).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
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

/// All containers below `root`; directories that are no containers are skipped.
pub(crate) fn all(root: &Path) -> io::Result<Vec<(Directory, Saved)>> {
    let entries = match std::fs::read_dir(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let directory = Directory(entry?.path());
        if let Ok(saved) = directory.load() {
            found.push((directory, saved));
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
}
