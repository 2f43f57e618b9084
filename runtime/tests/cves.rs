//! What has gone wrong in container runtimes, done to `rcnt-oci` end to end: a
//! test per advisory, which fails when its protection is taken away.
//! `scripts/test-weakened` takes them away, one by one (`tests/weakened/`).
//!
//! What only a library's caller can do is tested in `containers/` (CVE-2021-30465
//! with a detached neighbour, USER by name) and `seccomp.rs` (CVE-2026-31431: an
//! OCI bundle brings its own filter).
//!
//! Needs root and busybox-static, else it is skipped (unless
//! RCNT_TESTS_MUST_WORK is set).
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

mod bundle;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bundle::{Bundle, text};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev, mknodat, renameat_with};
use serde_json::{Value, json};

/// A container that goes whatever becomes of the test.
struct Container<'a> {
    bundle: &'a Bundle,
    id: String,
}

impl<'a> Container<'a> {
    fn of(bundle: &'a Bundle) -> Self {
        Self { bundle, id: bundle.id("cve") }
    }

    /// One that runs.
    fn running(bundle: &'a Bundle) -> Self {
        let container = Self::of(bundle);
        bundle.detached(&container.id);
        container
    }

    /// One whose command waits for `start`.
    fn created(bundle: &'a Bundle) -> Self {
        let container = Self::of(bundle);
        let mut create = bundle.command(&["create", &container.id]);
        let status = create.stdin(Stdio::null()).stdout(Stdio::null()).status();
        assert!(status.unwrap().success());
        container
    }

    /// What `run` gives.
    fn run(&self) -> Output {
        self.bundle.oci(&["run", &self.id])
    }

    fn exec(&self, flags: &[&str], command: &[&str]) -> Output {
        self.bundle.oci(&[&["exec"], flags, &[self.id.as_str()], command].concat())
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.bundle.oci(&["delete", "--force", &self.id]);
    }
}

/// The bundle cannot be run, nothing of it has run, and nothing is left of it.
#[track_caller]
fn refused(bundle: &Bundle, why: &str) {
    let container = Container::of(bundle);
    let output = container.run();
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert!(text(&output.stderr).contains(why), "{output:?}");
    assert_eq!(text(&bundle.oci(&["list", "--quiet"]).stdout), "");
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not in 20 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn add_mount(bundle: &Bundle, mount: Value) {
    bundle.configure(|config| config["mounts"].as_array_mut().unwrap().push(mount));
}

fn bind(source: &Path, destination: &str) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": ["bind"]})
}

/// `/dev` is this directory of the host's.
fn use_as_dev(bundle: &Bundle, dir: &Path) {
    bundle.configure(|config| config["mounts"][1] = bind(dir, "/dev"));
}

/// Like the bundle's own command, with a directory of the host's open at 7 and the
/// host's root at 8, neither of them close-on-exec.
fn leaking(bundle: &Bundle, args: &[&str]) -> Command {
    let leak = bundle.path("leak");
    fs::create_dir_all(&leak).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 7<\"$0\" 8</ \"$@\""]).arg(leak).arg(bundle::binary());
    shell.arg("--root").arg(bundle.path("state")).args(args);
    shell.current_dir(bundle.path("")).stdin(Stdio::null());
    shell
}

/// Device and inode, wherever it is mounted.
fn identity(path: &Path) -> (u64, u64) {
    let file = fs::metadata(path).unwrap();
    (file.dev(), file.ino())
}

fn make_fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
}

