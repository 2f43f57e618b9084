//! The one socket between whoever starts a command and the child that becomes it:
//!
//! ```text
//! parent ◀─ 'b' + pid ──────────── child     born, told by whoever made it in our place
//! parent ── 'i' ─────────────────▶ child     its user and group ids mean something
//! parent ◀─ 'm' ────────────────── child     all is mounted, the root not yet changed
//! parent ── 'h' ─────────────────▶ child     the hooks outside have run
//! parent ── 'g' ─────────────────▶ child     go: what is outside is ready
//! parent ◀─ 'x' (+ pty master) ─── child     everything is done but execve; what took how long
//! parent ◀─ 'n' + number ──────── child     the filter is loaded, its notifications are read there
//! parent ── 's' ─────────────────▶ child     that descriptor is taken
//! parent ◀─ 'e' + JSON ─────────── child     it could not be done
//! parent ◀─ end of file ────────── child     after 'x': running; before: it died
//! ```
//!
//! The first four only where they are needed. Both ends are close-on-exec, so a successful execve(2) ends the talk by itself.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rcnt_base::report::{ExitKind, StartError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

const BORN: u8 = b'b';
const MAPPED: u8 = b'i';
const MOUNTED: u8 = b'm';
const HOOKED: u8 = b'h';
const GO: u8 = b'g';
const EXECUTING: u8 = b'x';
const LISTENING: u8 = b'n';
const SEEN: u8 = b's';
const FAILED: u8 = b'e';
/// No report is longer; a seqpacket socket keeps messages whole.
const LARGEST: usize = 32 * 1024;

/// Makes a channel: the parent's end and the child's.
pub(crate) fn pair() -> io::Result<(ParentEnd, ChildEnd)> {
    let (parent, child) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((ParentEnd(parent), ChildEnd(child)))
}

/// Held by the process that starts.
#[derive(Debug)]
pub(crate) struct ParentEnd(OwnedFd);

/// Held by the process being started.
#[derive(Debug)]
pub(crate) struct ChildEnd(OwnedFd);

impl ParentEnd {
    /// Tells the child to go on.
    pub(crate) fn go(&self) -> io::Result<()> {
        self.tell(GO)
    }

    /// Tells the child that its ids are mapped.
    pub(crate) fn mapped(&self) -> io::Result<()> {
        self.tell(MAPPED)
    }

    /// Tells the child that the hooks outside have run.
    pub(crate) fn hooked(&self) -> io::Result<()> {
        self.tell(HOOKED)
    }

    /// A child that is gone has told why, or nobody will: that is for the next wait.
    fn tell(&self, what: u8) -> io::Result<()> {
        let nothing = &mut SendAncillaryBuffer::default();
        match sendmsg(&self.0, &[IoSlice::new(&[what])], nothing, SendFlags::NOSIGNAL) {
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            // It would wait for ever.
            Err(errno) => Err(errno.into()),
        }
    }

    /// Blocks until the process has been made; its pid.
    pub(crate) fn wait_born(&self) -> Result<i32, StartError> {
        match self.receive().map_err(broken)?.0.split_first() {
            Some((&BORN, pid)) => {
                let pid = pid.try_into().map(i32::from_ne_bytes);
                pid.map_err(|e| broken(io::Error::other(e)))
            }
            Some((&FAILED, json)) => Err(report(json)),
            _ => Err(died()),
        }
    }

    /// Blocks until all is mounted.
    pub(crate) fn wait_mounted(&self) -> Result<(), StartError> {
        match self.receive().map_err(broken)?.0.split_first() {
            Some((&MOUNTED, _)) => Ok(()),
            Some((&FAILED, json)) => Err(report(json)),
            _ => Err(died()),
        }
    }

    /// Blocks until all is done but execve, or something failed; the terminal, if
    /// the child made one.
    pub(crate) fn wait_ready(&self) -> Result<Option<OwnedFd>, StartError> {
        let (first, terminal) = self.receive().map_err(broken)?;
        match first.split_first() {
            Some((&EXECUTING, times)) => {
                if !times.is_empty() {
                    log::debug!("init: {}", String::from_utf8_lossy(times));
                }
                Ok(terminal)
            }
            Some((&FAILED, json)) => Err(report(json)),
            _ => Err(died()),
        }
    }

