//! Questions and answers over UDP, many with one system call each way: what has
//! come is answered together, so that a client that asks much is woken once.

use std::net::SocketAddrV4;
use std::os::fd::{AsFd, OwnedFd};

use rcnt_base::sys::batch::{self, MOST, Parcel, Received};

/// Bytes of the longest question, as our OPT records say (dnsflagday.net/2020).
pub(super) const LONGEST: u16 = 1232;
/// Bytes of answers that wait to be sent; more are sent before others are queued.
const FULL: usize = 16 << 10;

/// Questions that have come. Its memory is touched as far as questions fill it.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    found: [Option<Received>; MOST],
}

impl Inbox {
    /// Takes in what is there, at most [`MOST`]. Returns how many; 0 says that there
    /// are none, or that the socket has an error.
    pub(super) fn receive(&mut self, socket: &OwnedFd) -> usize {
        let size = usize::from(LONGEST);
        if self.bytes.is_empty() {
            // Unlike resize, fresh memory that is zero already is not written to.
            self.bytes = vec![0; MOST * size];
        }
        batch::receive(socket.as_fd(), &mut self.bytes, size, &mut self.found).unwrap_or(0)
    }

    /// The `n`th, as far as it fits, and who asks.
    pub(super) fn question(&self, n: usize) -> Option<Question<'_>> {
        let Received { length, from, cut } = (*self.found.get(n)?)?;
        let piece = self.bytes.chunks_exact(usize::from(LONGEST)).nth(n)?;
        Some(Question { bytes: piece.get(..length)?, from, cut })
    }
}

/// One datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) from: SocketAddrV4,
    /// It was longer than [`LONGEST`].
    pub(super) cut: bool,
}

/// Answers that are about to leave.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    parcels: Vec<Parcel>,
}

impl Outbox {
    /// Queues an answer, after sending others when there are enough.
    pub(super) fn push(&mut self, socket: &OwnedFd, to: SocketAddrV4, answer: &[u8]) {
        if self.parcels.len() >= MOST || self.bytes.len() + answer.len() > FULL {
            self.send(socket);
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(answer);
        self.parcels.push(Parcel { bytes: start..self.bytes.len(), to });
    }

    /// Sends what is queued. A client that is gone, or has no room, asks again if it
    /// still wants to know.
    pub(super) fn send(&mut self, socket: &OwnedFd) {
        let mut left = self.parcels.as_slice();
        while !left.is_empty() {
            // One that cannot be sent holds back no other.
            let sent = batch::send(socket.as_fd(), &self.bytes, left).unwrap_or(1).max(1);
            left = left.get(sent..).unwrap_or_default();
        }
        self.parcels.clear();
        self.bytes.clear();
        self.bytes.shrink_to(FULL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, UdpSocket};

    fn bound() -> (OwnedFd, SocketAddrV4) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let Ok(SocketAddr::V4(address)) = socket.local_addr() else { panic!("no IPv4") };
        (socket.into(), address)
    }

    #[test]
    fn everything_arrives_and_who_cannot_be_reached_holds_back_nobody() {
        let ((one, from), (two, to)) = (bound(), bound());
        let nobody = "255.255.255.255:9".parse().unwrap();
        let (mut outbox, mut inbox) = (Outbox::default(), Inbox::default());
        assert_eq!(inbox.receive(&two), 0);
        for n in 0..40u8 {
            outbox.push(&one, if n % 3 == 0 { nobody } else { to }, &[n, 1]);
        }
        outbox.send(&one);
        let mut all = Vec::new();
        while let many @ 1.. = inbox.receive(&two) {
            all.extend((0..many).filter_map(|n| {
                let question = inbox.question(n)?;
                assert_eq!((question.from, question.cut), (from, false));
                Some(question.bytes[0])
            }));
        }
        assert_eq!(all, (0..40).filter(|n| n % 3 != 0).collect::<Vec<u8>>());
    }

    #[test]
    fn what_is_too_long_is_known_to_be_cut() {
        let ((one, from), (two, to)) = (bound(), bound());
        let (mut outbox, mut inbox) = (Outbox::default(), Inbox::default());
        // More at once than is kept.
        outbox.push(&one, to, &[1; 20_000]);
        outbox.push(&one, to, &[2; 1232]);
        outbox.send(&one);
        assert!(outbox.bytes.capacity() <= FULL);
        assert_eq!(inbox.receive(&two), 2);
        let question = |bytes, cut| Some(Question { bytes, from, cut });
        assert_eq!(inbox.question(0), question(&[1; 1232], true));
        assert_eq!(inbox.question(1), question(&[2; 1232], false));
        assert_eq!(inbox.question(15), None);
    }
}
