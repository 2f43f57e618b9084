//! The default network on a real host: a network namespace of its own.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic, missing_docs)]

use std::process::Command;

use rcnt_base::roots::Roots;
use rcnt_netstack::network::{BridgeConfig, Network, default_network_here, find_link};

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

fn subnet(network: &Network) -> String {
    network.addresses.as_ref().unwrap().subnet4.to_string()
}

#[test]
fn the_default_network_keeps_clear_of_the_host_and_is_found_again() {
    const INSIDE: &str = "RCNT_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_none() {
        let root = rustix::process::getuid().is_root();
        let status = Command::new("unshare")
            .args([if root { "-n" } else { "-rn" }, "--"])
            .arg(std::env::current_exe().unwrap())
            .env(INSIDE, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let roots = |n: u32| Roots {
        data: dir.path().join(format!("data{n}")),
        exec: dir.path().join(format!("exec{n}")),
    };
    let config = BridgeConfig::default();
    ip("link set lo up");
    ip("link add lan type veth peer name lan-peer");
    ip("addr add 10.90.1.7/24 dev lan");
    ip("link set lan up");
    ip("route add 10.90.8.0/22 dev lan table 77");
    ip("route add default via 10.90.1.1 dev lan");

    let first = default_network_here(&roots(1), &config).unwrap();
    assert_eq!(subnet(&first.network), "10.90.16.0/21");
    assert_eq!(
        (first.network.bridge().unwrap().interface.as_str(), first.warnings.len()),
        ("rcnt0", 0)
    );
    assert_eq!(find_link("rcnt0").unwrap(), None);

    ip("link add rcnt0 type bridge");
    let alias = first.network.bridge().unwrap().alias.clone();
    let set = Command::new("ip").args(["link", "set", "rcnt0", "alias", &alias, "up"]).status();
    assert!(set.unwrap().success());
    ip("addr add 10.90.16.1/21 dev rcnt0");
    assert_eq!(find_link("rcnt0").unwrap().unwrap().alias, Some(alias));
    assert_eq!(default_network_here(&roots(1), &config).unwrap(), first);

    let other = default_network_here(&roots(2), &config).unwrap().network;
    assert_eq!(
        (other.bridge().unwrap().interface.as_str(), subnet(&other).as_str()),
        ("rcnt1", "10.90.24.0/21")
    );
    assert_eq!(default_network_here(&roots(2), &config).unwrap().network, other);

    let six = BridgeConfig { ipv6: true, ..config };
    let third = default_network_here(&roots(3), &six).unwrap().network;
    assert!(
        third.addresses.as_ref().unwrap().subnet6.unwrap().to_string().starts_with("fd"),
        "{third:?}"
    );
}
