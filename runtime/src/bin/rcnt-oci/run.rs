//! `run`: create, start, and unless detached wait and delete.

use std::io::{self, Write};
use std::path::Path;

use rcnt_base::report::ExitKind;
use rcnt_runtime::oci::CgroupDriver;
use rustix::process::{getpid, set_child_subreaper};

use crate::args::RunArgs;
use crate::container::{Created, create, reap_failed};
use crate::delete::erase_if_there;
use crate::start::{listen, open_gate, relay, run_poststart};
use crate::{Error, console};

/// Creates and starts the container; its exit code, 0 at once when detached.
pub(crate) fn run(root: &Path, args: &RunArgs, driver: CgroupDriver) -> Result<u8, Error> {
    let signals = match args.detach {
        true => None,
        false => Some(console::hold_signals().map_err(Error::io("block signals"))?),
    };
    if !args.no_subreaper {
        set_child_subreaper(Some(getpid())).map_err(Error::errno("become a subreaper"))?;
    }
    let Created { directory, lock, saved, mut init, terminal } =
        create(root, &args.create, driver, args.detach).map_err(Error::while_starting("run"))?;
    let ended = listen(&directory).and_then(|listening| {
        open_gate(&directory, &saved)?;
        drop(lock);
        // Hooks inside and exec itself can still fail.
        init.wait_running()?;
        run_poststart(&saved)?;
        if let Some(listening) = listening {
            // In the foreground the service is us, who end with the container.
            let own = getpid().as_raw_nonzero().get();
            relay(listening, init.pidfd(), if args.detach { saved.pid } else { own })?;
        }
        match &signals {
            None => Ok(None),
            Some(signals) => console::attend(init.pid(), init.pidfd(), signals, terminal)
                .map(Some)
                .map_err(Error::io("wait for the container")),
        }
    });
    match &ended {
        Ok(None) => return Ok(0),
        Ok(Some(code)) if args.keep => return Ok(*code),
        Ok(Some(_)) => {}
        Err(_) => reap_failed(init.pid(), init.pidfd()),
    }
    erase_if_there(&directory, &saved)?;
    match ended {
        // What the command would have said itself, as under a shell.
        Err(Error::Start(error)) if !args.detach && error.kind != ExitKind::Runtime => {
            let _ = writeln!(io::stderr(), "{error}");
            Ok(error.kind.code())
        }
        ended => ended.map(|code| code.unwrap_or(0)),
    }
}
