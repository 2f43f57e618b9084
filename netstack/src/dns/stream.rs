//! Clients that ask over TCP (RFC 7766): several questions on one connection,
//! answered in whatever order the answers come. Bounded in number, time and bytes,
//! so that a client which stalls costs nobody else anything (CVE-2024-8418).

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags};

/// Without a whole question, or an answer taken, for this long it is closed.
const IDLE: Duration = Duration::from_secs(10);
/// The longest question.
const LONGEST: usize = 4096;
/// Answers that are not taken: no more questions are read beyond.
const MOST_UNSENT: usize = 128 << 10;
/// Questions of one connection that wait for others' answers.
const MOST_WAITING: u32 = 32;

/// One client.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    /// No other connection ever has it.
    pub(super) serial: u32,
    /// When it is closed unless something happens.
    pub(super) until: Instant,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    waiting: u32,
    /// It will not ask any more.
    ended: bool,
    broken: bool,
    /// What it is watched for: (reading, writing).
    pub(super) watched: (bool, bool),
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, serial: u32, now: Instant) -> Self {
        let (inbox, outbox) = (Vec::new(), Vec::new());
        let (waiting, ended, broken, watched) = (0, false, false, (true, false));
        let until = now + IDLE;
        Self { socket, serial, until, inbox, outbox, waiting, ended, broken, watched }
    }

    /// Takes in what it has sent.
    pub(super) fn receive(&mut self) {
        let mut buffer = [0u8; LONGEST];
        match net::recv(&self.socket, &mut buffer, RecvFlags::empty()) {
            Ok((0, _)) => self.ended = true,
            Ok((length, _)) => {
                self.inbox.extend_from_slice(buffer.get(..length).unwrap_or_default());
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.broken = true,
        }
    }

    /// The next whole question, unless it has enough to wait for.
    pub(super) fn question(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.is_full() {
            return None;
        }
        let (length, rest) = self.inbox.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length > LONGEST {
            self.broken = true;
            return None;
        }
        let question = rest.get(..length)?.to_vec();
        self.inbox.drain(..2 + length);
        if self.inbox.is_empty() {
            self.inbox.shrink_to_fit();
        }
        self.until = now + IDLE;
        Some(question)
    }

    fn is_full(&self) -> bool {
        self.waiting >= MOST_WAITING || self.outbox.len() >= MOST_UNSENT
    }

    /// One of its questions waits for others.
    pub(super) fn waits(&mut self) {
        self.waiting = self.waiting.saturating_add(1);
    }

    /// One waits no longer.
    pub(super) fn waited(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// Queues an answer.
    pub(super) fn answer(&mut self, answer: &[u8]) {
        match u16::try_from(answer.len()) {
            Ok(length) => {
                self.outbox.extend_from_slice(&length.to_be_bytes());
                self.outbox.extend_from_slice(answer);
            }
            Err(_) => self.broken = true,
        }
    }

    /// Sends what it takes.
    pub(super) fn flush(&mut self, now: Instant) {
        while !self.outbox.is_empty() {
            match net::send(&self.socket, &self.outbox, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    self.outbox.drain(..sent);
                    self.until = now + IDLE;
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
        self.outbox.shrink_to_fit();
    }

    /// What to watch it for.
    pub(super) fn wants(&self) -> (bool, bool) {
        (!self.ended && !self.is_full(), !self.outbox.is_empty())
    }

    /// Whether it is to be closed.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let done = self.ended && self.waiting == 0 && self.outbox.is_empty();
        self.broken || done || now >= self.until
    }

    /// The other side is gone altogether.
    pub(super) fn hang_up(&mut self) {
        self.broken = true;
    }
}

/// Accepts one client; `None` when none waits.
///
/// # Errors
/// No descriptor is left, for instance.
pub(super) fn accept(listener: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let flags = net::SocketFlags::NONBLOCK | net::SocketFlags::CLOEXEC;
    match net::accept_with(listener, flags) {
        Ok(socket) => Ok(Some(socket)),
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    fn pair() -> (UnixStream, Connection) {
        let (client, server) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        (client, Connection::new(server.into(), 1, Instant::now()))
    }

    #[test]
    fn a_client_that_waits_for_much_is_not_read_on() {
        let (mut client, mut connection) = pair();
        client.write_all(&[0, 1, 7].repeat(40)).unwrap();
        connection.receive();
        let now = Instant::now();
        for _ in 0..MOST_WAITING {
            assert_eq!(connection.question(now), Some(vec![7]));
            connection.waits();
        }
        assert_eq!((connection.question(now), connection.wants()), (None, (false, false)));
        connection.waited();
        assert_eq!(connection.question(now), Some(vec![7]));
    }

    #[test]
    fn who_ends_after_asking_still_gets_the_answers() {
        let (mut client, mut connection) = pair();
        client.write_all(&[0, 2, 1, 2]).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let now = Instant::now();
        connection.receive();
        connection.question(now).unwrap();
        connection.waits();
        connection.receive();
        assert!(!connection.is_over(now));
        connection.waited();
        connection.answer(b"yes");
        assert!(!connection.is_over(now));
        connection.flush(now);
        assert!(connection.is_over(now));
    }

    #[test]
    fn who_says_nothing_whole_is_closed() {
        let (mut client, mut connection) = pair();
        client.write_all(&[0]).unwrap();
        connection.receive();
        let now = Instant::now();
        assert!(connection.question(now).is_none() && !connection.is_over(now));
        assert!(connection.is_over(now + IDLE));
        client.write_all(&[0xff, 0xff, 0]).unwrap();
        let (mut client, mut connection) = pair();
        client.write_all(&[0xff, 0xff, 0]).unwrap();
        connection.receive();
        assert!(connection.question(now).is_none() && connection.is_over(now), "too long");
    }

    proptest! {
        #[test]
        fn questions_come_out_as_they_went_in(
            questions in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..200), 0..20),
            step in 1usize..50,
        ) {
            let (mut client, mut connection) = pair();
            let mut bytes = Vec::new();
            for question in &questions {
                bytes.extend(u16::try_from(question.len()).unwrap().to_be_bytes());
                bytes.extend(question);
            }
            let mut found = Vec::new();
            for part in bytes.chunks(step) {
                client.write_all(part).unwrap();
                connection.receive();
                found.extend(std::iter::from_fn(|| connection.question(Instant::now())));
            }
            prop_assert_eq!(found, questions);
        }
    }
}
