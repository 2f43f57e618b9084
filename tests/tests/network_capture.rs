//! The filters of `rcnt capture`, compiled by us and run by the kernel, against
//! tcpdump's on the same packets.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use rcnt_tests::{Running, World, eventually};
use rustix::process::Signal;

/// Filters that mean the same to tcpdump. (It looks at bytes of TCP and UDP over IPv4
/// only, and for tags shifts everything that is said after them.)
const FILTERS: [&str; 32] = [
    "tcp",
    "not tcp",
    "arp or icmp6",
    "ip6 and not icmp6",
    "tcp dst port 80 or udp",
    "src net 10.0.0.0/8 and icmp",
    "portrange 50-90",
    "host 192.0.2.20",
    "ether host 02:42:00:00:00:07",
    "ether src 02:42:00:00:00:07",
    "ether dst 02:42:00:00:00:07 and not arp",
    "ether[0] & 1 = 1",
    "ether[6:4] == 0x02420000",
    "ip and ether[12:2] = 0x0800",
    "vlan",
    "vlan 50",
    "vlan 51",
    "not vlan",
    "ip[8] > 60",
    "ip[6:2] & 0x1fff = 0",
    "ip[9] != 6",
    "ip[16:4] = 0xc0000214",
    "arp[6:2] = 1",
    "icmp[icmptype] = icmp-echo",
    "icmp[icmptype] != icmp-echo and icmp",
    "ip and tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "ip and tcp[13] = 2",
    "ip and tcp[2:2] <= 80",
    "ip and udp[4:2] >= 9",
    "not (ip and tcp[tcpflags] & tcp-ack != 0)",
    "len > 90",
    "less 60 or greater 100",
];

#[track_caller]
fn capture(world: &World, file: &str, filter: &str) -> Running {
    let mut words = vec!["capture", "-i", "eth0", "-w", file, "web"];
    words.extend((!filter.is_empty()).then_some(filter));
    world.start(words.as_slice())
}

/// The packets of a file that tcpdump's filter lets pass, a line each and each once; not
/// what the kernel tells multicast groups whenever it likes.
#[track_caller]
fn tcpdump(world: &World, file: &str, filter: &str) -> BTreeSet<String> {
    let text = world.ok_sh(&format!("tcpdump -nn -t -e -S -r {file} '{filter}' 2>/srv/tmp/said"));
    let told = |line: &&str| !line.contains("> 33:33:") && !line.contains("> 01:00:5e:");
    text.lines().filter(told).map(str::to_owned).collect()
}

#[test]
fn filters_find_what_tcpdump_finds() {
    let world = World::with_servers();
    world.ok("network create --ipv6 --subnet fd00:7::/64 six");
    world.ok("run -d --name web --network six --mac-address 02:42:00:00:00:07 probe");
    eventually("the server is ready", || world.ok(["logs", "web"]).contains("ready"));
    let all = capture(&world, "/srv/tmp/all.pcap", "");
    let file = |n: usize| format!("/srv/tmp/{n}.pcap");
    let some: Vec<Running> =
        FILTERS.iter().enumerate().map(|(n, filter)| capture(&world, &file(n), filter)).collect();
    for running in some.iter().chain([&all]) {
        eventually("the capture begins", || running.stderr().contains("; stop with Ctrl-C"));
    }
    let field = |name: &str| {
        let value = world.inspect("web", &format!("/NetworkSettings/Networks/six/{name}"));
        value.as_str().unwrap().to_owned()
    };
    let (v4, v6) = (field("IPAddress"), field("GlobalIPv6Address"));
    world.tcp(&format!("{v4}:80"), "").unwrap();
    world.tcp(&format!("[{v6}]:80"), "").unwrap();
    world.sh(&format!("busybox ping -c1 -W1 {v4}; busybox ping -c1 -W1 {v6}")).success();
    world.rcnt("exec web ping -c1 -W1 192.0.2.20").success();
    // Tagged, out and in: the kernel takes tags out of frames that come in.
    let tagged = "import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('NAME', 0))
s.send(bytes.fromhex('ffffffffffff02420000000881000032 88b5') + bytes(60))";
    let port = world
        .ok_sh("ip -o link show type veth | sed -n '/master br-/s/^[0-9]*: \\([^@]*\\)@.*/\\1/p'");
    world.job("python3", ["-c", &tagged.replace("NAME", &port)]).run().success();
    let pid = world.pid_of("web").to_string();
    let datagram = "
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'hello', ('192.0.2.20', 9999))";
    let tagged = format!("{}{datagram}", tagged.replace("NAME", "eth0"));
    world.job("nsenter", ["-t", &pid, "-n", "python3", "-c", &tagged]).run().success();
    let stopped = |running: Running| {
        running.signal(Signal::INT);
        running.wait(Duration::from_secs(5)).success();
    };
    stopped(all);
    some.into_iter().for_each(stopped);
    let whole = tcpdump(&world, "/srv/tmp/all.pcap", "");
    for wanted in ["802.1Q", "ICMP6", "ARP", "UDP, length 5", "Flags [S]"] {
        assert!(whole.iter().any(|line| line.contains(wanted)), "{wanted}: {whole:#?}");
    }
    for (n, filter) in FILTERS.iter().enumerate() {
        let theirs = tcpdump(&world, "/srv/tmp/all.pcap", filter);
        let mut ours = tcpdump(&world, &file(n), "");
        // What came when the first capture had ended.
        ours.retain(|line| whole.contains(line));
        let differ: Vec<_> = ours.symmetric_difference(&theirs).collect();
        assert!(differ.is_empty(), "{filter}: {differ:#?}");
        let meant = !matches!(*filter, "vlan 51" | "src net 10.0.0.0/8 and icmp");
        assert!(!meant || !theirs.is_empty(), "{filter} finds nothing: {whole:#?}");
    }
    world.ok("rm -f web");
}
