//! What has gone wrong in other runtimes, one test each; the name carries the
//! advisory. Each fails when its protection is taken away.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::time::Duration;

use rcnt_tests::archive::{Image, Layer};
use rcnt_tests::fixtures::busybox_layer;
use rcnt_tests::{Lan, World, eventually};
use serde_json::json;
use tar::EntryType;

/// Loads busybox with one more layer as `image`.
#[track_caller]
fn with_layer(world: &World, image: &str, layer: &Layer) {
    world.load(&Image::new(&[busybox_layer(), layer.clone()]).docker_archive(image));
}

#[test]
fn cve_2019_5736_the_hosts_binary_cannot_be_changed_from_inside() {
    let world = World::new();
    // A copy, so that a failure of the protection destroys nothing else.
    world.sh("cp /srv/bin/rcnt /srv/home/rcnt").success();
    let hash = || world.ok_sh("sha256sum </srv/home/rcnt");
    let before = hash();
    let layer = Layer::new().dir("bin", 0o755).file("bin/self", 0o755, "#!/proc/self/exe\n");
    with_layer(&world, "evil", &layer);
    let rcnt = |args: &str| world.job("/srv/home/rcnt", args).run();
    rcnt("run --rm --net=none evil /bin/self");
    rcnt("run -d --name cc --net=none evil sleep 1000").success();
    // A process inside that waits for exec to come in, and writes to its binary.
    let attack = "for i in $(seq 200); do for p in /proc/[0-9]*; do [ $p = /proc/1 ] || \
        (echo owned >$p/exe) 2>/dev/null; done; done";
    let attack = world.start(["exec", "cc", "sh", "-c", attack]);
    for _ in 0..20 {
        rcnt("exec cc /bin/self");
        rcnt("exec cc /proc/self/exe");
        rcnt("exec cc true");
    }
    drop(attack);
    assert_eq!(hash(), before);
}

#[test]
fn cve_2019_16884_proc_as_a_symlink_is_refused() {
    let world = World::empty();
    // busybox's own layer has no /proc: the link is the first thing of that name.
    let layer = Layer::new().dir("elsewhere", 0o755).symlink("proc", "elsewhere");
    with_layer(&world, "evil:proc", &layer);
    world.rcnt("run --rm --net=none evil:proc true").fails(125, &["/proc"]);
    let layer = Layer::new().symlink("sys", "/tmp");
    with_layer(&world, "evil:sys", &layer);
    world.rcnt("run --rm --net=none evil:sys true").fails(125, &["/sys"]);
}

#[test]
fn cve_2019_19921_a_volume_over_proc_is_refused() {
    let world = World::new();
    for target in ["/proc", "/proc/self", "/sys/../proc", "/proc/sys"] {
        world.rcnt(format!("run --rm --net=none -v /srv/home:{target} busybox true")).exits(125);
        world.rcnt(format!("run --rm --net=none --tmpfs {target} busybox true")).exits(125);
    }
}

#[test]
fn cve_2026_41579_dev_as_a_symlink_is_refused() {
    let world = World::empty();
    let layer = Layer::new().dir("real", 0o755).symlink("dev", "real");
    with_layer(&world, "evil:dev", &layer);
    world.rcnt("run --rm --net=none evil:dev true").fails(125, &["/dev"]);
}

#[test]
fn cve_2021_30465_a_race_on_a_shared_volume_never_mounts_outside() {
    let world = World::new();
    world.sh("mkdir -p /srv/home/shared/inner /srv/canary; echo safe >/srv/canary/file").success();
    world.ok("run -d --name racer --net=none -v /srv/home/shared:/s busybox sh -c 'ln -s / /s/link; while :; do mv /s/inner /s/dir; mv /s/link /s/inner; mv /s/inner /s/link; mv /s/dir /s/inner; done'");
    for _ in 0..25 {
        let output = world.rcnt("run --rm --net=none -v /srv/home/shared:/s -v /srv/canary:/s/inner/tmp busybox sh -c 'ls /s >/dev/null; true'");
        assert!([0, 125].contains(&output.code), "{output}");
    }
    world.sh("grep ' /tmp ' /proc/self/mountinfo | grep -c canary").prints("0");
    assert!(!world.sh("ls -d /tmp/tmp /inner 2>/dev/null").stdout.contains("inner"));
    world.ok("rm -f racer");
}

