//! dockerd with `--default-runtime` set to rcnt-oci: what docker's user sees.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::time::Duration;

use rcnt_tests::{Client, Kind, Output, Shared, eventually};

fn docker() -> Shared {
    Client::shared(Kind::Docker)
}

/// `docker run --rm --net=none`.
fn run(docker: &Client, command: &str) -> Output {
    docker.run(format!("run --rm --net=none {command}"))
}

/// A container that sleeps, without a network.
fn sleeper(docker: &Client, name: &str, options: &str) {
    docker.ok(format!("run -d --net=none --name {name} {options} busybox sleep 1000"));
}

fn inspect(docker: &Client, container: &str, format: &str) -> String {
    docker.ok(["inspect", "--format", format, container])
}

#[test]
fn run_passes_output_input_and_exit_codes_through() {
    let docker = docker();
    run(&docker, "busybox sh -c 'echo out; echo err >&2; exit 3'")
        .exits(3)
        .prints("out")
        .warns("err");
    run(&docker, "busybox nosuch")
        .exits(127)
        .warns("OCI runtime create failed: ")
        .warns("exec: \"nosuch\": executable file not found in $PATH");
    run(&docker, "busybox /etc/passwd")
        .exits(126)
        .warns("exec: \"/etc/passwd\": permission denied");
    run(&docker, "busybox /etc").exits(126).warns("is a directory");
    run(&docker, "-w /made/for/it busybox pwd").success().prints("/made/for/it");
    // The runtime's own words reach the user.
    run(&docker, "--sysctl net.nosuch=1 busybox true").exits_any().warns("net.nosuch");
    let mut cat = docker.start("run -i --rm --net=none busybox cat");
    cat.send("typed\n");
    cat.expect("typed");
    cat.close_stdin();
    cat.wait(Duration::from_secs(10)).success().prints("typed");
    let mut terminal = docker.terminal("run -it --rm --net=none busybox sh");
    terminal.line("stty size; tty; exit 4");
    terminal.expect("24 80");
    terminal.expect("/dev/pts/0");
    assert_eq!(terminal.wait(), 4);
}

#[test]
fn exec_and_attach_reach_the_container() {
    let docker = docker();
    sleeper(&docker, "ex", "-e FROM=run");
    docker.run("exec ex sh -c 'echo out; exit 7'").exits(7).prints("out");
    docker
        .run("exec -u web -w /tmp -e ADDED=exec ex sh -c 'id; pwd; echo $FROM $ADDED'")
        .success()
        .has("uid=1000(web) gid=1000(web)")
        .has("2000(extra)")
        .has("\n/tmp\nrun exec");
    // dockerd 20.10 says so on standard output, and exits with 126.
    docker.run("exec ex nosuch").exits_any().has("executable file not found in $PATH");
    docker.run("exec ex /etc/passwd").exits(126).has("permission denied");
    docker
        .run("exec --privileged ex grep CapEff /proc/self/status")
        .success()
        .has_not("00000000a80425fb");
    docker.run("top ex").success().has("sleep 1000");
    let mut terminal = docker.terminal("exec -it ex sh");
    terminal.line("stty size");
    terminal.expect("24 80");
    eventually("the terminal in the container has the new size", || {
        // Twice, since the first may come before the client listens for it.
        terminal.resize(50, 131);
        terminal.resize(50, 132);
        terminal.line("stty size");
        std::thread::sleep(Duration::from_millis(100));
        terminal.shows().contains("50 132")
    });
    terminal.line("exit 5");
    assert_eq!(terminal.wait(), 5);
    docker.ok("rm -f ex");

    docker.ok("run -dit --net=none --name at busybox sh");
    let mut terminal = docker.terminal("attach at");
    terminal.line("echo h''ello");
    terminal.expect("hello");
    // The keys that detach; what docker then exits with has changed over the years.
    terminal.send("\x10\x11");
    terminal.wait();
    assert_eq!(inspect(&docker, "at", "{{.State.Running}}"), "true");
    docker.run("logs at").success().has("hello");
    docker.ok("rm -f at");
}

