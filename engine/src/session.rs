//! The streams of a running command, as a front end sees them: a container's
//! through its supervisor's socket, or an exec'd process's directly.

use std::io;

use rustix::event::PollFd;

pub mod frame;
mod local;
mod remote;

pub use local::Local;
pub(crate) use local::reap;
pub use remote::{Remote, StartReport};

/// Bytes of input that may wait for a command to read them.
const MOST_UNSENT: usize = 64 << 10;

/// Something that happened on a [`Session`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Output, or that of the terminal.
    Stdout(Vec<u8>),
    /// Error output.
    Stderr(Vec<u8>),
    /// The command has ended with this code (128+n after signal n).
    Exited(i32),
    /// The other side is gone without a word.
    Closed,
}

/// A running command's streams.
#[derive(Debug)]
pub enum Session {
    /// A container, through its supervisor.
    Remote(Remote),
    /// An exec'd process, our own child.
    Local(Local),
}

impl Session {
    /// Poll these, then [`Session::read`].
    pub fn poll_fds(&self) -> Vec<PollFd<'_>> {
        match self {
            Session::Remote(remote) => vec![remote.poll_fd()],
            Session::Local(local) => local.poll_fds(),
        }
    }

    /// Whether more input may be written now: while the command does not read,
    /// no more of it should be taken from where it comes.
    pub fn accepts_input(&self) -> bool {
        match self {
            Session::Remote(remote) => remote.unsent() < MOST_UNSENT,
            Session::Local(local) => local.unsent() < MOST_UNSENT,
        }
    }

    /// What has happened since; sends input that waits. Does not block.
    ///
    /// # Errors
    /// The connection broke.
    pub fn read(&mut self) -> io::Result<Vec<Event>> {
        match self {
            Session::Remote(remote) => remote.read(),
            Session::Local(local) => local.read(),
        }
    }

    /// Takes bytes for the command's stdin; what it does not read yet waits
    /// here, see [`Session::accepts_input`].
    ///
    /// # Errors
    /// The connection broke.
    pub fn write_input(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Session::Remote(remote) => remote.send(&frame::Request::Input(bytes.to_vec())),
            Session::Local(local) => {
                local.write_input(bytes);
                Ok(())
            }
        }
    }

    /// Ends the command's stdin.
    pub fn close_input(&mut self) {
        match self {
            // A supervisor that is gone has closed it already.
            Session::Remote(remote) => drop(remote.send(&frame::Request::CloseInput)),
            Session::Local(local) => local.close_input(),
        }
    }

    /// Tells the command its terminal's size.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        match self {
            Session::Remote(remote) => drop(remote.send(&frame::Request::Resize { rows, columns })),
            Session::Local(local) => local.resize(rows, columns),
        }
    }

    /// Sends the command a signal.
    pub fn signal(&mut self, signal: i32) {
        match self {
            Session::Remote(remote) => drop(remote.send(&frame::Request::Signal(signal))),
            Session::Local(local) => local.signal(signal),
        }
    }
}
