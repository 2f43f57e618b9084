//! What users of other runtimes suffered from on the network, one test each, told by
//! packets: docs/pitfalls.md says which test is for what.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::time::{Duration, Instant};

use rcnt_tests::{Lan, Running, World, eventually};

/// Starts `probe serve tcp 80` as container `name` and waits until it serves.
#[track_caller]
fn serve(world: &World, name: &str, flags: &str) {
    world.ok(format!("run -d --name {name} {flags} probe"));
    eventually("the server is ready", || world.ok(["logs", name]).contains("ready"));
}

/// A container that waits.
#[track_caller]
fn wait(world: &World, name: &str, flags: &str) {
    world.ok(format!("run -d --name {name} {flags} busybox sleep 1000"));
}

/// Its address on a network: `IPAddress` or `GlobalIPv6Address`.
#[track_caller]
fn address(world: &World, name: &str, network: &str, field: &str) -> String {
    let pointer = format!("/NetworkSettings/Networks/{network}/{field}");
    world.inspect(name, &pointer).as_str().unwrap_or_default().to_owned()
}

/// Whether the LAN's machine gets an answer there within a second.
fn lan_reaches(world: &World, to: &str) -> bool {
    let (ip, port) = to.rsplit_once(':').unwrap();
    world.lan().sh(&format!("timeout 1 busybox nc {ip} {port} </dev/null")).code == 0
}

/// Runs a script of the host's in a container's network namespace.
fn inside(world: &World, name: &str, script: &str) -> rcnt_tests::Output {
    let pid = world.pid_of(name).to_string();
    world.job("nsenter", ["-t", &pid, "-n", "sh", "-c", script]).run()
}

/// A tcpdump that listens.
struct Wire(Running);

impl Wire {
    /// On an interface, for what passes this filter.
    #[track_caller]
    fn listen(
        mut job: impl FnMut(&str, Vec<String>) -> Running,
        interface: &str,
        filter: &str,
    ) -> Self {
        let args = ["-l", "-nn", "-e", "-i", interface, filter].map(str::to_owned).to_vec();
        let running = job("tcpdump", args);
        eventually("tcpdump listens", || running.stderr().contains("listening on"));
        Self(running)
    }

    /// On the LAN, with the peer's ears.
    #[track_caller]
    fn on_the_lan(world: &World, filter: &str) -> Self {
        let filter = format!("({filter}) or udp dst port 9");
        Self::listen(|program, args| world.lan().job(program, args).start(), "eth0", &filter)
    }

    /// On an interface of the host.
    #[track_caller]
    fn on_the_host(world: &World, interface: &str, filter: &str) -> Self {
        Self::listen(|program, args| world.job(program, args).start(), interface, filter)
    }

    /// What was heard until now. (What the host says to the discard port comes last.)
    #[track_caller]
    fn heard(self, world: &World) -> String {
        eventually("the wire is heard", || {
            let _ = world.udp(&format!("{}:9", Lan::V4), "mark");
            self.0.stdout().contains(".9: UDP")
        });
        let heard = self.0.stdout();
        heard.lines().filter(|line| !line.contains(".9: UDP")).collect::<Vec<_>>().join("\n")
    }
}

/// A router advertisement to everybody: a prefix and a default route
/// (RFC 4861, 4.2 and 4.6.2), from whatever interface is named.
const ADVERTISE: &str = "
import socket, struct, sys
def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
src = socket.inet_pton(socket.AF_INET6, 'fe80::bad')
dst = socket.inet_pton(socket.AF_INET6, 'ff02::1')
prefix = struct.pack('!BBBBIII', 3, 4, 64, 0xc0, 9000, 9000, 0)
prefix += socket.inet_pton(socket.AF_INET6, '2001:db8:bad::')
body = struct.pack('!BBHBBHII', 134, 0, 0, 64, 0, 9000, 0, 0) + prefix
pseudo = src + dst + struct.pack('!II', len(body), 58)
body = body[:2] + struct.pack('!H', checksum(pseudo + body)) + body[4:]
packet = struct.pack('!IHBB', 6 << 28, len(body), 58, 255) + src + dst + body
frame = bytes.fromhex('333300000001' + '020000000bad' + '86dd') + packet
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0x86dd))
for _ in range(3): s.send(frame)
";