#[test]
fn cve_2021_30465_a_volume_below_a_symlink_of_the_image_stays_inside() {
    let world = World::empty();
    with_layer(
        &world,
        "links",
        &Layer::new().symlink("out", "/srv/home").symlink("up", "../../../../srv/home"),
    );
    world.write("/srv/canary/file", "x");
    for target in ["/out/made", "/up/made"] {
        let output = world
            .rcnt(format!("run --rm --net=none -v /srv/canary:{target} links ls /srv/home/made"));
        assert!([0, 125].contains(&output.code), "{output}");
        assert!(!world.exists("/srv/home/made"), "{target} was made on the host");
    }
}

#[test]
fn cve_2024_21626_no_descriptor_of_the_host_is_open_inside() {
    let world = World::new();
    for n in 3..12 {
        let output = world.rcnt(format!("run --rm --net=none -w /proc/self/fd/{n} busybox pwd"));
        assert!([125, 126, 127].contains(&output.code), "{output}");
    }
    let list = "ls /proc/self/fd | tr '\\n' ' '";
    // 3 is ls's own directory.
    world
        .rcnt(["run", "--rm", "--net=none", "busybox", "sh", "-c", list])
        .success()
        .prints("0 1 2 3 ");
    world.ok("run -d --name cc --net=none busybox sleep 1000");
    world.rcnt(["exec", "cc", "sh", "-c", list]).success().prints("0 1 2 3 ");
    world.rcnt("exec cc ls /proc/1/fd").success().prints("0\n1\n2");
    for n in 3..12 {
        let output = world.rcnt(format!("exec -w /proc/self/fd/{n} cc pwd"));
        assert!([126, 127].contains(&output.code) || output.code == 125, "{output}");
    }
    // The caller's own descriptors do not leak either.
    world.sh("exec 7</srv/etc/config.toml 9>/srv/tmp/open; rcnt run --rm --net=none busybox ls /proc/self/fd").success().prints("0\n1\n2\n3");
}

#[test]
fn cve_2024_21626_exec_opens_nothing_by_a_name_of_the_containers() {
    let world = World::new();
    world.write("/srv/home/secret", "secret");
    let stdin = "stat -L -c %t:%T /proc/self/fd/0; cat";
    for target in ["/proc/self/fd/1", "/proc/self/fd/2", "/proc/self/fd/7", "/proc/self/fd/9"] {
        let replace = format!("rm /dev/null; ln -s {target} /dev/null; echo up; exec sleep 1000");
        world.ok(["run", "-d", "--name=cc", "--net=none", "busybox", "sh", "-c", &replace]);
        eventually("the link is there", || world.ok("logs cc").contains("up"));
        let script = format!(
            "exec 7</srv/home/secret 9<>/srv/home/secret; \
             rcnt exec cc sh -c '{stdin}' >/srv/home/out 2>/srv/home/err"
        );
        world.sh(&script).success();
        assert_eq!(world.read("/srv/home/out"), "1:3\n", "{target}");
        world.ok("rm -f cc");
    }
    // Nor is what the shell left open a program.
    world.ok("run -d --name cc --net=none busybox sleep 1000");
    for rcnt in ["rcnt exec cc", "rcnt run --rm --net=none busybox"] {
        let script = format!("exec 77</bin/busybox; {rcnt} /proc/self/fd/77 true");
        world.job("bash", ["-c", &script]).run().exits(127);
    }
    // A /dev of the host's is no reason either.
    world.sh("mkdir /srv/home/dev; ln -s /proc/self/fd/7 /srv/home/dev/null").success();
    let run = "run --rm --net=none --security-opt systempaths=unconfined -v /srv/home/dev:/dev busybox sh -c";
    let script = format!("exec 7</srv/home/secret; rcnt {run} '{stdin}'");
    world.sh(&script).success().prints("1:3");
}

#[test]
fn cve_2025_31133_masked_paths_are_the_real_null_device() {
    let world = World::empty();
    // An image whose /dev/null is something else.
    with_layer(
        &world,
        "evil:null",
        &Layer::new()
            .dir("dev", 0o755)
            .symlink("dev/null", "/proc/sysrq-trigger")
            .symlink("dev/console", "/proc/sysrq-trigger"),
    );
    world
        .rcnt("run --rm --net=none evil:null stat -c '%F %t:%T' /dev/null")
        .success()
        .prints("character special file 1:3");
    // Whichever of the masked files this kernel has.
    let masked = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts"];
    let files: Vec<&str> = masked.into_iter().filter(|path| world.exists(path)).collect();
    let output = world.rcnt(
        [&["run", "--rm", "--net=none", "evil:null", "stat", "-c", "%t:%T"], &files[..]]
            .concat()
            .as_slice(),
    );
    output.success().prints(&"1:3\n".repeat(files.len()));
}

