//! `rcnt run` without a network: exit codes, process, files, limits, rights.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::time::Duration;

use rcnt_tests::archive::{Image, Layer};
use rcnt_tests::fixtures::busybox_layer;
use rcnt_tests::{World, eventually};
use rustix::process::Signal;
use serde_json::json;

/// `run --rm --net=none` with these flags, then `sh -c script` in busybox.
#[track_caller]
fn sh(world: &World, flags: &str, script: &str) -> rcnt_tests::Output {
    let mut args: Vec<String> =
        rcnt_tests::Args::words(format!("run --rm --net=none {flags} busybox sh -c"));
    args.push(script.to_owned());
    world.rcnt(args)
}

#[test]
fn the_exit_code_is_the_commands() {
    let world = World::new();
    for code in [0, 1, 3, 42, 255] {
        sh(&world, "", &format!("exit {code}")).exits(code);
    }
    // A signal's end is 128 + n; --init lets the shell be killed by its own signal.
    sh(&world, "--init", "kill -KILL $$").exits(137);
    sh(&world, "--init", "kill -TERM $$").exits(143);
    world.nothing_is_left();
}

#[test]
fn what_cannot_be_run_has_dockers_exit_codes() {
    let world = World::new();
    world.rcnt("run --rm --net=none busybox nosuch").fails(127, &["nosuch", "not found"]);
    world.rcnt("run --rm --net=none busybox /nosuch/program").fails(127, &["/nosuch/program"]);
    world
        .rcnt("run --rm --net=none busybox /etc/not-executable")
        .fails(126, &["/etc/not-executable", "permission denied"]);
    world.rcnt("run --rm --net=none busybox /etc").fails(126, &["/etc"]);
    world.rcnt("run --rm --net=none --entrypoint /gone busybox").fails(127, &["/gone"]);
    world.rcnt("run --no-such-flag busybox").exits(125).warns("--no-such-flag");
    world.rcnt("run").fails(1, &["argument"]);
    world.rcnt("nosuchcommand").exits(1);
    world.rcnt("ps -a -q").success().prints("");
}

#[test]
fn a_program_of_another_format_is_named() {
    let world = World::empty();
    let layer = Layer::new().dir("bin", 0o755).file("bin/odd", 0o755, "\u{1}\u{2}\u{3}");
    world.load(&Image::new(&[layer]).docker_archive("odd"));
    world.rcnt("run --rm --net=none odd /bin/odd").fails(126, &["/bin/odd", "exec format"]);
}

#[test]
fn environment_comes_from_image_flags_files_and_the_caller() {
    let world = World::new();
    world.write("/srv/env", "# a comment\nFROM_FILE=one two\n\nPASSED\nEMPTY=\n");
    let output = world
        .job("rcnt", "run --rm --net=none -h box -e A=1 -e CALLER -e UNSET --env A=2 --env-file /srv/env busybox env")
        .env("CALLER", "yes")
        .env("PASSED", "through")
        .run()
        .success();
    let mut lines: Vec<&str> = output.stdout.lines().collect();
    lines.sort_unstable();
    let wanted = [
        "A=2",
        "CALLER=yes",
        "EMPTY=",
        "FROM_FILE=one two",
        "HOME=/root",
        "HOSTNAME=box",
        "PASSED=through",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ];
    assert_eq!(lines, wanted, "{output}");
    world
        .rcnt("run --rm --net=none --env-file /srv/nosuch busybox env")
        .fails(125, &["/srv/nosuch"]);
    world.write("/srv/bad", "two words=1\n");
    world.rcnt("run --rm --net=none --env-file /srv/bad busybox env").fails(125, &["two words"]);
}

