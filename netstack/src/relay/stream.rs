//! One relayed TCP connection: two sockets, and what one side has said that the
//! other has not taken yet. Each direction ends by itself (a half-closed connection
//! goes on the other way); a reset of one side resets the other.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, connect, recv, send,
    shutdown, socket_with, sockopt,
};

/// One end.
#[derive(Debug)]
struct Side {
    socket: OwnedFd,
    /// Not yet, for the container's side.
    connected: bool,
    /// What it is still to be told.
    unsent: Vec<u8>,
    /// It has said all it will say.
    finished: bool,
    /// It has been told that nothing more comes.
    told: bool,
    /// What it is watched for; `None`: not at all.
    watched: Option<EventFlags>,
}

impl Side {
    fn new(socket: OwnedFd, connected: bool) -> Self {
        // Small answers shall not wait for acknowledgements; the ends decide for themselves.
        let _ = sockopt::set_tcp_nodelay(&socket, true);
        let (unsent, finished, told, watched) = (Vec::new(), false, false, None);
        Self { socket, connected, unsent, finished, told, watched }
    }

    /// Sends what waits; says "nothing more" after the last of it when `over`.
    fn flush(&mut self, over: bool) -> Result<(), Errno> {
        let mut sent = 0;
        while let Some(rest) = self.unsent.get(sent..).filter(|rest| !rest.is_empty()) {
            match send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(n) => sent += n,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
        self.unsent.drain(..sent);
        if self.unsent.is_empty() {
            self.unsent = Vec::new();
            if over && !self.told {
                self.told = true;
                return shutdown(&self.socket, Shutdown::Write);
            }
        }
        Ok(())
    }
}

/// Both ends: the client's, then the container's.
#[derive(Debug)]
pub(super) struct Connection {
    sides: [Side; 2],
}

impl Connection {
    /// Begins to connect to the container.
    pub(super) fn begin(client: OwnedFd, target: SocketAddr) -> Result<Self, Errno> {
        let family = if target.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let server = socket_with(family, SocketType::STREAM, flags, None)?;
        match connect(&server, &target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(e) => {
                reset(&client);
                return Err(e);
            }
        }
        Ok(Self { sides: [Side::new(client, true), Side::new(server, false)] })
    }

    /// Deals with news of one side; `false` when the connection is over.
    pub(super) fn carry(&mut self, side: usize, flags: EventFlags, scratch: &mut [u8]) -> bool {
        let [client, server] = &mut self.sides;
        let (this, other) = if side == 1 { (server, client) } else { (client, server) };
        match step(this, other, flags, scratch) {
            // A side that is watched no more is done, or was reset: told by its error.
            Ok(()) => !(this.finished && this.told && other.finished && other.told),
            Err(_) => {
                reset(&this.socket);
                reset(&other.socket);
                false
            }
        }
    }

    /// Watches each side for what can be done with it now.
    pub(super) fn watch(&mut self, instance: BorrowedFd<'_>, number: u64) -> Result<(), Errno> {
        let waiting = [0, 1].map(|n| self.sides.get(n).is_some_and(|s| !s.unsent.is_empty()));
        let connected = self.sides.iter().all(|side| side.connected);
        for (n, side) in self.sides.iter_mut().enumerate() {
            let other_waits = waiting.get(1 - n).copied().unwrap_or(false);
            let mut wanted = EventFlags::empty();
            wanted.set(EventFlags::IN, connected && !side.finished && !other_waits);
            wanted.set(EventFlags::OUT, !side.connected || !side.unsent.is_empty());
            // Done both ways, it would be reported as hung up again and again.
            let wanted = (!(side.finished && side.told)).then_some(wanted);
            if wanted == side.watched {
                continue;
            }
            let key = super::key(number, n);
            match (side.watched, wanted) {
                (None, Some(flags)) => epoll::add(instance, &side.socket, key, flags)?,
                (Some(_), Some(flags)) => epoll::modify(instance, &side.socket, key, flags)?,
                (_, None) => epoll::delete(instance, &side.socket)?,
            }
            side.watched = wanted;
        }
        Ok(())
    }
}

/// Moves at most one chunk from `this` to `other`, and what waits for `this`.
fn step(
    this: &mut Side,
    other: &mut Side,
    flags: EventFlags,
    scratch: &mut [u8],
) -> Result<(), Errno> {
    if flags.contains(EventFlags::ERR) {
        sockopt::socket_error(&this.socket)??;
    }
    if !this.connected && flags.intersects(EventFlags::OUT | EventFlags::HUP) {
        this.connected = true;
    }
    if flags.contains(EventFlags::OUT) {
        this.flush(other.finished)?;
    }
    let news = flags.intersects(EventFlags::IN | EventFlags::HUP);
    if news && !this.finished && other.connected && other.unsent.is_empty() {
        match recv(this.socket.as_fd(), &mut *scratch, RecvFlags::empty()) {
            Ok((0, _)) => this.finished = true,
            Ok((n, _)) => other.unsent.extend_from_slice(scratch.get(..n).unwrap_or_default()),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(e) => return Err(e),
        }
        other.flush(this.finished)?;
    }
    Ok(())
}

/// Makes closing the socket a reset: the other end must not take this for a normal end.
fn reset(socket: &OwnedFd) {
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}
