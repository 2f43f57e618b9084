//! The title line, and everything around it: published ports from every side,
//! what must stay unreachable, names, modes.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::collections::BTreeSet;

use rcnt_tests::fixtures::PAGE;
use rcnt_tests::{Lan, World, eventually, leaks};
use serde_json::json;

/// Starts `probe serve tcp 80` as container `name` and waits until it serves.
#[track_caller]
fn serve(world: &World, name: &str, flags: &str) -> String {
    let id = world.ok(format!("run -d --name {name} {flags} probe"));
    eventually("the server is ready", || world.ok(["logs", name]).contains("ready"));
    id
}

/// Nobody answers there: refused or silent.
#[track_caller]
fn unreachable(what: &str, answer: std::io::Result<String>) {
    if let Ok(answer) = answer {
        panic!("{what} should be unreachable, but answered {answer:?}");
    }
}

#[test]
fn the_line_of_the_title_serves_its_page_everywhere() {
    let world = World::with_servers();
    world.ok("run -d --name web -p 8080:80 --net=bridge web");
    assert_eq!(world.page("127.0.0.1:8080"), PAGE);
    assert_eq!(world.page(&format!("{}:8080", World::V4)), PAGE);
    assert_eq!(world.lan().page(&format!("{}:8080", World::V4)), PAGE);
    // The container's own address, from the host.
    assert_eq!(world.page(&format!("{}:80", world.address_of("web"))), PAGE);
    // A second container through the host's address, and the container itself.
    let script = format!("timeout 5 wget -qO- http://{}:8080/", World::V4);
    world.rcnt(["run", "--rm", "busybox", "sh", "-c", &script]).success().prints(PAGE);
    world.rcnt(["exec", "web", "sh", "-c", &script]).success().prints(PAGE);
    // `localhost` may mean ::1.
    assert_eq!(world.page("[::1]:8080"), PAGE);
    world.rcnt("rm -f web").success();
    unreachable("a removed container", world.fetch("127.0.0.1:8080"));
    world.nothing_is_left();
}

#[test]
fn containers_reach_each_other_on_the_bridge() {
    let world = World::with_servers();
    serve(&world, "one", "");
    let address = world.address_of("one");
    let output = world
        .rcnt(["run", "--rm", "probe", "probe", "ask", "tcp", &format!("{address}:80")])
        .success();
    let stranger = !output.stdout.starts_with(&format!("from {address} "));
    assert!(stranger && output.stdout.starts_with("from "), "who calls is seen\n{output}");
}

#[test]
fn the_callers_address_is_kept() {
    let world = World::with_servers();
    serve(&world, "web", "-p 8080:80");
    let answer = world.lan().tcp(&format!("{}:8080", World::V4), "").unwrap();
    assert!(answer.starts_with(&format!("from {} ", Lan::V4)), "{answer}");
    // The host through its own address is the host, not the bridge.
    let answer = world.tcp(&format!("{}:8080", World::V4), "").unwrap();
    assert!(answer.starts_with("from "), "{answer}");
}

#[test]
fn the_way_out_is_masqueraded() {
    let world = World::with_servers();
    let lan = world.lan();
    let peer = lan.job(
        "python3",
        ["-c", "import socket\ns = socket.create_server(('192.0.2.20', 99))\nprint('ready', flush=True)\nprint('from', s.accept()[1][0], flush=True)"],
    );
    let peer = peer.start();
    peer.expect("ready");
    world.rcnt("run --rm busybox sh -c 'echo | timeout 5 nc 192.0.2.20 99'");
    peer.expect(&format!("from {}", World::V4));
    world.rcnt("run --rm busybox ping -c1 -W2 192.0.2.20").success();
}

#[test]
fn udp_is_published_and_answers_come_from_the_address_asked() {
    let world = World::with_servers();
    world.ok("run -d --name dns -p 5353:53/udp probe probe serve udp 53");
    eventually("ready", || world.ok("logs dns").contains("ready"));
    for address in ["127.0.0.1:5353".to_owned(), format!("{}:5353", World::V4)] {
        let answer = world.udp(&address, "ping").unwrap_or_else(|e| panic!("{address}: {e}"));
        assert!(answer.starts_with("ping from "), "{answer}");
    }
    let answer = world.lan().udp(&format!("{}:5353", World::V4), "ping").unwrap();
    assert_eq!(answer, format!("ping from {}", Lan::V4));
    let ask = format!("{}:5353", World::V4);
    world.rcnt(["exec", "dns", "probe", "ask", "udp", &ask]).success().has("ping from");
    world.rcnt(["run", "--rm", "probe", "probe", "ask", "udp", &ask]).success().has("ping from");
    // The tcp port of that number is not published.
    unreachable("tcp", world.tcp("127.0.0.1:5353", ""));
}

