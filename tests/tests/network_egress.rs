//! `--egress-allow`: what passes and what does not, told by connections and packets.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use rcnt_tests::{Lan, Running, World, eventually};

/// Answers at tcp and udp 97 and 98, of both families.
const SERVER: &str = "
import select, socket
tcp, udp = [], []
for family in (socket.AF_INET, socket.AF_INET6):
    for port in (97, 98):
        for kind, all in ((socket.SOCK_STREAM, tcp), (socket.SOCK_DGRAM, udp)):
            s = socket.socket(family, kind)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            s.bind(('::' if family == socket.AF_INET6 else '0.0.0.0', port))
            if kind == socket.SOCK_STREAM: s.listen()
            all.append(s)
print('ready', flush=True)
while True:
    for s in select.select(tcp + udp, [], [])[0]:
        if s in tcp:
            c = s.accept()[0]
            c.sendall(b'hello')
            c.close()
        else:
            s.sendto(b'hello', s.recvfrom(99)[1])
";

/// Asks: protocol, address, port, source or nothing; prints how it ended.
const CLIENT: &str = "
import errno, socket, sys
protocol, address, port, source = sys.argv[1:5]
family = socket.AF_INET6 if ':' in address else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM if protocol == 'tcp' else socket.SOCK_DGRAM)
s.settimeout(1)
try:
    if source: s.bind((source, 0))
    s.connect((address, int(port)))
    if protocol == 'udp': s.send(b'?')
    print(s.recv(99).decode())
except socket.timeout: print('silence')
except OSError as e: print(errno.errorcode[e.errno])
";

#[track_caller]
fn serve_on_the_lan(world: &World) -> Running {
    let server = world.lan().job("python3", ["-c", SERVER]).start();
    server.expect("ready");
    server
}

/// How asking goes from inside: `tcp 192.0.2.20 97`.
#[track_caller]
fn ask(world: &World, container: &str, what: &str) -> String {
    ask_from(world, container, what, "")
}

#[track_caller]
fn ask_from(world: &World, container: &str, what: &str, source: &str) -> String {
    let pid = world.pid_of(container).to_string();
    let mut args = ["-t", &pid, "-n", "python3", "-c", CLIENT].map(str::to_owned).to_vec();
    args.extend(what.split(" ").map(str::to_owned));
    args.push(source.to_owned());
    world.job("nsenter", args).run().success().text()
}

#[track_caller]
fn wait(world: &World, name: &str, flags: &str) {
    world.ok(format!("run -d --name {name} {flags} busybox sleep 1000"));
}

fn table(world: &World) -> String {
    let text = world.ok_sh("nft list tables");
    let ours = |line: &&str| line.starts_with("table inet rcnt");
    text.lines().find(ours).and_then(|line| line.split(' ').nth(2)).unwrap().to_owned()
}

/// What the table says of learned names.
fn learned(world: &World) -> String {
    let table = table(world);
    let sets = ["named4", "named6", "hosts4", "hosts6"];
    sets.map(|set| world.ok_sh(&format!("nft list set inet {table} {set}"))).concat()
}