#[test]
fn cve_2020_10749_router_advertisements_of_a_container_are_not_believed() {
    let world = World::new();
    world.ok("network create --ipv6 --subnet fd00:1::/64 -o bridge=br6 six");
    for (network, bridge) in [("bridge", "rcnt0"), ("six", "br6")] {
        for name in ["evil", "peer"] {
            wait(&world, &format!("{name}-{network}"), &format!("--network {network}"));
        }
        let (evil, peer) = (format!("evil-{network}"), format!("peer-{network}"));
        let state = || {
            let host = world.ok_sh("ip -6 -o addr | grep -v ' eth0 '; ip -6 route; true");
            // Timers count.
            let host = host.replace(|c: char| c.is_ascii_digit(), "");
            (host, inside(&world, &peer, "ip -6 -o addr; ip -6 route").text())
        };
        let before = state();
        let wire = Wire::on_the_host(&world, bridge, "icmp6 and ip6[40] == 134");
        let pid = world.pid_of(&evil).to_string();
        let advertise = ["-t", &pid, "-n", "python3", "-c", ADVERTISE, "eth0"];
        world.job("nsenter", advertise).run().success();
        wire.0.expect("router advertisement");
        assert_eq!(state(), before, "{network}");
        assert!(!world.ok_sh("ip -6 route").contains("bad"), "{network}");
    }
    // That it is one: who listens to routers believes it.
    world.job("python3", ["-c", ADVERTISE, "eth0"]).run().success();
    eventually("the LAN's machine has the prefix", || {
        world.lan().sh("ip -6 addr").stdout.contains("2001:db8:bad:")
    });
    world.ok("rm -f evil-six peer-six");
    world.ok("network rm six");
}

#[test]
fn cve_2024_32473_a_network_of_ipv4_says_nothing_in_ipv6() {
    let world = World::new();
    let lan = "--subnet 192.0.2.0/24 --ip-range 192.0.2.128/25 --gateway 192.0.2.20";
    world.ok(format!("network create -d macvlan {lan} -o parent=eth0 lan"));
    let mac = "02:00:00:00:00:77";
    let wire = Wire::on_the_lan(&world, &format!("ether src {mac}"));
    wait(&world, "on-lan", &format!("--network lan --mac-address {mac}"));
    world.rcnt("exec on-lan ping -c1 -W2 192.0.2.20").success();
    world.rcnt("exec on-lan ping -c1 -W1 ff02::1%eth0").exits_any();
    world.ok("run -d --name one busybox sleep 1000");
    let bridge = Wire::on_the_host(&world, "rcnt0", "ip6 or icmp");
    wait(&world, "two", "");
    let two = world.address_of("two");
    world.rcnt(["exec", "one", "ping", "-c1", "-W2", &two]).success();
    // As long as a router is solicited for, or an address is tried.
    std::thread::sleep(Duration::from_millis(1200));
    bridge.0.expect("ICMP echo reply");
    let heard = bridge.0.stdout();
    assert!(!heard.contains("IPv6"), "{heard}");
    let heard = wire.heard(&world);
    assert!(heard.contains("ICMP echo request") && !heard.contains("IPv6"), "{heard}");
    world.ok("rm -f on-lan one two");
    world.ok("network rm lan");
}