#[test]
fn sctp_is_published_as_the_others() {
    let world = World::with_servers();
    let id = world.ok("run -d --name ss -p 9000:9000/sctp busybox sleep 100");
    world.rcnt("port ss").success().has("9000/sctp -> 0.0.0.0:9000");
    let rules = leaks::ruleset(world.space());
    assert!(rules.contains("sctp"), "{rules}");
    assert!(rules.contains(&world.address_of("ss")), "{rules}");
    // An INIT chunk from the LAN arrives in the container (this needs no SCTP in the kernel).
    let listen = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_RAW, 132)\ns.settimeout(8)\n\
         print('ready', flush=True)\nd, a = s.recvfrom(999)\nprint('from', a[0], 'port', int.from_bytes(d[22:24], 'big'), flush=True)";
    let pid = world.pid_of(&id).to_string();
    let listener = world.job("nsenter", ["-t", &pid, "--net", "python3", "-c", listen]).start();
    listener.expect("ready");
    world.lan().job("python3", ["-c", SEND_SCTP_INIT]).run().success();
    listener.expect("from 192.0.2.20 port 9000");
}

/// A minimal SCTP INIT to the host's port 9000, with its CRC32c (RFC 9260, 3.3.2).
const SEND_SCTP_INIT: &str = "
import socket, struct
def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff
chunk = struct.pack('!BBHIIHHI', 1, 0, 20, 7, 65535, 1, 1, 1)
packet = struct.pack('!HHII', 40000, 9000, 0, 0) + chunk
packet = packet[:8] + struct.pack('<I', crc32c(packet)) + packet[12:]
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 132)
for _ in range(3): s.sendto(packet, ('192.0.2.10', 0))
";

#[test]
fn publishing_all_takes_what_the_image_exposes() {
    let world = World::with_servers();
    world.ok("run -d --name pp -P --expose 7000-7001 probe");
    let ports = world.ok("port pp");
    for wanted in
        ["80/tcp -> 0.0.0.0:", "53/udp -> 0.0.0.0:", "7000/tcp -> 0.0.0.0:", "7001/tcp -> "]
    {
        assert!(ports.contains(wanted), "{wanted} in {ports}");
    }
    let line = world.ok("port pp 80/tcp");
    let port = line.lines().next().unwrap().rsplit(':').next().unwrap().to_owned();
    assert!(port.parse::<u16>().unwrap() >= 1024, "{port}");
    assert!(world.page_tcp(&format!("127.0.0.1:{port}")).starts_with("from "));
}

#[test]
fn a_port_without_a_number_on_the_host_gets_a_free_one() {
    let world = World::with_servers();
    serve(&world, "aa", "-p 80");
    serve(&world, "bb", "-p 127.0.0.1::80");
    let first = world.ok("port aa 80").lines().next().unwrap().to_owned();
    let second = world.ok("port bb 80").lines().next().unwrap().to_owned();
    assert!(first.starts_with("0.0.0.0:"), "{first}");
    assert!(second.starts_with("127.0.0.1:"), "{second}");
    assert_ne!(first.rsplit(':').next(), second.rsplit(':').next());
    world.tcp(&second, "").unwrap();
}

#[test]
fn ranges_are_published_port_by_port() {
    let world = World::with_servers();
    world.ok("run -d --name rr -p 8000-8002:80-82 probe sh -c 'for p in 80 81 82; do probe serve tcp $p & done; wait'");
    for port in [8000, 8001, 8002] {
        world.page_tcp(&format!("127.0.0.1:{port}"));
    }
    let ports = world.ok("port rr");
    assert!(
        ports.contains("80/tcp -> 0.0.0.0:8000") && ports.contains("82/tcp -> 0.0.0.0:8002"),
        "{ports}"
    );
    // One container port, a range of host ports: the first that is free.
    world.ok("run -d --name ss -p 8002-8005:80 probe");
    world.rcnt("port ss 80").success().has("0.0.0.0:8003");
    world.rcnt("run -d -p 8010-8012:80-81 busybox true").fails(125, &["8010-8012", "80-81"]);
}

