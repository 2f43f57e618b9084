//! The sockets of a resolver, opened by visiting the container's network
//! namespace once.
//!
//! They are bound to a port of their own, and two stateless rules at the ingress of
//! the container's `lo` make it look like port 53. Bound to 53 itself they would
//! take it from every server in the container that listens on 0.0.0.0:53 (bind(2)
//! refuses one of the two), and whoever runs dnsmasq, CoreDNS or AdGuard in a
//! container does just that. See docs/decisions/040-port-of-the-resolver.md.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rcnt_base::sys::device::bind_to_device;
use rcnt_base::sys::netlink::Family;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::socket::{Socket, refusal};
use crate::wire::abi;
use crate::wire::nft::{Batch, Expression};

/// Where every container on a user-defined network finds its resolver, as docker has it.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// The port that clients know.
pub(super) const PORT: u16 = 53;
/// How often another port is tried when TCP does not get the one that UDP got.
const TRIES: u32 = 8;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;
/// The table's name inside the container.
const TABLE: &str = "rcnt-names";

/// What a resolver listens on. The namespace lives at least as long.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) udp: OwnedFd,
    pub(super) tcp: OwnedFd,
    port: u16,
    /// Kept open: closing a netfilter socket may wait for the kernel, see
    /// [`crate::socket::with_netfilter`]. `None` when the port is 53 itself.
    netfilter: Option<Socket>,
}

impl Doors {
    /// Declares the rules again, should somebody inside have flushed them.
    pub(super) fn lead_here(&mut self) -> io::Result<()> {
        match &mut self.netfilter {
            Some(socket) => lead_here(socket, self.port),
            None => Ok(()),
        }
    }
}

/// Runs `visit` with the calling thread inside `netns`.
pub(super) fn visiting<T>(
    netns: BorrowedFd<'_>,
    visit: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let kind = Some(LinkNameSpaceType::Network);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let home: OwnedFd = openat(CWD, "/proc/thread-self/ns/net", flags, Mode::empty())?;
    move_into_link_name_space(netns, kind)?;
    let done = visit();
    move_into_link_name_space(home.as_fd(), kind)?;
    done
}

/// Opens the sockets in the calling thread's network namespace, whose `lo` is up.
pub(super) fn open() -> io::Result<Doors> {
    let (udp, tcp, port) = pair(0)?;
    let redirected = Socket::open(Family::Netfilter)
        .and_then(|mut socket| lead_here(&mut socket, port).map(|()| socket));
    match redirected {
        Ok(socket) => Ok(Doors { udp, tcp, port, netfilter: Some(socket) }),
        // A kernel without nf_tables for devices: the real port, and no other server on it.
        Err(error) => {
            log::debug!("cannot redirect port {PORT} inside the container: {error}");
            drop((udp, tcp));
            let (udp, tcp, _) = pair(PORT)?;
            Ok(Doors { udp, tcp, port: PORT, netfilter: None })
        }
    }
}

/// A UDP and a TCP socket on the same port: `wanted`, or any.
fn pair(wanted: u16) -> io::Result<(OwnedFd, OwnedFd, u16)> {
    let mut tries = 0;
    loop {
        tries += 1;
        let udp = bound(SocketType::DGRAM, wanted)?;
        let port = match net::getsockname(&udp)?.try_into() {
            Ok(SocketAddr::V4(address)) => address.port(),
            _ => return Err(Errno::AFNOSUPPORT.into()),
        };
        match bound(SocketType::STREAM, port) {
            Ok(tcp) => {
                net::listen(&tcp, BACKLOG)?;
                return Ok((udp, tcp, port));
            }
            Err(error) if wanted == 0 && tries < TRIES && is_taken(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

fn bound(kind: SocketType, port: u16) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(AddressFamily::INET, kind, flags, None)?;
    // Nobody on the container's networks, whatever its sysctls (route_localnet) say.
    bind_to_device(socket.as_fd(), c"lo")?;
    net::bind(&socket, &SocketAddrV4::new(ADDRESS, port))?;
    Ok(socket)
}

/// Makes port 53 of our address lead to `port`, and answers come from 53.
fn lead_here(socket: &mut Socket, port: u16) -> io::Result<()> {
    let mut batch = Batch::netdev(TABLE);
    rules(&mut batch, port);
    let requests = batch.finish();
    let answers = socket.exchange(&requests, |_| Ok(()))?;
    socket.rest();
    match answers.refused() {
        None if !answers.acks.is_empty() => Ok(()),
        None => Err(io::Error::other("the kernel did not answer an nftables transaction")),
        Some((_, ack)) => Err(refusal(ack).into()),
    }
}

fn rules(batch: &mut Batch<'_>, port: u16) {
    batch.table();
    // What is left of one may lead elsewhere: to the port of an earlier resolver.
    batch.delete_table();
    batch.table();
    batch.ingress_chain("lo", "lo", 0);
    batch.chain("ask", None);
    batch.chain("answer", None);
    // Two comparisons for what else passes over lo.
    for (offset, chain) in [(16, "ask"), (12, "answer")] {
        let expressions = [
            Expression::Meta { key: abi::NFT_META_PROTOCOL, to: 0 },
            Expression::Equal(&[0x08, 0x00]), // ETH_P_IP
            load(abi::NFT_PAYLOAD_NETWORK_HEADER, offset, 4),
            Expression::Equal(&[127, 0, 0, 11]),
            Expression::Jump(chain),
        ];
        batch.rule("lo", &expressions, "");
    }
    // (protocol, where its checksum is)
    for (protocol, checksum) in [(&[17u8], 6), (&[6u8], 16)] {
        let mut rewrite = |chain, offset, from: u16, to: u16| {
            let expressions = [
                Expression::Meta { key: abi::NFT_META_L4PROTO, to: 0 },
                Expression::Equal(protocol),
                load(abi::NFT_PAYLOAD_TRANSPORT_HEADER, offset, 2),
                Expression::EqualPort(from),
                Expression::LoadPort(to),
                Expression::SetTransport { offset, bytes: 2, checksum },
            ];
            batch.rule(chain, &expressions, "");
        };
        rewrite("ask", 2, PORT, port);
        rewrite("answer", 0, port, PORT);
    }
}

fn load(base: u32, offset: u32, bytes: u32) -> Expression {
    Expression::Payload { base, offset, bytes, to: 0 }
}
