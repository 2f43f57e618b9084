//! Our side of the command's streams: pipes, or the master of its pty.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::termios::{Winsize, tcsetwinsize};

use super::log::Stream;
use crate::input::Input;

/// Bytes of input kept for a command that does not read them yet.
const MOST_INPUT: usize = 256 << 10;

/// The streams of one command; all non-blocking.
#[derive(Debug)]
pub(super) struct Streams {
    input: Input,
    stdout: Option<File>,
    stderr: Option<File>,
    terminal: bool,
    /// Nobody held the pty's other side when it was last read. It stays readable
    /// then, with an error, so it is not polled.
    hung_up: bool,
}

impl Streams {
    /// Three pipes.
    ///
    /// # Errors
    /// They cannot be made non-blocking.
    pub(super) fn pipes(
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> io::Result<Self> {
        for fd in [Some(&stdout), Some(&stderr), stdin.as_ref()].into_iter().flatten() {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        Ok(Self {
            input: Input::new(stdin),
            stdout: Some(stdout.into()),
            stderr: Some(stderr.into()),
            terminal: false,
            hung_up: false,
        })
    }

    /// The master of a pty.
    ///
    /// # Errors
    /// It cannot be made non-blocking.
    pub(super) fn terminal(master: OwnedFd, interactive: bool) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&master, true)?;
        let stdin = if interactive { Some(master.try_clone()?) } else { None };
        Ok(Self {
            input: Input::new(stdin),
            stdout: Some(master.into()),
            stderr: None,
            terminal: true,
            hung_up: false,
        })
    }

    /// Whether more input may be taken from clients.
    pub(super) fn take_input(&self) -> bool {
        self.input.unsent() < MOST_INPUT
    }

    /// What to poll: stdout, stderr, stdin. Output is taken only while the
    /// clients `keep_up`.
    pub(super) fn poll_fds(&self, keep_up: bool) -> Vec<PollFd<'_>> {
        let mut fds = Vec::with_capacity(3);
        if keep_up && !self.hung_up {
            fds.extend(
                self.stdout.iter().chain(&self.stderr).map(|f| PollFd::new(f, PollFlags::IN)),
            );
        }
        fds.extend(self.input.poll_fd());
        fds
    }

    /// Queues input and writes what the command takes.
    pub(super) fn write_input(&mut self, bytes: &[u8]) {
        self.input.write(bytes);
    }

    /// Ends stdin when all input is written. A terminal stays open, as docker's.
    pub(super) fn close_input(&mut self) {
        if !self.terminal {
            self.input.close();
        }
    }

    /// Writes what the command's stdin takes now.
    pub(super) fn flush_input(&mut self) {
        self.input.flush();
    }

    /// Reads a chunk of each stream that has one; `false` when there was none.
    pub(super) fn read(&mut self, buffer: &mut [u8], mut give: impl FnMut(Stream, &[u8])) -> bool {
        let out = match read_one(&mut self.stdout, buffer, |b| give(Stream::Stdout, b)) {
            Chunk::HangUp if self.terminal => {
                self.hung_up = true;
                false
            }
            read => read.had_data(&mut self.stdout),
        };
        let err = read_one(&mut self.stderr, buffer, |b| give(Stream::Stderr, b));
        out | err.had_data(&mut self.stderr)
    }

    /// Whether a process that still lives has let go of its terminal.
    pub(super) fn is_hung_up(&self) -> bool {
        self.hung_up
    }

    /// The terminal may be held open again: read it once more.
    pub(super) fn look_again(&mut self) {
        self.hung_up = false;
    }

    /// Sets the terminal's size.
    pub(super) fn resize(&self, rows: u16, columns: u16) {
        if let (true, Some(master)) = (self.terminal, &self.stdout) {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            // Its last process may have closed it just now.
            let _ = tcsetwinsize(master, size);
        }
    }
}

/// What reading a stream came to.
enum Chunk {
    Data,
    Nothing,
    End,
    /// EIO: nobody holds the pty's other side.
    HangUp,
}

impl Chunk {
    /// Whether there was data; a stream at its end is closed.
    fn had_data(self, stream: &mut Option<File>) -> bool {
        if matches!(self, Chunk::End | Chunk::HangUp) {
            *stream = None;
        }
        matches!(self, Chunk::Data)
    }
}

fn read_one(stream: &mut Option<File>, buffer: &mut [u8], give: impl FnOnce(&[u8])) -> Chunk {
    let Some(file) = stream else { return Chunk::Nothing };
    match file.read(buffer) {
        Ok(0) => Chunk::End,
        Ok(n) => {
            give(buffer.get(..n).unwrap_or_default());
            Chunk::Data
        }
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Chunk::Nothing
        }
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Chunk::HangUp,
        Err(_) => Chunk::End,
    }
}