#[test]
fn the_user_is_looked_up_in_the_image() {
    let world = World::new();
    let id = "id -u; id -g; id -G; echo $HOME";
    sh(&world, "", id).success().prints("0\n0\n0\n/root");
    sh(&world, "-u web", id).success().prints("1000\n1000\n1000 2000 2001\n/home/web");
    sh(&world, "-u 1000", id).success().prints("1000\n1000\n1000 2000 2001\n/home/web");
    sh(&world, "-u web:extra", id).success().prints("1000\n2000\n2000\n/home/web");
    sh(&world, "--user 1234", id).success().prints("1234\n0\n0\n/");
    sh(&world, "-u 1234:99", id).success().prints("1234\n99\n99\n/");
    world.rcnt("run --rm --net=none -u nosuch busybox true").fails(125, &["nosuch", "passwd"]);
    world.rcnt("run --rm --net=none -u web:nosuch busybox true").fails(125, &["nosuch", "group"]);
}

#[test]
fn the_working_directory_is_made_when_missing() {
    let world = World::new();
    sh(&world, "-w /tmp", "pwd").success().prints("/tmp");
    sh(&world, "--workdir /new/deep/dir", "pwd; stat -c %U .")
        .success()
        .prints("/new/deep/dir\nroot");
    world.rcnt("run --rm --net=none -w relative busybox pwd").fails(125, &["relative"]);
    let output = world.rcnt("run --rm --net=none -w /etc/passwd busybox pwd");
    let code = output.code;
    assert!([125, 126].contains(&code), "{output}");
    output.fails(code, &["/etc/passwd"]);
}

#[test]
fn the_entrypoint_can_be_replaced_and_cleared() {
    let world = World::new();
    let image = Image::new(&[busybox_layer()])
        .with("Entrypoint", json!(["echo", "from the image"]))
        .with("Cmd", json!(["default"]))
        .docker_archive("entry");
    world.load(&image);
    world.rcnt("run --rm --net=none --entrypoint ls entry /www").success().prints("index.html");
    world
        .rcnt(["run", "--rm", "--net=none", "--entrypoint", "", "entry", "pwd"])
        .success()
        .prints("/");
}

#[test]
fn the_hostname_is_the_short_id_or_what_is_asked() {
    let world = World::new();
    let id = world.ok("run -d --name cc --net=none busybox sleep 100");
    assert_eq!(id.len(), 64, "run -d prints the full id: {id}");
    assert_eq!(world.ok("exec cc hostname"), id[..12]);
    sh(&world, "-h box.example.org", "hostname; cat /etc/hostname")
        .success()
        .prints("box.example.org\nbox.example.org");
}

#[test]
fn rm_leaves_no_container_and_without_it_the_container_stays() {
    let world = World::new();
    world.rcnt("run --rm --name gone --net=none busybox true").success();
    world.rcnt("run --name stays --net=none busybox sh -c 'echo x >/file; exit 4'").exits(4);
    world
        .rcnt(["ps", "-a", "--format", "{{.Names}} {{.Status}}"])
        .success()
        .has("stays Exited (4)")
        .has_not("gone");
    world.rcnt("rm stays").success().prints("stays");
    world.rcnt("ps -aq").success().prints("");
}

#[test]
fn a_name_belongs_to_one_container() {
    let world = World::new();
    let id = world.ok("run -d --name web --net=none busybox sleep 100");
    world
        .rcnt("run -d --name web --net=none busybox sleep 100")
        .fails(125, &["web", "already in use", &id[..12]]);
    for bad in ["-x", "a/b", "..", "ä", "with space", ""] {
        let flag = format!("--name={bad}");
        world.rcnt(["run", "-d", &flag, "--net=none", "busybox", "true"]).exits(125);
    }
    world.rcnt("ps -aq").success().prints(&id[..12]);
    world.ok("rm -f web");
    world.ok("run -d --name web --net=none busybox sleep 100");
    // Without a name there is one all the same.
    world.ok("run -d --net=none busybox sleep 100");
    assert_eq!(
        world.ok(["ps", "--format", "{{.Names}}"]).lines().filter(|n| n.len() > 1).count(),
        2
    );
}

