//! Containers on several networks: at their start, while they run, while they do
//! not; which network has the default route; what a killed change leaves.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use rcnt_tests::fixtures::PAGE;
use rcnt_tests::{World, eventually};
use serde_json::json;

/// A world with networks `front` (10.5.0.0/24), `back` (10.6.0.0/24) and the internal
/// `vault` (10.7.0.0/24).
#[track_caller]
fn world() -> World {
    let world = World::with_servers();
    world.ok("network create --subnet 10.5.0.0/24 front");
    world.ok("network create --subnet 10.6.0.0/24 back");
    world.ok("network create --subnet 10.7.0.0/24 --internal vault");
    world
}

/// What a command prints inside a container.
#[track_caller]
fn inside(world: &World, container: &str, script: &str) -> String {
    world.ok(["exec", container, "sh", "-c", script])
}

/// The interface that the default route leads through, and the next hop.
#[track_caller]
fn default_route(world: &World, container: &str) -> String {
    let routes = inside(world, container, "ip route");
    let line = routes.lines().find(|line| line.starts_with("default"));
    line.unwrap_or_default().trim().to_owned()
}

/// Removes containers and networks, and looks for anything left.
#[track_caller]
fn end(world: &World) {
    for container in world.ok("ps -aq").lines() {
        world.ok(["rm", "-f", container]);
    }
    world.ok("network rm front back vault");
    eventually("the interfaces are gone", || !world.ok_sh("ip -br link").contains("veth"));
}

#[test]
fn a_container_is_on_all_networks_it_is_run_on() {
    let world = world();
    world.ok(
        "run -d --name web --network name=vault,alias=safe --network front \
         --network name=back,ip=10.6.0.77,mac-address=02:00:00:00:00:77,driver-opt=com.docker.network.endpoint.ifname=wan0 \
         busybox sleep 1000",
    );
    let addresses = inside(&world, "web", "ip -o -4 addr; ip link show wan0");
    // The default route by name: back, then front, then the internal one.
    for part in [
        "wan0    inet 10.6.0.77/24",
        "eth0    inet 10.5.0.",
        "eth1    inet 10.7.0.",
        "02:00:00:00:00:77",
    ] {
        assert!(addresses.contains(part), "{part}\n{addresses}");
    }
    assert_eq!(default_route(&world, "web"), "default via 10.6.0.1 dev wan0");
    let networks = world.inspect("web", "/NetworkSettings/Networks");
    let names: Vec<&String> = networks.as_object().unwrap().keys().collect();
    assert_eq!(names, ["back", "front", "vault"]);
    assert_eq!(networks["vault"]["Aliases"], json!(["safe"]));
    assert_eq!(networks["vault"]["Gateway"], json!(""));
    assert_eq!(networks["back"]["IPAMConfig"], json!({ "IPv4Address": "10.6.0.77" }));
    assert_eq!(networks["back"]["MacAddress"], json!("02:00:00:00:00:77"));
    assert_eq!(networks["front"]["Gateway"], json!("10.5.0.1"));
    let dns: Vec<&str> = networks["vault"]["DNSNames"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_str().unwrap())
        .collect();
    assert_eq!(dns[..2], ["web", "safe"]);
    assert_eq!(networks["front"]["EndpointID"].as_str().unwrap().len(), 64);
    let shown = world.ok("network inspect front");
    assert!(shown.contains("\"Name\": \"web\""), "{shown}");
    for (network, count) in [("front", 1), ("vault", 1), ("bridge", 0)] {
        let listed = world.ok(format!("ps -q --filter network={network}"));
        assert_eq!(listed.lines().count(), count, "{network}");
    }
    end(&world);
}

#[test]
fn the_default_route_goes_by_priority() {
    let world = world();
    world.ok(
        "run -d --name web --network name=front,gw-priority=1 --network back busybox sleep 1000",
    );
    assert_eq!(default_route(&world, "web"), "default via 10.5.0.1 dev eth0");
    world.ok("network connect --gw-priority 2 vault web");
    assert_eq!(default_route(&world, "web"), "default via 10.5.0.1 dev eth0");
    world.ok("network disconnect front web");
    assert_eq!(default_route(&world, "web"), "default via 10.6.0.1 dev eth1");
    world.ok("network connect --gw-priority 5 front web");
    assert_eq!(default_route(&world, "web"), "default via 10.5.0.1 dev eth0");
    world.ok("network disconnect front web");
    world.ok("network disconnect back web");
    assert_eq!(default_route(&world, "web"), "", "an internal network leads nowhere");
    end(&world);
}

