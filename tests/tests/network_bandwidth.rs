//! `--bandwidth`: real transfers take as long as they should.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::time::Duration;

use rcnt_tests::World;

/// On the LAN: takes what is sent to port 98 and tells how long it took, then sends
/// as much from port 97.
const PEER: &str = "
import socket, time
a, b = socket.create_server(('192.0.2.20', 98)), socket.create_server(('192.0.2.20', 97))
print('ready', flush=True)
c, n = a.accept()[0], 0
t = time.time()
while d := c.recv(65536): n += len(d)
print('took', n, time.time() - t, flush=True)
c.close()
c = b.accept()[0]
c.sendall(bytes(1000000))
c.close()
";

#[test]
fn a_transfer_takes_as_long_as_its_bandwidth_says() {
    let world = World::new();
    let peer = world.lan().job("python3", ["-c", PEER]).start();
    peer.expect("ready");
    world.ok("run -d --name slow --bandwidth 16mbit/8mbit busybox sleep 100");
    // 8 Mbit out at 8 Mbit/s; 64 KiB of it may go at once.
    let send = "head -c 1000000 /dev/zero | nc 192.0.2.20 98";
    world.rcnt(["exec", "slow", "sh", "-c", send]).success();
    peer.expect("took 1000000 ");
    let seconds = peer.stdout().split_whitespace().last().unwrap().parse::<f64>().unwrap();
    assert!((0.8..4.0).contains(&seconds), "out took {seconds} s");
    // 8 Mbit in at 16 Mbit/s.
    let fetch = "nc 192.0.2.20 97 </dev/null | wc -c";
    let output = world.rcnt(["exec", "slow", "sh", "-c", fetch]).success().prints("1000000");
    let took = output.took;
    assert!(took > Duration::from_millis(400) && took < Duration::from_secs(4), "in took {took:?}");
    // It is the container's, not this run's: a restart keeps it.
    world.ok("restart -t 0 slow");
    let veths = world.ok_sh("tc qdisc show");
    assert!(veths.contains("qdisc tbf") && veths.contains("rate 16Mbit"), "{veths}");
    let pid = world.pid_of("slow");
    let inside = world.ok_sh(&format!("nsenter -t {pid} -n tc qdisc show dev eth0"));
    assert!(inside.contains("rate 8Mbit"), "{inside}");
    assert_eq!(world.inspect("slow", "/HostConfig/Bandwidth"), "16000000bit/8000000bit");
    // Somebody takes it away.
    world.rcnt("network check").success().prints("");
    let veth = world.ok_sh("ip -o link show type veth | grep -o 'veth[0-9a-f]*' | head -n1");
    for (harm, told) in [
        (format!("tc qdisc del dev {veth} root"), "its bandwidth in is not limited"),
        (
            format!(
                "nsenter -t {pid} -n tc qdisc replace dev eth0 root tbf rate 9mbit burst 64k limit 99k"
            ),
            "its bandwidth out is not limited",
        ),
    ] {
        world.ok_sh(&harm);
        world.rcnt("network check").exits(1).has(told);
        world.rcnt("network check --repair").success().has(told);
        world.rcnt("network check").success().prints("");
    }
    world.rcnt("rm -f slow").success();
    world.nothing_is_left();
}

#[test]
fn one_side_alone_other_networks_and_nonsense() {
    let world = World::new();
    world.ok("network create more");
    world.ok("run -d --name some --bandwidth /1gbit --network more busybox sleep 100");
    world.ok("network connect bridge some");
    let pid = world.pid_of("some");
    for interface in ["eth0", "eth1"] {
        let inside = world.ok_sh(&format!("nsenter -t {pid} -n tc qdisc show dev {interface}"));
        assert!(inside.contains("rate 1Gbit"), "{interface}: {inside}");
    }
    assert!(!world.ok_sh("tc qdisc show").contains("tbf"), "nothing limits what comes in");
    for (words, complaint) in [
        ("--bandwidth fast", "invalid value \"fast\" for --bandwidth: expected IN/OUT"),
        ("--bandwidth 1mbit --network host", "conflicting options: --bandwidth and a network"),
    ] {
        world.rcnt(format!("run --rm {words} busybox true")).fails(125, &[complaint]);
    }
    world.rcnt("rm -f some").success();
    world.nothing_is_left();
}
