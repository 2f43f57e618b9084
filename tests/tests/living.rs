//! Living with containers: everything after `run -d`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::time::Duration;

use rcnt_tests::{World, eventually};
use serde_json::json;

/// A container that sleeps.
#[track_caller]
fn sleeper(world: &World, name: &str) -> String {
    world.ok(format!("run -d --name {name} --net=none busybox sleep 1000"))
}

#[test]
fn ps_shows_what_runs_and_with_a_what_ran() {
    let world = World::new();
    let id = world.ok("run -d --name up busybox sleep 1000");
    world.rcnt("run --name down --net=none busybox sh -c 'exit 3'").exits(3);
    let table = world.rcnt("ps").success();
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    let columns: Vec<&str> =
        lines[0].split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
    assert_eq!(
        columns,
        ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    );
    for part in [&id[..12], "busybox", "\"sleep 1000\"", "ago", "Up ", "up"] {
        assert!(lines[1].contains(part), "{part}\n{table}");
    }
    world.rcnt("ps -a").success().has("Exited (3)").has("down").has("up");
    world.rcnt("ps -q").success().prints(&id[..12]);
    world.rcnt("ps -q --no-trunc").success().prints(&id);
    world
        .rcnt(["ps", "-a", "--format", "{{.Names}}\t{{.Image}}\t{{.State}}"])
        .success()
        .has("up\tbusybox\trunning")
        .has("down\tbusybox\texited");
    world.rcnt("ps -a --filter name=down -q").success().has_not(&id[..12]);
    world.rcnt("ps -a --filter status=exited").success().has("down").has_not("Up ");
    world.rcnt("ps -l").success().has("down").has_not("Up ");
    let json = world.rcnt("ps --format json").success();
    assert_eq!(json.json()["Names"], json!("up"));
}

#[test]
fn logs_keep_streams_apart_and_tail_and_timestamps_work() {
    let world = World::new();
    world.rcnt("run --name cc --net=none busybox sh -c 'echo one; echo two >&2; echo three; printf unfinished'").success();
    let output = world.rcnt("logs cc").success().prints("one\nthree\nunfinished");
    assert_eq!(output.stderr, "two\n");
    world.rcnt("logs --tail 1 cc").success().prints("unfinished");
    world.rcnt("logs -n 0 cc").success().prints("");
    let stamped = world.rcnt("logs -t cc").success();
    let line = stamped.stdout.lines().next().unwrap_or_default();
    assert!(line.starts_with("20") && line.contains('T') && line.ends_with(" one"), "{stamped}");
    world.rcnt("logs nosuch").fails(1, &["nosuch", "no such container"]);
}

#[test]
fn logs_follow_until_the_container_ends() {
    let world = World::new();
    world.ok("run -d --name cc --net=none busybox sh -c 'for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done'");
    let output = world.job("rcnt", "logs -f cc").limit(Duration::from_secs(20)).run();
    output.success().prints("line 1\nline 2\nline 3\nline 4\nline 5");
}

#[test]
fn exec_runs_beside_the_first_process() {
    let world = World::new();
    sleeper(&world, "cc");
    world.rcnt("exec cc echo hi").success().prints("hi");
    world.rcnt("exec cc sh -c 'exit 7'").exits(7);
    world.rcnt("exec cc sh -c 'kill -9 $$'").exits(137);
    world.rcnt("exec cc nosuch").fails(127, &["nosuch"]);
    world.rcnt("exec cc /etc/not-executable").fails(126, &["/etc/not-executable"]);
    world.rcnt("exec cc sh -c 'echo out; echo err >&2'").success().prints("out").warns("err");
    world.job("rcnt", "exec -i cc cat").stdin("typed").run().success().prints("typed");
    world.job("rcnt", "exec cc cat").stdin("typed").run().success().prints("");
    let env =
        world.rcnt("exec -e A=1 -u web -w /tmp cc sh -c 'echo $A $(id -u) $(pwd) $HOME'").success();
    env.prints("1 1000 /tmp /home/web");
    // The same namespaces, cgroup and rights as the first process.
    let same = "sh -c 'for n in mnt pid ipc uts net; do readlink /proc/self/ns/$n; done'";
    let first = same.replace("self", "1");
    assert_eq!(world.ok(format!("exec cc {same}")), world.ok(format!("exec cc {first}")));
    world.rcnt("exec cc sh -c 'cat /proc/self/cgroup >/tmp/a; cat /proc/1/cgroup >/tmp/b; cmp /tmp/a /tmp/b'").success();
    world
        .rcnt("exec cc grep -E '^(CapEff|Seccomp:)' /proc/self/status")
        .success()
        .prints("CapEff:\t00000000a80425fb\nSeccomp:\t2");
    world
        .rcnt("exec --privileged cc grep ^Seccomp: /proc/self/status")
        .success()
        .prints("Seccomp:\t0");
    world.ok("stop -t 0 cc");
    world.rcnt("exec cc true").fails(1, &["not running"]);
    world.rcnt("exec nosuch true").fails(1, &["nosuch", "no such container"]);
}

