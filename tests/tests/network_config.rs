//! docker's daemon options in config.toml: what they make of the default network
//! and of the host.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use rcnt_tests::fixtures::PAGE;
use rcnt_tests::{World, leaks};

#[test]
fn the_default_bridge_is_as_configured() {
    let world = World::new();
    world.configure(
        "bridge = \"br-mine\"\nbip = \"10.7.0.1/24\"\nfixed-cidr = \"10.7.0.128/25\"\nmtu = 1400\n\
         icc = false\nip-masq = false\ndefault-gateway = \"10.7.0.9\"\nip = \"127.0.0.1\"\n\
         allow-direct-routing = true\n",
    );
    let format = "{{json .Options}} {{json .IPAM.Config}}";
    let shown = world.ok(["network", "inspect", "-f", format, "bridge"]);
    for part in [
        "\"com.docker.network.bridge.name\":\"br-mine\"",
        "\"com.docker.network.bridge.enable_icc\":\"false\"",
        "\"com.docker.network.bridge.enable_ip_masquerade\":\"false\"",
        "\"com.docker.network.bridge.host_binding_ipv4\":\"127.0.0.1\"",
        "\"com.docker.network.driver.mtu\":\"1400\"",
        "\"Subnet\":\"10.7.0.0/24\"",
        "\"IPRange\":\"10.7.0.128/25\"",
        "\"Gateway\":\"10.7.0.1\"",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let routes = world.ok("run --rm busybox ip route");
    assert!(routes.contains("default via 10.7.0.9"), "{routes}");
    assert!(routes.contains("src 10.7.0.128"), "{routes}");
    world.ok_sh("ip link del br-mine");
}

#[test]
fn a_default_gateway_outside_the_subnet_is_refused() {
    let world = World::new();
    world.configure("bip = \"10.7.0.1/24\"\ndefault-gateway = \"10.8.0.9\"\n");
    let words = ["default gateway 10.8.0.9 is not within the bridge's subnet"];
    world.rcnt("run --rm busybox true").fails(125, &words);
    world.rcnt("network ls").fails(1, &words);
}

#[test]
fn without_ip_forward_the_hosts_forwarding_stays_as_it_is() {
    let world = World::new();
    world.configure("ip-forward = false\n");
    world.ok_sh("echo 0 > /proc/sys/net/ipv4/ip_forward");
    world.ok("run --rm busybox true");
    assert_eq!(world.read("/proc/sys/net/ipv4/ip_forward").trim(), "0");
    world.configure("");
    world.ok("run --rm busybox true");
    assert_eq!(world.ok_sh("cat /proc/sys/net/ipv4/ip_forward").trim(), "1");
}

#[test]
fn without_firewall_no_rule_is_written() {
    let world = World::with_servers();
    world.configure("firewall = false\n");
    world.ok("run -d --name web web");
    // The host reaches it all the same.
    assert_eq!(world.page(&format!("{}:80", world.address_of("web"))), PAGE);
    assert_eq!(leaks::ruleset(world.space()).trim(), "");
    world.ok("rm -f web");
}
