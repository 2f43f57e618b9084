//! From configuration and facts to a network. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcnt_base::ids::Name;

use super::stored::NetworkError;
use super::{
    AddressPool, BridgeConfig, BridgeNetwork, HostNetFacts, NetworkWarning, SUBNET_PREFIX, Used,
};
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

/// Kernel's least for IPv4 (RFC 791) and IPv6 (RFC 8200), and its most for a bridge.
const MTU: std::ops::RangeInclusive<u32> = 68..=65535;
const MTU_IPV6: u32 = 1280;

/// The default network for this configuration on this host. `alias` marks what is ours: neither it
/// nor its addresses count as taken. `random` makes id and IPv6 prefix.
///
/// # Errors
/// What in the configuration cannot be, or that nothing is free.
pub fn decide(
    name: &Name,
    alias: &str,
    config: &BridgeConfig,
    facts: &HostNetFacts,
    random: [u8; 37],
) -> Result<BridgeNetwork, NetworkError> {
    let (id, prefix6) = random.split_at(32);
    let interface = choose_interface(alias, config, facts, None)?;
    let (subnet4, gateway4) = choose_subnet4(alias, config, facts)?;
    if let Some(range) = config.fixed_cidr
        && !subnet4.covers(range)
    {
        return Err(NetworkError::FixedCidr { range: range.into(), subnet: subnet4.into() });
    }
    let subnet6 = choose_subnet6(alias, config, facts, subnet4, prefix6)?;
    let host_part = u128::from(subnet4.host_part(gateway4));
    Ok(BridgeNetwork {
        schema: 1,
        name: name.clone(),
        id: id.iter().map(|b| format!("{b:02x}")).collect(),
        interface,
        alias: alias.to_owned(),
        subnet4,
        gateway4,
        range4: config.fixed_cidr.map(Ipv4Net::truncated),
        subnet6,
        gateway6: subnet6.and_then(|net| net.nth(host_part)),
        reserved: BTreeSet::new(),
        mtu: choose_mtu(config, facts, subnet6.is_some())?,
        bind_address: config.bind_address,
    })
}

fn is_ours(link: &Link, alias: &str) -> bool {
    link.alias.as_deref() == Some(alias)
}

/// The name of the bridge: what the configuration says, or the first that is ours or free of the
/// stored one, `rcnt0`, `rcnt1`…
pub(super) fn choose_interface(
    alias: &str,
    config: &BridgeConfig,
    facts: &HostNetFacts,
    stored: Option<&str>,
) -> Result<String, NetworkError> {
    let link = |name: &str| facts.links.iter().find(|link| link.name == name);
    if let Some(name) = &config.bridge {
        check_interface_name(name)?;
        return match link(name) {
            Some(link) if link.kind.as_deref() != Some("bridge") => {
                Err(NetworkError::NoBridge(name.clone()))
            }
            Some(Link { alias: Some(other), .. })
                if other.starts_with("rcnt:") && other != alias =>
            {
                Err(NetworkError::OthersBridge { interface: name.clone(), alias: other.clone() })
            }
            _ => Ok(name.clone()),
        };
    }
    stored
        .map(ToOwned::to_owned)
        .into_iter()
        .chain((0..=u32::MAX).map(|n| format!("rcnt{n}")))
        .find(|name| link(name).is_none_or(|link| is_ours(link, alias)))
        .ok_or(NetworkError::NoInterface)
}

/// What the kernel takes (`dev_valid_name`, net/core/dev.c).
fn check_interface_name(name: &str) -> Result<(), NetworkError> {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(bad) {
        return Err(NetworkError::InterfaceName(name.to_owned()));
    }
    Ok(())
}

/// The bridge's subnet and its own address in it.
fn choose_subnet4(
    alias: &str,
    config: &BridgeConfig,
    facts: &HostNetFacts,
) -> Result<(Ipv4Net, Ipv4Addr), NetworkError> {
    let existing = config.bridge.as_ref().and_then(|name| address_of(name, facts));
    if let Some(bip) = config.bip.or(existing) {
        let usable = bip.prefix() <= 30 && ![bip.network(), bip.last()].contains(&bip.addr());
        return if usable {
            Ok((bip.truncated(), bip.addr()))
        } else {
            Err(NetworkError::Bip(bip))
        };
    }
    let subnet = match config.fixed_cidr {
        Some(range) if range.prefix() <= 30 => range.truncated(),
        Some(range) => return Err(NetworkError::Bip(range)),
        None => {
            let pools: &[AddressPool] =
                if config.pools.is_empty() { &DEFAULT_POOLS } else { &config.pools };
            let used: Vec<Ipv4Net> = used(alias, facts).iter().filter_map(used4).collect();
            pools.iter().find_map(|pool| first_free(*pool, &used)).ok_or(NetworkError::NoSubnet)?
        }
    };
    let gateway = subnet.nth(1).ok_or(NetworkError::Bip(subnet))?;
    Ok((subnet, gateway))
}