#[test]
fn a_detached_exec_goes_on_alone() {
    let world = World::new();
    sleeper(&world, "cc");
    world
        .rcnt("exec -d cc sh -c 'sleep 0.3; echo done >/tmp/flag; sleep 1000'")
        .success()
        .prints("");
    eventually("it wrote", || world.rcnt("exec cc cat /tmp/flag").stdout == "done\n");
    world.ok("rm -f cc");
    world.nothing_is_left();
}

#[test]
fn an_exec_ends_when_its_container_does() {
    let world = World::new();
    sleeper(&world, "cc");
    let exec = world.start("exec cc sh -c 'echo in; sleep 1000'");
    exec.expect("in");
    world.ok("kill cc");
    exec.wait(Duration::from_secs(10)).exits(137);
}

#[test]
fn stop_asks_first_and_kills_after_its_time() {
    let world = World::new();
    world.ok("run -d --name polite --net=none busybox sh -c 'trap \"exit 5\" TERM; echo ready; while :; do sleep 0.05; done'");
    eventually("ready", || world.ok("logs polite").contains("ready"));
    world.rcnt("stop polite").success().prints("polite").within(Duration::from_secs(5));
    assert_eq!(world.inspect("polite", "/State/ExitCode"), json!(5));
    sleeper(&world, "deaf");
    world.rcnt("stop -t 1 deaf").success().within(Duration::from_secs(4));
    assert_eq!(world.inspect("deaf", "/State/ExitCode"), json!(137));
    world.rcnt("stop deaf").success();
    world.rcnt("stop nosuch deaf").exits(1).warns("nosuch").prints("deaf");
}

#[test]
fn kill_sends_the_signal_named() {
    let world = World::new();
    world.ok("run -d --name cc --net=none busybox sh -c 'trap \"echo got it\" USR1; echo ready; while :; do sleep 0.05; done'");
    eventually("ready", || world.ok("logs cc").contains("ready"));
    world.rcnt("kill -s USR1 cc").success().prints("cc");
    eventually("the signal came", || world.ok("logs cc").contains("got it"));
    world.rcnt("kill --signal SIGUSR1 cc").success();
    world.rcnt("kill -s 10 cc").success();
    world.rcnt("kill -s BOGUS cc").fails(1, &["BOGUS"]);
    world.rcnt("kill cc").success();
    eventually("it ended", || world.inspect("cc", "/State/Running") == json!(false));
    assert_eq!(world.inspect("cc", "/State/ExitCode"), json!(137));
    world.rcnt("kill cc").fails(1, &["not running"]);
}

#[test]
fn rm_refuses_what_runs_unless_forced() {
    let world = World::new();
    sleeper(&world, "aa");
    world.rcnt("rm aa").fails(1, &["aa", "running"]);
    world.rcnt("rm -f aa").success().prints("aa").within(Duration::from_secs(5));
    world.rcnt("rm aa").fails(1, &["aa", "no such container"]);
    for name in ["bb", "cc", "dd"] {
        sleeper(&world, name);
    }
    world.rcnt("rm -f bb cc nosuch dd").success().prints("bb\ncc\ndd").warns("nosuch");
    world.rcnt("ps -aq").success().prints("");
    world.nothing_is_left();
}