/// CVE-2019-5736: a process inside holds `/proc/<pid>/exe` of the runtime and
/// writes to it when the runtime has ended.
#[test]
fn the_runtimes_own_file_cannot_be_written_to() {
    // Executing what it runs from makes the runtime's program a process inside,
    // where a log that is a FIFO keeps it.
    let script = "\
        until p=$(grep -l '[g]ate' /proc/[0-9]*/cmdline); do usleep 1000; done 2>/dev/null
        p=${p%/cmdline}
        until {
            cat /ga* >/dev/null
            while [ -d $p ]; do usleep 1000; done
            for i in 1 2 3 4 5 6 7 8 9 10; do (echo bad >/proc/self/fd/9) 2>&1; usleep 20000; done
            echo tried
        } 9<$p/exe; do usleep 1000; done 2>/dev/null";
    let Some(bundle) = Bundle::new(script) else { return };
    make_fifo(&bundle.path("rootfs/gate"));
    // A copy: where the protection fails nothing else is destroyed.
    let copy = bundle.path("rcnt-oci");
    fs::copy(bundle::binary(), &copy).unwrap();
    let before = fs::read(&copy).unwrap();
    let container = Container::of(&bundle);
    let oci = |args: &[&str]| {
        let mut command = Command::new(&copy);
        command.arg("--root").arg(bundle.path("state")).args(args);
        command.current_dir(bundle.path("")).stdin(Stdio::null());
        command
    };
    let attacker = oci(&["run", &container.id]).stdout(Stdio::piped()).spawn().unwrap();
    wait_until("it runs", || {
        let state = bundle.oci(&["state", &container.id]);
        text(&state.stdout).contains("\"running\"")
    });
    let victim = ["exec", &container.id, "/proc/self/exe", "--log", "/gate", "list"];
    oci(&victim).output().unwrap();
    let output = attacker.wait_with_output().unwrap();
    assert!(text(&output.stdout).ends_with("tried\n"), "{output:?}");
    assert!(text(&output.stdout).contains("Read-only file system"), "{output:?}");
    assert!(fs::read(&copy).unwrap() == before, "the file has changed");
}

/// CVE-2019-16884: a volume over `/proc`, or over the files in it that say who a
/// process is, fakes them.
#[test]
fn nothing_but_procfs_is_or_covers_proc() {
    let Some(bundle) = Bundle::new("echo ran") else { return };
    let fake = bundle.path("fake");
    fs::create_dir(&fake).unwrap();
    symlink("/proc/irq", bundle.path("rootfs/harmless")).unwrap();
    for destination in ["/proc", "/proc/self/attr", "/sys/../proc/sys", "/harmless"] {
        for mount in [
            bind(&fake, destination),
            json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"}),
        ] {
            add_mount(&bundle, mount);
            refused(&bundle, "cannot be mounted because it is");
            bundle.configure(|config| drop(config["mounts"].as_array_mut().unwrap().pop()));
        }
    }
}

/// CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-54867: with `/proc` or
/// `/sys` a symlink, the image chooses what is there instead of the kernel's files.
#[test]
fn proc_and_sys_as_symlinks_are_refused() {
    let Some(bundle) = Bundle::new("echo ran") else { return };
    for dir in ["proc", "sys"] {
        let path = bundle.path("rootfs").join(dir);
        fs::remove_dir(&path).unwrap();
        fs::create_dir_all(bundle.path("rootfs/elsewhere")).unwrap();
        symlink("/elsewhere", &path).unwrap();
        refused(&bundle, "must be mounted on ordinary directory");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
    }
}

/// CVE-2025-52881, CVE-2025-62596: what the runtime writes to procfs lands in
/// another file of procfs, through mounts the bundle asks for.
#[test]
fn what_is_written_to_procfs_is_not_redirected() {
    let show = "cat /proc2/sys/kernel/shmmax /proc2/sys/kernel/msgmax";
    let Some(bundle) = Bundle::new(show) else { return };
    fs::create_dir(bundle.path("rootfs/proc2")).unwrap();
    symlink("/proc/sys/kernel/shmmax", bundle.path("rootfs/link")).unwrap();
    add_mount(&bundle, json!({"destination": "/proc2", "type": "proc", "source": "proc"}));
    // A file of procfs over another: both are procfs', so this is allowed.
    add_mount(&bundle, bind(Path::new("/proc/sys/kernel/msgmax"), "/link"));
    bundle.configure(|config| {
        config["linux"]["sysctl"] = json!({"kernel.shmmax": "123456"});
        config["linux"]["readonlyPaths"] = json!([]);
    });
    let output = Container::of(&bundle).run();
    assert_eq!(text(&output.stdout), "123456\n8192\n", "{output:?}");
}