#[test]
fn only_what_is_listed_can_be_reached() {
    let world = World::new();
    let _server = serve_on_the_lan(&world);
    wait(
        &world,
        "some",
        "--egress-allow 192.0.2.20:97,192.0.2.20:98/udp --egress-allow 198.51.100.0/24",
    );
    wait(&world, "free", "");
    assert_eq!(ask(&world, "some", "tcp 192.0.2.20 97"), "hello");
    assert_eq!(ask(&world, "some", "udp 192.0.2.20 98"), "hello");
    // At once, not after a minute's silence.
    assert_eq!(ask(&world, "some", "tcp 192.0.2.20 98"), "ECONNREFUSED");
    assert_eq!(ask(&world, "some", "udp 192.0.2.20 97"), "EHOSTUNREACH");
    world.rcnt("exec some ping -c1 -W1 192.0.2.20").exits_any().has("100% packet loss");
    for what in ["tcp 192.0.2.20 97", "tcp 192.0.2.20 98", "udp 192.0.2.20 97"] {
        assert_eq!(ask(&world, "free", what), "hello");
    }
    // Every protocol of what is listed without a port; nobody is there, but it leaves.
    let peer = "tcpdump -c1 -lni eth0 'icmp and dst net 198.51.100.0/24'";
    let heard = world.lan().job("sh", ["-c", peer]).start();
    eventually("tcpdump listens", || heard.stderr().contains("listening on eth0"));
    world.rcnt("exec some ping -c1 -W1 198.51.100.7").exits_any();
    heard.expect("198.51.100.7: ICMP echo request");
    let told = world.inspect("some", "/HostConfig/EgressAllow");
    assert_eq!(told.as_array().unwrap().len(), 3);
    assert_eq!(told[1], "192.0.2.20:98/udp");
    assert!(world.inspect("free", "/HostConfig/EgressAllow").is_null());
    // It is the container's, not this run's.
    world.ok("restart -t 0 some");
    assert_eq!(ask(&world, "some", "tcp 192.0.2.20 97"), "hello");
    assert_eq!(ask(&world, "some", "tcp 192.0.2.20 98"), "ECONNREFUSED");
    let sets = world.ok_sh("nft list ruleset");
    assert!(sets.contains("egress4") && sets.contains("some"), "{sets}");
    world.ok("rm -f some");
    let rest = world.ok_sh("nft list ruleset");
    assert!(!rest.contains("some\""), "{rest}");
    world.ok("rm -f free");
    world.nothing_is_left();
}

#[test]
fn the_host_and_what_others_publish_count_as_addressed() {
    let world = World::with_servers();
    let host = world.job("python3", ["-c", SERVER]).start();
    host.expect("ready");
    world.ok("network create front");
    world.ok("run -d --name web -p 8080:80 web");
    world.ok("run -d --name shop --network front -p 8081:80 --egress-allow none web");
    wait(&world, "one", "--network front --egress-allow 192.0.2.10:8080");
    let gateway = world.inspect("one", "/NetworkSettings/Networks/front/Gateway");
    let gateway = gateway.as_str().unwrap();
    // The host's own services.
    for what in [format!("tcp {gateway} 97"), "tcp 192.0.2.10 97".into()] {
        assert_eq!(ask(&world, "one", &what), "ECONNREFUSED", "{what}");
    }
    assert_eq!(ask(&world, "one", &format!("udp {gateway} 97")), "EHOSTUNREACH");
    // A published port is what it is addressed as, whatever is behind it.
    let page = |container: &str, to: &str| {
        let pid = world.pid_of(container);
        let fetch = format!("nsenter -t {pid} -n curl -s -m 3 -o /dev/null http://{to}/");
        world.ok_sh(&format!("{fetch} && echo page || echo none")) == "page"
    };
    assert!(page("one", "192.0.2.10:8080"));
    assert!(!page("one", &format!("{}:80", world.address_of("web"))));
    assert!(!page("one", "192.0.2.10:8081"));
    // Neighbours are no egress.
    assert!(page("one", &format!("{}:80", world.address_of("shop"))));
    // Whoever is allowed nothing answers all the same.
    world.page("127.0.0.1:8081");
    world.lan().page("192.0.2.10:8081");
    let nothing = format!("{}:80", world.address_of("web"));
    assert!(!page("shop", &nothing));
    world.ok("rm -f web shop one");
}

#[test]
fn nobody_gets_around_it_by_another_address() {
    let world = World::new();
    let _server = serve_on_the_lan(&world);
    wait(&world, "sly", "--cap-add NET_ADMIN --egress-allow 192.0.2.20:97");
    wait(&world, "free", "--cap-add NET_ADMIN");
    let other = |container: &str, last: u8| {
        let own = world.address_of(container);
        let other = format!("{}.{last}", own.rsplit_once('.').unwrap().0);
        world.ok(format!("exec {container} ip addr add {other}/32 dev eth0"));
        ask_from(&world, container, "tcp 192.0.2.20 97", &other)
    };
    assert_eq!(other("free", 251), "hello");
    assert_eq!(other("sly", 250), "silence", "not even what its own address may reach");
    assert_eq!(ask(&world, "sly", "tcp 192.0.2.20 97"), "hello");
}

