//! What the host's network looks like, read from the kernel as structs: links,
//! addresses, routes. Reads only; callers decide (free address ranges, free
//! interface names, repairs).

use std::io;
use std::net::IpAddr;

use rcnt_base::sys::netlink::Family;

use crate::plan::Mac;
use crate::socket::Socket;
use crate::wire::link;
use crate::wire::route::{self, Dump};
use crate::wire::{Malformed, Message};

/// A network interface of the current network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Interface number, unique in its namespace.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// Free text (`ip link set alias`); bridges of ours say `rcnt:<exec-root>`.
    pub alias: Option<String>,
    /// Driver: `bridge`, `veth`, `vlan`…; absent for hardware and `lo`.
    pub kind: Option<String>,
    /// Link-layer address, when it is six bytes long.
    pub mac: Option<Mac>,
    /// Bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// The bridge (or bond…) this is a port of.
    pub master: Option<u32>,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The interface's number.
    pub link: u32,
    /// The local address.
    pub address: IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
}

/// A route, of any table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// First address of the destination; unspecified with prefix 0 for a default route.
    pub destination: IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
    /// Next hop, when there is one.
    pub gateway: Option<IpAddr>,
    /// Outgoing interface, when there is one.
    pub link: Option<u32>,
    /// Routing table: 254 main, 255 local (rtnetlink(7)).
    pub table: u32,
}

fn invalid(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// All interfaces.
///
/// # Errors
/// The kernel's reason.
pub fn read_links() -> io::Result<Vec<Link>> {
    dump(Dump::Links, |message| link::read_link(message).map(Some))
}

/// All addresses, both families.
///
/// # Errors
/// The kernel's reason.
pub fn read_addresses() -> io::Result<Vec<Address>> {
    dump(Dump::Addresses, route::read_address_of)
}

/// All routes, both families, all tables (the local table's too).
///
/// # Errors
/// The kernel's reason.
pub fn read_routes() -> io::Result<Vec<Route>> {
    dump(Dump::Routes, route::read_route)
}

fn dump<T>(
    what: Dump,
    read: impl Fn(&Message<'_>) -> Result<Option<T>, Malformed>,
) -> io::Result<Vec<T>> {
    Socket::open(Family::Route)?.dump(
        |requests| {
            what.request(requests);
        },
        |message| read(message).map_err(invalid),
    )
}
