//! Control groups: where they are mounted, how one is made, limited, joined,
//! killed, measured and removed again; v1, hybrid and v2 alike.
//!
//! - [`mod@layout`]  which hierarchies this machine has (pure parser)
//! - [`limits`]  resources → file writes (pure)
//! - [`devices`] device rules → v1 lines or an eBPF program (pure)
//! - `create`    makes directories and writes limits; [`JoinHandles`]
//! - `life`      pids, kill, freeze, remove
//! - [`stats`]   what a cgroup has used
//!
//! Joining is the expensive part: writing another process's id takes a lock
//! that waits for an RCU grace period (16 ms measured). So a process joins by
//! itself: "0" into v1 `tasks` files, and the v2 directory by being born in it.

mod create;
pub mod devices;
pub mod layout;
mod life;
pub mod limits;
pub mod stats;

use std::io;
use std::path::{Path, PathBuf};

pub use create::{JoinHandles, create, open};
pub use layout::{Layout, LayoutError, LayoutKind, read as layout};
pub use life::{freeze, is_frozen, kill_all, oom_killed, pids, remove, remove_empty_parents, thaw};

/// Why something on a cgroup went wrong.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The plan's path leaves the hierarchy.
    #[error("\"{}\" is not a relative cgroup path", .0.display())]
    Path(PathBuf),
    /// Limits that make no sense or that this machine cannot keep.
    #[error(transparent)]
    Limit(#[from] limits::LimitError),
    /// A limit's file is missing: controller off, or kernel without it.
    #[error("cannot apply {wish}: {} is not there (controller missing or not delegated)", path.display())]
    NoFile {
        /// The flag.
        wish: &'static str,
        /// The first file tried.
        path: PathBuf,
    },
    /// Neither a v1 devices controller nor a v2 tree.
    #[error("cannot restrict devices: this machine has neither a devices cgroup nor cgroup v2")]
    NoDevices,
    /// The v2 device program was refused.
    #[error("cannot load the device program of {}", path.display())]
    DeviceProgram {
        /// The cgroup.
        path: PathBuf,
        /// The kernel's reason, with the verifier's last words.
        #[source]
        source: io::Error,
    },
    /// Some processes survive SIGKILL (uninterruptible, or a fork bomb without limit).
    #[error("processes of {} are still there after {seconds} s of SIGKILL", path.display())]
    StillAlive {
        /// The cgroup.
        path: PathBuf,
        /// How long it was tried.
        seconds: u64,
    },
    /// The freezer did not settle.
    #[error("{} did not reach the state {state} within {seconds} s", path.display())]
    NotSettled {
        /// The cgroup.
        path: PathBuf,
        /// The wanted state.
        state: &'static str,
        /// How long it was tried.
        seconds: u64,
    },
    /// This machine cannot pause.
    #[error("cannot pause: this machine has neither a freezer cgroup nor cgroup v2")]
    NoFreezer,
    /// A call failed.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// "create", "write"…
        what: &'static str,
        /// The directory or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl CgroupError {
    fn io<E: Into<io::Error>>(what: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source: source.into() }
    }
}

/// A plan's path, checked: relative, plain names only, at least one.
fn checked(path: &Path) -> Result<&Path, CgroupError> {
    use std::path::Component;
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if plain && path.components().next().is_some() {
        Ok(path)
    } else {
        Err(CgroupError::Path(path.to_owned()))
    }
}

/// Writes one value to a cgroup file, in one write(2) as the kernel wants it.
fn write_value(path: &Path, value: &str) -> rustix::io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, value.as_bytes()).map(drop)
}