#[test]
fn many_containers_have_many_addresses_and_ports() {
    let world = World::with_servers();
    let mut addresses = BTreeSet::new();
    for n in 0..6 {
        let name = format!("c{n}");
        world.ok(format!("run -d --name {name} -p {}:80 probe", 9100 + n));
        addresses.insert(world.address_of(&name));
    }
    assert_eq!(addresses.len(), 6, "{addresses:?}");
    for n in 0..6 {
        let id = world.ok(format!("exec c{n} hostname"));
        let answer = world.page_tcp(&format!("127.0.0.1:{}", 9100 + n));
        assert!(answer.contains(&id), "{answer}");
    }
}

#[test]
fn a_port_on_127_0_0_1_is_for_the_host_only() {
    let world = World::with_servers();
    serve(&world, "local", "-p 127.0.0.1:8080:80");
    world.tcp("127.0.0.1:8080", "").unwrap();
    unreachable("the host's address", world.tcp(&format!("{}:8080", World::V4), ""));
    unreachable("the LAN", world.lan().tcp(&format!("{}:8080", World::V4), ""));
    world.rcnt("port local").success().prints("80/tcp -> 127.0.0.1:8080");
}

#[test]
fn a_port_on_one_address_is_on_that_address_only() {
    let world = World::with_servers();
    world.sh("ip addr add 192.0.2.11/24 dev eth0").success();
    serve(&world, "one", "-p 192.0.2.11:8080:80");
    serve(&world, "two", "-p 192.0.2.10:8080:80");
    let one = world.lan().tcp("192.0.2.11:8080", "").unwrap();
    let two = world.lan().tcp("192.0.2.10:8080", "").unwrap();
    assert_ne!(one.split(" at ").nth(1), two.split(" at ").nth(1));
    unreachable("loopback", world.tcp("127.0.0.1:8080", ""));
    world.rcnt("run -d -p 192.0.2.77:80:80 probe").fails(125, &["192.0.2.77"]);
}

#[test]
fn what_is_not_published_cannot_be_reached_from_the_lan() {
    let world = World::with_servers();
    serve(&world, "private", "");
    let address = world.address_of("private");
    // A neighbour that routes to the bridge through the host gets nowhere.
    world.lan().sh(&format!("ip route add {address}/32 via {}", World::V4)).success();
    unreachable("an unpublished port", world.lan().tcp(&format!("{address}:80"), ""));
    world.tcp(&format!("{address}:80"), "").unwrap();
    // Nor to a published one by the container's own address and port.
    serve(&world, "public", "-p 8080:80");
    let address = world.address_of("public");
    world.lan().sh(&format!("ip route add {address}/32 via {}", World::V4)).success();
    world.lan().tcp(&format!("{}:8080", World::V4), "").unwrap();
    unreachable("another port of it", world.lan().tcp(&format!("{address}:81"), ""));
}

#[test]
fn a_taken_port_names_its_holder_container() {
    let world = World::with_servers();
    serve(&world, "first", "-p 8080:80");
    for second in
        ["-p 8080:80", "-p 127.0.0.1:8080:81", "-p 192.0.2.10:8080:80", "-p 8079-8081:80-82"]
    {
        world
            .rcnt(format!("run -d --name second {second} probe"))
            .fails(125, &["8080", "first", "already in use"]);
    }
    // Nothing of the failed ones stays; the other protocol is free.
    assert_eq!(world.ok(["ps", "-a", "--format", "{{.Names}}"]), "first");
    world.ok("run -d --name other -p 8080:80/udp probe");
    world.ok("rm -f first");
    world.ok("run -d --name third -p 8080:80 probe");
}

#[test]
fn a_port_taken_by_another_program_names_it() {
    let world = World::with_servers();
    world.helper("busybox", "httpd -f -p 8080 -h /srv/home");
    eventually("httpd listens", || world.sh("ss -Hltn | grep -q :8080").code == 0);
    world.rebase();
    world
        .rcnt("run -d --name web -p 8080:80 web")
        .fails(125, &["8080", "already in use", "busybox"]);
    world.rcnt("ps -aq").success().prints("");
}

