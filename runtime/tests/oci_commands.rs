//! `rcnt-oci`'s commands as their callers use and misuse them: words, codes and
//! shapes that scripts depend on, several at once, and killed half-way.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

mod bundle;

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use bundle::{Bundle, text};
use serde_json::{Value, json};

/// Directories called `name` below `dir`, which is as deep as cgroups are here.
fn named(dir: &Path, name: &str, depth: usize, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name() == name {
            found.push(entry.path());
        } else if depth > 0 {
            named(&entry.path(), name, depth - 1, found);
        }
    }
}

/// What there still is of container `id`: cgroups, processes, its directory.
fn left_of(bundle: &Bundle, id: &str) -> Vec<PathBuf> {
    let mut left = Vec::new();
    named(Path::new("/sys/fs/cgroup"), id, 6, &mut left);
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if words.split(|b| *b == 0).any(|word| word == id.as_bytes()) {
            left.push(entry.path());
        }
    }
    let directory = bundle.path("state").join(id);
    left.extend(directory.exists().then_some(directory));
    left
}

fn assert_gone(bundle: &Bundle, id: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let left = left_of(bundle, id);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left of {id}: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn wait_for(bundle: &Bundle, id: &str, status: &str) {
    for _ in 0..500 {
        if bundle.status(id) == status {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{id} is {} and not {status}", bundle.status(id));
}

/// `create`, its streams nobody's: whoever holds them would wait for the container.
fn create(bundle: &Bundle, id: &str) {
    let mut command = bundle.command(&["create", id]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().unwrap().success());
}

fn spawn(bundle: &Bundle, args: &[&str]) -> Child {
    let mut command = bundle.command(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn misuse_is_one_line_with_runcs_code_and_leaves_nothing() {
    let Some(bundle) = Bundle::new("exit 0") else { return };
    let id = &bundle.id("misuse");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["create"], 1, "\"create\" requires exactly 1 argument(s)"),
        (&["create", id, "more"], 1, "\"create\" requires exactly 1 argument(s)"),
        (&["list", "more"], 1, "\"list\" requires exactly 0 argument(s)"),
        (&["kill"], 1, "\"kill\" requires a minimum of 1 argument(s)"),
        (&["exec"], 255, "\"exec\" requires a minimum of 1 argument(s)"),
        (&["run", "--bogus", id], 1, "flag provided but not defined: -bogus"),
        (&["exec", "--bogus", id, "true"], 255, "flag provided but not defined: -bogus"),
        (&["frob"], 1, "No help topic for 'frob'"),
        (&["--log-format", "xml", "list"], 1, "'xml'"),
        (&["--rootless", "true", "list"], 1, "root only"),
        (&["--root", "/", "list"], 1, "should not be set to /"),
        (&["run", "a/b"], 1, "invalid container ID format"),
        (&["run", ".."], 1, "invalid container ID format"),
        (&["run", ""], 1, "container id cannot be empty"),
        (&["run", "--bundle", "/nosuch", id], 1, "cannot find the bundle"),
        (&["run", "--console-socket", "/nosuch", id], 1, "cannot use console socket if"),
        (&["run", "--pidfd-socket", "/nosuch", id], 1, "cannot connect to socket /nosuch"),
        (&["run", "--pid-file", "/nosuch/pid", id], 1, "cannot write the pid file"),
        (&["state", id], 1, "does not exist"),
        (&["start", id], 1, "does not exist"),
        (&["kill", id, "KILL"], 1, "does not exist"),
        (&["delete", id], 1, "does not exist"),
        (&["pause", id], 1, "does not exist"),
        (&["ps", id], 1, "does not exist"),
        (&["update", "--memory", "1M", id], 1, "does not exist"),
        (&["events", id], 1, "does not exist"),
        (&["exec", id, "true"], 255, "does not exist"),
        (&["update", "--memory", "much", id], 1, "invalid value for memory: \"much\""),
        (&["events", "--interval", "0", id], 1, "duration interval must be greater than 0"),
        (&["kill", id, "SIGNOT"], 1, "unknown signal \"SIGNOT\""),
    ];
    for (args, code, words) in cases {
        let output = bundle.oci(args);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{args:?}: {error}");
        assert!(error.contains(words) && error.lines().count() == 1, "{args:?}: {error}");
        assert_eq!(text(&output.stdout), "", "{args:?}");
    }
    assert_gone(&bundle, id);
    bundle.configure(|config| config["process"]["terminal"] = true.into());
    let output = bundle.oci(&["create", id]);
    assert!(text(&output.stderr).contains("cannot allocate tty if"), "{output:?}");
    assert_gone(&bundle, id);
}

#[test]
fn a_missing_root_is_an_error_only_when_asked_for() {
    let Some(bundle) = Bundle::new("exit 0") else { return };
    let list = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rcnt-oci"));
        command.args(args).current_dir(bundle.path("")).output().unwrap()
    };
    let output = list(&["--root", "nosuch", "list"]);
    assert!(!output.status.success() && text(&output.stderr).contains("nosuch"), "{output:?}");
    assert!(list(&["list"]).status.success());
}

#[test]
fn a_log_file_gets_what_programs_parse_and_stderr_the_bare_words() {
    let Some(bundle) = Bundle::new("exit 0") else { return };
    let log = bundle.path("log");
    let output = bundle.oci(&[
        "--log",
        log.to_str().unwrap(),
        "--log-format",
        "json",
        "--debug",
        "state",
        "nosuch",
    ]);
    assert_eq!(text(&output.stderr), "container \"nosuch\" does not exist\n");
    let logged = std::fs::read_to_string(&log).unwrap();
    let last: Value = serde_json::from_str(logged.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["level"], &last["msg"]),
        (&json!("error"), &json!(text(&output.stderr).trim()))
    );
    let time = last["time"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.len() == 20, "{time}");
    let output = bundle.oci(&["--log", "/nosuch/log", "list"]);
    assert!(text(&output.stderr).starts_with("rcnt-oci: cannot open the log"), "{output:?}");
}

#[test]
fn state_and_list_have_runcs_fields_in_runcs_order() {
    let Some(bundle) = Bundle::new("exec sleep 60") else { return };
    let id = &bundle.id("shape");
    bundle.configure(|config| config["annotations"] = json!({"a": "b"}));
    bundle.detached(id);
    let state = bundle.oci(&["state", id]);
    let fields: Vec<&str> = text(&state.stdout)
        .lines()
        .filter_map(|line| line.strip_prefix("  \"")?.split('"').next())
        .collect();
    let expected = [
        "ociVersion",
        "id",
        "pid",
        "status",
        "bundle",
        "rootfs",
        "created",
        "annotations",
        "owner",
    ];
    assert_eq!(fields, expected);
    let listed = bundle.oci(&["list", "--format", "json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((&listed[0]["id"], &listed[0]["owner"]), (&json!(id), &json!("root")));
    let table = bundle.oci(&["list"]);
    let mut lines = text(&table.stdout).lines();
    let heads: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(heads, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    assert!(lines.next().unwrap().starts_with(id.as_str()));
    let ps = bundle.oci(&["ps", id]);
    let mut lines = text(&ps.stdout).lines();
    assert!(lines.next().unwrap().starts_with("UID          PID    PPID  C STIME TTY"));
    assert!(lines.next().unwrap().ends_with("sleep 60") && lines.next().is_none());
    assert!(bundle.oci(&["delete", "--force", id]).status.success());
    assert_gone(&bundle, id);
}

#[test]
fn of_many_that_start_or_delete_one_does() {
    let Some(bundle) = Bundle::new("exec sleep 60") else { return };
    let id = &bundle.id("many");
    create(&bundle, id);
    let starts: Vec<Child> = (0..6).map(|_| spawn(&bundle, &["start", id])).collect();
    let ended: Vec<_> = starts.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    assert_eq!(ended.iter().filter(|it| it.status.success()).count(), 1, "{ended:?}");
    for output in ended.iter().filter(|it| !it.status.success()) {
        let error = text(&output.stderr);
        assert!(error.contains("cannot start an already running container"), "{error}");
    }
    assert_eq!(bundle.status(id), "running");
    let deletes: Vec<Child> = (0..6).map(|_| spawn(&bundle, &["delete", "--force", id])).collect();
    for child in deletes {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    assert_gone(&bundle, id);
    let creates: Vec<Child> = (0..4)
        .map(|_| {
            let mut command = bundle.command(&["create", id]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        })
        .collect();
    let made = creates.into_iter().map(|mut it| it.wait().unwrap()).filter(|it| it.success());
    assert_eq!(made.count(), 1);
    assert!(bundle.oci(&["delete", id]).status.success());
    assert_gone(&bundle, id);
}

#[test]
fn whenever_a_command_is_killed_delete_by_force_cleans_up() {
    let Some(bundle) = Bundle::new("exec sleep 60") else { return };
    let id = &bundle.id("killed");
    let measure = Instant::now();
    bundle.detached(id);
    let whole = measure.elapsed();
    assert!(bundle.oci(&["delete", "--force", id]).status.success());
    for step in 0..24u32 {
        let mut command = bundle.command(&["run", "-d", id]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(whole * step / 20);
        child.kill().unwrap();
        child.wait().unwrap();
        let state = bundle.oci(&["state", id]);
        if state.status.success() {
            let state: Value = serde_json::from_slice(&state.stdout).unwrap();
            assert!(state["status"].is_string(), "{state}");
        }
        let deleted = bundle.oci(&["delete", "--force", id]);
        assert!(deleted.status.success(), "step {step}: {deleted:?}");
        assert_gone(&bundle, id);
    }
}

#[test]
fn a_hook_that_hangs_does_not_keep_a_container_from_being_deleted() {
    let Some(bundle) = Bundle::new("exit 0") else { return };
    let id = &bundle.id("hook");
    bundle.configure(|config| {
        config["hooks"] =
            json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "4"]}]});
    });
    let child = spawn(&bundle, &["create", id]);
    wait_for_directory(&bundle, id);
    assert_eq!(bundle.status(id), "creating");
    let start = bundle.oci(&["start", id]);
    assert!(text(&start.stderr).contains("cannot start a container in the creating state"));
    let refused = bundle.oci(&["delete", id]);
    assert!(text(&refused.stderr).contains("that is not stopped: creating"), "{refused:?}");
    assert!(bundle.oci(&["delete", "--force", id]).status.success());
    assert!(!child.wait_with_output().unwrap().status.success());
    assert_gone(&bundle, id);
}

fn wait_for_directory(bundle: &Bundle, id: &str) {
    for _ in 0..500 {
        if bundle.path("state").join(id).join("state.json").exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no state of {id}");
}

#[test]
fn a_created_container_ends_on_sigterm_and_kill_says_when_there_is_nobody() {
    let Some(bundle) = Bundle::new("exec sleep 60") else { return };
    let id = &bundle.id("term");
    create(&bundle, id);
    assert_eq!(bundle.status(id), "created");
    assert!(bundle.oci(&["kill", id]).status.success());
    wait_for(&bundle, id, "stopped");
    let output = bundle.oci(&["kill", id, "0"]);
    assert!(text(&output.stderr).contains("container not running"), "{output:?}");
    assert!(bundle.oci(&["kill", "--all", id, "0"]).status.success());
    let output = bundle.oci(&["start", id]);
    assert!(text(&output.stderr).contains("cannot start a container that has stopped"));
    let output = bundle.oci(&["exec", id, "true"]);
    assert!(text(&output.stderr).contains("cannot exec in a stopped container"));
    assert!(bundle.oci(&["delete", id]).status.success());
    assert_gone(&bundle, id);
}

#[test]
fn paused_is_the_freezers_word() {
    let Some(bundle) = Bundle::new("exec sleep 60") else { return };
    let id = &bundle.id("paused");
    bundle.detached(id);
    let resumed = bundle.oci(&["resume", id]);
    assert!(text(&resumed.stderr).contains("container not paused"), "{resumed:?}");
    assert!(bundle.oci(&["pause", id]).status.success());
    assert_eq!(bundle.status(id), "paused");
    let output = bundle.oci(&["exec", id, "true"]);
    assert!(text(&output.stderr).contains("cannot exec in a paused container"), "{output:?}");
    let output = bundle.oci(&["delete", id]);
    assert!(text(&output.stderr).contains("that is not stopped: paused"), "{output:?}");
    // SIGKILL reaches frozen processes.
    assert!(bundle.oci(&["kill", id, "KILL"]).status.success());
    wait_for(&bundle, id, "stopped");
    assert!(bundle.oci(&["delete", id]).status.success());
    assert_gone(&bundle, id);
}

#[test]
fn a_pidfd_and_a_pid_file_are_handed_over() {
    let Some(bundle) = Bundle::new("exec sleep 60") else { return };
    let id = &bundle.id("pidfd");
    let (socket, pid_file) = (bundle.path("pidfd"), bundle.path("pid"));
    let listener = UnixListener::bind(&socket).unwrap();
    let mut command = bundle.command(&[
        "run",
        "-d",
        "--pidfd-socket",
        socket.to_str().unwrap(),
        "--pid-file",
        pid_file.to_str().unwrap(),
        id,
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().unwrap().success());
    let (connection, _) = listener.accept().unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let mut name = [0u8; 64];
    let mut buffers = [std::io::IoSliceMut::new(&mut name)];
    let flags = rustix::net::RecvFlags::CMSG_CLOEXEC;
    rustix::net::recvmsg(&connection, &mut buffers, &mut control, flags).unwrap();
    let pidfd = control.drain().find_map(|message| match message {
        rustix::net::RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let pid = std::fs::read_to_string(pid_file).unwrap();
    assert_eq!(pid, bundle.pid(id).to_string());
    rustix::process::pidfd_send_signal(pidfd.unwrap(), rustix::process::Signal::KILL).unwrap();
    wait_for(&bundle, id, "stopped");
    assert!(bundle.oci(&["delete", id]).status.success());
}

#[test]
fn what_cannot_be_executed_says_so_as_the_command_would() {
    let Some(bundle) = Bundle::new("") else { return };
    let id = &bundle.id("noexec");
    let script = bundle.path("rootfs").join("script");
    std::fs::write(&script, "#!/nosuch/shell\n").unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    bundle.configure(|config| config["process"]["args"] = json!(["/script"]));
    let output = bundle.oci(&["run", id]);
    assert_eq!(text(&output.stderr), "exec /script: no such file or directory\n");
    assert!(!output.status.success());
    assert_gone(&bundle, id);
    // After create nobody of ours is there to tell it.
    let errors = std::fs::File::create(bundle.path("errors")).unwrap();
    let mut command = bundle.command(&["create", id]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    assert!(command.status().unwrap().success());
    assert!(bundle.oci(&["start", id]).status.success());
    wait_for(&bundle, id, "stopped");
    let errors = std::fs::read_to_string(bundle.path("errors")).unwrap();
    assert_eq!(errors, "exec /script: no such file or directory\n");
    assert!(bundle.oci(&["delete", id]).status.success());
}

#[test]
fn kept_containers_stay_and_others_go() {
    let Some(bundle) = Bundle::new("exit 3") else { return };
    let id = &bundle.id("keep");
    assert_eq!(bundle.oci(&["run", "--keep", id]).status.code(), Some(3));
    assert_eq!(bundle.status(id), "stopped");
    let again = bundle.oci(&["run", id]);
    assert!(text(&again.stderr).contains("container with given ID already exists"), "{again:?}");
    assert!(bundle.oci(&["delete", id]).status.success());
    assert_gone(&bundle, id);
}

#[test]
fn orphans_of_the_command_are_reaped_while_it_runs() {
    let script = "(sleep 0.2 &) ; sleep 0.6; exit 5";
    let Some(bundle) = Bundle::new(script) else { return };
    let id = &bundle.id("orphans");
    // Without a pid namespace they come to us.
    bundle.configure(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|it| it["type"] != "pid");
    });
    let child = spawn(&bundle, &["run", id]);
    let us = child.id().to_string();
    std::thread::sleep(Duration::from_millis(500));
    let zombies = std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let mut fields = rest.split_whitespace();
        fields.next() == Some("Z") && fields.next() == Some(us.as_str())
    });
    assert_eq!(zombies.count(), 0);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(5));
    assert_gone(&bundle, id);
}

#[test]
fn limits_change_and_are_remembered_and_events_tell_of_them() {
    let Some(bundle) = Bundle::new("exec sleep 60") else { return };
    let id = &bundle.id("limits");
    bundle.detached(id);
    let mut command = bundle.command(&["update", "-r", "-", id]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    use std::io::Write;
    child.stdin.take().unwrap().write_all(b"{\"pids\": {\"limit\": 30}}").unwrap();
    assert!(child.wait().unwrap().success());
    let stats = || -> Value {
        let output = bundle.oci(&["events", "--stats", id]);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(
        (&stats()["type"], &stats()["data"]["pids"]["limit"]),
        (&json!("stats"), &json!(30))
    );
    assert!(bundle.oci(&["update", id, "--pids-limit", "20"]).status.success());
    assert_eq!(stats()["data"]["pids"]["limit"], 20);
    let bad = bundle.oci(&["update", "--cpuset-cpus", "9999", id]);
    assert!(!bad.status.success() && text(&bad.stderr).lines().count() == 1, "{bad:?}");
    let events = spawn(&bundle, &["events", "--interval", "50ms", id]);
    std::thread::sleep(Duration::from_millis(300));
    assert!(bundle.oci(&["delete", "--force", id]).status.success());
    let output = events.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let start = format!("{{\"type\":\"stats\",\"id\":\"{id}\",\"data\":{{");
    assert!(text(&output.stdout).starts_with(&start), "{output:?}");
    assert_gone(&bundle, id);
}
