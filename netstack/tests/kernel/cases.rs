//! The cases; each name is the sentence that it proves.

use std::fs::File;
use std::os::fd::AsFd;

use rcnt_netstack::ports::Protocol;
use rcnt_netstack::sysctl::ProcSys;
use rcnt_netstack::{apply, neighbours};

use crate::world::*;

pub type Case = (&'static str, fn());

macro_rules! cases {
    ($($name:ident),* $(,)?) => { pub const ALL: &[Case] = &[$((stringify!($name), $name)),*]; };
}
pub(crate) use cases;

cases![
    a_published_port_is_reached_from_everywhere,
    the_same_without_br_netfilter,
    the_same_with_strict_reverse_path_filters,
    the_first_packet_is_not_lost,
    udp_is_published_too,
    a_port_on_one_address_is_reached_there_only,
    a_port_on_loopback_is_fenced_from_the_lan,
    what_is_not_published_is_not_reached_by_routing,
    containers_reach_the_world_and_their_neighbours_but_not_other_bridges,
    forwarded_traffic_to_other_machines_is_left_alone,
    ipv6_is_published_and_routed,
    an_ipv4_only_network_has_no_ipv6_and_a_bridge_is_mended,
    two_instances_live_side_by_side,
    a_flushed_ruleset_comes_back_with_the_next_attach,
    another_versions_base_is_replaced,
    detach_leaves_the_host_as_it_was,
    detach_leaves_a_successors_port_alone,
    what_a_dead_container_left_is_replaced,
    udp_flows_follow_the_published_port,
    every_protocol_and_family_has_its_element,
    a_thousand_ports_are_one_transaction,
    many_attach_and_detach_at_once,
    another_firewalls_drop_is_reported_and_not_overruled,
    refusals_carry_the_kernels_words,
    the_ruleset_reads_as_it_should,
    purge_leaves_nothing_of_the_instance,
];

fn a_published_port_is_reached_from_everywhere() {
    lan();
    let plan = NET.plan(5, &[tcp("0.0.0.0", 8080, 80)]);
    start("c5", &plan);
    start("c6", &NET.plan(6, &[]));
    start("d5", &Net { number: 1, ..NET }.plan(5, &[]));
    serve_tcp("c5", "web", "0.0.0.0", 80);
    // The LAN client's address is preserved; loopback and true hairpin cannot be.
    assert_eq!(fetch("lan", HOST, 8080), format!("web {PEER}"));
    assert_eq!(fetch("host", HOST, 8080), format!("web {HOST}"));
    assert_eq!(fetch("host", "127.0.0.1", 8080), "web 10.88.0.1");
    assert_eq!(fetch("host", "127.1.2.3", 8080), "web 10.88.0.1");
    assert_eq!(fetch("host", "10.88.0.1", 8080), "web 10.88.0.1");
    assert_eq!(fetch("host", "10.88.0.5", 80), "web 10.88.0.1");
    assert_eq!(fetch("c6", "10.88.0.5", 80), "web 10.88.0.6");
    assert_eq!(fetch("c6", HOST, 8080), "web 10.88.0.1");
    assert_eq!(fetch("c6", "10.88.0.1", 8080), "web 10.88.0.1");
    assert_eq!(fetch("c5", HOST, 8080), "web 10.88.0.1");
    assert_eq!(fetch("c5", "10.88.0.1", 8080), "web 10.88.0.1");
    // From another network: through the host's address, with its own.
    assert_eq!(fetch("d5", HOST, 8080), "web 10.88.1.5");
}

fn the_same_without_br_netfilter() {
    bridge_filter("0");
    a_published_port_is_reached_from_everywhere();
}

fn the_same_with_strict_reverse_path_filters() {
    bridge_filter("1");
    sh("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1");
    a_published_port_is_reached_from_everywhere();
}

/// The setting is the namespace's own, where the kernel has it at all.
fn bridge_filter(value: &str) {
    sh(&format!(
        "for f in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do [ ! -e $f ] || echo {value} > $f; done"
    ));
}

fn the_first_packet_is_not_lost() {
    lan();
    serve_tcp("host", "host", "0.0.0.0", 80);
    for last in 2..32 {
        let name = format!("c{last}");
        start(&name, &NET.plan(last, &[]));
        let asked = std::time::Instant::now();
        fetch(&name, "10.88.0.1", 80);
        // A lost ARP request or answer is repeated after a second.
        assert!(asked.elapsed().as_millis() < 500, "{name}: {:?}", asked.elapsed());
    }
}

fn udp_is_published_too() {
    lan();
    start("c5", &NET.plan(5, &[port(Protocol::Udp, "0.0.0.0", 5353, 53)]));
    start("c6", &NET.plan(6, &[]));
    serve_udp("c5", "dns", 53);
    assert_eq!(ask_udp("lan", HOST, 5353), format!("dns {PEER}"));
    assert_eq!(ask_udp("host", HOST, 5353), format!("dns {HOST}"));
    assert_eq!(ask_udp("host", "127.0.0.1", 5353), "dns 10.88.0.1");
    assert_eq!(ask_udp("c6", HOST, 5353), "dns 10.88.0.1");
    assert_eq!(ask_udp("c5", HOST, 5353), "dns 10.88.0.1");
    assert_eq!(ask_udp("c6", "10.88.0.5", 53), "dns 10.88.0.6");
}

fn a_port_on_one_address_is_reached_there_only() {
    lan();
    sh("ip addr add 192.168.78.1/24 dev up0");
    start("c5", &NET.plan(5, &[tcp(HOST, 8080, 80), tcp("192.168.78.1", 8080, 81)]));
    serve_tcp("c5", "eighty", "0.0.0.0", 80);
    serve_tcp("c5", "eighty-one", "0.0.0.0", 81);
    assert_eq!(fetch("lan", HOST, 8080), format!("eighty {PEER}"));
    assert_eq!(fetch("lan", "192.168.78.1", 8080), format!("eighty-one {PEER}"));
    assert_eq!(fetch("host", HOST, 8080), format!("eighty {HOST}"));
    assert!(!reaches("host", "127.0.0.1", 8080));
    assert!(!reaches("lan", "10.88.0.1", 8080));
}

fn a_port_on_loopback_is_fenced_from_the_lan() {
    lan();
    start("c5", &NET.plan(5, &[tcp("127.0.0.1", 8080, 80)]));
    start("c6", &NET.plan(6, &[]));
    serve_tcp("c5", "web", "0.0.0.0", 80);
    assert_eq!(fetch("host", "127.0.0.1", 8080), "web 10.88.0.1");
    assert!(!reaches("host", HOST, 8080));
    assert!(!reaches("lan", HOST, 8080));
    assert!(!reaches("c6", "10.88.0.1", 8080));
    // A neighbour that sends packets for 127.0.0.1 to us, as CVE-2020-8558 did.
    for attacker in ["lan", "c6"] {
        sh(&format!(
            "ip -n {attacker} route del local 127.0.0.1 dev lo table local
            ip -n {attacker} route del local 127.0.0.0/8 dev lo table local
            ip netns exec {attacker} sysctl -qw net.ipv4.conf.eth0.route_localnet=1"
        ));
    }
    // An attacker accepts answers from 127.0.0.1.
    sh(&format!(
        "ip -n lan addr flush dev lo; ip -n c6 addr flush dev lo
        ip -n lan route add 127.0.0.1 via {HOST} src {PEER}
        ip -n c6 route add 127.0.0.1 via 10.88.0.1 src 10.88.0.6"
    ));
    assert!(!reaches("lan", "127.0.0.1", 8080));
    assert!(!reaches("c6", "127.0.0.1", 8080));
    // That it is the fence which holds.
    sh("nft flush chain inet rcnt fence");
    assert!(reaches("lan", "127.0.0.1", 8080));
    assert!(reaches("c6", "127.0.0.1", 8080));
}

fn what_is_not_published_is_not_reached_by_routing() {
    lan();
    start("c5", &NET.plan(5, &[tcp("0.0.0.0", 8080, 80)]));
    serve_tcp("c5", "web", "0.0.0.0", 80);
    serve_tcp("c5", "secret", "0.0.0.0", 81);
    // The LAN peer's default route is the host: its packets arrive.
    assert!(!reaches("lan", "10.88.0.5", 81));
    assert!(!reaches("lan", "10.88.0.5", 80));
    assert_eq!(fetch("lan", HOST, 8080), format!("web {PEER}"));
    assert_eq!(fetch("host", "10.88.0.5", 81), "secret 10.88.0.1");
}

fn containers_reach_the_world_and_their_neighbours_but_not_other_bridges() {
    lan();
    start("c5", &NET.plan(5, &[]));
    start("c6", &NET.plan(6, &[]));
    start("d5", &Net { number: 1, ..NET }.plan(5, &[]));
    serve_tcp("lan", "world", "0.0.0.0", 80);
    serve_tcp("c6", "six", "0.0.0.0", 80);
    assert_eq!(fetch("c5", PEER, 80), format!("world {HOST}"));
    assert_eq!(fetch("d5", PEER, 80), format!("world {HOST}"));
    assert_eq!(fetch("c5", "10.88.0.6", 80), "six 10.88.0.5");
    assert!(!reaches("d5", "10.88.0.6", 80));
}

fn forwarded_traffic_to_other_machines_is_left_alone() {
    lan();
    sh("sysctl -qw net.ipv4.ip_forward=1; ip netns add far; ip link add up1 type veth peer name eth0 netns far
        ip addr add 192.168.79.1/24 dev up1; ip link set up1 up
        ip -n far addr add 192.168.79.2/24 dev eth0; ip -n far link set eth0 up
        ip -n far route add default via 192.168.79.1");
    start("c5", &NET.plan(5, &[tcp("0.0.0.0", 8080, 80)]));
    start("c6", &NET.plan(6, &[]));
    serve_tcp("c5", "web", "0.0.0.0", 80);
    serve_tcp("far", "far", "0.0.0.0", 8080);
    assert_eq!(fetch("lan", "192.168.79.2", 8080), format!("far {PEER}"));
    assert_eq!(fetch("c6", "192.168.79.2", 8080), "far 192.168.79.1");
    assert_eq!(fetch("host", "192.168.79.2", 8080), "far 192.168.79.1");
}

fn ipv6_is_published_and_routed() {
    lan();
    sh("ip -6 route add default via fe80::1 dev up0; ip link add up1 type bridge");
    let net = Net { ipv6: true, ..NET };
    start(
        "c5",
        &net.plan(5, &[tcp("0.0.0.0", 8080, 80), tcp("::", 8080, 80), tcp(HOST6, 9090, 81)]),
    );
    start("c6", &net.plan(6, &[]));
    serve_tcp("c5", "web", "::", 80);
    serve_tcp("c5", "other", "::", 81);
    serve_tcp("lan", "world", "::", 80);
    assert_eq!(fetch("lan", HOST6, 8080), format!("web {PEER6}"));
    assert_eq!(fetch("lan", HOST, 8080), format!("web {PEER}"));
    assert_eq!(fetch("lan", HOST6, 9090), format!("other {PEER6}"));
    assert_eq!(fetch("host", HOST6, 8080), format!("web {HOST6}"));
    assert_eq!(fetch("host", "fd88::5", 80), "web fd88::1");
    assert_eq!(fetch("c6", "fd88::5", 80), "web fd88::6");
    assert_eq!(fetch("c6", HOST6, 8080), "web fd88::1");
    assert_eq!(fetch("c5", HOST6, 8080), "web fd88::1");
    assert_eq!(fetch("c5", PEER6, 80), format!("world {HOST6}"));
    assert!(!reaches("lan", "fd88::5", 81));
    // ::1 cannot be translated: whoever asks there is refused, not left waiting.
    let asked = std::time::Instant::now();
    assert!(!reaches("host", "::1", 8080));
    assert!(asked.elapsed().as_millis() < 100, "{:?}", asked.elapsed());
    serve_tcp("host", "host", "::1", 8080);
    assert_eq!(fetch("host", "::1", 8080), "host ::1");
    // The host still listens to its routers, not to its containers.
    let accept_ra =
        sh("cd /proc/sys/net/ipv6/conf; cat up0/accept_ra up1/accept_ra rcnt0/accept_ra");
    assert_eq!(accept_ra, "2\n1\n0\n");
}

fn an_ipv4_only_network_has_no_ipv6_and_a_bridge_is_mended() {
    start("c5", &NET.plan(5, &[]));
    let addresses =
        sh("ip -6 -o addr show dev rcnt0; ip -6 -o addr show dev rv0x5; ip -n c5 -6 -o addr");
    assert_eq!(addresses, "");
    let read = |name: &str| sh(&format!("cat /proc/sys/net/{name}")).trim().to_owned();
    // The second time they are mended.
    for round in 0..2 {
        assert_eq!(read("ipv6/conf/rcnt0/accept_ra"), "0");
        assert_eq!(read("ipv6/conf/rcnt0/disable_ipv6"), "1");
        assert_eq!(read("ipv4/conf/rcnt0/route_localnet"), "1");
        sh("cd /proc/sys/net; echo 0 > ipv4/conf/rcnt0/route_localnet
            echo 2 > ipv6/conf/rcnt0/accept_ra; echo 0 > ipv6/conf/rcnt0/disable_ipv6
            echo 0 > ipv4/ip_forward; ip link set rcnt0 down; ip addr flush dev rcnt0");
        start(&format!("x{round}"), &NET.plan(10 + round, &[]));
    }
    assert_eq!(read("ipv4/ip_forward"), "1");
    assert!(sh("ip -o addr show dev rcnt0 up").contains("10.88.0.1/24"));
    assert_eq!(read("ipv4/conf/all/route_localnet"), "0");
}

fn two_instances_live_side_by_side() {
    lan();
    let other = Net { instance: "0badcafe", number: 1, ipv6: false };
    let (mine, theirs) =
        (NET.plan(5, &[tcp("0.0.0.0", 8080, 80)]), other.plan(5, &[tcp("0.0.0.0", 9090, 80)]));
    start("c5", &mine);
    start("d5", &theirs);
    serve_tcp("c5", "mine", "0.0.0.0", 80);
    serve_tcp("d5", "theirs", "0.0.0.0", 80);
    assert_eq!(fetch("lan", HOST, 8080), format!("mine {PEER}"));
    assert_eq!(fetch("lan", HOST, 9090), format!("theirs {PEER}"));
    assert_eq!(fetch("c5", HOST, 9090), "theirs 10.88.1.1");
    assert!(!reaches("c5", "10.88.1.5", 80), "the other instance's bridge is no neighbour");
    apply::detach(&mine.undo()).unwrap();
    apply::purge(&mine.table, &mine.wire.bridge().unwrap().alias).unwrap();
    assert_eq!(fetch("lan", HOST, 9090), format!("theirs {PEER}"));
    assert!(!sh("nft list tables").lines().any(|line| line == "table inet rcnt"));
}

fn a_flushed_ruleset_comes_back_with_the_next_attach() {
    lan();
    let first = NET.plan(5, &[tcp("0.0.0.0", 8080, 80)]);
    assert!(!start("c5", &first).rules_were_lost);
    assert!(!start("c6", &NET.plan(6, &[])).rules_were_lost);
    serve_tcp("c5", "web", "0.0.0.0", 80);
    let before = sh("nft list ruleset");
    for vandalism in ["flush ruleset", "flush table inet rcnt", "flush chain inet rcnt forward"] {
        sh(&format!("nft {vandalism}"));
        let last = 10 + u8::try_from(vandalism.len()).unwrap();
        assert!(start(&format!("x{last}"), &NET.plan(last, &[])).rules_were_lost, "{vandalism}");
        apply::publish(&first).unwrap();
        apply::fence("rcnt", &[false]).unwrap();
        assert_eq!(sh("nft list ruleset"), before, "{vandalism}");
    }
    assert_eq!(fetch("lan", HOST, 8080), format!("web {PEER}"));
}

fn another_versions_base_is_replaced() {
    let plan = NET.plan(5, &[tcp("0.0.0.0", 8080, 80)]);
    start("c5", &plan);
    let before = sh("nft list ruleset");
    let mark = before.lines().find_map(|l| l.trim().strip_prefix("chain base-")).unwrap();
    let mark = mark.trim_end_matches(" {");
    sh(&format!(
        "nft delete chain inet rcnt base-{mark}
        nft add chain inet rcnt base-00000000; nft insert rule inet rcnt forward drop"
    ));
    apply::publish(&plan).unwrap();
    assert_eq!(sh("nft list ruleset"), before);
}

fn detach_leaves_the_host_as_it_was() {
    lan();
    let ports =
        [tcp("0.0.0.0", 8080, 80), tcp(HOST, 81, 81), port(Protocol::Udp, "0.0.0.0", 53, 53)];
    start("c4", &NET.plan(4, &[]));
    let before = host_dump();
    let plan = NET.plan(5, &ports);
    start("c5", &plan);
    assert_ne!(host_dump(), before);
    sh("ip netns del c5");
    for _ in 0..2 {
        apply::detach(&plan.undo()).unwrap();
        apply::remove_link(&plan.undo()).unwrap();
        assert_eq!(host_dump(), before);
    }
    sh("nft flush ruleset");
    apply::detach(&plan.undo()).unwrap();
}

fn detach_leaves_a_successors_port_alone() {
    let first = NET.plan(5, &[tcp("0.0.0.0", 8080, 80), tcp("0.0.0.0", 8081, 80)]);
    start("c5", &first);
    apply::detach(&first.undo()).unwrap();
    let second = NET.plan(6, &[tcp("0.0.0.0", 8080, 80)]);
    start("c6", &second);
    let before = sh("nft list ruleset");
    apply::detach(&first.undo()).unwrap();
    assert_eq!(sh("nft list ruleset"), before);
    // The same address again, leased to somebody else.
    let mut heir = NET.plan(6, &[tcp("0.0.0.0", 8080, 80)]);
    heir.owner = "f".repeat(64).parse().unwrap();
    apply::detach(&heir.undo()).unwrap();
    assert_eq!(sh("nft list ruleset"), before);
}

fn what_a_dead_container_left_is_replaced() {
    lan();
    let ports: Vec<_> = (0..9).map(|n| tcp("0.0.0.0", 8080 + n, 80)).collect();
    start("c5", &NET.plan(5, &ports));
    // Its supervisor and its undo list are lost; the ports are claimed anew.
    start("c6", &NET.plan(6, &ports));
    serve_tcp("c6", "heir", "0.0.0.0", 80);
    assert_eq!(fetch("lan", HOST, 8080), format!("heir {PEER}"));
    assert_eq!(fetch("lan", HOST, 8088), format!("heir {PEER}"));
}

fn udp_flows_follow_the_published_port() {
    lan();
    serve_udp("host", "host", 5353);
    let client = inside("lan", || std::net::UdpSocket::bind(("0.0.0.0", 0)).unwrap());
    let here = std::net::UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    // Tracking begins with the first rule that needs it.
    start("c4", &NET.plan(4, &[]));
    assert_eq!(ask_on(&client, HOST, 5353), format!("host {PEER}"));
    assert_eq!(ask_on(&here, "127.0.0.1", 5353), "host 127.0.0.1");
    let plan = NET.plan(5, &[port(Protocol::Udp, "0.0.0.0", 5353, 53)]);
    start("c5", &plan);
    serve_udp("c5", "container", 53);
    assert_eq!(ask_on(&client, HOST, 5353), format!("container {PEER}"));
    assert_eq!(ask_on(&here, "127.0.0.1", 5353), "container 10.88.0.1");
    apply::detach(&plan.undo()).unwrap();
    assert_eq!(ask_on(&client, HOST, 5353), format!("host {PEER}"));
    assert_eq!(ask_on(&here, "127.0.0.1", 5353), "host 127.0.0.1");
}

fn every_protocol_and_family_has_its_element() {
    let net = Net { ipv6: true, ..NET };
    let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    let addresses = ["0.0.0.0", "::", "127.0.0.1", "fd77::1"];
    let ports: Vec<_> = addresses
        .iter()
        .flat_map(|a| protocols.iter().map(move |p| port(*p, a, 7000, 7001)))
        .collect();
    let plan = net.plan(5, &ports);
    start("c5", &plan);
    let listed = sh("nft list ruleset");
    for protocol in ["tcp", "udp", "sctp"] {
        for (key, target) in [
            (format!("{protocol} . 7000"), "10.88.0.5 . 7001"),
            (format!("{protocol} . 7000"), "fd88::5 . 7001"),
            (format!("127.0.0.1 . {protocol} . 7000"), "10.88.0.5 . 7001"),
            (format!("fd77::1 . {protocol} . 7000"), "fd88::5 . 7001"),
        ] {
            let line = format!("{key} comment \"{} web5\" : {target}", plan.owner.short());
            assert!(listed.contains(&line), "{line}\n{listed}");
        }
    }
}

fn a_thousand_ports_are_one_transaction() {
    lan();
    let ports: Vec<_> = (0..1000).map(|n| tcp("0.0.0.0", 20_000 + n, 80)).collect();
    let plan = NET.plan(5, &ports);
    start("c5", &plan);
    serve_tcp("c5", "web", "0.0.0.0", 80);
    assert_eq!(fetch("lan", HOST, 20_999), format!("web {PEER}"));
    apply::detach(&plan.undo()).unwrap();
    assert!(!sh("nft list map inet rcnt any4").contains("elements"));
}

fn many_attach_and_detach_at_once() {
    lan();
    let plans: Vec<_> =
        (2..26).map(|n| NET.plan(n, &[tcp("0.0.0.0", 8000 + u16::from(n), 80)])).collect();
    std::thread::scope(|scope| {
        for plan in &plans {
            scope.spawn(|| start(&plan.owner_name, plan));
        }
    });
    for plan in &plans {
        serve_tcp(&plan.owner_name, "web", "0.0.0.0", 80);
        assert_eq!(fetch("lan", HOST, plan.published[0].host_port), format!("web {PEER}"));
    }
    std::thread::scope(|scope| {
        for plan in &plans {
            scope.spawn(|| apply::detach(&plan.undo()).unwrap());
        }
    });
    assert!(!sh("nft list map inet rcnt any4").contains("elements"));
}

fn another_firewalls_drop_is_reported_and_not_overruled() {
    lan();
    start("c5", &NET.plan(5, &[tcp("0.0.0.0", 8080, 80)]));
    serve_tcp("c5", "web", "0.0.0.0", 80);
    let drops = || -> Vec<String> {
        neighbours::read("rcnt", &["rcnt0"]).unwrap().iter().map(ToString::to_string).collect()
    };
    assert_eq!(drops(), Vec::<String>::new());
    // As dockerd leaves it, through iptables-nft.
    sh("nft add table ip filter; nft add chain ip filter DOCKER-USER
        nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'
        nft 'add chain ip filter OUTPUT { type filter hook output priority 0; policy drop; }'
        nft add rule ip filter OUTPUT accept");
    assert_eq!(drops(), ["chain FORWARD of nftables table ip filter has policy drop"]);
    assert!(!reaches("lan", HOST, 8080));
    // The door that such a table leaves open.
    sh("nft add rule ip filter FORWARD oifname rcnt0 accept
        nft add rule ip filter FORWARD iifname 'rcnt*' counter accept");
    assert_eq!(drops(), Vec::<String>::new());
    assert_eq!(fetch("lan", HOST, 8080), format!("web {PEER}"));
}

fn refusals_carry_the_kernels_words() {
    let mut plan = NET.plan(5, &[]);
    plan.endpoint.host_interface = "longer-than-any-interface".into();
    sh("ip netns add c5");
    let netns = File::open("/run/netns/c5").unwrap();
    let error = apply::attach(&plan, netns.as_fd(), &ProcSys::open().unwrap()).unwrap_err();
    let line = rcnt_base::report::chain(&error);
    let wanted = "cannot connect longer-than-any-interface to bridge rcnt0: ";
    assert!(line.starts_with(wanted) && line.contains("failed policy validation"), "{line}");
}

fn the_ruleset_reads_as_it_should() {
    let net = Net { ipv6: true, ..NET };
    let ports = [
        tcp("0.0.0.0", 8080, 80),
        tcp("::", 8080, 80),
        tcp("127.0.0.1", 8443, 443),
        tcp("fd77::1", 8443, 443),
    ];
    start("c5", &net.plan(5, &ports));
    let listed = sh("nft list table inet rcnt");
    let wanted = include_str!("ruleset.nft");
    assert!(listed == wanted, "the ruleset is now:\n{listed}");
}

fn purge_leaves_nothing_of_the_instance() {
    sh("ip link set lo up; ip link add other type bridge");
    let before = host_dump();
    start("c5", &NET.plan(5, &[tcp("0.0.0.0", 8080, 80)]));
    start("d5", &Net { number: 1, ..NET }.plan(5, &[]));
    sh("ip -n c5 link del eth0; ip -n d5 link del eth0");
    let plan = NET.plan(5, &[]);
    for _ in 0..2 {
        apply::purge(&plan.table, &plan.wire.bridge().unwrap().alias).unwrap();
        assert_eq!(host_dump(), before);
    }
}
