//! Which address blocks are free. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::config::{AddressPool, SUBNET_PREFIX};
use super::types::{Addresses, Network};
use super::used::{HostNetFacts, NetworkWarning, Used};
use crate::cidr::{IpNet, Ipv4Net, Ipv6Net};
use crate::facts::{Address, Link, Route};

const fn pool(a: u8, b: u8, c: u8, prefix: u8) -> AddressPool {
    match Ipv4Net::new(Ipv4Addr::new(a, b, c, 0), prefix) {
        Some(base) => AddressPool { base, size: SUBNET_PREFIX },
        None => AddressPool { base: Ipv4Net::ANY, size: SUBNET_PREFIX },
    }
}

/// Where subnets come from when `default-address-pools` does not say: one part of each private
/// range (RFC 1918), because a VPN that takes one of them rarely takes all. They stay clear of what
/// other tools hand out without looking: 10.88.0.0/16, 10.96.0.0/12 and 10.244.0.0/16 (podman,
/// Kubernetes), 172.17.0.0/16 (docker), 192.168.0.0/17 (home routers, libvirt).
pub const DEFAULT_POOLS: [AddressPool; 3] =
    [pool(10, 90, 0, 15), pool(172, 28, 0, 14), pool(192, 168, 128, 17)];

/// Shorter IPv4 routes say "everything", as the default route does: VPN clients split it in two
/// (`0.0.0.0/1` and `128.0.0.0/1`). The largest private range is a /8.
const SHORTEST_ROUTE: u8 = 8;

/// The first block of `pool` that meets nothing used. What is in the way is jumped over whole.
pub(super) fn first_free(pool: AddressPool, used: &[Ipv4Net]) -> Option<Ipv4Net> {
    let mut start = pool.base.network();
    loop {
        let block = Ipv4Net::new(start, pool.size)?.truncated();
        if !pool.base.contains(start) {
            return None;
        }
        let Some(hit) = used.iter().filter(|net| net.overlaps(block)).map(|net| net.last()).max()
        else {
            return Some(block);
        };
        let past = Ipv4Net::new(hit.max(block.last()), pool.size)?.last();
        start = u32::from(past).checked_add(1)?.into();
    }
}

/// Everything spoken for: on the host, but for what hangs on interfaces that are the network's
/// `own`, and by the instance's `others`, whether their interfaces are up or not.
pub(super) fn used(
    own: &dyn Fn(&Link) -> bool,
    others: &[Network],
    facts: &HostNetFacts,
) -> Vec<Used> {
    let own: BTreeSet<u32> =
        facts.links.iter().filter(|link| own(link)).map(|link| link.index).collect();
    let routes = facts.routes.iter().filter(|r| is_specific(r));
    let routes = routes.filter(|r| r.link.is_none_or(|link| !own.contains(&link)));
    let addresses = facts.addresses.iter().filter(|a| !own.contains(&a.link));
    let route = |r: &Route| IpNet::new(r.destination, r.prefix).map(Used::Route);
    let address = |a: &Address| IpNet::new(a.address, a.prefix).map(Used::Address);
    used_by_networks(others)
        .chain(routes.filter_map(route))
        .chain(addresses.filter_map(address))
        .chain(facts.name_servers.iter().map(|ip| Used::NameServer(*ip)))
        .collect()
}

/// The blocks of the instance's networks.
fn used_by_networks(networks: &[Network]) -> impl Iterator<Item = Used> + '_ {
    networks.iter().flat_map(|network| {
        let blocks = network.addresses.iter().flat_map(Addresses::blocks);
        blocks.map(|block| Used::Network(network.name.clone(), block))
    })
}

/// The first free IPv4 block of the pools, in their order; the built-in ones when there are none.
pub(super) fn choose4(pools: &[AddressPool], used: &[Used]) -> Option<Ipv4Net> {
    let pools = if pools.is_empty() { &DEFAULT_POOLS } else { pools };
    let used: Vec<Ipv4Net> = used.iter().filter_map(used4).collect();
    pools.iter().find_map(|pool| first_free(*pool, &used))
}

/// A unique local prefix of 40 random bits (RFC 4193: fd, the bits, subnet 0), if it is free.
pub(super) fn choose6(random: &[u8], used: &[Used]) -> Option<Ipv6Net> {
    let mut octets = [0u8; 16];
    octets[0] = 0xfd;
    for (octet, random) in octets.iter_mut().skip(1).zip(random.iter().take(5)) {
        *octet = *random;
    }
    let subnet = Ipv6Net::new(Ipv6Addr::from(octets), 64)?;
    (!used.iter().any(|used| meets(IpNet::V6(subnet), used))).then_some(subnet)
}

fn is_specific(route: &Route) -> bool {
    match route.destination {
        IpAddr::V4(_) => route.prefix >= SHORTEST_ROUTE,
        // fc00::/7 is all unique local addresses; 2000::/3 a default route in other words.
        IpAddr::V6(_) => route.prefix > 7,
    }
}

fn used4(used: &Used) -> Option<Ipv4Net> {
    match used {
        Used::Route(IpNet::V4(net))
        | Used::Address(IpNet::V4(net))
        | Used::Network(_, IpNet::V4(net)) => Some(*net),
        Used::NameServer(IpAddr::V4(ip)) => Ipv4Net::new(*ip, 32),
        _ => None,
    }
}

pub(super) fn meets(subnet: IpNet, used: &Used) -> bool {
    let net = match used {
        Used::Route(net) | Used::Address(net) | Used::Network(_, net) => Some(*net),
        Used::NameServer(ip) => IpNet::new(*ip, if ip.is_ipv4() { 32 } else { 128 }),
    };
    net.is_some_and(|net| subnet.overlaps(net))
}

/// What now overlaps a bridge network: a VPN that came up later, another tool's bridge. One
/// warning for each block, the first thing in its way.
pub fn recheck(network: &Network, facts: &HostNetFacts) -> Vec<NetworkWarning> {
    // Networks on a LAN overlap it by intent.
    let (Some(bridge), Some(addresses)) = (network.bridge(), &network.addresses) else {
        return Vec::new();
    };
    let used = used(&|link| link.name == bridge.interface, &[], facts);
    let warning = |subnet| {
        let with = used.iter().find(|used| meets(subnet, used))?.clone();
        Some(NetworkWarning::Overlap { network: network.name.clone(), subnet, with })
    };
    addresses.blocks().filter_map(warning).collect()
}
