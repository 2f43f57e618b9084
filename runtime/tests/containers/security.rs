//! What a container must not be able to do. Each test names the advisory whose
//! protection it would miss.

use std::os::unix::fs::symlink;

use rcnt_base::report::ExitKind;
use rcnt_base::sys::child::{Cloned, clone3};
use rcnt_runtime::capabilities::{caller_bounding, default_set, sets};
use rcnt_runtime::plan::*;
use rcnt_runtime::seccomp;
use rustix::thread::UnshareFlags;

use crate::Test;
use crate::container::{Container, bind, reap};

pub const TESTS: &[Test] = &[
    ("an image with /proc, /sys or /dev as a symlink is refused", symlinked_roots),
    ("nothing covers /proc or parts of it", volume_on_proc),
    ("only the three streams are open inside", descriptors),
    ("a working directory through /proc/self/fd is refused", leaked_cwd),
    ("symlinks in the image never lead a mount outside", symlinked_destinations),
    ("swapping symlinks during the start gains nothing", swapped_symlinks),
    ("symlinks never lead a volume's copy outside", symlinked_copy_up),
    ("the host's binary cannot be written from inside", own_binary),
    ("masked paths show nothing, read-only ones cannot be written", masked),
    ("what masks must be the null device", fake_null),
    ("a directory of the host's as /dev stays as it is", host_dev),
    ("capability sets are exact", capability_sets),
    ("the default seccomp filter is in force", default_filter),
    ("nothing of the host's mounts is left, above or below", nothing_of_the_host),
    ("ids out of range are refused", ids_out_of_range),
    ("a profile that cannot be applied stops the start", unknown_profile),
    ("passwd that is no file is refused, not waited for", passwd_is_a_fifo),
];

fn symlinked_roots() {
    for dir in ["proc", "sys", "dev"] {
        let container = Container::with_args(&["true"]);
        let path = container.layer().join(dir);
        std::fs::remove_dir(&path).unwrap();
        std::fs::create_dir(container.layer().join("elsewhere")).unwrap();
        symlink("/elsewhere", &path).unwrap();
        let error = container.fail();
        assert!(error.message.contains("symbolic link"), "{error:?}");
        assert_eq!(error.kind, ExitKind::Runtime);
    }
}

fn volume_on_proc() {
    for (destination, file) in [("/proc", false), ("/proc/self/attr", false), ("/proc/sys", true)] {
        let mut container = Container::with_args(&["true"]);
        let source = container.dir.path().join(if file { "layer/bin/busybox" } else { "layer" });
        container.plan.mounts.push(bind(source, destination, ""));
        let error = container.fail();
        assert!(error.message.contains("/proc"), "{error:?}");
    }
    // A symlink in the image does not hide where it leads.
    let mut container = Container::with_args(&["true"]);
    symlink("/proc/irq", container.layer().join("harmless")).unwrap();
    let source = container.layer();
    container.plan.mounts.push(bind(source, "/harmless", ""));
    assert!(container.fail().message.contains("is inside /proc"));
    // lxcfs' files may.
    let mut container = Container::new("cat /proc/uptime");
    std::fs::write(container.dir.path().join("uptime"), "1 2\n").unwrap();
    let source = container.dir.path().join("uptime");
    container.plan.mounts.push(bind(source, "/proc/uptime", "ro"));
    assert_eq!(container.run().stdout, "1 2\n");
}

