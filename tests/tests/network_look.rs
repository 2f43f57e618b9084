//! Looking at the network: `capture`, `network graph`, `network trace`. Real
//! packets; a real tcpdump reads the files.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::time::Duration;

use rcnt_tests::{Running, World, eventually};
use rustix::process::Signal;

/// Starts `probe serve tcp 80` as container `name` and waits until it serves.
#[track_caller]
fn serve(world: &World, name: &str, flags: &str) {
    world.ok(format!("run -d --name {name} {flags} probe"));
    eventually("the server is ready", || world.ok(["logs", name]).contains("ready"));
}

/// Starts `rcnt capture` with these words and waits until it listens.
#[track_caller]
fn capture(world: &World, words: &str) -> Running {
    let running = world.start(format!("capture {words}"));
    eventually("the capture begins", || running.stderr().contains("; stop with Ctrl-C"));
    running
}

/// What the machine's tcpdump reads in a file of the world.
#[track_caller]
fn tcpdump(world: &World, file: &str) -> String {
    world.ok_sh(&format!("tcpdump -nn -r {file} 2>/srv/tmp/tcpdump || cat /srv/tmp/tcpdump"))
}

#[test]
fn a_capture_shows_one_readable_line_per_packet() {
    let world = World::with_servers();
    serve(&world, "web", "-p 8080:80");
    let address = world.address_of("web");
    let running = capture(&world, "web tcp port 80");
    let said = running.stderr();
    assert!(said.contains("packets of web on lo, eth0") || said.contains("eth0, lo"), "{said}");
    world.lan().tcp("192.0.2.10:8080", "").unwrap();
    running.expect(&format!("> {address}:80 TCP SYN length 0"));
    running.expect("FIN");
    running.signal(Signal::INT);
    let output = running.wait(Duration::from_secs(5)).success();
    for wanted in [
        " eth0 in  IP 192.0.2.20:".to_owned(),
        format!(" eth0 out IP {address}:80 > 192.0.2.20:"),
        " TCP SYN,ACK length 0".to_owned(),
    ] {
        assert!(output.stdout.contains(&wanted), "{wanted}\n{output}");
    }
    let lines = output.stdout.lines().count();
    assert!(output.stderr.contains(&format!("{lines} packets captured\n")), "{output}");
    assert!(output.stderr.contains("\n0 packets dropped by kernel\n"), "{output}");
    assert!(!output.stdout.contains("ARP"), "the filter holds\n{output}");
    world.rcnt("rm -f web").success();
    world.nothing_is_left();
}

#[test]
fn tcpdump_opens_what_a_capture_writes() {
    let world = World::with_servers();
    serve(&world, "web", "");
    let address = world.address_of("web");
    let file = capture(&world, "-w /srv/tmp/web.pcap web 'tcp dst port 80 and not src net 10.99'");
    // The same to a pipe, and cut short.
    let script = "rcnt capture -s 60 -c 1 -w - web icmp 2>/dev/null | tcpdump -nn -r - 2>/dev/null";
    let pipe = world.job("sh", ["-c", script]).start();
    eventually("both listen", || world.pids_with("rcnt capture -s 60").len() > 1);
    world.tcp(&format!("{address}:80"), "").unwrap();
    eventually("the pipe has its packet", || {
        world.rcnt("run --rm busybox true").success();
        world.sh(&format!("busybox ping -c1 -W1 {address}")).success();
        pipe.stdout().contains("ICMP echo request")
    });
    pipe.wait(Duration::from_secs(5)).success();
    file.signal(Signal::TERM);
    file.wait(Duration::from_secs(5)).success();
    let text = tcpdump(&world, "/srv/tmp/web.pcap");
    assert!(text.contains(&format!("> {address}.80: Flags [S],")), "{text}");
    assert!(!text.contains("ICMP") && !text.contains("[S.]"), "{text}");
    // Its clock is ours.
    let now = world.ok_sh("date +%H:%M");
    let hour = text.split(':').next().unwrap();
    assert!(now.starts_with(hour) || now.starts_with("00"), "{text} at {now}");
}

