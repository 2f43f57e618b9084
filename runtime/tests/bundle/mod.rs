//! A bundle with a busybox root file system, and `rcnt-oci` to run it.
//!
//! Needs root and busybox-static, else tests are skipped (unless
//! RCNT_TESTS_MUST_WORK is set).
#![allow(dead_code, unreachable_pub, clippy::missing_panics_doc)] // each test program uses its own part

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const BUSYBOX: &str = "/bin/busybox";

/// The `rcnt-oci` to test: the one built with the tests, or another build of it.
pub fn binary() -> PathBuf {
    std::env::var_os("RCNT_OCI_BINARY").unwrap_or(env!("CARGO_BIN_EXE_rcnt-oci").into()).into()
}

pub struct Bundle {
    dir: tempfile::TempDir,
}

impl Bundle {
    /// A bundle whose command is `sh -c script`; `None` where it cannot work.
    pub fn new(script: &str) -> Option<Self> {
        let works = rustix::process::geteuid().is_root() && Path::new(BUSYBOX).exists();
        if !works {
            println!("skipped: needs root and busybox-static");
            assert!(std::env::var_os("RCNT_TESTS_MUST_WORK").is_none());
            return None;
        }
        let bundle = Self { dir: tempfile::tempdir().unwrap() };
        let root = bundle.path("rootfs");
        for name in ["bin", "etc", "proc", "sys", "dev"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        std::fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
        for applet in [
            "sh", "sleep", "cat", "id", "stty", "usleep", "hostname", "true", "false", "grep",
            "ls", "mount",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        let made = bundle.oci(&["spec", "--bundle", bundle.dir.path().to_str().unwrap()]);
        assert!(made.status.success(), "{made:?}");
        bundle.configure(|config| {
            config["process"]["terminal"] = false.into();
            config["process"]["args"] = serde_json::json!(["sh", "-c", script]);
        });
        Some(bundle)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn configure(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let path = self.path("config.json");
        let mut config = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut config);
        std::fs::write(path, config.to_string()).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("--root").arg(self.path("state")).args(args).current_dir(self.dir.path());
        command
    }

    pub fn oci(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    /// Ids are shared by all tests of the machine through the cgroup's path.
    pub fn id(&self, name: &str) -> String {
        format!("test-{}-{name}", self.dir.path().file_name().unwrap().to_str().unwrap())
            .replace(".tmp", "")
    }

    /// Gives the whole root file system to a user and a group.
    pub fn own_rootfs(&self, uid: u32, gid: u32) {
        fn own(path: &Path, uid: u32, gid: u32) {
            std::os::unix::fs::lchown(path, Some(uid), Some(gid)).unwrap();
            if path.is_dir() && !path.is_symlink() {
                std::fs::read_dir(path).unwrap().for_each(|e| own(&e.unwrap().path(), uid, gid));
            }
        }
        own(&self.path("rootfs"), uid, gid);
        // Every directory on the way must let them through.
        use std::os::unix::fs::PermissionsExt;
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.dir.path(), open).unwrap();
    }

    /// `run -d`, its output to nobody: it would keep the reader waiting.
    pub fn detached(&self, id: &str) {
        let errors = std::fs::File::create(self.path("errors")).unwrap();
        let mut command = self.command(&["run", "-d", id]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let status = command.status().unwrap();
        let errors = std::fs::read_to_string(self.path("errors")).unwrap();
        assert!(status.success(), "{errors}");
    }

    /// Pid of the first process, from `state`.
    pub fn pid(&self, id: &str) -> i64 {
        let state = self.oci(&["state", id]);
        let state: serde_json::Value = serde_json::from_slice(&state.stdout).unwrap();
        state["pid"].as_i64().unwrap()
    }

    /// `rcnt-oci COMMAND ID` in a mount namespace of its own; the number of mounts
    /// left in it below the bundle is the last line of its output.
    pub fn oci_in_private_mounts(&self, command: &str, id: &str) -> Output {
        let script = format!(
            "{} --root {} {command} {id}; code=$?; grep -c {} /proc/self/mounts; exit $code",
            binary().display(),
            self.path("state").display(),
            self.dir.path().display()
        );
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-c", &script]).current_dir(self.dir.path());
        shell.stdin(Stdio::null()).output().unwrap()
    }

    /// No mount, state, cgroup or process of container `id`.
    #[track_caller]
    pub fn nothing_is_left(&self, id: &str) {
        let bundle = self.path("");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(bundle.to_str().unwrap()), "{mounts}");
        let state = self.path("state").join(id);
        assert!(!state.exists(), "{:?}", std::fs::read_dir(&state).unwrap().collect::<Vec<_>>());
        assert_eq!(cgroups(id), Vec::<String>::new());
        // The killed ones are gone when their parents have noticed.
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let left = processes(id, &bundle);
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{left:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn status(&self, id: &str) -> String {
        let state = self.oci(&["state", id]);
        let state: serde_json::Value = serde_json::from_slice(&state.stdout).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }
}

/// Cgroups of that name, in any hierarchy.
fn cgroups(id: &str) -> Vec<String> {
    let find = ["/sys/fs/cgroup", "-maxdepth", "6", "-type", "d", "-name", id];
    let found = Command::new("find").args(find).stderr(Stdio::null()).output().unwrap();
    text(&found.stdout).lines().map(str::to_owned).collect()
}

/// Processes that say the id or run in the bundle; not those that have ended and
/// wait for whoever is process 1 here to notice.
fn processes(id: &str, bundle: &Path) -> Vec<String> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit());
    let of = pids.filter_map(|entry| {
        let read = |name| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let below = |name| {
            std::fs::read_link(entry.path().join(name)).is_ok_and(|path| path.starts_with(bundle))
        };
        if read("status").contains("\nState:\tZ") {
            return None;
        }
        let (command, cgroup) = (read("cmdline"), read("cgroup"));
        let its = command.contains(id) || cgroup.contains(id) || below("root") || below("cwd");
        its.then(|| format!("{:?} {command:?} {cgroup}", entry.file_name()))
    });
    of.collect()
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
