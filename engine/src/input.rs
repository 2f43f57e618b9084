//! What is waiting to be written to a command's stdin: the command may be slower than
//! who types, and whoever writes must not wait for it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};

/// Our end of a command's stdin, non-blocking, and what it has not taken yet.
#[derive(Debug)]
pub(crate) struct Input {
    stdin: Option<File>,
    unsent: Vec<u8>,
    /// Close it once `unsent` is written.
    closing: bool,
}

impl Input {
    /// `None`: the command has no stdin of ours, and whatever is sent is dropped.
    pub(crate) fn new(stdin: Option<OwnedFd>) -> Self {
        Self { stdin: stdin.map(Into::into), unsent: Vec::new(), closing: false }
    }

    /// Bytes that wait.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// What to poll while something waits; then [`Self::flush`].
    pub(crate) fn poll_fd(&self) -> Option<PollFd<'_>> {
        let stdin = self.stdin.as_ref().filter(|_| !self.unsent.is_empty());
        stdin.map(|stdin| PollFd::new(stdin, PollFlags::OUT))
    }

    /// Queues bytes and writes what the command takes now.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if self.stdin.is_some() && !self.closing {
            self.unsent.extend_from_slice(bytes);
            self.flush();
        }
    }

    /// Closes stdin when all is written.
    pub(crate) fn close(&mut self) {
        self.closing = true;
        self.flush();
    }

    /// Writes what the command takes now.
    pub(crate) fn flush(&mut self) {
        while let (Some(stdin), false) = (&mut self.stdin, self.unsent.is_empty()) {
            match stdin.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // It does not read any more: nothing else is lost by that.
                Err(_) => {
                    self.unsent.clear();
                    self.closing = true;
                }
            }
        }
        // A supervisor lives long: what a paste needed is given back.
        self.unsent.shrink_to(0);
        if self.closing {
            self.stdin = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn pipe() -> (File, Input) {
        let (theirs, ours) = rustix::pipe::pipe().unwrap();
        rustix::io::ioctl_fionbio(&ours, true).unwrap();
        (theirs.into(), Input::new(Some(ours)))
    }

    #[test]
    fn what_the_command_does_not_take_waits_and_comes_in_order() {
        let (mut theirs, mut input) = pipe();
        let sent: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        input.write(&sent);
        assert!(input.unsent() > 0 && input.poll_fd().is_some());
        input.close();
        input.write(b"after the end");
        let mut got = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let n = theirs.read(&mut chunk).unwrap();
            got.extend_from_slice(&chunk[..n]);
            input.flush();
            if n == 0 {
                break;
            }
        }
        assert_eq!(got, sent);
    }

    #[test]
    fn a_command_that_reads_no_more_is_no_error() {
        let (theirs, mut input) = pipe();
        drop(theirs);
        input.write(b"nobody");
        assert_eq!(input.unsent(), 0);
        assert!(input.poll_fd().is_none());
    }
}
