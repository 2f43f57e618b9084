//! An exec'd process, child of this one: pipes or a pty, and a pidfd.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rcnt_base::sys::child;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use rustix::termios::{Winsize, tcsetwinsize};

use super::Event;
use crate::input::Input;

/// What a process that was joined to a container is connected to.
#[derive(Debug)]
pub struct Local {
    pid: Pid,
    pidfd: OwnedFd,
    input: Input,
    stdout: Option<std::fs::File>,
    stderr: Option<std::fs::File>,
    terminal: bool,
    exit: Option<i32>,
}

impl Local {
    /// A process with three pipes; the ends here are ours.
    pub(crate) fn piped(
        pid: Pid,
        pidfd: OwnedFd,
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> io::Result<Self> {
        for fd in [Some(&stdout), Some(&stderr), stdin.as_ref()].into_iter().flatten() {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        Ok(Self {
            pid,
            pidfd,
            input: Input::new(stdin),
            stdout: Some(stdout.into()),
            stderr: Some(stderr.into()),
            terminal: false,
            exit: None,
        })
    }

    /// A process on a pty whose master is ours.
    pub(crate) fn on_terminal(
        pid: Pid,
        pidfd: OwnedFd,
        master: OwnedFd,
        stdin: bool,
    ) -> io::Result<Self> {
        let input = if stdin { Some(master.try_clone()?) } else { None };
        rustix::io::ioctl_fionbio(&master, true)?;
        Ok(Self {
            pid,
            pidfd,
            input: Input::new(input),
            stdout: Some(master.into()),
            stderr: None,
            terminal: true,
            exit: None,
        })
    }

    /// The process, as this namespace numbers it.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    pub(super) fn poll_fds(&self) -> Vec<PollFd<'_>> {
        let streams = [&self.stdout, &self.stderr].into_iter().flatten();
        let mut fds: Vec<_> = streams.map(|s| PollFd::new(s, PollFlags::IN)).collect();
        if self.exit.is_none() {
            fds.push(PollFd::new(&self.pidfd, PollFlags::IN));
        }
        fds.extend(self.input.poll_fd());
        fds
    }

    pub(super) fn unsent(&self) -> usize {
        self.input.unsent()
    }

    pub(super) fn read(&mut self) -> io::Result<Vec<Event>> {
        self.input.flush();
        // The exit first: what was written before it is then surely readable.
        if self.exit.is_none() {
            self.exit = reap(self.pidfd.as_fd())?;
        }
        let mut events = Vec::new();
        let ended = self.exit.is_some();
        drain(&mut self.stdout, ended, |bytes| events.push(Event::Stdout(bytes)))?;
        drain(&mut self.stderr, ended, |bytes| events.push(Event::Stderr(bytes)))?;
        if let Some(code) = self.exit
            && self.stdout.is_none()
            && self.stderr.is_none()
        {
            events.push(Event::Exited(code));
        }
        Ok(events)
    }

    pub(super) fn write_input(&mut self, bytes: &[u8]) {
        self.input.write(bytes);
    }

    pub(super) fn close_input(&mut self) {
        if self.terminal {
            // A terminal has no end of its own: ^D at the start of a line is it.
            self.write_input(&[4]);
        }
        self.input.close();
    }

    pub(super) fn resize(&self, rows: u16, columns: u16) {
        if let (true, Some(master)) = (self.terminal, &self.stdout) {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            let _ = tcsetwinsize(master, size);
        }
    }

    pub(super) fn signal(&self, signal: i32) {
        // It may have ended just now.
        let _ = child::signal_pidfd(self.pidfd.as_fd(), signal);
    }
}

/// The exit code of a child if it has ended: its own, or 128+n after signal n.
///
/// # Errors
/// It is not our child.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let Some(status) = waitid(WaitId::PidFd(pidfd), options)? else { return Ok(None) };
    Ok(status.exit_status().or_else(|| status.terminating_signal().map(|n| 128 + n)))
}

/// Reads what is there. The stream is closed at its end, and also when its
/// process has `ended` and nothing is left: somebody it left behind may keep
/// the other side open for ever.
fn drain(
    stream: &mut Option<std::fs::File>,
    ended: bool,
    mut give: impl FnMut(Vec<u8>),
) -> io::Result<()> {
    let Some(file) = stream else { return Ok(()) };
    let mut chunk = vec![0u8; 32 << 10];
    // Bounded, so that one loud stream does not starve the other.
    for _ in 0..16 {
        match file.read(&mut chunk) {
            Ok(0) => {
                *stream = None;
                return Ok(());
            }
            Ok(n) => give(chunk.get(..n).unwrap_or_default().to_vec()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                if ended {
                    *stream = None;
                }
                return Ok(());
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // A pty's master says EIO when nobody holds the other side.
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                *stream = None;
                return Ok(());
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
