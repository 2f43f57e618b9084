//! `start`: a created container's command goes.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rcnt_runtime::activation::{Listening, Notify};
use rcnt_runtime::hooks;
use rcnt_runtime::oci::outside_hooks;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};

use crate::Error;
use crate::state::{Directory, Saved, Status};

/// How long a created container may take to notice that it is started.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Lets a created container's command go.
pub(crate) fn start(root: &Path, id: &str) -> Result<(), Error> {
    let directory = Directory::of(root, id)?;
    let refused = |text: &str| Err(Error::Refused(text.to_owned()));
    let saved = directory.load()?;
    if directory.status(&saved) == Status::Creating {
        return refused("cannot start a container in the creating state");
    }
    let lock = directory.lock_to_change()?;
    let saved = directory.load()?;
    let listening = listen(&directory)?;
    match directory.status(&saved) {
        // The container itself stays as it is (runtime.md, "Start").
        Status::Created if saved.config.process().is_none() => {
            return refused("process property must not be empty");
        }
        Status::Created => open_gate(&directory, &saved)?,
        Status::Stopped => return refused("cannot start a container that has stopped"),
        Status::Running => return refused("cannot start an already running container"),
        status => {
            let state = status.word();
            return refused(&format!("cannot start a container in the {state} state"));
        }
    }
    // A hook may take its time, and may call us.
    drop(lock);
    run_poststart(&saved)?;
    match (listening, saved.living()) {
        (Some(listening), Some(pidfd)) => relay(listening, pidfd.as_fd(), saved.pid),
        _ => Ok(()),
    }
}

/// Ready to hear the container's word of readiness, if a service manager waits.
pub(crate) fn listen(directory: &Directory) -> Result<Option<Listening>, Error> {
    let Some(notify) = Notify::from_environment(directory.path()) else { return Ok(None) };
    notify.listen().map_err(Error::io("make the notify socket"))
}

/// Waits for that word and tells it further; `main` is the service's process.
pub(crate) fn relay(
    listening: Listening,
    container: BorrowedFd<'_>,
    main: i32,
) -> Result<(), Error> {
    listening.relay(container, main).map_err(Error::io("tell the service manager"))
}

/// Lets the first process go and waits until it has noticed.
pub(crate) fn open_gate(directory: &Directory, saved: &Saved) -> Result<(), Error> {
    let fifo = directory.fifo();
    let pidfd = saved.first_process().map_err(Error::io("find the container's first process"))?;
    // Without O_NONBLOCK a container that died meanwhile would keep us here.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let gate = open(&fifo, flags, Mode::empty()).map_err(Error::errno("open the start FIFO"))?;
    let mut fds = [PollFd::new(&gate, PollFlags::IN), PollFd::new(&pidfd, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, Some(&PATIENCE)))
        .map_err(Error::errno("wait for the container"))?;
    let mut byte = [0u8; 1];
    let got = rustix::io::read(&gate, &mut byte[..]).unwrap_or(0);
    rcnt_base::files::remove_if_exists(&fifo).map_err(Error::io("remove the start FIFO"))?;
    if got != 1 {
        return Err(Error::Refused("the container died before it was started".into()));
    }
    Ok(())
}

/// Ends the container if one fails: what its hooks did not finish is none
/// (runtime-spec, "Poststart").
pub(crate) fn run_poststart(saved: &Saved) -> Result<(), Error> {
    let outside = outside_hooks(&saved.config)?;
    let state = saved.json(Status::Running);
    hooks::run("poststart", &outside.poststart, &state, &[]).map_err(|error| {
        if let Some(pidfd) = saved.living() {
            let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
        }
        error.into()
    })
}
