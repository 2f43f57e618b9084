//! What a bridge lets pass: cases in which packets say it.

use rcnt_netstack::apply;
use rcnt_netstack::guard::RulesWatch;
use rcnt_netstack::network::GatewayMode;
use rcnt_netstack::plan::{BridgeRules, NetworkPlan, Passage, Wire};
use rcnt_netstack::ports::Protocol;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cases::Case;
use crate::world::*;

pub const ALL: &[Case] = &[
    (
        "a_host_that_was_no_router_does_not_become_one",
        a_host_that_was_no_router_does_not_become_one,
    ),
    (
        "a_container_is_not_taken_for_the_hosts_loopback",
        a_container_is_not_taken_for_the_hosts_loopback,
    ),
    (
        "a_flush_is_told_and_what_containers_change_is_not",
        a_flush_is_told_and_what_containers_change_is_not,
    ),
    ("containers_are_kept_apart_on_request", containers_are_kept_apart_on_request),
    ("an_internal_network_has_no_way_in_or_out", an_internal_network_has_no_way_in_or_out),
    ("gateway_modes_open_what_they_say", gateway_modes_open_what_they_say),
    (
        "trusted_interfaces_and_direct_routing_reach_containers_directly",
        trusted_interfaces_and_direct_routing_reach_containers_directly,
    ),
];

/// What the bridge of a plan lets pass.
fn policy(plan: &mut NetworkPlan) -> &mut BridgeRules {
    match &mut plan.wire {
        Wire::Bridge(bridge) => &mut bridge.policy,
        Wire::Lan(_) => panic!("no bridge"),
    }
}

