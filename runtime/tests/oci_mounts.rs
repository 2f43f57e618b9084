//! `mounts`, `linux.devices`, `maskedPaths`, `readonlyPaths`, `sysctl` and
//! `rootfsPropagation` of OCI bundles, by `rcnt-oci`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

mod bundle;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Output, Stdio};

use bundle::{Bundle, text};
use serde_json::{Value, json};

const USER: u32 = 300_000;

fn add(config: &mut Value, pointer: &str, item: Value) {
    config.pointer_mut(pointer).unwrap().as_array_mut().unwrap().push(item);
}

/// A bundle with `mounts` after the usual ones and a root that can be written to.
fn with(script: &str, mounts: Value) -> Option<Bundle> {
    let bundle = Bundle::new(script)?;
    bundle.configure(|config| {
        config["root"]["readonly"] = false.into();
        for mount in mounts.as_array().unwrap() {
            add(config, "/mounts", mount.clone());
        }
    });
    Some(bundle)
}

/// In a user namespace of its own.
fn map_users(bundle: &Bundle) {
    bundle.configure(|config| {
        let map = json!([{"containerID": 0, "hostID": USER, "size": 65_536}]);
        add(config, "/linux/namespaces", json!({"type": "user"}));
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
    });
    bundle.own_rootfs(USER, USER);
}

fn run(bundle: &Bundle) -> String {
    let output = bundle.oci(&["run", &bundle.id("m")]);
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).to_owned()
}

fn refused(bundle: &Bundle) -> String {
    let output = bundle.oci(&["run", &bundle.id("m")]);
    assert!(!output.status.success(), "{output:?}");
    text(&output.stderr).to_owned()
}

