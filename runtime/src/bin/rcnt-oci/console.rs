//! A command in the foreground: its exit code, signals passed on, and, when it
//! has a terminal, bytes carried between that and ours.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rcnt_base::sys::child::kill;
use rcnt_base::sys::signals::{SignalFd, set_blocked};
use rcnt_runtime::spawn::WindowSize;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, sendmsg, socket_with,
};
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

/// Hands a pty's master to whoever listens on `socket` (runc's `--console-socket`).
pub(crate) fn send(socket: &Path, master: BorrowedFd<'_>) -> io::Result<()> {
    let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    connect(&stream, &SocketAddrUnix::new(socket)?)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [master];
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let name = io::IoSlice::new(b"/dev/ptmx");
    sendmsg(&stream, &[name], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The size of our own terminal, if stdin is one.
pub(crate) fn own_size() -> Option<WindowSize> {
    let size = tcgetwinsize(rustix::stdio::stdin()).ok()?;
    Some(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// All signals that can be passed on, kept for [`attend`]; before the child
/// exists, so that none is lost.
pub(crate) fn hold_signals() -> io::Result<SignalFd> {
    let all: Vec<i32> = (1..=64).collect();
    set_blocked(&all)?;
    SignalFd::new(&all)
}

/// Our terminal in raw mode while this lives.
struct Raw(Option<Termios>);

impl Raw {
    fn new() -> Self {
        let stdin = rustix::stdio::stdin();
        let saved = tcgetattr(stdin).ok();
        if let Some(mut termios) = saved.clone() {
            termios.make_raw();
            let _ = tcsetattr(stdin, OptionalActions::Now, &termios);
        }
        Self(saved)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(saved) = &self.0 {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, saved);
        }
    }
}

/// Stays until child `pid` has ended; its exit code, 128 + n for signal n.
pub(crate) fn attend(
    pid: Pid,
    pidfd: BorrowedFd<'_>,
    signals: &SignalFd,
    master: Option<OwnedFd>,
) -> io::Result<u8> {
    let _raw = master.is_some().then(Raw::new);
    let mut stdin_open = master.is_some();
    let mut master = master;
    loop {
        let mut fds = vec![PollFd::new(&pidfd, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        let stdin = rustix::stdio::stdin();
        if let Some(fd) = &master {
            fds.push(PollFd::new(fd, PollFlags::IN));
            if stdin_open {
                fds.push(PollFd::new(&stdin, PollFlags::IN));
            }
        }
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let is_ready = |at: usize| ready.get(at).copied().unwrap_or(false);
        if is_ready(1) {
            pass_on(pid, signals, master.as_ref())?;
        }
        if let Some(fd) = &master {
            let ended = is_ready(2) && !carry(fd.as_fd(), rustix::stdio::stdout())?;
            if is_ready(3) && !carry(stdin, fd.as_fd())? {
                stdin_open = false;
            }
            if ended {
                master = None;
            }
        }
        // Its last output first.
        if is_ready(0) && !(master.is_some() && is_ready(2)) {
            return exit_code(pid);
        }
    }
}

/// One read's worth; `false` at the end (EIO is a terminal nobody has open).
fn carry(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<bool> {
    let mut buffer = [0u8; 8192];
    let got = match rustix::io::read(from, &mut buffer[..]) {
        Ok(0) | Err(rustix::io::Errno::IO) => return Ok(false),
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(true),
        other => other?,
    };
    let mut rest = buffer.get(..got).unwrap_or_default();
    while !rest.is_empty() {
        let done = rustix::io::retry_on_intr(|| rustix::io::write(to, rest))?;
        rest = rest.get(done..).unwrap_or_default();
    }
    Ok(true)
}

fn pass_on(pid: Pid, signals: &SignalFd, master: Option<&OwnedFd>) -> io::Result<()> {
    while let Some(received) = signals.read()? {
        match (received.signal, master) {
            (libc::SIGCHLD, _) => {}
            (libc::SIGWINCH, Some(master)) => {
                if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
                    tcsetwinsize(master, size)?;
                }
            }
            // Gone already: its end is noticed next.
            (signal, _) => drop(kill(pid, signal)),
        }
    }
    Ok(())
}

/// Reaps `pid`.
pub(crate) fn exit_code(pid: Pid) -> io::Result<u8> {
    let waited = rustix::io::retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()))?;
    let Some((_, status)) = waited else { return Ok(255) };
    let code = status.exit_status().or(status.terminating_signal().map(|n| 128 + n));
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}
