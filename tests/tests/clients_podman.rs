//! podman(1) with `--runtime rcnt-oci`: what its user sees of a container's life.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::time::Duration;

use rcnt_tests::{Client, Kind, Shared, eventually};

fn podman() -> Shared {
    Client::shared(Kind::Podman)
}

/// A container that sleeps, without a network.
fn sleeper(podman: &Client, name: &str, options: &str) {
    podman.ok(format!("run -d --net=none --name {name} {options} busybox sleep 1000"));
}

#[test]
fn run_passes_output_and_exit_codes_through() {
    let podman = podman();
    let run = |command: &str| podman.run(format!("run --rm --net=none {command}"));
    run("busybox sh -c 'echo out; echo err >&2; exit 3'").exits(3).prints("out").warns("err");
    run("busybox nosuch").exits(127).warns("executable file not found in $PATH");
    run("busybox /etc/passwd").exits(126).warns("permission denied");
    run("busybox /etc").exits(126);
    run("-w /made/for/it busybox pwd").exits(126).warns("/made/for/it");
    let mut cat = podman.start("run -i --rm --net=none busybox cat");
    cat.send("typed\n");
    cat.close_stdin();
    cat.wait(Duration::from_secs(20)).success().prints("typed");
}

#[test]
fn exec_runs_beside_the_container() {
    let podman = podman();
    sleeper(&podman, "ex", "-e FROM=run");
    podman.run("exec ex sh -c 'echo out; exit 7'").exits(7).prints("out");
    podman
        .run("exec -u web -w /tmp -e ADDED=exec ex sh -c 'id; pwd; echo $FROM $ADDED'")
        .success()
        .has("uid=1000(web) gid=1000(web)")
        .has("2000(extra)")
        .has("\n/tmp\nrun exec");
    podman.run("exec ex nosuch").exits(127).warns("executable file not found in $PATH");
    podman.run("exec ex /etc/passwd").exits(126).warns("permission denied");
    podman.run("exec -w /none ex true").exits(127).warns("no such file or directory");
    podman
        .run("exec --privileged ex grep CapEff /proc/self/status")
        .success()
        .has_not("00000000a80425fb");
    let mut terminal = podman.terminal("exec -it ex sh");
    terminal.line("stty size; tty");
    terminal.expect("24 80");
    terminal.expect("/dev/pts/");
    terminal.line("exit 5");
    assert_eq!(terminal.wait(), 5);
    podman.ok("rm -f -t 0 ex");
}

#[test]
fn a_signal_ends_a_container_and_its_code_says_so() {
    let podman = podman();
    sleeper(&podman, "sig", "");
    podman.ok("kill -s KILL sig");
    podman.run("wait sig").success().prints("137");
    podman.ok("start sig");
    podman.ok("restart -t 0 sig");
    podman.ok("stop -t 0 sig");
    podman.run("inspect --format '{{.State.Status}}' sig").success().prints("exited");
    podman.ok("start sig");
    podman.world().kill("KILL", podman.pid_of("sig"));
    eventually("podman sees the end of a container killed from outside", || {
        podman.ok("inspect --format '{{.State.Status}} {{.State.ExitCode}}' sig") == "exited 137"
    });
    podman.ok("rm sig");
    assert_eq!(podman.ok("ps -aq --filter name=^sig$"), "");
}

#[test]
fn attach_pause_logs_top_and_stats_show_the_container() {
    let podman = podman();
    podman.ok("run -dit --net=none --name at busybox sh");
    let mut terminal = podman.terminal("attach at");
    terminal.line("echo h''ello");
    terminal.expect("hello");
    // podman wants the keys that detach one by one.
    terminal.send("\x10");
    std::thread::sleep(Duration::from_millis(300));
    terminal.send("\x11");
    terminal.wait();
    podman.run("logs at").success().has("hello");
    podman.ok("pause at");
    podman.run("inspect --format '{{.State.Status}}' at").success().prints("paused");
    podman.run("exec at true").exits_any().warns("can only create exec sessions on running");
    podman.ok("unpause at");
    podman.run("top at pid comm").success().has("1           sh");
    podman.run("stats --no-stream --format '{{.PIDs}}' at").success().prints("1");
    podman
        .run("events --stream=false --since 5m --filter container=at --format '{{.Status}}'")
        .success()
        .has("unpause");
    podman.ok("rm -f -t 0 at");
    let mut terminal = podman.terminal("run -it --rm --net=none busybox sh");
    terminal.line("stty size; tty; exit 4");
    terminal.expect("24 80");
    terminal.expect("/dev/pts/0");
    assert_eq!(terminal.wait(), 4);
}

#[test]
fn limits_are_in_the_cgroup_and_can_be_changed() {
    let podman = podman();
    sleeper(
        &podman,
        "lim",
        "--memory 64m --cpus 0.5 --pids-limit 50 --cpuset-cpus 0 --ulimit nofile=512:512 --ulimit nproc=1000:1000",
    );
    let cgroup = |v1: &str, v2: &str| podman.cgroup_of("lim", v1, v2);
    assert_eq!(cgroup("memory/memory.limit_in_bytes", "memory.max"), "67108864");
    assert!(cgroup("cpu/cpu.cfs_quota_us", "cpu.max").starts_with("50000"));
    assert_eq!(cgroup("pids/pids.max", "pids.max"), "50");
    assert_eq!(cgroup("cpuset/cpuset.cpus", "cpuset.cpus"), "0");
    podman.run("exec lim sh -c 'ulimit -n'").success().prints("512");
    podman.ok("update --memory 128m --cpus 1 lim");
    assert_eq!(cgroup("memory/memory.limit_in_bytes", "memory.max"), "134217728");
    assert!(cgroup("cpu/cpu.cfs_quota_us", "cpu.max").starts_with("100000"));
    podman.ok("rm -f -t 0 lim");
    let hungry = "sh -c 'head -c 100000000 /dev/zero | tail'";
    podman
        .run(format!("run --net=none --name oom --memory 16m --memory-swap 16m busybox {hungry}"))
        .exits(137);
    podman.ok("rm oom");
}