#[test]
fn a_capture_ends_by_count_by_time_and_with_its_container() {
    let world = World::with_servers();
    serve(&world, "web", "");
    let output = world.rcnt("capture --duration 100ms web udp port 9").success();
    assert!(output.stderr.contains("0 packets captured\n"), "{output}");
    assert_eq!(output.stdout, "");
    let counted = capture(&world, "-i eth0 -c 2 web icmp");
    world.sh(&format!("busybox ping -c3 -i 0.1 -W1 {}", world.address_of("web"))).success();
    let output = counted.wait(Duration::from_secs(5)).success();
    assert_eq!(output.stdout.lines().count(), 2, "{output}");
    let running = capture(&world, "web");
    world.rcnt("kill web").success();
    let output = running.wait(Duration::from_secs(5)).success();
    assert!(output.stderr.contains("container web has ended\n"), "{output}");
    // Names of containers are addresses in a filter.
    world.ok("run -d --name client busybox sleep 100");
    serve(&world, "other", "");
    let running = capture(&world, "client host other and icmp");
    world.rcnt(["exec", "client", "ping", "-c1", "-W2", &world.address_of("other")]).success();
    running.expect("ICMP echo reply");
    world.rcnt("rm -f web client other").success();
    drop(running);
    world.nothing_is_left();
}

#[test]
fn wrong_captures_are_told_in_one_line() {
    let world = World::new();
    world.ok("run -d --name web busybox sleep 100");
    world.ok("create --name idle busybox");
    world.write("/srv/tmp/kept", "kept");
    for (words, complaint) in [
        ("nobody", "No such container: nobody"),
        ("idle", "container idle is not running"),
        ("web tcp prot 80", "'prot' is not understood in a filter"),
        ("-w /srv/tmp/kept web host nobody", "'nobody' is not an address, nor the name of"),
        (
            "-i eth7 web",
            "cannot capture packets of web: there is no interface eth7 in it, but lo, eth0",
        ),
        ("-w /nosuch/file web", "cannot write /nosuch/file: no such file or directory"),
        ("--duration never web", "invalid argument \"never\" for \"--duration\" flag: not a time"),
        ("-c 0 web", "invalid argument \"0\" for \"--count\" flag"),
    ] {
        let output = world.rcnt(format!("capture {words}"));
        assert!(output.code == 1 || output.code == 125, "{output}");
        assert!(output.stderr.starts_with(&format!("rcnt: {complaint}")), "{output}");
        assert!(!output.stderr.contains("capturing"), "{output}");
    }
    assert_eq!(world.read("/srv/tmp/kept"), "kept");
    let mut terminal = world.terminal("capture -w - web");
    terminal.expect("will not write packets to a terminal");
}