#[test]
fn a_container_stops_pauses_and_dies_as_told() {
    let docker = docker();
    docker.ok(["run", "-d", "--net=none", "--name", "life", "busybox", "sh", "-c",
        "trap 'echo got USR1' USR1; trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.1; done"]);
    eventually("it is up", || docker.ok("logs life").contains("up"));
    docker.ok("kill -s USR1 life");
    eventually("the signal is seen", || docker.ok("logs life").contains("got USR1"));
    docker.ok("pause life");
    assert_eq!(inspect(&docker, "life", "{{.State.Status}}"), "paused");
    docker.run("exec life true").exits(1).warns("is paused");
    docker.ok("unpause life");
    docker.ok("exec life true");
    docker.run("stop -t 10 life").success().within(Duration::from_secs(8));
    assert_eq!(inspect(&docker, "life", "{{.State.ExitCode}}"), "9");
    docker.run("logs life").success().has("bye");
    docker.ok("start life");
    docker.ok("restart -t 0 life");
    docker.world().kill("KILL", docker.pid_of("life"));
    docker.run("wait life").success().prints("137");
    docker.ok("start life");
    docker.ok("rm -f life");
    docker.run("inspect life").exits(1);
}

#[test]
fn limits_are_in_the_cgroup_and_can_be_changed() {
    let docker = docker();
    sleeper(
        &docker,
        "lim",
        "--memory 64m --cpus 0.5 --pids-limit 50 --cpuset-cpus 0 --ulimit nofile=512:512",
    );
    let cgroup = |v1: &str, v2: &str| docker.cgroup_of("lim", v1, v2);
    assert_eq!(cgroup("memory/memory.limit_in_bytes", "memory.max"), "67108864");
    assert!(cgroup("cpu/cpu.cfs_quota_us", "cpu.max").starts_with("50000"));
    assert_eq!(cgroup("pids/pids.max", "pids.max"), "50");
    assert_eq!(cgroup("cpuset/cpuset.cpus", "cpuset.cpus"), "0");
    docker.run("exec lim sh -c 'ulimit -n'").success().prints("512");
    docker.ok("update --memory 128m --memory-swap 256m --cpus 1 --pids-limit 77 lim");
    assert_eq!(cgroup("memory/memory.limit_in_bytes", "memory.max"), "134217728");
    assert!(cgroup("cpu/cpu.cfs_quota_us", "cpu.max").starts_with("100000"));
    assert_eq!(cgroup("pids/pids.max", "pids.max"), "77");
    let stats = docker.ok("stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' lim");
    assert!(stats.ends_with(" 1") && stats.contains("/ 128MiB"), "{stats}");
    docker.ok("rm -f lim");
    let hungry = "sh -c 'head -c 100000000 /dev/zero | tail'";
    docker
        .run(format!("run --net=none --name oom --memory 16m --memory-swap 16m busybox {hungry}"))
        .exits(137);
    // Told by an event of its own, which may come after that of the end.
    let told = || inspect(&docker, "oom", "{{.State.OOMKilled}}") == "true";
    eventually("docker knows of the lack of memory", told);
    // docker cuts "now" to the second, which would hide what has just happened.
    let soon = docker.world().ok_sh("date -d '+2 seconds' +%s");
    docker
        .run(format!(
            "events --since 5m --until {soon} --filter container=oom --format '{{{{.Action}}}}'"
        ))
        .success()
        .has("oom")
        .has("die");
    docker.ok("rm oom");
}

#[test]
fn files_and_devices_are_where_the_user_wants_them() {
    let docker = docker();
    docker.world().write("/srv/shared/file", "of the host\n");
    run(&docker, "-v /srv/shared:/s:ro busybox sh -c 'cat /s/file; touch /s/x'")
        .exits(1)
        .prints("of the host")
        .warns("Read-only file system");
    run(&docker, "-v /srv/shared:/s busybox sh -c 'echo new >/s/new'").success();
    assert_eq!(docker.world().read("/srv/shared/new"), "new\n");
    run(&docker, "-v vol:/data busybox sh -c 'echo kept >/data/x'").success();
    run(&docker, "-v vol:/data busybox cat /data/x").success().prints("kept");
    docker.ok("volume rm vol");
    run(&docker, "--read-only --tmpfs /tmp:size=1m busybox sh -c 'touch /x; touch /tmp/y && df -k /tmp | tail -n1'")
        .success()
        .warns("Read-only file system")
        .has("1024");
    run(
        &docker,
        "--device /dev/fuse:/dev/ff:r busybox sh -c ': </dev/ff && echo opened; : >/dev/ff'",
    )
    .exits(1)
    .prints("opened")
    .warns("not permitted");
    run(&docker, "--shm-size 2m busybox df -k /dev/shm").success().has(" 2048 ");
    // Masked and read-only paths of docker's default.
    run(&docker, "busybox sh -c 'wc -c </proc/timer_list; echo 1 >/proc/sys/kernel/panic'")
        .exits(1)
        .warns("Read-only file system");
    run(&docker, "--privileged busybox sh -c 'ls /dev/full /dev/kmsg; mount -t tmpfs none /tmp && echo mounted'").success().has("/dev/kmsg").has("mounted");
}

