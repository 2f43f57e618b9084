//! `rcnt network check`: drift of every kind is found, told in a line, and mended
//! while connections go on; other firewalls that drop are named.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use rcnt_tests::{World, eventually};

#[track_caller]
fn serve(world: &World, name: &str, flags: &str) {
    world.ok(format!("run -d --name {name} {flags} probe"));
    eventually("the server is ready", || world.ok(["logs", name]).contains("ready"));
}

/// Our table.
fn table(world: &World) -> String {
    world.ok_sh("nft list tables | grep -o 'rcnt.*'")
}

/// The container's end of the host, `veth…`.
fn veth(world: &World) -> String {
    world.ok_sh("ip -o link show type veth | grep -o 'veth[0-9a-f]*' | head -n1")
}

#[test]
fn what_is_as_recorded_is_not_mentioned() {
    let world = World::with_servers();
    world.rcnt("network check").success().prints("");
    serve(&world, "web", "-p 8080:80 -p 127.0.0.1:5300:53/udp");
    world.rcnt("network check").success().prints("");
    world.rcnt("network check web bridge").success().prints("");
    world.rcnt("network check nosuch").fails(1, &["nosuch"]);
    world.rcnt("network check --format xml").fails(1, &["xml", "json"]);
}

#[test]
fn drift_of_every_kind_is_found_and_mended() {
    let world = World::with_servers();
    serve(&world, "web", "-p 8080:80");
    let (veth, table) = (veth(&world), table(&world));
    // What a supervisor mends by itself would be mended before it is found.
    let supervisor = world.inspect("web", "/State/Pid").to_string();
    let supervisor = world.ok_sh(&format!("ps -o ppid= -p {supervisor}"));
    world.ok_sh(&format!("kill -STOP {supervisor}"));
    let inside = format!("nsenter -t {} -n", world.pid_of("web"));
    let address = world.address_of("web");
    let cases = [
        ("nft flush ruleset".to_owned(), "nftables table inet rcnt"),
        (format!("nft flush chain inet {table} forward"), "not whole"),
        (
            // As many rules as before, but another.
            format!(
                "nft delete rule inet {table} forward handle \
                 $(nft -a list chain inet {table} forward | sed -n 's/.*drop.*handle //p' | tail -n1); \
                 nft add rule inet {table} forward accept"
            ),
            "chain forward of nftables table inet",
        ),
        (
            format!("nft 'chain inet {table} forward {{ policy drop; }}'"),
            "chain forward of nftables table inet",
        ),
        (format!("nft flush map inet {table} any4"), "element of set any4"),
        (
            format!("nft delete element inet {table} talk {{ rcnt0 . rcnt0 }}"),
            "element of set talk",
        ),
        (
            format!("nft add element inet {table} any4 {{ tcp . 9 : 10.9.9.9 . 9 }}"),
            "leads to nobody",
        ),
        (format!("ip link set {veth} nomaster"), "not in bridge rcnt0"),
        (format!("ip link set {veth} down"), "is down"),
        ("ip link set rcnt0 down".to_owned(), "bridge rcnt0 is down"),
        ("ip -4 addr flush dev rcnt0".to_owned(), "lost its address"),
        ("ip link del rcnt0".to_owned(), "bridge rcnt0 is gone"),
        (format!("{inside} ip addr flush dev eth0"), "lost its address"),
        (format!("{inside} ip route del default"), "default route"),
        (format!("{inside} ip link set eth0 down"), "is down inside"),
        (format!("ip link del {veth}"), "is gone"),
        ("sysctl -qw net.ipv4.ip_forward=0".to_owned(), "net/ipv4/ip_forward is 0, not 1"),
        ("sysctl -qw net.ipv4.conf.rcnt0.forwarding=0".to_owned(), "rcnt0/forwarding is 0, not 1"),
        ("sysctl -qw net.ipv4.conf.eth0.forwarding=0".to_owned(), "eth0/forwarding is 0, not 1"),
        ("sysctl -qw net.ipv4.conf.rcnt0.route_localnet=0".to_owned(), "route_localnet"),
        (format!("rm {}/ports/tcp-0.0.0.0-8080", World::EXEC), "claim ports/tcp-0.0.0.0-8080"),
        (format!("rm -r {}/networks/bridge/members", World::EXEC), "member of bridge"),
    ];
    for (harm, told) in cases {
        world.ok_sh(&harm);
        let found = world.rcnt("network check").exits(1);
        assert!(found.stdout.contains(told), "{harm}\n{found}");
        let mended = world.rcnt("network check --repair").success();
        assert!(mended.stdout.lines().all(|l| l.ends_with(": repaired")), "{harm}\n{mended}");
        let again = world.rcnt("network check");
        assert!(again.code == 0 && again.stdout.is_empty(), "{harm}\n{again}");
        world.page_tcp("127.0.0.1:8080");
        world.lan().tcp(&format!("{}:8080", World::V4), "").unwrap();
        world.tcp(&format!("{address}:80"), "").unwrap();
    }
    let json = world.rcnt("network check --format json").success();
    json.prints("");
    world.ok_sh(&format!("nft flush map inet {table} any4"));
    let line = world.rcnt("network check --format json").exits(1);
    let value: serde_json::Value = serde_json::from_str(line.stdout.trim()).unwrap();
    assert_eq!(
        (value["Subject"].as_str(), value["Repaired"].as_bool()),
        (Some("container web"), Some(false))
    );
    world.ok_sh(&format!("kill -CONT {supervisor}"));
    world.ok("rm -f web");
    world.nothing_is_left();
}

