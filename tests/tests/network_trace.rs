//! `rcnt network trace`: the ways to lose a packet that are no rule of an ip or inet
//! table are said in words, too: routes, interfaces, settings, bridges, ingress.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use rcnt_tests::{World, eventually};

/// Containers `web`, which serves at 8080, and `client`.
fn world() -> World {
    let world = World::with_servers();
    world.ok("run -d --name web -p 8080:80 probe");
    eventually("the server is ready", || world.ok(["logs", "web"]).contains("ready"));
    world.ok("run -d --name client busybox sleep 100");
    world
}

/// Does `harm`, traces `words`, wants `verdict`, undoes it, and wants all well again.
#[track_caller]
fn lost(world: &World, harm: &str, words: &str, verdict: &str, undo: &str) {
    world.ok_sh(harm);
    let found = world.rcnt(format!("network trace --timeout 300ms {words}")).exits(1);
    assert!(found.stdout.contains(&format!("not reached: {verdict}")), "{harm}\n{found}");
    world.ok_sh(undo);
    world.rcnt("exec client ping -c1 -W2 192.0.2.20").success();
}

#[test]
fn routes_that_lead_nowhere_are_named_inside_and_on_the_host() {
    let world = world();
    // Each is asked for by the same container, and all are answered (icmp(7)).
    world.ok_sh("sysctl -qw net.ipv4.icmp_ratelimit=0");
    let inside = format!("nsenter -t {} -n", world.pid_of("client"));
    for kind in ["unreachable", "blackhole", "prohibit"] {
        for (place, prefix) in [("client", inside.as_str()), ("host", "")] {
            let route = format!("{kind} 198.51.100.0/24");
            lost(
                &world,
                &format!("{prefix} ip route add {route}"),
                "client 198.51.100.1:80",
                &format!("{place}'s route '{route}' lets nothing through to 198.51.100.1\n"),
                &format!("{prefix} ip route del {route}"),
            );
        }
    }
    let default = world.ok_sh(&format!("{inside} ip route show default"));
    lost(
        &world,
        &format!("{inside} ip link set eth0 down"),
        "client 192.0.2.20",
        "client has no route to 192.0.2.20; down there: eth0\n",
        &format!("{inside} ip link set eth0 up; {inside} ip route add {default}"),
    );
    let default = world.ok_sh("ip route show default");
    lost(
        &world,
        "ip route del default",
        "client 198.51.100.1:80",
        "on the way it is sent back: ",
        &format!("ip route add {default}"),
    );
}

#[test]
fn an_interface_that_is_not_forwarded_from_is_named() {
    let world = world();
    for (interface, words) in
        [("rcnt0", "client 192.0.2.20:9"), ("eth0", "192.0.2.20 192.0.2.10:8080")]
    {
        let setting = format!("net.ipv4.conf.{interface}.forwarding");
        lost(
            &world,
            &format!("sysctl -qw {setting}=0"),
            words,
            &format!(
                "the host does not forward: {setting} is 0\nhint: rcnt network check --repair"
            ),
            &format!("sysctl -qw {setting}=1"),
        );
    }
}

#[test]
fn rules_of_bridge_and_netdev_tables_are_named() {
    let world = world();
    let port =
        world.ok_sh("ip -o link show master rcnt0 | sed -n '$s/^[0-9]*: \\([^@]*\\)@.*/\\1/p'");
    let bridge = |hook: &str| ("bridge", format!("type filter hook {hook} priority 0"));
    let ingress = |family: &'static str, device: &str| {
        (family, format!("type filter hook ingress device {device} priority 0"))
    };
    let (to_peer, out, to_port) =
        ("client web:80", "client 192.0.2.20:9", "192.0.2.20 192.0.2.10:8080");
    for ((family, hook), words) in [
        (bridge("prerouting"), to_peer),
        (bridge("forward"), to_peer),
        (bridge("input"), out),
        (bridge("output"), to_port),
        (bridge("postrouting"), to_port),
        (ingress("netdev", &port), out),
        (ingress("netdev", "rcnt0"), out),
        (ingress("netdev", "eth0"), to_port),
        (ingress("inet", &port), out),
    ] {
        lost(
            &world,
            &format!(
                "nft 'table {family} their {{ chain some {{ {hook}; \
                 meta l4proto tcp drop comment \"no tcp\"; }}; }}'"
            ),
            words,
            &format!("dropped in host by rule \"no tcp\" of chain some, table {family} their\n"),
            &format!("nft delete table {family} their"),
        );
    }
    assert!(!world.ok_sh("nft list tables").contains("rcnt-trace"));
}

#[test]
fn a_link_that_is_cut_is_told() {
    let world = world();
    let port =
        world.ok_sh("ip -o link show master rcnt0 | sed -n '$s/^[0-9]*: \\([^@]*\\)@.*/\\1/p'");
    world.ok_sh(&format!("ip link set {port} nomaster"));
    let found = world.rcnt("network trace client 192.0.2.20").exits(1);
    assert!(found.stdout.contains("hint: its link is in no bridge of rcnt: "), "{found}");
    world.ok_sh(&format!("ip link set {port} master rcnt0"));
    lost(
        &world,
        &format!("ip link set {port} down"),
        "client 192.0.2.20",
        "it never left client; down there: eth0\n",
        &format!("ip link set {port} up"),
    );
}
