//! Carries what the kernel cannot translate to a published port: clients of `::1`
//! (nothing from there can be routed), clients at link-local addresses, and IPv6
//! clients of a container that has no IPv6 address.
//!
//! ```text
//! client ──► [::1]:8080, the socket that reserves the port ──► container:80
//! ```
//!
//! Everything else is redirected before a socket sees it (`rules`) and keeps its
//! source address; a relayed client looks like the host. Listening costs a few
//! system calls per port and nothing afterwards: all ports are one descriptor to
//! poll. Buffers are bounded, and a side that does not read is not read for.
//!
//! The caller polls [`Relay::poll_fds`], at most for [`Relay::patience`], and calls
//! [`Relay::serve`]. Nothing here waits. SCTP is not relayed.

mod stream;
mod udp;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, listen, sockopt};

use crate::claims::Reservation;
use crate::ports::Protocol;
use stream::Connection;
use udp::Flows;

/// Connections at the same time; more wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 512;
/// Connections that wait to be accepted, per port.
const BACKLOG: i32 = 128;
/// Bytes moved at once, and at most kept for a side that does not read.
const CHUNK: usize = 64 << 10;
/// Ready descriptors dealt with per round: the caller has other things to do.
const ROUND: usize = 64;
/// How long no connections are taken after the process has run out of descriptors.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_secs(1);
/// Bytes of datagrams that may wait; a socket that only reserves has room for none.
const WAITING_DATAGRAMS: usize = 208 << 10;

/// Whose connections are relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relays {
    /// Nobody's (`userland-proxy = false`).
    Nothing,
    /// Those of clients that the kernel cannot translate.
    Untranslated,
    /// Everybody's, for want of rules (`firewall = false`).
    Everything,
}

/// The published ports of one container, held, and what is relayed to them.
#[derive(Debug)]
pub struct Relay {
    /// By a number that is never used again.
    held: BTreeMap<u64, Reservation>,
    relays: Relays,
    /// Where connections go: the container's addresses; empty: nothing is relayed.
    targets: Vec<IpAddr>,
    /// The listening sockets.
    doors: Option<OwnedFd>,
    /// What is being carried.
    flows: Option<OwnedFd>,
    connections: BTreeMap<u64, Connection>,
    datagrams: Flows,
    next: u64,
    closed_until: Option<Instant>,
    scratch: Vec<u8>,
}

/// An [`epoll`] key of a flow: twice its number, and which side of it.
fn key(number: u64, side: usize) -> epoll::EventData {
    epoll::EventData::new_u64(number << 1 | u64::from(side == 1))
}

impl Relay {
    /// Holds `held`, relaying nothing.
    pub fn closed(held: Vec<Reservation>) -> Self {
        let mut relay = Self {
            held: BTreeMap::new(),
            relays: Relays::Nothing,
            targets: Vec::new(),
            doors: None,
            flows: None,
            connections: BTreeMap::new(),
            datagrams: Flows::default(),
            next: 0,
            closed_until: None,
            scratch: Vec::new(),
        };
        for reservation in held {
            relay.hold(reservation);
        }
        relay
    }

    fn hold(&mut self, reservation: Reservation) -> u64 {
        let place = self.next;
        self.next += 1;
        self.held.insert(place, reservation);
        place
    }

    /// Begins to relay to the container with these addresses.
    ///
    /// # Errors
    /// The kernel's reason; the ports are held all the same.
    pub fn open(&mut self, relays: Relays, targets: Vec<IpAddr>) -> io::Result<()> {
        self.targets = targets;
        self.relays = relays;
        if relays == Relays::Nothing {
            return Ok(());
        }
        let all: Vec<u64> = self.held.keys().copied().collect();
        all.into_iter().try_for_each(|n| self.open_door(n))
    }

    /// Relays to other addresses from now on, if it relays at all; with none, whoever
    /// comes is turned away. Connections that are open stay where they lead.
    pub fn lead(&mut self, targets: Vec<IpAddr>) {
        self.targets = targets;
    }

