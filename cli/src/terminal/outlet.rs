//! Bytes on their way to stdout or stderr. These belong to the user, may be
//! slow, and are shared with other processes, so they are never switched to
//! non-blocking: at most [`rustix::pipe::PIPE_BUF`] bytes go out per readiness,
//! which a ready pipe always takes at once (pipe(7)).

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};

/// So much waits here before no more is read from the container.
const HIGH_WATER: usize = 256 << 10;

/// One stream and what it has not taken yet.
#[derive(Debug)]
pub(super) struct Outlet<'a> {
    fd: BorrowedFd<'a>,
    waiting: Vec<u8>,
    taken: usize,
    /// Bytes that one write may carry without blocking.
    portion: usize,
}

impl<'a> Outlet<'a> {
    /// Nothing waits yet.
    pub(super) fn new(fd: BorrowedFd<'a>) -> Self {
        let kind = fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let portion = match kind {
            Ok(FileType::RegularFile) => HIGH_WATER,
            _ => rustix::pipe::PIPE_BUF,
        };
        Self { fd, waiting: Vec::new(), taken: 0, portion }
    }

    /// Adds bytes and writes what is taken right now.
    ///
    /// # Errors
    /// The kernel's reason; `BrokenPipe` when the reader is gone.
    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.taken > 0 {
            self.waiting.drain(..self.taken);
            self.taken = 0;
        }
        self.waiting.extend_from_slice(bytes);
        self.flush()
    }

    /// Whether anything waits.
    pub(super) fn waits(&self) -> bool {
        self.taken < self.waiting.len()
    }

    /// Whether so much waits that no more should come.
    pub(super) fn full(&self) -> bool {
        self.waiting.len() - self.taken >= HIGH_WATER
    }

    /// To be polled while something waits.
    pub(super) fn fd(&self) -> BorrowedFd<'a> {
        self.fd
    }

    /// Writes while the stream takes more at once.
    ///
    /// # Errors
    /// As [`Outlet::push`].
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.waits() && self.ready()? {
            let rest = self.waiting.get(self.taken..).unwrap_or_default();
            let portion = rest.get(..self.portion).unwrap_or(rest);
            match rustix::io::write(self.fd, portion) {
                Ok(written) => self.taken += written,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        if !self.waits() {
            self.waiting.clear();
            self.taken = 0;
        }
        Ok(())
    }

    fn ready(&self) -> io::Result<bool> {
        let fd = self.fd;
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}
