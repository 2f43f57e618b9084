//! The harness itself: what the other files build on must be true.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use rcnt_tests::{Lan, World};

#[test]
fn a_world_is_a_machine_of_its_own_that_reaches_its_lan() {
    let world = World::empty();
    world
        .sh("ls /sys/class/net; cat /etc/resolv.conf")
        .success()
        .prints("eth0\nlo\nnameserver 192.0.2.53\nsearch lan.test");
    world.sh(&format!("busybox ping -c1 -W2 {}", Lan::V4)).success();
    world.sh(&format!("busybox ping -c1 -W2 {}", Lan::V6)).success();
    world.lan().sh(&format!("busybox ping -c1 -W2 {}", World::V4)).success();
    world.sh("ls /sys/fs/cgroup | head -n1").success();
    world.sh("command -v rcnt").prints("/srv/bin/rcnt");
}

#[test]
fn what_stays_behind_is_found() {
    let world = World::empty();
    world
        .sh("ip link add left type veth peer name right; nft add table inet other; \
         mount -t tmpfs forgotten /srv/tmp; mkdir -p /srv/run/ports; echo >/srv/run/ports/tcp-1; \
         (sleep 99 >/dev/null 2>&1 &)")
        .success();
    let failure =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.nothing_is_left()));
    let message = *failure.unwrap_err().downcast::<String>().unwrap();
    for part in
        ["sleep 99", "link left", "link right", "nft table inet other", "forgotten", "tcp-1"]
    {
        assert!(message.contains(part), "{part} not in {message}");
    }
    world.sh(
        "ip link del left; nft delete table inet other; umount /srv/tmp; rm /srv/run/ports/tcp-1; \
         kill $(pidof sleep)",
    )
    .success();
}

#[test]
fn a_terminal_has_a_session_a_size_and_a_job_to_control() {
    let world = World::empty();
    let mut terminal = world.terminal_of("sh");
    // One job, so that the key cannot fall between two commands of the shell.
    terminal.line("sh -c 'stty size; exec sleep 50'");
    terminal.expect("24 80");
    terminal.send("\x03");
    terminal.resize(50, 132);
    terminal.line("stty size");
    terminal.expect("50 132");
    terminal.line("exit 7");
    assert_eq!(terminal.wait(), 7);
}