#[test]
fn the_graph_shows_host_networks_containers_and_ports() {
    let world = World::with_servers();
    world.ok("run -d --name web -p 8080:80 probe");
    world.ok("run -d --name alone --network none busybox sleep 100");
    world.ok("run -d --name guest --network container:web busybox sleep 100");
    let address = world.address_of("web");
    let text = world.ok("network graph");
    for wanted in [
        "│ eth0   192.0.2.10/24  2001:db8::10/64  default via 192.0.2.20",
        "─[rcnt0]─ network bridge  bridge  ",
        &format!(" ── eth0 [web]  {address}\n"),
        "◄ 0.0.0.0:8080 → 80/tcp\n",
        "├─ [alone] no network\n",
        "└─ [guest] the network of web",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let veth = text.split_once("veth").unwrap().1.split(' ').next().unwrap();
    assert!(world.ok_sh("ip -o link").contains(&format!("veth{veth}@")), "{veth} is its wire");
    let graph = world.rcnt("network graph --format json").success().json();
    assert_eq!(graph["containers"][2]["endpoints"][0]["addresses"][0], address);
    assert_eq!(graph["networks"][0]["interface"], "rcnt0");
    world
        .rcnt("network graph --format dot")
        .success()
        .has("\"network bridge\" -- \"container web\"");
    let svg = world.ok("network graph -f svg");
    assert!(svg.starts_with("<svg ") && svg.contains(">web<"), "{svg}");
    let parse = "import sys, xml.dom.minidom as x; x.parse(sys.stdin)";
    world.job("python3", ["-c", parse]).stdin(svg.as_bytes()).run().success();
    world.rcnt("network graph -f png").fails(125, &["must be one of text, dot, svg or json"]);
}

/// `rcnt network trace`: exit code, and that all of these are in its report.
#[track_caller]
fn trace(world: &World, words: &str, code: i32, wanted: &[&str]) {
    let output = world.rcnt(format!("network trace {words}"));
    assert_eq!(output.code, code, "{output}");
    for wanted in wanted {
        assert!(output.stdout.contains(wanted), "{wanted}\n{output}");
    }
    let tables = world.ok_sh("nft list tables");
    assert!(!tables.contains("trace"), "its table is gone\n{tables}");
}

#[test]
fn a_trace_follows_what_is_delivered() {
    let world = World::with_servers();
    serve(&world, "web", "-p 8080:80");
    world.ok("run -d --name client busybox sleep 100");
    world.ok("run -d --name udp -p 5353:53/udp probe probe serve udp 53");
    eventually("ready", || world.ok("logs udp").contains("ready"));
    let (web, client) = (world.address_of("web"), world.address_of("client"));
    // On one bridge.
    trace(
        &world,
        "client web:80",
        0,
        &[
            &format!("client to {web}:80/tcp\n"),
            "dev eth0\n",
            "eth0 out",
            "  web     eth0 in ",
            &format!("reached: {web}:80 accepts connections (web)\n"),
        ],
    );
    trace(&world, "client web", 0, &[&format!("reached: {web} answers (web)")]);
    // A published port from the host, at 127.0.0.1, and from the LAN.
    trace(
        &world,
        "host 127.0.0.1:8080",
        0,
        &["rcnt0 out", &format!("> {web}:80"), "accepts connections (web)"],
    );
    trace(&world, "host 192.0.2.10:8080", 0, &["accepts connections (web)"]);
    trace(
        &world,
        "192.0.2.20 192.0.2.10:8080",
        0,
        &[
            "host  eth0 in",
            "192.0.2.20:",
            "inet rcnt",
            "rule \"published\"",
            &format!("> {web}:80"),
            "accepts connections (web)",
        ],
    );
    // UDP, and hairpin.
    trace(&world, "host 127.0.0.1:5353/udp", 0, &["reached: 127.0.0.1:5353 answers (udp)"]);
    trace(&world, "192.0.2.20 192.0.2.10:5353/udp", 0, &["(udp)"]);
    trace(&world, "web 192.0.2.10:8080", 0, &["accepts connections (web)"]);
    // Out into the world, masqueraded, and by address of the asking container.
    trace(
        &world,
        &format!("{client} 192.0.2.20"),
        0,
        &[
            "default via",
            "rule \"containers to the world\"",
            "eth0 out",
            "192.0.2.10 > 192.0.2.20",
            "reached: 192.0.2.20 answers",
        ],
    );
    world.rcnt("rm -f web client udp").success();
    world.nothing_is_left();
}

#[test]
fn a_trace_says_where_and_why_a_packet_is_lost() {
    let world = World::with_servers();
    serve(&world, "web", "-p 8080:80");
    world.ok("run -d --name client busybox sleep 100");
    world.ok("run -d --name alone --network none busybox sleep 100");
    let web = world.address_of("web");
    // Not published: our own rule.
    trace(
        &world,
        "192.0.2.20 web:80",
        1,
        &[
            "not reached: dropped in host by rule \"not published\"",
            "of chain forward, table inet rcnt-",
            "hint: publish port 80 of web",
        ],
    );
    // Nobody listens: in the container, on the host, on the LAN.
    trace(&world, "client web:81", 1, &["not reached: nothing listens on port 81 in web\n"]);
    trace(
        &world,
        "192.0.2.20 192.0.2.10:9999",
        1,
        &["not reached: port 9999/tcp is closed on the host"],
    );
    trace(
        &world,
        "client 192.0.2.20:9",
        1,
        &["not reached: 192.0.2.20 refuses: port 9/tcp is closed\n"],
    );
    // No route; nobody there.
    trace(&world, "alone 192.0.2.20", 1, &["not reached: alone has no route to 192.0.2.20\n"]);
    trace(
        &world,
        "--timeout 500ms client 192.0.2.99:80",
        1,
        &["host asks on eth0 who has 192.0.2.99, and nobody answers"],
    );
    let subnet = web.rsplit_once('.').unwrap().0;
    trace(
        &world,
        &format!("--timeout 500ms client {subnet}.250:80"),
        1,
        &[&format!("client asks on eth0 who has {subnet}.250, and nobody answers")],
    );
    world.rcnt("rm -f web client alone").success();
    world.nothing_is_left();
}

#[test]
fn a_trace_names_the_rules_of_others() {
    let world = World::with_servers();
    serve(&world, "web", "-p 8080:80");
    world.ok("run -d --name client busybox sleep 100");
    // Somebody else's firewall: a rule with a comment, one without, a policy.
    world.sh("nft add table ip strangers; nft 'add chain ip strangers guard { type filter hook forward priority -5; }'; nft 'add rule ip strangers guard tcp dport 80 drop comment \"no web here\"'").success();
    trace(
        &world,
        "192.0.2.20 192.0.2.10:8080",
        1,
        &[
            "not reached: dropped in host by rule \"no web here\" of chain guard, table ip strangers\n",
            "hint: see nft -a list chain ip strangers guard",
        ],
    );
    let report = world.rcnt("network trace --format json host 127.0.0.1:8080").json();
    assert_eq!(report["reached"], true, "{report:#}");
    world.sh("nft flush chain ip strangers guard; nft 'add rule ip strangers guard icmp type echo-request drop'").success();
    trace(
        &world,
        "client 192.0.2.20",
        1,
        &["dropped in host by rule handle ", "of chain guard, table ip strangers"],
    );
    world.sh("nft delete table ip strangers; nft add table inet closed; nft 'add chain inet closed incoming { type filter hook input priority 0; policy drop; }'").success();
    trace(
        &world,
        "192.0.2.20 192.0.2.10:22",
        1,
        &["dropped in host by the policy of chain incoming, table inet closed"],
    );
    world.sh("nft delete table inet closed").success();
    // iptables-legacy is in no trace, but what it does is.
    world.sh("iptables-legacy -A FORWARD -p tcp --dport 80 -j DROP").success();
    trace(
        &world,
        "--timeout 500ms 192.0.2.20 192.0.2.10:8080",
        1,
        &["dropped in host by iptables-legacy, at FORWARD (it has the tables filter)"],
    );
    world.sh("iptables-legacy -F; iptables-legacy -X").success();
    // Reverse path filtering, and a host that does not forward.
    let client = world.address_of("client");
    let strict = "sysctl -qw net.ipv4.conf.rcnt0.rp_filter=1; ip route add";
    world.sh(&format!("{strict} {client}/32 dev eth0")).success();
    trace(
        &world,
        "--timeout 500ms client 192.0.2.20:99",
        1,
        &[&format!("by reverse path filtering: its route to {client} does not lead through rcnt0")],
    );
    world.sh(&format!("ip route del {client}/32 dev eth0")).success();
    world.sh("sysctl -qw net.ipv4.ip_forward=0").success();
    trace(
        &world,
        "--timeout 500ms client 192.0.2.20:99",
        1,
        &["the host does not forward: net.ipv4.ip_forward is 0"],
    );
    world.sh("sysctl -qw net.ipv4.ip_forward=1").success();
    world.rcnt("rm -f web client").success();
    world.nothing_is_left();
}

#[test]
fn a_killed_trace_leaves_nothing_and_wrong_ones_are_told() {
    let world = World::new();
    world.ok("run -d --name client busybox sleep 100");
    world.ok("create --name idle busybox");
    let running = world.start("network trace --timeout 60s 192.0.2.77 192.0.2.99:5");
    eventually("it watches", || {
        // It ends by itself when nobody answers ARP: one look at both.
        let there = world.ok_sh("nft list tables; ip -o link");
        there.contains("rcnt-trace-") && there.contains("rcntp")
    });
    running.signal(Signal::KILL);
    let _ = running.wait(Duration::from_secs(5));
    eventually("table and wire are gone", || {
        !world.ok_sh("nft list tables").contains("trace")
            && !world.ok_sh("ip -o link").contains("rcntp")
    });
    // Nobody at all to ask for names.
    world.write_resolv_conf("nameserver 127.0.0.1\n");
    for (words, complaint) in [
        ("client web:0", "invalid destination 'web:0'"),
        (
            "client nosuch.invalid:80",
            "'nosuch.invalid' is no container, and no name that could be looked up",
        ),
        ("nobody 192.0.2.20", "No such container: nobody"),
        ("client idle:80", "container idle is not running"),
        ("idle client", "container idle is not running"),
    ] {
        world.rcnt(format!("network trace {words}")).fails(1, &[complaint]);
    }
    world.rcnt("rm -f client idle").success();
    world.nothing_is_left();
}

#[test]
fn a_trace_knows_internal_networks_closed_ones_and_others() {
    let world = World::with_servers();
    world.ok("network create --internal inner");
    world.ok("network create -o com.docker.network.bridge.enable_icc=false closed");
    world.ok("network create --ipv6 six");
    for (name, network) in [("a1", "inner"), ("c1", "closed"), ("e1", "six"), ("g1", "bridge")] {
        world.ok(format!("run -d --name {name} --network {network} busybox sleep 100"));
    }
    for (name, network) in [("b1", "inner"), ("d1", "closed"), ("f1", "six")] {
        serve(&world, name, &format!("--network {network}"));
    }
    trace(&world, "a1 b1:80", 0, &["accepts connections (b1)"]);
    trace(
        &world,
        "a1 192.0.2.20",
        1,
        &["not reached: a1 has no route to 192.0.2.20\n", "hint: its network inner is internal"],
    );
    trace(&world, "c1 d1:80", 1, &["not reached: dropped in host by ", "table inet rcnt-"]);
    trace(&world, "g1 f1:80", 1, &["not reached: dropped in host by ", "table inet rcnt-"]);
    let six = world.inspect("f1", "/NetworkSettings/Networks/six/GlobalIPv6Address");
    let six = six.as_str().unwrap();
    trace(&world, &format!("e1 [{six}]:80"), 0, &["accepts connections (f1)"]);
    trace(&world, &format!("e1 {six}"), 0, &["answers (f1)"]);
    trace(
        &world,
        &format!("{} [{six}]:80", rcnt_tests::Lan::V6),
        1,
        &["dropped in host by rule \"not published\""],
    );
    // A second network of the same container: the shared one is taken.
    world.ok("network connect inner e1");
    trace(&world, "e1 b1:80", 0, &["dev eth1", "accepts connections (b1)"]);
    let graph = world.ok("network graph");
    for wanted in ["]─ network inner  bridge  internal  ", "── eth1 [e1]", "── eth0 [e1]"]
    {
        assert!(graph.contains(wanted), "{wanted}\n{graph}");
    }
}
