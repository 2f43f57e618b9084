//! kill -9 at every step: whatever `rcnt-oci` was doing, `delete --force` leaves
//! nothing of the container, and its id can be used again. And where a step fails,
//! `create` leaves nothing itself.
//!
//! Needs root, busybox-static and strace, which kills the process at a system call
//! of one's choice, or has that fail; else it is skipped (unless RCNT_TESTS_MUST_WORK is set).
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

    /// `rcnt-oci ARGS ID` under strace, which is told `flags` and writes to `log`;
    /// whether it succeeds.
    fn traced(&self, log: &Path, flags: &str, args: &[&str]) -> bool {
        let mut strace = Command::new("timeout");
        strace.args(["-s", "KILL", "30", "strace", "-D", "-f", "-qq", "-o"]).arg(log);
        strace.args(["-e", flags]).arg(bundle::binary());
        strace.arg("--root").arg(self.bundle.path("state")).args(args).arg(&self.id);
        strace.current_dir(self.bundle.path("")).stdin(Stdio::null());
        strace.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
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
        self.bundle.nothing_is_left(&self.id);
    }

    /// `args ID` is killed at each of its changes, or every `step`th; `first` is
    /// done before each.
    fn swept(&self, first: &dyn Fn(), args: &[&str], step: usize) {
        first();
        let changes = self.changes(args);
        self.each(args, &changes, step, &|call, nth| {
            first();
            let inject = format!("inject={call}:signal=KILL:when={nth}");
            self.traced(Path::new("/dev/null"), &inject, args);
            self.recovers();
        });
    }

    /// Each of `args`' changes fails, or every `step`th: then nothing is left,
    /// without anybody's help.
    fn failing(&self, args: &[&str], step: usize) {
        let mut changes = self.changes(args);
        // What takes things back, if that is the call's only use, cannot fail twice.
        changes.retain(|call, _| !["unlink", "unlinkat", "rmdir", "kill"].contains(&call.as_str()));
        self.each(args, &changes, step, &|call, nth| {
            let inject = format!("inject={call}:error=ENOMEM:when={nth}");
            match self.traced(Path::new("/dev/null"), &inject, args) {
                true => self.recovers(),
                false => self.bundle.nothing_is_left(&self.id),
            }
        });
    }

    /// `case` for every `step`th of the `changes`.
    fn each(
        &self,
        args: &[&str],
        changes: &BTreeMap<String, u32>,
        step: usize,
        case: &dyn Fn(&str, u32),
    ) {
        let mut failures = Vec::new();
        let mut count = 0;
        for (call, most) in changes {
            for nth in (1..=*most).step_by(step) {
                count += 1;
                let case = std::panic::AssertUnwindSafe(|| case(call, nth));
                if std::panic::catch_unwind(case).is_err() {
                    failures.push(format!("{call} {nth}"));
                    self.bundle.oci(&["delete", "--force", &self.id]);
                }
                assert!(failures.len() < 6, "{args:?} at {failures:?}");
            }
        }
        println!("{args:?} at {count} changes: {changes:?}");
        assert!(failures.is_empty() && count > 1, "{args:?} at {failures:?} of {count}");
    }

    fn ok(&self, args: &[&str]) {
        let mut command = self.bundle.command(&[args, &[self.id.as_str()]].concat());
        let errors = fs::File::create(self.bundle.path("errors")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let status = command.status().unwrap();
        assert!(status.success(), "{}", fs::read_to_string(self.bundle.path("errors")).unwrap());
    }
}

#[test]
fn create_killed_at_any_change_leaves_nothing() {
    let Some(victim) = Victim::new("create", "exec sleep 60") else { return };
    victim.swept(&|| (), &["create"], 1);
}

#[test]
fn create_failing_at_any_change_leaves_nothing() {
    let Some(victim) = Victim::new("failing", "exec sleep 60") else { return };
    victim.failing(&["create"], 1);
}

#[test]
fn what_fails_early_harms_nobody_in_its_cgroup() {
    let Some(victim) = Victim::new("newcomer", "exec sleep 60") else { return };
    let bundle = &victim.bundle;
    let path = format!("/{}", victim.id);
    bundle.configure(|config| config["linux"]["cgroupsPath"] = path.into());
    let resident = bundle.id("resident");
    bundle.detached(&resident);
    let case = |call: &str, nth: u32| {
        let inject = format!("inject={call}:error=ENOMEM:when={nth}");
        assert!(!victim.traced(Path::new("/dev/null"), &inject, &["create"]));
        assert_eq!(bundle.status(&resident), "running");
        assert!(!bundle.path("state").join(&victim.id).exists());
    };
    let early = ["flock", "mkdir", "rename", "mknodat", "fchmodat", "write", "socketpair"];
    early.iter().for_each(|call| (1..3).for_each(|nth| case(call, nth)));
    // Nothing to restore is there.
    let images = bundle.path("state");
    let restored = bundle.oci(&["restore", "--image-path", images.to_str().unwrap(), &victim.id]);
    assert!(!restored.status.success(), "{restored:?}");
    assert_eq!(bundle.status(&resident), "running");
    assert!(bundle.oci(&["delete", "--force", &resident]).status.success());
    bundle.nothing_is_left(&victim.id);
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

#[test]
fn update_killed_at_any_change_leaves_nothing() {
    let Some(victim) = Victim::new("update", "exec sleep 60") else { return };
    let args = ["update", "--pids-limit", "50", "--memory", "100000000"];
    victim.swept(&|| victim.ok(&["run", "-d"]), &args, 1);
}

#[test]
fn pause_and_resume_killed_at_any_change_leave_nothing() {
    let Some(victim) = Victim::new("pause", "exec sleep 60") else { return };
    victim.swept(&|| victim.ok(&["run", "-d"]), &["pause"], 1);
    let paused = || {
        victim.ok(&["run", "-d"]);
        victim.ok(&["pause"]);
    };
    victim.swept(&paused, &["resume"], 1);
}

/// Needs CRIU as well, and a kernel it knows.
#[test]
fn checkpoint_killed_at_any_change_leaves_nothing() {
    let Some(victim) = Victim::new("checkpoint", "exec sleep 60") else { return };
    match Command::new("criu").arg("check").output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => return println!("skipped: criu check: {}", text(&output.stderr)),
        Err(error) => {
            println!("skipped: criu: {error}");
            return assert!(std::env::var_os("RCNT_TESTS_MUST_WORK").is_none());
        }
    }
    let images = victim.bundle.path("images");
    let args = ["checkpoint", "--image-path", images.to_str().unwrap()];
    let args = [&args[..], &["--manage-cgroups-mode=ignore"]].concat();
    victim.swept(&|| victim.ok(&["run", "-d"]), &args, 3);
}
