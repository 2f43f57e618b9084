//! docker's daemon options in config.toml: what they make of the default network
//! and of the host.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use rcnt_tests::fixtures::PAGE;
use rcnt_tests::{World, eventually, leaks};

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
fn without_firewall_no_rule_is_written_and_ports_are_relayed() {
    let world = World::with_servers();
    world.configure("firewall = false\n");
    world.ok("run -d --name web -p 8080:80 -p 127.0.0.1:8081:80 web");
    // The host reaches it all the same.
    assert_eq!(world.page(&format!("{}:80", world.address_of("web"))), PAGE);
    let lan = |host: &str| world.lan().fetch(host);
    for host in ["127.0.0.1:8080", "[::1]:8080", "192.0.2.10:8080", "127.0.0.1:8081"] {
        assert_eq!(world.page(host), PAGE, "{host}");
    }
    assert_eq!(lan(&format!("{}:8080", World::V4)).unwrap(), PAGE);
    assert_eq!(lan(&format!("[{}]:8080", World::V6)).unwrap(), PAGE);
    assert!(lan(&format!("{}:8081", World::V4)).is_err());
    world.ok("port add web 8082:80");
    assert_eq!(lan(&format!("{}:8082", World::V4)).unwrap(), PAGE);
    let udp = "-p 5300:53/udp -p 127.0.0.1:5301:53/udp -p 0.0.0.0:5302:53/udp";
    world.ok(format!("run -d --name dns {udp} probe probe serve udp 53"));
    eventually("it is ready", || world.ok("logs dns").contains("ready"));
    for at in ["127.0.0.1:5300", "[::1]:5300", "127.0.0.1:5301", "192.0.2.10:5302"] {
        // The answer comes from the address that was asked, or it would not be taken.
        let answer = world.udp(at, "ping").unwrap_or_else(|e| panic!("{at}: {e}"));
        assert!(answer.starts_with("ping from "), "{at}: {answer}");
    }
    world.ok_sh("ip addr add 192.0.2.11/24 dev eth0");
    world.lan().udp("192.0.2.11:5302", "ping").unwrap();
    assert_eq!(leaks::ruleset(world.space()).trim(), "");
    world.ok("rm -f web dns");
    // Nobody is left to carry anything.
    world.configure("firewall = false\nuserland-proxy = false\n");
    let run = world.rcnt("run --rm -p 8080:80 busybox true").success();
    run.warns("published ports cannot be reached: firewall and userland-proxy are both off");
}

#[test]
fn without_a_default_network_containers_have_none() {
    let world = World::new();
    world.configure("bridge = \"none\"\n");
    let links = world.ok("run --rm busybox ls /sys/class/net");
    assert_eq!(links.split_whitespace().collect::<Vec<_>>(), ["lo"]);
    assert_eq!(world.ok("network ls --format {{.Name}}"), "host\nnone");
    world.rcnt("run --rm --network bridge busybox true").fails(125, &["network bridge not found"]);
    world.rcnt("network inspect bridge").fails(1, &["network bridge not found"]);
    world.ok("network create front");
    world.ok("run --rm --network front busybox ip addr show eth0");
    world.ok("network rm front");
}

#[test]
fn every_container_gets_the_name_servers_of_the_configuration() {
    let world = World::new();
    world.configure(
        "dns = [\"192.0.2.99\"]\ndns-search = [\"conf.test\"]\ndns-opt = [\"ndots:3\"]\n",
    );
    let text = world.ok("run --rm busybox cat /etc/resolv.conf");
    for line in ["nameserver 192.0.2.99", "search conf.test", "options ndots:3"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains("192.0.2.53"), "{text}");
    let text =
        world.ok("run --rm --dns 192.0.2.98 --dns-search here.test busybox cat /etc/resolv.conf");
    assert!(text.contains("nameserver 192.0.2.98") && text.contains("here.test"), "{text}");
    assert!(!text.contains("192.0.2.99") && !text.contains("conf.test"), "{text}");
}

#[test]
fn subnets_come_from_the_configured_pools_and_miss_what_the_host_uses() {
    let world = World::new();
    // The first is a route's, the second an address's, the third a name server's.
    world.ok_sh("ip route add 10.40.0.0/24 via 192.0.2.20");
    world.ok_sh("ip addr add 10.40.1.7/32 dev lo");
    world.write_resolv_conf("nameserver 10.40.2.53\n");
    world.configure("default-address-pools = [{base = \"10.40.0.0/22\", size = 24}]\n");
    world.ok("network create front");
    let subnet = "{{(index .IPAM.Config 0).Subnet}}";
    assert_eq!(world.ok(["network", "inspect", "-f", subnet, "front"]).trim(), "10.40.3.0/24");
    world.rcnt("network create back").fails(1, &["all predefined address pools"]);
    for (taken, by) in
        [("10.40.0.0/24", "route"), ("10.40.1.0/24", "10.40.1.7"), ("10.40.2.0/24", "name server")]
    {
        world.rcnt(format!("network create --subnet {taken} back")).fails(1, &["overlaps", by]);
    }
    world.ok("network rm front");
}

#[test]
fn direct_routing_opens_every_network_to_the_lan() {
    let world = World::with_servers();
    world.lan().space().ip("route add 10.7.0.0/24 via 192.0.2.10\n");
    for (allowed, lines) in [(false, ""), (true, "allow-direct-routing = true\n")] {
        world.configure(lines);
        world.ok("network create --subnet 10.7.0.0/24 front");
        world.ok("run -d --name web --network front -p 8080:80 web");
        let direct = world.lan().fetch(&format!("{}:80", world.address_of("web")));
        assert_eq!(direct.is_ok(), allowed, "{direct:?}");
        assert_eq!(world.lan().page(&format!("{}:8080", World::V4)), PAGE);
        world.ok("rm -f web");
        world.ok("network rm front");
    }
}