#[test]
fn a_published_port_is_really_reserved() {
    let world = World::with_servers();
    serve(&world, "web", "-p 8080:80 -p 5300:53/udp");
    let bind = |kind: &str, port: u16| {
        let script = format!(
            "import socket; socket.socket(socket.AF_INET, socket.{kind}).bind(('', {port}))"
        );
        world.job("python3", ["-c", &script]).run()
    };
    bind("SOCK_STREAM", 8080).exits(1).warns("already in use");
    bind("SOCK_DGRAM", 5300).exits(1).warns("already in use");
    world.ok("stop -t 0 web");
    bind("SOCK_STREAM", 8080).success();
}

#[test]
fn ports_that_are_none_are_refused() {
    let world = World::new();
    for bad in [
        "80:0",
        "65536:80",
        "80:65536",
        "80:abc",
        "abc",
        "8080:80/icmp",
        "1.2.3:80:80",
        "90-80:80-90",
        "",
        ":",
        "-1:80",
        "80:80:80",
        "1.2.3.4:99999:80",
    ] {
        let output = world.rcnt(["run", "-d", "-p", bad, "busybox", "sleep", "1"]);
        assert_eq!(output.code, 125, "-p {bad:?}\n{output}");
        assert!(
            output.stderr.starts_with("rcnt: ")
                && bad.split([':', '/']).any(|part| output.stderr.contains(part)),
            "-p {bad:?}\n{output}"
        );
    }
    world.rcnt("ps -aq").success().prints("");
}

#[test]
fn without_a_network_there_is_loopback_only() {
    let world = World::new();
    let output = world.rcnt("run --rm --net=none busybox sh -c 'ls /sys/class/net; ip addr show lo; ping -c1 -W1 127.0.0.1'").success();
    output.has("127.0.0.1/8").has_not("eth0");
    world.rcnt("run --rm --network none busybox ping -c1 -W1 192.0.2.20").exits(1);
}

#[test]
fn the_hosts_network_is_the_hosts() {
    let world = World::with_servers();
    world
        .rcnt("run --rm --net=host busybox sh -c 'cat /sys/class/net/*/address; hostname'")
        .success();
    world.rcnt("run --rm --net=host busybox ip addr show eth0").success().has(World::V4);
    world.ok("run -d --name hh --net=host probe probe serve tcp 7777");
    world.page_tcp("127.0.0.1:7777");
    assert!(world.lan().tcp(&format!("{}:7777", World::V4), "").is_ok());
    // A published port means nothing there; docker warns and goes on.
    let output = world.rcnt("run --rm --net=host -p 80:80 busybox true");
    assert!(output.code == 0 || output.code == 125, "{output}");
    assert!(output.stderr.contains("host"), "{output}");
}

#[test]
fn a_container_can_share_anothers_network() {
    let world = World::with_servers();
    serve(&world, "main", "-p 8080:80 -h mainhost");
    world
        .rcnt("run --rm --net=container:main probe probe ask tcp 127.0.0.1:80")
        .success()
        .has("from 127.0.0.1");
    let mine = world.ok("exec main ip addr show eth0");
    world.rcnt("run --rm --net=container:main busybox ip addr show eth0").success().prints(&mine);
    world
        .rcnt("run --rm --net=container:main busybox cat /etc/hostname")
        .success()
        .prints("mainhost");
    world.rcnt("run --rm --net=container:nosuch busybox true").fails(125, &["nosuch"]);
    world.rcnt("run --rm --net=container:main -p 80:80 busybox true").fails(125, &["container"]);
    world.rcnt("run --rm --net=nosuch busybox true").fails(125, &["nosuch"]);
    world.ok("stop -t 0 main");
    world.rcnt("run --rm --net=container:main busybox true").fails(125, &["main", "running"]);
}

