//! `start`.

use rcnt_engine::{Engine, StartMode, Status};

use super::foreground::{Foreground, Wanted};
use crate::args::container::StartFlags;
use crate::failure::Failure;

/// `start`: several at once, or one in the foreground.
///
/// # Errors
/// Why the one in the foreground does not run; several with `-a` or `-i`.
pub(super) fn start(engine: &Engine, flags: &StartFlags) -> Result<u8, Failure> {
    if !flags.attach && !flags.interactive {
        return super::each(&flags.containers, |name| {
            let container = engine.find(name)?;
            engine.start(&container, StartMode::Detached)?;
            Ok(name.to_owned())
        });
    }
    let [name] = flags.containers.as_slice() else {
        return Err(Failure::general("you cannot start and attach multiple containers at once"));
    };
    let container = engine.find(name)?;
    let request = &container.record.request;
    let stdin = flags.interactive && request.interactive;
    let foreground = Foreground::prepare(&Wanted {
        stdin,
        stdout: true,
        stderr: true,
        tty: request.tty,
        keys: flags.detach_keys.as_deref(),
        proxy: true,
    })?;
    foreground.run(|size| {
        Ok(match container.state.status {
            Status::Running => engine.attach(&container, stdin, true)?,
            _ => engine.start(&container, StartMode::Attached { size })?,
        })
    })
}