    /// Blocks until a child that was ready has loaded its filter; takes the
    /// descriptor of the notifications from it (`child` is its pidfd).
    pub(crate) fn take_listener(&self, child: BorrowedFd<'_>) -> Result<OwnedFd, StartError> {
        match self.receive().map_err(broken)?.0.split_first() {
            Some((&LISTENING, number)) => {
                let number = number.try_into().map(i32::from_ne_bytes);
                let number = number.map_err(|e| broken(io::Error::other(e)))?;
                let taken = pidfd_getfd(child, number, PidfdGetfdFlags::empty());
                let taken = taken.map_err(|errno| broken(errno.into()))?;
                self.tell(SEEN).map_err(broken)?;
                Ok(taken)
            }
            Some((&FAILED, json)) => Err(report(json)),
            _ => Err(died()),
        }
    }

    /// Blocks until the child has executed or failed; the terminal, if it made one.
    #[cfg(test)]
    pub(crate) fn wait(&self) -> Result<Option<OwnedFd>, StartError> {
        let terminal = self.wait_ready()?;
        self.wait_executed()?;
        Ok(terminal)
    }

    /// Blocks until a child that was ready has executed or failed.
    pub(crate) fn wait_executed(&self) -> Result<(), StartError> {
        let (second, _) = self.receive().map_err(broken)?;
        match second.split_first() {
            None => Ok(()),
            Some((_, json)) => Err(report(json)),
        }
    }

    /// What the child reported, once it has ended; `None` if it ended without a word.
    pub(crate) fn last_words(&self) -> Option<StartError> {
        loop {
            let (message, _) = self.receive().ok()?;
            match message.split_first()? {
                (&FAILED, json) => return Some(report(json)),
                _ => continue,
            }
        }
    }

    fn receive(&self) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
        let mut bytes = vec![0; LARGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffers = [IoSliceMut::new(&mut bytes)];
        let got = loop {
            match recvmsg(&self.0, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC) {
                // The peer has died with our "go" unread. That is told once, and
                // before what it said last.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                other => break other?.bytes,
            }
        };
        bytes.truncate(got);
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        Ok((bytes, fds.flatten().next()))
    }
}

fn died() -> StartError {
    broken(io::Error::other("the container's first process died during set-up"))
}

fn broken(error: io::Error) -> StartError {
    StartError::new("start", ExitKind::Runtime, &error)
}

fn report(json: &[u8]) -> StartError {
    serde_json::from_slice(json)
        .unwrap_or_else(|error| StartError::new("start", ExitKind::Runtime, &error))
}

impl AsFd for ParentEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for ChildEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ChildEnd {
    /// Blocks until the parent says "go"; `false` when the parent is gone.
    pub(crate) fn wait_go(&self) -> io::Result<bool> {
        self.hear(GO)
    }

    /// Blocks until the ids are mapped; `false` when the parent is gone.
    pub(crate) fn wait_mapped(&self) -> io::Result<bool> {
        self.hear(MAPPED)
    }

    /// Says that all is mounted and blocks until the hooks outside have run;
    /// `false` when the parent is gone.
    pub(crate) fn wait_hooked(&self) -> io::Result<bool> {
        rustix::io::write(&self.0, &[MOUNTED])?;
        self.hear(HOOKED)
    }

    /// Says which process goes on in the place of this one.
    pub(crate) fn born(&self, pid: i32) -> io::Result<()> {
        let mut message = vec![BORN];
        message.extend(pid.to_ne_bytes());
        rustix::io::write(&self.0, &message).map(drop)?;
        Ok(())
    }

    fn hear(&self, what: u8) -> io::Result<bool> {
        let mut byte = [0u8; 1];
        let got = retry_on_intr(|| rustix::io::read(&self.0, &mut byte[..]))?;
        Ok(got == 1 && byte == [what])
    }

    /// Whether the other end is still open.
    pub(crate) fn is_heard(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [PollFd::new(&self.0, PollFlags::empty())];
        let asked = retry_on_intr(|| poll(&mut fds, Some(&now)));
        asked.is_ok() && fds.iter().all(|fd| !fd.revents().contains(PollFlags::HUP))
    }