/// `prepare` and then the container, in a mount namespace that nobody else sees.
fn run_after(bundle: &Bundle, prepare: &str) -> Output {
    let script = format!(
        "mount --make-rprivate / && {prepare} && exec {} --root {} run {}",
        env!("CARGO_BIN_EXE_rcnt-oci"),
        bundle.path("state").display(),
        bundle.id("m")
    );
    let mut shell = std::process::Command::new("unshare");
    shell.args(["--mount", "sh", "-ec", &script]).current_dir(bundle.path(""));
    shell.stdin(Stdio::null()).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

#[test]
fn any_file_system_is_mounted_with_its_options() {
    let script = "grep ' /x ' /proc/mounts; busybox stat -c %a /x; grep ' /proc ' /proc/mounts; \
                  grep /dev/pts /proc/mounts";
    let mount = json!([{"destination": "/x", "type": "ramfs", "source": "some",
        "options": ["nosuid", "noatime", "mode=711"]}]);
    let Some(bundle) = with(script, mount) else { return };
    bundle.configure(|config| {
        for mount in config["mounts"].as_array_mut().unwrap() {
            match mount["destination"].as_str() {
                Some("/proc") => mount["options"] = json!(["hidepid=2", "noexec", "strictatime"]),
                Some("/dev/pts") => mount["options"] = json!(["newinstance", "mode=0600", "max=9"]),
                _ => {}
            }
        }
    });
    let shown = run(&bundle);
    assert!(shown.contains("some /x ramfs rw,nosuid,noatime,mode=711 0 0\n711\n"), "{shown}");
    assert!(shown.contains("proc /proc proc rw,noexec,hidepid=invisible"), "{shown}");
    assert!(shown.contains("mode=600") && shown.contains("max=9"), "{shown}");
    // The kernel's own words name what it does not know.
    bundle.configure(|config| {
        let last = config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
        last["type"] = "tmpfs".into();
        last["options"] = json!(["nonsense=1"]);
    });
    let error = refused(&bundle);
    assert!(error.contains("nonsense") && error.contains("error mounting \"some\""), "{error}");
}

#[test]
fn a_tmpfs_has_the_mode_of_what_it_covers_unless_told() {
    let mount = |path: &str, options: Value| json!({"destination": path, "type": "tmpfs", "source": "tmpfs", "options": options});
    let mounts = json!([
        mount("/covers", json!(["nodev"])),
        mount("/told", json!(["mode=1500", "size=64k"])),
        mount("/new/a/b", json!(["ro"])),
        mount("/new/a/b/c", json!([])),
        mount("/copied", json!(["tmpcopyup", "ro"])),
    ]);
    let script = "busybox stat -c %a /covers /told /new/a/b /copied/in; cat /copied/in; \
                  echo x > /new/a/b/x || echo x > /copied/in || echo x > /new/a/b/c/x && echo nested";
    let Some(bundle) = with(script, mounts) else { return };
    for (name, mode) in [("covers", 0o710), ("told", 0o710), ("copied", 0o755)] {
        let path = bundle.path("rootfs").join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let inside = bundle.path("rootfs/copied/in");
    std::fs::write(&inside, "of the image\n").unwrap();
    std::fs::set_permissions(inside, std::fs::Permissions::from_mode(0o604)).unwrap();
    assert_eq!(run(&bundle), "710\n1500\n1777\n604\nof the image\nnested\n");
    let made = std::fs::metadata(bundle.path("rootfs/new/a/b")).unwrap();
    assert_eq!(made.mode() & 0o7777, 0o755, "what was made for it is not the tmpfs");
}

/// The flags of /mnt as a bind with `options` of a mount with `host` flags.
fn bind_flags(bundle: &Bundle, host: &str, options: &[&str]) -> Output {
    bundle.configure(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/mnt");
        mounts.push(json!({"destination": "/mnt", "source": "host", "options": options}));
    });
    let prepare = format!(
        "mount -t tmpfs tmpfs host && mount --bind -o remount,strictatime host && \
         mount --bind -o remount,{host} host"
    );
    run_after(bundle, &prepare)
}

#[test]
fn a_bind_has_exactly_the_flags_named_once_any_is() {
    let script = "busybox awk '$2 == \"/mnt\" { print $4 }' /proc/mounts";
    let Some(bundle) = with(script, json!([])) else { return };
    std::fs::create_dir(bundle.path("host")).unwrap();
    let host = "ro,nosuid,nodev,noexec,noatime";
    let cases: [(&[&str], &str); 8] = [
        (&["bind"], "ro,nosuid,nodev,noexec,noatime"),
        (&["bind", "dev"], "rw,noatime"),
        (&["bind", "ro", "nosuid"], "ro,nosuid,noatime"),
        (&["bind", "rw", "suid", "exec", "atime"], "rw,noatime"),
        (&["bind", "relatime"], "rw,relatime"),
        (&["bind", "nodiratime"], "rw,nodiratime,relatime"),
        (&["bind", "strictatime"], "rw"),
        (&["rbind", "rro", "rrelatime"], "ro,nosuid,nodev,noexec,relatime"),
    ];
    for (options, flags) in cases {
        let output = bind_flags(&bundle, host, options);
        let shown = stdout(&output).trim().replace(",inode64", "");
        assert_eq!(shown, flags, "{options:?}");
    }
}

#[test]
fn a_user_namespace_keeps_the_flags_the_host_gave() {
    let script = "busybox awk '$2 == \"/mnt\" { print $4 }' /proc/mounts";
    let Some(bundle) = with(script, json!([])) else { return };
    std::fs::create_dir(bundle.path("host")).unwrap();
    map_users(&bundle);
    let flags = |host: &str, options: &[&str]| {
        let output = bind_flags(&bundle, host, options);
        stdout(&output).trim().replace(",inode64", "")
    };
    assert_eq!(flags("ro,nodev", &["bind", "nosuid"]), "ro,nosuid,nodev");
    assert_eq!(flags("nosuid,noatime", &["bind", "ro", "exec"]), "ro,nosuid,noatime");
    // Not locked, so it can be lowered.
    assert_eq!(flags("nodev,nosymfollow", &["bind", "ro"]), "ro,nodev");
    for (host, options) in [
        ("ro", vec!["bind", "rw"]),
        ("nosuid", vec!["bind", "suid"]),
        ("noatime", vec!["bind", "relatime", "dev"]),
        ("relatime", vec!["bind", "strictatime"]),
    ] {
        let output = bind_flags(&bundle, host, &options);
        let error = text(&output.stderr);
        assert!(!output.status.success() && error.contains("error mounting"), "{output:?}");
        assert!(error.contains("operation not permitted"), "{error}");
    }
}

#[test]
fn what_is_told_of_all_mounts_below_reaches_them() {
    let script = "echo x > /a/file && echo x > /a/sub/file; echo x > /b/sub/file && echo b; \
                  ls /c/sub; ls /d/sub";
    let bind =
        |to: &str, options: Value| json!({"destination": to, "source": "host", "options": options});
    let mounts = json!([
        bind("/a", json!(["rbind", "rro"])),
        bind("/b", json!(["rbind", "ro"])),
        bind("/c", json!(["bind"])),
        bind("/d", json!(["rbind"])),
    ]);
    let Some(bundle) = with(script, mounts) else { return };
    std::fs::create_dir(bundle.path("host")).unwrap();
    let prepare = "mount -t tmpfs tmpfs host && mkdir host/sub && mount -t tmpfs tmpfs host/sub && \
                   touch host/sub/there";
    let output = run_after(&bundle, prepare);
    assert_eq!(stdout(&output), "b\nfile\nthere\n");
}

#[test]
fn propagation_is_as_told() {
    let script = "for at in / /t /s /p /n; do busybox awk -v at=$at '$5 == at { print at, $7 }' \
                  /proc/self/mountinfo; done";
    let bind =
        |to: &str, options: Value| json!({"destination": to, "source": "host", "options": options});
    let mounts = json!([
        {"destination": "/t", "type": "tmpfs", "options": ["shared"]},
        bind("/s", json!(["rbind", "rslave"])),
        bind("/p", json!(["rbind", "rprivate"])),
        bind("/n", json!(["bind"])),
    ]);
    let Some(bundle) = with(script, mounts) else { return };
    std::fs::create_dir(bundle.path("host")).unwrap();
    let prepare = "mount -t tmpfs tmpfs host && mount --make-shared host";
    let words = |output: &Output| {
        let lines = stdout(output).lines();
        let word = |line: &str| line.split([':', ' ']).nth(1).unwrap_or_default().to_owned();
        lines.map(word).collect::<Vec<_>>()
    };
    let output = run_after(&bundle, prepare);
    assert_eq!(words(&output), ["-", "shared", "master", "-", "-"], "{output:?}");
    for (word, root, seen) in [
        ("rshared", "shared", ["shared", "shared", "shared", "shared"]),
        ("shared", "shared", ["shared", "master", "-", "-"]),
        ("unbindable", "unbindable", ["shared", "master", "-", "-"]),
        ("slave", "-", ["shared", "master", "-", "-"]),
    ] {
        bundle.configure(|config| config["linux"]["rootfsPropagation"] = word.into());
        let got = words(&run_after(&bundle, prepare));
        assert_eq!(got[0], root, "{word}");
        assert_eq!(got[1..], seen, "{word}");
    }
    // A slave of something.
    let shared = format!("{prepare} && mount --bind rootfs rootfs && mount --make-shared rootfs");
    assert_eq!(words(&run_after(&bundle, &shared))[0], "master");
    bundle.configure(|config| config["linux"]["rootfsPropagation"] = "sideways".into());
    let error = refused(&bundle);
    assert!(error.contains("linux.rootfsPropagation: rootfsPropagation=sideways"), "{error}");
}

#[test]
fn mounts_are_made_in_order_and_see_those_before() {
    let script = "busybox awk '$5 ~ /^.(one|two|three|four)$/ { print $5 }' /proc/self/mountinfo; \
                  cat /four/inner/file; cat /rel/file";
    let Some(bundle) = with(script, json!([])) else { return };
    std::fs::create_dir_all(bundle.path("host")).unwrap();
    std::fs::write(bundle.path("host/file"), "deep\n").unwrap();
    let rootfs = bundle.path("rootfs").display().to_string();
    bundle.configure(|config| {
        for mount in [
            json!({"destination": "/one", "source": "host", "options": ["bind", "rshared"]}),
            json!({"destination": "/two", "type": "tmpfs", "source": "tmpfs"}),
            json!({"destination": "/two/inner", "source": "host", "options": ["bind"]}),
            json!({"destination": "/three", "source": "./host/", "options": ["rbind"]}),
            // What the container has by now, named as the host would.
            json!({"destination": format!("{rootfs}/four"), "source": format!("{rootfs}/two"),
                "options": ["rbind"]}),
            json!({"destination": "rel", "source": "host", "options": ["bind"]}),
        ] {
            add(config, "/mounts", mount);
        }
    });
    assert_eq!(run(&bundle), "/one\n/two\n/three\n/four\ndeep\ndeep\n");
}

#[test]
fn links_in_the_image_lead_nowhere_else() {
    let mounts = json!([
        {"destination": "/jump/hosts", "source": "file", "options": ["bind"]},
        {"destination": "/dir", "source": ".", "options": ["bind"]},
    ]);
    let Some(bundle) = with("cat /tmp/a/b/hosts; ls /else/where/config.json", mounts) else {
        return;
    };
    std::fs::write(bundle.path("file"), "bound\n").unwrap();
    symlink("/tmp/a/b", bundle.path("rootfs/jump")).unwrap();
    symlink("../../else/where", bundle.path("rootfs/dir")).unwrap();
    assert_eq!(run(&bundle), "bound\n/else/where/config.json\n");
    assert!(!bundle.path("else").exists() && bundle.path("rootfs/jump").is_symlink());
    // Nor to the root itself, nor instead of /proc, /sys and /dev.
    for (link, to, word) in [
        ("dir", "/", "on the top of rootfs"),
        ("proc", "/bad", "must be mounted on ordinary directory"),
        ("sys", "/bad", "must be mounted on ordinary directory"),
        ("dev", "/bad", "symbolic link"),
    ] {
        let path = bundle.path("rootfs").join(link);
        let kept = bundle.path("kept");
        std::fs::rename(&path, &kept).unwrap();
        symlink(to, &path).unwrap();
        let error = refused(&bundle);
        assert!(error.contains(word), "{link}: {error}");
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(&kept, &path).unwrap();
    }
    std::fs::remove_dir(bundle.path("rootfs/proc")).unwrap();
    std::fs::write(bundle.path("rootfs/proc"), "").unwrap();
    let error = refused(&bundle);
    assert!(error.contains("filesystem \"proc\" must be mounted on ordinary directory"), "{error}");
}

#[test]
fn what_cannot_be_mounted_is_refused_before_anything_is_made() {
    let Some(bundle) = with("true", json!([])) else { return };
    let usual = std::fs::read(bundle.path("config.json")).unwrap();
    for (mount, words) in [
        (json!({"destination": "/x", "source": "gone", "options": ["bind"]}), "no such file"),
        (json!({"destination": "/", "type": "tmpfs"}), "mounts[7].destination"),
        (json!({"destination": "/proc/self/attr", "type": "tmpfs"}), "it is inside /proc"),
        (json!({"destination": "/x", "type": "tmpfs", "options": ["idmap"]}), "mounts[7]"),
        (
            json!({"destination": "/x", "type": "tmpfs", "options": ["remount"]}),
            "mounts[7].options",
        ),
    ] {
        std::fs::write(bundle.path("config.json"), &usual).unwrap();
        bundle.configure(|config| add(config, "/mounts", mount));
        let error = refused(&bundle);
        assert!(error.contains(words), "{error}");
        let left = std::fs::read_dir(bundle.path("state")).into_iter().flatten().count();
        assert_eq!((left, bundle.path("rootfs/x").exists()), (0, false));
    }
}

#[test]
fn owners_are_mapped() {
    let map = |host: u32| json!([{"containerID": 0, "hostID": host, "size": 1000}]);
    let mapped = |to: &str, option: &str, host: u32| {
        json!({"destination": to, "source": "host", "options": [option, "rbind"],
            "uidMappings": map(host), "gidMappings": map(host + 1)})
    };
    let script = "for at in /a /b /c; do busybox stat -c '%n %u %g' $at/file $at/sub/file; done";
    let Some(bundle) = with(script, json!([])) else { return };
    std::fs::create_dir(bundle.path("host")).unwrap();
    bundle.configure(|config| {
        add(config, "/mounts", mapped("/a", "idmap", USER));
        add(config, "/mounts", mapped("/b", "ridmap", USER));
        add(
            config,
            "/mounts",
            json!({"destination": "/c", "source": "host", "options": ["rbind"]}),
        );
    });
    // Mounts of the file system below: tmpfs has no mapped mounts before Linux 6.3.
    let prepare = "mkdir -p host/sub && mount --bind host host && mount --bind host/sub host/sub && \
                   echo x > host/file && echo x > host/sub/file && chown 5:6 host/file host/sub/file";
    let shown =
        |output: &Output| stdout(output).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (user, group) = ((USER + 5).to_string(), (USER + 7).to_string());
    let output = run_after(&bundle, prepare);
    let words = shown(&output);
    let ids = |nth: usize| [words[nth * 3 + 1].as_str(), words[nth * 3 + 2].as_str()];
    assert_eq!(ids(0), [&user, &group], "{output:?}");
    assert_eq!(ids(1), ["5", "6"], "idmap is for one mount");
    assert_eq!(ids(3), [&user, &group], "ridmap is for all");
    assert_eq!(ids(4), ["5", "6"]);
    // In a user namespace, seen through its own map; a mapping may be implied.
    bundle.configure(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.pop();
        mounts.push(json!({"destination": "/c", "source": "host", "options": ["rbind", "ridmap"]}));
    });
    map_users(&bundle);
    let output = run_after(&bundle, prepare);
    let words = shown(&output);
    let ids = |nth: usize| [words[nth * 3 + 1].as_str(), words[nth * 3 + 2].as_str()];
    assert_eq!((ids(0), ids(2)), (["5", "7"], ["5", "7"]), "{output:?}");
    assert_eq!((ids(4), ids(5)), (["5", "6"], ["5", "6"]), "{output:?}");
}

