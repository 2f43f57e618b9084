//! The user's terminal while a command of a container is in the foreground.
//!
//! - [`keys`]   the sequence that detaches
//! - [`raw`]    raw mode, undone at every way out
//! - [`outlet`] bytes to stdout and stderr, however slowly they are taken
//! - [`attach`] the loop between terminal, signals and container
//!
//! One thread, one poll loop: the engine forks from this process.

pub(crate) mod attach;
pub(crate) mod keys;
mod outlet;
pub(crate) mod raw;
#[cfg(test)]
mod tests;

use std::os::fd::AsFd;

/// The terminal's size as (rows, columns); `None` if it is no terminal, or one
/// that does not know.
pub(crate) fn size(fd: impl AsFd) -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(fd).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}
