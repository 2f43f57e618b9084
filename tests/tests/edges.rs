//! The edges of a container's life: what only shows when two things happen at
//! once, or when somebody does what nobody does.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use rcnt_tests::{World, eventually};

/// The supervisor of a running container.
fn supervisor(world: &World, name: &str) -> u32 {
    let status = world.read(&format!("/proc/{}/status", world.pid_of(name)));
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap_or_default();
    parent.trim().parse().unwrap()
}

#[test]
fn cve_2019_5736_nobody_can_write_to_the_file_a_supervisor_runs_from() {
    let world = World::new();
    world.ok("run -d --name cc --net=none busybox sleep 1000");
    let exe = format!("/proc/{}/exe", supervisor(&world, "cc"));
    // Not merely "text file busy", which ends with the last process that runs it:
    // truncating asks for the mount first.
    world.sh(&format!("echo owned >{exe}")).exits(2).warns("Read-only file system");
}

#[test]
fn descriptors_of_the_caller_stay_with_the_caller() {
    let world = World::new();
    world
        .sh("exec 9>/srv/home/lock; rcnt run -d --name cc --net=none busybox sleep 1000")
        .success();
    world.sh("ls -l /proc/[0-9]*/fd | grep -F /srv/home/lock").exits(1);
}

#[test]
fn a_container_starts_again_right_after_its_end() {
    let world = World::new();
    world.ok("create --name quick -p 9000-9020:9000-9020 busybox true");
    for _ in 0..15 {
        world.rcnt("start quick").success();
    }
    world.rcnt("wait quick").success();
}

#[test]
fn real_time_signals_stop_and_kill() {
    let world = World::new();
    let script = "trap 'exit 5' 37; echo ready; while :; do sleep 0.05; done";
    world.ok([
        "run",
        "-d",
        "--name=cc",
        "--net=none",
        "--stop-signal=RTMIN+3",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    eventually("the trap is set", || world.rcnt("logs cc").stdout.contains("ready"));
    world.rcnt("stop -t 10 cc").success();
    assert_eq!(world.inspect("cc", "/State/ExitCode"), 5);
    world.ok("start cc");
    eventually("it is ready again", || world.rcnt("logs cc").stdout.matches("ready").count() == 2);
    world.rcnt("kill -s SIGRTMIN+3 cc").success();
    world.rcnt("wait cc").success().prints("5");
}

#[test]
fn a_restarted_container_with_rm_stays_until_it_ends() {
    let world = World::new();
    world.ok("run -d --rm --name cc --net=none busybox sleep 1000");
    world.rcnt("restart -t 0 cc").success();
    world.rcnt("ps").success().has("cc");
    world.rcnt("stop -t 0 cc").success();
    eventually("it is removed", || !world.rcnt("ps -a").stdout.contains("cc"));
}

#[test]
fn limits_hold_for_exec_and_ports_do_not_change_them() {
    let world = World::new();
    world.ok("run -d --name cc --net=none --ulimit nofile=100:200 busybox sleep 1000");
    world.rcnt(["exec", "cc", "sh", "-c", "ulimit -n; ulimit -Hn"]).success().prints("100\n200");
    // Three hundred reservations need more descriptors than the caller may have.
    world
        .sh("ulimit -S -n 256; rcnt run --rm -p 20000-20299:20000-20299 busybox sh -c 'ulimit -n'")
        .success()
        .prints("256");
}

#[test]
fn input_ends_when_the_command_line_it_came_through_is_killed() {
    let world = World::new();
    let run = world.start("run -i --name cc --net=none busybox cat");
    eventually("it runs", || world.rcnt("ps -q --filter name=cc").stdout.len() > 1);
    run.signal(rustix::process::Signal::KILL);
    world.rcnt("wait cc").success().prints("0");
}

#[test]
fn a_terminal_that_was_let_go_of_can_be_opened_again() {
    let world = World::new();
    let script = "exec 0<&- 1>&- 2>&-; sleep 1.5; echo again >/dev/console; sleep 3";
    world.ok(["run", "-dt", "--name=cc", "--net=none", "busybox", "sh", "-c", script]);
    eventually("it is heard again", || world.rcnt("logs cc").stdout.contains("again"));
}

#[test]
fn a_container_that_dug_deep_can_be_removed() {
    let world = World::new();
    let dig = "cd /tmp; i=0; while [ $i -lt 1500 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done";
    world.rcnt(["run", "--name=cc", "--net=none", "busybox", "sh", "-c", dig]).success();
    world.sh("ulimit -n 256; rcnt rm cc").success();
    world.rcnt("ps -a").success().has_not("cc");
}

#[test]
fn who_joins_a_network_outlives_its_owner_and_keeps_no_link() {
    let world = World::new();
    world.ok("run -d --name owner busybox sleep 1000");
    world.ok("run -d --name guest --net=container:owner busybox sleep 1000");
    world.rcnt("rm -f owner").success();
    world.rcnt("exec guest true").success();
    eventually("the pair is gone", || !world.ok_sh("ip -o link").contains("veth"));
}

#[test]
fn a_wait_without_end_is_not_an_overflow() {
    let world = World::new();
    world.ok("run -d --name cc --net=none busybox sh -c 'trap exit TERM; sleep 1000 & wait'");
    eventually("the trap is set", || world.rcnt("exec cc pidof sleep").stdout.len() > 1);
    world.rcnt("stop -t 9223372036854775807 cc").success();
}

#[test]
fn a_kernel_without_what_is_needed_gets_one_line_and_nothing_is_left() {
    let world = World::new();
    for call in ["open_tree", "clone3", "fsopen"] {
        world
            .injected(&format!("{call}:error=ENOSYS"), "run --rm --net=none busybox true")
            .fails(125, &["needs linux 5.12"]);
    }
    world.rcnt("ps -aq").success().prints("");
}

#[test]
fn debug_logs_every_step_and_its_time() {
    let world = World::new();
    let output = world.rcnt("--debug run --rm -p 8080:80 busybox true").success();
    for step in ["prepare", "clone", "attach network", "rootfs", "mounts", "rights", "start took"] {
        assert!(output.stderr.contains(step), "{step}\n{output}");
    }
    assert!(output.stderr.lines().all(|line| line.contains(" ms")), "{output}");
}
