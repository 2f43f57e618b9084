//! What a clone has open is its parent's: the user's terminal and files, and
//! whatever the user's shell left open. A container must not meet any of it,
//! neither by a path like `/proc/self/fd/1` that something of it stands for, nor
//! through a namespace it shares. So all of it is closed before the first step
//! inside; the command's own streams wait above 2 meanwhile.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rcnt_base::sys::child::close_all_but;
use rustix::fs::{Mode, OFlags};
use rustix::io::fcntl_dupfd_cloexec;

use crate::spawn::{ChildIo, WindowSize};

/// The command's streams until it gets them.
#[derive(Debug)]
pub(crate) enum Held {
    /// stdin, stdout, stderr; none is 0, 1 or 2.
    Pipes([OwnedFd; 3]),
    /// A pty that is yet to be opened.
    Terminal {
        /// As in [`ChildIo::Terminal`].
        size: Option<WindowSize>,
        /// As in [`ChildIo::Terminal`].
        bare_newlines: bool,
    },
}

/// The host's null device, opened before there is a container to be asked for it.
pub(crate) fn host_null() -> std::io::Result<OwnedFd> {
    Ok(rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

/// Puts `null` at 0, 1 and 2 and closes everything else but `io`, `kept` and the
/// first `passed` ones from 3 on, which are the command's.
/// Called by a clone whose frames up to the clone own nothing that is closed.
pub(crate) fn shed(
    io: ChildIo,
    null: &OwnedFd,
    kept: &[BorrowedFd<'_>],
    passed: u32,
) -> std::io::Result<Held> {
    let above = |fd: &OwnedFd| fcntl_dupfd_cloexec(fd, 3);
    let held = match io {
        ChildIo::Pipes { stdin, stdout, stderr } => {
            let stdin_above = above(stdin.as_ref().unwrap_or(null))?;
            let held = Held::Pipes([stdin_above, above(&stdout)?, above(&stderr)?]);
            // Closed by number below, or replaced where they are 0, 1 or 2.
            std::mem::forget((stdin, stdout, stderr));
            held
        }
        ChildIo::Terminal { size, bare_newlines } => Held::Terminal { size, bare_newlines },
    };
    rustix::stdio::dup2_stdin(null)?;
    rustix::stdio::dup2_stdout(null)?;
    rustix::stdio::dup2_stderr(null)?;
    let mut kept = kept.to_vec();
    if let Held::Pipes(streams) = &held {
        kept.extend(streams.iter().map(AsFd::as_fd));
    }
    close_all_but(3 + passed, &kept)?;
    Ok(held)
}