    /// Whether it has anywhere to relay to.
    pub fn leads(&self) -> bool {
        !self.targets.is_empty()
    }

    /// Holds these, too, and relays to them if it does so already.
    ///
    /// # Errors
    /// As [`Relay::open`].
    pub fn add(&mut self, more: Vec<Reservation>) -> io::Result<()> {
        let places: Vec<u64> = more.into_iter().map(|one| self.hold(one)).collect();
        if self.relays == Relays::Nothing {
            return Ok(());
        }
        places.into_iter().try_for_each(|n| self.open_door(n))
    }

    /// Lets go of the ports that `gone` says. Connections that are open stay so.
    pub fn remove(&mut self, gone: impl Fn(&Reservation) -> bool) {
        self.held.retain(|_, reservation| !gone(reservation));
        let held = &self.held;
        self.datagrams.keep(|place| held.contains_key(&place));
    }

    /// The ports held.
    pub fn held(&self) -> impl Iterator<Item = &Reservation> {
        self.held.values()
    }

    /// Listens on a port that clients can reach whom no rule serves.
    fn open_door(&mut self, place: u64) -> io::Result<()> {
        let Some(held) = self.held.get(&place) else { return Ok(()) };
        let ipv6 = held.host_ip.is_none_or(|ip| ip.is_ipv6());
        let wanted = ipv6 || self.relays == Relays::Everything;
        let Some(socket) = held.socket.as_ref().filter(|_| wanted) else { return Ok(()) };
        match held.protocol {
            Protocol::Tcp => listen_past_closing(socket)?,
            Protocol::Udp => {
                match rcnt_base::sys::datagram::tell_destinations(socket.as_fd()) {
                    // ipv6.disable=1: an IPv4 socket, which rules serve.
                    Err(_) => return Ok(()),
                    Ok(()) => sockopt::set_socket_recv_buffer_size(socket, WAITING_DATAGRAMS)?,
                }
            }
            Protocol::Sctp => return Ok(()),
        }
        let doors = made(&mut self.doors)?;
        epoll::add(doors, socket, epoll::EventData::new_u64(place), epoll::EventFlags::IN)?;
        Ok(())
    }

    /// What to poll; none while nothing is relayed.
    pub fn poll_fds(&self) -> Vec<PollFd<'_>> {
        let full = self.connections.len() >= MOST_CONNECTIONS || self.closed_until.is_some();
        let doors = self.doors.iter().filter(|_| !full);
        let all = doors.chain(self.flows.iter());
        all.map(|fd| PollFd::new(fd, PollFlags::IN)).collect()
    }

    /// How long nothing needs to happen unless there is news; `None`: for ever.
    pub fn patience(&self) -> Option<Duration> {
        let deadline = self.closed_until.into_iter().chain(self.datagrams.deadline()).min()?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    /// Carries on: one round over what is ready.
    pub fn serve(&mut self) {
        let now = Instant::now();
        self.closed_until = self.closed_until.filter(|until| *until > now);
        if self.doors.is_none() && self.flows.is_none() {
            return;
        }
        for (place, _) in ready(self.doors.as_ref()) {
            self.enter(place, now);
        }
        for (event, flags) in ready(self.flows.as_ref()) {
            self.carry(event, flags, now);
        }
        self.datagrams.forget_idle(now);
        if self.connections.is_empty() && self.datagrams.is_empty() {
            self.scratch = Vec::new();
            self.flows = None;
        }
    }

    /// News at a door.
    fn enter(&mut self, place: u64, now: Instant) {
        let held = self.held.get(&place);
        let Some(Reservation { protocol, container_port, socket: Some(socket), .. }) = held else {
            return;
        };
        let target = |ip: &IpAddr| SocketAddr::new(*ip, *container_port);
        let Some(target) = self.targets.first().map(target) else {
            turn_away(*protocol, socket.as_fd());
            return;
        };
        let Ok(flows) = made(&mut self.flows) else { return };
        self.scratch.resize(CHUNK, 0);
        let entered = match protocol {
            Protocol::Udp => {
                let door = udp::Door { place, socket: socket.as_fd(), target };
                self.datagrams.enter(&door, flows, &mut self.next, &mut self.scratch, now)
            }
            _ if self.connections.len() >= MOST_CONNECTIONS => Ok(()),
            _ => accept(socket.as_fd(), target, flows, self.next).map(|connection| {
                self.connections.insert(self.next, connection);
                self.next += 1;
            }),
        };
        if matches!(entered, Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) {
            self.closed_until = Some(now + OUT_OF_DESCRIPTORS);
        }
    }

    /// News of a flow.
    fn carry(&mut self, event: u64, flags: epoll::EventFlags, now: Instant) {
        let Some(flows) = &self.flows else { return };
        let (number, side) = (event >> 1, usize::from(event & 1 == 1));
        self.scratch.resize(CHUNK, 0);
        if let Some(connection) = self.connections.get_mut(&number) {
            let goes_on = connection.carry(side, flags, &mut self.scratch);
            if !goes_on || connection.watch(flows.as_fd(), number).is_err() {
                self.connections.remove(&number);
            }
            return;
        }
        let held = &self.held;
        let socket_of = |place| held.get(&place)?.socket.as_ref().map(AsFd::as_fd);
        self.datagrams.answer(number, socket_of, &mut self.scratch, now);
    }
}