#[test]
fn cve_2024_29018_nothing_of_an_internal_network_is_on_the_wire() {
    let world = World::new();
    world.write_resolv_conf(&format!("nameserver {}\n", Lan::V4));
    world.ok("network create --internal --ipv6 --subnet fd00:1::/64 vault");
    wait(&world, "safe", "--network vault");
    // Neighbours are asked for, and answer, whoever sends.
    let quiet =
        "not arp and not ip6 multicast and not (icmp6 and ip6[40] >= 133) and not icmp[0] == 3";
    let wire = Wire::on_the_lan(&world, quiet);
    let gateway = address(&world, "safe", "vault", "IPAddress");
    let gateway = format!("{}.1", gateway.rsplit_once('.').unwrap().0);
    // It may be root inside and know where the way out would be.
    let escape = format!(
        "ip route add default via {gateway}; ip -6 route add default via fd00:1::1; \
         for how in '' +tcp; do dig $how +tries=1 +time=1 @127.0.0.11 secret.test; \
         dig $how +tries=1 +time=1 @192.0.2.20 secret.test & done; \
         dig +tries=1 +time=1 @2001:db8::20 secret.test & \
         busybox ping -c1 -W1 192.0.2.20; busybox ping -6 -c1 -W1 2001:db8::20; wait"
    );
    let tried = inside(&world, "safe", &escape);
    assert!(tried.stdout.contains("SERVFAIL"), "the resolver said no\n{tried}");
    assert_eq!(wire.heard(&world), "", "{tried}");
    world.ok("rm -f safe");
    world.ok("network rm vault");
}

/// What takes our rules away: a flush, our table, a chain, a firewall's start.
const VANDALS: [&str; 4] = [
    "nft flush ruleset",
    "nft delete table inet $T",
    "nft flush chain inet $T forward; nft flush chain inet $T fence",
    "printf 'flush ruleset\\ntable inet filter {\\nchain forward {\\n\
     type filter hook forward priority 0; policy accept;\\n}\\n}\\n' | nft -f -",
];

#[test]
fn cve_2025_54388_a_firewalls_reload_opens_nothing() {
    let world = World::with_servers();
    world.ok("network create one");
    world.ok("network create --internal inner");
    world.ok("network create -o icc=false apart");
    serve(&world, "web", "--network one -p 8080:80");
    serve(&world, "inner", "--network inner");
    serve(&world, "apart", "--network apart");
    serve(&world, "other", "--network apart");
    let own = [("web", "one"), ("inner", "inner"), ("apart", "apart")]
        .map(|(name, network)| format!("{}:80", address(&world, name, network, "IPAddress")));
    let table = world.ok_sh("nft list tables | grep -o 'rcnt.*'");
    let pids = ["web", "inner", "other"].map(|name| world.pid_of(name));
    for to in &own {
        let ip = to.split(':').next().unwrap();
        world.lan().sh(&format!("ip route add {ip} via {}", World::V4)).success();
    }
    // No command of ours runs from here on.
    let closed = || {
        let ways = own.each_ref().map(|to| to.replace(':', " "));
        // All at once: each of them waits in vain.
        let script = |who: &str, to: &str| {
            format!("({who} timeout 1 busybox nc {to} </dev/null && echo '{who} at {to}') & ")
        };
        let lan: String = ways.iter().map(|to| script("", to)).collect();
        let within: String = [(pids[2], &ways[2]), (pids[0], &ways[1]), (pids[1], &ways[0])]
            .map(|(pid, to)| script(&format!("nsenter -t {pid} -n"), to))
            .concat();
        let open = world.lan().sh(&format!("{lan} wait")).stdout;
        assert_eq!(open, "", "open to the LAN");
        assert_eq!(world.ok_sh(&format!("{within} wait")), "", "open to who is kept apart");
    };
    closed();
    // Whoever has just been started begins to watch when nobody waits for it.
    std::thread::sleep(Duration::from_millis(700));
    for vandal in VANDALS {
        world.ok_sh(&format!("T={table}; {vandal}"));
        let since = Instant::now();
        eventually("the published port is back", || {
            world.lan().tcp(&format!("{}:8080", World::V4), "").is_ok()
        });
        assert!(since.elapsed() < Duration::from_secs(3), "{vandal}: {:?}", since.elapsed());
        closed();
        world.rcnt("network check").success().prints("");
    }
    world.ok_sh("nft delete table inet filter");
    world.ok("rm -f web inner apart other");
    world.ok("network rm one inner apart");
}

