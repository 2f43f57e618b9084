//! Published ports beyond the title line: paths that the kernel cannot translate.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use rcnt_tests::fixtures::PAGE;
use rcnt_tests::{World, eventually};

/// Starts `probe` as container `name` and waits until its servers are ready.
#[track_caller]
fn serve(world: &World, name: &str, flags: &str) {
    let both = "probe serve udp 53 & exec probe serve tcp 80";
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let args = [&["run", "-d", "--name", name], &flags[..], &["probe", "sh", "-c", both]].concat();
    world.ok(args.as_slice());
    eventually("both are ready", || world.ok(["logs", name]).matches("ready").count() == 2);
}

#[test]
fn localhost_is_served_in_both_families() {
    let world = World::with_servers();
    world.ok("run -d --name web -p 8080:80 web");
    assert_eq!(world.page("[::1]:8080"), PAGE);
    assert_eq!(world.page("127.0.0.1:8080"), PAGE);
    // As docker: on every address, of both families.
    world.rcnt("port web").success().prints("80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080");
    // IPv6 clients reach a container that has IPv4 only.
    assert_eq!(world.page(&format!("[{}]:8080", World::V6)), PAGE);
    assert_eq!(world.lan().page(&format!("[{}]:8080", World::V6)), PAGE);
    // Its connections are still closing (TIME_WAIT): the next holder has the port all the same.
    world.ok("restart -t 0 web");
    assert_eq!(world.page("[::1]:8080"), PAGE);
    world.ok("rm -f web");
    assert!(world.fetch("[::1]:8080").is_err());
}

#[test]
fn datagrams_from_ipv6_loopback_arrive_and_are_answered() {
    let world = World::with_servers();
    serve(&world, "dns", "-p 5300:53/udp -p [::1]:8080:80");
    for _ in 0..3 {
        let answer = world.udp("[::1]:5300", "ping").unwrap();
        assert!(answer.starts_with("ping from "), "{answer}");
    }
    // The answer comes from the address that was asked, or the client would not take it.
    world.ok_sh("ip addr add 2001:db8::11/64 dev eth0 nodad");
    world.lan().udp("[2001:db8::11]:5300", "ping").unwrap();
    world.tcp("[::1]:8080", "").unwrap();
    for elsewhere in ["127.0.0.1:8080".to_owned(), format!("[{}]:8080", World::V6)] {
        assert!(world.tcp(&elsewhere, "").is_err(), "{elsewhere} was not asked for");
    }
    world.rcnt("port dns 80").success().prints("[::1]:8080");
}

#[test]
fn with_ipv6_only_what_cannot_be_routed_is_relayed() {
    let world = World::with_servers();
    world.configure("fixed-cidr-v6 = \"fd00:77::/64\"\n");
    serve(&world, "web", "-p 8080:80 -p 5300:53/udp");
    // Translated by the kernel: the caller's own address arrives.
    let answer = world.lan().tcp(&format!("[{}]:8080", World::V6), "").unwrap();
    assert!(answer.starts_with("from 2001:db8::20 "), "{answer}");
    // Relayed: the bridge's arrives.
    let answer = world.tcp("[::1]:8080", "").unwrap();
    assert!(answer.starts_with("from fd00:77::1 "), "{answer}");
    let ask = "import socket,sys
a = socket.getaddrinfo(sys.argv[1], 8080, type=socket.SOCK_STREAM)[0][4]
s = socket.create_connection(a[:2] if not a[3] else (sys.argv[1], 8080), 3)
print(s.recv(100).decode())
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.settimeout(3)
u.sendto(b'ping', (a[0], 5300, 0, a[3])); print(u.recvfrom(100)[0].decode())";
    let local = world.ok_sh("ip -6 -o addr show dev eth0 scope link | grep -o 'fe80[^/]*'");
    let link_local = format!("{local}%eth0");
    let output = world.lan().job("python3", ["-c", ask, &link_local]).run().success();
    // Whether they call from a link-local address, too, is their kernel's choice.
    output.has("from ").has("ping from ");
}

#[test]
fn without_a_userland_proxy_nothing_is_relayed() {
    let world = World::with_servers();
    world.configure("userland-proxy = false\n");
    serve(&world, "web", "-p 8080:80");
    world.tcp("127.0.0.1:8080", "").unwrap();
    world.rcnt("port web").success().prints("80/tcp -> 0.0.0.0:8080");
    let since = std::time::Instant::now();
    assert!(world.tcp("[::1]:8080", "").is_err());
    assert!(since.elapsed().as_millis() < 500, "refused at once");
    world.rcnt("run -d -p [::1]:8081:80 probe").fails(125, &["8081", "IPv6"]);
}