/// Takes one connection and closes it, or one datagram.
fn turn_away(protocol: Protocol, door: BorrowedFd<'_>) {
    // What cannot be taken is not there any more.
    match protocol {
        Protocol::Udp => {
            let _ = rustix::net::recv(door, &mut [0u8; 1][..], rustix::net::RecvFlags::DONTWAIT);
        }
        Protocol::Tcp | Protocol::Sctp => drop(accept_with(door, SocketFlags::CLOEXEC)),
    }
}

/// Takes one connection and begins another to the container.
fn accept(
    door: BorrowedFd<'_>,
    target: SocketAddr,
    flows: &OwnedFd,
    number: u64,
) -> Result<Connection, Errno> {
    let client = accept_with(door, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    // What is left of it after its end (TIME_WAIT) must not keep the port's next holder
    // from binding, who overlooks only sockets that allow it (`claims::reserve`).
    sockopt::set_socket_reuseaddr(&client, true)?;
    let mut connection = Connection::begin(client, target)?;
    connection.watch(flows.as_fd(), number)?;
    Ok(connection)
}

/// Listens, whatever connections of the last holder are still closing (TIME_WAIT):
/// listen(2) asks for the port anew (`inet_csk_listen_start`), and meets them unless
/// the socket allows it.
fn listen_past_closing(socket: &OwnedFd) -> Result<(), Errno> {
    match listen(socket, BACKLOG) {
        Err(Errno::ADDRINUSE) => {
            sockopt::set_socket_reuseaddr(socket, true)?;
            let done = listen(socket, BACKLOG);
            sockopt::set_socket_reuseaddr(socket, false)?;
            done
        }
        done => done,
    }
}

/// The epoll instance in this place, made now if there is none.
fn made(place: &mut Option<OwnedFd>) -> Result<&OwnedFd, Errno> {
    let instance = match place.take() {
        Some(instance) => instance,
        None => epoll::create(epoll::CreateFlags::CLOEXEC)?,
    };
    Ok(place.insert(instance))
}

/// What is ready now.
fn ready(instance: Option<&OwnedFd>) -> Vec<(u64, epoll::EventFlags)> {
    let Some(instance) = instance else { return Vec::new() };
    let mut events: Vec<epoll::Event> = Vec::with_capacity(ROUND);
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // Interrupted is nothing; the caller comes again.
    let _ = epoll::wait(instance, spare_capacity(&mut events), Some(&at_once));
    events.iter().map(|event| (event.data.u64(), event.flags)).collect()
}

#[cfg(test)]
mod tests;