/// A bridge made by the administrator brings its address along, as with docker's `bridge` option.
fn address_of(interface: &str, facts: &HostNetFacts) -> Option<Ipv4Net> {
    let link = facts.links.iter().find(|link| link.name == interface)?;
    facts.addresses.iter().filter(|a| a.link == link.index).find_map(|a| match a.address {
        IpAddr::V4(addr) => Ipv4Net::new(addr, a.prefix),
        IpAddr::V6(_) => None,
    })
}

/// The first block of `pool` that meets nothing used. What is in the way is jumped over whole.
fn first_free(pool: AddressPool, used: &[Ipv4Net]) -> Option<Ipv4Net> {
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

fn choose_subnet6(
    alias: &str,
    config: &BridgeConfig,
    facts: &HostNetFacts,
    subnet4: Ipv4Net,
    random: &[u8],
) -> Result<Option<Ipv6Net>, NetworkError> {
    if !config.ipv6 && config.fixed_cidr_v6.is_none() {
        return Ok(None);
    }
    if !facts.ipv6 {
        return Err(NetworkError::NoIpv6);
    }
    if let Some(subnet) = config.fixed_cidr_v6 {
        let addr = subnet.addr();
        let unusable = addr.is_multicast() || addr.is_unicast_link_local() || addr.is_loopback();
        // The host part of the IPv4 address must fit: IPv6 addresses are derived from it.
        if unusable || subnet.host_bits() < subnet4.host_bits() {
            return Err(NetworkError::Subnet6 { subnet, bits: 128 - subnet4.host_bits() });
        }
        return Ok(Some(subnet.truncated()));
    }
    // RFC 4193: fd, 40 random bits, subnet 0.
    let mut octets = [0u8; 16];
    octets[0] = 0xfd;
    for (octet, random) in octets.iter_mut().skip(1).zip(random) {
        *octet = *random;
    }
    let subnet = Ipv6Net::new(Ipv6Addr::from(octets), 64).ok_or(NetworkError::NoSubnet)?;
    let used = used(alias, facts);
    let free = !used.iter().any(|used| meets(IpNet::V6(subnet), used));
    if free { Ok(Some(subnet)) } else { Err(NetworkError::NoSubnet) }
}

fn choose_mtu(config: &BridgeConfig, facts: &HostNetFacts, v6: bool) -> Result<u32, NetworkError> {
    let least = if v6 { MTU_IPV6 } else { *MTU.start() };
    match config.mtu {
        Some(mtu) if mtu < least || mtu > *MTU.end() => Err(NetworkError::Mtu { mtu, least }),
        Some(mtu) => Ok(mtu),
        None => Ok(default_route_mtu(facts).unwrap_or(1500).clamp(least, *MTU.end())),
    }
}

/// Packets that leave the host take the default route: a larger MTU inside would only be cut there.
fn default_route_mtu(facts: &HostNetFacts) -> Option<u32> {
    const MAIN: u32 = 254;
    let mut defaults = facts.routes.iter().filter(|r| r.prefix == 0 && r.table == MAIN);
    let link = defaults.find_map(|route| route.link)?;
    facts.links.iter().find(|l| l.index == link).map(|l| l.mtu)
}

/// Everything spoken for, but for what hangs on the bridge that is ours.
fn used(alias: &str, facts: &HostNetFacts) -> Vec<Used> {
    let own: BTreeSet<u32> =
        facts.links.iter().filter(|link| is_ours(link, alias)).map(|link| link.index).collect();
    let routes = facts.routes.iter().filter(|r| is_specific(r));
    let routes = routes.filter(|r| r.link.is_none_or(|link| !own.contains(&link)));
    let addresses = facts.addresses.iter().filter(|a| !own.contains(&a.link));
    let route = |r: &Route| IpNet::new(r.destination, r.prefix).map(Used::Route);
    let address = |a: &Address| IpNet::new(a.address, a.prefix).map(Used::Address);
    routes
        .filter_map(route)
        .chain(addresses.filter_map(address))
        .chain(facts.name_servers.iter().map(|ip| Used::NameServer(*ip)))
        .collect()
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
        Used::Route(IpNet::V4(net)) | Used::Address(IpNet::V4(net)) => Some(*net),
        Used::NameServer(IpAddr::V4(ip)) => Ipv4Net::new(*ip, 32),
        _ => None,
    }
}