#[test]
fn cve_2022_29162_no_capability_is_inheritable() {
    let world = World::new();
    let show = "grep -E '^Cap(Inh|Amb)' /proc/self/status";
    let none = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000";
    world.rcnt(["run", "--rm", "--net=none", "busybox", "sh", "-c", show]).success().prints(none);
    world.ok("run -d --name cc --net=none busybox sleep 1000");
    world.rcnt(["exec", "cc", "sh", "-c", show]).success().prints(none);
    world.rcnt(["exec", "--privileged", "cc", "sh", "-c", show]).success().prints(none);
}

#[test]
fn cve_2022_36109_supplementary_groups_are_exact() {
    let world = World::new();
    let groups = |args: &str| world.ok(format!("run --rm --net=none {args} busybox id -G"));
    assert_eq!(groups(""), "0");
    assert_eq!(groups("-u daemon"), "1 2001");
    assert_eq!(groups("-u 4000"), "0");
    assert_eq!(groups("-u 4000:4000"), "4000");
    world.ok("run -d --name cc --net=none -u 4000:4000 busybox sleep 1000");
    world.rcnt("exec cc id -G").success().prints("4000");
    world.rcnt("exec -u web cc id -G").success().prints("1000 2000 2001");
}

#[test]
fn cve_2024_40635_user_numbers_out_of_range_are_refused_not_looked_up() {
    let world = World::empty();
    let passwd = "root:x:0:0::/:/bin/sh\n2147483648:x:0:0::/:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n-1:x:0:0::/:/bin/sh\n";
    with_layer(
        &world,
        "evil:ids",
        &Layer::new().dir("etc", 0o755).file("etc/passwd", 0o644, passwd),
    );
    for user in ["2147483648", "4294967296", "-1", "1:4294967296", "99999999999999999999"] {
        let flag = format!("--user={user}");
        world.rcnt(["run", "--rm", "--net=none", &flag, "evil:ids", "id"]).exits(125);
        let image =
            Image::new(&[busybox_layer()]).with("User", json!(user)).docker_archive("evil:user");
        world.load(&image);
        world.rcnt("run --rm --net=none evil:user id").exits(125);
    }
}

#[test]
fn cve_2024_9676_passwd_as_a_symlink_or_pipe_neither_leaks_nor_hangs() {
    let world = World::empty();
    world.write("/srv/home/passwd", "canary:x:7777:7777::/:/bin/sh\n");
    with_layer(
        &world,
        "evil:link",
        &Layer::new().dir("etc", 0o755).symlink("etc/passwd", "/srv/home/passwd"),
    );
    world.rcnt("run --rm --net=none -u canary evil:link id").exits(125);
    with_layer(&world, "evil:fifo", &Layer::new().dir("etc", 0o755).fifo("etc/passwd", 0o644));
    let run = world
        .job("rcnt", "run --rm --net=none -u web evil:fifo id")
        .limit(Duration::from_secs(10))
        .run();
    run.exits(125);
    with_layer(
        &world,
        "evil:huge",
        &Layer::new().dir("etc", 0o755).file("etc/group", 0o644, "g:x:5:web\n".repeat(300_000)),
    );
    world.rcnt("run --rm --net=none -u web evil:huge id").exits(125);
}

#[test]
fn cve_2023_25809_the_cgroup_tree_is_not_writable() {
    let world = World::new();
    let script = "find /sys/fs/cgroup -type d -maxdepth 3 2>/dev/null | while read d; do mkdir $d/x 2>/dev/null && echo made $d/x; done; find /sys/fs/cgroup -name release_agent -o -name cgroup.procs | while read f; do (echo 0 >$f) 2>/dev/null && echo wrote $f; done; true";
    world.rcnt(["run", "--rm", "--net=none", "busybox", "sh", "-c", script]).success().prints("");
}

#[test]
fn cve_2026_53488_labels_of_an_image_are_only_labels() {
    let world = World::empty();
    let image = Image::new(&[busybox_layer()])
        .with("Labels", json!({ "run": "rm -rf /", "io.podman.annotations.privileged": "true", "rcnt.privileged": "true", "devices": "/dev/mem" }))
        .docker_archive("evil:labels");
    world.load(&image);
    world
        .rcnt("run --rm --net=none evil:labels grep CapEff /proc/self/status")
        .success()
        .has("a80425fb");
}

