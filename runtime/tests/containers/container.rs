//! One container for a test: a busybox root, docker's default mounts, and what
//! the command printed.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rcnt_base::report::StartError;
use rcnt_runtime::exec::{ExecTarget, exec};
use rcnt_runtime::plan::*;
use rcnt_runtime::spawn::{ChildIo, Init, WindowSize, spawn};
use rcnt_runtime::{capabilities, cgroup};
use rustix::process::{Pid, WaitOptions, waitpid};

pub const BUSYBOX: &str = "/bin/busybox";

/// What a command left.
#[derive(Debug, PartialEq)]
pub struct Output {
    /// Exit code, 128 + n for signal n.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub struct Container {
    pub dir: tempfile::TempDir,
    pub plan: ContainerPlan,
}

/// A container that runs.
pub struct Live {
    pub init: Init,
    stdout: OwnedFd,
    stderr: OwnedFd,
    cgroup: PathBuf,
}

fn nothing() -> Result<(), StartError> {
    Ok(())
}

pub fn attributes(text: &str) -> MountAttributes {
    MountAttributes {
        readonly: text.contains("ro").then_some(true),
        nosuid: text.contains("nosuid").then_some(true),
        nodev: text.contains("nodev").then_some(true),
        noexec: text.contains("noexec").then_some(true),
        ..MountAttributes::default()
    }
}

pub fn mount(destination: &str, kind: impl Into<MountKind>, text: &str) -> MountPlan {
    MountPlan { attributes: attributes(text), ..MountPlan::new(destination, kind.into()) }
}

pub fn bind(source: impl Into<PathBuf>, destination: &str, text: &str) -> MountPlan {
    mount(destination, MountKind::bind(source, true), text)
}

fn tmpfs(mode: &str) -> FilesystemPlan {
    FilesystemPlan::new("tmpfs").with("size", 1 << 20).with("mode", mode)
}

fn standard_mounts() -> Vec<MountPlan> {
    let safe = "nosuid,nodev,noexec";
    vec![
        mount("/proc", FilesystemPlan::new("proc"), safe),
        mount("/dev", tmpfs("755"), "nosuid"),
        mount("/dev/pts", FilesystemPlan::devpts(), "nosuid,noexec"),
        mount("/sys", FilesystemPlan::new("sysfs"), "ro,nosuid,nodev,noexec"),
        mount("/sys/fs/cgroup", MountKind::Cgroup, "ro,nosuid,nodev,noexec"),
        mount("/dev/mqueue", FilesystemPlan::new("mqueue"), safe),
        mount("/dev/shm", tmpfs("1777"), safe),
    ]
}

fn devices() -> DevicesPlan {
    let node = |name: &str, major, minor| DeviceNode {
        path: Path::new("/dev").join(name),
        kind: NodeKind::Char,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    };
    let links = [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
        ("/dev/core", "/proc/kcore"),
    ];
    DevicesPlan {
        nodes: vec![
            node("null", 1, 3),
            node("zero", 1, 5),
            node("full", 1, 7),
            node("random", 1, 8),
            node("urandom", 1, 9),
            node("tty", 5, 0),
        ],
        symlinks: links.iter().map(|(a, b)| (a.into(), b.into())).collect(),
        bind: false,
    }
}

