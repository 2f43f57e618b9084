//! What networks let pass, by packets: the matrix of who calls whom at which
//! address, and what policies close and open.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use rcnt_tests::{World, eventually};

/// Starts `probe` on a network and waits until it serves.
#[track_caller]
fn serve(world: &World, name: &str, flags: &str) {
    world.ok(format!("run -d --name {name} {flags} probe"));
    eventually("the server is ready", || world.ok(["logs", name]).contains("ready"));
}

/// The address of a container on a network, IPv4 or IPv6.
fn address(world: &World, name: &str, network: &str, field: &str) -> String {
    let pointer = format!("/NetworkSettings/Networks/{network}/{field}");
    world.inspect(name, &pointer).as_str().unwrap_or_default().to_owned()
}

/// Whether a container gets an answer at `to`.
fn reaches(world: &World, from: &str, to: &str) -> bool {
    let ask = format!("timeout 2 probe ask tcp {to}");
    world.rcnt(["exec", from, "sh", "-c", &ask]).code == 0
}

#[test]
fn everybody_reaches_a_published_port_and_only_neighbours_the_container() {
    let world = World::with_servers();
    world.ok("network create --ipv6 --subnet fd00:1::/64 one");
    world.ok("network create --ipv6 --subnet fd00:2::/64 two");
    serve(&world, "web", "--network one -p 8080:80 -p 127.0.0.1:8081:80");
    serve(&world, "peer", "--network one");
    serve(&world, "other", "--network two");
    let (v4, v6) = (
        address(&world, "web", "one", "IPAddress"),
        address(&world, "web", "one", "GlobalIPv6Address"),
    );
    let lan_route =
        format!("ip route add {v4} via {}; ip route add {v6} via {}", World::V4, World::V6);
    world.lan().sh(&lan_route).success();
    let own = [format!("{v4}:80"), format!("[{v6}]:80")];
    let published = [format!("{}:8080", World::V4), format!("[{}]:8080", World::V6)];
    for (n, to) in own.iter().enumerate() {
        assert!(reaches(&world, "web", to), "itself at {to}");
        assert!(reaches(&world, "peer", to), "a peer at {to}");
        assert!(!reaches(&world, "other", to), "another network at {to}");
        assert!(world.tcp(to, "").is_ok(), "the host at {to}");
        assert!(world.lan().tcp(to, "").is_err(), "the LAN at {to}");
        let to = &published[n];
        for from in ["web", "peer", "other"] {
            assert!(reaches(&world, from, to), "{from} at {to}");
        }
        assert!(world.tcp(to, "").is_ok(), "the host at {to}");
        let answer = world.lan().tcp(to, "").unwrap();
        assert!(answer.contains(if n == 0 { "192.0.2.20" } else { "2001:db8::20" }), "{answer}");
    }
    for to in ["127.0.0.1:8080", "[::1]:8080", "127.0.0.1:8081"] {
        assert!(world.tcp(to, "").is_ok(), "the host at {to}");
    }
    assert!(world.lan().tcp(&format!("{}:8081", World::V4), "").is_err());
}

#[test]
fn a_forged_packet_to_loopback_gets_no_answer() {
    let world = World::with_servers();
    serve(&world, "web", "-p 127.0.0.1:8080:80");
    // A neighbour that takes 127.0.0.1 for an address on the wire.
    let forge = "sysctl -qw net.ipv4.conf.all.route_localnet=1; ip addr del 127.0.0.1/8 dev lo; \
                 ip route add 127.0.0.1 via 192.0.2.10 dev eth0 src 192.0.2.20; \
                 ip route del table local local 127.0.0.0/8 dev lo 2>/dev/null; \
                 ip route del table local local 127.0.0.1 dev lo 2>/dev/null; true";
    world.lan().sh(forge).success();
    world.ok_sh("nft 'add table inet watch; add chain inet watch in { type filter hook prerouting priority -400; }; \
                 add rule inet watch in iifname eth0 ip daddr 127.0.0.1 counter'");
    let dial = "import socket; s = socket.socket(); s.settimeout(1); s.connect(('127.0.0.1', 8080)); print(s.recv(9))";
    world.lan().job("python3", ["-c", dial]).run().exits(1);
    let seen = world.ok_sh("nft list chain inet watch in");
    assert!(!seen.contains("packets 0 "), "the packets did arrive: {seen}");
    world.tcp("127.0.0.1:8080", "").unwrap();
    world.ok_sh("nft delete table inet watch");
}

#[test]
fn an_internal_network_is_its_members_and_the_host() {
    let world = World::with_servers();
    world.ok("network create --internal inside");
    serve(&world, "web", "--network inside -p 8080:80");
    serve(&world, "peer", "--network inside");
    serve(&world, "other", "");
    let v4 = address(&world, "web", "inside", "IPAddress");
    world.lan().sh(&format!("ip route add {v4} via {}", World::V4)).success();
    let to = format!("{v4}:80");
    assert!(reaches(&world, "peer", &to) && world.tcp(&to, "").is_ok());
    assert!(!reaches(&world, "other", &to) && world.lan().tcp(&to, "").is_err());
    world.rcnt("exec web ping -c1 -W1 192.0.2.20").exits(1);
    let answer = world.lan().tcp(&format!("{}:8080", World::V4), "");
    assert!(answer.as_deref().unwrap_or_default().is_empty(), "{answer:?}");
}

#[test]
fn options_keep_apart_and_open() {
    let world = World::with_servers();
    let option = "-o com.docker.network.bridge";
    world.ok(format!("network create {option}.enable_icc=false apart"));
    world.ok(format!("network create {option}.gateway_mode_ipv4=routed routed"));
    world.ok(format!("network create {option}.gateway_mode_ipv4=nat-unprotected open"));
    serve(&world, "one", "--network apart");
    serve(&world, "two", "--network apart");
    serve(&world, "routed", "--network routed -p 80");
    serve(&world, "open", "--network open");
    let one = format!("{}:80", address(&world, "one", "apart", "IPAddress"));
    assert!(!reaches(&world, "two", &one) && world.tcp(&one, "").is_ok());
    for name in ["routed", "open"] {
        let v4 = address(&world, name, name, "IPAddress");
        world.lan().sh(&format!("ip route add {v4} via {}", World::V4)).success();
        let answer = world.lan().tcp(&format!("{v4}:80"), "").unwrap();
        assert!(answer.starts_with("from 192.0.2.20 "), "{name}: {answer}");
    }
    // A port that was not published, where everything is open and where not.
    world.start("exec open probe serve tcp 81").expect("ready");
    let v4 = address(&world, "routed", "routed", "IPAddress");
    assert!(world.lan().tcp(&format!("{v4}:81"), "").is_err());
}
