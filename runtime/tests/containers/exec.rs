//! Further processes in a running container.

use std::os::fd::{AsRawFd, OwnedFd};

use rcnt_base::report::ExitKind;
use rcnt_runtime::capabilities::{caller_bounding, default_set, sets};
use rcnt_runtime::exec::exec;
use rcnt_runtime::plan::*;
use rcnt_runtime::spawn::{ChildIo, WindowSize};

use crate::Test;
use crate::container::{BUSYBOX, Container, Live, read_terminal, reap};

pub const TESTS: &[Test] = &[
    ("exec enters every namespace and the cgroup", everything),
    ("exec has its own user, environment and directory", own_surroundings),
    ("exec's failures have docker's codes", failures),
    ("exec has the container's rights, or all when privileged", rights),
    ("exec on a terminal of the container", terminal),
    ("exec's process dies with the container", dies_with_it),
    ("exec into a container with host namespaces", host_namespaces),
    ("exec into a container that is gone", gone),
    ("exec's stdin is the host's null device, whatever the container has there", hosts_null),
    ("of the caller's descriptors none is reachable inside", inherited),
    ("a stream that was not made for the container keeps its owner", owners),
];

fn up(container: &Container) -> Live {
    let live = container.start().unwrap();
    live.wait_for("up");
    live
}

fn container() -> Container {
    Container::new("echo up; exec sleep 60")
}

fn process(container: &Container, script: &str) -> ProcessPlan {
    let args = ["sh", "-c", script].map(str::to_owned).into();
    ProcessPlan { args, ..container.plan.process.clone() }
}

fn everything() {
    let container = container();
    let live = up(&container);
    let script = "for n in cgroup ipc mnt net pid uts; do \
                  test $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) || echo $n; done; \
                  hostname; diff /proc/1/cgroup /proc/self/cgroup || cat /proc/self/cgroup; exit 9";
    let script = script.replace("diff /proc/1/cgroup /proc/self/cgroup", "cmp_cgroups");
    let script = format!(
        "cmp_cgroups() {{ test \"$(cat /proc/1/cgroup)\" = \"$(cat /proc/self/cgroup)\"; }}; {script}"
    );
    let output = live.exec(&process(&container, &script)).unwrap();
    assert_eq!((output.code, output.stdout.as_str()), (9, "box\n"), "{output:?}");
    live.kill();
}

fn own_surroundings() {
    let container = container();
    let live = up(&container);
    let mut process = process(&container, "id -u; id -g; echo $HOME $A; pwd; umask");
    process.user = UserPlan::Spec("www:extra".into());
    process.env.push("A=1".into());
    process.cwd = "/tmp".into();
    let output = live.exec(&process).unwrap();
    assert_eq!(output.stdout, "33\n44\n/home/www 1\n/tmp\n0022\n", "{output:?}");
    live.kill();
}

fn failures() {
    let container = container();
    let live = up(&container);
    let fail = |change: &dyn Fn(&mut ProcessPlan)| {
        let mut process = process(&container, "true");
        change(&mut process);
        let error = live.exec(&process).unwrap_err();
        (error.kind.code(), error.message)
    };
    assert_eq!(fail(&|p| p.args = vec!["foo".into()]).0, 127);
    assert_eq!(fail(&|p| p.args = vec!["/etc".into()]).0, 126);
    let (code, text) = fail(&|p| p.cwd = "/nowhere".into());
    assert!(code == 126 && text.starts_with("chdir to cwd (\"/nowhere\") failed"), "{text}");
    let (_, text) = fail(&|p| p.user = UserPlan::Spec("ghost".into()));
    assert!(text.contains("unable to find user ghost"), "{text}");
    assert_eq!(live.exec(&process(&container, "echo still here")).unwrap().stdout, "still here\n");
    live.kill();
}

fn rights() {
    let container = container();
    let live = up(&container);
    let script = "grep ^Cap /proc/self/status | cut -f2 | tr '\\n' ' '";
    let mut process = process(&container, script);
    let line = |set: u64| format!("{:016x} {set:016x} {set:016x} {set:016x} {:016x} ", 0, 0);
    let held = caller_bounding().unwrap();
    assert_eq!(live.exec(&process).unwrap().stdout, line(default_set() & held));
    process.capabilities = sets(held);
    assert_eq!(live.exec(&process).unwrap().stdout, line(held));
    live.kill();
}