#[test]
fn in_a_user_namespace_closed_directories_are_no_obstacle() {
    let mounts = json!([
        {"destination": "/a", "source": "closed/dir", "options": ["bind", "ro"]},
        {"destination": "/b/file", "source": "closed/dir/file", "options": ["bind"]},
    ]);
    let script = "cat /a/file /b/file; echo x > /a/new || echo ro";
    let Some(bundle) = with(script, mounts) else { return };
    std::fs::create_dir_all(bundle.path("closed/dir")).unwrap();
    std::fs::write(bundle.path("closed/dir/file"), "there\n").unwrap();
    map_users(&bundle);
    let closed = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(bundle.path("closed"), closed).unwrap();
    assert_eq!(run(&bundle), "there\nthere\nro\n");
}

#[test]
fn devices_are_made_or_bound() {
    let script = "busybox stat -c '%n %F %a %u %g %t %T' /dev/c /dev/deep/b /dev/p; \
                  readlink /dev/ptmx || busybox readlink /dev/ptmx; echo x > /dev/null";
    let Some(bundle) = with(script, json!([])) else { return };
    bundle.configure(|config| {
        config["linux"]["devices"] = json!([
            {"path": "/dev/c", "type": "u", "major": 10, "minor": 300, "fileMode": 0o620, "uid": 3, "gid": 4},
            {"path": "/dev/deep/b", "type": "b", "major": 8, "minor": 666},
            {"path": "/dev/p", "type": "p", "fileMode": 0o600},
        ]);
        // An image that brings its own /dev.
        config["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/dev");
    });
    let ptmx = bundle.path("rootfs/dev/ptmx");
    let made = std::process::Command::new("mknod").arg(&ptmx).args(["c", "5", "2"]).status();
    assert!(made.unwrap().success());
    let shown = run(&bundle);
    assert!(shown.contains("/dev/c character special file 620 3 4 a 12c\n"), "{shown}");
    assert!(shown.contains("/dev/deep/b block special file 666 0 0 8 29a\n"), "{shown}");
    assert!(shown.contains("/dev/p fifo 600 0 0 0 0\n") && shown.contains("pts/ptmx"), "{shown}");
    // Once more, with what is there by now; then with something else in its place.
    run(&bundle);
    bundle.configure(|config| config["linux"]["devices"][0]["minor"] = 301.into());
    assert!(refused(&bundle).contains("cannot create device /dev/c: File exists"));
}

