//! From configuration and facts to the default network. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use time::OffsetDateTime;

use super::config::BridgeConfig;
use super::stored::NetworkError;
use super::subnets::{choose4, choose6, used};
use super::types::{Addresses, Bridge, BridgePolicy, Ipam, IpamConfig, Kind, Network};
use super::used::HostNetFacts;
use crate::cidr::{IpNet, Ipv4Net, Ipv6Net};
use crate::facts::Link;
use rcnt_base::ids::Name;

/// Kernel's least for IPv4 (RFC 791) and IPv6 (RFC 8200), and its most for a bridge.
const MTU: std::ops::RangeInclusive<u32> = 68..=65535;
const MTU_IPV6: u32 = 1280;

/// What the default network is decided from.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The network's name.
    pub name: &'a Name,
    /// What marks interfaces as this instance's: neither they nor their addresses count as taken.
    pub alias: &'a str,
    /// The configuration.
    pub config: &'a BridgeConfig,
    /// The host.
    pub facts: &'a HostNetFacts,
    /// The other networks of the instance.
    pub others: &'a [Network],
}

/// The default network for this configuration on this host, created `now`. `random` makes id and
/// IPv6 prefix.
///
/// # Errors
/// What in the configuration cannot be, or that nothing is free.
pub fn decide(
    given: &Given<'_>,
    now: OffsetDateTime,
    random: [u8; 37],
) -> Result<Network, NetworkError> {
    let Given { name, alias, config, facts, others: _ } = *given;
    let (id, prefix6) = random.split_at(32);
    let interface = given.choose_interface(None)?;
    let addresses = given.choose_addresses(prefix6)?;
    let mtu = choose_mtu(config.mtu, facts, addresses.subnet6.is_some())?;
    let bridge = Bridge {
        interface,
        alias: alias.to_owned(),
        mtu,
        bind_address: config.bind_address,
        policy: policy(config, &addresses)?,
    };
    Ok(Network {
        name: name.clone(),
        id: hex(id),
        created: now,
        internal: false,
        attachable: false,
        enable_ipv4: true,
        enable_ipv6: addresses.subnet6.is_some(),
        labels: BTreeMap::new(),
        options: default_options(&bridge),
        ipam: ipam(&addresses),
        addresses: Some(addresses),
        kind: Kind::Bridge(bridge),
    })
}

/// Routers of the bridge's subnet: no container may have their addresses.
fn gateways(config: &BridgeConfig) -> BTreeSet<IpAddr> {
    let four = config.default_gateway.map(IpAddr::V4);
    four.into_iter().chain(config.default_gateway_v6.map(IpAddr::V6)).collect()
}

/// Random bytes as an id.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// What `network inspect` shows of addresses that were decided without being typed.
pub(super) fn ipam(addresses: &Addresses) -> Ipam {
    let Addresses { subnet4, gateway4, range4, subnet6, gateway6, reserved: _ } = addresses;
    let entry = |subnet, ip_range, gateway| IpamConfig {
        subnet,
        ip_range,
        gateway,
        aux_addresses: BTreeMap::new(),
    };
    let four = entry((*subnet4).into(), range4.map(IpNet::V4), Some((*gateway4).into()));
    let six = subnet6.map(|subnet| entry(subnet.into(), None, gateway6.map(IpAddr::V6)));
    Ipam { options: BTreeMap::new(), config: std::iter::once(four).chain(six).collect() }
}