#[test]
fn a_relayed_connection_ends_with_its_container_and_half_by_half() {
    let world = World::with_servers();
    // Answers only when the client has said all: its half is closed, the other open.
    let answer = "nc -l -p 80 -e sh -c 'cat >/tmp/in; sleep 0.2; wc -c </tmp/in'";
    world.ok(["run", "-d", "--name", "cc", "-p", "8080:80", "busybox", "sh", "-c", answer]);
    let client = "import socket
s = socket.create_connection(('::1', 8080), 5)
s.sendall(b'x' * 3000000); s.shutdown(socket.SHUT_WR); print(s.recv(100).decode())";
    eventually("it listens", || {
        world.ok("exec cc cat /proc/net/tcp /proc/net/tcp6").contains(":0050 ")
    });
    world.job("python3", ["-c", client]).run().success().prints("3000000");
}

#[test]
fn ports_are_added_to_and_removed_from_a_running_container() {
    let world = World::with_servers();
    serve(&world, "web", "-p 8080:80");
    let web = |port: u16| world.tcp(&format!("127.0.0.1:{port}"), "");
    // As long as it runs its process is the same, and so are its connections.
    let pid = world.pid_of("web");
    world.rcnt("port add web -p 8081:80 -p 127.0.0.1:8082-8083:80-81 -p 5300:53/udp").success();
    for port in [8080, 8081, 8082] {
        assert!(web(port).is_ok(), "{port}");
    }
    world.tcp("[::1]:8081", "").unwrap();
    world.lan().tcp(&format!("{}:8081", World::V4), "").unwrap();
    assert!(world.lan().tcp(&format!("{}:8082", World::V4), "").is_err());
    world.udp("127.0.0.1:5300", "ping").unwrap();
    world.rcnt("ps").success().has("0.0.0.0:8081->80/tcp").has("127.0.0.1:8082-8083->80-81/tcp");
    world.rcnt("network check").success().prints("");
    // Reserved, and known to whoever wants it.
    world.rcnt("run -d -p 8081:80 probe").fails(125, &["8081", "web"]);
    let bind = "import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM).bind(('', 8081))";
    world.job("python3", ["-c", bind]).run().exits(1).warns("already in use");
    // Taken, nonsense, not there: one line, and nothing has changed.
    world.rcnt("port add web -p 8084:80 -p 8080:81").fails(1, &["8080"]);
    world.rcnt("port add web -p 70000:80").fails(1, &["70000"]);
    world.rcnt("port rm web 9999:80").fails(1, &["9999:80/tcp is not published by web"]);
    world.rcnt("port rm web 0.0.0.0:8081:80").fails(1, &["[::]:8081", "address"]);
    assert!(web(8084).is_err());
    world.rcnt("port rm web 8081:80 8082:80 53/udp").success();
    assert!(web(8081).is_err() && web(8082).is_err() && web(8080).is_ok());
    assert!(world.tcp("[::1]:8081", "").is_err() && world.udp("127.0.0.1:5300", "x").is_err());
    // (A server may bind past the connections that are still closing.)
    let again = "import socket; socket.create_server(('', 8081))";
    world.job("python3", ["-c", again]).run().success();
    world
        .rcnt("port web")
        .success()
        .prints("80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n81/tcp -> 127.0.0.1:8083");
    assert_eq!(world.pid_of("web"), pid);
    world.rcnt("network check").success().prints("");
    // And from then on at every start; ephemeral ones anew.
    world.ok("port add web -p 80");
    world.ok("restart -t 0 web");
    let ports = world.ok("port web");
    assert!(
        ports.contains("80/tcp -> 0.0.0.0:8080") && ports.contains("127.0.0.1:8083"),
        "{ports}"
    );
    assert_eq!(ports.matches("80/tcp -> 0.0.0.0:").count(), 2, "{ports}");
    world.ok("stop -t 0 web");
    world.ok("port rm web 80");
    world.ok("start web");
    world.rcnt("port web").success().prints("81/tcp -> 127.0.0.1:8083");
    world.ok("rm -f web");
    world.nothing_is_left();
}

#[test]
fn a_container_without_ports_gets_some_and_one_without_a_network_none() {
    let world = World::with_servers();
    serve(&world, "web", "");
    world.ok("port add web 8080:80");
    world.tcp("127.0.0.1:8080", "").unwrap();
    world.tcp("[::1]:8080", "").unwrap();
    world.ok("run -d --name host --net=host busybox sleep 100");
    world.rcnt("port add host -p 81:81").fails(1, &["host", "no ports of its own"]);
    world.rcnt("port add nosuch -p 81:81").fails(1, &["nosuch"]);
    // A container called "add" is one like others.
    world.ok("run -d --name add -p 8082:80 busybox sleep 100");
    world.rcnt("port add 80").success().has("0.0.0.0:8082");
}

#[test]
fn a_thousand_ports_are_published_at_once() {
    let world = World::with_servers();
    serve(&world, "web", "");
    world.ok("port add web -p 20000-20999:1000-1999 -p 8080:80");
    let took = std::time::Instant::now();
    world.ok("port add web -p 21000-21999:2000-2999");
    let took = took.elapsed();
    println!("a thousand ports more: {took:?}");
    world.tcp("127.0.0.1:8080", "").unwrap();
    world.ok("port rm web 20000-20999:1000-1999");
    assert_eq!(world.ok("port web").lines().count(), 2002);
    world.rcnt("network check").success().prints("");
}
