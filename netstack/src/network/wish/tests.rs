//! Wishes and what becomes of them, on hosts made of plain data.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::cidr::Ipv4Net;
use crate::facts::{Address, Link, Route};
use crate::network::ParentMaking;

fn link(index: u32, name: &str, kind: Option<&str>) -> Link {
    Link {
        index,
        name: name.into(),
        alias: None,
        kind: kind.map(Into::into),
        mac: None,
        mtu: 1500,
        up: true,
        master: None,
    }
}

/// A host with a LAN, a bridge with an address and a port of it.
fn host() -> HostNetFacts {
    let mut port = link(5, "vm0", Some("tun"));
    port.master = Some(4);
    let lan = Address { link: 2, address: "192.0.2.10".parse().unwrap(), prefix: 24 };
    let bridge = Address { link: 4, address: "10.7.0.254".parse().unwrap(), prefix: 24 };
    HostNetFacts {
        links: vec![
            link(1, "lo", None),
            link(2, "eth0", None),
            link(4, "br0", Some("bridge")),
            port,
        ],
        addresses: vec![lan, bridge],
        routes: Vec::new(),
        name_servers: vec!["10.90.9.53".parse().unwrap()],
        ipv6: true,
    }
}

fn made(
    others: &[Network],
    facts: &HostNetFacts,
    wish: &NetworkWish,
    seed: u8,
) -> Result<Network, String> {
    let around = Surroundings {
        alias: "rcnt:/run/rcnt",
        facts,
        others,
        pools: &[],
        direct_routing: false,
        now: OffsetDateTime::UNIX_EPOCH,
        random: [seed; 37],
    };
    decide_network(wish, &around).map_err(|e| rcnt_base::report::chain(&e))
}

