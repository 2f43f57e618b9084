//! What a container is for.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use rcnt_base::report::{ExitKind, StartError};
use rcnt_base::sys::child::{Cloned, clone3, exit_now};
use rcnt_runtime::plan::*;
use rcnt_runtime::spawn::{ChildIo, WindowSize, spawn};
use rustix::thread::UnshareFlags;

use crate::Test;
use crate::container::{Container, bind, mount, read_all, reap};

pub const TESTS: &[Test] = &[
    ("exit codes and signals come back", exit_codes),
    ("environment, working directory and hostname are set", surroundings),
    ("streams are what was given", streams),
    ("a user by name has its groups and home", user_by_name),
    ("a user by number has exactly the groups given", user_by_number),
    ("a read-only root is, its mounts are not", readonly_root),
    ("binds: files, directories, read-only, created targets", binds),
    ("a recursive read-only bind is so all the way down", recursive_readonly),
    ("a shared bind propagates to the host, a private one does not", propagation),
    ("tmpfs has its size, mode and owner", tmpfs),
    ("a fresh volume is filled from the image", copied_up),
    ("many layers, long paths, whiteouts", layers),
    ("a plain directory can be the root", directory_root),
    ("sysctls and process settings", settings),
    ("an ulimit beyond the caller's is a clear error", unmet_limit),
    ("commands that cannot run say so with docker's codes", bad_commands),
    ("a terminal is controlling, sized and the console", terminal),
    ("keys on the terminal are signals", terminal_signals),
    ("network namespaces can be joined or shared", joined_network),
    ("pid namespaces can be joined", joined_pid),
    ("the closure runs inside, and its error comes back", closure),
    ("a container dies with its supervisor", supervised),
    ("no go, no start", no_go),
    ("init reaps, forwards, and ends as the command did", init),
    ("init hides the host's command line", init_is_anonymous),
    ("init gives the command the terminal's foreground", init_terminal),
    ("the cgroup view is the container's own", cgroup_view),
];

fn exit_codes() {
    assert_eq!(Container::with_args(&["true"]).run().code, 0);
    assert_eq!(Container::with_args(&["false"]).run().code, 1);
    assert_eq!(Container::new("exit 37").run().code, 37);
    let container = Container::new("echo up; sleep 60");
    let live = container.start().unwrap();
    live.wait_for("up");
    assert_eq!(live.kill().code, 137);
}

fn surroundings() {
    let mut container = Container::new("pwd; echo $A $HOME; hostname; id");
    container.plan.process.cwd = "/srv/made/here".into();
    container.plan.process.env.push("A=b c".into());
    let output = container.run();
    let expected = "/srv/made/here\nb c /root\nbox\nuid=0(root) gid=0(root)";
    assert!(output.stdout.starts_with(expected), "{output:?}");
}

fn streams() {
    let output = Container::new("cat; echo out; echo err >&2").run();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    // Reopened by a user that did not make the pipe.
    let mut container = Container::new("echo again > /dev/stdout; echo bad > /dev/stderr");
    container.plan.process.user = UserPlan::Spec("www".into());
    let output = container.run();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("again\n", "bad\n"));
}

fn user_by_name() {
    let mut container = Container::new("id -u; id -g; grep ^Groups: /proc/self/status; echo $HOME");
    container.plan.process.user = UserPlan::Spec("www".into());
    container.plan.process.additional_groups = vec!["log".into(), "77".into()];
    let output = container.run();
    assert_eq!(output.stdout, "33\n33\nGroups:\t33 44 55 77 \n/home/www\n");
    container.plan.process.user = UserPlan::Spec("nobody-here".into());
    let error = container.fail();
    assert!(error.message.contains("unable to find user nobody-here"), "{error:?}");
    assert_eq!(error.kind, ExitKind::Runtime);
}