#[test]
fn both_families_and_every_network_are_confined() {
    let world = World::new();
    let _server = serve_on_the_lan(&world);
    world.ok("network create --ipv6 --subnet fd00:7::/64 dual");
    world.ok("network create more");
    wait(&world, "some", "--network dual --egress-allow [2001:db8::20]:97");
    assert_eq!(ask(&world, "some", "tcp 2001:db8::20 97"), "hello");
    assert_eq!(ask(&world, "some", "tcp 2001:db8::20 98"), "ECONNREFUSED");
    assert_eq!(ask(&world, "some", "udp 2001:db8::20 97"), "EACCES");
    assert_eq!(ask(&world, "some", "tcp 192.0.2.20 97"), "ECONNREFUSED", "of IPv4 nothing");
    assert_eq!(ask(&world, "some", "udp 2001:db8::10 97"), "EACCES", "the host");
    world.ok("network connect more some");
    let second = world.inspect("some", "/NetworkSettings/Networks/more/IPAddress");
    let second = second.as_str().unwrap().to_owned();
    let gateway = world.inspect("some", "/NetworkSettings/Networks/more/Gateway");
    let host = format!("udp {} 97", gateway.as_str().unwrap());
    assert_eq!(ask_from(&world, "some", &host, &second), "EHOSTUNREACH");
    let elements = || world.ok_sh("nft list ruleset").matches(&format!("{second} ")).count();
    assert_ne!(elements(), 0);
    world.ok("network disconnect more some");
    assert_eq!(elements(), 0);
    world.ok("rm -f some");
    world.nothing_is_left();
}

#[test]
fn a_bridge_whose_containers_do_not_talk_has_lists_too() {
    let world = World::new();
    let _server = serve_on_the_lan(&world);
    world.ok("network create -o icc=false closed");
    wait(&world, "one", "--network closed --egress-allow 192.0.2.20:97");
    wait(&world, "two", "--network closed");
    assert_eq!(ask(&world, "one", "tcp 192.0.2.20 97"), "hello");
    assert_eq!(ask(&world, "one", "tcp 192.0.2.20 98"), "ECONNREFUSED");
    // The list lets neighbours be; the bridge does not.
    let two = world.address_of("two");
    assert_eq!(ask(&world, "one", &format!("tcp {two} 97")), "silence");
}