#[test]
fn inspect_tells_all_in_dockers_words() {
    let world = World::new();
    let id = world.ok("run -d --name web -h box -e A=1 -l k=v -w /tmp -v /srv/home:/h:ro -p 8080:80 busybox sleep 1000");
    let all = world.rcnt("inspect web").success().json();
    let one = &all[0];
    assert_eq!(one["Id"], json!(id));
    assert_eq!(one["Name"], json!("/web"));
    assert_eq!(one["Path"], json!("sleep"));
    assert_eq!(one["Args"], json!(["1000"]));
    let state = &one["State"];
    assert_eq!(
        (&state["Status"], &state["Running"], &state["ExitCode"]),
        (&json!("running"), &json!(true), &json!(0))
    );
    assert!(state["Pid"].as_u64().unwrap() > 1);
    assert!(state["StartedAt"].as_str().unwrap().starts_with("20"));
    let config = &one["Config"];
    assert_eq!(config["Image"], json!("busybox"));
    assert_eq!(config["Hostname"], json!("box"));
    assert_eq!(config["Cmd"], json!(["sleep", "1000"]));
    assert_eq!(config["WorkingDir"], json!("/tmp"));
    assert_eq!(config["Labels"]["k"], json!("v"));
    assert!(config["Env"].as_array().unwrap().contains(&json!("A=1")));
    assert!(one["Image"].as_str().unwrap().starts_with("sha256:"));
    let mount = &one["Mounts"][0];
    assert_eq!(
        (&mount["Type"], &mount["Source"], &mount["Destination"], &mount["RW"]),
        (&json!("bind"), &json!("/srv/home"), &json!("/h"), &json!(false))
    );
    assert_eq!(one["HostConfig"]["NetworkMode"], json!("bridge"));
    let network = &one["NetworkSettings"]["Networks"]["bridge"];
    for field in ["IPAddress", "Gateway", "MacAddress"] {
        assert!(!network[field].as_str().unwrap().is_empty(), "{field}: {network:#}");
    }
    world
        .rcnt(["inspect", "-f", "{{.State.Status}} {{.Config.Image}}", "web"])
        .success()
        .prints("running busybox");
    world
        .rcnt(["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "web"])
        .success()
        .prints(&world.address_of("web"));
    let image = world.rcnt("inspect --type image busybox").success().json();
    assert_eq!(image[0]["RepoTags"], json!(["busybox:latest"]));
    world.rcnt("inspect nosuch").exits(1).warns("nosuch");
    world.ok("stop -t 0 web");
    let state = world.inspect("web", "/State");
    assert_eq!(
        (&state["Status"], &state["Running"], &state["Pid"]),
        (&json!("exited"), &json!(false), &json!(0))
    );
}

#[test]
fn start_brings_a_stopped_container_back_with_its_files_and_ports() {
    let world = World::with_servers();
    let id = world.ok("run -d --name web -p 8080:80 web");
    world.page("127.0.0.1:8080");
    world.ok("exec web sh -c 'echo changed >/www/index.html'");
    world.ok("stop -t 0 web");
    assert!(world.fetch("127.0.0.1:8080").is_err());
    world.rcnt("start web").success().prints("web");
    assert_eq!(world.page("127.0.0.1:8080"), "changed\n");
    assert_eq!(world.inspect("web", "/Id"), json!(id));
    world.rcnt("start web").success();
    world.rcnt("start nosuch").fails(1, &["nosuch", "no such container"]);
    // Attached, it passes output and exit code on.
    world.rcnt("run --name once --net=none busybox sh -c 'echo again; exit 6'").exits(6);
    world.rcnt("start -a once").exits(6).prints("again");
}

#[test]
fn restart_gives_a_new_process_in_the_same_container() {
    let world = World::with_servers();
    world.ok("run -d --name web -p 8080:80 web");
    let before = world.pid_of("web");
    world.rcnt("restart -t 0 web").success().prints("web");
    assert_ne!(world.pid_of("web"), before);
    world.page("127.0.0.1:8080");
    world.ok("stop -t 0 web");
    world.rcnt("restart web").success();
    world.page("127.0.0.1:8080");
}

#[test]
fn wait_blocks_and_prints_the_exit_codes() {
    let world = World::new();
    world.ok("run -d --name aa --net=none busybox sh -c 'sleep 0.5; exit 3'");
    world.ok("run -d --name bb --net=none busybox sh -c 'exit 4'");
    world.rcnt("wait aa bb").success().prints("3\n4");
    sleeper(&world, "cc");
    let mut waiting = world.start("wait cc");
    std::thread::sleep(Duration::from_millis(200));
    assert!(waiting.is_running());
    world.ok("kill cc");
    waiting.wait(Duration::from_secs(10)).success().prints("137");
    world.rcnt("wait nosuch").fails(1, &["nosuch"]);
}

#[test]
fn unique_prefixes_of_ids_do_and_ambiguous_ones_do_not() {
    let world = World::new();
    let id = sleeper(&world, "first");
    for length in [64, 12, 8] {
        world.rcnt(["exec", &id[..length], "echo", "hi"]).success().prints("hi");
    }
    // With seventeen ids two must begin with the same digit.
    let mut ids = vec![id];
    while ids.len() < 17 {
        ids.push(world.ok("create --net=none busybox true"));
    }
    let twice = ids
        .iter()
        .map(|id| &id[..1])
        .find(|p| ids.iter().filter(|i| i.starts_with(*p)).count() > 1);
    let prefix = twice.unwrap();
    world.rcnt(["inspect", prefix]).exits(1).warns(prefix);
    world.rcnt(["rm", prefix]).exits(1).warns(prefix);
    // A name wins over a prefix.
    world.ok(["create", "--name", &format!("{prefix}{prefix}"), "--net=none", "busybox", "true"]);
    world.rcnt(["rm", &format!("{prefix}{prefix}")]).success();
    let rest: Vec<&str> = ids.iter().map(String::as_str).collect();
    world.rcnt([&["rm", "-f"][..], &rest[..]].concat().as_slice()).success();
}

#[test]
fn create_then_start_is_run() {
    let world = World::new();
    let id = world.ok("create --name cc --net=none busybox sh -c 'echo ran'");
    assert_eq!(world.inspect("cc", "/State/Status"), json!("created"));
    world.rcnt(["ps", "-a", "--format", "{{.Status}}"]).success().prints("Created");
    world.rcnt(["start", "-a", &id[..12]]).success().prints("ran");
}

#[test]
fn a_container_that_ends_by_itself_is_recorded_and_cleaned() {
    let world = World::with_servers();
    world.ok("run -d --name cc -p 8080:80 busybox sh -c 'sleep 0.3; exit 9'");
    eventually("it ended", || world.inspect("cc", "/State/Status") == json!("exited"));
    assert_eq!(world.inspect("cc", "/State/ExitCode"), json!(9));
    assert!(world.inspect("cc", "/State/FinishedAt").as_str().unwrap().starts_with("20"));
    // Its port and address are free before it is removed.
    world.ok("run -d --name dd -p 8080:80 web");
    world.page("127.0.0.1:8080");
    assert_eq!(world.ok_sh("ip -o link show type veth | grep -vc eth0@"), "1");
}

#[test]
fn a_fresh_container_has_none_of_the_last_ones_files() {
    let world = World::new();
    world.rcnt("run --rm --net=none busybox sh -c 'echo x >/file; rm /bin/vi'").success();
    world
        .rcnt("run --rm --net=none busybox sh -c 'ls /file; ls /bin/vi'")
        .exits(0)
        .prints("/bin/vi");
}

#[test]
fn output_nobody_reads_does_not_stop_the_container() {
    let world = World::new();
    world.ok("run -d --name cc --net=none busybox sh -c 'head -c 20000000 /dev/zero | tr \"\\\\0\" \"x\"; echo; echo end; sleep 1000'");
    eventually("it got to its end", || world.rcnt("logs --tail 1 cc").stdout.ends_with("end\n"));
}