#[test]
fn cve_2020_15257_no_abstract_socket_is_reachable_from_the_hosts_network() {
    let world = World::new();
    world.ok("run -d --name cc --net=host busybox sleep 1000");
    let sockets = world.rcnt("exec cc cat /proc/net/unix").success();
    let abstracts: Vec<&str> = sockets.stdout.lines().filter(|l| l.contains(" @")).collect();
    assert!(abstracts.is_empty(), "{abstracts:?}");
}

#[test]
fn cve_2022_31030_a_stalled_client_costs_bounded_memory_and_no_task() {
    let world = World::new();
    world.ok("run -d --name cc --net=none busybox sleep 1000");
    let init = world.pid_of("cc");
    let status = world.read(&format!("/proc/{init}/status"));
    let supervisor: u32 =
        status.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
    let memory = || -> u64 {
        let status = world.read(&format!("/proc/{supervisor}/status"));
        status
            .lines()
            .find_map(|l| l.strip_prefix("RssAnon:"))
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .trim()
            .parse()
            .unwrap()
    };
    let before = memory();
    // An exec whose reader is stopped while a lot of output comes.
    let exec = world.start("exec cc sh -c 'yes | head -c 50000000'");
    exec.signal(rustix::process::Signal::STOP);
    std::thread::sleep(Duration::from_millis(700));
    assert!(memory() < before + 4096, "{} kB, before {before} kB", memory());
    drop(exec);
    eventually(
        "the process of the dead client is gone or blocked for good is killed with it",
        || world.pids_with("yes").is_empty(),
    );
    world.rcnt("exec cc echo alive").success().prints("alive");
}

#[test]
fn cve_2026_31431_seccomp_blocks_the_crypto_sockets_and_leaves_others() {
    let world = World::new();
    world.load(&rcnt_tests::fixtures::probe());
    // Socket families by number from inside, with what Debian's perl or python would be too big for.
    world.rcnt("run --rm --net=none probe probe socket 38").exits(1).warns("not permitted");
    world.rcnt("run --rm --net=none probe probe socket 40").exits(1).warns("not permitted");
    world.rcnt("run --rm --net=none probe probe socket 2").success();
    world
        .rcnt("run --rm --net=none --security-opt seccomp=unconfined probe probe socket 38")
        .exits_any();
}

#[test]
fn cve_2021_32760_hostile_layers_touch_nothing_outside() {
    let world = World::empty();
    world.write("/srv/canary/file", "safe");
    world.sh("chmod 600 /srv/canary/file; chmod 700 /srv/canary").success();
    let before =
        world.ok_sh("stat -c '%a %u %Y %s' /srv/canary /srv/canary/file; ls -a /srv/canary; ls /");
    let evil: [(&str, Layer); 9] = [
        ("dotdot", Layer::new().file("../../../../../../../../srv/canary/new", 0o644, "owned")),
        ("absolute", Layer::new().file("/srv/canary/new", 0o644, "owned")),
        ("through-link", Layer::new().symlink("l", "/srv/canary").file("l/new", 0o644, "owned")),
        (
            "through-relative",
            Layer::new()
                .symlink("l", "../../../../../../../../../../srv/canary")
                .file("l/new", 0o644, "x"),
        ),
        ("overwrite", Layer::new().symlink("f", "/srv/canary/file").file("f", 0o777, "owned")),
        ("hardlink", Layer::new().hardlink("h", "/srv/canary/file").file("h", 0o777, "owned")),
        ("hardlink-up", Layer::new().hardlink("h", "../../../../../../../../srv/canary/file")),
        ("chmod-link", Layer::new().symlink("d", "/srv/canary").dir("d", 0o777)),
        (
            "whiteout-up",
            Layer::new().entry(
                EntryType::Regular,
                "../../../../../../../../srv/canary/.wh.file",
                0o644,
                "",
                b"",
            ),
        ),
    ];
    for (name, layer) in evil {
        let tag = format!("evil:{name}");
        let output = world
            .job("rcnt", "load")
            .stdin(Image::new(&[busybox_layer(), layer]).docker_archive(&tag))
            .run();
        assert!(output.code == 0 || output.code == 1, "{name}\n{output}");
        let after = world
            .ok_sh("stat -c '%a %u %Y %s' /srv/canary /srv/canary/file; ls -a /srv/canary; ls /");
        assert_eq!(after, before, "{name}");
        if output.code == 0 {
            // What was taken in must be harmless to run too.
            world.rcnt(["run", "--rm", "--net=none", &tag, "true"]);
        }
    }
    assert_eq!(world.read("/srv/canary/file"), "safe");
}