#[test]
fn a_user_namespace_gets_the_hosts_devices() {
    let script = "busybox stat -c '%n %t %T' /dev/null /dev/kmsg; echo x > /dev/null && echo ok";
    let Some(bundle) = with(script, json!([])) else { return };
    map_users(&bundle);
    bundle.configure(|config| {
        config["linux"]["devices"] =
            json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]);
    });
    assert_eq!(run(&bundle), "/dev/null 1 3\n/dev/kmsg 1 b\nok\n");
    bundle.configure(|config| config["linux"]["devices"][0]["minor"] = 12.into());
    assert!(refused(&bundle).contains("the host's device of that name is another one"));
}

#[test]
fn masked_and_read_only_paths() {
    let script = "cat /secret /dir/x; ls /dir; grep -c ' /secret ' /proc/mounts; \
                  grep -c ' /dir ' /proc/mounts; echo x > /fixed || echo x > /tree/below || echo ro";
    let Some(bundle) = with(script, json!([])) else { return };
    for name in ["dir", "tree"] {
        std::fs::create_dir(bundle.path("rootfs").join(name)).unwrap();
    }
    for name in ["secret", "dir/x", "fixed", "tree/below"] {
        std::fs::write(bundle.path("rootfs").join(name), "shown\n").unwrap();
    }
    bundle.configure(|config| {
        config["linux"]["maskedPaths"] =
            json!(["/secret", "/dir", "//secret", "/dir/", "/nowhere", "/dir/x", "/secret/x"]);
        config["linux"]["readonlyPaths"] = json!(["/fixed", "/tree", "/fixed", "/nowhere"]);
    });
    assert_eq!(run(&bundle), "1\n1\nro\n");
    bundle.configure(|config| config["linux"]["maskedPaths"] = json!(["/dir", "relative"]));
    let error = refused(&bundle);
    assert!(
        error.contains("linux.maskedPaths[1]: \"relative\" is not an absolute path"),
        "{error}"
    );
    symlink("loop", bundle.path("rootfs/loop")).unwrap();
    bundle.configure(|config| config["linux"]["maskedPaths"] = json!(["/loop"]));
    assert!(refused(&bundle).contains("/loop"));
}