fn terminal() {
    let container = container();
    let live = up(&container);
    let mut process = process(&container, "tty; stty size; echo direct > /dev/tty");
    process.terminal = true;
    let size = Some(WindowSize { rows: 12, columns: 34 });
    let running =
        exec(&live.target(), &process, ChildIo::Terminal { size, bare_newlines: false }).unwrap();
    let shown = read_terminal(running.terminal.unwrap());
    assert_eq!(shown, "/dev/pts/0\r\n12 34\r\ndirect\r\n");
    assert_eq!(reap(running.pid), 0);
    live.kill();
    // CVE-2025-52565: the container has put something else there.
    let mut container = container;
    container.plan.process.args =
        ["sh", "-c", "umount /dev/pts; touch /dev/pts/ptmx; echo up; sleep 60"]
            .map(str::to_owned)
            .into();
    container.plan.process.capabilities = sets(caller_bounding().unwrap());
    let live = up(&container);
    let error = exec(&live.target(), &process, ChildIo::Terminal { size, bare_newlines: false })
        .unwrap_err();
    assert_eq!((error.stage.as_str(), error.kind), ("terminal", ExitKind::Runtime), "{error:?}");
    live.kill();
}

fn dies_with_it() {
    let container = container();
    let live = up(&container);
    let mut process = process(&container, "echo up; sleep 60");
    process.no_new_privileges = true;
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let stderr = write.try_clone().unwrap();
    let io = ChildIo::Pipes { stdin: None, stdout: write, stderr };
    let running = exec(&live.target(), &process, io).unwrap();
    crate::container::read_until(&read, "up");
    live.signal(9);
    // In this order: pid 1 cannot be reaped before all others of its namespace.
    assert_eq!(reap(running.pid), 137);
    assert_eq!(live.finish().code, 137);
}

fn host_namespaces() {
    let mut container = container();
    let new = &mut container.plan.namespaces.new;
    for kind in [NamespaceKind::Network, NamespaceKind::Ipc, NamespaceKind::Uts] {
        new.remove(&kind);
    }
    new.remove(&NamespaceKind::Cgroup);
    container.plan.hostname = None;
    let live = up(&container);
    let script = "readlink /proc/self/ns/net; readlink /proc/self/ns/cgroup";
    let output = live.exec(&process(&container, script)).unwrap();
    let ours = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
    let expected = format!("{}\n{}\n", ours("net").display(), ours("cgroup").display());
    assert_eq!(output.stdout, expected);
    live.kill();
}

fn gone() {
    let container = container();
    let live = up(&container);
    let target = live.target();
    live.kill();
    let null = || std::fs::File::open("/dev/null").unwrap().into();
    let io = ChildIo::Pipes { stdin: None, stdout: null(), stderr: null() };
    let error = exec(&target, &process(&container, "true"), io).unwrap_err();
    assert!(error.message.contains("first process"), "{error:?}");
}

fn hosts_null() {
    let script = "rm /dev/null; ln -s /proc/self/fd/1 /dev/null; echo up; exec sleep 60";
    let container = Container::new(script);
    let live = up(&container);
    // stdout of this program would be where it was opened by the container's name.
    let output = live.exec(&process(&container, "stat -L -c %t:%T /proc/self/fd/0")).unwrap();
    assert_eq!(output.stdout, "1:3\n", "{output:?}");
    live.kill();
}

fn inherited() {
    let program = std::fs::File::open(BUSYBOX).unwrap();
    let program = rustix::io::fcntl_dupfd_cloexec(program, 70).unwrap();
    rustix::io::fcntl_setfd(&program, rustix::io::FdFlags::empty()).unwrap();
    let path = format!("/proc/self/fd/{}", program.as_raw_fd());
    let container = container();
    let live = up(&container);
    let mut process = process(&container, "");
    process.args = vec![path.clone(), "true".into()];
    assert_eq!(live.exec(&process).unwrap_err().kind, ExitKind::NotFound);
    live.kill();
    assert_eq!(Container::with_args(&[&path, "true"]).fail().kind, ExitKind::NotFound);
}

fn owners() {
    let container = container();
    let live = up(&container);
    let mut process = process(&container, "echo out");
    process.user = UserPlan::Spec("www".into());
    let path = container.dir.path().join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let open = || std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let fifo = OwnedFd::from(open());
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let io = ChildIo::Pipes { stdin: None, stdout: open().into(), stderr: write };
    let running = exec(&live.target(), &process, io).unwrap();
    assert_eq!(reap(running.pid), 0);
    crate::container::read_until(&fifo, "out");
    let owner = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_uid;
    assert_eq!((owner(&fifo), owner(&read)), (0, 33));
    live.kill();
}