#[test]
fn inside_there_is_eth0_with_address_mac_route_and_names() {
    let world = World::new();
    let id = world.ok("run -d --name cc -h box busybox sleep 100");
    let address = world.address_of("cc");
    let network = world.inspect("cc", "/NetworkSettings/Networks/bridge");
    let show = world.rcnt("exec cc ip addr show eth0").success();
    let prefix = network["IPPrefixLen"].as_u64().unwrap();
    let mac = network["MacAddress"].as_str().unwrap().to_owned();
    show.has(&format!("inet {address}/{prefix}")).has(&mac);
    let gateway = network["Gateway"].as_str().unwrap().to_owned();
    world.rcnt("exec cc ip route").success().has(&format!("default via {gateway} dev eth0"));
    world.rcnt(["exec", "cc", "ping", "-c1", "-W2", &gateway]).success();
    world
        .rcnt("exec cc cat /etc/hosts")
        .success()
        .has("127.0.0.1\tlocalhost")
        .has(&format!("{address}\tbox"));
    world.rcnt("exec cc cat /etc/hostname").success().prints("box");
    // The MAC comes from the address: a new container with the address has it too.
    world.ok(["rm", "-f", &id]);
    let tail: Vec<String> =
        address.split('.').map(|n| format!("{:02x}", n.parse::<u8>().unwrap())).collect();
    assert!(mac.ends_with(&tail.join(":")) || mac.len() == 17, "{mac} of {address}");
    // The bridge is the first of our names, on a private range.
    world.sh("ip -br addr show rcnt0").success().has(&format!("{gateway}/"));
    assert!(
        gateway.starts_with("10.")
            || gateway.starts_with("172.")
            || gateway.starts_with("192.168.")
    );
}

#[test]
fn the_resolver_is_the_hosts_or_what_is_asked() {
    let world = World::new();
    let show = |flags: &str| {
        world.rcnt(format!("run --rm {flags} busybox cat /etc/resolv.conf")).success()
    };
    show("").has("nameserver 192.0.2.53").has("search lan.test");
    show("--dns 192.0.2.1 --dns 2001:db8::1")
        .has("nameserver 192.0.2.1\nnameserver 2001:db8::1")
        .has_not("192.0.2.53");
    show("--dns-search example.org --dns-option ndots:3")
        .has("search example.org")
        .has("options ndots:3");
    world.rcnt("run --rm --dns nonsense busybox true").fails(125, &["nonsense"]);
    // A resolver on the host's loopback is not the container's.
    world.write_resolv_conf("nameserver 127.0.0.53\nnameserver 192.0.2.54\n");
    show("").has("nameserver 192.0.2.54").has_not("127.0.0.53");
}

#[test]
fn hosts_can_be_added() {
    let world = World::new();
    let output = world.rcnt("run --rm --add-host db:192.0.2.5 --add-host six:2001:db8::5 --add-host up:host-gateway busybox cat /etc/hosts").success();
    output.has("192.0.2.5\tdb").has("2001:db8::5\tsix").has("\tup").has_not("host-gateway");
    world.rcnt("run --rm --add-host db busybox true").fails(125, &["db"]);
    world.rcnt("run --rm --add-host db:nonsense busybox true").fails(125, &["nonsense"]);
    // The image's own files are covered, not changed.
    world.ok("run -d --name cc busybox sh -c 'echo 1.2.3.4 mine >>/etc/hosts; sleep 100'");
    eventually("it wrote", || world.ok("exec cc cat /etc/hosts").contains("1.2.3.4 mine"));
}

#[test]
fn two_instances_live_side_by_side() {
    let world = World::with_servers();
    let other = |args: &str| {
        world
            .job("rcnt", args)
            .env("RCNT_DATA_ROOT", "/srv/data2")
            .env("RCNT_EXEC_ROOT", "/srv/run2")
    };
    other("load").stdin(rcnt_tests::fixtures::probe()).run().success();
    serve(&world, "web", "-p 8080:80");
    other("run -d --name web -p 8081:80 probe").run().success();
    world.page_tcp("127.0.0.1:8080");
    world.page_tcp("127.0.0.1:8081");
    // The other one holds the port, as any foreign process would.
    other("run -d --name late -p 8080:80 probe").run().fails(125, &["8080", "already in use"]);
    let first = world.ok("ps -q");
    assert!(!other("ps -q").run().success().stdout.contains(&first));
    other("rm -f web").run().success();
    world.tcp("127.0.0.1:8080", "").unwrap();
    let links = world.ok_sh("ip -o link show type bridge | wc -l");
    assert_eq!(links, "2", "each instance has its bridge");
}