fn user_by_number() {
    let mut container = Container::new("id -u; id -g; grep ^Groups: /proc/self/status");
    container.plan.process.user = UserPlan::Ids { uid: 1234, gid: 99, groups: vec![7, 5] };
    assert_eq!(container.run().stdout, "1234\n99\nGroups:\t5 7 \n");
    container.plan.process.user = UserPlan::Ids { uid: 33, gid: 33, groups: vec![] };
    assert_eq!(container.run().stdout, "33\n33\nGroups:\t \n");
}

fn readonly_root() {
    let script = "touch /x && echo bad; touch /dev/shm/x && echo good; pwd";
    let mut container = Container::new(script);
    container.plan.rootfs.readonly = true;
    container.plan.process.cwd = "/not/there/yet".into();
    let output = container.run();
    assert_eq!(output.stdout, "good\n/not/there/yet\n");
    assert!(output.stderr.contains("Read-only file system"), "{output:?}");
}

fn binds() {
    let script = "cat /etc/motd; echo new > /data/deep/rw/file && cat /data/deep/rw/file; \
                  touch /ro/x; ls /ro; stat -c %a /new/file";
    let mut container = Container::new(script);
    let host = container.dir.path().join("host");
    std::fs::create_dir_all(host.join("ro")).unwrap();
    std::fs::create_dir_all(host.join("rw")).unwrap();
    std::fs::write(host.join("motd"), "hello\n").unwrap();
    std::fs::write(host.join("ro/here"), "").unwrap();
    std::fs::write(container.layer().join("etc/motd"), "covered\n").unwrap();
    container.plan.mounts.extend([
        bind(host.join("motd"), "/etc/motd", "ro"),
        bind(host.join("rw"), "/data/deep/rw", ""),
        bind(host.join("ro"), "/ro", "ro,nosuid,nodev,noexec"),
        bind(host.join("motd"), "/new/file", "ro"),
    ]);
    let output = container.run();
    assert_eq!(output.stdout, "hello\nnew\nhere\n644\n");
    assert!(output.stderr.contains("/ro/x: Read-only file system"), "{output:?}");
    assert_eq!(std::fs::read_to_string(host.join("rw/file")).unwrap(), "new\n");

    container.plan.mounts.push(bind(host.join("missing"), "/x", ""));
    let error = container.fail();
    assert!(error.message.starts_with("error mounting "), "{error:?}");
    assert!(error.message.ends_with("no such file or directory"), "{error:?}");
    container.plan.mounts.pop();
    container.plan.mounts.push(bind(host.join("rw"), "/etc/passwd", ""));
    let error = container.fail();
    assert!(error.message.contains("create mount point: not a directory"), "{error:?}");
}

fn recursive_readonly() {
    let mut container = Container::new("touch /data/x; touch /data/sub/x; ls /data /data/sub");
    let host = container.dir.path().join("host");
    std::fs::create_dir_all(host.join("sub")).unwrap();
    rustix::mount::mount(
        "tmpfs",
        host.join("sub"),
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        None,
    )
    .unwrap();
    let mut plan = bind(&host, "/data", "");
    plan.recursive.readonly = Some(true);
    container.plan.mounts.push(plan);
    assert_eq!(container.run().stdout, "/data:\nsub\n\n/data/sub:\n");
    if let Some(last) = container.plan.mounts.last_mut() {
        last.recursive.readonly = None;
        last.attributes.readonly = Some(true);
    }
    assert_eq!(container.run().stdout, "/data:\nsub\n\n/data/sub:\nx\n");
}