    /// Says that only execve(2) is left to do and what took how long (perhaps
    /// nothing), and hands over the pty's master.
    pub(crate) fn executing(
        &self,
        terminal: Option<BorrowedFd<'_>>,
        times: &str,
    ) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<BorrowedFd<'_>> = terminal.into_iter().collect();
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::Error::other("no room for one descriptor"));
        }
        let message = [IoSlice::new(&[EXECUTING]), IoSlice::new(times.as_bytes())];
        sendmsg(&self.0, &message, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Lets the parent take the filter's descriptor, by the few calls that a
    /// filter cannot do without (see [`crate::seccomp::listener`]).
    pub(crate) fn listening(&self, listener: BorrowedFd<'_>) -> io::Result<()> {
        let mut message = vec![LISTENING];
        message.extend(listener.as_raw_fd().to_ne_bytes());
        rustix::io::write(&self.0, &message)?;
        let mut byte = [0u8; 1];
        match retry_on_intr(|| rustix::io::read(&self.0, &mut byte[..]))? {
            1 if byte == [SEEN] => Ok(()),
            _ => Err(io::Error::other("whoever was to take it is gone")),
        }
    }

    /// Reports why not. Nothing can be done when even that does not work.
    ///
    /// By write(2): a seccomp filter that is loaded by now lets that pass more
    /// often than anything else.
    pub(crate) fn failed(&self, error: &StartError) {
        let mut error = error.clone();
        let mut end = error.message.len().min(LARGEST / 8);
        while !error.message.is_char_boundary(end) {
            end -= 1;
        }
        error.message.truncate(end);
        let mut bytes = vec![FAILED];
        if serde_json::to_writer(&mut bytes, &error).is_ok() {
            let _ = rustix::io::write(&self.0, &bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_before_the_last_step_means_death() {
        let (parent, child) = pair().unwrap();
        drop(child);
        assert!(parent.wait().unwrap_err().message.contains("died"));
    }

    #[test]
    fn a_descriptor_and_the_end_of_file_mean_started() {
        let (parent, child) = pair().unwrap();
        parent.go().unwrap();
        assert!(child.wait_go().unwrap());
        child.executing(Some(std::io::stdin().as_fd()), "").unwrap();
        drop(child);
        assert!(parent.wait().unwrap().is_some());
    }

    #[test]
    fn a_failure_after_the_last_step_is_still_heard() {
        let (parent, child) = pair().unwrap();
        child.executing(None, "").unwrap();
        let huge = "é\u{1}".repeat(100_000);
        let sent = StartError {
            stage: "exec".into(),
            message: huge,
            kind: ExitKind::NotFound,
            errno: None,
        };
        child.failed(&sent);
        drop(child);
        assert_eq!(parent.wait().unwrap_err().kind, ExitKind::NotFound);
    }

    #[test]
    fn the_last_words_of_a_child_that_did_not_listen_are_heard() {
        let (parent, child) = pair().unwrap();
        parent.go().unwrap();
        let sent = StartError {
            stage: "x".into(),
            message: "y".into(),
            kind: ExitKind::NotFound,
            errno: None,
        };
        child.failed(&sent);
        drop(child);
        assert_eq!(parent.wait().unwrap_err(), sent);
    }

    #[test]
    fn a_child_that_is_gone_need_not_be_told() {
        let (parent, child) = pair().unwrap();
        drop(child);
        parent.go().unwrap();
        let (parent, child) = pair().unwrap();
        parent.go().unwrap();
        drop(child);
        parent.hooked().unwrap();
        assert!(parent.wait().is_err());
    }

    #[test]
    fn the_last_words_are_the_childs_own_or_none() {
        let (parent, child) = pair().unwrap();
        let sent = StartError {
            stage: "x".into(),
            message: "y".into(),
            kind: ExitKind::NotFound,
            errno: None,
        };
        child.executing(None, "").unwrap();
        child.failed(&sent);
        drop(child);
        assert_eq!(parent.last_words(), Some(sent));
        let (parent, child) = pair().unwrap();
        drop(child);
        assert_eq!(parent.last_words(), None);
    }

    #[test]
    fn a_parent_that_is_gone_is_noticed() {
        let (parent, child) = pair().unwrap();
        assert!(child.is_heard());
        drop(parent);
        assert!(!child.is_heard() && !child.wait_go().unwrap());
    }
}
