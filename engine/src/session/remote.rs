//! A connection to a supervisor.

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rcnt_netstack::claims::Reservation;
use rcnt_netstack::ports::PublishedPort;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::Event;
use super::frame::{Reply, Request};
use crate::ports::HeldPort;

/// A client's end of a control socket.
#[derive(Debug)]
pub struct Remote {
    socket: UnixStream,
    received: Vec<u8>,
    unsent: Vec<u8>,
    /// Output that came before the word on the start, for the next `read`.
    pending: Vec<Event>,
}

/// What the supervisor says about the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartReport {
    /// The command runs.
    Started,
    /// It could not be started: a `StartError` as JSON.
    Failed(Vec<u8>),
    /// The supervisor died.
    Gone,
}

impl Remote {
    /// Connects to a container's supervisor.
    ///
    /// # Errors
    /// Nobody listens: the container does not run.
    pub fn connect(run_dir: &Path, stdin: bool, output: bool) -> io::Result<Self> {
        // sun_path has room for 108 bytes and an exec root may be deep: go by
        // a descriptor of the directory.
        let dir = std::fs::File::open(run_dir)?;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&dir);
        let mut remote = Self::new(UnixStream::connect(format!("/proc/self/fd/{fd}/ctl.sock"))?)?;
        remote.send(&Request::Hello { stdin, output })?;
        Ok(remote)
    }

    /// The CLI's end of the pair it shares with the supervisor it forks.
    pub(crate) fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket, received: Vec::new(), unsent: Vec::new(), pending: Vec::new() })
    }

    /// Tells the supervisor that its container's networks are other ones now.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn networks_changed(&mut self) -> io::Result<()> {
        self.send(&Request::NetworksChanged)
    }

    /// Hands published ports to the supervisor, which holds them from now on.
    ///
    /// # Errors
    /// It is gone, or does not take them.
    pub(crate) fn hold(&mut self, held: &[Reservation]) -> io::Result<()> {
        for some in held.chunks(MOST_DESCRIPTORS) {
            let ports: Vec<HeldPort> = some.iter().map(HeldPort::of).collect();
            let sockets: Vec<BorrowedFd<'_>> =
                some.iter().filter_map(|one| one.socket.as_ref().map(AsFd::as_fd)).collect();
            let mut frame = Vec::new();
            Request::Hold(serde_json::to_vec(&ports)?).encode(&mut frame);
            // What was said before goes before.
            while !self.unsent.is_empty() {
                wait_writable(&self.socket)?;
                self.flush()?;
            }
            let sent = loop {
                match send_with(&self.socket, &frame, &sockets) {
                    Err(Errno::AGAIN) => wait_writable(&self.socket)?,
                    sent => break sent?,
                }
            };
            self.unsent.extend_from_slice(frame.get(sent..).unwrap_or_default());
            self.wait_changed()?;
        }
        Ok(())
    }

    /// Tells the supervisor to let go of published ports.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn let_go(&mut self, gone: &[PublishedPort]) -> io::Result<()> {
        for some in gone.chunks(MOST_DESCRIPTORS) {
            self.send(&Request::LetGo(serde_json::to_vec(some)?))?;
            self.wait_changed()?;
        }
        Ok(())
    }

    /// Waits for the supervisor's word on a change.
    fn wait_changed(&mut self) -> io::Result<()> {
        loop {
            self.flush()?;
            while let Some(reply) = Reply::decode(&mut self.received).map_err(io::Error::other)? {
                match reply {
                    Reply::Changed(done) => return done.map_err(io::Error::other),
                    other => self.pending.push(event(other)),
                }
            }
            wait(&self.socket, None)?;
            if self.receive()? == 0 {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
    }

    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        let out = if self.unsent.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        PollFd::new(&self.socket, PollFlags::IN | out)
    }

    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Waits for the supervisor's word on the start. Output that comes along
    /// stays for [`super::Session::read`].
    ///
    /// # Errors
    /// The connection broke.
    pub(crate) fn wait_started(&mut self) -> io::Result<StartReport> {
        loop {
            while let Some(reply) = Reply::decode(&mut self.received).map_err(io::Error::other)? {
                match reply {
                    Reply::Started => return Ok(StartReport::Started),
                    Reply::Failed(json) => return Ok(StartReport::Failed(json)),
                    other => self.pending.push(event(other)),
                }
            }
            wait(&self.socket, None)?;
            if self.receive()? == 0 {
                return Ok(StartReport::Gone);
            }
        }
    }

    /// Waits for the container's end, at most `limit`; `None` if the supervisor
    /// dies first.
    ///
    /// # Errors
    /// The connection broke; `TimedOut`.
    pub(crate) fn wait_exited(&mut self, limit: Option<Duration>) -> io::Result<Option<i32>> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            for event in self.read()? {
                match event {
                    Event::Exited(code) => return Ok(Some(code)),
                    Event::Closed => return Ok(None),
                    _ => {}
                }
            }
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            wait(&self.socket, left)?;
        }
    }

    /// Asks the supervisor to change something and waits until it has; the inner error
    /// is the supervisor's own.
    ///
    /// # Errors
    /// The connection broke: the container has ended, for instance.
    pub(crate) fn change(&mut self, request: &Request) -> io::Result<Result<(), String>> {
        self.send(request)?;
        loop {
            while let Some(reply) = Reply::decode(&mut self.received).map_err(io::Error::other)? {
                match reply {
                    Reply::Changed(done) => return Ok(done),
                    other => self.pending.push(event(other)),
                }
            }
            wait(&self.socket, None)?;
            self.flush()?;
            if self.receive()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Queues a request and sends what the socket takes.
    pub(super) fn send(&mut self, request: &Request) -> io::Result<()> {
        request.encode(&mut self.unsent);
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // It is gone: its last words are still to be read.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => self.unsent.clear(),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    pub(super) fn read(&mut self) -> io::Result<Vec<Event>> {
        self.flush()?;
        let mut events = std::mem::take(&mut self.pending);
        events.extend(self.read_socket()?);
        Ok(events)
    }

    fn read_socket(&mut self) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        let closed = self.receive()? == 0;
        while let Some(reply) = Reply::decode(&mut self.received).map_err(io::Error::other)? {
            events.push(event(reply));
        }
        if closed {
            events.push(Event::Closed);
        }
        Ok(events)
    }

    /// Reads what is there; 0 means the end, `WouldBlock` counts as some.
    fn receive(&mut self) -> io::Result<usize> {
        let mut chunk = [0u8; 16 << 10];
        loop {
            match self.socket.read(&mut chunk) {
                Ok(n) => {
                    self.received.extend_from_slice(chunk.get(..n).unwrap_or_default());
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(usize::MAX),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(0),
                Err(e) => return Err(e),
            }
        }
    }
}

fn event(reply: Reply) -> Event {
    match reply {
        Reply::Stdout(bytes) => Event::Stdout(bytes),
        Reply::Stderr(bytes) => Event::Stderr(bytes),
        Reply::Exited(code) => Event::Exited(code),
        // Only said once, before anything else, and taken by `wait_started`.
        Reply::Started | Reply::Failed(_) => Event::Stdout(Vec::new()),
        // Somebody else's, and told to everybody.
        Reply::Changed(_) => Event::Stdout(Vec::new()),
    }
}

/// The kernel takes 253 descriptors at once (SCM_MAX_FD, unix(7)).
const MOST_DESCRIPTORS: usize = 200;

/// Sends bytes with descriptors; returns how many bytes went.
fn send_with(
    socket: &UnixStream,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
}

fn wait_writable(socket: &UnixStream) -> io::Result<()> {
    poll(&mut [PollFd::new(socket, PollFlags::OUT)], None)?;
    Ok(())
}

/// Waits until there is something to read, at most `limit`.
fn wait(fd: impl AsFd, limit: Option<Duration>) -> io::Result<()> {
    let fd = fd.as_fd();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let limit = limit.map(|limit| Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    });
    match poll(&mut fds, limit.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