fn propagation() {
    for (propagation, seen) in [(Propagation::Shared, true), (Propagation::Private, false)] {
        let mut container =
            Container::new("mkdir /data/m && mount -t tmpfs none /data/m && echo ok; sleep 60");
        container.plan.process.capabilities = rcnt_runtime::capabilities::sets(
            rcnt_runtime::capabilities::caller_bounding().unwrap(),
        );
        let host = container.dir.path().join("host");
        std::fs::create_dir(&host).unwrap();
        rustix::mount::mount_bind(&host, &host).unwrap();
        rustix::mount::mount_change(&host, rustix::mount::MountPropagationFlags::SHARED).unwrap();
        let mut plan = bind(&host, "/data", "");
        plan.propagation = vec![PropagationChange { to: propagation, recursive: true }];
        container.plan.mounts.push(plan);
        let live = container.start().unwrap();
        live.wait_for("ok");
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert_eq!(table.contains("host/m "), seen, "{propagation:?}");
        live.kill();
    }
}

fn tmpfs() {
    let mut container =
        Container::new("stat -c '%a %u %g' /t; dd if=/dev/zero of=/t/f bs=64k; touch /t/g");
    let kind = FilesystemPlan::new("tmpfs")
        .with("size", "128k")
        .with("mode", "750")
        .with("uid", 33)
        .with("gid", 44)
        .with("nr_inodes", 10);
    container.plan.mounts.push(mount("/t", kind, "nosuid,nodev,noexec"));
    let output = container.run();
    assert!(output.stdout.starts_with("750 33 44\n"), "{output:?}");
    assert!(output.stderr.contains("No space left"), "{output:?}");
}

fn copied_up() {
    let mut container = Container::new("cat /data/file; stat -c '%a %u' /data; readlink /data/l");
    let image = container.layer().join("data");
    std::fs::create_dir(&image).unwrap();
    std::fs::write(image.join("file"), "from the image\n").unwrap();
    symlink("/etc/passwd", image.join("l")).unwrap();
    std::fs::set_permissions(&image, std::fs::Permissions::from_mode(0o750)).unwrap();
    std::os::unix::fs::chown(&image, Some(33), Some(33)).unwrap();
    let volume = container.dir.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    let mut plan = bind(&volume, "/data", "ro");
    plan.copy_up = true;
    container.plan.mounts.push(plan);
    assert_eq!(container.run().stdout, "from the image\n750 33\n/etc/passwd\n");
    assert_eq!(std::fs::metadata(&volume).unwrap().uid(), 33);
    std::fs::write(volume.join("file"), "changed\n").unwrap();
    assert!(container.run().stdout.starts_with("changed\n"));
}

fn layers() {
    let mut container = Container::new("cat /order; ls /n | wc -l");
    let deep = container.dir.path().join("x".repeat(200)).join("y".repeat(200));
    let RootfsSource::Overlay { lower, .. } = &mut container.plan.rootfs.source else { return };
    for n in 0..127 {
        let dir = deep.join(n.to_string());
        std::fs::create_dir_all(dir.join("n")).unwrap();
        std::fs::write(dir.join("order"), format!("{n}\n")).unwrap();
        std::fs::write(dir.join(format!("n/{n}")), "").unwrap();
        lower.insert(0, dir);
    }
    assert_eq!(container.run().stdout, "126\n127\n");
}

fn directory_root() {
    let mut container = Container::new("touch /made; ls /made");
    container.plan.rootfs.source = RootfsSource::Directory(container.layer());
    container.plan.rootfs.mountpoint = container.layer();
    assert_eq!(container.run().stdout, "/made\n");
    assert!(container.layer().join("made").exists());
}

fn settings() {
    let script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; umask; ulimit -n; ulimit -Hn; \
                  cat /proc/self/oom_score_adj; grep NoNewPrivs /proc/self/status; \
                  grep Name /proc/1/status; true";
    let mut container = Container::new(script);
    container.plan.sysctls =
        [("net.ipv4.ip_unprivileged_port_start".to_owned(), "7".to_owned())].into();
    let process = &mut container.plan.process;
    process.umask = Some(0o27);
    process.rlimits = vec![Rlimit { name: "nofile".into(), soft: 64, hard: 128 }];
    process.oom_score_adj = Some(500);
    process.no_new_privileges = true;
    let output = container.run();
    assert_eq!(output.stdout, "7\n0027\n64\n128\n500\nNoNewPrivs:\t1\nName:\tsh\n", "{output:?}");

    let sysctl = ("kernel.no_such_thing".to_owned(), "1".to_owned());
    container.plan.sysctls = [sysctl].into();
    assert!(container.fail().message.contains("set sysctl kernel.no_such_thing"));
}

