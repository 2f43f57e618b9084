//! Control groups: where they are mounted, how one is made, limited, joined,
//! killed, measured and removed again; v1, hybrid and v2 alike.
//!
//! - [`mod@layout`]  which hierarchies this machine has (pure parser)
//! - [`limits`]  resources → file writes (pure)
//! - [`devices`] device rules → v1 lines or an eBPF program (pure)
//! - `create`    makes directories and writes limits
//! - `join`      how a process gets in; [`JoinHandles`]
//! - `update`    other limits for a running container
//! - `life`      pids, kill, freeze, remove
//! - [`stats`]   what a cgroup has used, in a few figures
//! - [`metrics`] everything that is counted, as runc's `events` shows it
//! - [`events`]  out of memory, and the end
//! - [`systemd`] cgroups that are systemd's to make
//!
//! Joining is the expensive part: writing another process's id takes a lock
//! that waits for an RCU grace period (16 ms measured). So a process joins by
//! itself: "0" into v1 `tasks` files, and the v2 directory by being born in it.

mod create;
pub mod devices;
pub mod events;
mod join;
pub mod layout;
mod life;
pub mod limits;
pub mod metrics;
pub mod stats;
pub mod systemd;
mod update;
mod write;

use std::io;
use std::path::{Path, PathBuf};

pub use create::create;
pub use join::{JoinHandles, open, open_for, open_of};
pub use layout::{Layout, LayoutError, LayoutKind, read as layout};
pub use life::{
    destroy, freeze, is_frozen, kill_all, oom_killed, pids, remove, remove_empty_parents, thaw,
};
pub use update::{merged, update};

use crate::plan::CgroupPlan;

/// The hierarchies of this machine, with the plan's path where it says.
///
/// # Errors
/// As [`layout()`].
pub fn layout_of(plan: &CgroupPlan) -> Result<Layout, LayoutError> {
    Ok(layout()?.based(&plan.bases))
}

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
    /// The kernel does not take a limit.
    #[error("cannot apply {wish}: failed to write {value:?} to {}", path.display())]
    Write {
        /// The flag or JSON path.
        wish: &'static str,
        /// What was written.
        value: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// v1 cannot free as much as the limit asks for.
    #[error(
        "cannot apply {wish}: unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})"
    )]
    MemoryInUse {
        /// The flag or JSON path.
        wish: &'static str,
        /// Bytes.
        limit: String,
        /// Bytes.
        usage: String,
        /// Bytes.
        peak: String,
    },
    /// [`crate::plan::Resources::memory_check_before_update`].
    #[error("rejecting {what} limit {limit} <= usage {usage}")]
    BelowUsage {
        /// "memory" or "memory+swap".
        what: &'static str,
        /// Bytes.
        limit: i64,
        /// Bytes.
        usage: u64,
    },
    /// Somebody else's.
    #[error("container's cgroup is not empty: {count} process(es) found in {}", path.display())]
    NotEmpty {
        /// The cgroup.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// Nothing started in it would run.
    #[error("container's cgroup unexpectedly frozen: {}; thaw it first", .0.display())]
    Frozen(PathBuf),
    /// A sub-cgroup that is none.
    #[error("bad sub cgroup path: {}; it must stay below the container's cgroup", .0.display())]
    SubPath(PathBuf),
    /// A sub-cgroup of a hierarchy that is not there.
    #[error("unknown controller {0} in the sub-cgroups asked for")]
    UnknownController(String),
    /// systemd cannot or will not do it.
    #[error(transparent)]
    Systemd(#[from] systemd::SystemdError),
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
    /// This machine does not count memory.
    #[error(
        "cannot watch for lack of memory: this machine has neither a memory cgroup nor cgroup v2"
    )]
    NoMemory,
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
    /// The kernel's answer to a write.
    fn errno(&self) -> Option<rustix::io::Errno> {
        match self {
            Self::Write { source, .. } => rustix::io::Errno::from_io_error(source),
            _ => None,
        }
    }

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
