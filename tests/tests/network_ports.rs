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
