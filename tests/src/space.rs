//! A set of fresh namespaces held by a process of ours. When the test process
//! dies, however it dies, the holder's stdin closes, the holder exits, and as
//! PID 1 of its pid namespace takes every process in it along.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// A network, mount and pid namespace with a bash as PID 1, which reaps orphans
/// as a real host's init does.
#[derive(Debug)]
pub struct Space {
    holder: Child,
    /// PID 1 of the space, as seen from outside.
    init: u32,
    network: File,
    mount: File,
    pid: File,
}

impl Space {
    /// Makes the namespaces and runs `setup` (bash, with `args` as `$1`…) in them.
    #[track_caller]
    pub fn new(setup: &str, args: &[&str]) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "the end-to-end tests make namespaces and need root: run them with sudo"
        );
        let script = format!("set -e\n{setup}\necho ready\nread -r end || true");
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"])
            .args(["--propagation", "private", "bash", "-c", &script, "space"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare(1), of util-linux, runs");
        let mut line = String::new();
        let _ = BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line);
        if line != "ready\n" {
            let mut reason = String::new();
            let _ = holder.stderr.take().unwrap().read_to_string(&mut reason);
            panic!("cannot make the test's namespaces: {line}{reason}");
        }
        let init = only_child_of(holder.id());
        let open = |kind: &str| File::open(format!("/proc/{init}/ns/{kind}")).unwrap();
        let (network, mount, pid) = (open("net"), open("mnt"), open("pid"));
        Self { holder, init, network, mount, pid }
    }

    /// PID 1 of the space as the machine sees it, for `nsenter -t`.
    pub fn init(&self) -> u32 {
        self.init
    }

    /// The path by which the machine sees `path` of the space.
    pub fn outside(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        Path::new(&format!("/proc/{}/root", self.init)).join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Runs `work` on a thread that has entered the space. Namespaces belong to
    /// threads, so the rest of the test process stays where it is.
    #[track_caller]
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.on_a_thread(true, work)
    }

    /// As [`Space::inside`], in the network namespace only: files and pids are
    /// the machine's.
    #[track_caller]
    pub fn inside_network<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.on_a_thread(false, work)
    }

    #[track_caller]
    fn on_a_thread<T: Send>(&self, all: bool, work: impl FnOnce() -> T + Send) -> T {
        let result = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("inside".to_owned());
            let entered = thread.spawn_scoped(scope, || {
                enter(&self.network, LinkNameSpaceType::Network);
                if all {
                    enter(&self.pid, LinkNameSpaceType::ProcessID);
                    // A thread that shares its root and cwd with others cannot
                    // enter a mount namespace (setns(2)).
                    #[expect(
                        deprecated,
                        reason = "CLONE_FS, unlike CLONE_FILES, cannot invalidate a descriptor"
                    )]
                    rustix::thread::unshare(UnshareFlags::FS).unwrap();
                    enter(&self.mount, LinkNameSpaceType::Mount);
                }
                work()
            });
            entered.unwrap().join()
        });
        result.unwrap_or_else(|cause| std::panic::resume_unwind(cause))
    }

    /// Starts a command inside. Its pid is the machine's view of it.
    #[track_caller]
    pub fn spawn(&self, command: &mut Command) -> Child {
        match self.inside(|| command.spawn()) {
            Ok(child) => child,
            Err(error) => panic!("cannot start {command:?}: {error}"),
        }
    }

    /// Runs lines of `ip -batch` in the network namespace; pids are the machine's.
    #[track_caller]
    pub fn ip(&self, batch: &str) {
        let mut ip = Command::new("ip");
        ip.args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.inside_network(|| ip.spawn()).expect("ip(8), of iproute2, runs");
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, batch.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip -batch failed: {stderr}\nin:\n{batch}");
    }

    /// Every process inside but PID 1, as "pid: command line".
    pub fn processes(&self) -> Vec<(u32, String)> {
        let proc = self.outside("/proc");
        let Ok(entries) = std::fs::read_dir(&proc) else { return Vec::new() };
        let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| *pid != 1).filter_map(|pid| Some((pid, describe(&proc, pid)?))).collect()
    }
}

impl Space {
    /// Ends every process inside and with them the namespaces.
    pub(crate) fn end(&mut self) {
        // PID 1 reads end of file and exits; the kernel kills and reaps the rest first.
        drop(self.holder.stdin.take());
        let gone = crate::world::wait_for(Duration::from_secs(5), || {
            !matches!(self.holder.try_wait(), Ok(None))
        });
        if !gone {
            let _ = self.holder.kill();
            let _ = self.holder.wait();
        }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.end();
    }
}

fn enter(namespace: &File, kind: LinkNameSpaceType) {
    move_into_link_name_space(namespace.as_fd(), Some(kind)).expect("setns");
}

/// The one child of `parent`, once it is there.
fn only_child_of(parent: u32) -> u32 {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = std::fs::read_to_string(&path).unwrap_or_default();
    let first = children.split_whitespace().next().and_then(|pid| pid.parse().ok());
    first.unwrap_or_else(|| panic!("{path} names no child: {children:?}"))
}

/// Command line, or name for a process that has none; `None` when it is gone.
fn describe(proc: &Path, pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(proc.join(format!("{pid}/stat"))).ok()?;
    let state = stat.rsplit(") ").next()?.chars().next()?;
    let line = std::fs::read(proc.join(format!("{pid}/cmdline"))).ok()?;
    let line = String::from_utf8_lossy(&line).replace('\0', " ").trim().to_owned();
    let name = stat.split(['(', ')']).nth(1).unwrap_or("?").to_owned();
    Some(format!("[{state}] {}", if line.is_empty() { name } else { line }))
}
