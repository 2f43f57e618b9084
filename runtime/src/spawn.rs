//! The parent's side of starting a container.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rcnt_base::report::StartError;
use rustix::process::Pid;

use crate::plan::ContainerPlan;

/// The standard streams of a command.
#[derive(Debug)]
pub enum ChildIo {
    /// Three descriptors; no stdin means `/dev/null`.
    Pipes {
        /// Becomes descriptor 0.
        stdin: Option<OwnedFd>,
        /// Becomes descriptor 1.
        stdout: OwnedFd,
        /// Becomes descriptor 2.
        stderr: OwnedFd,
    },
    /// A pty opened in the container's own devpts; its master comes back in [`Started`].
    Terminal {
        /// Set before the command starts; 80×24 when nobody knows.
        size: Option<WindowSize>,
    },
}

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters per line.
    pub columns: u16,
}

/// Why a container's first process could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// A pipe or socket pair could not be made.
    #[error("cannot make the pipes to the container")]
    Pipes(#[source] io::Error),
    /// clone3(2) failed.
    #[error("cannot create the container's namespaces")]
    Clone(#[source] io::Error),
}

/// The container's first process, not necessarily past exec yet.
#[derive(Debug)]
pub struct Init {
    pid: Pid,
    pidfd: OwnedFd,
    go: OwnedFd,
    report: OwnedFd,
}

/// A command that is running: exec(2) has happened.
#[derive(Debug)]
pub struct Started {
    /// Master of the pty, when [`ChildIo::Terminal`] was asked for.
    pub terminal: Option<OwnedFd>,
}

impl Init {
    /// Its pid in the caller's pid namespace.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Readable when it has exited; waitid(2) P_PIDFD takes it.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Its network namespace.
    ///
    /// # Errors
    /// The process is gone, or the kernel's reason.
    pub fn netns(&self) -> io::Result<OwnedFd> {
        Ok(std::fs::File::open(format!("/proc/{}/ns/net", self.pid))?.into())
    }

    /// The parent's "go": everything outside is ready, init may call `inside`
    /// and start the command. Must be called exactly once, network or not;
    /// dropping [`Init`] without it ends the child.
    ///
    /// # Errors
    /// The child is gone; [`Init::wait_started`] tells why.
    pub fn network_ready(&self) -> io::Result<()> {
        rustix::io::write(&self.go, b"g")?;
        Ok(())
    }

    /// Readable when [`Init::wait_started`] would not block.
    pub fn started_fd(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }

    /// Blocks until the command runs or could not be started.
    ///
    /// # Errors
    /// What went wrong inside, with docker's exit code for it. The child has
    /// exited or is about to; it still has to be reaped.
    pub fn wait_started(&mut self) -> Result<Started, StartError> {
        Ok(Started { terminal: None })
    }
}

/// Starts `plan`: makes the cgroup, clones, and returns at once; the child
/// mounts meanwhile, then waits for [`Init::network_ready`], calls `inside` in
/// the container's network namespace while still privileged, and executes.
/// The caller must be single-threaded.
///
/// # Errors
/// What could not be made on this side. Errors inside come from [`Init::wait_started`].
pub fn spawn(
    plan: &ContainerPlan,
    io: ChildIo,
    inside: &mut dyn FnMut() -> Result<(), StartError>,
) -> Result<Init, SpawnError> {
    let _ = (plan, io, inside);
    Err(SpawnError::Clone(rustix::io::Errno::NOSYS.into()))
}