#[test]
fn files_rights_and_namespaces_are_as_asked() {
    let podman = podman();
    let run = |command: &str| podman.run(format!("run --rm --net=none {command}"));
    podman.world().write("/srv/shared/file", "of the host\n");
    run("-v /srv/shared:/s:ro busybox sh -c 'cat /s/file; touch /s/x'")
        .exits(1)
        .prints("of the host")
        .warns("Read-only file system");
    run("-v vol:/data busybox sh -c 'echo kept >/data/x'").success();
    run("-v vol:/data busybox cat /data/x").success().prints("kept");
    podman.ok("volume rm vol");
    run("--read-only --tmpfs /made:size=1m busybox sh -c 'touch /x; df -k /made | tail -n1'")
        .success()
        .warns("Read-only file system")
        .has("1024");
    run("--user web busybox id").success().has("uid=1000(web)").has("2000(extra)");
    run("--cap-drop ALL --cap-add NET_RAW busybox grep CapEff /proc/self/status")
        .success()
        .has("0000000000002000");
    run("busybox grep Seccomp: /proc/self/status").success().has("2");
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],
        "action":"SCMP_ACT_ERRNO","errnoRet":1}]}"#;
    podman.world().write("/srv/profile.json", profile);
    run("--security-opt seccomp=/srv/profile.json busybox mkdir /x")
        .exits(1)
        .warns("operation not permitted");
    run("--privileged busybox sh -c 'mount -t tmpfs none /tmp && echo mounted'")
        .success()
        .prints("mounted");
    run("--init busybox sh -c 'cat /proc/1/cmdline'").success().has("init");
    run("--sysctl net.ipv4.ip_forward=1 busybox cat /proc/sys/net/ipv4/ip_forward")
        .success()
        .prints("1");
    run("--device /dev/fuse busybox sh -c ': </dev/fuse && echo opened'")
        .success()
        .prints("opened");
    run("--uidmap 0:100000:65536 --gidmap 0:100000:65536 busybox cat /proc/self/uid_map")
        .success()
        .has("100000");
    run("--security-opt no-new-privileges busybox grep NoNewPrivs /proc/self/status")
        .success()
        .has("1");
    let host = podman.world().ok_sh("for n in pid ipc uts net; do readlink /proc/self/ns/$n; done");
    let script = "for n in pid ipc uts net; do readlink /proc/self/ns/$n; done";
    let all = [
        "run",
        "--rm",
        "--pid=host",
        "--ipc=host",
        "--uts=host",
        "--net=host",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    podman.run(all).success().prints(&host);
}

#[test]
fn a_pod_shares_what_its_containers_need_to_talk() {
    let podman = podman();
    let parent = podman.world().cgroup_parent();
    let infra = "--network none --infra-image busybox --infra-command 'sleep 1000'";
    let pod = podman.ok(format!("pod create --name pod --cgroup-parent /{parent} {infra}"));
    podman.ok("run -d --pod pod --name podweb busybox httpd -f -p 80 -h /www");
    let page = "wget -qO- http://127.0.0.1/";
    podman.run(format!("run --rm --pod pod busybox {page}")).success().prints("hello from busybox");
    podman.run("pod top pod").success().has("httpd").has("sleep 1000");
    podman.ok("pod pause pod");
    podman.run("pod inspect --format '{{.State}}' pod").success().prints("Paused");
    podman.ok("pod unpause pod");
    podman.run("generate kube pod").success().has("kind: Pod").has("name: podweb");
    podman.ok("pod stop -t 0 pod");
    // podman 4.3 fails to remove a pod whose monitors are about to exit.
    eventually("the pod's monitors end", || {
        let of = |name: &str| podman.world().pids_with(&format!("-n {name}"));
        of("podweb").is_empty() && of(&format!("{}-infra", &pod[..12])).is_empty()
    });
    podman.ok("pod rm -f -t 0 pod");
    podman.remove_empty_cgroup(&pod);
}

#[test]
fn containers_share_namespaces_and_reach_each_other() {
    let podman = podman();
    podman.ok("run -d --name web busybox httpd -f -p 80 -h /www");
    let page = "wget -qO- http://127.0.0.1/";
    podman
        .run(format!("run --rm --net container:web busybox {page}"))
        .success()
        .prints("hello from busybox");
    podman.run("run --rm --net none --pid container:web busybox ps").success().has("httpd");
    let address = podman.ok("inspect --format '{{.NetworkSettings.IPAddress}}' web");
    podman
        .run(format!("run --rm busybox wget -qO- http://{address}/"))
        .success()
        .prints("hello from busybox");
    podman.ok("rm -f -t 0 web");
}

#[test]
fn health_is_checked_inside_the_container() {
    let podman = podman();
    sleeper(&podman, "ill", "--health-cmd 'test -e /tmp/ok' --health-interval disable");
    podman.run("healthcheck run ill").exits(1);
    podman.ok("exec ill touch /tmp/ok");
    podman.run("healthcheck run ill").success();
    podman.ok("rm -f -t 0 ill");
}
