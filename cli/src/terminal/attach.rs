//! The loop of a command in the foreground: what is typed goes in, what is
//! printed comes out, signals are passed on, until it ends or is detached from.
//!
//! ```text
//!   stdin ──► Watch (detach keys) ──► Streams ──► container
//!   stdout ◄── Outlet ◄────────────── Streams ◄── container
//!   signalfd ──► resize, pass on, or leave
//! ```
//! A reader that is slow stops the reading of the container's output, and a
//! container that does not read stops the reading of stdin; signals and the
//! other direction go on.

use std::io;
use std::os::fd::BorrowedFd;

use rcnt_base::sys::signals::{self, SavedMask, SignalFd};
use rcnt_engine::session::{Event, Session};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;

use super::keys::{Typed, Watch};
use super::outlet::Outlet;
use super::raw::RawMode;

/// What runs at the other end. The engine's sessions, and pipes in tests.
pub(crate) trait Streams {
    /// Poll these, then [`Streams::read`].
    fn poll_fds(&self) -> Vec<PollFd<'_>>;
    /// Whether more input may be written now.
    fn accepts_input(&self) -> bool;
    /// What has happened since; does not block.
    fn read(&mut self) -> io::Result<Vec<Event>>;
    /// Takes bytes for stdin.
    fn write_input(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Ends stdin.
    fn close_input(&mut self);
    /// The terminal's size has changed.
    fn resize(&mut self, rows: u16, columns: u16);
    /// Sends a signal.
    fn signal(&mut self, signal: i32);
}

impl Streams for Session {
    fn poll_fds(&self) -> Vec<PollFd<'_>> {
        self.poll_fds()
    }
    fn accepts_input(&self) -> bool {
        self.accepts_input()
    }
    fn read(&mut self) -> io::Result<Vec<Event>> {
        self.read()
    }
    fn write_input(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_input(bytes)
    }
    fn close_input(&mut self) {
        self.close_input();
    }
    fn resize(&mut self, rows: u16, columns: u16) {
        self.resize(rows, columns);
    }
    fn signal(&mut self, signal: i32) {
        self.signal(signal);
    }
}

/// Our side.
pub(crate) struct Ends<'a> {
    /// Read from here; `None` without `-i`.
    pub(crate) stdin: Option<BorrowedFd<'a>>,
    /// The container's stdout goes here; `None` without `-a stdout`.
    pub(crate) stdout: Option<BorrowedFd<'a>>,
    /// The container's stderr goes here; `None` without `-a stderr`.
    pub(crate) stderr: Option<BorrowedFd<'a>>,
    /// The container has a terminal: keys detach, sizes are passed on.
    pub(crate) tty: bool,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The command did, with this code.
    Exited(i32),
    /// The user left it running.
    Detached,
    /// The other side is gone without a word.
    Lost,
    /// Nobody reads our output any more.
    OutputGone,
    /// A signal to us that is not passed on.
    Signalled(i32),
}

/// Signals caught while attached: blocked from before the container starts, so
/// that none is missed, until this is dropped.
#[derive(Debug)]
pub(crate) struct Caught {
    fd: SignalFd,
    proxy: bool,
    before: SavedMask,
}

impl Caught {
    /// Catches what is passed on to the container (`proxy`), or else what would
    /// end us while the terminal is raw.
    ///
    /// # Errors
    /// The kernel's reason.
    pub(crate) fn new(proxy: bool) -> io::Result<Self> {
        let mut caught: Vec<i32> =
            [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, Signal::CONT, Signal::WINCH]
                .map(Signal::as_raw)
                .into();
        if proxy {
            // docker passes on all but those about ourselves: faults, children,
            // pipes, terminal access, urgent data.
            caught.extend(
                [Signal::USR1, Signal::USR2, Signal::ALARM, Signal::TSTP].map(Signal::as_raw),
            );
            caught.extend(34..=64); // the real-time signals glibc leaves to programs
        }
        let before = signals::block(&caught)?;
        Ok(Self { fd: SignalFd::new(&caught)?, proxy, before })
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        // Cannot fail: the mask was read from this very thread.
        let _ = signals::restore(&self.before);
    }
}