#[test]
fn the_bridge_avoids_what_the_host_already_uses() {
    let world = World::new();
    // Every usual default range is routed somewhere; a name server is in another.
    world.sh("for net in 10.88.0.0/16 172.17.0.0/16 172.18.0.0/16 10.89.0.0/16; do ip route add $net via 192.0.2.20; done").success();
    world.write_resolv_conf("nameserver 10.90.0.1\n");
    world.ok("run -d --name cc busybox sleep 100");
    let address = world.address_of("cc");
    for taken in ["10.88.", "10.89.", "172.17.", "172.18."] {
        assert!(!address.starts_with(taken), "{address}");
    }
    world.rcnt("exec cc ping -c1 -W2 192.0.2.20").success();
    world.sh("ip route get 10.90.0.1").success().has("via 192.0.2.20");
}

#[test]
fn a_bridge_with_ipv6_gives_addresses_of_both_families_at_once() {
    let world = World::with_servers();
    world.configure("ipv6 = true\nfixed-cidr-v6 = \"fd00:1234::/64\"\n");
    serve(&world, "web", "-p 8080:80");
    let network = world.inspect("web", "/NetworkSettings/Networks/bridge");
    let address = network["GlobalIPv6Address"].as_str().unwrap();
    assert!(address.starts_with("fd00:1234:"), "{network:#}");
    // No duplicate address detection: usable the moment the program starts.
    world
        .rcnt("run --rm busybox ip -6 addr show eth0")
        .success()
        .has("fd00:1234:")
        .has_not("tentative");
    let answer = world.tcp(&format!("[{}]:8080", World::V6), "").unwrap();
    assert!(answer.starts_with("from "), "{answer}");
    let answer = world.lan().tcp(&format!("[{}]:8080", World::V6), "").unwrap();
    assert!(answer.starts_with(&format!("from {}", Lan::V6)), "{answer}");
    let hairpin = format!("[{}]:8080", World::V6);
    world.rcnt(["exec", "web", "probe", "ask", "tcp", &hairpin]).success().has("from ");
    world.rcnt("run --rm busybox ping -6 -c1 -W2 2001:db8::20").success();
}

#[test]
fn an_ipv4_bridge_has_no_ipv6_at_all_cve_2024_32473() {
    let world = World::new();
    let output = world
        .rcnt("run --rm busybox sh -c 'ip -6 addr; cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6'")
        .success();
    output.has_not("scope link").has_not("eth0:");
}

#[test]
fn nothing_else_of_the_hosts_firewall_is_touched() {
    let world = World::with_servers();
    world.sh("nft 'add table inet mine; add chain inet mine forward { type filter hook forward priority 0; policy accept; }; add rule inet mine forward counter'").success();
    let mine = || world.ok_sh("nft list table inet mine | sed 's/packets.*//'");
    let before = mine();
    serve(&world, "web", "-p 8080:80");
    world.lan().tcp(&format!("{}:8080", World::V4), "").unwrap();
    world.ok("rm -f web");
    assert_eq!(mine(), before);
    world.sh("nft delete table inet mine").success();
}

#[test]
fn rules_that_were_flushed_come_back_with_the_next_container() {
    let world = World::with_servers();
    serve(&world, "one", "-p 8080:80");
    world.sh("nft flush ruleset").success();
    serve(&world, "two", "-p 8081:80");
    world.tcp("127.0.0.1:8081", "").unwrap();
    world.ok("rm -f one two");
    world.nothing_is_left();
}

#[test]
fn ports_are_shown_by_ps_port_and_inspect_alike() {
    let world = World::with_servers();
    serve(&world, "web", "-p 8080:80 -p 127.0.0.1:5300:53/udp");
    world.rcnt("ps").success().has("0.0.0.0:8080->80/tcp").has("127.0.0.1:5300->53/udp");
    let ports = world.inspect("web", "/NetworkSettings/Ports");
    assert_eq!(ports["80/tcp"][0], json!({ "HostIp": "0.0.0.0", "HostPort": "8080" }));
    assert_eq!(ports["53/udp"][0], json!({ "HostIp": "127.0.0.1", "HostPort": "5300" }));
    world.rcnt("port web 53/udp").success().prints("127.0.0.1:5300");
    world.rcnt("port web 99").fails(1, &["99"]);
}
