//! One question that is forwarded: asked again and elsewhere until somebody
//! answers, or it is too late for the client.
//!
//! ```text
//!   0 s      1.5 s     3 s      4.5 s
//!   ├─ one ──┼─ two ───┼─ three ─┤ SERVFAIL      libc gives up after 5 s
//! ```
//!
//! Each attempt has a socket of its own, connected, on a port that the kernel picks
//! at random, and an id of its own: who forges an answer has to guess both
//! (RFC 5452). Earlier attempts go on listening: a slow answer is an answer.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::rand::{GetRandomFlags, getrandom};

use super::inside::visiting;
use super::message;
use super::servers::{Server, Servers};

/// How long one attempt is waited for alone.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Attempts in all.
const ATTEMPTS: usize = 3;
/// More wrong datagrams than this in one attempt is somebody guessing.
const STRAYS: u32 = 64;
/// The largest datagram or framed message.
const LARGEST: usize = 65_535;

/// Who waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Udp(SocketAddrV4),
    /// The connection in this slot, while it has this serial number.
    Tcp {
        slot: usize,
        serial: u32,
    },
}

/// A question on its way.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) origin: Origin,
    /// As the client sent it.
    pub(super) query: Vec<u8>,
    servers: Vec<Server>,
    /// When the last attempt has been waited for long enough.
    pub(super) until: Instant,
    attempts: Vec<Attempt>,
    /// Over TCP: for those who asked over TCP, as long as servers take it.
    streams: bool,
    /// An answer that says that the server failed, should nobody know better.
    poor: Option<Vec<u8>>,
    /// An answer that was cut, should nobody give it whole.
    cut: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Attempt {
    /// `None` when it has failed.
    socket: Option<OwnedFd>,
    server: SocketAddr,
    id: u16,
    strays: u32,
    /// Over TCP: what is still to be sent, and what has come.
    stream: Option<(Vec<u8>, Vec<u8>)>,
}

/// How a question stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Waiting.
    Waits,
    /// The answer, with the upstream's id.
    Answered(Vec<u8>),
    /// Nobody answered.
    Failed,
}

/// What an attempt needs of the resolver.
pub(super) struct Outside<'a> {
    pub(super) servers: &'a mut Servers,
    /// The container's network namespace.
    pub(super) netns: BorrowedFd<'a>,
    /// Watches a socket: (socket, attempt number, for writing too).
    pub(super) watch: &'a mut dyn FnMut(BorrowedFd<'_>, usize, bool) -> io::Result<()>,
}

impl Exchange {
    /// Asks the first server. `Progress::Failed` when there is none to be asked.
    pub(super) fn start(
        origin: Origin,
        query: Vec<u8>,
        now: Instant,
        outside: &mut Outside<'_>,
    ) -> (Self, Progress) {
        let servers = outside.servers.in_order(now);
        let streams = matches!(origin, Origin::Tcp { .. });
        let attempts = Vec::with_capacity(1);
        let (poor, cut) = (None, None);
        let mut exchange =
            Self { origin, query, servers, until: now, attempts, streams, poor, cut };
        let progress = exchange.advance(now, outside);
        (exchange, progress)
    }

    /// The next attempt, or the end. Attempts that fail at once cost no time.
    fn advance(&mut self, now: Instant, outside: &mut Outside<'_>) -> Progress {
        while self.attempts.len() < ATTEMPTS {
            let nth = self.attempts.len();
            let all_asked = nth >= self.servers.len();
            if all_asked && let Some(poor) = self.poor.take() {
                return Progress::Answered(poor);
            }
            let Some(server) = self.servers.get(nth % self.servers.len().max(1)).copied() else {
                return Progress::Failed;
            };
            self.until = now + PATIENCE;
            match self.attempt(server, outside) {
                Ok(attempt) => {
                    self.attempts.push(attempt);
                    return Progress::Waits;
                }
                Err(error) => {
                    log::debug!("cannot ask name server {}: {error}", server.address);
                    self.attempts.push(Attempt::failed(server.address));
                }
            }
        }
        // What was sent may still be answered.
        let last = self.cut.take().or_else(|| self.poor.take());
        match (last, self.attempts.iter().any(|a| a.socket.is_some())) {
            (Some(answer), _) => Progress::Answered(answer),
            (None, true) if now < self.until => Progress::Waits,
            (None, _) => Progress::Failed,
        }
    }

