//! The resolver's clients over TCP: let in, read, answered, let go.

use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};

use super::super::stream::{self, Connection};
use super::super::token::Token;
use super::super::upstream::Origin;
use super::{MOST_CONNECTIONS, Resolver, free_slot};

/// How long nobody is let in after there was no descriptor for one.
const LATER: Duration = Duration::from_millis(500);

impl Resolver {
    /// Lets clients in, now or not before a moment: they would wake us all the time.
    pub(super) fn listen_from(&mut self, later: Option<Instant>) {
        let flags = if later.is_none() { EventFlags::IN } else { EventFlags::empty() };
        let token = EventData::new_u64(Token::Tcp.number());
        let changed = epoll::modify(&self.epoll, &self.doors.tcp, token, flags);
        self.closed_until = later.filter(|_| changed.is_ok());
    }

    pub(super) fn newcomer(&mut self, now: Instant) {
        let socket = match stream::accept(&self.doors.tcp) {
            Ok(Some(socket)) => socket,
            Ok(None) => return,
            // No descriptor is left: who waits is still there when one is.
            Err(_) => return self.listen_from(Some(now + LATER)),
        };
        let slot = free_slot(&mut self.connections, MOST_CONNECTIONS).or_else(|| {
            // Who has been idle longest makes room.
            let until = |slot: &usize| self.connections.get(*slot)?.as_ref().map(|c| c.until);
            (0..self.connections.len()).min_by_key(until)
        });
        let Some(place) = slot.and_then(|slot| self.connections.get_mut(slot)) else { return };
        let token = Token::Connection(slot.unwrap_or_default()).number();
        if epoll::add(&self.epoll, &socket, EventData::new_u64(token), EventFlags::IN).is_ok() {
            self.serial = self.serial.wrapping_add(1);
            *place = Some(Connection::new(socket, self.serial, now));
        }
    }

    pub(super) fn client(&mut self, slot: usize, flags: EventFlags, now: Instant) {
        let Some(Some(connection)) = self.connections.get_mut(slot) else { return };
        if flags.contains(EventFlags::IN) {
            connection.receive();
        }
        if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            connection.hang_up();
        }
        self.watch.refresh();
        self.questions(slot, now);
    }

    /// Answers what a client over TCP has asked so far.
    pub(super) fn questions(&mut self, slot: usize, now: Instant) {
        loop {
            let Some(Some(connection)) = self.connections.get_mut(slot) else { return };
            connection.flush(now);
            let serial = connection.serial;
            let Some(question) = connection.question(now) else { break };
            self.question(&question, Origin::Tcp { slot, serial }, now);
        }
        self.look_after(slot, now);
    }

    /// Closes a connection that is over, and watches others for what they wait for.
    pub(super) fn look_after(&mut self, slot: usize, now: Instant) {
        let Some(place) = self.connections.get_mut(slot) else { return };
        let Some(connection) = place else { return };
        let wants = connection.wants();
        let mut gone = connection.is_over(now);
        if !gone && wants != connection.watched {
            connection.watched = wants;
            let mut flags = EventFlags::empty();
            flags.set(EventFlags::IN, wants.0);
            flags.set(EventFlags::OUT, wants.1);
            let token = EventData::new_u64(Token::Connection(slot).number());
            gone = epoll::modify(&self.epoll, &connection.socket, token, flags).is_err();
        }
        if gone {
            *place = None;
            if self.connections.iter().all(Option::is_none) {
                self.connections = Vec::new();
            }
        }
    }
}