#[test]
fn an_address_used_again_is_found_at_its_new_place_at_once() {
    let world = World::with_servers();
    let lan = "--subnet 192.0.2.0/24 --ip-range 192.0.2.128/25 --gateway 192.0.2.20";
    world.ok(format!("network create -d macvlan {lan} -o parent=eth0 lan"));
    world.ok("network create --subnet 10.5.0.0/24 near");
    wait(&world, "peer", "--network near");
    for (n, mac) in ["02:00:00:00:00:01", "02:00:00:00:00:02"].into_iter().enumerate() {
        let wire = Wire::on_the_lan(&world, "arp");
        serve(&world, "far", &format!("--network lan --ip 192.0.2.200 --mac-address {mac}"));
        serve(&world, "near", &format!("--network near --ip 10.5.0.9 --mac-address {mac}"));
        let known = inside(&world, "peer", "ip neigh show 10.5.0.9").text();
        assert!(n == 0 || known.contains(mac), "a neighbour has heard: {known}");
        // Whoever remembers the one before would lose a second, or half a minute.
        let since = Instant::now();
        world.lan().tcp("192.0.2.200:80", "").unwrap();
        inside(&world, "peer", "timeout 5 busybox nc 10.5.0.9 80").success();
        assert!(since.elapsed() < Duration::from_secs(4), "{n}: {:?}", since.elapsed());
        let heard = wire.heard(&world);
        let announced = heard.lines().any(|line| {
            line.contains(mac) && line.contains("192.0.2.200") && line.contains("ff:ff:ff:ff:ff:ff")
        });
        assert!(announced, "{n}: {heard}");
        world.ok("rm -f far near");
    }
    world.ok("rm -f peer");
    world.ok("network rm lan near");
}

#[test]
fn no_packet_is_larger_than_the_way_out_takes() {
    let world = World::with_servers();
    for space in [world.space(), world.lan().space()] {
        space.ip("link set eth0 mtu 1400\n");
    }
    world.ok("network create small");
    for network in ["bridge", "small"] {
        let mtu = format!("run --rm --network {network} busybox cat /sys/class/net/eth0/mtu");
        assert_eq!(world.ok(mtu), "1400", "{network}");
    }
    // A way that takes less than the default route: a VPN. What comes back must fit, too.
    world
        .lan()
        .sh("ip addr add 198.51.100.1/32 dev lo; ip -6 addr add 2001:db8:1::1/128 dev lo nodad")
        .success();
    world.ok_sh(&format!(
        "ip route add 198.51.100.1 via {} mtu 1300; ip -6 route add 2001:db8:1::1 via {} mtu 1300",
        Lan::V4,
        Lan::V6
    ));
    world.ok("network create --ipv6 --subnet fd00:1::/64 dual");
    let wire = Wire::on_the_lan(&world, "tcp dst port 99");
    for to in ["198.51.100.1", "2001:db8:1::1", "192.0.2.20"] {
        let call = format!("timeout 2 nc {to} 99 </dev/null");
        world.rcnt(["run", "--rm", "--network", "dual", "busybox", "sh", "-c", &call]);
    }
    let heard = wire.heard(&world);
    for (to, segment) in [("198.51.100.1", 1260), ("2001:db8:1::1", 1240), ("192.0.2.20", 1360)] {
        let call = heard.lines().find(|line| line.contains(&format!("> {to}.99: Flags [S]")));
        assert!(call.is_some_and(|l| l.contains(&format!("mss {segment},"))), "{to}\n{heard}");
    }
    world.ok("network rm small dual");
}