fn unmet_limit() {
    if rcnt_runtime::capabilities::caller_bounding().unwrap() & (1 << 24) != 0 {
        return; // CAP_SYS_RESOURCE: everything can be met.
    }
    let mut container = Container::with_args(&["true"]);
    container.plan.process.rlimits =
        vec![Rlimit { name: "nofile".into(), soft: 1 << 40, hard: 1 << 40 }];
    let error = container.fail();
    assert!(error.message.starts_with("cannot set ulimit nofile to"), "{error:?}");
    assert_eq!(error.kind, ExitKind::Runtime);
}

fn bad_commands() {
    let fail = |args: &[&str]| {
        let container = Container::with_args(args);
        std::fs::write(container.layer().join("bin/data"), "text").unwrap();
        let script = container.layer().join("bin/orphan");
        std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let garbage = container.layer().join("bin/garbage");
        std::fs::write(&garbage, "\u{1}\u{2}\u{3}").unwrap();
        std::fs::set_permissions(&garbage, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = container.fail();
        (error.message.clone(), error.kind.code())
    };
    let text = |s: &str, code| (s.to_owned(), code);
    assert_eq!(fail(&["foo"]), text("exec: \"foo\": executable file not found in $PATH", 127));
    assert_eq!(fail(&["data"]), text("exec: \"data\": executable file not found in $PATH", 127));
    assert_eq!(
        fail(&["/no/foo"]),
        text("exec: \"/no/foo\": stat /no/foo: no such file or directory", 127)
    );
    assert_eq!(fail(&["/bin/data"]), text("exec: \"/bin/data\": permission denied", 126));
    assert_eq!(fail(&["/etc"]), text("exec: \"/etc\": is a directory: permission denied", 126));
    assert_eq!(fail(&["garbage"]), text("exec /bin/garbage: exec format error", 126));
    assert_eq!(fail(&["orphan"]), text("exec /bin/orphan: no such file or directory", 127));
    assert_eq!(fail(&[]), text("no command specified", 125));
}

fn terminal() {
    let script = "tty; stty size; echo direct > /dev/tty; echo console > /dev/console; \
                  stat -c %u $(tty); test -c /dev/console && echo is-device";
    let mut container = Container::new(script);
    container.plan.process.user = UserPlan::Spec("www".into());
    let size = WindowSize { rows: 33, columns: 111 };
    let (code, shown) = container.run_on_terminal(Some(size), b"");
    let expected = "/dev/pts/0\r\n33 111\r\ndirect\r\nconsole\r\n33\r\nis-device\r\n";
    assert_eq!((code, shown.as_str()), (0, expected));
}

fn terminal_signals() {
    let mut container =
        Container::new("trap 'echo got it; exit 3' INT; echo up; while :; do usleep 50000; done");
    let (code, shown) = container.run_on_terminal(None, b"\x03");
    assert_eq!(code, 3, "{shown}");
    assert!(shown.contains("got it"));
}

fn joined_network() {
    let holder = Container::new("echo up; sleep 60");
    let live = holder.start().unwrap();
    live.wait_for("up");
    let ns = format!("/proc/{}/ns/net", live.init.pid());
    let theirs = std::fs::read_link(&ns).unwrap();
    let mut guest = Container::new("readlink /proc/self/ns/net");
    guest.plan.namespaces.new.remove(&NamespaceKind::Network);
    guest.plan.namespaces.join.insert(NamespaceKind::Network, ns.into());
    assert_eq!(guest.run().stdout.trim(), theirs.to_str().unwrap());
    guest.plan.namespaces.join.clear();
    let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(guest.run().stdout.trim(), ours.to_str().unwrap());
    live.kill();
}

fn joined_pid() {
    let holder = Container::new("echo up; sleep 61");
    let live = holder.start().unwrap();
    live.wait_for("up");
    let mut guest = Container::new("ps -o args; readlink /proc/self/ns/pid");
    guest.plan.namespaces.new.remove(&NamespaceKind::Pid);
    let ns = format!("/proc/{}/ns/pid", live.init.pid());
    guest.plan.namespaces.join.insert(NamespaceKind::Pid, ns.into());
    let output = guest.run();
    assert!(output.stdout.contains("sleep 61"), "{output:?}");
    live.kill();
    // Our own children are still born in our own namespace.
    assert_eq!(Container::new("echo fine").run().stdout, "fine\n");
    let mine = std::fs::read_link("/proc/self/ns/pid").unwrap();
    assert_eq!(std::fs::read_link("/proc/self/ns/pid_for_children").unwrap(), mine);
}

fn pipes() -> (ChildIo, std::os::fd::OwnedFd) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let stderr = write.try_clone().unwrap();
    (ChildIo::Pipes { stdin: None, stdout: write, stderr }, read)
}