/// CVE-2021-30465: a neighbour on a shared volume exchanges a directory and a
/// symlink while mounts below it are made.
#[test]
fn symlinks_swapped_during_the_start_lead_no_mount_outside() {
    let Some(bundle) = Bundle::new("true") else { return };
    let (volume, canary) = (bundle.path("volume"), bundle.path("canary"));
    fs::create_dir_all(volume.join("a")).unwrap();
    fs::create_dir(&canary).unwrap();
    symlink(&canary, volume.join("b")).unwrap();
    add_mount(&bundle, bind(&volume, "/volume"));
    fs::create_dir(bundle.path("rootfs/volume")).unwrap();
    for n in 0..8 {
        add_mount(&bundle, bind(&bundle.path("rootfs/etc"), &format!("/volume/a/made{n}")));
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (a, b) = (volume.join("a"), volume.join("b"));
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).unwrap();
            }
        });
        // It may fail, or mount somewhere inside.
        (0..15).for_each(|_| drop(Container::of(&bundle).run()));
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 0);
}

/// CVE-2024-45310: mount points are made through symlinks of the image, as empty
/// files and directories of the host.
#[test]
fn mount_points_are_made_inside_only() {
    let Some(bundle) = Bundle::new("cat /abs/file /rel/deep/file") else { return };
    let (canary, volume) = (bundle.path("canary"), bundle.path("volume"));
    fs::create_dir(&canary).unwrap();
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "mounted\n").unwrap();
    let rootfs = bundle.path("rootfs");
    symlink(canary.join("abs"), rootfs.join("abs")).unwrap();
    let up = format!("../../../../../../../..{}", canary.display());
    symlink(up, rootfs.join("rel")).unwrap();
    symlink(canary.join("made"), rootfs.join("file")).unwrap();
    add_mount(&bundle, bind(&volume, "/abs"));
    add_mount(&bundle, bind(&volume, "/rel/deep"));
    add_mount(&bundle, bind(&volume.join("file"), "/file/below/it"));
    let output = Container::of(&bundle).run();
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 0, "{output:?}");
    assert_eq!(text(&output.stdout), "mounted\nmounted\n", "{output:?}");
}

/// CVE-2024-21626: a descriptor of the host's that is open inside leads to the
/// host's files, by a working directory for a start.
#[test]
fn no_descriptor_and_no_working_directory_leads_outside() {
    let Some(bundle) = Bundle::new("true") else { return };
    symlink("/proc/self/fd/7", bundle.path("rootfs/link")).unwrap();
    let numbers = (3..12).map(|n| format!("/proc/self/fd/{n}"));
    for cwd in numbers.chain(["/link".into(), "/proc/1/fd/7".into(), "/proc/self/cwd".into()]) {
        let container = Container::of(&bundle);
        bundle.configure(|config| {
            config["process"]["cwd"] = cwd.as_str().into();
            config["process"]["args"] = json!(["ls"]);
        });
        let output = leaking(&bundle, &["run", &container.id]).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{cwd}: {output:?}");
    }
    bundle.configure(|config| {
        config["process"]["cwd"] = "/".into();
        config["process"]["args"] = json!(["sh", "-c", "ls /proc/$$/fd; exec sleep 60"]);
    });
    let container = Container::of(&bundle);
    let mut create = leaking(&bundle, &["create", &container.id]);
    let log = fs::File::create(bundle.path("out")).unwrap();
    assert!(create.stdout(log).status().unwrap().success());
    let pid = bundle.pid(&container.id);
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open: Vec<_> = open.map(|fd| identity(&fd.unwrap().path())).collect();
    let host = [identity(&bundle.path("leak")), identity(Path::new("/"))];
    assert!(open.len() > 3 && !open.iter().any(|file| host.contains(file)), "{open:?} {host:?}");
    assert!(bundle.oci(&["start", &container.id]).status.success());
    let out = || fs::read_to_string(bundle.path("out")).unwrap();
    wait_until("its descriptors are listed", || out() == "0\n1\n2\n");
    let list = ["exec", &container.id, "sh", "-c", "ls /proc/$$/fd; true"];
    let list = leaking(&bundle, &list).output().unwrap();
    assert_eq!(text(&list.stdout), "0\n1\n2\n", "{list:?}");
    for n in 3..12 {
        let cwd = format!("/proc/self/fd/{n}");
        let exec = ["exec", "--cwd", &cwd, &container.id, "ls"];
        let output = leaking(&bundle, &exec).output().unwrap();
        assert!(!output.status.success(), "{cwd}: {output:?}");
    }
}