/// Runs the loop to its end. The terminal is as before when this returns.
///
/// # Errors
/// The connection to the container broke, or our own output failed.
pub(crate) fn attach(
    streams: &mut dyn Streams,
    ends: &Ends<'_>,
    watch: Option<Watch>,
    caught: &Caught,
) -> io::Result<Ended> {
    let raw = ends.stdin.filter(|_| ends.tty).and_then(RawMode::enter);
    let mut attached = Attached {
        stdin: ends.stdin,
        stdout: ends.stdout.map(Outlet::new),
        stderr: ends.stderr.map(Outlet::new),
        terminal: ends.stdout.or(ends.stdin).filter(|_| ends.tty),
        watch: watch.filter(|_| ends.tty),
        raw,
        asked_to_end: 0,
        ended: None,
    };
    attached.resize(streams);
    // What came along with the start is there already and wakes no poll.
    attached.receive(streams)?;
    loop {
        if let Some(ended) = attached.over() {
            return Ok(ended);
        }
        attached.wait(streams, caught)?;
    }
}

/// A command that ignores so many requests to end is left to itself, as docker does.
const MOST_REQUESTS: u32 = 3;

struct Attached<'a> {
    /// `None` once it has ended.
    stdin: Option<BorrowedFd<'a>>,
    stdout: Option<Outlet<'a>>,
    stderr: Option<Outlet<'a>>,
    /// Whose size counts.
    terminal: Option<BorrowedFd<'a>>,
    watch: Option<Watch>,
    raw: Option<RawMode>,
    /// Interrupts and terminations so far.
    asked_to_end: u32,
    /// Set as soon as it is known; output may still wait to be written.
    ended: Option<Ended>,
}

/// Which descriptors were ready.
#[derive(Default)]
struct Ready {
    signals: bool,
    stdin: bool,
    streams: bool,
}

impl<'a> Attached<'a> {
    /// How it ended, once all output is out.
    fn over(&self) -> Option<Ended> {
        match self.ended {
            Some(Ended::Exited(_) | Ended::Lost) if self.outlets().any(Outlet::waits) => None,
            ended => ended,
        }
    }