fn closure() {
    let container = Container::with_args(&["true"]);
    let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
    let mut inside = || {
        let theirs = std::fs::read_link("/proc/self/ns/net").unwrap();
        let message = format!("{} {}", theirs != ours, rustix::process::getpid());
        Err(StartError { stage: "network".into(), message, kind: ExitKind::General, errno: None })
    };
    let (io, _read) = pipes();
    let mut init = spawn(&container.plan, io, &mut inside).unwrap();
    assert!(init.netns().is_ok());
    init.network_ready().unwrap();
    let error = init.wait_started().unwrap_err();
    assert_eq!((error.message.as_str(), error.kind), ("true 1", ExitKind::General));
    assert_eq!(reap(init.pid()), 1);
    crate::container::remove_cgroup(&container.plan.cgroup.path);
    // Also when nobody got as far as waiting for the start.
    let mut early = Container::with_args(&["true"]);
    early.plan.process.cwd = "/bin/busybox".into();
    let (io, read) = pipes();
    let mut init = spawn(&early.plan, io, &mut || Ok(())).unwrap();
    // The end of its only user.
    assert_eq!(read_all(read), "");
    assert!(init.last_words().unwrap().message.starts_with("chdir to cwd"));
    assert_eq!(reap(init.pid()), 126);
    crate::container::remove_cgroup(&early.plan.cgroup.path);
}

fn supervised() {
    let container = Container::new("sleep 60");
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    match clone3(UnshareFlags::empty(), None).unwrap() {
        Cloned::Child => {
            // The container inherits `write` as its stdout and holds it open.
            let stderr = write.try_clone().unwrap();
            let io = ChildIo::Pipes { stdin: None, stdout: write, stderr };
            let mut init = spawn(&container.plan, io, &mut || Ok(())).unwrap();
            init.network_ready().unwrap();
            init.wait_started().unwrap();
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
            exit_now(1);
        }
        Cloned::Parent { pid, .. } => {
            drop(write);
            assert_eq!(reap(pid), 137);
            // End of file: the container is gone too.
            assert_eq!(read_all(read), "");
            crate::container::remove_cgroup(&container.plan.cgroup.path);
        }
    }
}

fn no_go() {
    let container = Container::new("echo started");
    let (io, read) = pipes();
    let init = spawn(&container.plan, io, &mut || Ok(())).unwrap();
    let pid = init.pid();
    drop(init);
    assert_eq!(reap(pid), 125);
    assert_eq!(read_all(read), "");
    crate::container::remove_cgroup(&container.plan.cgroup.path);
}

