//! Sockets that hold a port: bound, never listening.
//!
//! Measured on Linux 6.18: a bound TCP socket without SO_REUSEADDR makes every
//! other bind of that port fail, with or without SO_REUSEADDR, on the same or a
//! more specific address; so listen(2) is not needed to reserve. One dual-stack
//! socket on `::` holds the port in both families.
//!
//! Connections in TIME_WAIT on the port (a server that just ended) make such a
//! bind fail too. Then, and only then, the socket binds with SO_REUSEADDR, which
//! overlooks TIME_WAIT but no listener, and drops the option once bound: from then
//! on it is in every other's way again, at the latest when that one listens, which checks
//! anew (`inet_csk_listen_start`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrAny, SocketFlags, SocketType, bind, getsockname, ipproto, socket_with,
    sockopt,
};

use crate::ports::Protocol;
use crate::relay::Relays;

/// Which host addresses a port is held on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Every address of both families.
    Any,
    /// One address, or every address of its family when it is unspecified.
    One(IpAddr),
}

impl Scope {
    /// The addresses claim files are named after.
    pub(super) fn addresses(self) -> Vec<IpAddr> {
        match self {
            Scope::Any => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            Scope::One(ip) => vec![ip],
        }
    }

    /// The address that meets all others of the scope: sockets on `::` may be of both families.
    pub(super) fn widest(self) -> IpAddr {
        match self {
            Scope::Any => Ipv6Addr::UNSPECIFIED.into(),
            Scope::One(ip) => ip,
        }
    }

    /// The address that error texts name.
    pub(super) fn shown(self) -> IpAddr {
        match self {
            Scope::Any => Ipv4Addr::UNSPECIFIED.into(),
            Scope::One(ip) => ip,
        }
    }
}

/// Binds `port`, or any free port when it is 0. `None`: this kernel has no sockets of that
/// protocol (SCTP is often left out), so no program can take the port from us either.
pub(super) fn reserve(
    protocol: Protocol,
    scope: Scope,
    port: u16,
    relay: Relays,
) -> Result<Option<(OwnedFd, u16)>, Errno> {
    let mapped = relay == Relays::Everything && protocol == Protocol::Udp;
    match bound(protocol, scope, port, mapped, false) {
        Err(Errno::ADDRINUSE) if protocol == Protocol::Tcp && port != 0 => {
            bound(protocol, scope, port, mapped, true).map(Some)
        }
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) => Ok(None),
        done => done.map(Some),
    }
}

fn bound(
    protocol: Protocol,
    scope: Scope,
    port: u16,
    mapped: bool,
    past_time_wait: bool,
) -> Result<(OwnedFd, u16), Errno> {
    let (socket, address) = match scope {
        // The relay answers from the address that was asked, which only IPv6 sockets tell.
        Scope::One(IpAddr::V4(v4)) if mapped => match open(protocol, true) {
            Ok(socket) => (socket, v4.to_ipv6_mapped().into()),
            Err(_) => (open(protocol, false)?, v4.into()),
        },
        Scope::One(ip) => (open(protocol, ip.is_ipv6())?, ip),
        Scope::Any => match open(protocol, true) {
            Ok(socket) => (socket, Ipv6Addr::UNSPECIFIED.into()),
            // ipv6.disable=1
            Err(Errno::AFNOSUPPORT) => (open(protocol, false)?, Ipv4Addr::UNSPECIFIED.into()),
            Err(e) => return Err(e),
        },
    };
    if address.is_ipv6() {
        let v6only = matches!(scope, Scope::One(ip) if ip.is_ipv6());
        sockopt::set_ipv6_v6only(&socket, v6only)?;
    }
    if past_time_wait {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &SocketAddr::new(address, port))?;
    if past_time_wait {
        sockopt::set_socket_reuseaddr(&socket, false)?;
    }
    let port = if port == 0 { bound_port(&socket)? } else { port };
    Ok((socket, port))
}

fn open(protocol: Protocol, v6: bool) -> Result<OwnedFd, Errno> {
    let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket =
        socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, Some(number))?;
    if protocol == Protocol::Udp {
        // Nobody reads: what arrives past our rules must not pile up. The kernel's least is 2 KiB.
        sockopt::set_socket_recv_buffer_size(&socket, 0)?;
    }
    Ok(socket)
}

fn bound_port(socket: &OwnedFd) -> Result<u16, Errno> {
    let address: SocketAddrAny = getsockname(socket)?;
    SocketAddr::try_from(address).map(|a| a.port()).map_err(|_| Errno::AFNOSUPPORT)
}
