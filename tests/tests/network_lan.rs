//! Containers that are machines of their own on the LAN: macvlan and ipvlan.
//! What the LAN's other machine sees says whether it is so.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use rcnt_tests::{Lan, World, eventually};

/// The network of the LAN itself.
const ON_LAN: &str = "--subnet 192.0.2.0/24 --ip-range 192.0.2.128/25 --gateway 192.0.2.20";

/// Starts `probe serve tcp 80` and waits until it serves.
#[track_caller]
fn serve(world: &World, name: &str, flags: &str) -> String {
    world.ok(format!("run -d --name {name} {flags} probe"));
    eventually("the server is ready", || world.ok(["logs", name]).contains("ready"));
    let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    world.ok(["inspect", "-f", address, name])
}

/// The MAC that the LAN's other machine remembers of an address.
fn neighbour(world: &World, address: &str) -> String {
    let text = world.lan().sh(&format!("ip neigh show {address}")).success().text();
    text.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).unwrap_or("").to_owned()
}

#[test]
fn a_macvlan_container_is_a_machine_on_the_lan() {
    let world = World::with_servers();
    world.ok(format!("network create -d macvlan {ON_LAN} -o parent=eth0 lan"));
    let web = serve(&world, "web", "--network lan");
    assert!(web.starts_with("192.0.2.1") && web != "192.0.2.10", "{web}");
    let answer = world.lan().tcp(&format!("{web}:80"), "").unwrap();
    assert!(answer.starts_with(&format!("from {} ", Lan::V4)), "{answer}");
    // It has a MAC of its own, the one inspect tells.
    let mac = world.inspect("web", "/NetworkSettings/Networks/lan/MacAddress");
    assert_eq!(neighbour(&world, &web), mac.as_str().unwrap());
    // Containers in mode bridge see each other; the way out is the LAN's router.
    let from = world.ok(format!("run --rm --network lan probe probe ask tcp {web}:80"));
    assert!(from.starts_with("from 192.0.2.1"), "{from}");
    let routes = world.ok("exec web ip route");
    assert!(routes.contains("default via 192.0.2.20"), "{routes}");
    // The host's own interface is not in its way, and stays when the network goes.
    world.rcnt("network rm lan").fails(1, &["error while removing network", "active endpoints"]);
    world.ok("rm -f web");
    world.ok("network rm lan");
    world.ok_sh("ip link show eth0");
    world.nothing_is_left();
}

#[test]
fn modes_private_and_vepa_keep_containers_apart_and_passthru_has_the_parent_alone() {
    let world = World::with_servers();
    for mode in ["private", "vepa"] {
        world.ok(format!("network create -d macvlan {ON_LAN} -o parent=eth0 -o mode={mode} lan"));
        let web = serve(&world, "web", "--network lan");
        world.lan().tcp(&format!("{web}:80"), "").unwrap();
        let ask = format!("run --rm --network lan busybox timeout 1 nc {web} 80");
        assert_ne!(world.rcnt(ask).code, 0, "{mode}");
        world.ok("rm -f web");
        world.ok("network rm lan");
    }
    world.ok(format!(
        "network create -d macvlan {ON_LAN} -o parent=eth0 -o macvlan_mode=passthru lan"
    ));
    let words = ["macvlan network lan is already using parent interface eth0 in mode passthru"];
    world.rcnt("network create -d macvlan -o parent=eth0 other").fails(1, &words);
    let web = serve(&world, "web", "--network lan");
    world.lan().tcp(&format!("{web}:80"), "").unwrap();
    assert_eq!(neighbour(&world, &web), world.ok_sh("cat /sys/class/net/eth0/address").trim());
    world.rcnt("run --rm --network lan busybox true").fails(125, &["eth0"]);
    world.ok("rm -f web");
    world.ok("network rm lan");
}

#[test]
fn a_vlan_is_made_with_the_network_and_goes_with_its_last() {
    let world = World::with_servers();
    if world.sh("ip link add link eth0 name try0 type vlan id 9 && ip link del try0").code != 0 {
        let create = "network create -d macvlan -o parent=eth0.50 tagged";
        world.rcnt(create).fails(1, &["this kernel has no VLANs (802.1q)"]);
        assert_eq!(world.ok("network ls -q -f type=custom"), "");
        return;
    }
    world
        .lan()
        .sh("ip link add link eth0 name eth0.50 type vlan id 50 && ip link set eth0.50 up && \
         ip addr add 198.51.100.20/24 dev eth0.50");
    let subnet = "--subnet 198.51.100.0/24 --gateway 198.51.100.20";
    world.ok(format!("network create -d macvlan {subnet} -o parent=eth0.50 tagged"));
    let shown = world.ok_sh("ip -d -o link show eth0.50");
    assert!(shown.contains("vlan protocol 802.1Q id 50"), "{shown}");
    let web = serve(&world, "web", "--network tagged");
    // Only who is in the VLAN reaches it.
    let answer = world.lan().tcp(&format!("{web}:80"), "").unwrap();
    assert!(answer.starts_with("from 198.51.100.20 "), "{answer}");
    world.ok("rm -f web");
    // A second network on the same tag keeps it until it goes, too.
    let second = "--subnet 203.0.113.0/24 -o parent=eth0 -o vlan=50";
    world.ok(format!("network create -d macvlan {second} second"));
    world.ok("network rm tagged");
    world.ok_sh("ip link show eth0.50");
    // After a reboot the first container makes it again.
    world.ok_sh("ip link del eth0.50");
    world.ok("run --rm --network second busybox true");
    world.ok_sh("ip link show eth0.50");
    world.ok("network rm second");
    world.sh("ip link show eth0.50").exits(1);
    world.nothing_is_left();
}

