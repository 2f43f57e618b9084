//! kill -9 at every step: whatever `rcnt-oci` was doing, `delete --force` leaves
//! nothing of the container, and its id can be used again.
//!
//! Needs root, busybox-static and strace, which kills the process at a system call
//! of one's choice; else it is skipped (unless RCNT_TESTS_MUST_WORK is set).
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

mod bundle;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bundle::{Bundle, text};

/// Calls that change something others can see: the process does not survive the
/// nth of one kind.
const CHANGES: &str = "mount,move_mount,fsmount,open_tree,mount_setattr,mkdir,mkdirat,mknodat,rename,\
    renameat,renameat2,symlinkat,unlink,unlinkat,rmdir,clone,clone3,fork,vfork,sendmsg,bind,listen,\
    unshare,setns,pivot_root,execve,execveat,ftruncate,fchmod,write,pidfd_send_signal,kill,flock";

fn strace() -> bool {
    let found = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok();
    if !found {
        println!("skipped: needs strace");
        assert!(std::env::var_os("RCNT_TESTS_MUST_WORK").is_none());
    }
    found
}

/// One container that is killed again and again.
struct Victim {
    bundle: Bundle,
    id: String,
}

impl Victim {
    fn new(name: &str, script: &str) -> Option<Self> {
        let bundle = Bundle::new(script).filter(|_| strace())?;
        let id = bundle.id(name);
        // Something of each kind, so that there is something to be left.
        bundle.configure(|config| {
            let hook = serde_json::json!([{"path": "/bin/true"}]);
            config["hooks"] = serde_json::json!({"createRuntime": hook, "poststop": hook});
            config["linux"]["resources"]["pids"] = serde_json::json!({"limit": 100});
        });
        Some(Self { bundle, id })
    }

    /// `rcnt-oci ARGS ID` under strace, which is told `flags` and writes to `log`.
    fn traced(&self, log: &Path, flags: &str, args: &[&str]) {
        let mut strace = Command::new("timeout");
        strace.args(["-s", "KILL", "30", "strace", "-D", "-f", "-qq", "-o"]).arg(log);
        strace.args(["-e", flags]).arg(bundle::binary());
        strace.arg("--root").arg(self.bundle.path("state")).args(args).arg(&self.id);
        strace.current_dir(self.bundle.path("")).stdin(Stdio::null());
        strace.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    }

    /// Which changes it makes, and how many of each kind a process of it at most.
    fn changes(&self, args: &[&str]) -> BTreeMap<String, u32> {
        let log = self.bundle.path("trace");
        self.traced(&log, &format!("trace={CHANGES}"), args);
        // Not before it has ended, as the tracer writes a moment later.
        self.recovers();
        let mut counts = BTreeMap::<(String, String), u32>::new();
        for line in fs::read_to_string(log).unwrap().lines() {
            let Some((pid, call)) = line.split_once(' ') else { continue };
            let Some((name, _)) = call.trim().split_once('(') else { continue };
            if CHANGES.split(',').any(|known| known == name) {
                *counts.entry((pid.to_owned(), name.to_owned())).or_default() += 1;
            }
        }
        let mut most = BTreeMap::new();
        for ((_, name), count) in counts {
            let known = most.entry(name).or_default();
            *known = count.max(*known);
        }
        most
    }

    /// Whatever was killed, nothing is left of it.
    fn recovers(&self) {
        let deleted = self.bundle.oci(&["delete", "--force", &self.id]);
        assert!(deleted.status.success(), "{deleted:?}");
        self.nothing_is_left();
    }