/// The options that docker shows of its default bridge.
pub(super) fn default_options(bridge: &Bridge) -> BTreeMap<String, String> {
    let Bridge { interface, alias: _, mtu, bind_address, policy } = bridge;
    let bind = bind_address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let pairs = [
        ("com.docker.network.bridge.default_bridge", "true".to_owned()),
        ("com.docker.network.bridge.enable_icc", policy.icc.to_string()),
        ("com.docker.network.bridge.enable_ip_masquerade", policy.masquerade.to_string()),
        ("com.docker.network.bridge.host_binding_ipv4", bind.to_string()),
        ("com.docker.network.bridge.name", interface.clone()),
        ("com.docker.network.driver.mtu", mtu.to_string()),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// What the configuration says of the default bridge's policy.
fn policy(config: &BridgeConfig, addresses: &Addresses) -> Result<BridgePolicy, NetworkError> {
    let foreign = |gateway: IpAddr| NetworkError::DefaultGateway { gateway };
    let (four, six) = (config.default_gateway, config.default_gateway_v6);
    if let Some(gateway) = four.filter(|g| !addresses.subnet4.contains(*g)) {
        return Err(foreign(gateway.into()));
    }
    let inside6 = |g| addresses.subnet6.is_some_and(|subnet| subnet.contains(g));
    if let Some(gateway) = six.filter(|g| !inside6(*g)) {
        return Err(foreign(gateway.into()));
    }
    let default = BridgePolicy::default();
    Ok(BridgePolicy {
        icc: config.icc.unwrap_or(default.icc),
        masquerade: config.masquerade.unwrap_or(default.masquerade),
        direct_routing: config.direct_routing.unwrap_or(default.direct_routing),
        default_gateway4: four,
        default_gateway6: six,
        foreign: config.bridge.is_some(),
        ..default
    })
}

impl Given<'_> {
    /// Whether an interface is the network's own: it has our mark, and no other network has it.
    fn is_ours(&self, link: &Link) -> bool {
        let others = || self.others.iter().filter_map(Network::bridge);
        link.alias.as_deref() == Some(self.alias)
            && !others().any(|bridge| bridge.interface == link.name)
    }

    fn used(&self) -> Vec<super::used::Used> {
        used(&|link| self.is_ours(link), self.others, self.facts)
    }

    /// The name of the bridge: what the configuration says, or the first that is ours or free of
    /// the stored one, `rcnt0`, `rcnt1`…
    pub(super) fn choose_interface(&self, stored: Option<&str>) -> Result<String, NetworkError> {
        let Self { alias, config, facts, .. } = *self;
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
                    Err(NetworkError::OthersBridge {
                        interface: name.clone(),
                        alias: other.clone(),
                    })
                }
                _ => Ok(name.clone()),
            };
        }
        let taken = |name: &String| {
            let mut others = self.others.iter().filter_map(Network::bridge);
            others.any(|bridge| bridge.interface == *name)
        };
        stored
            .map(ToOwned::to_owned)
            .into_iter()
            .chain((0..=u32::MAX).map(|n| format!("rcnt{n}")))
            .filter(|name| !taken(name))
            .find(|name| link(name).is_none_or(|link| self.is_ours(link)))
            .ok_or(NetworkError::NoInterface)
    }

    /// Subnets and the bridge's own addresses in them.
    fn choose_addresses(&self, prefix6: &[u8]) -> Result<Addresses, NetworkError> {
        let config = self.config;
        let (subnet4, gateway4) = self.choose_subnet4()?;
        if let Some(range) = config.fixed_cidr
            && !subnet4.covers(range)
        {
            return Err(NetworkError::FixedCidr { range: range.into(), subnet: subnet4.into() });
        }
        let subnet6 = self.choose_subnet6(subnet4, prefix6)?;
        let host_part = u128::from(subnet4.host_part(gateway4));
        Ok(Addresses {
            subnet4,
            gateway4,
            range4: config.fixed_cidr.map(Ipv4Net::truncated),
            subnet6,
            gateway6: subnet6.and_then(|net| net.nth(host_part)),
            reserved: gateways(config),
        })
    }

    /// The bridge's subnet and its own address in it.
    fn choose_subnet4(&self) -> Result<(Ipv4Net, Ipv4Addr), NetworkError> {
        let Self { config, facts, .. } = *self;
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
            None => choose4(&config.pools, &self.used()).ok_or(NetworkError::NoSubnet)?,
        };
        let gateway = subnet.nth(1).ok_or(NetworkError::Bip(subnet))?;
        Ok((subnet, gateway))
    }

    fn choose_subnet6(
        &self,
        subnet4: Ipv4Net,
        random: &[u8],
    ) -> Result<Option<Ipv6Net>, NetworkError> {
        let Self { config, facts, .. } = *self;
        if !config.ipv6 && config.fixed_cidr_v6.is_none() {
            return Ok(None);
        }
        if !facts.ipv6 {
            return Err(NetworkError::NoIpv6);
        }
        if let Some(subnet) = config.fixed_cidr_v6 {
            if !is_usable6(subnet, subnet4) {
                let bits = 128 - subnet4.host_bits();
                return Err(NetworkError::Subnet6 { subnet, bits });
            }
            return Ok(Some(subnet.truncated()));
        }
        choose6(random, &self.used()).map(Some).ok_or(NetworkError::NoSubnet)
    }
}