    fn attempt(&self, server: Server, outside: &mut Outside<'_>) -> io::Result<Attempt> {
        let kind = if self.streams { SocketType::STREAM } else { SocketType::DGRAM };
        let family = match server.address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let make = || Ok(net::socket_with(family, kind, flags, None)?);
        let socket = if server.inside { visiting(outside.netns, make)? } else { make()? };
        let mut bytes = [0u8; 2];
        getrandom(&mut bytes, GetRandomFlags::empty())?;
        let id = u16::from_ne_bytes(bytes);
        let mut query = self.query.clone();
        message::set_id(&mut query, id);
        match net::connect(&socket, &server.address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = if self.streams {
            // RFC 7766, section 8. A query is shorter than 64 KiB.
            let length = u16::try_from(query.len()).map_err(io::Error::other)?;
            Some(([&length.to_be_bytes()[..], &query].concat(), Vec::new()))
        } else {
            net::send(&socket, &query, SendFlags::NOSIGNAL)?;
            None
        };
        (outside.watch)(socket.as_fd(), self.attempts.len(), self.streams)?;
        let server = server.address;
        Ok(Attempt { socket: Some(socket), server, id, strays: 0, stream })
    }

    /// The time of the last attempt is over.
    pub(super) fn expired(&mut self, now: Instant, outside: &mut Outside<'_>) -> Progress {
        if let Some(attempt) = self.attempts.last().filter(|a| a.socket.is_some()) {
            outside.servers.was_silent(attempt.server, now);
        }
        self.streams = false;
        self.advance(now, outside)
    }

    /// Something happened on the socket of an attempt.
    pub(super) fn ready(
        &mut self,
        nth: usize,
        now: Instant,
        outside: &mut Outside<'_>,
    ) -> Progress {
        let Self { attempts, query, .. } = self;
        let Some(attempt) = attempts.get_mut(nth) else { return Progress::Waits };
        match attempt.read(query) {
            Ok(None) => Progress::Waits,
            Ok(Some(answer)) => {
                outside.servers.has_answered(attempt.server);
                self.judge(answer, now, outside)
            }
            Err(error) => {
                log::debug!("name server {}: {error}", attempt.server);
                attempt.socket = None;
                // Some servers do not speak TCP.
                self.streams = false;
                // Another is being asked already.
                if nth + 1 < self.attempts.len() {
                    Progress::Waits
                } else {
                    self.advance(now, outside)
                }
            }
        }
    }

    fn judge(&mut self, answer: Vec<u8>, now: Instant, outside: &mut Outside<'_>) -> Progress {
        let over_tcp = matches!(self.origin, Origin::Tcp { .. });
        if over_tcp && !self.streams && message::is_cut(&answer) {
            self.streams = true;
            self.cut = Some(answer);
        } else if message::is_failure(&answer) {
            self.poor = Some(answer);
        } else {
            return Progress::Answered(answer);
        }
        self.advance(now, outside)
    }
}

impl Attempt {
    fn failed(server: SocketAddr) -> Self {
        Self { socket: None, server, id: 0, strays: 0, stream: None }
    }

    /// The answer to `query`, when it has come.
    fn read(&mut self, query: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let Some(socket) = &self.socket else { return Ok(None) };
        if let Some((unsent, inbox)) = &mut self.stream {
            return match flow(socket, unsent, inbox)? {
                Some(answer) if message::is_answer_to(&answer, query, self.id) => Ok(Some(answer)),
                Some(_) => Err(io::Error::other("answers another question")),
                None => Ok(None),
            };
        }
        // Not filled with zeros: 64 KiB for an answer of a hundred bytes.
        let mut answer = Vec::with_capacity(LARGEST);
        loop {
            answer.clear();
            match net::recv(socket, spare_capacity(&mut answer), RecvFlags::empty()) {
                Ok(_) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if message::is_answer_to(&answer, query, self.id) {
                answer.shrink_to_fit();
                return Ok(Some(answer));
            }
            self.strays += 1;
            if self.strays > STRAYS {
                return Err(io::Error::other("too many answers to other questions"));
            }
        }
    }
}

/// Sends what is unsent, then reads: one message behind two bytes of length.
fn flow(
    socket: &OwnedFd,
    unsent: &mut Vec<u8>,
    inbox: &mut Vec<u8>,
) -> io::Result<Option<Vec<u8>>> {
    while !unsent.is_empty() {
        match net::send(socket, unsent, SendFlags::NOSIGNAL) {
            Ok(sent) => drop(unsent.drain(..sent)),
            // Not connected yet is ENOTCONN for some kernels, EAGAIN for others.
            Err(Errno::AGAIN | Errno::NOTCONN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut buffer = [0u8; 4096];
    loop {
        match net::recv(socket, &mut buffer, RecvFlags::empty()) {
            Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((length, _)) => inbox.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if let Some((length, rest)) = inbox.split_first_chunk::<2>()
            && let Some(message) = rest.get(..usize::from(u16::from_be_bytes(*length)))
        {
            return Ok(Some(message.to_vec()));
        }
    }
}