/// CVE-2026-55686: a working directory with symlinks of the image in its path is
/// made, or changed, where they lead on the host.
#[test]
fn a_working_directory_is_made_inside_only() {
    let Some(bundle) = Bundle::new("pwd") else { return };
    let canary = bundle.path("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("secret"), "the host's\n").unwrap();
    fs::set_permissions(&canary, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(&canary, bundle.path("rootfs/abs")).unwrap();
    let up = format!("../../../../../../..{}", canary.display());
    symlink(up, bundle.path("rootfs/up")).unwrap();
    symlink(canary.join("gone"), bundle.path("rootfs/gone")).unwrap();
    let seen = || {
        let file = fs::metadata(&canary).unwrap();
        let files = fs::read_dir(&canary).unwrap().map(|file| file.unwrap().file_name());
        (file.mode(), file.uid(), file.gid(), files.collect::<Vec<_>>())
    };
    let before = seen();
    bundle.configure(|config| config["process"]["user"]["uid"] = 1000.into());
    for (cwd, inside) in [
        ("/abs", Some("")),
        ("/abs/made/deep", Some("made/deep")),
        ("/up/below", Some("below")),
        ("/gone/below", Some("gone/below")),
        ("/up/../above", None),
    ] {
        bundle.configure(|config| config["process"]["cwd"] = cwd.into());
        let output = Container::of(&bundle).run();
        assert_eq!(seen(), before, "{cwd}: {output:?}");
        assert!(!bundle.path("above").exists(), "{cwd}: {output:?}");
        // The same path, within the container.
        let shown = inside.map_or("/above".into(), |path| canary.join(path).display().to_string());
        assert_eq!(text(&output.stdout).trim_end(), shown.trim_end_matches('/'), "{output:?}");
    }
}

/// CVE-2025-31133, CVE-2025-62161: something else is where the null device that
/// masks paths is expected.
#[test]
fn what_masks_is_the_null_device() {
    let Some(bundle) = Bundle::new("cat /etc/secret; echo ran") else { return };
    fs::write(bundle.path("rootfs/etc/secret"), "secret\n").unwrap();
    bundle.configure(|config| config["linux"]["maskedPaths"] = json!(["/etc/secret"]));
    let output = Container::of(&bundle).run();
    assert_eq!(text(&output.stdout), "ran\n", "{output:?}");
    let dev = bundle.path("dev");
    fs::create_dir(&dev).unwrap();
    use_as_dev(&bundle, &dev);
    let null = dev.join("null");
    let make: [&dyn Fn(); 3] = [
        &|| fs::write(&null, "fake\n").unwrap(),
        &|| symlink("/etc/passwd", &null).unwrap(),
        // The device next to it: zero.
        &|| {
            let mode = Mode::from_raw_mode(0o666);
            mknodat(CWD, &null, FileType::CharacterDevice, mode, makedev(1, 5)).unwrap();
        },
    ];
    for make in make {
        make();
        refused(&bundle, "/dev/null");
        fs::remove_file(&null).unwrap();
    }
}

/// CVE-2025-52565: a symlink at `/dev/console` has the terminal mounted over any
/// file of the container.
#[test]
fn the_terminal_is_bound_to_the_console_only() {
    let Some(bundle) = Bundle::new("true") else { return };
    let dev = bundle.path("dev");
    fs::create_dir(&dev).unwrap();
    fs::write(bundle.path("rootfs/etc/file"), "").unwrap();
    symlink("/etc/file", dev.join("console")).unwrap();
    use_as_dev(&bundle, &dev);
    bundle.configure(|config| config["process"]["terminal"] = true.into());
    let socket = bundle.path("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let container = Container::of(&bundle);
    let create = ["create", "--console-socket", socket.to_str().unwrap(), &container.id];
    let output = bundle.command(&create).stdin(Stdio::null()).stdout(Stdio::null()).output();
    let output = output.unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert!(text(&output.stderr).contains("/dev/console"), "{output:?}");
}

/// CVE-2026-41579, CVE-2026-47766: with `/dev` a symlink, devices are made and
/// mounts end where the image wants them.
#[test]
fn dev_as_a_symlink_is_refused() {
    let Some(bundle) = Bundle::new("echo ran") else { return };
    fs::remove_dir(bundle.path("rootfs/dev")).unwrap();
    fs::create_dir(bundle.path("rootfs/elsewhere")).unwrap();
    symlink("/elsewhere", bundle.path("rootfs/dev")).unwrap();
    refused(&bundle, "symbolic link, which is not allowed there");
}

/// CVE-2024-9341, CVE-2022-23648: what the image has where a volume is mounted
/// starts the volume, files of the host behind symlinks included.
#[test]
fn a_volume_starts_with_nothing_of_the_host() {
    let show = "cat /data/plain /data/link /data/dir/secret /data/up";
    let Some(bundle) = Bundle::new(show) else { return };
    let (canary, data) = (bundle.path("canary"), bundle.path("rootfs/data"));
    fs::create_dir_all(&data).unwrap();
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("secret"), "the host's\n").unwrap();
    fs::write(data.join("plain"), "plain\n").unwrap();
    symlink(canary.join("secret"), data.join("link")).unwrap();
    symlink(&canary, data.join("dir")).unwrap();
    let up = format!("../../../../../../..{}/secret", canary.display());
    symlink(up, data.join("up")).unwrap();
    let options = json!(["tmpcopyup"]);
    let tmpfs = json!({"destination": "/data", "type": "tmpfs", "source": "t", "options": options});
    add_mount(&bundle, tmpfs);
    let output = Container::of(&bundle).run();
    assert_eq!(text(&output.stdout), "plain\n", "{output:?}");
}

const INHERITABLE: &str = "grep -E '^Cap(Inh|Amb)' /proc/self/status";
const NONE_INHERITABLE: &str = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n";

/// CVE-2022-24769, CVE-2022-27649, CVE-2022-27650: inheritable capabilities that
/// nobody asked for, which a program's file capabilities turn into rights.
#[test]
fn no_capability_is_inheritable_unless_the_bundle_says_so() {
    let Some(bundle) = Bundle::new("exec sleep 60") else { return };
    let container = Container::running(&bundle);
    let exec = container.exec(&[], &["sh", "-c", INHERITABLE]);
    assert_eq!(text(&exec.stdout), NONE_INHERITABLE, "{exec:?}");
    drop(container);
    for uid in [0, 1000] {
        bundle.configure(|config| {
            config["process"]["args"] = json!(["sh", "-c", INHERITABLE]);
            config["process"]["user"]["uid"] = uid.into();
        });
        let run = Container::of(&bundle).run();
        assert_eq!(text(&run.stdout), NONE_INHERITABLE, "{run:?}");
    }
}

/// CVE-2022-29162: `exec --cap` gives inheritable capabilities.
#[test]
fn exec_gives_no_inheritable_capability() {
    let Some(bundle) = Bundle::new("exec sleep 60") else { return };
    let container = Container::running(&bundle);
    let flags = ["--cap", "CAP_NET_ADMIN", "--cap", "CAP_KILL"];
    let exec = container.exec(&flags, &["sh", "-c", INHERITABLE]);
    assert_eq!(text(&exec.stdout), NONE_INHERITABLE, "{exec:?}");
}

/// CVE-2022-36109, CVE-2023-25173: supplementary groups of the caller, or of
/// nobody, stay with the command.
#[test]
fn supplementary_groups_are_those_of_the_bundle() {
    let show = ["sh", "-c", "grep ^Groups /proc/self/status"];
    let Some(bundle) = Bundle::new("exec sleep 60") else { return };
    bundle.configure(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [6, 5]});
    });
    // The runtime itself has a group that nobody else may have.
    let oci = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--groups", "4242", "--"]).arg(bundle::binary());
        command.arg("--root").arg(bundle.path("state")).args(args);
        command.current_dir(bundle.path("")).stdin(Stdio::null()).output().unwrap()
    };
    let container = Container::running(&bundle);
    for (flags, groups) in [(&[][..], "5 6"), (&["--additional-gids", "7"], "5 6 7")] {
        let exec = oci(&[&["exec"], flags, &[container.id.as_str()], &show].concat());
        assert_eq!(text(&exec.stdout).trim_end(), format!("Groups:\t{groups}"), "{exec:?}");
    }
    drop(container);
    for (groups, shown) in [(json!([6, 5]), "Groups:\t5 6"), (json!([]), "Groups:")] {
        bundle.configure(|config| {
            config["process"]["args"] = show.as_slice().into();
            config["process"]["user"]["additionalGids"] = groups;
        });
        let run = oci(&["run", &bundle.id("cve")]);
        assert_eq!(text(&run.stdout).trim_end(), shown, "{run:?}");
    }
}