/// Whether containers can have addresses of this block. The host part of the IPv4 address must
/// fit: IPv6 addresses are derived from it.
pub(super) fn is_usable6(subnet: Ipv6Net, subnet4: Ipv4Net) -> bool {
    let addr = subnet.addr();
    let special = addr.is_multicast() || addr.is_unicast_link_local() || addr.is_loopback();
    !special && subnet.host_bits() >= subnet4.host_bits()
}

/// What the kernel takes (`dev_valid_name`, net/core/dev.c).
pub(super) fn check_interface_name(name: &str) -> Result<(), NetworkError> {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(bad) {
        return Err(NetworkError::InterfaceName(name.to_owned()));
    }
    Ok(())
}

/// A bridge made by the administrator brings its address along, as with docker's `bridge` option.
pub(super) fn address_of(interface: &str, facts: &HostNetFacts) -> Option<Ipv4Net> {
    let link = facts.links.iter().find(|link| link.name == interface)?;
    facts.addresses.iter().filter(|a| a.link == link.index).find_map(|a| match a.address {
        IpAddr::V4(addr) => Ipv4Net::new(addr, a.prefix),
        IpAddr::V6(_) => None,
    })
}

/// The MTU asked for, or the default route's.
pub(super) fn choose_mtu(
    wanted: Option<u32>,
    facts: &HostNetFacts,
    v6: bool,
) -> Result<u32, NetworkError> {
    let least = if v6 { MTU_IPV6 } else { *MTU.start() };
    match wanted {
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

#[cfg(test)]
mod tests {
    use super::super::config::AddressPool;
    use super::super::subnets::{first_free, recheck};
    use super::*;
    use crate::facts::{Address, Route};
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

    /// The parts of a decided network that tests look at.
    #[derive(Debug, Clone, PartialEq)]
    struct Decided {
        network: Network,
        bridge: Bridge,
        addresses: Addresses,
    }

    fn decided_beside(
        others: &[Network],
        config: &BridgeConfig,
        facts: &HostNetFacts,
    ) -> Result<Decided, String> {
        let name = "bridge".parse().unwrap();
        let given = Given { name: &name, alias: ALIAS, config, facts, others };
        let network = decide(&given, OffsetDateTime::UNIX_EPOCH, [7; 37]);
        let network = network.map_err(|e| e.to_string())?;
        let bridge = network.bridge().unwrap().clone();
        Ok(Decided { addresses: network.addresses.clone().unwrap(), bridge, network })
    }

    fn decided(config: &BridgeConfig, facts: &HostNetFacts) -> Result<Decided, String> {
        decided_beside(&[], config, facts)
    }

    #[test]
    fn a_bare_host_gets_the_first_block() {
        let network = decided(&BridgeConfig::default(), &HostNetFacts::default()).unwrap();
        assert_eq!(network.addresses.subnet4.to_string(), "10.90.0.0/21");
        assert_eq!(network.addresses.gateway4.to_string(), "10.90.0.1");
        assert_eq!((network.bridge.interface.as_str(), network.bridge.mtu), ("rcnt0", 1500));
        assert_eq!(
            (network.addresses.subnet6, network.addresses.gateway6, network.network.id.len()),
            (None, None, 64)
        );
    }

    #[test]
    fn routes_addresses_and_name_servers_are_kept_clear_of() {
        let mut facts = HostNetFacts {
            routes: vec![route("0.0.0.0/0", 2), route("0.0.0.0/1", 9), route("10.90.0.0/20", 9)],
            ..Default::default()
        };
        let subnet = |facts: &HostNetFacts| {
            decided(&BridgeConfig::default(), facts).map(|n| n.addresses.subnet4.to_string())
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
        let interface = |facts: &HostNetFacts| {
            decided(&BridgeConfig::default(), facts).unwrap().bridge.interface
        };
        assert_eq!(interface(&facts), "rcnt2");
        facts.links.push(link(7, "rcnt2", Some(ALIAS), "bridge"));
        assert_eq!(interface(&facts), "rcnt2");
        // What hangs on our own bridge is not in our way.
        facts.addresses.push(address("10.90.0.1/21", 7));
        facts.routes.push(route("10.90.0.0/21", 7));
        let network = decided(&BridgeConfig::default(), &facts).unwrap();
        assert_eq!(network.addresses.subnet4.to_string(), "10.90.0.0/21");
    }

    #[test]
    fn the_instances_other_networks_keep_their_blocks_and_bridges() {
        let facts = HostNetFacts {
            links: vec![link(7, "rcnt0", Some(ALIAS), "bridge")],
            addresses: vec![address("10.90.0.1/21", 7)],
            ..Default::default()
        };
        let other = decided(&BridgeConfig::default(), &facts).unwrap().network;
        let second = decided_beside(&[other], &BridgeConfig::default(), &facts).unwrap();
        assert_eq!(second.bridge.interface, "rcnt1");
        assert_eq!(second.addresses.subnet4.to_string(), "10.90.8.0/21");
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
        assert_eq!(network.bridge.interface, "br-lab");
        assert_eq!(
            (network.addresses.subnet4.to_string(), network.bridge.mtu),
            ("10.1.0.0/24".into(), 9000)
        );
        assert_eq!(network.addresses.gateway4.to_string(), "10.1.0.254");
        assert_eq!(network.addresses.gateway6.unwrap().to_string(), "fd00:5::fe");
        assert_eq!(network.addresses.range4.unwrap().to_string(), "10.1.0.128/26");
        let ula = decided(&BridgeConfig { ipv6: true, ..Default::default() }, &facts).unwrap();
        assert_eq!(ula.addresses.subnet6.unwrap().to_string(), "fd07:707:707::/64");
        assert_eq!(ula.addresses.gateway6.unwrap().to_string(), "fd07:707:707::1");
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
        assert_eq!(network.addresses.subnet4.to_string(), "192.168.7.0/24");
        assert_eq!(network.addresses.gateway4.to_string(), "192.168.7.9");
        assert_eq!(recheck(&network.network, &facts), []);
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
        assert_eq!(decided(&BridgeConfig::default(), &facts).unwrap().bridge.mtu, 1420);
    }

    #[test]
    fn a_vpn_that_comes_later_is_a_warning() {
        let network = decided(&BridgeConfig::default(), &HostNetFacts::default()).unwrap();
        let facts = HostNetFacts { routes: vec![route("10.90.0.0/16", 9)], ..Default::default() };
        let warnings: Vec<String> =
            recheck(&network.network, &facts).iter().map(ToString::to_string).collect();
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
                prop_assert!(nets.iter().all(|n| !n.overlaps(network.addresses.subnet4)));
                prop_assert!(recheck(&network.network, &facts).is_empty());
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