#[test]
fn labels_are_kept() {
    let world = World::new();
    world.ok([
        "run",
        "-d",
        "--name",
        "cc",
        "--net=none",
        "--label",
        "a=1",
        "--label",
        "text=two words",
        "-l",
        "bare",
        "busybox",
        "sleep",
        "100",
    ]);
    let labels = world.inspect("cc", "/Config/Labels");
    assert_eq!(labels, json!({ "a": "1", "text": "two words", "bare": "" }));
}

#[test]
fn a_read_only_root_still_has_its_tmpfs_and_volumes() {
    let world = World::new();
    sh(&world, "--read-only", "touch /file").exits(1).warns("read-only file system");
    sh(&world, "--read-only --tmpfs /scratch", "echo x >/scratch/f && cat /scratch/f")
        .success()
        .prints("x");
    sh(&world, "--read-only -v /srv/home:/h", "echo kept >/h/f").success();
    assert_eq!(world.read("/srv/home/f"), "kept\n");
    sh(&world, "--read-only", "echo x >/dev/shm/f && cat /dev/shm/f").success().prints("x");
}

#[test]
fn a_tmpfs_has_the_size_and_mode_asked() {
    let world = World::new();
    let show = "grep ' /t ' /proc/mounts; stat -c %a /t";
    sh(&world, "--tmpfs /t:size=1m,mode=700", show)
        .success()
        .has("tmpfs")
        .has("size=1024k")
        .has("nosuid")
        .has("nodev")
        .has("noexec")
        .has("\n700");
    sh(&world, "--mount type=tmpfs,destination=/t,tmpfs-size=2m,tmpfs-mode=1777", show)
        .success()
        .has("size=2048k")
        .has("1777");
}

#[test]
fn a_bind_mount_is_the_hosts_directory_or_file() {
    let world = World::new();
    world.write("/srv/share/file", "from the host\n");
    sh(&world, "-v /srv/share:/mnt", "cat /mnt/file; echo back >/mnt/answer")
        .success()
        .prints("from the host");
    assert_eq!(world.read("/srv/share/answer"), "back\n");
    sh(&world, "-v /srv/share:/mnt:ro", "touch /mnt/x").exits(1).warns("read-only");
    sh(&world, "-v /srv/share/file:/etc/one:ro", "cat /etc/one").success().prints("from the host");
    sh(&world, "--mount type=bind,source=/srv/share,target=/deep/down", "cat /deep/down/file")
        .success();
    sh(&world, "--mount type=bind,src=/srv/share,dst=/m,readonly", "touch /m/x")
        .exits(1)
        .warns("read-only");
}

#[test]
fn mounts_that_make_no_sense_are_one_clear_line() {
    let world = World::new();
    let run = |flags: &str| world.rcnt(format!("run --rm --net=none {flags} busybox true"));
    run("--mount type=bind,source=/srv/nosuch,target=/x")
        .fails(125, &["/srv/nosuch", "does not exist"]);
    run("-v /srv/home:relative").fails(125, &["relative"]);
    run("-v /srv/home:/x:bogus").fails(125, &["bogus"]);
    run("-v /srv/home:/").fails(125, &["/"]);
    run("--mount type=odd,target=/x").fails(125, &["odd"]);
    run("--mount type=bind,source=/srv/home").fails(125, &["target"]);
    run("--mount type=bind,colour=red,source=/srv/home,target=/x").fails(125, &["colour"]);
    world.rcnt("ps -aq").success().prints("");
}

#[test]
fn a_named_volume_keeps_its_content_and_starts_with_the_images() {
    let world = World::new();
    sh(&world, "-v pages:/www", "cat /www/index.html; echo more >/www/new")
        .success()
        .has("hello from busybox");
    sh(&world, "-v pages:/other", "ls /other").success().prints("index.html\nnew");
    sh(&world, "--mount type=volume,source=pages,target=/v,readonly", "touch /v/x")
        .exits(1)
        .warns("read-only");
    // An anonymous one goes with its container.
    sh(&world, "-v /www", "touch /www/anonymous").success();
    let volumes = world.ok_sh("ls /srv/data/volumes");
    assert_eq!(volumes, "pages", "only the named volume stays");
}

