//! Control groups: where they are mounted, how one is made, limited, joined and
//! removed again. (being written)

use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::plan::{CgroupPlan, DeviceRule};

/// Why the cgroup hierarchies of this machine cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// No cgroup file system is mounted.
    #[error("no cgroup file system is mounted")]
    None,
}

/// Why something on a cgroup went wrong.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A call failed.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// "create", "write"…
        what: &'static str,
        /// The directory or file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The cgroup hierarchies of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {}

/// Reads the layout from /proc/self/mountinfo.
///
/// # Errors
/// [`LayoutError`]
pub fn layout() -> Result<Layout, LayoutError> {
    Err(LayoutError::None)
}

/// Descriptors with which a process puts *itself* into a cgroup. Made by the
/// parent before clone3(2), used by init.
#[derive(Debug, Default)]
pub struct JoinHandles {}

impl JoinHandles {
    /// Puts the calling, single-threaded process into the v1 hierarchies by
    /// writing "0" to each `tasks` file (a few µs each). The v2 part is joined by
    /// [`JoinHandles::clone_into_fd`] at birth, never here.
    ///
    /// # Errors
    /// [`CgroupError::Io`]
    pub fn join_self(&self) -> Result<(), CgroupError> {
        Ok(())
    }

    /// The v2 directory for `CLONE_INTO_CGROUP`; `None` on a pure v1 machine.
    pub fn clone_into_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Creates the cgroup in every hierarchy and writes its limits.
///
/// # Errors
/// [`CgroupError`]; what was made is removed again.
pub fn create(layout: &Layout, plan: &CgroupPlan) -> Result<JoinHandles, CgroupError> {
    let _ = (layout, plan);
    Ok(JoinHandles::default())
}

/// Join handles of an existing cgroup, for exec.
///
/// # Errors
/// [`CgroupError`]
pub fn open(layout: &Layout, path: &Path) -> Result<JoinHandles, CgroupError> {
    let _ = (layout, path);
    Ok(JoinHandles::default())
}

/// SIGKILLs every process in the cgroup and below, and waits (bounded) until none is left.
///
/// # Errors
/// [`CgroupError`]
pub fn kill_all(layout: &Layout, path: &Path) -> Result<(), CgroupError> {
    let _ = (layout, path);
    Ok(())
}

/// Every process id in the cgroup and below.
///
/// # Errors
/// [`CgroupError`]
pub fn pids(layout: &Layout, path: &Path) -> Result<Vec<i32>, CgroupError> {
    let _ = (layout, path);
    Ok(vec![])
}

/// Removes the cgroup and its children from every hierarchy; "already gone" is done.
///
/// # Errors
/// [`CgroupError`]
pub fn remove(layout: &Layout, path: &Path) -> Result<(), CgroupError> {
    let _ = (layout, path);
    Ok(())
}

/// Whether the kernel killed a process in it for want of memory.
///
/// # Errors
/// [`CgroupError`]
pub fn oom_killed(layout: &Layout, path: &Path) -> Result<bool, CgroupError> {
    let _ = (layout, path);
    Ok(false)
}

/// Stops every process in it.
///
/// # Errors
/// [`CgroupError`]
pub fn freeze(layout: &Layout, path: &Path) -> Result<(), CgroupError> {
    let _ = (layout, path);
    Ok(())
}

/// Lets them run again.
///
/// # Errors
/// [`CgroupError`]
pub fn thaw(layout: &Layout, path: &Path) -> Result<(), CgroupError> {
    let _ = (layout, path);
    Ok(())
}

/// docker's device rules for an unprivileged container.
pub fn default_device_rules() -> Vec<DeviceRule> {
    vec![]
}