/// Root file system with busybox' applets, as an image would bring it.
fn busybox_root(root: &Path) {
    for dir in ["bin", "etc", "tmp", "root", "proc", "sys", "dev", "home/www", "var/empty"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
    let applets = "sh true false cat ls id env pwd sleep kill echo test stat mount umount touch head \
                   readlink hostname ps wc grep tty stty mkdir chmod ln rm dd tr dirname cut sort \
                   seq ulimit mknod chown usleep uniq";
    for applet in applets.split_whitespace() {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let passwd = "root:x:0:0::/root:/bin/sh\nwww:x:33:33::/home/www:/bin/sh\n";
    std::fs::write(root.join("etc/passwd"), passwd).unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\nwww:x:33:\nextra:x:44:www\nlog:x:55:\n")
        .unwrap();
}

impl Container {
    /// `sh -c script` on an overlay over a busybox layer.
    pub fn new(script: &str) -> Self {
        Self::with_args(&["sh", "-c", script])
    }

    pub fn with_args(args: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let nth = COUNT.fetch_add(1, Ordering::Relaxed);
        // overlayfs' upper directory cannot be on every file system tests may
        // be run from; a tmpfs of our own is one it takes.
        let dir = tempfile::tempdir().unwrap();
        rustix::mount::mount(
            "tmpfs",
            dir.path(),
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            Some(c"mode=755"),
        )
        .unwrap();
        for name in ["layer", "upper", "work", "root"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        busybox_root(&dir.path().join("layer"));
        let at = |name: &str| dir.path().join(name);
        let held = capabilities::caller_bounding().unwrap();
        let plan = ContainerPlan {
            namespaces: Namespaces {
                new: [
                    NamespaceKind::Cgroup,
                    NamespaceKind::Ipc,
                    NamespaceKind::Mount,
                    NamespaceKind::Network,
                    NamespaceKind::Pid,
                    NamespaceKind::Uts,
                ]
                .into(),
                ..Namespaces::default()
            },
            hostname: Some("box".into()),
            domainname: None,
            rootfs: RootfsPlan {
                source: RootfsSource::Overlay {
                    lower: vec![at("layer")],
                    upper: at("upper"),
                    work: at("work"),
                },
                mountpoint: at("root"),
                readonly: false,
                propagation: Propagation::Private,
                propagation_recursive: false,
                no_pivot: false,
            },
            mounts: standard_mounts(),
            mount_label: None,
            devices: devices(),
            masked_paths: [
                "/proc/kcore",
                "/proc/keys",
                "/proc/acpi",
                "/proc/scsi",
                "/sys/firmware",
            ]
            .map(PathBuf::from)
            .into(),
            readonly_paths: ["/proc/sys", "/proc/irq", "/proc/bus", "/proc/sysrq-trigger"]
                .map(PathBuf::from)
                .into(),
            sysctls: BTreeMap::new(),
            cgroup: CgroupPlan {
                path: format!("rcnt-runtime-test-{}-{nth}", std::process::id()).into(),
                ..CgroupPlan::default()
            },
            process: ProcessPlan {
                args: args.iter().map(|s| (*s).to_owned()).collect(),
                env: vec!["PATH=/bin".into()],
                cwd: "/".into(),
                capabilities: capabilities::CapabilityRequest::default().plan(held).unwrap(),
                ..ProcessPlan::default()
            },
            intel_rdt: None,
            net_devices: Vec::new(),
            hooks: HooksPlan::default(),
            use_init: false,
        };
        Self { dir, plan }
    }

    /// The image's layer, to be changed before the start.
    pub fn layer(&self) -> PathBuf {
        self.dir.path().join("layer")
    }

    /// Starts it and does not wait for its end.
    pub fn start(&self) -> Result<Live, StartError> {
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let ((stdout, child_out), (stderr, child_err)) = (pipe(), pipe());
        let io = ChildIo::Pipes { stdin: None, stdout: child_out, stderr: child_err };
        let mut init = spawn(&self.plan, io, &mut nothing).unwrap();
        let cgroup = self.plan.cgroup.path.clone();
        init.network_ready().unwrap();
        match init.wait_started() {
            Ok(_) => Ok(Live { init, stdout, stderr, cgroup }),
            Err(error) => {
                reap(init.pid());
                remove_cgroup(&cgroup);
                Err(error)
            }
        }
    }

    /// Starts it and waits for its end.
    pub fn run(&self) -> Output {
        self.start().unwrap().finish()
    }

    /// Starts it, expecting that not to work.
    pub fn fail(&self) -> StartError {
        match self.start() {
            Ok(live) => panic!("it started: {:?}", live.finish()),
            Err(error) => error,
        }
    }

    /// Runs it on a terminal; exit code and what the terminal showed.
    pub fn run_on_terminal(&mut self, size: Option<WindowSize>, typed: &[u8]) -> (i32, String) {
        self.plan.process.terminal = true;
        let mut init =
            spawn(&self.plan, ChildIo::Terminal { size, bare_newlines: false }, &mut nothing)
                .unwrap();
        init.network_ready().unwrap();
        let started = init.wait_started();
        let master = started.unwrap().terminal.unwrap();
        let mut shown = String::new();
        if !typed.is_empty() {
            // Not before the command is ready for it.
            shown = read_until(&master, "up");
            rustix::io::write(&master, typed).unwrap();
        }
        shown.push_str(&read_terminal(master));
        let code = reap(init.pid());
        remove_cgroup(&self.plan.cgroup.path);
        (code, shown)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.dir.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

impl Live {
    pub fn target(&self) -> ExecTarget {
        let init = self.init.pidfd().try_clone_to_owned().unwrap();
        ExecTarget::of(self.init.pid(), init, self.cgroup.clone().into())
    }

    /// A further process: what it left, or why it did not start.
    pub fn exec(&self, process: &ProcessPlan) -> Result<Output, StartError> {
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let ((stdout, child_out), (stderr, child_err)) = (pipe(), pipe());
        let io = ChildIo::Pipes { stdin: None, stdout: child_out, stderr: child_err };
        let running = exec(&self.target(), process, io)?;
        let (stdout, stderr) = (read_all(stdout), read_all(stderr));
        Ok(Output { code: reap(running.pid), stdout, stderr })
    }

    pub fn signal(&self, signal: i32) {
        rcnt_base::sys::child::kill(self.init.pid(), signal).unwrap();
    }

    /// Waits for its end.
    pub fn finish(self) -> Output {
        let (stdout, stderr) = (read_all(self.stdout), read_all(self.stderr));
        let code = reap(self.init.pid());
        remove_cgroup(&self.cgroup);
        Output { code, stdout, stderr }
    }

    /// Waits for its end and notes when that was, before anything is cleaned up.
    pub fn finish_timed(self, since: &std::time::Instant, times: &mut Vec<Duration>) -> i32 {
        let code = reap(self.init.pid());
        times.push(since.elapsed());
        remove_cgroup(&self.cgroup);
        code
    }

    /// Ends it.
    pub fn kill(self) -> Output {
        self.signal(9);
        self.finish()
    }

    /// Reads until `text` has been printed.
    pub fn wait_for(&self, text: &str) {
        read_until(&self.stdout, text);
    }
}

/// Reads until `text` has come.
pub fn read_until(fd: &OwnedFd, text: &str) -> String {
    let mut got = String::new();
    let mut buffer = [0u8; 1024];
    while !got.contains(text) {
        let n = rustix::io::read(fd, &mut buffer[..]).unwrap();
        assert!(n > 0, "it ended after printing {got:?}");
        got.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    got
}

pub fn read_all(fd: OwnedFd) -> String {
    let mut text = String::new();
    std::fs::File::from(fd).read_to_string(&mut text).unwrap();
    text
}

/// A terminal whose last user is gone answers EIO.
pub fn read_terminal(master: OwnedFd) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0u8; 1024];
    while let Ok(n @ 1..) = rustix::io::read(&master, &mut buffer[..]) {
        bytes.extend_from_slice(&buffer[..n]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub fn reap(pid: Pid) -> i32 {
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    status.exit_status().or(status.terminating_signal().map(|n| 128 + n)).unwrap()
}

pub fn remove_cgroup(path: &Path) {
    if path.as_os_str().is_empty() {
        return;
    }
    cgroup::remove(&cgroup::layout().unwrap(), path).unwrap();
}