    fn outlets(&self) -> impl Iterator<Item = &Outlet<'a>> {
        self.stdout.iter().chain(&self.stderr)
    }

    fn wait(&mut self, streams: &mut dyn Streams, caught: &Caught) -> io::Result<()> {
        let ready = self.poll(streams, caught)?;
        if ready.signals {
            while let Some(received) = caught.fd.read()? {
                self.signal(streams, caught, received.signal);
            }
        }
        self.flush()?;
        if ready.streams {
            self.receive(streams)?;
        }
        if ready.stdin {
            self.type_in(streams)?;
        }
        Ok(())
    }

    fn poll(&self, streams: &dyn Streams, caught: &Caught) -> io::Result<Ready> {
        let open = self.ended.is_none();
        let mut fds = vec![PollFd::new(&caught.fd, PollFlags::IN)];
        let stdin = self.stdin.as_ref().filter(|_| open && streams.accepts_input());
        fds.extend(stdin.map(|fd| PollFd::new(fd, PollFlags::IN)));
        let first_outlet = fds.len();
        let waiting: Vec<_> = self.outlets().filter(|o| o.waits()).map(Outlet::fd).collect();
        fds.extend(waiting.iter().map(|fd| PollFd::new(fd, PollFlags::OUT)));
        let first_stream = fds.len();
        if open && !self.outlets().any(Outlet::full) {
            fds.extend(streams.poll_fds());
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |fd: Option<&PollFd<'_>>| fd.is_some_and(|fd| !fd.revents().is_empty());
        Ok(Ready {
            signals: ready(fds.first()),
            stdin: first_outlet == 2 && ready(fds.get(1)),
            streams: fds.iter().skip(first_stream).any(|fd| ready(Some(fd))),
        })
    }

    /// Takes what has come from the container.
    fn receive(&mut self, streams: &mut dyn Streams) -> io::Result<()> {
        for event in streams.read()? {
            let written = match event {
                Event::Stdout(bytes) => self.stdout.as_mut().map(|out| out.push(&bytes)),
                Event::Stderr(bytes) => self.stderr.as_mut().map(|out| out.push(&bytes)),
                Event::Exited(code) => {
                    self.ended.get_or_insert(Ended::Exited(code));
                    None
                }
                Event::Closed => {
                    self.ended.get_or_insert(Ended::Lost);
                    None
                }
            };
            self.written(written.unwrap_or(Ok(())))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed =
            [&mut self.stdout, &mut self.stderr].into_iter().flatten().try_for_each(Outlet::flush);
        self.written(flushed)
    }

    /// A reader that is gone ends the loop; other errors are errors.
    fn written(&mut self, result: io::Result<()>) -> io::Result<()> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.ended = Some(Ended::OutputGone);
                Ok(())
            }
            other => other.map_err(|error| {
                let why = crate::failure::reason(&error);
                io::Error::new(error.kind(), format!("cannot write the output: {why}"))
            }),
        }
    }

    /// Takes what was typed.
    fn type_in(&mut self, streams: &mut dyn Streams) -> io::Result<()> {
        let Some(stdin) = self.stdin else { return Ok(()) };
        let mut buffer = [0u8; 16 << 10];
        let typed = match rustix::io::read(stdin, &mut buffer) {
            Ok(n) => buffer.get(..n).unwrap_or_default(),
            // Somebody made it non-blocking; or a signal came.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(()),
            // A terminal that hung up, or that we may not read from the
            // background, has nothing more for us.
            Err(_) => &[],
        };
        if typed.is_empty() && self.raw.is_some() {
            // A raw terminal ends only by hanging up: nothing to tell the container.
            self.ended = Some(Ended::Signalled(Signal::HUP.as_raw()));
            return Ok(());
        }
        if typed.is_empty() {
            if let Some(watch) = &mut self.watch {
                streams.write_input(&watch.finish())?;
            }
            streams.close_input();
            self.stdin = None;
            return Ok(());
        }
        match &mut self.watch {
            None => streams.write_input(typed),
            Some(watch) => {
                let Typed { forward, detach } = watch.feed(typed);
                if detach {
                    self.ended = Some(Ended::Detached);
                }
                if forward.is_empty() { Ok(()) } else { streams.write_input(&forward) }
            }
        }
    }

    fn signal(&mut self, streams: &mut dyn Streams, caught: &Caught, signal: i32) {
        if signal == Signal::WINCH.as_raw() {
            self.resize(streams);
            return;
        }
        if signal == Signal::CONT.as_raw() {
            // The shell has had the terminal meanwhile.
            if let Some(raw) = &self.raw {
                raw.again();
            }
            self.resize(streams);
            if !caught.proxy {
                return;
            }
        }
        // Once the container has ended, a signal is for us; and so is always the
        // news that a terminal is gone.
        let hung_up = self.terminal.is_some() && signal == Signal::HUP.as_raw();
        if signal == Signal::INT.as_raw() || signal == Signal::TERM.as_raw() {
            self.asked_to_end += 1;
        }
        let insists = self.asked_to_end >= MOST_REQUESTS;
        if caught.proxy && self.ended.is_none() && !hung_up && !insists {
            streams.signal(signal);
        } else if signal != Signal::CONT.as_raw() {
            self.ended = Some(Ended::Signalled(signal));
        }
    }

    fn resize(&self, streams: &mut dyn Streams) {
        let size = self.terminal.and_then(super::size);
        if let Some((rows, columns)) = size {
            streams.resize(rows, columns);
        }
    }
}

/// Our own standard streams, for [`Ends`].
pub(crate) fn own() -> [BorrowedFd<'static>; 3] {
    [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()]
}
