//! `attach`.

use rcnt_engine::{Engine, Status};

use super::foreground::{Foreground, Wanted};
use crate::args::container::AttachFlags;
use crate::failure::Failure;

/// `attach`; the exit code is the container's.
///
/// # Errors
/// It does not run; the connection broke.
pub(super) fn attach(engine: &Engine, flags: AttachFlags) -> Result<u8, Failure> {
    let AttachFlags { detach_keys, no_stdin, sig_proxy, container } = flags;
    let container = engine.find(&container)?;
    if container.state.status != Status::Running {
        return Err(Failure::general("cannot attach to a stopped container, start it first"));
    }
    let request = &container.record.request;
    let stdin = request.interactive && !no_stdin;
    let foreground = Foreground::prepare(&Wanted {
        stdin,
        stdout: true,
        stderr: true,
        tty: request.tty,
        keys: detach_keys.as_deref(),
        proxy: sig_proxy && !request.tty,
    })?;
    foreground.run(|size| {
        let mut session = engine.attach(&container, stdin, true)?;
        if let Some(size) = size {
            // A size it has not makes a full-screen program draw itself anew;
            // the right one follows.
            session.resize(size.rows.saturating_add(1), size.columns);
        }
        Ok(session)
    })
}
