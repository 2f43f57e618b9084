//! `delete`: removes what is left of a container.

use std::path::Path;

use oci_spec::runtime::LinuxNamespaceType;
use rcnt_runtime::oci::outside_hooks;
use rcnt_runtime::{cgroup, hooks, shared_mounts};
use rustix::event::{PollFd, PollFlags, poll};

use crate::Error;
use crate::state::{Directory, Saved, Status};

/// Removes what is left of a stopped container; with `force` ends it first.
pub(crate) fn delete(root: &Path, id: &str, force: bool) -> Result<(), Error> {
    let directory = Directory::of(root, id)?;
    let saved = match directory.load() {
        Err(_) if force && directory.exists() => return Ok(directory.remove()?),
        Err(_) if force => return Ok(()),
        other => other?,
    };
    let status = directory.status(&saved);
    // One that was never started has nothing to lose.
    if !matches!(status, Status::Stopped | Status::Created) && !force {
        return Err(Error::Refused(format!(
            "cannot delete container {id} that is not stopped: {}",
            status.word()
        )));
    }
    erase(&directory, &saved)
}

/// Ends every process of it, removes its cgroup and its state, runs the poststop hooks.
pub(crate) fn erase(directory: &Directory, saved: &Saved) -> Result<(), Error> {
    let layout = cgroup::layout()?;
    cgroup::kill_all(&layout, &saved.cgroup)?;
    wait_gone(saved);
    cgroup::remove(&layout, &saved.cgroup)?;
    cgroup::remove_empty_parents(&layout, &saved.cgroup)?;
    unmount_shared(saved)?;
    let state = saved.json(Status::Stopped);
    let outside = outside_hooks(&saved.config)?;
    if let Err(error) = hooks::run("poststop", &outside.poststop, &state, &[]) {
        crate::warn(&error);
    }
    Ok(directory.remove()?)
}

/// Takes away what a container without a mount namespace mounted in ours.
pub(crate) fn unmount_shared(saved: &Saved) -> Result<(), Error> {
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
    let Ok(pid) = saved.pid() else { return };
    let flags = rustix::process::PidfdFlags::empty();
    let Ok(pidfd) = rustix::process::pidfd_open(pid, flags) else { return };
    if crate::state::is_alive(saved.pid, saved.start_time) {
        let ten_seconds = rustix::time::Timespec { tv_sec: 10, tv_nsec: 0 };
        let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&ten_seconds));
    }
}
