//! containerd's ctr(8) with `--runc-binary rcnt-oci`, as Kubernetes' containerd
//! runs it: one task, its processes, its cgroup.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use rcnt_tests::{Client, Kind, Output, RUNTIME, Shared, eventually};

const IMAGE: &str = "docker.io/library/busybox:latest";

fn containerd() -> Shared {
    Client::shared(Kind::Containerd)
}

/// `ctr run` up to the image's name, in a cgroup of the world's own.
fn words(ctr: &Client, options: &str, name: &str) -> String {
    let parent = ctr.world().cgroup_parent();
    format!("run --runc-binary {RUNTIME} --cgroup /{parent}/{name} {options} {IMAGE} {name}")
}

fn run(ctr: &Client, options: &str, name: &str, command: &str) -> Output {
    ctr.run(format!("{} {command}", words(ctr, &format!("--rm {options}"), name)))
}

fn sleeper(ctr: &Client, name: &str, options: &str) {
    ctr.ok(format!("{} sleep 1000", words(ctr, &format!("-d {options}"), name)));
}

/// The status that `ctr task ls` shows.
fn status(ctr: &Client, name: &str) -> String {
    let list = ctr.ok("task ls");
    let line = list.lines().find(|line| line.split_whitespace().next() == Some(name));
    line.and_then(|l| l.split_whitespace().nth(2)).unwrap_or("none").to_owned()
}

fn remove(ctr: &Client, name: &str) {
    ctr.run(format!("task delete -f {name}"));
    ctr.ok(format!("container delete {name}"));
}

#[test]
fn run_passes_output_and_exit_codes_through() {
    let ctr = containerd();
    run(&ctr, "", "r1", "sh -c 'echo out; echo err >&2; exit 3'")
        .exits(3)
        .prints("out")
        .warns("err");
    run(&ctr, "", "r2", "nosuch").exits(1).warns("executable file not found in $PATH");
    run(&ctr, "", "r3", "/etc/passwd").exits(1).warns("permission denied");
    let line = words(&ctr, "--rm -t", "r4");
    let mut terminal = ctr.terminal(format!("{line} sh"));
    terminal.line("stty size; tty");
    terminal.expect("24 80");
    terminal.expect("/dev/pts/0");
    terminal.line("exit 4");
    assert_eq!(terminal.wait(), 4);
    assert_eq!(ctr.ok("container ls -q").lines().filter(|l| l.starts_with('r')).count(), 0);
}

#[test]
fn a_task_is_paused_joined_and_killed() {
    let ctr = containerd();
    sleeper(&ctr, "task", "--env FROM=run");
    assert_eq!(status(&ctr, "task"), "RUNNING");
    ctr.run("task exec --exec-id e1 task sh -c 'echo $FROM; exit 7'").exits(7).prints("run");
    ctr.run("task exec --exec-id e2 --user 1000:1000 --cwd /tmp task sh -c 'id -u; pwd'")
        .success()
        .prints("1000\n/tmp");
    ctr.run("task exec --exec-id e3 task nosuch")
        .exits(1)
        .warns("executable file not found in $PATH");
    let mut terminal = ctr.terminal("task exec -t --exec-id e4 task sh");
    terminal.line("stty size");
    terminal.expect("24 80");
    terminal.line("exit 5");
    assert_eq!(terminal.wait(), 5);
    ctr.run("task ps task").success().has(&ctr.pid_of("task").to_string());
    ctr.ok("task pause task");
    assert_eq!(status(&ctr, "task"), "PAUSED");
    ctr.ok("task resume task");
    assert_eq!(status(&ctr, "task"), "RUNNING");
    ctr.ok("task kill -s SIGKILL task");
    eventually("the task has stopped", || status(&ctr, "task") == "STOPPED");
    ctr.run("task delete task").success().warns("exit code 137");
    // The container outlives its task and may get another.
    ctr.ok("task start -d task");
    ctr.world().kill("KILL", ctr.pid_of("task"));
    eventually("containerd sees the end of a task killed from outside", || {
        status(&ctr, "task") == "STOPPED"
    });
    remove(&ctr, "task");
    assert_eq!(status(&ctr, "task"), "none");
}

#[test]
fn limits_are_in_the_cgroup_and_metrics_come_from_it() {
    let ctr = containerd();
    sleeper(&ctr, "lim", "--memory-limit 67108864 --cpus 0.5");
    let cgroup = |v1: &str, v2: &str| ctr.cgroup_of("lim", v1, v2);
    assert_eq!(cgroup("memory/memory.limit_in_bytes", "memory.max"), "67108864");
    assert!(cgroup("cpu/cpu.cfs_quota_us", "cpu.max").starts_with("50000"));
    ctr.run("task metrics lim").success().has("67108864").has("memory.usage_in_bytes");
    remove(&ctr, "lim");
    run(&ctr, "--memory-limit 16777216", "oom", "sh -c 'head -c 100000000 /dev/zero | tail'")
        .exits(137);
}

#[test]
fn files_rights_and_namespaces_are_as_asked() {
    let ctr = containerd();
    ctr.world().write("/srv/shared/file", "of the host\n");
    let mount = "--mount type=bind,src=/srv/shared,dst=/s,options=rbind:ro";
    run(&ctr, mount, "f1", "sh -c 'cat /s/file; touch /s/x'")
        .exits(1)
        .prints("of the host")
        .warns("Read-only file system");
    run(&ctr, "--read-only", "f2", "touch /x").exits(1).warns("Read-only file system");
    run(&ctr, "--cwd /tmp --env A=b", "f3", "sh -c 'pwd; echo $A'").success().prints("/tmp\nb");
    let mapped = "--uidmap 0:100000:65536 --gidmap 0:100000:65536";
    run(&ctr, mapped, "f12", "sh -c 'id -u; cat /proc/self/uid_map'")
        .success()
        .has("0\n")
        .has("100000");
    run(&ctr, "--cap-add CAP_SYS_PTRACE", "f4", "grep CapEff /proc/self/status")
        .success()
        .has("00000000a80c25fb");
    run(&ctr, "--privileged", "f5", "sh -c 'mount -t tmpfs none /tmp && echo mounted'")
        .success()
        .prints("mounted");
    run(&ctr, "--seccomp", "f6", "grep Seccomp: /proc/self/status").success().has("2");
    run(&ctr, "--device /dev/fuse", "f7", "sh -c ': </dev/fuse && echo opened'")
        .success()
        .prints("opened");
    run(&ctr, "", "f8", "sh -c ': </dev/fuse'").exits(1);
    let host = ctr.world().ok_sh("readlink /proc/self/ns/net");
    run(&ctr, "--net-host", "f9", "readlink /proc/self/ns/net").success().prints(&host);
    run(&ctr, "", "f10", "readlink /proc/self/ns/net").success().has_not(&host);
    sleeper(&ctr, "other", "");
    let pid = ctr.pid_of("other");
    let theirs = ctr.world().ok_sh(&format!("readlink /proc/{pid}/ns/net"));
    let join = format!("--with-ns network:/proc/{pid}/ns/net");
    run(&ctr, &join, "f11", "readlink /proc/self/ns/net").success().prints(&theirs);
    remove(&ctr, "other");
}