fn a_host_that_was_no_router_does_not_become_one() {
    lan();
    sh("ip netns add far; ip link add up1 type veth peer name eth0 netns far
        ip addr add 192.168.79.1/24 dev up1; ip link set up1 up
        ip -n far addr add 192.168.79.2/24 dev eth0; ip -n far link set eth0 up
        ip -n far route add default via 192.168.79.1
        ip link add br9 type bridge; ip addr add 192.168.80.1/24 dev br9; ip link set br9 up
        ip netns add vm; ip link add vm9 type veth peer name eth0 netns vm
        ip link set vm9 master br9 up; ip -n vm addr add 192.168.80.2/24 dev eth0
        ip -n vm link set eth0 up; ip -n vm route add default via 192.168.80.1");
    let switched_on = start("c5", &NET.plan(5, &[])).forwarding;
    assert_eq!((sh("sysctl -n net.ipv4.ip_forward").trim(), switched_on), ("1", vec![false]));
    assert_eq!(start("c6", &NET.plan(6, &[])).forwarding, Vec::<bool>::new());
    serve_tcp("far", "far", "0.0.0.0", 8080);
    assert!(!reaches("lan", "192.168.79.2", 8080));
    assert_eq!(fetch("c5", "192.168.79.2", 8080), "far 192.168.79.1");
    // Somebody else's bridge is somebody else's business.
    assert_eq!(fetch("vm", "192.168.79.2", 8080), "far 192.168.80.2");
}

/// What trusts 127.0.0.0/8 must not hear a container: its bridge takes such addresses
/// (route_localnet), for published ports at 127.0.0.1.
fn a_container_is_not_taken_for_the_hosts_loopback() {
    lan();
    start("c5", &NET.plan(5, &[]));
    sh("ip -n c5 link set lo up; ip netns exec c5 sysctl -qw net.ipv4.conf.all.route_localnet=1");
    let trusting = std::net::UdpSocket::bind("0.0.0.0:7000").unwrap();
    trusting.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let forger = inside("c5", || std::net::UdpSocket::bind("127.0.0.2:0").unwrap());
    let heard = || {
        forger.send_to(b"?", "10.88.0.1:7000").unwrap();
        trusting.recv_from(&mut [0; 8]).map(|(_, from)| from.ip().to_string()).ok()
    };
    assert_eq!(heard(), None);
    // That it is the fence which holds.
    sh("nft flush chain inet rcnt fence");
    assert_eq!(heard().as_deref(), Some("127.0.0.2"));
}

fn a_flush_is_told_and_what_containers_change_is_not() {
    start("c5", &NET.plan(5, &[tcp("0.0.0.0", 8080, 80)]));
    let mut watch = RulesWatch::begin("rcnt").unwrap();
    let is_told = |watch: &RulesWatch| {
        let mut fds = [PollFd::new(watch, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
    };
    let plan = NET.plan(6, &[tcp("0.0.0.0", 8081, 80)]);
    start("c6", &plan);
    apply::detach(&plan.undo()).unwrap();
    assert!(!is_told(&watch), "a start and an end wake nobody");
    // Of others: heard, and no loss of ours.
    sh("nft 'add table inet other; add chain inet other c; add rule inet other c accept'
        nft flush chain inet other c; nft delete table inet other");
    assert!(!watch.has_lost().unwrap());
    assert!(watch.is_whole().unwrap());
    let losses = [
        "nft flush chain inet rcnt forward",
        "nft delete table inet rcnt",
        "printf 'flush ruleset\ntable inet other {\n}\n' | nft -f -",
        "printf 'table inet other {\n}\nflush ruleset\n' | nft -f -",
    ];
    for loss in losses {
        sh(loss);
        assert!(is_told(&watch) && watch.has_lost().unwrap(), "{loss}");
        assert!(!watch.is_whole().unwrap(), "{loss}");
        apply::publish(&NET.plan(5, &[tcp("0.0.0.0", 8080, 80)])).unwrap();
        // What is brought back may tell of rules that were written anew, once.
        let _ = watch.has_lost().unwrap();
        assert!(watch.is_whole().unwrap() && !watch.has_lost().unwrap(), "{loss}");
    }
}

fn containers_are_kept_apart_on_request() {
    lan();
    let mut plans: Vec<_> =
        (5..8).map(|n| NET.plan(n, &[tcp("0.0.0.0", 8000 + u16::from(n), 80)])).collect();
    // Whatever the host's setting is.
    sh("sysctl -qw net.bridge.bridge-nf-call-iptables=0");
    for plan in &mut plans {
        policy(plan).icc = false;
        start(&plan.owner_name, plan);
        serve_tcp(&plan.owner_name, "web", "0.0.0.0", 80);
        serve_tcp(&plan.owner_name, "other", "0.0.0.0", 81);
    }
    assert!(!reaches("web6", "10.88.0.5", 80));
    assert_eq!(fetch("lan", HOST, 8005), format!("web {PEER}"));
    let passage = Passage {
        from: "10.88.0.6".parse().unwrap(),
        to: "10.88.0.5".parse().unwrap(),
        protocol: Protocol::Tcp,
        port: 80,
    };
    apply::open_passages("rcnt", &[passage], "0a5800050a58 link").unwrap();
    assert_eq!(fetch("web6", "10.88.0.5", 80), "web 10.88.0.6");
    assert!(!reaches("web6", "10.88.0.5", 81));
    assert!(!reaches("web7", "10.88.0.5", 80));
    assert!(!reaches("web5", "10.88.0.6", 80));
    for _ in 0..2 {
        apply::close_passages("rcnt", &[passage]).unwrap();
    }
    assert!(!reaches("web6", "10.88.0.5", 80));
}

fn an_internal_network_has_no_way_in_or_out() {
    lan();
    let mut inside = NET.plan(5, &[]);
    policy(&mut inside).internal = true;
    let mut peer = NET.plan(6, &[]);
    policy(&mut peer).internal = true;
    let outside = Net { number: 1, ..NET }.plan(7, &[]);
    start("c5", &inside);
    start("c6", &peer);
    start("c7", &outside);
    serve_tcp("c5", "in", "0.0.0.0", 80);
    serve_tcp("c7", "out", "0.0.0.0", 80);
    serve_tcp("lan", "lan", "0.0.0.0", 80);
    assert_eq!(fetch("c6", "10.88.0.5", 80), "in 10.88.0.6");
    assert_eq!(fetch("host", "10.88.0.5", 80), "in 10.88.0.1");
    assert!(!reaches("lan", "10.88.0.5", 80));
    assert!(!reaches("c7", "10.88.0.5", 80));
    assert!(!reaches("c5", "10.88.1.7", 80));
    assert!(!reaches("c5", PEER, 80));
}

fn gateway_modes_open_what_they_say() {
    lan();
    let ports = [tcp("0.0.0.0", 8080, 80), tcp("127.0.0.1", 8081, 82)];
    let modes = [GatewayMode::Nat, GatewayMode::NatUnprotected, GatewayMode::Routed];
    for (number, mode) in (0..).zip(modes) {
        let mut plan = Net { number, ..NET }.plan(5, &ports);
        policy(&mut plan).mode4 = mode;
        let name = format!("m{number}");
        start(&name, &plan);
        for port in [80, 81, 82] {
            serve_tcp(&name, "web", "0.0.0.0", port);
        }
        let own = format!("10.88.{number}.5");
        let open = [80, 81, 82].map(|port| reaches("lan", &own, port));
        let (translated, wanted) = match mode {
            GatewayMode::Nat => (true, [false; 3]),
            GatewayMode::NatUnprotected => (true, [true; 3]),
            _ => (false, [true, false, false]),
        };
        assert_eq!(open, wanted, "{mode}");
        assert_eq!(reaches("lan", HOST, 8080), translated, "{mode}");
        // Who leaves shows the host's address, or its own.
        serve_tcp("lan", "lan", "0.0.0.0", 90 + u16::from(number));
        let seen = if translated { HOST } else { own.as_str() };
        assert_eq!(fetch(&name, PEER, 90 + u16::from(number)), format!("lan {seen}"), "{mode}");
        apply::detach(&plan.undo()).unwrap();
        assert!(!reaches("lan", HOST, 8080), "{mode}");
        assert_eq!(reaches("lan", &own, 80), mode == GatewayMode::NatUnprotected, "{mode}");
    }
}

fn trusted_interfaces_and_direct_routing_reach_containers_directly() {
    lan();
    let ports = [tcp("0.0.0.0", 8080, 80), tcp("0.0.0.0", 8081, 80), tcp("127.0.0.1", 8082, 82)];
    let mut plan = NET.plan(5, &ports);
    policy(&mut plan).direct_routing = true;
    start("c5", &plan);
    let mut trusting = Net { number: 1, ..NET }.plan(5, &[]);
    policy(&mut trusting).trusted = vec!["up0".into()];
    start("d5", &trusting);
    for port in [80, 81, 82] {
        serve_tcp("c5", "web", "0.0.0.0", port);
        serve_tcp("d5", "web", "0.0.0.0", port);
    }
    assert_eq!([80, 81, 82].map(|p| reaches("lan", "10.88.0.5", p)), [true, false, false]);
    assert_eq!([80, 81].map(|p| reaches("lan", "10.88.1.5", p)), [true, true]);
    assert!(!reaches("c5", "10.88.1.5", 81));
    apply::detach(&plan.undo()).unwrap();
    assert!(!sh("nft list set inet rcnt open4").contains("elements"));
}
