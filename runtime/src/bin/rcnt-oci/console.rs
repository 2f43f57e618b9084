//! A command in the foreground: its exit code, signals passed on, orphans
//! reaped, and, when it has a terminal, bytes carried between that and ours.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rcnt_base::sys::child::kill;
use rcnt_base::sys::signals::{SignalFd, set_blocked};
use rcnt_runtime::spawn::WindowSize;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, wait, waitpid};
use rustix::termios::{
    OptionalActions, OutputModes, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

/// Our own terminal, on whichever stream it is, or the controlling one.
fn own_terminal() -> Option<OwnedFd> {
    use rustix::stdio::{stderr, stdin, stdout};
    let streams = [stderr(), stdout(), stdin()];
    let of_stream = streams.into_iter().find(|fd| rustix::termios::isatty(fd));
    match of_stream {
        Some(fd) => rustix::io::fcntl_dupfd_cloexec(fd, 3).ok(),
        None => {
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            rustix::fs::open("/dev/tty", flags, Mode::empty()).ok()
        }
    }
}

/// The size of our own terminal, if we have one.
pub(crate) fn own_size() -> Option<WindowSize> {
    let size = tcgetwinsize(own_terminal()?).ok()?;
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
struct Raw(Option<(OwnedFd, Termios)>);

impl Raw {
    fn new() -> Self {
        let found = own_terminal().and_then(|fd| tcgetattr(&fd).ok().map(|saved| (fd, saved)));
        if let Some((fd, saved)) = &found {
            let mut termios = saved.clone();
            termios.make_raw();
            // The inner one leaves line feeds as they are: `ChildIo::Terminal`.
            termios.output_modes |= OutputModes::OPOST;
            let _ = tcsetattr(fd, OptionalActions::Now, &termios);
        }
        Self(found)
    }

    /// Gives the inner terminal our size.
    fn resize(&self, master: &OwnedFd) {
        // A master whose other end is closed has no size any more.
        if let Some((fd, _)) = &self.0
            && let Ok(size) = tcgetwinsize(fd)
        {
            let _ = tcsetwinsize(master, size);
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some((fd, saved)) = &self.0 {
            let _ = tcsetattr(fd, OptionalActions::Drain, saved);
        }
    }
}

/// The command's terminal, and ours around it.
struct Terminal {
    master: Option<OwnedFd>,
    stdin_open: bool,
    raw: Raw,
}

impl Terminal {
    fn new(master: OwnedFd) -> Self {
        let raw = Raw::new();
        raw.resize(&master);
        Self { master: Some(master), stdin_open: true, raw }
    }

    /// Carries what there is, after a poll(2) that said which ends have something.
    fn carry(&mut self, from_command: bool, from_us: bool) -> io::Result<()> {
        let Some(master) = &self.master else { return Ok(()) };
        let stdin = rustix::stdio::stdin();
        if from_us && !carry(stdin, master.as_fd())? {
            self.stdin_open = false;
        }
        if from_command && !carry(master.as_fd(), rustix::stdio::stdout())? {
            self.master = None;
        }
        Ok(())
    }
}

/// Stays until child `pid` has ended; its exit code, 128 + n for signal n.
pub(crate) fn attend(
    pid: Pid,
    pidfd: BorrowedFd<'_>,
    signals: &SignalFd,
    master: Option<OwnedFd>,
) -> io::Result<u8> {
    let mut terminal = master.map(Terminal::new);
    let mut code = None;
    loop {
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        // A process that has ended would end every further poll at once.
        let timeout = code.map(|_| rustix::time::Timespec::default());
        if code.is_none() {
            fds.push(PollFd::new(&pidfd, PollFlags::IN));
        }
        let stdin = rustix::stdio::stdin();
        let at = fds.len();
        if let Some(Terminal { master: Some(master), stdin_open, .. }) = &terminal {
            fds.push(PollFd::new(master, PollFlags::IN));
            if *stdin_open && code.is_none() {
                fds.push(PollFd::new(&stdin, PollFlags::IN));
            }
        }
        match poll(&mut fds, timeout.as_ref()) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let is_ready = |at: usize| ready.get(at).copied().unwrap_or(false);
        if is_ready(0) {
            pass_on(pid, signals, terminal.as_ref())?;
        }
        if let Some(terminal) = &mut terminal {
            terminal.carry(is_ready(at), is_ready(at + 1))?;
        }
        // Its last output first.
        if let (Some(code), false) = (code, is_ready(at)) {
            return Ok(code);
        }
        code = code.or(reap(pid)?);
    }
}

/// One read's worth; `false` at the end (EIO is a terminal nobody has open).
fn carry(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<bool> {
    let mut buffer = [0u8; 8192];
    let got = match rustix::io::read(from, &mut buffer[..]) {
        Ok(0) | Err(Errno::IO) => return Ok(false),
        Err(Errno::INTR | Errno::AGAIN) => return Ok(true),
        other => other?,
    };
    let mut rest = buffer.get(..got).unwrap_or_default();
    while !rest.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(to, rest)) {
            Ok(done) => rest = rest.get(done..).unwrap_or_default(),
            // Nobody reads any more; the command goes on all the same.
            Err(Errno::PIPE | Errno::IO) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

fn pass_on(pid: Pid, signals: &SignalFd, terminal: Option<&Terminal>) -> io::Result<()> {
    while let Some(received) = signals.read()? {
        match (received.signal, terminal) {
            (libc::SIGCHLD, _) => {}
            (libc::SIGWINCH, Some(Terminal { master: Some(master), raw, .. })) => {
                raw.resize(master);
            }
            // Gone already: its end is noticed next.
            (signal, _) => drop(kill(pid, signal)),
        }
    }
    Ok(())
}

/// Reaps every child that has ended, the command's orphans among them; the exit
/// code of `pid` if it was one.
fn reap(pid: Pid) -> io::Result<Option<u8>> {
    let mut code = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((ended, status))) if ended == pid => code = Some(code_of(status)),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(code),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits for `pid` alone.
pub(crate) fn exit_code(pid: Pid) -> io::Result<u8> {
    let waited = rustix::io::retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()))?;
    Ok(waited.map_or(255, |(_, status)| code_of(status)))
}

fn code_of(status: WaitStatus) -> u8 {
    let code = status.exit_status().or(status.terminating_signal().map(|n| 128 + n));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}