#[test]
fn a_container_reaches_the_host_by_host_gateway() {
    let world = World::with_servers();
    let server = "import socket\ns = socket.create_server(('0.0.0.0', 7000))\n\
                  while True:\n c = s.accept()[0]; c.send(b'the host'); c.close()";
    world.helper("python3", ["-c", server]);
    eventually("it listens", || world.tcp("127.0.0.1:7000", "").is_ok());
    world.rebase();
    world.ok("network create front");
    for network in ["bridge", "front"] {
        let ask = "timeout 5 nc host.docker.internal 7000";
        let flags = format!("--network {network} --add-host host.docker.internal:host-gateway");
        let answer = world.ok(format!("run --rm {flags} busybox sh -c '{ask}'"));
        assert_eq!(answer, "the host", "{network}");
    }
    world.ok("network rm front");
}

#[test]
fn a_bridge_that_is_full_says_so() {
    let world = World::new();
    world.ok("network create -o bridge=full0 full");
    // BR_MAX_PORTS (net/bridge/br_private.h): 1024, and port 0 is none.
    let pairs = (0..512).map(|n| format!("link add a{n} type veth peer name b{n}\n"));
    let plug = |end: char, count: usize| {
        (0..count).map(move |n| format!("link set {end}{n} master full0\n"))
    };
    let batch: String = pairs.chain(plug('a', 512)).chain(plug('b', 511)).collect();
    world.space().ip(&batch);
    world.rebase();
    let since = Instant::now();
    world
        .rcnt("run --rm --network full busybox true")
        .fails(125, &["full0", "1023", "another network"]);
    assert!(since.elapsed() < Duration::from_secs(5));
    world.ok("network rm full");
}

#[test]
fn udev_finds_no_address_to_change() {
    let world = World::new();
    wait(&world, "web", "");
    // NET_ADDR_SET (linux/netdevice.h): systemd's .link files leave such ones alone.
    let kinds =
        "cd /sys/class/net; for i in rcnt0 veth*; do echo $i $(cat $i/addr_assign_type); done";
    let told = world.ok_sh(kinds);
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(told.lines().all(|line| line.ends_with(" 3")), "{told}");
    let kind = inside(
        &world,
        "web",
        "unshare -m sh -c 'mount -t sysfs none /sys && cat /sys/class/net/eth0/addr_assign_type'",
    );
    assert_eq!(kind.text().trim(), "3");
    // The bridge keeps its address, whoever comes and goes.
    let mac = || world.ok_sh("cat /sys/class/net/rcnt0/address");
    let before = mac();
    wait(&world, "more", "");
    world.ok("rm -f web");
    assert_eq!(mac(), before);
}

#[test]
fn datagrams_are_answered_from_where_they_were_sent_to() {
    let world = World::with_servers();
    for (name, prefix) in [("one", 1), ("two", 2)] {
        world.ok(format!("network create --ipv6 --subnet fd00:{prefix}::/64 {name}"));
    }
    let serve = "probe serve udp 53";
    world.ok(format!("run -d --name dns --network one -p 5300:53/udp probe {serve}"));
    eventually("it is ready", || world.ok("logs dns").contains("ready"));
    wait(&world, "idle", "");
    for (name, network) in [("peer", "one"), ("other", "two")] {
        world.ok(format!("run -d --name {name} --network {network} probe sleep 1000"));
    }
    world.ok_sh("ip addr add 192.0.2.11/24 dev eth0; ip addr add 2001:db8::11/64 dev eth0 nodad");
    // `probe` connects its socket, as resolvers do: an answer from elsewhere is none.
    let host = ["192.0.2.10", "192.0.2.11", "[2001:db8::10]", "[2001:db8::11]"];
    for to in host.map(|ip| format!("{ip}:5300")) {
        for from in ["dns", "peer", "other"] {
            let answer = world.rcnt(["exec", from, "probe", "ask", "udp", &to]);
            assert_eq!(answer.code, 0, "{from} at {to}\n{answer}");
        }
        world.udp(&to, "ping").unwrap_or_else(|e| panic!("the host at {to}: {e}"));
        let answer =
            world.lan().udp(&to, "ping").unwrap_or_else(|e| panic!("the LAN at {to}: {e}"));
        let lan = if to.starts_with('[') { Lan::V6 } else { Lan::V4 };
        assert_eq!(answer, format!("ping from {lan}"), "{to}");
    }
    for to in ["127.0.0.1:5300", "[::1]:5300"] {
        world.udp(to, "ping").unwrap_or_else(|e| panic!("{to}: {e}"));
    }
    world.ok("rm -f dns peer other idle");
    world.ok("network rm one two");
}