#[test]
fn a_running_container_is_connected_and_disconnected() {
    let world = world();
    world.ok("run -d --name one --network front probe");
    world.ok("run -d --name two --network back busybox sleep 1000");
    eventually("the server is ready", || world.ok("logs one").contains("ready"));
    world.ok("network connect --ip 10.6.0.9 --alias srv back one");
    assert!(world.tcp("10.6.0.9:80", "").unwrap().starts_with("from 10.6.0.1 "));
    assert!(inside(&world, "two", "ping -c1 -W2 10.6.0.9").contains("1 packets received"));
    let hosts = inside(&world, "one", "cat /etc/hosts");
    assert!(hosts.contains("10.6.0.9\t"), "{hosts}");
    assert_eq!(world.inspect("one", "/NetworkSettings/Networks/back/IPAddress"), json!("10.6.0.9"));
    world
        .rcnt("network connect back one")
        .fails(1, &["endpoint with name one already exists in network back"]);
    world.rcnt("network connect --ip 10.9.9.9 back two").exits(1);
    world.ok("network disconnect back one");
    assert!(!inside(&world, "one", "cat /etc/hosts").contains("10.6.0.9"));
    assert!(!inside(&world, "one", "ip -o addr").contains("10.6.0."));
    world.rcnt("network disconnect back one").fails(1, &["is not connected to network back"]);
    world.ok("network disconnect -f back one");
    // The address is free at once.
    world.ok("network connect --ip 10.6.0.9 back one");
    // And it is there again after a restart.
    world.ok("restart -t 0 one");
    assert_eq!(world.inspect("one", "/NetworkSettings/Networks/back/IPAddress"), json!("10.6.0.9"));
    end(&world);
}

#[test]
fn a_stopped_container_is_connected_for_its_next_start() {
    let world = world();
    world.ok("create --name web --network front busybox sleep 1000");
    world.ok("network connect --ip 10.6.0.20 back web");
    world.ok("network disconnect front web");
    world.rcnt("network disconnect front web").fails(1, &["is not connected to network front"]);
    world.ok("start web");
    let addresses = inside(&world, "web", "ip -o -4 addr");
    assert!(addresses.contains("10.6.0.20/24") && !addresses.contains("10.5.0."), "{addresses}");
    world.ok("stop -t 0 web");
    world.ok("network disconnect back web");
    world.ok("start web");
    assert!(!inside(&world, "web", "ip -o -4 addr").contains("eth"));
    end(&world);
}

#[test]
fn published_ports_follow_the_default_route() {
    let world = world();
    world.ok("run -d --name web --network front -p 8080:80 web");
    assert_eq!(world.page("127.0.0.1:8080"), PAGE);
    world.ok("network connect back web");
    world.rcnt("port web").success().prints("80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080");
    assert_eq!(default_route(&world, "web"), "default via 10.6.0.1 dev eth1");
    assert_eq!(world.page("127.0.0.1:8080"), PAGE);
    assert_eq!(world.lan().page(&format!("{}:8080", World::V4)), PAGE);
    let rules = world.ok_sh("nft list ruleset");
    let back = world.inspect("web", "/NetworkSettings/Networks/back/IPAddress");
    assert!(rules.contains(&format!("{} . 80", back.as_str().unwrap())), "{rules}");
    world.ok("network disconnect back web");
    assert_eq!(world.lan().page(&format!("{}:8080", World::V4)), PAGE);
    assert_eq!(world.page("[::1]:8080"), PAGE);
    // Without a way out there is no way in, but the port stays ours.
    world.ok("network connect vault web");
    world.ok("network disconnect front web");
    assert!(world.fetch("127.0.0.1:8080").is_err());
    assert_eq!(world.ok("port web"), "");
    world.rcnt("run --rm -p 8080:80 busybox true").fails(125, &["already allocated"]);
    world.ok("network connect back web");
    assert_eq!(world.lan().page(&format!("{}:8080", World::V4)), PAGE);
    end(&world);
}

#[test]
fn a_port_has_both_families_as_soon_as_its_container_has() {
    let world = world();
    // Nothing is relayed: it is the kernel that carries what arrives.
    world.configure("userland-proxy = false\n");
    world.ok("network create --ipv6 --subnet 10.8.0.0/24 --subnet fd00:8::/64 six");
    world.ok("run -d --name web --network front -p 8080:80 -p 0.0.0.0:8081:80 web");
    let on_lan = |port: u16| world.lan().fetch(&format!("[{}]:{port}", World::V6));
    assert!(on_lan(8080).is_err());
    world.ok("network connect six web");
    assert_eq!(on_lan(8080).unwrap(), PAGE);
    assert!(on_lan(8081).is_err(), "of IPv4 alone");
    world
        .rcnt("port web")
        .success()
        .prints("80/tcp -> 0.0.0.0:8080\n80/tcp -> 0.0.0.0:8081\n80/tcp -> [::]:8080");
    world.ok("network disconnect six web");
    assert!(on_lan(8080).is_err());
    world.ok("network connect six web");
    world.ok("port rm web 8080:80");
    assert!(on_lan(8080).is_err());
    world.ok("rm -f web");
    world.ok("network rm six");
    end(&world);
}

