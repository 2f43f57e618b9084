//! What the resolver's epoll descriptor says has happened, as the number it keeps.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};

/// What an event is about, as a number: kind, slot, attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Tcp,
    Connection(usize),
    Attempt(usize, usize),
}

impl Token {
    pub(super) fn number(self) -> u64 {
        // Slots are few: see the bounds above.
        let pack =
            |kind: u64, slot: usize, nth: usize| kind << 32 | (slot as u64) << 8 | nth as u64;
        match self {
            Self::Tcp => pack(0, 0, 0),
            Self::Connection(slot) => pack(1, slot, 0),
            Self::Attempt(slot, nth) => pack(2, slot, nth),
        }
    }

    pub(super) fn of(number: u64) -> Self {
        let (slot, nth) = ((number >> 8 & 0xff_ffff) as usize, (number & 0xff) as usize);
        match number >> 32 {
            0 => Self::Tcp,
            1 => Self::Connection(slot),
            _ => Self::Attempt(slot, nth),
        }
    }
}

/// Watches the socket of an attempt. Edge-triggered: what is there is always read to its end.
pub(super) fn watch(
    epoll: &OwnedFd,
    socket: BorrowedFd<'_>,
    (slot, nth): (usize, usize),
    streams: bool,
) -> io::Result<()> {
    let mut flags = EventFlags::IN | EventFlags::ET;
    flags.set(EventFlags::OUT, streams);
    let token = EventData::new_u64(Token::Attempt(slot, nth).number());
    Ok(epoll::add(epoll, socket, token, flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_its_token() {
        let attempt = Token::Attempt(199, 2);
        for token in [Token::Tcp, Token::Connection(0), Token::Connection(31), attempt] {
            assert_eq!(Token::of(token.number()), token);
        }
    }
}