#[test]
fn ulimits_are_set_and_what_cannot_be_is_said() {
    let world = World::new();
    sh(&world, "--ulimit nofile=100:200 --ulimit core=0", "ulimit -Sn; ulimit -Hn; ulimit -c")
        .success()
        .prints("100\n200\n0");
    world.rcnt("run --rm --net=none --ulimit bogus=1 busybox true").fails(125, &["bogus"]);
    world.rcnt("run --rm --net=none --ulimit nofile=20:10 busybox true").fails(125, &["nofile"]);
}

#[test]
fn limits_reach_the_cgroup() {
    let world = World::new();
    world.ok(
        "run -d --name cc --net=none --memory 64m --cpus 0.5 --pids-limit 50 busybox sleep 100",
    );
    assert_eq!(world.cgroup_of("cc", "memory/memory.limit_in_bytes", "memory.max"), "67108864");
    let cpu = world.cgroup_of("cc", "cpu/cpu.cfs_quota_us", "cpu.max");
    assert_eq!(cpu.split(' ').next(), Some("50000"), "{cpu}");
    assert_eq!(world.cgroup_of("cc", "pids/pids.max", "pids.max"), "50");
    assert_eq!(world.inspect("cc", "/HostConfig/Memory"), json!(67_108_864));
    assert_eq!(world.inspect("cc", "/HostConfig/NanoCpus"), json!(500_000_000));
    assert_eq!(world.inspect("cc", "/HostConfig/PidsLimit"), json!(50));
    for bad in ["--memory 1k", "--memory x", "--cpus -1", "--cpus lots", "--pids-limit few"] {
        world.rcnt(format!("run --rm --net=none {bad} busybox true")).exits(125);
    }
}

#[test]
fn too_much_memory_ends_the_container_and_says_so() {
    let world = World::new();
    world.rcnt("run --name cc --net=none --memory 16m busybox tail /dev/zero").exits(137);
    assert_eq!(world.inspect("cc", "/State/OOMKilled"), json!(true));
}

#[test]
fn too_many_processes_are_refused_by_the_kernel() {
    let world = World::new();
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; echo done";
    sh(&world, "--pids-limit 8", script).warns("fork");
}

#[test]
fn capabilities_are_dockers_and_follow_the_flags() {
    let world = World::new();
    let caps = |flags: &str| {
        let text = sh(&world, flags, "grep ^Cap /proc/self/status").success().stdout;
        let value = |name: &str| {
            let line = text.lines().find(|l| l.starts_with(name)).unwrap();
            u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
        };
        (value("CapEff"), value("CapPrm"), value("CapBnd"), value("CapInh"), value("CapAmb"))
    };
    const DEFAULT: u64 = 0xa804_25fb;
    const NET_ADMIN: u64 = 1 << 12;
    const BIND_SERVICE: u64 = 1 << 10;
    assert_eq!(caps(""), (DEFAULT, DEFAULT, DEFAULT, 0, 0), "docker's fourteen");
    assert_eq!(caps("--cap-add NET_ADMIN").0, DEFAULT | NET_ADMIN);
    assert_eq!(caps("--cap-add cap_net_admin").0, DEFAULT | NET_ADMIN);
    assert_eq!(caps("--cap-drop NET_RAW --cap-drop CHOWN").0, DEFAULT & !(1 << 13) & !1);
    assert_eq!(caps("--cap-drop ALL"), (0, 0, 0, 0, 0));
    assert_eq!(caps("--cap-drop ALL --cap-add NET_BIND_SERVICE").2, BIND_SERVICE);
    // A user without root's rights keeps only the bounding set.
    assert_eq!(caps("-u web"), (0, 0, DEFAULT, 0, 0));
    world.rcnt("run --rm --net=none --cap-add BOGUS busybox true").fails(125, &["BOGUS"]);
    world.rcnt("run --rm --net=none --cap-drop BOGUS busybox true").fails(125, &["BOGUS"]);
}

