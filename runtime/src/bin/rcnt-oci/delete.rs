//! `delete`: removes what is left of a container.

use std::path::Path;

use oci_spec::runtime::LinuxNamespaceType;
use rcnt_runtime::oci::outside_hooks;
use rcnt_runtime::{cgroup, hooks, shared_mounts};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::args::DeleteArgs;
use crate::state::{Directory, Saved, StateError, Status, is_alive};
use crate::{Error, shares};

/// Removes what is left of a stopped container; with `force` ends it first.
pub(crate) fn delete(root: &Path, args: &DeleteArgs) -> Result<(), Error> {
    let directory = Directory::of(root, &args.id)?;
    match delete_one(&directory, args) {
        // Removed by somebody else before or meanwhile.
        Err(Error::State(StateError::Missing(_))) if args.force => Ok(()),
        done => done,
    }
}

fn delete_one(directory: &Directory, args: &DeleteArgs) -> Result<(), Error> {
    let saved = match directory.load() {
        // Its maker was killed before it had made anything else.
        Err(StateError::Missing(id)) if directory.exists() => {
            directory.remove()?;
            return Err(StateError::Missing(id).into());
        }
        Err(StateError::Io { .. }) if args.force => return Ok(directory.remove()?),
        other => other?,
    };
    if args.force {
        // Before the lock: its holder may be waiting for this container.
        cgroup::kill_all(&cgroup::layout_of(&saved.cgroup)?, &saved.cgroup.path)?;
    } else {
        refuse_living(directory, &saved)?;
    }
    let _lock = match directory.lock_to_change() {
        Err(StateError::Busy(_)) if args.force => None,
        lock => Some(lock?),
    };
    // It may have been changed while we waited.
    let saved = directory.load()?;
    if !args.force {
        refuse_living(directory, &saved)?;
    }
    erase(directory, &saved)
}

/// One that was never started has nothing to lose.
fn refuse_living(directory: &Directory, saved: &Saved) -> Result<(), Error> {
    match directory.status(saved) {
        Status::Stopped | Status::Created => Ok(()),
        status => Err(Error::Refused(format!(
            "cannot delete container {} that is not stopped: {}",
            saved.id,
            status.word()
        ))),
    }
}

/// Ends every process of it, removes its cgroup and its state, runs the poststop hooks.
pub(crate) fn erase(directory: &Directory, saved: &Saved) -> Result<(), Error> {
    let layout = cgroup::layout_of(&saved.cgroup)?;
    cgroup::kill_all(&layout, &saved.cgroup.path)?;
    wait_gone(saved);
    cgroup::destroy(&layout, &saved.cgroup)?;
    shares::remove(saved.intel_rdt.as_ref())?;
    unmount_shared(saved)?;
    let state = saved.json(Status::Stopped);
    let outside = outside_hooks(&saved.config)?;
    for error in hooks::run_all("poststop", &outside.poststop, &state) {
        crate::warn(&error);
    }
    Ok(directory.remove()?)
}

/// [`erase`] for one who has waited for its end: somebody else may be at it, who
/// has ended it.
pub(crate) fn erase_if_there(directory: &Directory, saved: &Saved) -> Result<(), Error> {
    let _lock = match directory.lock_to_change() {
        Err(StateError::Missing(_)) => return Ok(()),
        Err(StateError::Busy(_)) => None,
        lock => Some(lock?),
    };
    erase(directory, saved)
}

/// Takes away what a container without a mount namespace mounted in ours.
fn unmount_shared(saved: &Saved) -> Result<(), Error> {
    let linux = saved.config.linux().as_ref();
    let mut namespaces = linux.and_then(|linux| linux.namespaces().as_ref()).into_iter().flatten();
    if namespaces.any(|namespace| namespace.typ() == LinuxNamespaceType::Mount) {
        return Ok(());
    }
    let Some(root) = saved.config.root() else { return Ok(()) };
    shared_mounts::release(&saved.bundle.join(root.path()))
        .map_err(Error::io("unmount the root file system"))
}

/// A killed process takes a moment to be gone; its parent may reap it later.
fn wait_gone(saved: &Saved) {
    let Some(pid) = Pid::from_raw(saved.pid) else { return };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if is_alive(saved.pid, saved.start_time) {
        let ten_seconds = rustix::time::Timespec { tv_sec: 10, tv_nsec: 0 };
        let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&ten_seconds));
    }
}