#[test]
fn healthy_connections_survive_a_repair() {
    let world = World::with_servers();
    let echo = "nc -ll -p 80 -e cat";
    world.ok(["run", "-d", "--name", "echo", "-p", "8080:80", "busybox", "sh", "-c", echo]);
    serve(&world, "web", "-p 8081:80");
    let client = "import socket,sys
s = socket.create_connection(('192.0.2.10', 8080), 5)
for line in sys.stdin:
    s.sendall(line.encode()); print(s.recv(99).decode(), end='', flush=True)";
    eventually("it listens", || {
        world.ok("exec echo cat /proc/net/tcp /proc/net/tcp6").contains(":0050 ")
    });
    let mut talk = world.lan().job("python3", ["-c", client]).start();
    talk.send("one\n");
    talk.expect("one");
    world.ok_sh("nft flush ruleset; sysctl -qw net.ipv4.ip_forward=0");
    world.rcnt("network check --repair").success().has("repaired");
    talk.send("two\n");
    talk.expect("two");
}

#[test]
fn a_firewall_that_drops_is_named_and_dockers_door_is_opened() {
    let world = World::with_servers();
    serve(&world, "web", "-p 8080:80");
    let reached = || world.lan().tcp(&format!("{}:8080", World::V4), "").is_ok();
    assert!(reached());
    // firewalld's, as nft lists it.
    world.ok_sh(
        "nft 'add table inet firewalld; add chain inet firewalld filter_FORWARD \
         { type filter hook forward priority 10; policy drop; }'",
    );
    assert!(!reached());
    let named = "host: chain filter_FORWARD of nftables table inet firewalld has policy drop";
    world.rcnt("network check").exits(1).has(named);
    // Not ours to change.
    world.rcnt("network check --repair").exits(1).has(named).has("rcnt does not change it");
    world.ok_sh("nft delete table inet firewalld");
    // docker's, by iptables-nft.
    world.ok_sh(
        "iptables-nft -N DOCKER-USER; iptables-nft -A DOCKER-USER -j RETURN; \
         iptables-nft -A FORWARD -j DOCKER-USER; iptables-nft -P FORWARD DROP",
    );
    assert!(!reached());
    world.rcnt("network check").exits(1).has("chain FORWARD of nftables table ip filter");
    world.rcnt("network check --repair").success().has("repaired");
    world.rcnt("network check").success().prints("");
    assert!(reached());
    // docker's own tool still reads the table, and may go on.
    world.sh("iptables-nft -S DOCKER-USER").success().has("-i rcnt0 ").has("-j ACCEPT");
    world.ok_sh("iptables-nft -I DOCKER-USER -s 198.51.100.1 -j DROP");
    world.rcnt("network check").success();
    world.ok_sh("iptables-nft -P FORWARD ACCEPT; iptables-nft -F; iptables-nft -X");
    world.ok_sh("nft delete table ip filter");
}

#[test]
fn a_bridge_is_let_through_dockers_door_when_it_is_made_and_shut_out_when_it_goes() {
    let world = World::with_servers();
    let docker = "iptables-nft -N DOCKER-USER; iptables-nft -A DOCKER-USER -j RETURN; \
                  iptables-nft -A FORWARD -j DOCKER-USER; iptables-nft -P FORWARD DROP";
    world.ok_sh(docker);
    serve(&world, "web", "-p 8080:80");
    world.lan().tcp(&format!("{}:8080", World::V4), "").unwrap();
    world.ok("network create more");
    let rules = || world.ok_sh("iptables-nft -S DOCKER-USER");
    assert_eq!(rules().matches("ACCEPT").count(), 4, "{}", rules());
    world.ok("network rm more");
    assert_eq!(rules().matches("ACCEPT").count(), 2, "{}", rules());
    world.ok_sh("iptables-nft -P FORWARD ACCEPT; iptables-nft -F; iptables-nft -X");
    world.ok_sh("nft delete table ip filter");
}

#[test]
fn a_real_dockerd_and_rcnt_live_side_by_side() {
    let world = World::with_servers();
    let parent = format!("/{}", world.cgroup_parent());
    let dockerd = world
        .job(
            "dockerd",
            format!(
                "--data-root /srv/docker/data --exec-root /srv/docker/run --pidfile /srv/docker/pid \
                 -H unix:///srv/docker/socket --cgroup-parent {parent}"
            ),
        )
        .start();
    let rules = || world.sh("iptables -S").stdout;
    eventually("dockerd has made its rules", || rules().contains("-P FORWARD DROP"));
    eventually("dockerd answers", || world.sh("docker -H unix:///srv/docker/socket ps").code == 0);
    let reached = |port: u16| world.lan().tcp(&format!("{}:{port}", World::V4), "").is_ok();
    // Bridges are let through docker's chain when they are made.
    serve(&world, "before", "-p 8080:80");
    assert!(reached(8080), "{}", rules());
    world.ok("network create later");
    serve(&world, "after", "--network later -p 8081:80");
    assert!(reached(8081), "{}", rules());
    world.rcnt("network check").success().prints("");
    world.rcnt("exec after ping -c1 -W2 192.0.2.20").success();
    world.ok("rm -f before after");
    world.ok("network rm later");
    assert_eq!(rules().matches("rcnt0 ").count(), 2, "{}", rules());
    dockerd.signal(rustix::process::Signal::TERM);
    dockerd.wait(std::time::Duration::from_secs(20));
    world.ok_sh(
        "nft flush ruleset; ip link del docker0; umount -q /srv/docker/run/netns/default; true",
    );
    world.rebase();
}
