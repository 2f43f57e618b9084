//! kill -9 anywhere: the next command repairs, nothing leaks, the container's
//! own processes are accounted for.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use rcnt_tests::{World, eventually};
use rustix::process::Signal;
use serde_json::json;

/// The process above the container's first one: its supervisor.
#[track_caller]
fn supervisor_of(world: &World, container: &str) -> u32 {
    let pid = world.pid_of(container);
    let status = world.read(&format!("/proc/{pid}/status"));
    let line = status.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn when_the_supervisor_is_killed_the_next_command_repairs() {
    let world = World::with_servers();
    for command in
        ["ps -a", "inspect web", "run --rm --net=none busybox true", "rm -f web", "logs web"]
    {
        world.ok("run -d --name web -p 8080:80 web");
        world.page("127.0.0.1:8080");
        let (supervisor, init) = (supervisor_of(&world, "web"), world.pid_of("web"));
        world.kill("KILL", supervisor);
        // One that is still the user it was started as dies with its supervisor.
        eventually("its processes are gone", || !world.exists(&format!("/proc/{init}")));
        world.rcnt(command).success();
        if command != "rm -f web" {
            let state = world.inspect("web", "/State");
            assert_eq!(
                (&state["Running"], &state["Status"]),
                (&json!(false), &json!("exited")),
                "after {command}"
            );
            assert_eq!(state["ExitCode"], json!(137));
        }
        assert!(world.fetch("127.0.0.1:8080").is_err());
        // Its port is free again, and it can be started again.
        world.ok("run -d --name other -p 8080:80 web");
        world.page("127.0.0.1:8080");
        world.ok("rm -f other");
        if command != "rm -f web" {
            world.ok("start web");
            world.page("127.0.0.1:8080");
            world.ok("rm -f web");
        }
        world.nothing_is_left();
    }
}

#[test]
fn a_container_that_changed_its_user_is_ended_by_the_next_command() {
    let world = World::new();
    // The kernel forgets at a change of user whose death it should follow.
    world.ok("run -d --name cc --net=none busybox su web -c 'sleep 4321 & exec sleep 1234'");
    let init = format!("/proc/{}", world.pid_of("cc"));
    eventually("it is not root any more", || {
        !world.pids_with("sleep 4321").is_empty()
            && world.read(&format!("{init}/status")).contains("Uid:\t1000\t")
    });
    let supervisor = supervisor_of(&world, "cc");
    world.kill("KILL", supervisor);
    eventually("the supervisor is gone", || !world.exists(&format!("/proc/{supervisor}")));
    std::thread::sleep(Duration::from_millis(200));
    assert!(world.exists(&init), "it died with its supervisor: nothing is shown here");
    let list = ["ps", "-a", "--format", "{{.Names}} {{.Status}}"];
    world.rcnt(list).success().has("cc Exited (137)");
    eventually("its processes are gone", || {
        !world.exists(&init) && world.pids_with("sleep 4321").is_empty()
    });
    world.ok("rm cc");
    world.nothing_is_left();
}

#[test]
fn many_supervisors_killed_at_once_are_all_repaired() {
    let world = World::with_servers();
    let names: Vec<String> = (0..6).map(|n| format!("c{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        world.ok(format!("run -d --name {name} -p {}:80 web", 8100 + n));
    }
    for name in &names {
        let pid = supervisor_of(&world, name);
        world.kill("KILL", pid);
    }
    world.rcnt("ps -q").success().prints("");
    world.rcnt(["ps", "-a", "--format", "{{.Status}}"]).success().has("Exited (137)");
    world.ok("rm c0 c1 c2 c3 c4 c5");
    world.nothing_is_left();
}

#[test]
fn a_command_line_killed_in_the_foreground_leaves_a_container_that_can_be_managed() {
    let world = World::new();
    let running = world.start("run --rm --name cc busybox sh -c 'echo ready; sleep 1000'");
    running.expect("ready");
    running.signal(Signal::KILL);
    drop(running);
    world.rcnt("ps -a").success();
    world.rcnt("rm -f cc").success();
    world.nothing_is_left();
}

#[test]
fn run_killed_at_any_time_leaks_nothing() {
    let mut sweep = Sweep::default();
    for n in 0..40 {
        sweep.case(&format!("run killed after {} µs", n * 1500), |world| {
            let run = world.start(RUN);
            std::thread::sleep(Duration::from_micros(n * 1500));
            drop(run);
            recovers(world);
            -1
        });
    }
    sweep.end();
}

/// Calls whose first, second… occurrence the process does not survive: those
/// that change something others can see.
const CHANGES: &str = "mount,move_mount,fsmount,open_tree,mkdir,mkdirat,rename,renameat,renameat2,link,\
    linkat,symlink,symlinkat,unlink,unlinkat,clone,clone3,fork,vfork,sendto,sendmsg,bind,listen,unshare,\
    setns,pivot_root,execve,execveat,ftruncate,fchmod";

const RUN: &str = "run -d --name cc -p 8080:80 web";

#[test]
fn run_killed_at_every_change_it_makes_leaks_nothing() {
    let mut sweep = Sweep::default();
    // -f also kills the supervisor and init at theirs. Until the whole run gets through.
    for nth in 1..400 {
        let code = sweep.case(&format!("run killed at change {nth}"), |world| {
            let code = world.injected(&format!("{CHANGES}:signal=KILL:when={nth}"), RUN).code;
            recovers(world);
            code
        });
        if code == 0 {
            break;
        }
    }
    sweep.end();
}

#[test]
fn rm_killed_at_every_change_it_makes_leaks_nothing() {
    let mut sweep = Sweep::default();
    for nth in 1..200 {
        let code = sweep.case(&format!("rm killed at change {nth}"), |world| {
            world.ok(RUN);
            let inject = format!("{CHANGES},rmdir:signal=KILL:when={nth}");
            let code = world.injected(&inject, "rm -f cc").code;
            recovers(world);
            code
        });
        if code == 0 {
            break;
        }
    }
    sweep.end();
}

#[test]
fn a_start_that_fails_at_any_system_call_is_undone() {
    let mut sweep = Sweep::default();
    // The nth occurrence of each call fails as on a machine out of memory.
    for call in FALLIBLE.split(',') {
        for nth in 1..=6 {
            let code = sweep.case(&format!("{call} #{nth} failed"), |world| {
                let output = world.injected(&format!("{call}:error=ENOMEM:when={nth}"), RUN);
                let lines = output.stderr.lines().count();
                let clear = output.code == 0 || (1..=2).contains(&lines);
                assert!(clear, "one clear line\n{output}");
                recovers(world);
                output.code
            });
            if code == 0 {
                break;
            }
        }
    }
    sweep.end();
}

/// What may fail on the way to a running container.
const FALLIBLE: &str = "clone3,mount,move_mount,fsmount,open_tree,mount_setattr,pivot_root,sendto,\
    sendmsg,mkdirat,mkdir,renameat2,rename,setns,seccomp,execve,socket,bind,pipe2,fork,clone";

/// Many cases in one world; one that fails is noted, and the next gets a new world.
#[derive(Default)]
struct Sweep {
    world: Option<World>,
    failures: Vec<String>,
}

impl Sweep {
    /// Runs a case and returns its exit code, -1 if it failed.
    fn case(&mut self, what: &str, case: impl FnOnce(&World) -> i32) -> i32 {
        if self.failures.len() == 8 {
            return 0;
        }
        let world = self.world.get_or_insert_with(World::with_servers);
        let run = std::panic::AssertUnwindSafe(|| case(world));
        std::panic::catch_unwind(run).unwrap_or_else(|cause| {
            let text = cause.downcast_ref::<String>().cloned().unwrap_or_default();
            self.failures.push(format!("{what}: {text}"));
            if let Some(world) = self.world.take() {
                world.abandon();
            }
            -1
        })
    }

    #[track_caller]
    fn end(self) {
        let count = self.failures.len();
        assert!(count == 0, "{count} cases failed:\n{}", self.failures.join("\n"));
    }
}

/// After whatever happened, the next commands work and nothing is left.
#[track_caller]
fn recovers(world: &World) {
    let listed = world.rcnt("ps -a");
    assert!(listed.code == 0, "ps fails\n{listed}");
    let removed = world.rcnt("rm -f cc");
    assert!(removed.code == 0, "rm fails\n{removed}");
    // The same name, port and address must be there for the next one.
    let again = world.rcnt(RUN);
    assert!(again.code == 0, "the next run fails\n{again}");
    let removed = world.rcnt("rm -f cc");
    assert!(removed.code == 0, "rm of the next one fails\n{removed}");
    world.nothing_is_left();
}

#[test]
fn twenty_four_commands_at_once_do_not_disturb_each_other() {
    let world = World::with_servers();
    let jobs: Vec<_> = (0..24)
        .map(|n| world.start(format!("run -d --name c{n} -p {}:80 web", 8200 + n)))
        .collect();
    for job in jobs {
        job.wait(Duration::from_secs(60)).success();
    }
    let addresses: BTreeSet<String> = (0..24).map(|n| world.address_of(&format!("c{n}"))).collect();
    assert_eq!(addresses.len(), 24, "{addresses:?}");
    for n in 0..24 {
        world.page(&format!("127.0.0.1:{}", 8200 + n));
    }
    let jobs: Vec<_> = (0..24).map(|n| world.start(format!("rm -f c{n}"))).collect();
    for job in jobs {
        job.wait(Duration::from_secs(60)).success();
    }
    world.nothing_is_left();
}

#[test]
fn the_same_name_and_port_at_once_are_won_by_one() {
    let world = World::with_servers();
    let jobs: Vec<_> = (0..10).map(|_| world.start("run -d --name one -p 8080:80 web")).collect();
    let codes: Vec<i32> =
        jobs.into_iter().map(|job| job.wait(Duration::from_secs(60)).code).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert!(codes.iter().all(|code| [0, 125].contains(code)), "{codes:?}");
    let jobs: Vec<_> = (0..10).map(|_| world.start("run -d -p 9090:80 web")).collect();
    let codes: Vec<i32> =
        jobs.into_iter().map(|job| job.wait(Duration::from_secs(60)).code).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(world.ok("ps -aq").lines().count(), 2);
}

#[test]
fn after_a_reboot_containers_are_stopped_and_can_be_started() {
    let world = World::with_servers();
    world.ok("run -d --name web -p 8080:80 web");
    world.page("127.0.0.1:8080");
    let supervisor = supervisor_of(&world, "web");
    world.kill("KILL", supervisor);
    eventually("all is dead", || world.pids_with("httpd").is_empty());
    // What the kernel and /run forget.
    world.sh("rm -rf /srv/run; nft flush ruleset; for l in $(ls /sys/class/net | grep -v -e lo -e eth0); do ip link del $l 2>/dev/null; done").exits_any();
    world.rcnt(["ps", "-a", "--format", "{{.Names}} {{.Status}}"]).success().has("web Exited");
    world.ok("start web");
    world.page("127.0.0.1:8080");
}

#[test]
fn damaged_state_is_named_and_others_still_work() {
    let world = World::new();
    let bad = world.ok("run -d --name bad --net=none busybox sleep 1000");
    world.ok("run -d --name good --net=none busybox sleep 1000");
    let state = format!("/srv/data/containers/{bad}/container.json");
    let whole = world.read(&state);
    world.write(&state, "{");
    world.rcnt("exec good echo hi").success().prints("hi");
    world.rcnt("ps").has("good");
    world.rcnt("inspect bad").exits(1).warns("damaged");
    world.write(&state, whole);
    world.rcnt("exec bad echo hi").success().prints("hi");
}