/// CVE-2024-40635, CVE-2026-46680: a number that is too large becomes user 0, or
/// stays the runtime's own.
#[test]
fn ids_out_of_range_are_refused() {
    let Some(bundle) = Bundle::new("id -u; id -g") else { return };
    for field in ["uid", "gid"] {
        for id in [json!(4_294_967_295_u32), json!(4_294_967_296_u64), json!(-1), json!("0")] {
            bundle.configure(|config| config["process"]["user"][field] = id);
            refused(&bundle, &format!("process.user.{field}"));
        }
        bundle.configure(|config| config["process"]["user"][field] = 1.into());
    }
    bundle.configure(|config| config["process"]["user"]["additionalGids"] = json!([u32::MAX]));
    refused(&bundle, "process.user.additionalGids[0]");
}

/// CVE-2026-30892: what `exec --user` does not understand becomes user 0.
#[test]
fn exec_refuses_a_user_that_is_no_number() {
    let Some(bundle) = Bundle::new("exec sleep 60") else { return };
    let container = Container::running(&bundle);
    let show = ["sh", "-c", "id -u; id -g"];
    for (user, shown) in [("1", "1\n0\n"), ("1:2", "1\n2\n"), ("01:0", "1\n0\n")] {
        let exec = container.exec(&["--user", user], &show);
        assert_eq!(text(&exec.stdout), shown, "{user}: {exec:?}");
    }
    for user in ["", "root", "1a", "0x1", "+1", "1:", ":1", "1:a", "1:1:1", " 1", "4294967296"] {
        let exec = container.exec(&["--user", user], &show);
        assert!(!exec.status.success() && exec.stdout.is_empty(), "{user:?}: {exec:?}");
    }
    for user in ["2147483648", "4294967295", "1:4294967295", "18446744073709551616"] {
        let exec = container.exec(&["--user", user], &show);
        assert!(!exec.status.success() && exec.stdout.is_empty(), "{user:?}: {exec:?}");
    }
}