#[test]
fn a_connection_to_the_resolver_outlives_changes_of_networks() {
    let world = World::new();
    world.ok("network create front");
    world.ok("network create back");
    wait(&world, "web", "--network front");
    wait(&world, "db", "--network back");
    let pid = world.pid_of("web").to_string();
    // One TCP connection: a name per line, its first address or "none".
    let ask = "import socket, struct, sys
s = socket.create_connection(('127.0.0.11', 53), 5); s.settimeout(5)
def exactly(n):
    b = b''
    while len(b) < n: b += s.recv(n - len(b))
    return b
for line in sys.stdin:
    q = struct.pack('!HHHHHH', 7, 0x100, 1, 0, 0, 0)
    q += b''.join(bytes([len(p)]) + p.encode() for p in line.strip().split('.')) + bytes([0, 0, 1, 0, 1])
    s.sendall(struct.pack('!H', len(q)) + q)
    a = exactly(struct.unpack('!H', exactly(2))[0])
    print(socket.inet_ntoa(a[-4:]) if struct.unpack('!H', a[6:8])[0] else 'none', flush=True)";
    let mut talk = world.job("nsenter", ["-t", &pid, "-n", "python3", "-c", ask]).start();
    talk.send("web\n");
    talk.expect(&address(&world, "web", "front", "IPAddress"));
    world.ok("network connect back web");
    talk.send("db\n");
    talk.expect(&world.address_of("db"));
    world.ok("network disconnect back web");
    talk.send("db.back\n");
    talk.expect("none");
    drop(talk);
    world.ok("rm -f web db");
    world.ok("network rm front back");
}

#[test]
fn names_that_begin_alike_are_not_taken_for_each_other() {
    let world = World::with_servers();
    for name in ["db", "db2"] {
        world.ok(format!("run -d --name {name} web"));
    }
    world.ok("run -d --name app --link db2 --link db busybox sleep 1000");
    let mine = "echo '10.1.1.1 db.mine mydb' >>/etc/hosts";
    world.ok(["exec", "app", "sh", "-c", mine]);
    let other = world.address_of("db2");
    world.ok("stop -t 0 db");
    wait(&world, "squatter", "");
    world.ok("start db");
    let hosts = world.ok("exec app cat /etc/hosts");
    let of = |name: &str| {
        let line = hosts.lines().find(|l| l.split_whitespace().nth(1) == Some(name));
        line.and_then(|l| l.split_whitespace().next()).unwrap_or_default().to_owned()
    };
    assert_eq!((of("db"), of("db2")), (world.address_of("db"), other), "{hosts}");
    assert!(hosts.contains("10.1.1.1 db.mine mydb"), "{hosts}");
    // The same in the resolver.
    world.ok("network create front");
    for name in ["api", "api2"] {
        wait(&world, name, "--network front --dns-search .");
    }
    world.ok("rm -f api");
    let gone =
        inside(&world, "api2", "dig @127.0.0.11 +short +tries=1 api; dig @127.0.0.11 +short api2");
    assert_eq!(gone.text().trim(), world.address_of("api2"));
    world.ok("rm -f api2");
    world.ok("network rm front");
}

