//! Answers over UDP, many with one system call: whoever asks much is woken once for
//! all that it is told.

use std::net::SocketAddrV4;
use std::os::fd::{AsFd, OwnedFd};

use rcnt_base::sys::batch::{self, MOST, Parcel};

/// Bytes of answers that wait to be sent; more are sent before others are queued.
const FULL: usize = 16 << 10;

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
    use rcnt_base::sys::batch::Room;
    use std::net::{SocketAddr, UdpSocket};

    fn bound() -> (OwnedFd, SocketAddrV4) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let Ok(SocketAddr::V4(address)) = socket.local_addr() else { panic!("no IPv4") };
        (socket.into(), address)
    }

    #[test]
    fn everything_arrives_and_who_cannot_be_reached_holds_back_nobody() {
        let ((one, _), (two, to)) = (bound(), bound());
        let nobody = "255.255.255.255:9".parse().unwrap();
        let mut outbox = Outbox::default();
        for n in 0..40u8 {
            outbox.push(&one, if n % 3 == 0 { nobody } else { to }, &[n, 1]);
        }
        // More at once than is kept.
        outbox.push(&one, to, &[40; 20_000]);
        outbox.push(&one, to, &[41]);
        outbox.send(&one);
        assert!(outbox.bytes.capacity() <= FULL);
        let (mut room, mut all) = (Room::default(), Vec::new());
        while let Ok(many) = room.receive(two.as_fd()) {
            all.extend((0..many).map(|n| room.get(n).unwrap().bytes[0]));
        }
        assert_eq!(all, (0..42).filter(|n| n % 3 != 0 || *n > 39).collect::<Vec<u8>>());
    }
}
