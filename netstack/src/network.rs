//! Bridge networks: decided once from configuration and facts, then stored in
//! `data-root/networks/<name>.json` and the same on every later start.
//!
//! - [`BridgeNetwork`]   what is stored
//! - [`decide`]          configuration + facts → network (pure)
//! - [`recheck`]         what has since come into the network's way (pure)
//! - [`default_network`] the network `bridge`: loaded, or decided and stored under a lock;
//!   [`default_network_here`] does so with the facts of this host

mod choose;
mod host;
mod stored;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use rcnt_base::ids::Name;
use serde::{Deserialize, Serialize};

use crate::cidr::{CidrError, IpNet, Ipv4Net, Ipv6Net};
use crate::facts::{Address, Link, Route};

pub use choose::{DEFAULT_POOLS, decide, recheck};
pub use host::{default_network_here, find_link, read_facts};
pub use stored::{Decision, Host, NetworkError, default_network};

/// A bridge network: decided once, stored, the same on every later start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeNetwork {
    /// Version of this file's form.
    pub schema: u32,
    /// As `--network` names it; the default network is `bridge`.
    pub name: Name,
    /// 64 lower-case hex digits, as docker's.
    pub id: String,
    /// The bridge's interface on the host: `rcnt0`, or what the configuration says.
    pub interface: String,
    /// What the interface's alias (IFLA_IFALIAS) must say: `rcnt:<exec-root>`.
    pub alias: String,
    /// The IPv4 block, host part cleared.
    pub subnet4: Ipv4Net,
    /// The bridge's own IPv4 address.
    pub gateway4: Ipv4Addr,
    /// Containers get addresses from this part of `subnet4` only (`fixed-cidr`, `--ip-range`).
    pub range4: Option<Ipv4Net>,
    /// The IPv6 block, host part cleared; `None`: no IPv6 at all on this network.
    pub subnet6: Option<Ipv6Net>,
    /// The bridge's own IPv6 address; `Some` exactly when `subnet6` is.
    pub gateway6: Option<Ipv6Addr>,
    /// Addresses never leased (`--aux-address`).
    pub reserved: BTreeSet<IpAddr>,
    /// Bytes per packet on the bridge and its veths.
    pub mtu: u32,
    /// Where `-p` without an address publishes (`ip` of the configuration); `None`: on every
    /// address.
    pub bind_address: Option<IpAddr>,
}

/// What the configuration says of the default bridge; docker's daemon options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BridgeConfig {
    /// `bridge`: the interface's name; one that exists already is used with its address.
    pub bridge: Option<String>,
    /// `bip`: the bridge's address and its prefix length.
    pub bip: Option<Ipv4Net>,
    /// `fixed-cidr`: containers get addresses from this part of the subnet.
    pub fixed_cidr: Option<Ipv4Net>,
    /// `ipv6`: IPv6 too, from `fixed-cidr-v6` or a unique local prefix of its own.
    pub ipv6: bool,
    /// `fixed-cidr-v6`: the IPv6 subnet; switches IPv6 on.
    pub fixed_cidr_v6: Option<Ipv6Net>,
    /// `mtu`, bytes; the default route's when absent.
    pub mtu: Option<u32>,
    /// `ip`: where `-p` without an address publishes.
    pub bind_address: Option<IpAddr>,
    /// `default-address-pools`; [`DEFAULT_POOLS`] when empty.
    pub pools: Vec<AddressPool>,
}

/// A range that subnets are cut from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressPool {
    /// The whole range.
    pub base: Ipv4Net,
    /// Prefix length of each subnet.
    pub size: u8,
}

/// The smallest block with room for as many containers as a bridge has ports (1023, BR_MAX_PORTS
/// of `net/bridge/br_private.h`): 2048 addresses. Small, so that pools last and VPNs are missed.
pub const SUBNET_PREFIX: u8 = 21;

/// Not an address pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The base is no address block.
    #[error("invalid address pool {0}")]
    Base(String, #[source] CidrError),
    /// Neither `BASE` nor `base=BASE,size=LENGTH`, or a size that does not fit.
    #[error("invalid address pool {0}: not BASE or base=BASE,size=PREFIX-LENGTH")]
    Form(String),
}

impl FromStr for AddressPool {
    type Err = PoolError;

    /// docker's `base=10.90.0.0/16,size=24`, or just `10.90.0.0/16`.
    fn from_str(s: &str) -> Result<Self, PoolError> {
        let form = || PoolError::Form(s.to_owned());
        let base =
            |text: &str| text.parse::<Ipv4Net>().map_err(|e| PoolError::Base(s.to_owned(), e));
        let (base, size) = match s.strip_prefix("base=") {
            None => {
                let base = base(s)?;
                (base, SUBNET_PREFIX.max(base.prefix()))
            }
            Some(rest) => {
                let (text, size) = rest.split_once(",size=").ok_or_else(form)?;
                (base(text)?, size.parse().map_err(|_| form())?)
            }
        };
        if size < base.prefix() || size > 30 {
            return Err(form());
        }
        Ok(Self { base: base.truncated(), size })
    }
}

impl fmt::Display for AddressPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "base={},size={}", self.base, self.size)
    }
}

impl TryFrom<String> for AddressPool {
    type Error = PoolError;
    fn try_from(s: String) -> Result<Self, PoolError> {
        s.parse()
    }
}

impl From<AddressPool> for String {
    fn from(pool: AddressPool) -> String {
        pool.to_string()
    }
}

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
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Used::Route(net) => write!(f, "the host's route to {net}"),
            Used::Address(net) => write!(f, "the host's address {net}"),
            Used::NameServer(ip) => write!(f, "the name server {ip}"),
        }
    }
}
