//! `kill`: a signal to the first process, or to all.

use std::os::fd::AsFd;
use std::path::Path;

use oci_spec::runtime::LinuxNamespaceType;
use rcnt_base::sys::child::signal_pidfd;
use rcnt_runtime::cgroup;
use rustix::process::Pid;

use crate::Error;
use crate::args::{KillArgs, signal_number};
use crate::state::{Directory, Saved};

/// Sends a signal to the first process, or to all.
///
/// No lock is taken: whatever else is being done to a container, it can be killed.
pub(crate) fn kill(root: &Path, args: &KillArgs) -> Result<(), Error> {
    let directory = Directory::of(root, &args.id)?;
    let signal = signal_number(&args.signal)
        .ok_or_else(|| Error::Refused(format!("unknown signal {:?}", args.signal)))?;
    let saved = directory.load()?;
    if signal == libc::SIGKILL && !has_own_pid_namespace(&saved) {
        // Nobody dies with the first process there.
        return Ok(cgroup::kill_all(&cgroup::layout_of(&saved.cgroup)?, &saved.cgroup.path)?);
    }
    if args.all {
        return signal_all(&saved, signal);
    }
    let Some(pidfd) = saved.living() else {
        return Err(Error::Refused("container not running".into()));
    };
    signal_pidfd(pidfd.as_fd(), signal).map_err(Error::io("signal the container"))?;
    if signal == libc::SIGKILL {
        // A process in a frozen v1 cgroup dies when it thaws. One that is not
        // frozen, or has no freezer, needs nothing.
        let layout = cgroup::layout_of(&saved.cgroup)?;
        if cgroup::is_frozen(&layout, &saved.cgroup.path) {
            cgroup::thaw(&layout, &saved.cgroup.path)?;
        }
    }
    Ok(())
}

/// To every process of the cgroup; none is no error.
fn signal_all(saved: &Saved, signal: i32) -> Result<(), Error> {
    let layout = cgroup::layout_of(&saved.cgroup)?;
    if signal == libc::SIGKILL {
        return Ok(cgroup::kill_all(&layout, &saved.cgroup.path)?);
    }
    for pid in cgroup::pids(&layout, &saved.cgroup.path)?.into_iter().filter_map(Pid::from_raw) {
        // It may have ended since the list was read.
        let _ = rcnt_base::sys::child::kill(pid, signal);
    }
    Ok(())
}

/// A new one: the kernel kills all that is in it with its first process
/// (pid_namespaces(7)).
fn has_own_pid_namespace(saved: &Saved) -> bool {
    let namespaces = saved.config.linux().iter().filter_map(|linux| linux.namespaces().as_ref());
    let mut pid = namespaces.flatten().filter(|it| it.typ() == LinuxNamespaceType::Pid);
    pid.any(|it| it.path().as_ref().is_none_or(|path| path.as_os_str().is_empty()))
}