    fn nothing_is_left(&self) {
        let bundle = self.bundle.path("");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(bundle.to_str().unwrap()), "{mounts}");
        let state = self.bundle.path("state").join(&self.id);
        assert!(!state.exists(), "{:?}", fs::read_dir(&state).unwrap().collect::<Vec<_>>());
        assert_eq!(cgroups(&self.id), Vec::<String>::new());
        // The killed ones are gone when their parents have noticed.
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let left = processes(&self.id, &bundle);
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{left:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `args ID` is killed at each of its changes, or every `step`th; `first` is
    /// done before each.
    fn swept(&self, first: &dyn Fn(), args: &[&str], step: usize) {
        first();
        let changes = self.changes(args);
        let mut failures = Vec::new();
        let mut count = 0;
        for (call, most) in &changes {
            for nth in (1..=*most).step_by(step) {
                count += 1;
                let case = std::panic::AssertUnwindSafe(|| {
                    first();
                    let inject = format!("inject={call}:signal=KILL:when={nth}");
                    self.traced(Path::new("/dev/null"), &inject, args);
                    self.recovers();
                });
                if std::panic::catch_unwind(case).is_err() {
                    failures.push(format!("{call} {nth}"));
                }
                assert!(failures.len() < 6, "{args:?} killed at {failures:?}");
            }
        }
        println!("{args:?} killed at {count} changes: {changes:?}");
        assert!(failures.is_empty() && count > 1, "{args:?} killed at {failures:?} of {count}");
    }

    fn ok(&self, args: &[&str]) {
        let mut command = self.bundle.command(&[args, &[self.id.as_str()]].concat());
        let errors = fs::File::create(self.bundle.path("errors")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let status = command.status().unwrap();
        assert!(status.success(), "{}", fs::read_to_string(self.bundle.path("errors")).unwrap());
    }
}

/// Cgroups of that name, in any hierarchy.
fn cgroups(id: &str) -> Vec<String> {
    let find = ["/sys/fs/cgroup", "-maxdepth", "6", "-type", "d", "-name", id];
    let found = Command::new("find").args(find).stderr(Stdio::null()).output().unwrap();
    text(&found.stdout).lines().map(str::to_owned).collect()
}

/// Processes that say the id or run in the bundle.
fn processes(id: &str, bundle: &Path) -> Vec<String> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit());
    let of = pids.filter_map(|entry| {
        let command = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let cgroup = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let root = fs::read_link(entry.path().join("root")).unwrap_or_default();
        let cwd = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        let its = command.contains(id)
            || cgroup.contains(id)
            || root.starts_with(bundle)
            || cwd.starts_with(bundle);
        its.then(|| format!("{:?} {command:?} {cgroup}", entry.file_name()))
    });
    of.collect()
}

#[test]
fn create_killed_at_any_change_leaves_nothing() {
    let Some(victim) = Victim::new("create", "exec sleep 60") else { return };
    victim.swept(&|| (), &["create"], 1);
}

#[test]
fn run_killed_at_any_change_leaves_nothing() {
    let Some(victim) = Victim::new("run", "true") else { return };
    // It is the others one after another: a sample.
    victim.swept(&|| (), &["run"], 4);
}

#[test]
fn start_killed_at_any_change_leaves_nothing() {
    let Some(victim) = Victim::new("start", "exec sleep 60") else { return };
    victim.swept(&|| victim.ok(&["create"]), &["start"], 1);
}

#[test]
fn exec_killed_at_any_change_leaves_nothing() {
    let Some(victim) = Victim::new("exec", "exec sleep 60") else { return };
    let process = victim.bundle.path("process.json");
    let process_text = serde_json::json!({
        "args": ["sleep", "0.01"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}
    });
    fs::write(&process, process_text.to_string()).unwrap();
    let args = ["exec", "--process", process.to_str().unwrap()];
    victim.swept(&|| victim.ok(&["run", "-d"]), &args, 1);
}

#[test]
fn delete_killed_at_any_change_leaves_nothing() {
    let Some(victim) = Victim::new("delete", "exec sleep 60") else { return };
    let stopped = || {
        victim.ok(&["run", "-d"]);
        assert!(victim.bundle.oci(&["kill", &victim.id, "KILL"]).status.success());
        let deadline = Instant::now() + Duration::from_secs(10);
        while victim.bundle.status(&victim.id) != "stopped" {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    victim.swept(&stopped, &["delete"], 1);
}

#[test]
fn delete_by_force_killed_at_any_change_leaves_nothing() {
    let Some(victim) = Victim::new("force", "exec sleep 60") else { return };
    victim.swept(&|| victim.ok(&["run", "-d"]), &["delete", "--force"], 1);
}