fn wish(name: &str, driver: &str, options: &[(&str, &str)]) -> NetworkWish {
    let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    NetworkWish { name: name.into(), driver: driver.into(), options, ..NetworkWish::default() }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn networks_of_one_instance_never_overlap() {
    let (facts, mut all) = (host(), Vec::new());
    for n in 0..100u8 {
        let network = made(&all, &facts, &wish(&format!("net{n}"), "", &[]), n).unwrap();
        all.push(network);
    }
    let blocks: BTreeSet<String> =
        all.iter().map(|n| n.addresses.as_ref().unwrap().subnet4.to_string()).collect();
    assert_eq!(blocks.len(), 100);
    // The block of the host's name server is left out.
    assert!(!blocks.contains("10.90.8.0/21"));
}

#[test]
fn an_existing_bridge_brings_its_address_and_stays_its_owners() {
    let network = made(&[], &host(), &wish("lab", "bridge", &[("bridge", "br0")]), 1).unwrap();
    let addresses = network.addresses.as_ref().unwrap();
    assert_eq!(addresses.subnet4.to_string(), "10.7.0.0/24");
    assert_eq!(addresses.gateway4.to_string(), "10.7.0.254");
    assert!(network.bridge().unwrap().policy.foreign);
}

#[test]
fn auxiliary_addresses_and_gateways_are_never_leased() {
    let aux = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    let network = NetworkWish {
        subnets: texts(&["10.5.0.0/29", "fd00:5::/64"]),
        gateways: texts(&["fd00:5::6"]),
        aux_addresses: aux(&[("first", "10.5.0.1"), ("third", "10.5.0.3")]),
        ipv6: true,
        ..wish("lab", "", &[])
    };
    let network = made(&[], &host(), &network, 1).unwrap();
    let addresses = network.addresses.as_ref().unwrap();
    assert_eq!(addresses.gateway4.to_string(), "10.5.0.2");
    let leased: Vec<String> =
        crate::ipam::candidates(addresses, None).map(|a| a.to_string()).collect();
    assert_eq!(leased, ["10.5.0.4", "10.5.0.5", "10.5.0.6"]);
    assert!(addresses.reserved.contains(&"fd00:5::6".parse().unwrap()));
    assert_eq!(network.ipam.config[0].aux_addresses["third"].to_string(), "10.5.0.3");
}

#[test]
fn a_parent_is_the_hosts_a_part_of_it_or_nowhere() {
    let parent = |options: &[(&str, &str)]| {
        made(&[], &host(), &wish("lan", "macvlan", options), 1).map(|network| {
            let parent = network.parent().unwrap().clone();
            (parent.interface, parent.made, network.internal)
        })
    };
    let eth0 = ("eth0".to_owned(), ParentMaking::Host, false);
    assert_eq!(parent(&[("parent", "eth0")]).unwrap(), eth0);
    let tagged = ParentMaking::Vlan { link: "eth0".into(), tag: 50 };
    let tagged = ("eth0.50".to_owned(), tagged, false);
    assert_eq!(parent(&[("parent", "eth0.50")]).unwrap(), tagged);
    assert_eq!(parent(&[("parent", "eth0"), ("vlan", "50")]).unwrap(), tagged);
    let nowhere = ("dm-010101010101".to_owned(), ParentMaking::Isolated, true);
    assert_eq!(parent(&[]).unwrap(), nowhere);
    for (options, want) in [
        (&[("parent", "eth9")][..], "parent interface eth9 does not exist"),
        (&[("parent", "eth9.5")], "parent interface eth9 does not exist"),
        (&[("parent", "eth0.0")], "invalid VLAN number 0"),
        (&[("parent", "lo")], "is the loopback"),
        (&[("parent", "vm0")], "parent interface vm0 is a port of a bridge"),
        (&[("parent", "eth0"), ("mtu", "9000")], "mtu 9000 is more than parent interface eth0's"),
        (&[("parent", "eth0"), ("mtu", "20")], "mtu 20 is out of range"),
        (&[("vlan", "5")], "option vlan needs option parent"),
        (&[("parent", "a-very-long-interface")], "invalid interface name"),
    ] {
        let error = parent(options).unwrap_err();
        assert!(error.contains(want), "{error} / {want}");
    }
}

#[test]
fn a_parent_is_shared_as_far_as_the_kernel_shares_it() {
    let lan = |name: &str, driver: &str, mode: &str| {
        let subnet = texts(&[match name {
            "one" => "198.51.100.0/24",
            _ => "203.0.113.0/24",
        }]);
        let options = [("parent", "eth0"), ("mode", mode)];
        NetworkWish { subnets: subnet, ..wish(name, driver, &options) }
    };
    for (first, second, want) in [
        (("macvlan", "bridge"), ("macvlan", "vepa"), None),
        (("ipvlan", "l2"), ("ipvlan", "l2"), None),
        (("ipvlan", "l2"), ("ipvlan", "l3"), Some("ipvlan network one is already using")),
        (("macvlan", "bridge"), ("ipvlan", "l2"), Some("macvlan network one is already using")),
        (("macvlan", "bridge"), ("macvlan", "passthru"), Some("cannot use mode passthru")),
        (("macvlan", "passthru"), ("macvlan", "bridge"), Some("in mode passthru")),
    ] {
        let one = made(&[], &host(), &lan("one", first.0, first.1), 1).unwrap();
        let two = made(&[one], &host(), &lan("two", second.0, second.1), 2);
        match want {
            None => assert!(two.is_ok(), "{first:?} {second:?}: {two:?}"),
            Some(want) => assert!(two.as_ref().is_err_and(|e| e.contains(want)), "{two:?}"),
        }
    }
}

#[test]
fn a_lan_may_be_the_hosts_own_but_no_other_networks() {
    let lan = NetworkWish {
        subnets: texts(&["192.0.2.0/24"]),
        ..wish("lan", "macvlan", &[("parent", "eth0")])
    };
    let network = made(&[], &host(), &lan, 1).unwrap();
    let bridge = NetworkWish { subnets: texts(&["192.0.2.0/25"]), ..wish("lab", "", &[]) };
    let error = made(&[], &host(), &bridge, 2).unwrap_err();
    assert!(error.contains("192.0.2.0/25 overlaps the host's address 192.0.2.10/24"), "{error}");
    let second = NetworkWish { name: "lan2".into(), ..lan };
    let error = made(&[network], &host(), &second, 2).unwrap_err();
    assert!(error.contains("overlaps network lan (192.0.2.0/24)"), "{error}");
}

#[test]
fn ipv6_needs_a_kernel_that_has_it() {
    let facts = HostNetFacts { ipv6: false, ..host() };
    let six = NetworkWish { ipv6: true, ..wish("lab", "", &[]) };
    let error = made(&[], &facts, &six, 1).unwrap_err();
    assert_eq!(error, "cannot give network lab IPv6: this kernel runs without it");
    let six = made(&[], &host(), &six, 7).unwrap();
    assert_eq!(six.addresses.unwrap().subnet6.unwrap().to_string(), "fd07:707:707::/64");
}

proptest! {
    #[test]
    fn whatever_is_made_overlaps_nothing_of_the_host_or_the_instance(
        routes in proptest::collection::vec((any::<u32>(), 9u8..=32), 0..40),
        names in proptest::collection::btree_set("[a-z]{2,6}", 1..12),
        asked in proptest::option::of((any::<u32>(), 16u8..=29)),
    ) {
        let nets: Vec<Ipv4Net> = routes
            .iter()
            .map(|(a, p)| Ipv4Net::new((*a).into(), *p).unwrap().truncated())
            .collect();
        let route = |n: &Ipv4Net| Route {
            destination: n.network().into(), prefix: n.prefix(), gateway: None, link: Some(2), table: 254,
        };
        let facts = HostNetFacts { routes: nets.iter().map(route).collect(), ..host() };
        let mut all: Vec<Network> = Vec::new();
        for (n, name) in names.iter().enumerate() {
            let mut wish = wish(name, "", &[]);
            if let Some((address, prefix)) = asked.filter(|_| n == 0) {
                let net = Ipv4Net::new(address.into(), prefix).unwrap().truncated();
                wish.subnets = vec![net.to_string()];
            }
            let Ok(network) = made(&all, &facts, &wish, u8::try_from(n).unwrap()) else { continue };
            let subnet = network.addresses.as_ref().unwrap().subnet4;
            prop_assert!(nets.iter().all(|net| !net.overlaps(subnet)));
            let others = all.iter().filter_map(|other| other.addresses.as_ref());
            prop_assert!(others.map(|a| a.subnet4).all(|other| !other.overlaps(subnet)));
            all.push(network);
        }
    }

    #[test]
    fn strange_words_are_refused_and_never_panic(
        subnet in "[0-9a-f.:/]{0,20}", gateway in "[0-9a-f.:]{0,16}", range in "[0-9./]{0,18}",
        key in "\\PC{0,12}", value in "\\PC{0,12}", name in "\\PC{0,12}",
    ) {
        let wish = NetworkWish {
            name,
            subnets: vec![subnet],
            gateways: vec![gateway],
            ip_ranges: vec![range],
            options: vec![(key, value)],
            ipv6: true,
            ..NetworkWish::default()
        };
        if let Err(error) = made(&[], &host(), &wish, 1) {
            prop_assert!(!error.contains('\n'));
        }
    }
}