fn descriptors() {
    // CVE-2024-21626: this one is open in the parent and not close-on-exec.
    let leak = rustix::fs::open("/", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    let script = "ls /proc/$$/fd; true";
    assert_eq!(Container::new(script).run().stdout, "0\n1\n2\n");
    let container = Container::new("echo up; sleep 60");
    let live = container.start().unwrap();
    live.wait_for("up");
    let mut process = container.plan.process.clone();
    process.args = ["sh", "-c", script].map(str::to_owned).into();
    assert_eq!(live.exec(&process).unwrap().stdout, "0\n1\n2\n");
    drop(leak);
    live.kill();
}

fn leaked_cwd() {
    let leak = rustix::fs::open("/", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    let container = Container::new("echo up; sleep 60");
    let live = container.start().unwrap();
    live.wait_for("up");
    for n in 3..20 {
        let mut container = Container::with_args(&["pwd"]);
        container.plan.process.cwd = format!("/proc/self/fd/{n}").into();
        assert!(container.fail().message.starts_with("chdir to cwd"), "{n}");
        // The same behind a symlink of the image.
        symlink(format!("/proc/self/fd/{n}"), container.layer().join("work")).unwrap();
        container.plan.process.cwd = "/work".into();
        assert!(container.fail().message.starts_with("chdir to cwd"), "{n}");
        let error = live.exec(&ProcessPlan {
            cwd: format!("/proc/self/fd/{n}").into(),
            ..container.plan.process.clone()
        });
        assert!(error.unwrap_err().message.starts_with("chdir to cwd"), "{n}");
    }
    drop(leak);
    live.kill();
}

fn symlinked_destinations() {
    let mut container = Container::new("cat /tmp/canary/file; cat /up/file");
    let host = container.dir.path().join("host");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("file"), "mounted\n").unwrap();
    let canary = container.dir.path().join("canary");
    symlink("/tmp/canary", container.layer().join("abs")).unwrap();
    symlink("../../../../../../up", container.layer().join("rel")).unwrap();
    symlink(&canary, container.layer().join("out")).unwrap();
    for destination in ["/abs", "/rel", "/out/deep"] {
        container.plan.mounts.push(bind(&host, destination, ""));
    }
    container.plan.process.cwd = "/out/work".into();
    assert_eq!(container.run().stdout, "mounted\nmounted\n");
    assert!(!canary.exists(), "a directory was made on the host");
}

fn symlinked_copy_up() {
    let mut container = Container::new("ls /data; cat /data/secret");
    let canary = container.dir.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    std::fs::write(canary.join("secret"), "the host's\n").unwrap();
    symlink(&canary, container.layer().join("data")).unwrap();
    let volume = container.dir.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    let mut plan = bind(&volume, "/data", "");
    plan.copy_up = true;
    container.plan.mounts.push(plan);
    assert_eq!(container.run().stdout, "");
    assert_eq!(std::fs::read_dir(&volume).unwrap().count(), 0);
}

fn own_binary() {
    // CVE-2019-5736. This program runs from a sealed mount of itself, as rcnt
    // does; under --init it is pid 1 of the container.
    assert!(rcnt_base::sys::sealed::is_sealed().unwrap());
    let script = "echo bad > /proc/1/exe; sh -c 'echo bad >> /proc/1/exe'; \
                  dd if=/dev/zero of=/proc/1/exe conv=notrunc bs=1 count=1; true";
    let mut container = Container::new(script);
    container.plan.use_init = true;
    container.plan.process.capabilities = sets(caller_bounding().unwrap());
    let output = container.run();
    // While it runs, ETXTBSY may come first; EROFS is what stays afterwards.
    let refused = ["Read-only file system", "Text file busy"];
    let refused = output.stderr.lines().filter(|l| refused.iter().any(|r| l.contains(r)));
    assert_eq!(refused.count(), 3, "{output:?}");
    assert!(output.stderr.contains("Read-only file system"), "{output:?}");
    // A command that is the runtime itself gets no writable way to it either.
    let container = Container::new("true");
    let script = container.layer().join("bin/evil");
    std::fs::write(&script, "#!/proc/self/exe\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut container = container;
    container.plan.process.args = vec!["evil".into()];
    // Whatever this executes, it is not us: either it fails or it is the image's.
    match container.start() {
        Ok(live) => drop(live.finish()),
        Err(error) => assert_eq!(error.stage, "exec", "{error:?}"),
    }
}

fn masked() {
    let script = "cat /proc/keys | wc -c; ls /sys/firmware | wc -l; ls /proc/acpi | wc -l; \
                  echo 1 > /proc/sys/vm/overcommit_memory; echo x > /proc/irq/default_smp_affinity; \
                  touch /sys/firmware/x; mount -o remount,rw /proc/sys; umount /proc/keys";
    let container = Container::new(script);
    let output = container.run();
    assert_eq!(output.stdout, "0\n0\n0\n", "{output:?}");
    assert_eq!(output.stderr.matches("Read-only file system").count(), 3, "{output:?}");
    let refused = ["mount: permission denied", "umount: can't unmount /proc/keys: Operation not"];
    assert!(refused.iter().all(|text| output.stderr.contains(text)), "{output:?}");
}

fn fake_null() {
    // CVE-2025-31133: something else stands where /dev/null is expected.
    let mut container = Container::with_args(&["true"]);
    let fake = container.dir.path().join("fake");
    std::fs::write(&fake, "").unwrap();
    container.plan.mounts.push(bind(&fake, "/dev/null", ""));
    assert!(container.fail().message.contains("/dev/null"));
    container.plan.devices.nodes.retain(|n| !n.path.ends_with("null"));
    let error = container.fail();
    assert!(error.message.contains("not the null device"), "{error:?}");
}

fn capability_sets() {
    let script = "grep ^Cap /proc/self/status | cut -f2 | tr '\\n' ' '";
    let line = |inh: u64, prm: u64, eff: u64, bnd: u64, amb: u64| {
        format!("{inh:016x} {prm:016x} {eff:016x} {bnd:016x} {amb:016x} ")
    };
    let caps = default_set() & caller_bounding().unwrap();
    let mut container = Container::new(script);
    let root = line(0, caps, caps, caps, 0);
    assert_eq!(container.run().stdout, root);
    container.plan.process.user = UserPlan::Spec("www".into());
    let user = line(0, 0, 0, caps, 0);
    assert_eq!(container.run().stdout, user);
    container.plan.process.no_new_privileges = true;
    container.plan.process.seccomp = Some(filter());
    assert_eq!(container.run().stdout, user);
    container.plan.process.user = UserPlan::default();
    assert_eq!(container.run().stdout, root);
    container.plan.process.capabilities = CapabilitySets::default();
    assert_eq!(container.run().stdout, line(0, 0, 0, 0, 0));
    // OCI's way to give a user one capability.
    let one = 1 << 10;
    container.plan.process.user = UserPlan::Ids { uid: 33, gid: 33, groups: vec![] };
    container.plan.process.capabilities = CapabilitySets {
        bounding: one,
        effective: one,
        permitted: one,
        inheritable: one,
        ambient: one,
    };
    assert_eq!(container.run().stdout, line(one, one, one, one, one));
}

fn filter() -> SeccompProgram {
    let conditions = seccomp::Conditions::here(default_set()).unwrap();
    seccomp::default_program(conditions).unwrap()
}

fn default_filter() {
    let script = "grep ^Seccomp: /proc/self/status; mount -t tmpfs none /tmp; true";
    for (no_new_privileges, use_init) in [(true, false), (false, false), (false, true)] {
        let mut container = Container::new(script);
        container.plan.process.no_new_privileges = no_new_privileges;
        container.plan.process.seccomp = Some(filter());
        container.plan.use_init = use_init;
        let output = container.run();
        assert_eq!(output.stdout, "Seccomp:\t2\n");
        assert!(output.stderr.contains("mount: permission denied"), "{output:?}");
    }
}

fn nothing_of_the_host() {
    let container = Container::new("cut -d' ' -f5 /proc/self/mountinfo | sort");
    let output = container.run();
    let known = ["/", "/dev", "/proc", "/sys"];
    let known = |line: &str| known.iter().any(|k| line == *k || line.starts_with(&format!("{k}/")));
    assert!(output.stdout.lines().all(known), "{output:?}");
    assert!(output.stdout.starts_with("/\n/dev\n"), "{output:?}");
    // With every right, the old root cannot be dug out from under the new one.
    let mut container = Container::new("umount -l /; ls /bin/sh; ls /work /shared 2>&1 | wc -l");
    container.plan.process.capabilities = sets(caller_bounding().unwrap());
    let output = container.run();
    assert!(output.stdout.starts_with("/bin/sh\n"), "{output:?}");
}

fn ids_out_of_range() {
    // CVE-2024-40635
    for spec in ["2147483648", "4294967296", "-1", "0:4294967295"] {
        let mut container = Container::with_args(&["true"]);
        let passwd = format!("root:x:0:0::/:\n{spec}:x:0:0::/:\n");
        std::fs::write(container.layer().join("etc/passwd"), passwd).unwrap();
        container.plan.process.user = UserPlan::Spec(spec.into());
        assert_eq!(container.fail().stage, "user", "{spec}");
    }
}

fn passwd_is_a_fifo() {
    let container = Container::with_args(&["true"]);
    let passwd = container.layer().join("etc/passwd");
    std::fs::remove_file(&passwd).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, &passwd, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(container.fail().stage, "user");
}

fn unknown_profile() {
    let mut container = Container::with_args(&["true"]);
    container.plan.process.apparmor_profile = Some("no-such-profile".into());
    let error = container.fail();
    assert!(error.message.starts_with("cannot apply AppArmor profile"), "{error:?}");
}

fn swapped_symlinks() {
    // CVE-2021-30465: a neighbour on a shared volume exchanges a directory and a
    // symlink to the host's files while mounts below it are made.
    let mut container = Container::with_args(&["true"]);
    let (volume, canary) = (container.dir.path().join("v"), container.dir.path().join("canary"));
    std::fs::create_dir_all(volume.join("a")).unwrap();
    std::fs::create_dir(&canary).unwrap();
    symlink(&canary, volume.join("b")).unwrap();
    container.plan.mounts.push(bind(&volume, "/v", ""));
    for n in 0..8 {
        let source = container.layer();
        container.plan.mounts.push(bind(source, &format!("/v/a/made{n}"), ""));
    }
    let swap = || {
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        let at = rustix::fs::CWD;
        let (a, b) = (volume.join("a"), volume.join("b"));
        loop {
            let _ = rustix::fs::renameat_with(at, &a, at, &b, flags);
        }
    };
    match clone3(UnshareFlags::empty(), None).unwrap() {
        Cloned::Child => swap(),
        Cloned::Parent { pid, .. } => {
            for _ in 0..30 {
                // It may fail, or mount somewhere in the container.
                if let Ok(live) = container.start() {
                    live.finish();
                }
            }
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            reap(pid);
        }
    }
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 0);
}

fn host_dev() {
    let script = "ls -A /dev; cat /proc/keys; stat -c %t:%T /proc/keys; chmod 600 /proc/keys; true";
    let mut container = Container::new(script);
    let dev = container.dir.path().join("dev");
    std::fs::create_dir(&dev).unwrap();
    container.plan.mounts.retain(|m| !m.destination.starts_with("/dev"));
    container.plan.devices = DevicesPlan::default();
    container.plan.mounts.push(bind(&dev, "/dev", ""));
    let output = container.run();
    assert_eq!(output.stdout, "1:3\n", "{output:?}");
    assert!(output.stderr.contains("Read-only file system"), "{output:?}");
    assert_eq!(std::fs::read_dir(&dev).unwrap().count(), 0);
    // The terminal is then one of the host's; nothing is made for it either.
    let mut container = Container::new("tty");
    container.plan.mounts.retain(|m| !m.destination.starts_with("/dev"));
    container.plan.devices = DevicesPlan::default();
    container.plan.mounts.push(bind(&dev, "/dev", ""));
    let devpts = dev.join("pts");
    std::fs::create_dir(&devpts).unwrap();
    rustix::mount::mount_bind("/dev/pts", &devpts).unwrap();
    let (code, shown) = container.run_on_terminal(None, b"");
    assert!(code == 0 && shown.starts_with("/dev/pts/"), "{code} {shown}");
    rustix::mount::unmount(&devpts, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(std::fs::read_dir(&dev).unwrap().count(), 1);
}