/// A container whose command tells the home directory, which is looked up for user 1000.
fn homesick() -> Option<Bundle> {
    let bundle = Bundle::new("echo $HOME")?;
    bundle.configure(|config| config["process"]["user"]["uid"] = 1000.into());
    fs::write(bundle.path("rootfs/etc/passwd"), "me:x:1000:0::/home/me:/bin/sh\n").unwrap();
    let output = Container::of(&bundle).run();
    assert_eq!(text(&output.stdout), "/home/me\n", "{output:?}");
    Some(bundle)
}

/// CVE-2024-9676: `/etc/passwd` is a FIFO that nobody writes to, a device, or a
/// symlink to a file outside.
#[test]
fn passwd_that_is_no_file_of_the_containers_is_not_waited_for() {
    let Some(bundle) = homesick() else { return };
    let passwd = bundle.path("rootfs/etc/passwd");
    let outside = bundle.path("passwd");
    fs::write(&outside, "host:x:1000:0::/host:/bin/sh\n").unwrap();
    let make: [&dyn Fn(); 2] = [&|| make_fifo(&passwd), &|| symlink(&outside, &passwd).unwrap()];
    for make in make {
        fs::remove_file(&passwd).unwrap();
        make();
        let container = Container::of(&bundle);
        let mut limited = Command::new("timeout");
        limited.args(["-s", "KILL", "20"]).arg(bundle::binary());
        limited.arg("--root").arg(bundle.path("state")).args(["run", &container.id]);
        let limited = limited.current_dir(bundle.path("")).stdin(Stdio::null());
        // The first process would keep a pipe of ours open.
        let log = fs::File::create(bundle.path("out")).unwrap();
        let status = limited.stdout(log).status().unwrap();
        assert!(status.success(), "{status:?}");
        assert_eq!(fs::read_to_string(bundle.path("out")).unwrap(), "/\n");
    }
}

