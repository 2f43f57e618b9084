//! Claims: the addresses and host ports a container holds.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use rcnt_base::ids::{ContainerId, Name};
use serde::{Deserialize, Serialize};

use crate::ports::PublishedPort;

/// An address pair on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The network it is on.
    pub network: Name,
    /// The IPv4 address.
    pub v4: Ipv4Addr,
    /// The IPv6 address, when the network has IPv6.
    pub v6: Option<Ipv6Addr>,
}

/// What to give back, as plain data for the journal. Giving back twice is fine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimsUndo {
    /// Whose claims these are; nobody else's are ever freed.
    pub owner: ContainerId,
    /// The leased addresses.
    pub lease: Option<Lease>,
    /// The published ports.
    pub published: Vec<PublishedPort>,
}

/// What one container holds. Dropped without [`Claims::keep`], everything is given back.
#[derive(Debug)]
pub struct Claims {
    /// Addresses on the network; `None` for a container without one.
    pub lease: Option<Lease>,
    /// Ports, in the order asked for.
    pub published: Vec<PublishedPort>,
    /// The reservations: bound sockets, to be held as long as the ports are published.
    pub sockets: Vec<OwnedFd>,
}
