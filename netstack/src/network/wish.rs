//! `network create` as typed, and the network it makes. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rcnt_base::ids::Name;
use time::OffsetDateTime;

use super::blocks::{self, Block};
use super::choose::{address_of, check_interface_name, choose_mtu, hex};
use super::config::AddressPool;
use super::driver_options::{BridgeOptions, IpvlanOptions, MacvlanOptions, Options, UnknownOption};
use super::options::{GatewayMode, UnknownWord};
use super::parent::{check_mtu, decide_parent};
use super::stored::NetworkError;
use super::subnets::{choose4, choose6, meets, used};
use super::types::{
    Addresses, Bridge, BridgePolicy, Ipam, IpamConfig, Ipvlan, Kind, Macvlan, Network, PREDEFINED,
};
use super::used::{HostNetFacts, Used};
use crate::cidr::{CidrError, IpNet};
use crate::facts::Link;

/// What `network create` was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkWish {
    /// The network's name.
    pub name: String,
    /// `--driver`; `bridge` when empty.
    pub driver: String,
    /// `--subnet`.
    pub subnets: Vec<String>,
    /// `--gateway`.
    pub gateways: Vec<String>,
    /// `--ip-range`.
    pub ip_ranges: Vec<String>,
    /// `--aux-address`, name and address.
    pub aux_addresses: Vec<(String, String)>,
    /// `--internal`.
    pub internal: bool,
    /// `--attachable`.
    pub attachable: bool,
    /// `--ipv6`.
    pub ipv6: bool,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--opt`, in docker's or our shorter words.
    pub options: Vec<(String, String)>,
    /// `--ipam-opt`.
    pub ipam_options: BTreeMap<String, String>,
}

/// Why a network was not made. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// No name, or none that a network can have.
    #[error(transparent)]
    Name(#[from] rcnt_base::ids::IdError),
    /// `bridge`, `host`, `none`.
    #[error("operation is not permitted on predefined {0} network")]
    Predefined(String),
    /// The name is taken.
    #[error("network with name {0} already exists")]
    Exists(Name),
    /// Not a driver that makes networks.
    #[error("unknown network driver \"{0}\": it is bridge, macvlan or ipvlan")]
    Driver(String),
    /// `host` and `null` have their one network.
    #[error("only one instance of \"{0}\" network is allowed")]
    OnlyOne(String),
    /// An option the driver has not.
    #[error(transparent)]
    Option(#[from] UnknownOption),
    /// An option's value.
    #[error("invalid value of option {option}")]
    Value {
        /// docker's name of it.
        option: &'static str,
        /// What is wrong.
        source: BadValue,
    },
    /// Something that is not an address block.
    #[error(transparent)]
    Cidr(#[from] CidrError),
    /// Subnets, gateways, ranges and auxiliary addresses that do not fit together, in
    /// docker's words.
    #[error("{0}")]
    Blocks(String),
    /// The subnet is somebody's.
    #[error(
        "invalid pool request: Pool overlaps with other one on this address space: {subnet} overlaps {with}"
    )]
    Overlap {
        /// As asked for.
        subnet: IpNet,
        /// What it meets.
        with: Used,
    },
    /// Every block of the pools is somebody's.
    #[error(
        "all predefined address pools have been fully subnetted: say --subnet, or set default-address-pools in the configuration"
    )]
    Exhausted,
    /// `--ipv6` without the protocol.
    #[error("cannot give network {0} IPv6: this kernel runs without it")]
    NoIpv6(Name),
    /// `isolated` without `--internal`.
    #[error("gateway mode 'isolated' can only be used for an internal network")]
    IsolatedNotInternal,
    /// Two networks on one bridge.
    #[error("networks have same bridge name: {interface} is network {network}'s")]
    SameBridge {
        /// The interface.
        interface: String,
        /// Whose it is.
        network: Name,
    },
    /// The parent interface.
    #[error("{0}")]
    Parent(String),
    /// The kernel has no such interfaces.
    #[error("this kernel has no {0}: it was built without, or its module is not there")]
    Unsupported(&'static str),
    /// What the default network can meet as well.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The interface could not be made.
    #[error("cannot make interface {interface}")]
    Interface {
        /// Its name.
        interface: String,
        /// The kernel's reason.
        source: std::io::Error,
    },
}

/// What is wrong with an option's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadValue {
    /// None of the words.
    #[error(transparent)]
    Word(#[from] UnknownWord),
    /// Anything else: what was typed, what it should be.
    #[error("\"{0}\" is not {1}")]
    Not(String, &'static str),
}

/// What a wish is decided from, besides itself.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// What marks interfaces as this instance's.
    pub alias: &'a str,
    /// The host.
    pub facts: &'a HostNetFacts,
    /// The instance's networks.
    pub others: &'a [Network],
    /// `default-address-pools`.
    pub pools: &'a [AddressPool],
    /// `allow-direct-routing`.
    pub direct_routing: bool,
    /// The time.
    pub now: OffsetDateTime,
    /// Makes id and IPv6 prefix.
    pub random: [u8; 37],
}

/// The network that is wished for.
///
/// # Errors
/// What in the wish cannot be, or is somebody's already.
pub fn decide_network(
    wish: &NetworkWish,
    around: &Surroundings<'_>,
) -> Result<Network, CreateError> {
    let name = free_name(wish, around)?;
    let options = Options::parse(&wish.driver, &wish.options)?;
    let given = blocks::parse(wish)?;
    if (wish.ipv6 || given.six.is_some()) && !around.facts.ipv6 {
        return Err(CreateError::NoIpv6(name));
    }
    let (id, prefix6) = around.random.split_at(32);
    let id = hex(id);
    let (kind, own, alone) = decide_kind(&options, &id, wish, around)?;
    let apart = matches!(kind, Kind::Bridge(_));
    let addresses = decide_addresses(&given, (wish.ipv6, prefix6), own.as_ref(), around, apart)?;
    Ok(Network {
        name,
        id,
        created: around.now,
        internal: wish.internal || alone,
        attachable: wish.attachable,
        enable_ipv4: true,
        enable_ipv6: addresses.subnet6.is_some(),
        labels: wish.labels.clone(),
        options: Options::spelled_out(&wish.driver, &wish.options),
        ipam: shown(wish, &given, &addresses),
        addresses: Some(addresses),
        kind,
    })
}

/// What the driver makes of its options; the address of a bridge that is there already;
/// whether the network leads nowhere.
fn decide_kind(
    options: &Options,
    id: &str,
    wish: &NetworkWish,
    around: &Surroundings<'_>,
) -> Result<(Kind, Option<IpNet>, bool), CreateError> {
    Ok(match options {
        Options::Bridge(options) => {
            let (bridge, own) = decide_bridge(options, id, wish, around)?;
            (Kind::Bridge(bridge), own, false)
        }
        Options::Macvlan(MacvlanOptions { parent, mode, mtu }) => {
            let (parent, alone) = decide_parent(parent, (*mode).into(), id, around)?;
            check_mtu(*mtu, &parent, wish.ipv6, around)?;
            (Kind::Macvlan(Macvlan { parent, mode: *mode, mtu: *mtu }), None, alone)
        }
        Options::Ipvlan(IpvlanOptions { parent, mode, flag, mtu }) => {
            let (parent, alone) = decide_parent(parent, (*mode).into(), id, around)?;
            check_mtu(*mtu, &parent, wish.ipv6, around)?;
            let ipvlan = Ipvlan { parent, mode: *mode, flag: *flag, mtu: *mtu };
            (Kind::Ipvlan(ipvlan), None, alone)
        }
    })
}

fn free_name(wish: &NetworkWish, around: &Surroundings<'_>) -> Result<Name, CreateError> {
    if PREDEFINED.contains(&wish.name.as_str()) {
        return Err(CreateError::Predefined(wish.name.clone()));
    }
    let name: Name = wish.name.parse()?;
    // `--network container:x` and `default` mean something else.
    if wish.name == "default" {
        return Err(CreateError::Predefined(wish.name.clone()));
    }
    if around.others.iter().any(|other| other.name == name) {
        return Err(CreateError::Exists(name));
    }
    Ok(name)
}

/// The bridge, and the address of one that is there already, which is taken along.
fn decide_bridge(
    options: &BridgeOptions,
    id: &str,
    wish: &NetworkWish,
    around: &Surroundings<'_>,
) -> Result<(Bridge, Option<IpNet>), CreateError> {
    let BridgeOptions { name, mtu, bind_address, policy } = options;
    let interface = match name {
        Some(name) => name.clone(),
        None => format!("br-{}", id.get(..12).unwrap_or(id)),
    };
    check_interface_name(&interface)?;
    policy.trusted.iter().try_for_each(|name| check_interface_name(name))?;
    let same = |other: &&Network| other.bridge().is_some_and(|b| b.interface == interface);
    if let Some(other) = around.others.iter().find(same) {
        return Err(CreateError::SameBridge { interface, network: other.name.clone() });
    }
    let modes = [policy.gateway_mode4, policy.gateway_mode6];
    if modes.contains(&GatewayMode::Isolated) && !wish.internal {
        return Err(CreateError::IsolatedNotInternal);
    }
    let foreign = foreign_bridge(&interface, around)?;
    let own = foreign.and_then(|link| address_of(&link.name, around.facts)).map(IpNet::V4);
    let bridge = Bridge {
        interface,
        alias: around.alias.to_owned(),
        mtu: choose_mtu(*mtu, around.facts, wish.ipv6)?,
        bind_address: bind_address.map(IpAddr::V4),
        policy: BridgePolicy {
            foreign: foreign.is_some(),
            direct_routing: around.direct_routing,
            ..policy.clone()
        },
    };
    Ok((bridge, own))
}

/// A bridge of this name that is there and has nobody's mark.
fn foreign_bridge<'a>(
    interface: &str,
    around: &Surroundings<'a>,
) -> Result<Option<&'a Link>, CreateError> {
    let there = around.facts.links.iter().find(|link| link.name == interface);
    if there.is_some_and(|link| link.kind.as_deref() != Some("bridge")) {
        return Err(NetworkError::NoBridge(interface.to_owned()).into());
    }
    let mark = there.and_then(|link| link.alias.as_deref()).filter(|a| a.starts_with("rcnt:"));
    if let Some(alias) = mark.filter(|alias| *alias != around.alias) {
        let (interface, alias) = (interface.to_owned(), alias.to_owned());
        return Err(NetworkError::OthersBridge { interface, alias }.into());
    }
    Ok(there.filter(|_| mark.is_none()))
}

/// What was typed, what an existing bridge brings along, else what the pools have. A network
/// `apart` from the host's may not overlap them; one on a LAN does so by intent.
fn decide_addresses(
    given: &blocks::Given,
    (ipv6, prefix6): (bool, &[u8]),
    own: Option<&IpNet>,
    around: &Surroundings<'_>,
    apart: bool,
) -> Result<Addresses, CreateError> {
    let Surroundings { facts, others, pools, .. } = *around;
    let has_own = |link: &Link| {
        let mut addresses = facts.addresses.iter().filter(|a| a.link == link.index);
        own.is_some_and(|own| addresses.any(|a| a.address == own.addr()))
    };
    let used = used(&has_own, others, facts);
    let in_the_way = |used: &&Used| apart || matches!(used, Used::Network(..));
    let free = |block: Block| match used.iter().filter(in_the_way).find(|u| meets(block.subnet, u))
    {
        Some(with) => Err(CreateError::Overlap { subnet: block.subnet, with: with.clone() }),
        None => Ok(block),
    };
    let four = match given.four.clone().or(own.map(|net| Block::of(*net))) {
        Some(block) => free(block)?,
        None => Block::new(choose4(pools, &used).ok_or(CreateError::Exhausted)?.into()),
    };
    let six = match given.six.clone() {
        Some(block) => Some(free(block)?),
        None if ipv6 => {
            Some(Block::new(choose6(prefix6, &used).ok_or(CreateError::Exhausted)?.into()))
        }
        None => None,
    };
    blocks::addresses(&four, six.as_ref())
}

/// What `network inspect` shows: as typed, completed by what was chosen.
fn shown(wish: &NetworkWish, given: &blocks::Given, addresses: &Addresses) -> Ipam {
    let mut ipam = super::choose::ipam(addresses);
    ipam.options.clone_from(&wish.ipam_options);
    let typed = [given.four.as_ref(), given.six.as_ref()];
    for (entry, block) in ipam.config.iter_mut().zip(typed) {
        let IpamConfig { ip_range, aux_addresses, .. } = entry;
        if let Some(block) = block {
            *ip_range = block.range;
            aux_addresses.clone_from(&block.aux);
        }
    }
    ipam
}

#[cfg(test)]
mod tests;