#[test]
fn without_a_parent_a_macvlan_network_is_internal() {
    let world = World::with_servers();
    world.ok("network create -d macvlan alone");
    assert_eq!(world.ok("network inspect -f {{.Internal}} alone"), "true");
    let web = serve(&world, "web", "--network alone");
    let from = world.ok(format!("run --rm --network alone probe probe ask tcp {web}:80"));
    assert!(from.starts_with("from "), "{from}");
    assert!(!world.ok("exec web ip route").contains("default"));
    world.rcnt("exec web timeout 1 nc 192.0.2.20 9").exits_any();
    world.ok("rm -f web");
    world.ok("network rm alone");
    world.nothing_is_left();
}

#[test]
fn an_ipv4_only_macvlan_network_has_no_ipv6_cve_2024_32473() {
    let world = World::new();
    world.ok(format!("network create -d macvlan {ON_LAN} -o parent=eth0 lan"));
    let addresses = world.ok("run --rm --network lan busybox ip -6 addr");
    assert!(!addresses.contains("fe80") && !addresses.contains("2001:db8"), "{addresses}");
    world.ok("network rm lan");
    world.ok(format!(
        "network create -d macvlan {ON_LAN} --ipv6 --subnet 2001:db8:0:1::/64 -o parent=eth0 lan"
    ));
    let addresses = world.ok("run --rm --network lan busybox ip -6 addr show eth0");
    assert!(addresses.contains("2001:db8:0:1::"), "{addresses}");
    world.ok("network rm lan");
}

#[test]
fn ipvlan_works_where_the_kernel_has_it_and_says_so_where_not() {
    let world = World::with_servers();
    let has = world.sh("ip link add link eth0 name probe0 type ipvlan && ip link del probe0").code;
    let create = format!("network create -d ipvlan {ON_LAN} -o parent=eth0 lan");
    if has != 0 {
        world.rcnt(create).fails(1, &["this kernel has no ipvlan"]);
        assert_eq!(world.ok("network ls -q -f type=custom"), "");
        return;
    }
    world.ok(create);
    let web = serve(&world, "web", "--network lan");
    world.lan().tcp(&format!("{web}:80"), "").unwrap();
    assert_eq!(neighbour(&world, &web), world.ok_sh("cat /sys/class/net/eth0/address").trim());
    world.ok("rm -f web");
    world.ok("network rm lan");
}

#[test]
fn a_running_container_joins_the_lan_and_leaves_it() {
    let world = World::with_servers();
    world.ok(format!("network create -d macvlan {ON_LAN} -o parent=eth0 lan"));
    world.ok("network create -d macvlan alone");
    world.ok("network create inner");
    let inner = serve(&world, "web", "--network inner");
    world.ok("network connect --ip 192.0.2.200 lan web");
    world.ok("network connect alone web");
    world.lan().tcp("192.0.2.200:80", "").unwrap();
    let links = world.ok("exec web ip -o link");
    assert!(links.contains("eth1@") && links.contains("eth2@"), "{links}");
    world.ok("network disconnect lan web");
    assert!(world.lan().tcp("192.0.2.200:80", "").is_err());
    let links = world.ok("exec web ip -o link");
    assert!(!links.contains("eth1@") && links.contains("eth2@"), "{links}");
    world.ok("network rm lan");
    // The others are as they were.
    world.tcp(&format!("{inner}:80"), "").unwrap();
    assert_eq!(world.ok("network ls -q -f dangling=true"), "");
    world.ok("rm -f web");
    world.ok("network prune -f");
    world.nothing_is_left();
}

#[test]
fn a_parent_that_is_gone_is_named() {
    let world = World::new();
    world.sh("ip link add lan9 type veth peer name lan8").success();
    world.rebase();
    world.ok("network create -d macvlan --subnet 198.51.100.0/24 -o parent=lan9 lan");
    world.ok_sh("ip link del lan9");
    world.rcnt("run --rm --network lan busybox true").fails(125, &["parent interface lan9"]);
    world.ok("network rm lan");
    world.nothing_is_left();
}