#[test]
fn sysctls_of_the_containers_own_namespaces() {
    let script =
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/kernel/domainname";
    let Some(bundle) = with(script, json!([])) else { return };
    bundle.configure(|config| {
        config["linux"]["sysctl"] = json!({
            "net/ipv4/ip_forward": "1", "kernel.msgmax": "4242", "kernel.domainname": "there"});
    });
    assert_eq!(run(&bundle), "1\n4242\nthere\n");
    map_users(&bundle);
    bundle.configure(|config| config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"}));
    assert!(run(&bundle).starts_with("1\n"));
    for (name, words) in [
        ("kernel.hostname", "conflicts with the OCI \"hostname\" field"),
        ("vm.overcommit_memory", "is not in a separate kernel namespace"),
    ] {
        bundle.configure(|config| config["linux"]["sysctl"] = json!({name: "1"}));
        assert!(refused(&bundle).contains(words), "{name}");
    }
}

#[test]
fn cgroups_are_shown_as_told() {
    let script = "busybox awk '$2 ~ /^.sys.fs.cgroup/ { print $4 }' /proc/mounts | busybox cut -d, -f1 | \
                  busybox sort -u; \
                  cat /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs 2>/dev/null | grep -c .";
    let Some(bundle) = with(script, json!([])) else { return };
    for own_namespace in [true, false] {
        for word in ["ro", "rw"] {
            bundle.configure(|config| {
                let spaces = config["linux"]["namespaces"].as_array_mut().unwrap();
                spaces.retain(|space| space["type"] != "cgroup");
                if own_namespace {
                    spaces.push(json!({"type": "cgroup"}));
                }
                let mounts = config["mounts"].as_array_mut().unwrap();
                mounts.retain(|mount| mount["type"] != "cgroup");
                mounts.push(json!({"destination": "/sys/fs/cgroup", "type": "cgroup",
                    "source": "cgroup", "options": ["nosuid", word]}));
            });
            let shown = run(&bundle);
            let mut lines = shown.lines();
            assert_eq!(lines.next(), Some(word), "{shown}");
            // No process but the container's own is to be seen.
            let processes: u32 = lines.next().unwrap().parse().unwrap();
            assert!((1..100).contains(&processes), "{shown}");
        }
    }
}