#[test]
fn privileged_has_what_the_caller_has() {
    let world = World::new();
    let mine = world.ok_sh("grep ^CapBnd /proc/self/status");
    let output = sh(
        &world,
        "--privileged",
        "grep -E '^(CapBnd|Seccomp:)' /proc/self/status; ls /dev | wc -l; mount -t tmpfs t /mnt 2>&1 || mkdir -p /mnt && mount -t tmpfs t /mnt && echo mounted; ls /proc/kcore; cat /proc/timer_list | head -c1 | wc -c",
    );
    output.success().has(&mine).has("mounted").has("Seccomp:\t0");
}

#[test]
fn security_options_are_obeyed() {
    let world = World::new();
    let status = "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status";
    sh(&world, "", status).success().prints("NoNewPrivs:\t0\nSeccomp:\t2");
    sh(&world, "--security-opt no-new-privileges", status).success().has("NoNewPrivs:\t1");
    sh(&world, "--security-opt no-new-privileges=true", status).success().has("NoNewPrivs:\t1");
    sh(&world, "--security-opt seccomp=unconfined", status).success().has("Seccomp:\t0");
    world.write(
        "/srv/profile.json",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#,
    );
    sh(&world, "--security-opt seccomp=/srv/profile.json", "mkdir /x")
        .exits(1)
        .warns("not permitted");
    world
        .rcnt("run --rm --net=none --security-opt seccomp=/srv/nosuch busybox true")
        .fails(125, &["/srv/nosuch"]);
    world.write("/srv/bad.json", "{");
    world
        .rcnt("run --rm --net=none --security-opt seccomp=/srv/bad.json busybox true")
        .fails(125, &["/srv/bad.json"]);
    world.rcnt("run --rm --net=none --security-opt bogus=1 busybox true").fails(125, &["bogus"]);
}

#[test]
fn the_default_seccomp_profile_blocks_what_containers_should_not_do() {
    let world = World::new();
    sh(&world, "", "unshare -U true").exits(1).warns("not permitted");
    sh(&world, "--security-opt seccomp=unconfined", "unshare -U true").success();
    sh(&world, "", "mount -t tmpfs t /tmp").exits(1);
    sh(&world, "", "dmesg").exits(1);
    sh(&world, "", "hostname other").exits(1);
}

#[test]
fn proc_sys_and_dev_are_as_they_should_be() {
    let world = World::new();
    let output = sh(
        &world,
        "",
        "ls /dev; stat -c '%F %t:%T' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty; for l in fd stdin ptmx; do readlink /dev/$l; done",
    );
    output
        .success()
        .has("character special file 1:3\ncharacter special file 1:5\ncharacter special file 1:7\ncharacter special file 1:8\ncharacter special file 1:9\ncharacter special file 5:0")
        .has("/proc/self/fd\n/proc/self/fd/0\npts/ptmx")
        .has("shm")
        .has("mqueue")
        .has_not("kmsg")
        .has_not("sda");
    sh(&world, "", "v=$(cat /proc/sys/kernel/panic); echo $v >/proc/sys/kernel/panic")
        .exits(1)
        .warns("read-only");
    sh(&world, "", "echo 0 >/proc/sysrq-trigger").exits(1);
    sh(&world, "", "mkdir /sys/x").exits(1);
    sh(&world, "", "touch /sys/fs/cgroup/x || mkdir /sys/fs/cgroup/x").exits(1);
    for masked in ["/proc/kcore", "/proc/keys", "/proc/timer_list"] {
        sh(&world, "", &format!("test ! -e {masked} || test -z \"$(head -c1 {masked})\""))
            .success();
    }
    sh(&world, "", "find /sys/firmware /proc/acpi -mindepth 1 2>/dev/null").prints("");
    sh(&world, "", "mount | grep ' /proc ' | grep -o nosuid").success();
    // Every process of the container, and none of the host's.
    sh(&world, "", "set -- /proc/[0-9]*; echo $#").success().prints("1");
}

