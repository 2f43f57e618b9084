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
