//! What is spoken for on the host, and what that means for a network.

use std::fmt;
use std::net::IpAddr;

use rcnt_base::ids::Name;

use crate::cidr::IpNet;
use crate::facts::{Address, Link, Route};

/// What decides which addresses are free, read from the host once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostNetFacts {
    /// All interfaces ([`crate::facts::read_links`]).
    pub links: Vec<Link>,
    /// All addresses ([`crate::facts::read_addresses`]).
    pub addresses: Vec<Address>,
    /// All routes ([`crate::facts::read_routes`]).
    pub routes: Vec<Route>,
    /// The host's name servers: often beyond a default route or VPN that shows no route of its own.
    pub name_servers: Vec<IpAddr>,
    /// Whether the kernel has IPv6.
    pub ipv6: bool,
}

/// Something that may keep a stored network from working.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkWarning {
    /// Packets for what is at that route, address or name server may go astray, or ours.
    Overlap {
        /// The network's name.
        network: Name,
        /// Its block.
        subnet: IpNet,
        /// What it meets.
        with: Used,
    },
    /// The configuration changed, but containers still use the network as it was.
    Pending {
        /// The network's name.
        network: Name,
    },
}

impl fmt::Display for NetworkWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetworkWarning::Overlap { network, subnet, with } => {
                write!(f, "network {network} ({subnet}) overlaps {with}")
            }
            NetworkWarning::Pending { network } => write!(
                f,
                "the changed configuration of network {network} waits until no container uses it"
            ),
        }
    }
}

/// Addresses that are spoken for on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Used {
    /// A route that is no default route.
    Route(IpNet),
    /// An interface's address and its block.
    Address(IpNet),
    /// A name server.
    NameServer(IpAddr),
    /// A network of this instance.
    Network(Name, IpNet),
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Used::Route(net) => write!(f, "the host's route to {net}"),
            Used::Address(net) => write!(f, "the host's address {net}"),
            Used::Network(name, net) => write!(f, "network {name} ({net})"),
            Used::NameServer(ip) => write!(f, "the name server {ip}"),
        }
    }
}