/// CVE-2026-47262: a file of users or groups without end fills the memory.
#[test]
fn a_huge_file_of_users_is_not_read() {
    let Some(bundle) = homesick() else { return };
    let line = "other:x:1:1::/:/bin/sh\n".repeat(1 << 16);
    let passwd = format!("{line}me:x:1000:0::/home/me:/bin/sh\n");
    fs::write(bundle.path("rootfs/etc/passwd"), passwd).unwrap();
    let output = Container::of(&bundle).run();
    assert_eq!(text(&output.stdout), "/\n", "{output:?}");
}

/// CVE-2023-25809: without a cgroup namespace, the cgroups that are shown can be
/// written to.
#[test]
fn the_cgroups_shown_cannot_be_written_to() {
    let script = "\
        for d in $(busybox find /sys/fs/cgroup -maxdepth 2 -type d); do
            busybox mkdir $d/made 2>/dev/null && echo made $d
        done
        for f in $(busybox find /sys/fs/cgroup -name cgroup.procs -o -name release_agent); do
            (echo $$ >$f) 2>/dev/null && echo wrote $f
        done
        busybox find /sys/fs/cgroup -name cgroup.procs | grep -q . && echo seen";
    let Some(bundle) = Bundle::new(script) else { return };
    bundle.configure(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "cgroup");
    });
    let output = Container::of(&bundle).run();
    assert_eq!(text(&output.stdout), "seen\n", "{output:?}");
}

/// CVE-2022-0811: a sysctl of the whole machine, `kernel.core_pattern` for one.
#[test]
fn a_sysctl_of_the_machine_is_refused() {
    let Some(bundle) = Bundle::new("echo ran") else { return };
    for name in ["kernel.core_pattern", "kernel/core_pattern", "vm.swappiness"] {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        // As it is, so that a failure of the protection changes nothing.
        let value = fs::read_to_string(path).unwrap();
        bundle.configure(|config| config["linux"]["sysctl"] = json!({name: value.trim_end()}));
        refused(&bundle, "is not in a separate kernel namespace");
    }
    // Nor is another one hidden in the value of one that may be set.
    let hidden = json!({"kernel.shm_rmid_forced": "1+kernel.core_pattern=core"});
    bundle.configure(|config| config["linux"]["sysctl"] = hidden);
    refused(&bundle, "set sysctl kernel.shm_rmid_forced");
}

/// GHSA-w2j5-3rcx-vx7x: `net.*` in the host's network namespace is the host's.
#[test]
fn a_network_sysctl_needs_a_network_namespace() {
    let Some(bundle) = Bundle::new("echo ran") else { return };
    let value = fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap();
    let sysctl = json!({"net.ipv4.ip_default_ttl": value.trim_end()});
    bundle.configure(|config| config["linux"]["sysctl"] = sysctl);
    assert_eq!(text(&Container::of(&bundle).run().stdout), "ran\n");
    for path in [Value::Null, "/proc/self/ns/net".into()] {
        bundle.configure(|config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != "network");
            if !path.is_null() {
                namespaces.push(json!({"type": "network", "path": path}));
            }
        });
        refused(&bundle, "not allowed in host network namespace");
    }
}