#[test]
fn ipv6_comes_and_goes_with_the_network_that_has_it() {
    let world = world();
    world.ok("network create --ipv6 --subnet 10.8.0.0/24 --subnet fd00:8::/64 six");
    world.ok("run -d --name web --network front busybox sleep 1000");
    assert_eq!(inside(&world, "web", "ip -o -6 addr"), "");
    world.ok("network connect --ip6 fd00:8::99 six web");
    let addresses = inside(&world, "web", "ip -o -6 addr");
    assert!(addresses.contains("fd00:8::99/64"), "{addresses}");
    assert!(!addresses.contains("eth0"), "front has none: {addresses}");
    assert!(inside(&world, "web", "ip -6 route").contains("default via fd00:8::1 dev eth1"));
    // Both families by one network: it has IPv4's default route as well.
    assert_eq!(default_route(&world, "web"), "default via 10.8.0.1 dev eth1");
    world.ok("run -d --name other --network six busybox sleep 1000");
    assert!(inside(&world, "other", "ping6 -c1 -W2 fd00:8::99").contains("1 packets received"));
    world.ok("network disconnect six web");
    assert_eq!(default_route(&world, "web"), "default via 10.5.0.1 dev eth0");
    assert!(!inside(&world, "web", "ip -o -6 addr").contains("fd00"));
    world.ok("rm -f web other");
    world.ok("network rm six");
    end(&world);
}

#[test]
fn a_container_without_networks_is_taken_off_none_and_put_on_others() {
    let world = world();
    world.ok("run -d --name web web");
    world.ok("run -d --name db --network front web");
    world.ok("run -d --name alone --net none busybox sleep 1000");
    world.ok("network disconnect none alone");
    world.rcnt("network disconnect none alone").fails(1, &["is not connected to network none"]);
    assert_eq!(world.inspect("alone", "/NetworkSettings/Networks"), serde_json::json!({}));
    world.ok("network connect front alone");
    let page = || inside(&world, "alone", "wget -qO- http://db/");
    assert_eq!(page(), PAGE.trim_end());
    world.ok("restart -t 0 alone");
    assert_eq!(page(), PAGE.trim_end());
    world.ok("port add alone 8080:80");
    world.ok("network disconnect front alone");
    world.ok("restart -t 0 alone");
    assert_eq!(inside(&world, "alone", "ls /sys/class/net"), "lo");
    world.ok("rm -f web alone db");
    end(&world);
}

#[test]
fn what_docker_refuses_is_refused() {
    let world = world();
    let cases = [
        (
            "run --rm --ip 10.90.0.9 busybox true",
            "user-specified IP address is supported on user-defined networks only",
        ),
        (
            "run --rm --network-alias a busybox true",
            "network-scoped aliases are only supported for user-defined networks",
        ),
        (
            "run --rm --network front --network bridge busybox true",
            "cannot attach both user-defined and non-user-defined network-modes",
        ),
        (
            "run --rm --network front --network front busybox true",
            "network \"front\" is specified multiple times",
        ),
        (
            "run --rm --network name=front,ip=10.5.0.9 --ip 10.5.0.8 busybox true",
            "cannot specify both --ip and per-network IPv4 address",
        ),
        (
            "run --rm --network front --ip 10.6.0.9 busybox true",
            "no configured subnet contains IP address 10.6.0.9",
        ),
        ("run --rm --network nowhere busybox true", "network nowhere not found"),
        ("run --rm --network front --ip 10.5.0.1 busybox true", "it is the gateway"),
        (
            "run --rm --network front --ip6 fd00::9 busybox true",
            "no configured subnet contains IP address fd00::9",
        ),
    ];
    for (command, words) in cases {
        world.rcnt(command).fails(125, &[words]);
    }
    world.ok("run -d --name holder --network name=front,ip=10.5.0.9 busybox sleep 1000");
    world
        .rcnt("run --rm --network front --ip 10.5.0.9 busybox true")
        .fails(125, &["address already in use", "holder"]);
    world.ok("run -d --name alone --net none busybox sleep 1000");
    world.rcnt("network connect front alone").fails(1, &["private (none) mode"]);
    world.rcnt("network disconnect none holder").fails(1, &["is not connected to network none"]);
    world.ok("run -d --name hosted --net host busybox sleep 1000");
    world.rcnt("network connect front hosted").fails(1, &["sharing network namespace"]);
    for name in ["host", "none"] {
        let shown = world.ok(["network", "inspect", name]);
        let who = if name == "host" { "hosted" } else { "alone" };
        assert!(shown.contains(&format!("\"Name\": \"{who}\"")), "{shown}");
    }
    world.ok("rm -f hosted");
    world.ok("run -d --name guest --net container:holder busybox sleep 1000");
    world.rcnt("network connect back guest").fails(1, &["sharing network namespace"]);
    world.rcnt("network connect host holder").fails(1, &["host network"]);
    world.rcnt("network connect nowhere holder").fails(1, &["network nowhere not found"]);
    world.rcnt("network connect front nobody").fails(1, &["No such container: nobody"]);
    end(&world);
}