#[test]
fn an_administrators_chain_sees_the_port_that_was_asked_for() {
    let world = World::with_servers();
    serve(&world, "web", "-p 8080:80 -p 8081:80");
    // docs/networks.md: before the translation, and after it.
    let before = "nft 'add table inet admin; add chain inet admin early \
        { type filter hook prerouting priority -150; }; \
        add rule inet admin early ip saddr 192.0.2.20 tcp dport 8080 drop'";
    let after = "nft 'add table inet admin; add chain inet admin late \
        { type filter hook forward priority -1; }; \
        add rule inet admin late ip saddr 192.0.2.20 meta l4proto tcp ct original proto-dst 8080 drop'";
    let answers = |port: u16| lan_reaches(&world, &format!("{}:{port}", World::V4));
    for rule in [before, after] {
        assert!(answers(8080) && answers(8081));
        world.ok_sh(rule);
        assert!(!answers(8080) && answers(8081), "{rule}");
        // Neither a start nor a repair is in its way.
        world.ok("run --rm -p 8082:80 busybox true");
        world.rcnt("network check --repair").success();
        assert!(!answers(8080) && answers(8081), "{rule}");
        world.ok_sh("nft delete table inet admin");
    }
}

#[test]
fn a_vpn_that_comes_later_is_told_of() {
    let world = World::new();
    world.ok("network create --subnet 10.5.0.0/24 front");
    wait(&world, "web", "--network front");
    world.rcnt("network check").success().prints("");
    world.ok_sh("ip route add 10.5.0.128/25 via 192.0.2.20");
    world.rcnt("network check").exits(1).has("network front").has("10.5.0.128/25");
    world.ok_sh("ip route del 10.5.0.128/25");
    world.ok("rm -f web");
    world.ok("network rm front");
}

#[test]
fn ghsa_w2j5_the_hosts_network_settings_are_not_the_containers() {
    let world = World::new();
    let before = world.read("/proc/sys/net/ipv4/ip_local_port_range");
    for mode in ["host", "container:holder"] {
        if mode != "host" {
            wait(&world, "holder", "");
        }
        let flags = format!("--network {mode} --sysctl net.ipv4.ip_local_port_range=1-9");
        let refused = world.rcnt(format!("run --rm {flags} busybox true"));
        assert!(refused.code != 0 && refused.stderr.contains("net.ipv4"), "{mode}\n{refused}");
    }
    assert_eq!(world.read("/proc/sys/net/ipv4/ip_local_port_range"), before);
    let own = "run --rm --sysctl net.ipv4.ip_unprivileged_port_start=99 busybox \
               cat /proc/sys/net/ipv4/ip_unprivileged_port_start";
    assert_eq!(world.ok(own), "99");
}

#[test]
fn cve_2021_20206_no_name_of_a_network_is_a_path() {
    let world = World::new();
    let tree = || world.ok_sh("find /srv -newer /srv/mark -path '*evil*'");
    world.write("/srv/mark", "");
    for bad in ["../evil", "a/evil", "..", ".", "-evil", "evil\n", "evil;x", "é-evil"] {
        world.rcnt(["network", "create", "--", bad]).exits(1);
        world.rcnt(["run", "--rm", "--name", bad, "busybox", "true"]).exits(125);
    }
    for option in ["bridge=../evil", "bridge=a/b", "bridge=.", "interface-prefix=../evil"] {
        world.rcnt(["network", "create", "-o", option, "evilnet"]).exits(1);
    }
    for parent in ["../evil", "a/b", "."] {
        let parent = format!("parent={parent}");
        world.rcnt(["network", "create", "-d", "macvlan", "-o", &parent, "evilnet"]).exits(1);
    }
    for path in ["../evil", "/etc/evil", "a/../b"] {
        world.rcnt(["network", "rm", path]).exits(1);
        world.rcnt(["network", "inspect", path]).exits(1);
        world.rcnt(["network", "connect", path, "nobody"]).exits(1);
    }
    assert_eq!(tree(), "");
    assert_eq!(world.ok("network ls -q -f type=custom"), "");
}