#[test]
fn cve_2023_25153_a_bomb_meets_a_full_disk_not_a_full_memory() {
    let world = World::empty();
    world.sh("mkdir -p /srv/data && mount -t tmpfs -o size=32m,mode=700 small /srv/data").success();
    world.rebase();
    // 64 MiB of zeros from some 64 KiB.
    let layer = Layer::new().file("zeros", 0o644, vec![0; 64 << 20]);
    let bomb = rcnt_tests::archive::Zip::Gzip.apply(&Image::new(&[layer]).docker_archive("bomb"));
    world.job("rcnt", "load").stdin(bomb).run().fails(1, &["disk"]);
    // A manifest that never ends.
    let huge = [("manifest.json".to_owned(), vec![b'['; 40 << 20])];
    world.job("rcnt", "load").stdin(rcnt_tests::archive::pack(&huge)).run().exits(1);
    let deep = [("manifest.json".to_owned(), vec![b'['; 100_000])];
    world.job("rcnt", "load").stdin(rcnt_tests::archive::pack(&deep)).run().fails(1, &[]);
}

#[test]
fn cve_2021_41190_a_document_that_is_two_things_is_refused() {
    let world = World::empty();
    let image = Image::new(&[busybox_layer()]);
    let mut files = image.oci_files("x:1", rcnt_tests::archive::Zip::No);
    let index = files.iter_mut().find(|(path, _)| path == "index.json").unwrap();
    let mut value: serde_json::Value = serde_json::from_slice(&index.1).unwrap();
    value["layers"] = json!([{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": format!("sha256:{}", "0".repeat(64)), "size": 1 }]);
    value["config"] = json!({});
    index.1 = value.to_string().into_bytes();
    world.write("/srv/both.tar", rcnt_tests::archive::pack(&files));
    world.rcnt("load -i /srv/both.tar").fails(1, &[]);
}

#[test]
fn cve_2020_13401_router_advertisements_of_a_container_change_nothing() {
    let world = World::new();
    world.configure("ipv6 = true\nfixed-cidr-v6 = \"fd00:1234::/64\"\n");
    world.ok("run -d --name cc busybox sleep 1000");
    // accept_ra=1 means "unless it forwards" (ip-sysctl, accept_ra).
    let script = "cd /proc/sys/net/ipv6/conf; for i in rcnt* veth*; do \
        echo $i $(cat $i/disable_ipv6 $i/accept_ra $i/forwarding); done";
    for line in world.ok_sh(script).lines() {
        let deaf = [" 1 0 0", " 1 1 0", " 1 1 1", " 1 0 1", " 0 0 0", " 0 0 1", " 0 1 1"];
        let (_, state) = line.split_once(' ').unwrap();
        assert!(deaf.contains(&format!(" {state}").as_str()), "listens to advertisements: {line}");
    }
}

#[test]
fn cve_2020_8558_a_neighbour_cannot_reach_127_0_0_1() {
    let world = World::new();
    world.load(&rcnt_tests::fixtures::probe());
    world.ok("run -d --name cc -p 127.0.0.1:8080:80 probe");
    eventually("ready", || world.ok("logs cc").contains("ready"));
    world.tcp("127.0.0.1:8080", "").unwrap();
    // A service of the host's own, on loopback only.
    let secret = "import socket\ns = socket.create_server(('127.0.0.1', 7000))\nwhile True:\n c = s.accept()[0]; c.send(b'secret'); c.close()";
    world.helper("python3", ["-c", secret]);
    eventually("it listens", || world.tcp("127.0.0.1:7000", "").is_ok());
    let lan = world.lan();
    lan.sh("ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1/32 via 192.0.2.10 dev eth0 src 192.0.2.20; \
            echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet; echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet")
        .exits_any();
    for port in [8080, 7000] {
        assert!(
            lan.tcp(&format!("127.0.0.1:{port}"), "").is_err(),
            "127.0.0.1:{port} from the LAN"
        );
    }
    // Nor can a container through its gateway.
    let gateway = world.inspect("cc", "/NetworkSettings/Networks/bridge/Gateway");
    let script = format!(
        "ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1/32 via {}; timeout 3 probe ask tcp 127.0.0.1:7000",
        gateway.as_str().unwrap()
    );
    world
        .rcnt(["run", "--rm", "--cap-add=NET_ADMIN", "probe", "sh", "-c", &script])
        .has_not("secret");
}

#[test]
fn cve_2025_67499_traffic_to_the_same_port_elsewhere_is_left_alone() {
    let world = World::new();
    world.load(&rcnt_tests::fixtures::probe());
    world.ok("run -d --name cc -p 8080:80 probe");
    eventually("ready", || world.ok("logs cc").contains("ready"));
    let lan = world.lan();
    let server = lan.job("busybox", "nc -ll -p 8080 -e echo elsewhere").start();
    eventually("the other machine serves", || world.tcp(&format!("{}:8080", Lan::V4), "").is_ok());
    assert_eq!(world.tcp(&format!("{}:8080", Lan::V4), "").unwrap(), "elsewhere\n");
    world.rcnt("run --rm probe probe ask tcp 192.0.2.20:8080").success().prints("elsewhere");
    drop(server);
}

#[test]
fn cve_2021_20206_names_that_become_paths_are_checked() {
    let world = World::new();
    for network in ["../../etc", "a/b", "..", ".", "-x"] {
        let flag = format!("--net={network}");
        world.rcnt(["run", "--rm", &flag, "busybox", "true"]).exits(125);
    }
    for volume in ["a/b:/v", "-x:/v"] {
        world.rcnt(["run", "--rm", "--net=none", "-v", volume, "busybox", "true"]).exits(125);
    }
    for id in ["../names", "..", "", "/", "a/../b"] {
        world.rcnt(["inspect", id]).exits(1);
        world.rcnt(["rm", "-f", id]).exits_any();
    }
    world.rcnt("ps -aq").success().prints("");
}

#[test]
fn cve_2022_0811_a_sysctl_of_the_host_cannot_be_set_from_inside() {
    let world = World::new();
    for file in ["kernel/core_pattern", "kernel/panic", "vm/swappiness", "fs/suid_dumpable"] {
        // The value it has: a protection that fails must not harm the machine.
        let script = format!("v=$(cat /proc/sys/{file}); echo \"$v\" >/proc/sys/{file}");
        let output = world.rcnt(["run", "--rm", "--net=none", "busybox", "sh", "-c", &script]);
        output.exits(1).warns("read-only");
    }
}

#[test]
fn cve_2022_23648_a_volume_in_a_symlinked_directory_copies_nothing_of_the_host() {
    let world = World::empty();
    world.write("/srv/canary/secret", "secret");
    let image = Image::new(&[
        busybox_layer(),
        Layer::new().symlink("data", "/srv/canary").symlink("up", "../../../../../../srv/canary"),
    ])
    .with("Volumes", json!({ "/data": {}, "/up": {} }))
    .docker_archive("evil:volume");
    world.load(&image);
    let output = world
        .rcnt("run --rm --net=none evil:volume sh -c 'ls /data /up; cat /data/secret /up/secret'");
    assert!(!output.stdout.contains("secret\n") || output.code != 0, "{output}");
    assert!(!output.stdout.lines().any(|l| l == "secret"), "{output}");
    assert_eq!(world.ok_sh("ls /srv/canary"), "secret");
}

#[test]
fn cve_2026_55686_a_workdir_behind_a_symlink_is_made_inside() {
    let world = World::empty();
    world.write("/srv/canary/secret", "secret");
    let links = Layer::new().symlink("abs", "/srv/canary").symlink("up", "../../../../srv/canary");
    for (n, workdir) in ["/abs/made/deep", "/up/below", "/abs"].into_iter().enumerate() {
        let image = Image::new(&[busybox_layer(), links.clone()]);
        let image = image.with("WorkingDir", json!(workdir)).with("User", json!("1000"));
        world.load(&image.docker_archive(&format!("evil:{n}")));
        let there = workdir.replace("/abs", "/srv/canary").replace("/up", "/srv/canary");
        world.rcnt(format!("run --rm --net=none evil:{n} pwd")).success().prints(&there);
        world.rcnt(format!("run --rm --net=none evil:{n} ls {there}")).success().prints("");
        assert_eq!(world.ok_sh("ls /srv/canary; stat -c %u /srv/canary"), "secret\n0", "{workdir}");
    }
    // Nor is one that exec asks for, and that the container has put there meanwhile.
    world.ok("run -d --name cc --net=none evil:2 sleep 1000");
    for workdir in ["/abs/new", "/up/new"] {
        world.rcnt(format!("exec -w {workdir} cc pwd")).fails(126, &["new"]);
    }
    assert_eq!(world.ok_sh("ls /srv/canary"), "secret");
}