#[test]
fn init_is_process_one_and_reaps_orphans() {
    let world = World::new();
    sh(&world, "", "echo $$").success().prints("1");
    let output =
        sh(&world, "--init", "echo $$; (sleep 0.1 & ); sleep 0.4; ps -o stat,comm | grep -c '^Z'");
    assert_eq!(output.stdout.lines().nth(1), Some("0"), "no zombie\n{output}");
    assert_ne!(output.stdout.lines().next(), Some("1"), "{output}");
    // Without a handler of its own the program dies of the forwarded signal.
    world.ok("run -d --init --name cc --net=none busybox sleep 100");
    world.rcnt("stop -t 5 cc").success().within(Duration::from_secs(3));
    assert_eq!(world.inspect("cc", "/State/ExitCode"), json!(143));
}

#[test]
fn the_stop_signal_is_the_images_or_the_flags() {
    let world = World::new();
    let script = "trap 'exit 9' USR1; trap 'exit 8' TERM; trap 'exit 7' QUIT; echo ready; while :; do sleep 0.05; done";
    let image = Image::new(&[busybox_layer()])
        .with("StopSignal", json!("SIGQUIT"))
        .with("Cmd", json!(["sh", "-c", script]))
        .docker_archive("quits");
    world.load(&image);
    for (flags, code) in
        [("quits", 7), ("--stop-signal USR1 quits", 9), ("--stop-signal 15 quits", 8)]
    {
        world.ok(format!("run -d --name cc --net=none {flags}"));
        eventually("ready", || world.ok("logs cc").contains("ready"));
        world.rcnt("stop cc").success();
        assert_eq!(world.inspect("cc", "/State/ExitCode"), json!(code), "{flags}");
        world.ok("rm cc");
    }
    world.rcnt("run --rm --stop-signal BOGUS --net=none busybox true").fails(125, &["BOGUS"]);
}

#[test]
fn standard_streams_are_the_callers() {
    let world = World::new();
    let output = sh(&world, "", "echo out; echo err >&2").success().prints("out");
    assert_eq!(output.stderr, "err\n");
    world
        .job("rcnt", "run -i --rm --net=none busybox cat")
        .stdin("typed")
        .run()
        .success()
        .prints("typed");
    world.job("rcnt", "run --rm --net=none busybox cat").stdin("typed").run().success().prints("");
    // Nothing is lost or mixed up when there is a lot.
    let big = vec![b'x'; 3 << 20];
    let sum = world
        .job("rcnt", "run -i --rm --net=none busybox md5sum")
        .stdin(big.clone())
        .run()
        .success();
    let own = world.job("md5sum", "").stdin(big).run().success();
    assert_eq!(sum.stdout.split(' ').next(), own.stdout.split(' ').next());
    let output = sh(&world, "", "head -c 3000000 /dev/zero | tr '\\0' 'y'").success();
    assert_eq!(output.stdout.len(), 3_000_000);
}

#[test]
fn signals_to_the_command_reach_the_container() {
    let world = World::new();
    for (signal, code) in
        [(Signal::TERM, 11), (Signal::INT, 12), (Signal::HUP, 13), (Signal::USR1, 14)]
    {
        let script = "trap 'exit 11' TERM; trap 'exit 12' INT; trap 'exit 13' HUP; trap 'exit 14' USR1; echo ready; while :; do sleep 0.05; done";
        let running = world.start(["run", "--rm", "--net=none", "busybox", "sh", "-c", script]);
        running.expect("ready");
        running.signal(signal);
        running.wait(Duration::from_secs(10)).exits(code);
    }
}