#[test]
fn connecting_while_the_container_ends_leaves_nothing() {
    let world = world();
    for n in 0..12_u64 {
        world.ok("run -d --name cc --network front busybox sleep 1000");
        let kill = world.start("kill cc");
        std::thread::sleep(Duration::from_micros(n * 400));
        let connect = world.start("network connect back cc");
        kill.wait(Duration::from_secs(20));
        connect.wait(Duration::from_secs(20));
        world.ok("rm -f cc");
        let members = world.ok_sh("find /srv/run/networks -name '*.json' -o -path '*/ip/*'; ls /srv/run/changes 2>/dev/null || true");
        assert_eq!(members, "", "round {n}");
    }
    end(&world);
}

#[test]
fn many_commands_at_once_hold_no_address_twice() {
    let world = world();
    for n in 0..6 {
        world.ok(format!("run -d --name c{n} --network front busybox sleep 1000"));
    }
    for command in ["connect", "disconnect", "connect"] {
        let jobs: Vec<_> = (0..6)
            .flat_map(|n| ["back", "vault"].map(|net| format!("network {command} {net} c{n}")))
            .map(|line| world.start(line))
            .collect();
        for job in jobs {
            job.wait(Duration::from_secs(60)).success();
        }
    }
    for network in ["front", "back", "vault"] {
        let all: BTreeSet<String> = (0..6)
            .map(|n| {
                let pointer = format!("/NetworkSettings/Networks/{network}/IPAddress");
                world.inspect(&format!("c{n}"), &pointer).to_string()
            })
            .collect();
        assert_eq!(all.len(), 6, "{network}: {all:?}");
    }
    end(&world);
}

/// What others can see, a call at a time.
const CHANGES: [&str; 8] = [
    "rename",
    "linkat,link",
    "unlink,unlinkat",
    "mkdir",
    "sendto",
    "setns",
    "ftruncate",
    "fork,clone",
];

#[test]
fn a_connect_killed_at_any_step_is_undone_or_finished_by_the_next_command() {
    kill_at_every_step("connect", "--network front");
}

#[test]
fn a_disconnect_killed_at_any_step_is_undone_or_finished_by_the_next_command() {
    kill_at_every_step("disconnect", "--network front --network back");
}

#[track_caller]
fn kill_at_every_step(command: &str, flags: &str) {
    let world = world();
    world.ok(format!("run -d --name cc -p 8080:80 {flags} web"));
    let mut killed = 0;
    for calls in CHANGES {
        for nth in 1..50 {
            let inject = format!("{calls}:signal=KILL:when={nth}");
            let code = world.injected(&inject, &format!("network {command} back cc")).code;
            world.ok("ps");
            let shown = world.inspect("cc", "/NetworkSettings/Networks");
            let on = shown.get("back").is_some();
            let is = inside(&world, "cc", "ip -o -4 addr").contains("10.6.0.");
            let member = world.ok("network inspect back").contains("\"Name\": \"cc\"");
            let leases = world.sh("ls /srv/run/networks/back/ip").stdout;
            let held = !leases.trim().is_empty();
            assert_eq!(
                (is, member, held),
                (on, on, on),
                "{command} killed at {calls} {nth}: {shown}"
            );
            let veths = world.ok_sh("ls /sys/class/net | grep -c veth");
            assert_eq!(veths, if on { "2" } else { "1" }, "{command} killed at {calls} {nth}");
            assert_eq!(world.page("127.0.0.1:8080"), PAGE, "{command} killed at {calls} {nth}");
            let route = if on { "10.6.0.1" } else { "10.5.0.1" };
            assert!(
                default_route(&world, "cc").contains(route),
                "{command} killed at {calls} {nth}"
            );
            match (command, on) {
                ("connect", true) => drop(world.ok("network disconnect back cc")),
                ("disconnect", false) => drop(world.ok("network connect back cc")),
                _ => {}
            }
            if code == 0 {
                break;
            }
            killed += 1;
        }
    }
    assert!(killed > 20, "too few steps: {killed}");
    world.rcnt("network check").success().prints("");
    end(&world);
}
