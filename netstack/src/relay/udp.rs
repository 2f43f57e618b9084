//! Relayed datagrams: one socket to the container per client, so that its answers
//! find their way back; forgotten after a while without any.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rcnt_base::sys::datagram::{self, Destination};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};

/// How long a client may be silent; docker's.
const IDLE: Duration = Duration::from_secs(90);
/// Clients at the same time; the one that was silent longest makes room.
const MOST: usize = 512;
/// Datagrams taken in one round from one socket.
const BURST: usize = 32;

/// A published port.
pub(super) struct Door<'a> {
    pub(super) place: u64,
    pub(super) socket: BorrowedFd<'a>,
    pub(super) target: SocketAddr,
}

/// Which port, who sends, and to which address of ours.
type Client = (u64, SocketAddrV6, Destination);

#[derive(Debug)]
struct Flow {
    client: Client,
    socket: OwnedFd,
    last: Instant,
}

/// All clients, by number.
#[derive(Debug, Default)]
pub(super) struct Flows {
    all: BTreeMap<u64, Flow>,
    numbers: BTreeMap<Client, u64>,
}

impl Flows {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// When the next client is to be forgotten. (A search, but only while there are any.)
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.all.values().map(|flow| flow.last + IDLE).min()
    }

    /// Takes datagrams at a door to the container.
    pub(super) fn enter(
        &mut self,
        door: &Door<'_>,
        instance: &OwnedFd,
        next: &mut u64,
        scratch: &mut [u8],
        now: Instant,
    ) -> Result<(), Errno> {
        for _ in 0..BURST {
            let Ok(got) = datagram::receive(door.socket, scratch) else { break };
            let client = (door.place, got.from, got.to);
            let number = match self.numbers.get(&client) {
                Some(number) => *number,
                None => self.begin(door, client, instance, next, now)?,
            };
            if let Some(flow) = self.all.get_mut(&number) {
                flow.last = now;
                // As on any network: what cannot be delivered is lost.
                let bytes = scratch.get(..got.length).unwrap_or_default();
                let _ = send(&flow.socket, bytes, SendFlags::DONTWAIT);
            }
        }
        Ok(())
    }

    fn begin(
        &mut self,
        door: &Door<'_>,
        client: Client,
        instance: &OwnedFd,
        next: &mut u64,
        now: Instant,
    ) -> Result<u64, Errno> {
        if self.all.len() >= MOST {
            let oldest = self.all.iter().min_by_key(|(_, flow)| flow.last);
            let oldest = oldest.map(|(number, _)| *number);
            oldest.into_iter().for_each(|number| self.forget(number));
        }
        let v6 = door.target.is_ipv6();
        let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
        connect(&socket, &door.target)?;
        let number = *next;
        *next += 1;
        epoll::add(instance, &socket, super::key(number, 0), epoll::EventFlags::IN)?;
        self.all.insert(number, Flow { client, socket, last: now });
        self.numbers.insert(client, number);
        Ok(number)
    }

    /// Takes the container's answers to the client they are for.
    pub(super) fn answer<'a>(
        &mut self,
        number: u64,
        socket_of: impl Fn(u64) -> Option<BorrowedFd<'a>>,
        scratch: &mut [u8],
        now: Instant,
    ) {
        let Some(flow) = self.all.get_mut(&number) else { return };
        let (place, from, to) = flow.client;
        let Some(door) = socket_of(place) else { return };
        for _ in 0..BURST {
            // Nothing more, or nobody listens there: told to nobody, as by the kernel.
            let got = recv(flow.socket.as_fd(), &mut *scratch, RecvFlags::DONTWAIT);
            let Ok((length, _)) = got else { return };
            flow.last = now;
            let _ = datagram::send(door, scratch.get(..length).unwrap_or_default(), to, from);
        }
    }

    pub(super) fn forget_idle(&mut self, now: Instant) {
        let idle: Vec<u64> = self
            .all
            .iter()
            .filter(|(_, flow)| now.saturating_duration_since(flow.last) >= IDLE)
            .map(|(number, _)| *number)
            .collect();
        idle.into_iter().for_each(|number| self.forget(number));
    }

    /// Forgets the clients of ports that are not kept.
    pub(super) fn keep(&mut self, kept: impl Fn(u64) -> bool) {
        self.all.retain(|_, flow| kept(flow.client.0));
        self.numbers.retain(|client, _| kept(client.0));
    }

    fn forget(&mut self, number: u64) {
        if let Some(flow) = self.all.remove(&number) {
            self.numbers.remove(&flow.client);
        }
    }
}