#[test]
fn a_detached_container_gives_its_callers_pipes_back() {
    let world = World::new();
    // wait() fails when the pipes stay open.
    let id =
        world.ok(["run", "-d", "--net=none", "busybox", "sh", "-c", "echo started; sleep 100"]);
    eventually("its line is in the log", || world.ok(["logs", &id]) == "started");
}

#[test]
fn without_root_there_is_one_clear_line() {
    let world = World::new();
    world.sh("chmod 755 /srv /srv/bin; setpriv --reuid 65534 --regid 65534 --clear-groups rcnt run --rm busybox true").exits(125).warns("root");
}

#[test]
fn a_bad_line_of_the_configuration_is_named() {
    let world = World::new();
    world.configure("colour = \"red\"\n");
    world.rcnt("run --rm --net=none busybox true").fails(125, &["config.toml", "colour", "2"]);
    world.write(World::CONFIG, "cgroup-parent = \n");
    world.rcnt("ps").fails(1, &["config.toml", "1"]);
    world.configure("");
}

#[test]
fn flags_name_the_roots_as_the_environment_does() {
    let world = World::new();
    let output = world.rcnt("--data-root /srv/d2 --exec-root /srv/r2 images -q").success();
    assert_eq!(output.text(), "", "another instance has other images");
    assert!(world.exists("/srv/d2"));
    world.rcnt("--config /srv/nosuch.toml ps").fails(1, &["/srv/nosuch.toml"]);
    world.rcnt("--debug run --rm --net=none busybox true").success().warns("ms");
    world.rcnt("--version").success().has("rcnt");
    world.rcnt("--help").success().has("run").has("ps");
    world.rcnt("run --help").success().has("--publish");
}

#[test]
fn roots_with_long_paths_work() {
    let world = World::empty();
    let deep = format!("/srv/{}", "long-directory-name/".repeat(6));
    world.sh(&format!("mkdir -p {deep}")).success();
    let rcnt = |args: &str| {
        world.job("rcnt", format!("--data-root {deep}data --exec-root {deep}run {args}"))
    };
    rcnt("load").stdin(rcnt_tests::fixtures::busybox()).run().success();
    rcnt("run -d --name cc --net=none busybox sleep 100").run().success();
    rcnt("exec cc echo hi").run().success().prints("hi");
    rcnt("rm -f cc").run().success();
}

#[test]
fn a_dev_of_the_hosts_stays_as_it_is() {
    let world = World::new();
    world.sh("mkdir /srv/home/dev").success();
    for flags in ["", "--privileged", "--init"] {
        let run = format!("run --rm --net=none {flags} -v /srv/home/dev:/dev busybox ls -A /dev");
        world.rcnt(run).success().prints("");
        assert_eq!(world.ok_sh("ls -A /srv/home/dev"), "", "with {flags}");
    }
    // What must not be read is not, even without a null device to cover it by.
    let run = "run --rm --net=none -v /srv/home/dev:/dev busybox stat -c %t:%T /proc/keys";
    world.rcnt(run).success().prints("1:3");
    // Nor does a volume keep anything.
    world.ok("run --rm --net=none -v dev:/dev busybox true");
    world.rcnt("run --rm --net=none -v dev:/v busybox ls -A /v").success().prints("");
    // The host's own, with a terminal or without: devices, not copies of them.
    let hosts = || world.ok_sh("ls -A /dev; readlink /dev/fd /dev/ptmx; true");
    let before = hosts();
    world.rcnt("run --rm --net=none -v /dev:/dev busybox sh -c 'echo x >/dev/null'").success();
    world.ok("run -d -t --name cc --net=none -v /dev:/dev busybox sh -c 'tty; sleep 1000'");
    eventually("a terminal of the host's", || world.ok("logs cc").contains("/dev/pts/"));
    world.rcnt("exec cc sh -c 'cat </dev/null; echo fine'").success().prints("fine");
    world.ok("rm -f cc");
    assert_eq!(hosts(), before);
}