fn meets(subnet: IpNet, used: &Used) -> bool {
    let net = match used {
        Used::Route(net) | Used::Address(net) => Some(*net),
        Used::NameServer(ip) => IpNet::new(*ip, if ip.is_ipv4() { 32 } else { 128 }),
    };
    match (subnet, net) {
        (IpNet::V4(a), Some(IpNet::V4(b))) => a.overlaps(b),
        (IpNet::V6(a), Some(IpNet::V6(b))) => a.overlaps(b),
        _ => false,
    }
}

/// What now overlaps `network`: a VPN that came up later, another tool's bridge. One warning for
/// each block, the first thing in its way.
pub fn recheck(network: &BridgeNetwork, facts: &HostNetFacts) -> Vec<NetworkWarning> {
    // A bridge of the administrator's has no alias of ours, but its addresses are the network's.
    let mut facts = facts.clone();
    for link in facts.links.iter_mut().filter(|link| link.name == network.interface) {
        link.alias = Some(network.alias.clone());
    }
    let used = used(&network.alias, &facts);
    [Some(IpNet::V4(network.subnet4)), network.subnet6.map(IpNet::V6)]
        .into_iter()
        .flatten()
        .filter_map(|subnet| {
            let with = used.iter().find(|used| meets(subnet, used))?.clone();
            Some(NetworkWarning::Overlap { network: network.name.clone(), subnet, with })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALIAS: &str = "rcnt:/run/rcnt";

    fn link(index: u32, name: &str, alias: Option<&str>, kind: &str) -> Link {
        Link {
            index,
            name: name.into(),
            alias: alias.map(Into::into),
            kind: Some(kind.into()),
            mac: None,
            mtu: 1500,
            up: true,
            master: None,
        }
    }

    fn route(net: &str, link: u32) -> Route {
        let (destination, prefix) = match net.parse().unwrap() {
            IpNet::V4(n) => (n.addr().into(), n.prefix()),
            IpNet::V6(n) => (n.addr().into(), n.prefix()),
        };
        Route { destination, prefix, gateway: None, link: Some(link), table: 254 }
    }

    fn address(net: &str, link: u32) -> Address {
        let Route { destination, prefix, .. } = route(net, link);
        Address { link, address: destination, prefix }
    }

    fn decided(config: &BridgeConfig, facts: &HostNetFacts) -> Result<BridgeNetwork, String> {
        decide(&"bridge".parse().unwrap(), ALIAS, config, facts, [7; 37]).map_err(|e| e.to_string())
    }

    #[test]
    fn a_bare_host_gets_the_first_block() {
        let network = decided(&BridgeConfig::default(), &HostNetFacts::default()).unwrap();
        assert_eq!(network.subnet4.to_string(), "10.90.0.0/21");
        assert_eq!(network.gateway4.to_string(), "10.90.0.1");
        assert_eq!((network.interface.as_str(), network.mtu), ("rcnt0", 1500));
        assert_eq!((network.subnet6, network.gateway6, network.id.len()), (None, None, 64));
    }

    #[test]
    fn routes_addresses_and_name_servers_are_kept_clear_of() {
        let mut facts = HostNetFacts {
            routes: vec![route("0.0.0.0/0", 2), route("0.0.0.0/1", 9), route("10.90.0.0/20", 9)],
            ..Default::default()
        };
        let subnet = |facts: &HostNetFacts| {
            decided(&BridgeConfig::default(), facts).map(|n| n.subnet4.to_string())
        };
        assert_eq!(subnet(&facts).unwrap(), "10.90.16.0/21");
        facts.addresses.push(address("10.90.17.1/24", 3));
        assert_eq!(subnet(&facts).unwrap(), "10.90.24.0/21");
        facts.name_servers.push("10.90.25.53".parse().unwrap());
        assert_eq!(subnet(&facts).unwrap(), "10.90.32.0/21");
        facts.routes.push(route("10.0.0.0/8", 9));
        assert_eq!(subnet(&facts).unwrap(), "172.28.0.0/21");
        facts.routes.extend([route("172.16.0.0/12", 9), route("192.168.0.0/16", 9)]);
        assert!(subnet(&facts).unwrap_err().contains("default-address-pools"));
    }

    #[test]
    fn interface_names_of_others_are_left_alone() {
        let mut facts = HostNetFacts {
            links: vec![
                link(5, "rcnt0", Some("rcnt:/tmp/other"), "bridge"),
                link(6, "rcnt1", None, "bridge"),
            ],
            ..Default::default()
        };
        let interface =
            |facts: &HostNetFacts| decided(&BridgeConfig::default(), facts).unwrap().interface;
        assert_eq!(interface(&facts), "rcnt2");
        facts.links.push(link(7, "rcnt2", Some(ALIAS), "bridge"));
        assert_eq!(interface(&facts), "rcnt2");
        // What hangs on our own bridge is not in our way.
        facts.addresses.push(address("10.90.0.1/21", 7));
        facts.routes.push(route("10.90.0.0/21", 7));
        let network = decided(&BridgeConfig::default(), &facts).unwrap();
        assert_eq!(network.subnet4.to_string(), "10.90.0.0/21");
    }

    #[test]
    fn the_configuration_is_followed() {
        let config = BridgeConfig {
            bridge: Some("br-lab".into()),
            bip: Some("10.1.0.254/24".parse().unwrap()),
            fixed_cidr: Some("10.1.0.128/26".parse().unwrap()),
            fixed_cidr_v6: Some("fd00:5::/64".parse().unwrap()),
            mtu: Some(9000),
            ..Default::default()
        };
        let facts = HostNetFacts { ipv6: true, ..Default::default() };
        let network = decided(&config, &facts).unwrap();
        assert_eq!(network.interface, "br-lab");
        assert_eq!((network.subnet4.to_string(), network.mtu), ("10.1.0.0/24".into(), 9000));
        assert_eq!(network.gateway4.to_string(), "10.1.0.254");
        assert_eq!(network.gateway6.unwrap().to_string(), "fd00:5::fe");
        assert_eq!(network.range4.unwrap().to_string(), "10.1.0.128/26");
        let ula = decided(&BridgeConfig { ipv6: true, ..Default::default() }, &facts).unwrap();
        assert_eq!(ula.subnet6.unwrap().to_string(), "fd07:707:707::/64");
        assert_eq!(ula.gateway6.unwrap().to_string(), "fd07:707:707::1");
    }

    #[test]
    fn a_bridge_of_the_administrator_brings_its_address() {
        let config = BridgeConfig { bridge: Some("br0".into()), ..Default::default() };
        let facts = HostNetFacts {
            links: vec![link(4, "br0", None, "bridge")],
            addresses: vec![address("192.168.7.9/24", 4)],
            routes: vec![route("192.168.7.0/24", 4)],
            ..Default::default()
        };
        let network = decided(&config, &facts).unwrap();
        assert_eq!(network.subnet4.to_string(), "192.168.7.0/24");
        assert_eq!(network.gateway4.to_string(), "192.168.7.9");
        assert_eq!(recheck(&network, &facts), []);
    }

    #[test]
    fn what_cannot_be_is_one_clear_line() {
        let net = |s: &str| Some(s.parse().unwrap());
        let base = BridgeConfig::default();
        let facts = HostNetFacts {
            links: vec![
                link(2, "eth0", None, "veth"),
                link(5, "rcnt0", Some("rcnt:/tmp/other"), "bridge"),
            ],
            ..Default::default()
        };
        let six = HostNetFacts { ipv6: true, ..facts.clone() };
        for (config, facts, want) in [
            (BridgeConfig { bip: net("10.0.0.0/24"), ..base.clone() }, &facts, "10.0.0.0/24"),
            (BridgeConfig { bip: net("10.0.0.1/31"), ..base.clone() }, &facts, "10.0.0.1/31"),
            (
                BridgeConfig {
                    bip: net("10.0.0.1/24"),
                    fixed_cidr: net("10.0.1.0/24"),
                    ..base.clone()
                },
                &facts,
                "10.0.1.0/24 is not within",
            ),
            (BridgeConfig { bridge: Some("x".repeat(16)), ..base.clone() }, &facts, "xxx"),
            (BridgeConfig { bridge: Some("a/b".into()), ..base.clone() }, &facts, "a/b"),
            (BridgeConfig { bridge: Some("eth0".into()), ..base.clone() }, &facts, "no bridge"),
            (BridgeConfig { bridge: Some("rcnt0".into()), ..base.clone() }, &facts, "/tmp/other"),
            (BridgeConfig { ipv6: true, ..base.clone() }, &facts, "IPv6"),
            (BridgeConfig { mtu: Some(10), ..base.clone() }, &facts, "10"),
            (BridgeConfig { ipv6: true, mtu: Some(1000), ..base.clone() }, &six, "1280"),
            (
                BridgeConfig { fixed_cidr_v6: Some("fe80::/64".parse().unwrap()), ..base.clone() },
                &six,
                "fe80::/64",
            ),
            (
                BridgeConfig { fixed_cidr_v6: Some("fd00::/120".parse().unwrap()), ..base },
                &six,
                "/117",
            ),
        ] {
            let error = decided(&config, facts).unwrap_err();
            assert!(error.contains(want), "{error} / {want}");
        }
    }

    #[test]
    fn the_mtu_is_the_default_routes() {
        let mut wg = link(2, "wg0", None, "wireguard");
        wg.mtu = 1420;
        let facts = HostNetFacts {
            links: vec![wg],
            routes: vec![route("0.0.0.0/0", 2)],
            ..Default::default()
        };
        assert_eq!(decided(&BridgeConfig::default(), &facts).unwrap().mtu, 1420);
    }

    #[test]
    fn a_vpn_that_comes_later_is_a_warning() {
        let network = decided(&BridgeConfig::default(), &HostNetFacts::default()).unwrap();
        let facts = HostNetFacts { routes: vec![route("10.90.0.0/16", 9)], ..Default::default() };
        let warnings: Vec<String> =
            recheck(&network, &facts).iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            ["network bridge (10.90.0.0/21) overlaps the host's route to 10.90.0.0/16"]
        );
    }

    #[test]
    fn pools_are_read_in_both_forms() {
        let text = |s: &str| s.parse::<AddressPool>().map(|p| p.to_string());
        assert_eq!(text("10.5.0.0/16").unwrap(), "base=10.5.0.0/16,size=21");
        assert_eq!(text("10.5.0.0/24").unwrap(), "base=10.5.0.0/24,size=24");
        assert_eq!(text("base=10.5.0.0/16,size=24").unwrap(), "base=10.5.0.0/16,size=24");
        for bad in
            ["", "base=10.5.0.0/16", "base=10.5.0.0/16,size=8", "base=10.5.0.0/16,size=31", "x/1"]
        {
            assert!(text(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_chosen_overlaps_nothing(
            routes in proptest::collection::vec((any::<u16>(), 9u8..=32), 0..60),
            high in prop_oneof![Just(0x0a5a_0000u32), Just(0xac1c_0000), Just(0xc0a8_0000)],
        ) {
            let nets: Vec<Ipv4Net> = routes
                .iter()
                .map(|(low, prefix)| Ipv4Net::new((high | u32::from(*low)).into(), *prefix).unwrap())
                .collect();
            let facts = HostNetFacts {
                routes: nets.iter().map(|n| route(&n.to_string(), 3)).collect(),
                ..Default::default()
            };
            let config = BridgeConfig::default();
            if let Ok(network) = decided(&config, &facts) {
                prop_assert!(nets.iter().all(|n| !n.overlaps(network.subnet4)));
                prop_assert!(recheck(&network, &facts).is_empty());
                prop_assert_eq!(decided(&config, &facts).unwrap(), network);
            }
        }

        #[test]
        fn the_first_free_block_is_found_if_there_is_one(
            used in proptest::collection::vec((0u32..=255, 26u8..=32), 0..40),
        ) {
            let nets: Vec<Ipv4Net> = used
                .iter()
                .map(|(low, p)| Ipv4Net::new((0x0a00_0000 | *low).into(), *p).unwrap())
                .collect();
            let pool: AddressPool = "base=10.0.0.0/24,size=28".parse().unwrap();
            let by_hand = (0..16)
                .map(|n| Ipv4Net::new((0x0a00_0000 | (n * 16)).into(), 28).unwrap())
                .find(|block| nets.iter().all(|n| !n.overlaps(*block)));
            prop_assert_eq!(first_free(pool, &nets), by_hand);
        }
    }
}