fn init() {
    // An orphan whose parent is gone is reaped by pid 1: no zombie stays.
    let script = "(sleep 0.05 & ) ; usleep 200000; ps -o stat,args | grep -c '^Z'; exit 21";
    let mut container = Container::new(script);
    container.plan.use_init = true;
    let output = container.run();
    assert_eq!((output.code, output.stdout.as_str()), (21, "0\n"), "{output:?}");

    let script = "trap 'echo term; exit 4' TERM; trap 'echo usr1' USR1; echo up; \
                  while :; do usleep 50000; done";
    let mut container = Container::new(script);
    container.plan.use_init = true;
    let live = container.start().unwrap();
    live.wait_for("up");
    live.signal(10);
    live.wait_for("usr1");
    live.signal(15);
    let output = live.finish();
    assert_eq!((output.code, output.stdout.as_str()), (4, "term\n"));

    let mut container = Container::new("kill -9 $$");
    container.plan.use_init = true;
    assert_eq!(container.run().code, 137);
    // Without one, a signal pid 1 does not handle is lost; with one it works.
    let mut container = Container::new("echo up; exec sleep 60");
    container.plan.use_init = true;
    let live = container.start().unwrap();
    live.wait_for("up");
    live.signal(15);
    assert_eq!(live.finish().code, 143);
    // Not pid 1, but still the one that reaps.
    let script = "(usleep 20000 & ) ; usleep 200000; ps -o ppid,stat | grep -c ' Z'; exit 5";
    let mut container = Container::new(script);
    container.plan.use_init = true;
    container.plan.namespaces.new.remove(&NamespaceKind::Pid);
    assert_eq!(container.run().code, 5);
    let mut container = Container::with_args(&["nothing-here"]);
    container.plan.use_init = true;
    assert_eq!(container.fail().kind, ExitKind::NotFound);
}

fn init_is_anonymous() {
    let script = "tr '\\0' ' ' < /proc/1/cmdline; echo; cat /proc/1/comm; ls /proc/1/fd | wc -l; \
                  cat /proc/1/environ | tr -d '\\0' | wc -c";
    let mut container = Container::new(script);
    container.plan.use_init = true;
    let held = rcnt_runtime::capabilities::caller_bounding().unwrap();
    container.plan.process.capabilities = rcnt_runtime::capabilities::sets(held);
    let output = container.run();
    let mut lines = output.stdout.lines();
    assert_eq!(lines.next().map(str::trim), Some("rcnt-init"), "{output:?}");
    // Its streams and the descriptor it reads signals from.
    assert_eq!(lines.collect::<Vec<_>>(), ["rcnt-init", "4", "0"], "{output:?}");
}

fn init_terminal() {
    let mut container =
        Container::new("trap 'echo got it; exit 3' INT; echo up; while :; do usleep 50000; done");
    container.plan.use_init = true;
    let (code, shown) = container.run_on_terminal(None, b"\x03");
    assert_eq!(code, 3, "{shown}");
    let mut container = Container::new("ps -o pid,pgid,sid,args | grep '[p]s -o'; tty");
    container.plan.use_init = true;
    let (code, shown) = container.run_on_terminal(None, b"");
    assert_eq!(code, 0);
    assert!(shown.contains("/dev/pts/0"), "{shown}");
}

fn cgroup_view() {
    let script = "cat /proc/self/cgroup | cut -d: -f3 | sort | uniq -c | wc -l; \
                  grep -c ' /sys/fs/cgroup' /proc/self/mountinfo; mkdir /sys/fs/cgroup/x; \
                  grep ' /sys/fs/cgroup' /proc/self/mountinfo | cut -d' ' -f4 | sort -u";
    let container = Container::new(script);
    let output = container.run();
    assert!(output.stderr.contains("Read-only file system"), "{output:?}");
    assert!(output.stdout.ends_with("\n/\n"), "roots other than /: {output:?}");
}