/// A name server on the LAN; `example.test` and all below is the LAN's peer.
#[track_caller]
fn name_server(world: &World) -> Running {
    let args = format!(
        "--keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --bind-interfaces \
         --port=53 --user=root --pid-file= --log-queries --log-facility=- --listen-address={} \
         --host-record=www.example.test,{},{},30 --cname=alias.example.test,www.example.test \
         --address=/other.test/{}",
        Lan::V4,
        Lan::V4,
        Lan::V6,
        Lan::V4
    );
    let server = world
        .lan()
        .job("dnsmasq", args.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .start();
    eventually("the name server listens", || server.stderr().contains("started, version"));
    world.write_resolv_conf(&format!("nameserver {}\n", Lan::V4));
    server
}

#[track_caller]
fn lookup(world: &World, container: &str, name: &str) -> String {
    let pid = world.pid_of(container);
    world.ok_sh(&format!("nsenter -t {pid} -n dig @127.0.0.11 +short +tries=1 +time=3 {name}"))
}

#[test]
fn names_are_learned_from_the_resolvers_answers() {
    let world = World::new();
    let _server = serve_on_the_lan(&world);
    let names = name_server(&world);
    world.ok("network create front");
    for (name, network) in [("one", "bridge"), ("two", "front")] {
        let list = "--egress-allow alias.example.test:97 --egress-allow *.example.test:98/udp";
        wait(&world, name, &format!("--network {network} {list}"));
        assert!(world.ok(format!("exec {name} cat /etc/resolv.conf")).contains("127.0.0.11"));
        // Unasked, it is not known.
        assert_eq!(ask(&world, name, "tcp 192.0.2.20 97"), "ECONNREFUSED");
        assert!(lookup(&world, name, "Alias.example.test").contains(Lan::V4));
        assert_eq!(ask(&world, name, "tcp 192.0.2.20 97"), "hello");
        assert_eq!(ask(&world, name, "udp 192.0.2.20 98"), "hello");
        assert_eq!(ask(&world, name, "tcp 192.0.2.20 98"), "ECONNREFUSED");
        // A name that is not listed is nobody's to hear, nor a server to be asked.
        assert_eq!(lookup(&world, name, "other.test"), "");
        assert_eq!(ask(&world, name, "udp 192.0.2.20 53"), "EHOSTUNREACH");
    }
    assert!(!names.stderr().contains("other.test"), "{}", names.stderr());
    // Its time runs out, unless it is asked again.
    let table = table(&world);
    let flush = || drop(world.ok_sh(&format!("nft flush set inet {table} named4")));
    assert!(learned(&world).contains("expires 6m") || learned(&world).contains("expires 5m5"));
    // A watch over the rules that begins just now gives back what it misses.
    eventually("it is over", || {
        flush();
        ask(&world, "one", "tcp 192.0.2.20 97") == "ECONNREFUSED"
    });
    eventually("it is learned again", || {
        lookup(&world, "one", "alias.example.test");
        ask(&world, "one", "tcp 192.0.2.20 97") == "hello"
    });
    world.ok("rm -f one two");
    assert!(!learned(&world).contains("expires"), "{}", learned(&world));
    world.nothing_is_left();
}

#[test]
fn names_without_ports_and_names_from_add_host() {
    let world = World::new();
    let _server = serve_on_the_lan(&world);
    let _names = name_server(&world);
    world.ok("network create --ipv6 --subnet fd00:7::/64 dual");
    wait(&world, "some", "--network dual --egress-allow www.example.test");
    assert_eq!(lookup(&world, "some", "www.example.test AAAA"), Lan::V6);
    assert_eq!(ask(&world, "some", "udp 2001:db8::20 98"), "hello");
    assert_eq!(ask(&world, "some", "tcp 192.0.2.20 98"), "ECONNREFUSED");
    lookup(&world, "some", "www.example.test");
    assert_eq!(ask(&world, "some", "tcp 192.0.2.20 98"), "hello");
    wait(&world, "told", "--add-host peer:192.0.2.20 --egress-allow peer:98");
    assert_eq!(ask(&world, "told", "tcp 192.0.2.20 98"), "hello");
    assert_eq!(ask(&world, "told", "tcp 192.0.2.20 97"), "ECONNREFUSED");
    let host = world.job("python3", ["-c", SERVER]).start();
    host.expect("ready");
    wait(&world, "near", "--add-host up:host-gateway --egress-allow up:98/udp");
    let gateway = world.inspect("near", "/NetworkSettings/Gateway");
    let gateway = gateway.as_str().unwrap();
    assert_eq!(ask(&world, "near", &format!("udp {gateway} 98")), "hello");
    assert_eq!(ask(&world, "near", &format!("udp {gateway} 97")), "EHOSTUNREACH");
}

#[test]
fn what_is_lost_is_found_and_comes_back() {
    let world = World::new();
    let _server = serve_on_the_lan(&world);
    wait(&world, "some", "--egress-allow 192.0.2.20:97");
    let table = table(&world);
    world.rcnt("network check").success().prints("");
    // What a supervisor mends by itself would be mended before it is found.
    let supervisor = world.ok_sh(&format!("ps -o ppid= -p {}", world.pid_of("some")));
    world.ok_sh(&format!("kill -STOP {supervisor}"));
    let veth = world.ok_sh("ls /sys/class/net | grep ^veth");
    for (breakage, words) in [
        ("nft flush ruleset".to_owned(), "the egress lists' rules"),
        (format!("nft flush chain inet {table} listed"), "the egress lists' rules"),
        (format!("nft add rule inet {table} listed accept"), "chain listed of nftables"),
        (format!("nft flush set inet {table} confined4"), "element of set confined4"),
        (format!("nft flush set inet {table} egress4"), "element of set egress4"),
        (format!("nft delete chain inet {table} {veth}"), "its own addresses"),
    ] {
        world.ok_sh(&breakage);
        world.rcnt("network check").exits(1).has(words);
        world.rcnt("network check --repair").success();
        world.rcnt("network check").success().prints("");
        assert_eq!(ask(&world, "some", "tcp 192.0.2.20 98"), "ECONNREFUSED", "{breakage}");
        assert_eq!(ask(&world, "some", "tcp 192.0.2.20 97"), "hello", "{breakage}");
    }
    // Flushed, and seen by the next container's start.
    world.ok_sh("nft flush ruleset");
    wait(&world, "next", "");
    assert_eq!(ask(&world, "some", "tcp 192.0.2.20 98"), "ECONNREFUSED");
    world.ok_sh(&format!("kill -CONT {supervisor}"));
    world.ok("rm -f some next");
    world.nothing_is_left();
}

#[test]
fn after_a_flush_the_supervisor_confines_again_and_then_rests() {
    let world = World::new();
    let _server = serve_on_the_lan(&world);
    let _names = name_server(&world);
    wait(&world, "some", "--egress-allow www.example.test:97");
    lookup(&world, "some", "www.example.test");
    assert_eq!(ask(&world, "some", "tcp 192.0.2.20 97"), "hello");
    let whole = || {
        let rules = world.ok_sh("nft list ruleset");
        rules.contains("chain listed") && rules.contains("www.example.test\"")
    };
    // It watches soon after the start.
    eventually("the rules come back", || {
        world.ok_sh("nft flush ruleset; sleep 0.3");
        whole()
    });
    assert_eq!(ask(&world, "some", "tcp 192.0.2.20 98"), "ECONNREFUSED");
    assert_eq!(ask(&world, "some", "tcp 192.0.2.20 97"), "hello");
    // What it writes itself does not wake it.
    let monitor = world.job("nft", ["monitor"]).start();
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert_eq!(monitor.stdout(), "");
}

#[test]
fn a_killed_supervisors_list_is_taken_back() {
    let world = World::new();
    wait(&world, "some", "--egress-allow 192.0.2.20:97");
    let address = world.address_of("some");
    let parent =
        world.ok_sh(&format!("awk '/^PPid/{{print $2}}' /proc/{}/status", world.pid_of("some")));
    world.ok_sh(&format!("kill -KILL {parent}"));
    eventually("nothing of it is left", || {
        world.rcnt("ps").success();
        !world.ok_sh("nft list ruleset").contains(&address)
    });
    world.ok("rm -f some");
    world.nothing_is_left();
}

#[test]
fn it_is_traced_and_drawn() {
    let world = World::new();
    let _server = serve_on_the_lan(&world);
    wait(&world, "some", "--egress-allow 192.0.2.20:97");
    let refused = world.rcnt("network trace some 192.0.2.20:98").exits_any();
    refused
        .has("not on the container's egress list")
        .has("hint: run some with --egress-allow 192.0.2.20:98");
    world.rcnt("network trace some 192.0.2.20:97").success().has("reached");
    world.rcnt("network graph").success().has("▷ only  192.0.2.20:97/tcp");
}

#[test]
fn nonsense_and_networks_without_rules_are_refused() {
    let world = World::new();
    for (rule, why) in [
        ("10.0.0.0/33", "invalid egress rule \"10.0.0.0/33\": not an address block"),
        ("10.0.0.1:99999", "a port is a number from 1 to 65535"),
        ("none,10.0.0.1", "stands alone"),
        ("10.0.0.1:80/icmp", "the protocol is tcp, udp or sctp"),
    ] {
        world.rcnt(format!("run --rm --egress-allow {rule} busybox true")).fails(125, &[why]);
    }
    for network in ["host", "none", "container:x"] {
        let run = format!("run --rm --network {network} --egress-allow none busybox true");
        world.rcnt(run).fails(125, &["conflicting options: --egress-allow and a network"]);
    }
    world.ok("network create -d macvlan -o parent=eth0 --subnet 192.0.2.0/24 lan");
    world
        .rcnt("run --rm --network lan --egress-allow none busybox true")
        .fails(125, &["--egress-allow holds on bridge networks only"]);
}
