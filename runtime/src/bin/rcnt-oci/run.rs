//! `run`: create, start, and unless detached wait and delete.

use std::path::Path;

use crate::args::RunArgs;
use crate::container::{Created, create, reap_failed};
use crate::delete::erase;
use crate::start::open_gate;
use crate::{Error, console};

/// create, start, and unless detached wait and delete.
pub(crate) fn run(root: &Path, args: &RunArgs) -> Result<u8, Error> {
    let signals = console::hold_signals().map_err(Error::io("block signals"))?;
    let created = create(root, &args.create)?;
    let Created { directory, saved, mut init, terminal } = created;
    if args.detach && terminal.is_some() {
        reap_failed(&init);
        erase(&directory, &saved)?;
        return Err(Error::Refused("a detached terminal needs --console-socket".into()));
    }
    let opened = open_gate(&directory, &saved).and_then(|()| {
        // Hooks inside and exec itself can still fail.
        init.wait_running()?;
        Ok(())
    });
    if let (Ok(()), true) = (&opened, args.detach) {
        return Ok(0);
    }
    let ended = opened.and_then(|()| {
        console::attend(init.pid(), init.pidfd(), &signals, terminal)
            .map_err(Error::io("wait for the container"))
    });
    if ended.is_err() {
        reap_failed(&init);
    }
    erase(&directory, &saved)?;
    ended
}
