//! `start`: a created container's command goes.

use std::path::Path;

use rcnt_runtime::hooks;
use rcnt_runtime::oci::outside_hooks;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};

use crate::Error;
use crate::state::{Directory, Saved, Status};

/// Lets a created container's command go.
pub(crate) fn start(root: &Path, id: &str) -> Result<(), Error> {
    let directory = Directory::of(root, id)?;
    let saved = directory.load()?;
    match directory.status(&saved) {
        Status::Created => open_gate(&directory, &saved),
        status => {
            Err(Error::Refused(format!("cannot start a container that is {}", status.word())))
        }
    }
}

/// Lets the first process go and waits until it has noticed.
pub(crate) fn open_gate(directory: &Directory, saved: &Saved) -> Result<(), Error> {
    let fifo = directory.fifo();
    let pidfd = saved.first_process().map_err(Error::io("find the container's first process"))?;
    // Without O_NONBLOCK a container that died meanwhile would keep us here.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let gate = open(&fifo, flags, Mode::empty()).map_err(Error::errno("open the start FIFO"))?;
    let mut fds = [PollFd::new(&gate, PollFlags::IN), PollFd::new(&pidfd, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, None))
        .map_err(Error::errno("wait for the container"))?;
    let mut byte = [0u8; 1];
    let got = rustix::io::read(&gate, &mut byte[..]).unwrap_or(0);
    rcnt_base::files::remove_if_exists(&fifo).map_err(Error::io("remove the start FIFO"))?;
    if got != 1 {
        return Err(Error::Refused("the container died before it was started".into()));
    }
    let outside = outside_hooks(&saved.config)?;
    hooks::run("poststart", &outside.poststart, &saved.json(Status::Running), &[]).map_err(|e| {
        // A container that its hooks did not finish is none (runtime-spec, "Poststart").
        let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
        e.into()
    })
}