#[test]
fn identity_and_rights_are_as_asked() {
    let docker = docker();
    run(&docker, "--user web busybox id")
        .success()
        .has("uid=1000(web) gid=1000(web)")
        .has("2000(extra)");
    run(&docker, "--user 5:6 --group-add 77 busybox id")
        .success()
        .prints("uid=5 gid=6 groups=6,77");
    run(&docker, "--cap-drop ALL --cap-add NET_RAW busybox grep CapEff /proc/self/status")
        .success()
        .has("0000000000002000");
    run(&docker, "--security-opt no-new-privileges busybox grep NoNewPrivs /proc/self/status")
        .success()
        .has("1");
    // The default profile is in force: mount(2) and new user namespaces are refused.
    run(&docker, "busybox grep Seccomp: /proc/self/status").success().has("2");
    run(&docker, "--cap-add SYS_PTRACE busybox unshare -U true").exits(1).warns("not permitted");
    run(&docker, "--security-opt seccomp=unconfined busybox grep Seccomp: /proc/self/status")
        .success()
        .has("0");
    run(&docker, "--init busybox cat /proc/1/comm").success().prints("docker-init");
    run(&docker, "--hostname here --domainname lan.test busybox sh -c 'hostname; cat /proc/sys/kernel/domainname'").success().prints("here\nlan.test");
    run(&docker, "--sysctl net.ipv4.ip_forward=1 busybox cat /proc/sys/net/ipv4/ip_forward")
        .success()
        .prints("1");
}

#[test]
fn namespaces_are_shared_where_asked() {
    let docker = docker();
    let host = docker.world().ok_sh("for n in pid ipc uts net; do readlink /proc/self/ns/$n; done");
    let of = |options: &str| {
        let script = "for n in pid ipc uts net; do readlink /proc/self/ns/$n; done";
        docker.ok(["run", "--rm", options, "busybox", "sh", "-c", script])
    };
    for (n, option) in ["--pid=host", "--ipc=host", "--uts=host", "--net=host"].iter().enumerate() {
        let here = of(option);
        for (i, (ours, hosts)) in here.lines().zip(host.lines()).enumerate() {
            assert_eq!(ours == hosts, i == n, "{option}: {here} beside {host}");
        }
    }
    docker.ok("run -d --name web busybox httpd -f -p 80 -h /www");
    let address = inspect(&docker, "web", "{{.NetworkSettings.IPAddress}}");
    docker
        .run(format!("run --rm busybox wget -qO- http://{address}/"))
        .success()
        .prints("hello from busybox");
    docker
        .run("run --rm --net container:web busybox wget -qO- http://127.0.0.1/")
        .success()
        .prints("hello from busybox");
    docker.run("run --rm --pid container:web busybox ps").success().has("httpd");
    docker.ok("rm -f web");
}

#[test]
fn health_is_checked_inside_the_container() {
    let docker = docker();
    sleeper(
        &docker,
        "ill",
        "--health-cmd 'test -e /tmp/ok' --health-interval 300ms --health-retries 1",
    );
    let is = |health: &str| inspect(&docker, "ill", "{{.State.Health.Status}}") == health;
    eventually("it is unhealthy", || is("unhealthy"));
    docker.ok("exec ill touch /tmp/ok");
    eventually("it is healthy", || is("healthy"));
    docker.ok("rm -f ill");
}

#[test]
fn root_in_a_remapped_daemons_container_is_nobody_outside() {
    let docker = Client::new(Kind::RemappedDocker);
    run(&docker, "busybox sh -c 'id -u; touch /x; stat -c %u /x; cat /proc/self/uid_map'")
        .success()
        .has("0\n0\n")
        .has("200000");
    docker.run("run --rm busybox ip addr show eth0").success().has("172.17.");
    sleeper(&docker, "mapped", "");
    let pid = docker.pid_of("mapped");
    docker.world().sh(&format!("stat -c %u /proc/{pid}")).success().prints("200000");
    docker.run("exec mapped id -u").success().prints("0");
    docker.ok("rm -f mapped");
}