/// CVE-2016-9962: before it is the command, the runtime's process inside is looked
/// into or traced by others there.
#[test]
fn the_runtime_inside_is_hidden_from_the_container() {
    let Some(bundle) = Bundle::new("exec sleep 60") else { return };
    let container = Container::created(&bundle);
    // Process 1 is still the runtime.
    let look = ["ls", "-l", "/proc/1/exe", "/proc/1/fd/", "/proc/1/cwd"];
    // It has CAP_SYS_ADMIN left, which those have who may trace it.
    let flags = ["--cap", "CAP_SYS_ADMIN"];
    let output = container.exec(&flags, &look);
    let denied =
        |name: &str| text(&output.stderr).contains(&format!("{name}: cannot read link: P"));
    assert!(!text(&output.stdout).contains("->"), "{output:?}");
    assert!(["/proc/1/exe", "/proc/1/fd/0", "/proc/1/cwd"].into_iter().all(denied), "{output:?}");
    assert!(bundle.oci(&["start", &container.id]).status.success());
    // Nor while it is on its way in.
    let watch = "while :; do ls -l /proc/[0-9]*/exe; done 2>/dev/null";
    let seen = fs::File::create(bundle.path("seen")).unwrap();
    let watch = [&["exec"], &flags[..], &[container.id.as_str(), "sh", "-c", watch]].concat();
    let mut watch = bundle.command(&watch);
    let mut watch = watch.stdin(Stdio::null()).stdout(seen).spawn().unwrap();
    let seen = || fs::read_to_string(bundle.path("seen")).unwrap();
    wait_until("it watches", || seen().contains("/proc/1/exe -> /bin/busybox"));
    for _ in 0..40 {
        assert!(container.exec(&[], &["true"]).status.success());
    }
    drop(container);
    watch.wait().unwrap();
    let seen = seen();
    let ours = seen.lines().find(|l| l.contains("->") && !l.ends_with("-> /bin/busybox"));
    assert_eq!(ours, None);
}

/// CVE-2024-3154: an annotation makes systemd do what its author is not allowed to.
#[test]
fn an_annotation_tells_systemd_no_more_than_properties_of_the_unit() {
    let Some(bundle) = Bundle::new("echo ran") else { return };
    let annotate = |name: &str, value: &str| {
        let key = format!("org.systemd.property.{name}");
        bundle.configure(|config| config["annotations"] = json!({key.as_str(): value}));
        key
    };
    for (name, value) in [
        // A process of the host's, which would end with the container.
        ("PIDs", "[uint32 1]"),
        ("Slice", "'other.slice'"),
        ("Description=x\nSlice", "'other.slice'"),
        ("../Description", "'x'"),
        ("Description", "'x', <'y'>"),
        ("Description", "x'"),
    ] {
        let key = annotate(name, value);
        let output = bundle.oci(&["--systemd-cgroup", "run", &bundle.id("cve")]);
        assert!(!output.status.success() && output.stdout.is_empty(), "{key}: {output:?}");
        let field = format!("annotations[{key:?}]");
        assert!(text(&output.stderr).contains(&field), "{key}: {output:?}");
        assert_eq!(text(&bundle.oci(&["list", "--quiet"]).stdout), "");
    }
    // Without systemd it is an annotation like any other.
    annotate("PIDs", "[uint32 1]");
    assert_eq!(text(&Container::of(&bundle).run().stdout), "ran\n");
}

/// CVE-2020-15257: an abstract socket of the runtime's is in reach of all who share
/// its network namespace.
#[test]
fn no_abstract_socket_is_there() {
    let Some(bundle) = Bundle::new("true") else { return };
    bundle.configure(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "network");
    });
    let container = Container::of(&bundle);
    // In a namespace that has nobody else's sockets.
    let mut create = Command::new("unshare");
    create.arg("--net").arg(bundle::binary()).arg("--root").arg(bundle.path("state"));
    create.args(["create", &container.id]).current_dir(bundle.path(""));
    let status = create.stdin(Stdio::null()).stdout(Stdio::null()).status();
    assert!(status.unwrap().success());
    let pid = bundle.pid(&container.id);
    let sockets = fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap();
    assert!(sockets.starts_with("Num") && !sockets.contains(" @"), "{sockets}");
}

/// CVE-2021-41103, CVE-2024-25621: other users read what containers are made of, or
/// execute what is in them, because directories are open to them.
#[test]
fn what_is_kept_of_a_container_is_closed_to_others() {
    let Some(bundle) = Bundle::new("true") else { return };
    let container = Container::created(&bundle);
    let directory = bundle.path("state").join(&container.id);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory) & 0o066, 0, "{:o}", mode(&directory));
    for entry in fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap()) {
        // They may start what they are: who runs as another user needs to reach it.
        let allowed = if entry.file_name() == "exec.fifo" { 0o022 } else { 0 };
        let mode = mode(&entry.path());
        assert_eq!(mode & 0o077 & !allowed, 0, "{entry:?} {mode:o}");
    }
}
