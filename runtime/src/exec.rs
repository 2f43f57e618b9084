//! One more process in a running container.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rcnt_base::report::{ExitKind, StartError};
use rustix::process::Pid;

use crate::plan::ProcessPlan;
use crate::spawn::ChildIo;

/// The container to enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecTarget {
    /// Its first process, as the caller sees it.
    pub init_pid: Pid,
    /// [`crate::plan::CgroupPlan::path`] of the container.
    pub cgroup_path: PathBuf,
}

/// The started process, a child of the caller.
#[derive(Debug)]
pub struct Running {
    /// Its pid in the caller's pid namespace; the caller reaps it.
    pub pid: Pid,
    /// Readable when it has exited.
    pub pidfd: OwnedFd,
    /// Master of its pty, when [`ChildIo::Terminal`] was asked for.
    pub terminal: Option<OwnedFd>,
}

/// Starts `process` inside `target`; returns once it runs. The caller must be
/// single-threaded.
///
/// # Errors
/// What went wrong, with docker's exit code for it.
pub fn exec(
    target: &ExecTarget,
    process: &ProcessPlan,
    io: ChildIo,
) -> Result<Running, StartError> {
    let _ = (target, process, io);
    let error = std::io::Error::from(rustix::io::Errno::NOSYS);
    Err(StartError::new("exec", ExitKind::Runtime, &error))
}
