//! `kill`: a signal to the first process, or to all.

use std::path::Path;

use rcnt_runtime::cgroup;

use crate::Error;
use crate::state::{Directory, Status};

/// Sends a signal to the first process, or to all.
pub(crate) fn kill(root: &Path, id: &str, signal: i32, all: bool) -> Result<(), Error> {
    let directory = Directory::of(root, id)?;
    let saved = directory.load()?;
    let stopped = directory.status(&saved) == Status::Stopped;
    if all {
        let layout = cgroup::layout()?;
        for pid in cgroup::pids(&layout, &saved.cgroup)? {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                // It may have ended since the list was read.
                let _ = rcnt_base::sys::child::kill(pid, signal);
            }
        }
        return Ok(());
    }
    if stopped {
        return Err(Error::Refused("container not running".into()));
    }
    let pid = saved.pid().map_err(Error::io("read the container's pid"))?;
    rcnt_base::sys::child::kill(pid, signal).map_err(Error::io("signal the container"))
}
