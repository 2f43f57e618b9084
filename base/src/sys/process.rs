//! fork(2), for the supervisor: the one child that goes on running Rust code.

use std::io;

use rustix::process::Pid;

/// Which side of [`fork`] this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The caller; holds the child's pid.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Forks the process (fork(2)). rcnt is single-threaded when it does: with
/// other threads the child would inherit locks whose holders do not exist.
///
/// # Errors
/// The kernel's reason, or "not single-threaded".
pub fn fork() -> io::Result<Fork> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!("fork with {threads} threads running")));
    }
    // SAFETY: fork() has no memory preconditions; the danger is a multi-threaded
    // parent (signal-safety(7)), excluded just above.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Pid::from_raw(pid).map_or(Fork::Child, Fork::Parent)),
    }
}
