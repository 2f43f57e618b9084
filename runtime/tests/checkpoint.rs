//! `rcnt-oci checkpoint` and `restore` by the CRIU that is in PATH.
//!
//! CRIU must know the kernel: a release that is older than it by years may not
//! work at all. `criu check` tells; what it says is printed when tests are skipped.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

mod bundle;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bundle::{Bundle, text};
use serde_json::json;

/// Counts in a file of its root, for ever. The file is never empty.
const COUNTING: &str = "i=0; while :; do \
    i=$((i+1)); echo $i > /next; busybox mv /next /count; usleep 20000; done";

/// Cgroups are ours to make, not CRIU's: it would restore as well what it finds
/// in hierarchies that only others have mounted.
const IGNORE: &str = "--manage-cgroups-mode=ignore";

/// A bundle with a writable root, where CRIU works.
fn bundle(script: &str) -> Option<Bundle> {
    let bundle = Bundle::new(script)?;
    bundle.configure(|config| config["root"]["readonly"] = false.into());
    match Command::new("criu").arg("check").output() {
        Ok(output) if output.status.success() => return Some(bundle),
        Ok(output) => println!("skipped: criu check: {}", text(&output.stderr)),
        Err(error) => {
            println!("skipped: criu: {error}");
            assert!(std::env::var_os("RCNT_TESTS_MUST_WORK").is_none());
        }
    }
    None
}

/// Has a container end with the test, however that ends.
struct Guard<'a>(&'a Bundle, String);

impl<'a> Guard<'a> {
    fn new(bundle: &'a Bundle, name: &str) -> Self {
        Self(bundle, bundle.id(name))
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let _ = self.0.oci(&["delete", "--force", &self.1]);
    }
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn count(bundle: &Bundle) -> u64 {
    let text = std::fs::read_to_string(bundle.path("rootfs/count")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// Waits until it counts again, from where it was.
fn assert_counts_on(bundle: &Bundle, from: u64) {
    wait_for("a greater number", || count(bundle) > from);
    // Started anew it could not be there yet.
    assert!(from > 5 && count(bundle) < from + 1000);
}

fn ok(output: &Output) {
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// `rcnt-oci ARGS` whose container outlives it: it must not have our pipes.
fn detached(bundle: &Bundle, args: &[&str]) {
    let log = bundle.path("log");
    let args = [&["--log", log.to_str().unwrap()], args].concat();
    // Null all: a file of the host's could not be dumped.
    let mut command = bundle.command(&args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().unwrap();
    assert!(status.success(), "{}", std::fs::read_to_string(log).unwrap_or_default());
}

/// What a failed or finished container must not leave.
fn assert_nothing_left(bundle: &Bundle, id: &str) {
    assert_eq!(text(&bundle.oci(&["list", "--quiet"]).stdout), "");
    assert!(!bundle.path("state").join(id).exists(), "its state is left");
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let root = bundle.path("state").display().to_string();
    assert!(!mounts.contains(&root), "a mount is left");
    let found = Command::new("find").args(["/sys/fs/cgroup", "-name", id]).output().unwrap();
    assert_eq!(text(&found.stdout), "", "a cgroup is left");
}

#[test]
fn a_counting_process_counts_on_after_a_restore() {
    let Some(bundle) = bundle(COUNTING) else { return };
    let guard = Guard::new(&bundle, "count");
    let id = guard.1.as_str();
    bundle.configure(|config| {
        let all = config["linux"]["namespaces"].as_array_mut().unwrap();
        all.retain(|namespace| namespace["type"] != "cgroup");
        all.push(json!({"type": "cgroup"}));
    });
    detached(&bundle, &["run", "-d", id]);
    // Twice: a restored container is one like others.
    let pid = bundle.pid(id);
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    // Somebody has mounted a hierarchy where we cannot see it, and works in it:
    // CRIU would try to restore what comes and goes there.
    let foreign = cgroups.lines().any(|line| !line.ends_with(id));
    let mode = if foreign { "ignore" } else { "soft" };
    for mode in [["--manage-cgroups-mode", mode], ["--manage-cgroups-mode", "ignore"]] {
        wait_for("some numbers", || count(&bundle) > 5);
        ok(&bundle.oci(&[&["checkpoint"], &mode[..], &[id]].concat()));
        assert_nothing_left(&bundle, id);
        let at = count(&bundle);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(count(&bundle), at, "it still counts");
        detached(
            &bundle,
            &[&["restore", "--detach", "--pid-file", "pid"], &mode[..], &[id]].concat(),
        );
        assert_eq!(bundle.status(id), "running");
        let pid = std::fs::read_to_string(bundle.path("pid")).unwrap();
        assert_eq!(pid, bundle.pid(id).to_string());
        assert_counts_on(&bundle, at);
        // Its own cgroup is all it sees, and further processes see the same.
        let seen = bundle.oci(&["exec", id, "cat", "/proc/self/cgroup"]);
        let cgroups = text(&seen.stdout);
        assert!(
            !cgroups.is_empty() && cgroups.lines().all(|line| line.ends_with(":/")),
            "{seen:?}"
        );
    }
    ok(&bundle.oci(&["delete", "--force", id]));
    assert_nothing_left(&bundle, id);
}

/// It makes directories: a file it had open in the moment of the dump would have
/// another size by the time it is restored.
#[test]
fn a_container_left_running_goes_on_and_its_images_make_another() {
    let script = "i=0; while :; do i=$((i+1)); busybox mkdir -p /n/$i; usleep 20000; done";
    let Some(bundle) = bundle(script) else { return };
    let (first, second) = (Guard::new(&bundle, "leave"), Guard::new(&bundle, "another"));
    let count = || std::fs::read_dir(bundle.path("rootfs/n")).map_or(0, Iterator::count);
    detached(&bundle, &["run", "-d", &first.1]);
    wait_for("some directories", || count() > 5);
    let at = count();
    let places = ["--image-path", "i", "--work-path", "w"];
    ok(&bundle
        .oci(&[&["checkpoint", IGNORE, "--leave-running"], &places[..], &[&first.1]].concat()));
    assert!(bundle.path("i/inventory.img").exists() && bundle.path("w/dump.log").exists());
    assert_eq!(bundle.status(&first.1), "running");
    wait_for("more directories", || count() > at);
    ok(&bundle.oci(&["delete", "--force", &first.1]));
    let at = count();
    detached(&bundle, &[&["restore", "-d", IGNORE], &places[..], &[&second.1]].concat());
    assert!(bundle.path("w/restore.log").exists());
    assert_eq!(bundle.status(&second.1), "running");
    wait_for("more directories", || count() > at);
}

#[test]
fn an_established_connection_survives_if_that_is_asked_for() {
    let script = "nc -l -p 7000 -e cat & \
        { while :; do echo tick; usleep 20000; done; } | \
        { usleep 300000; exec nc 127.0.0.1 7000 > /echoes; }";
    let Some(bundle) = bundle(script) else { return };
    std::os::unix::fs::symlink("busybox", bundle.path("rootfs/bin/nc")).unwrap();
    let guard = Guard::new(&bundle, "tcp");
    let id = guard.1.as_str();
    let echoes = || std::fs::metadata(bundle.path("rootfs/echoes")).map_or(0, |m| m.len());
    detached(&bundle, &["run", "-d", id]);
    wait_for("echoes", || echoes() > 20);
    let refused = bundle.oci(&["checkpoint", IGNORE, id]);
    assert!(text(&refused.stderr).contains("criu failed: type DUMP"), "{refused:?}");
    assert_eq!(bundle.status(id), "running");
    let before = echoes();
    wait_for("echoes after a failed dump", || echoes() > before);
    ok(&bundle.oci(&["checkpoint", IGNORE, "--tcp-established", id]));
    let before = echoes();
    detached(&bundle, &["restore", "-d", IGNORE, "--tcp-established", id]);
    wait_for("echoes after the restore", || echoes() > before + 20);
}

#[test]
fn a_user_namespace_is_made_anew() {
    let Some(bundle) = bundle(COUNTING) else { return };
    let guard = Guard::new(&bundle, "user");
    let id = guard.1.as_str();
    bundle.own_rootfs(200_000, 200_000);
    bundle.configure(|config| {
        let mapping = json!([{"containerID": 0, "hostID": 200_000, "size": 65536}]);
        config["linux"]["uidMappings"] = mapping.clone();
        config["linux"]["gidMappings"] = mapping;
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    });
    detached(&bundle, &["run", "-d", id]);
    wait_for("some numbers", || count(&bundle) > 5);
    ok(&bundle.oci(&["checkpoint", IGNORE, id]));
    let at = count(&bundle);
    detached(&bundle, &["restore", "-d", IGNORE, id]);
    assert_counts_on(&bundle, at);
    let map = bundle.oci(&["exec", id, "cat", "/proc/self/uid_map"]);
    let map: Vec<_> = text(&map.stdout).split_whitespace().collect();
    assert_eq!(map, ["0", "200000", "65536"]);
}

#[test]
fn limits_are_those_of_the_bundle_again() {
    let Some(bundle) = bundle(COUNTING) else { return };
    let guard = Guard::new(&bundle, "limits");
    let id = guard.1.as_str();
    let limit = |n: u32| {
        bundle.configure(|config| config["linux"]["resources"]["pids"] = json!({"limit": n}));
    };
    let read = || {
        let script = "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null";
        let output = bundle.oci(&["exec", id, "sh", "-c", script]);
        text(&output.stdout).trim().to_owned()
    };
    limit(61);
    detached(&bundle, &["run", "-d", id]);
    assert_eq!(read(), "61");
    ok(&bundle.oci(&["checkpoint", IGNORE, id]));
    limit(62);
    detached(&bundle, &["restore", "-d", IGNORE, id]);
    assert_eq!(read(), "62");
}

#[test]
fn pipes_are_those_of_the_restore() {
    let Some(bundle) = bundle("while read x; do echo got $x; done; exit 3") else { return };
    let guard = Guard::new(&bundle, "pipes");
    let id = guard.1.as_str();
    let with_pipes = |args: &[&str]| -> Child {
        let mut command = bundle.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let answer = |child: &mut Child, word: &str| {
        writeln!(child.stdin.as_mut().unwrap(), "{word}").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, format!("got {word}\n"));
    };
    let mut first = with_pipes(&["run", id]);
    answer(&mut first, "one");
    ok(&bundle.oci(&["checkpoint", IGNORE, "--leave-running", id]));
    answer(&mut first, "two");
    drop(first.stdin.take());
    assert_eq!(first.wait().unwrap().code(), Some(3));
    // In the foreground, with the exit code of what was restored.
    let mut second = with_pipes(&["restore", IGNORE, id]);
    answer(&mut second, "three");
    drop(second.stdin.take());
    assert_eq!(second.wait().unwrap().code(), Some(3));
    assert_nothing_left(&bundle, id);
}

#[test]
fn a_terminal_is_made_anew_for_the_console_socket() {
    let Some(bundle) = bundle("while read x; do echo got $x; done") else { return };
    bundle.configure(|config| config["process"]["terminal"] = true.into());
    let guard = Guard::new(&bundle, "tty");
    let id = guard.1.as_str();
    let socket = bundle.path("console");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let socket = socket.to_str().unwrap();
    detached(&bundle, &["run", "-d", "--console-socket", socket, id]);
    let first = master(&listener);
    answers(&first, "one");
    ok(&bundle.oci(&["checkpoint", IGNORE, id]));
    drop(first);
    let refused = bundle.oci(&["restore", "-d", IGNORE, id]);
    assert!(text(&refused.stderr).contains("cannot allocate tty"), "{refused:?}");
    detached(&bundle, &["restore", "-d", IGNORE, "--console-socket", socket, id]);
    answers(&master(&listener), "two");
}

/// The terminal somebody sends to `listener`.
fn master(listener: &std::os::unix::net::UnixListener) -> std::fs::File {
    let (connection, _) = listener.accept().unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0u8; 64];
    let parts = &mut [std::io::IoSliceMut::new(&mut bytes)];
    let flags = rustix::net::RecvFlags::CMSG_CLOEXEC;
    rustix::net::recvmsg(&connection, parts, &mut control, flags).unwrap();
    let fd = control.drain().find_map(|message| match message {
        rustix::net::RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fd.unwrap().into()
}

fn answers(mut terminal: &std::fs::File, word: &str) {
    writeln!(terminal, "{word}").unwrap();
    let mut lines = BufReader::new(terminal).lines();
    let expected = format!("got {word}");
    assert!(lines.any(|line| line.unwrap().trim_end() == expected));
}

#[test]
fn another_bundle_can_be_restored_into_with_its_binds() {
    let Some(bundle) = bundle(COUNTING) else { return };
    let guard = Guard::new(&bundle, "moved");
    let id = guard.1.as_str();
    std::fs::create_dir_all(bundle.path("shared/inner")).unwrap();
    std::fs::create_dir(bundle.path("more")).unwrap();
    std::fs::create_dir(bundle.path("rootfs/real")).unwrap();
    std::os::unix::fs::symlink("/real", bundle.path("rootfs/link")).unwrap();
    bundle.configure(|config| {
        let bind = |source: &str, destination: &str| json!({"destination": destination, "source": source, "options": ["bind"]});
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.push(bind("shared", "/link/shared"));
        mounts.push(bind("more", "/link/shared/deep/more"));
    });
    detached(&bundle, &["run", "-d", id]);
    wait_for("some numbers", || count(&bundle) > 5);
    ok(&bundle.oci(&["checkpoint", IGNORE, "--image-path", "img", id]));
    let at = count(&bundle);
    let elsewhere = bundle.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    for name in ["rootfs", "shared", "more", "config.json"] {
        std::fs::rename(bundle.path(name), elsewhere.join(name)).unwrap();
    }
    // A start makes mount points, so does this.
    std::fs::remove_dir_all(elsewhere.join("shared/deep")).unwrap();
    std::fs::write(elsewhere.join("more/here"), "yes").unwrap();
    detached(
        &bundle,
        &["restore", "-d", IGNORE, "--bundle", "elsewhere", "--image-path", "img", id],
    );
    let seen = bundle.oci(&["exec", id, "cat", "/real/shared/deep/more/here"]);
    assert_eq!(text(&seen.stdout), "yes");
    wait_for("a greater number", || {
        let number = std::fs::read_to_string(elsewhere.join("rootfs/count")).unwrap();
        number.trim().parse().is_ok_and(|number: u64| number > at)
    });
}

#[test]
fn hooks_get_the_state_with_the_restored_process() {
    let Some(bundle) = bundle(COUNTING) else { return };
    let guard = Guard::new(&bundle, "hooks");
    let id = guard.1.as_str();
    bundle.configure(|config| {
        let hook = |name: &str| {
            let script = format!("cat > {}", bundle.path(name).display());
            json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
        };
        config["hooks"] = json!({"createRuntime": hook("made"), "poststop": hook("gone")});
    });
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(bundle.path(name)).unwrap()).unwrap()
    };
    detached(&bundle, &["run", "-d", id]);
    ok(&bundle.oci(&["checkpoint", IGNORE, id]));
    assert_eq!(read("gone")["status"], "stopped");
    std::fs::remove_file(bundle.path("made")).unwrap();
    detached(&bundle, &["restore", "-d", IGNORE, id]);
    let state = read("made");
    assert_eq!(
        (state["status"].as_str(), state["pid"].as_i64()),
        (Some("creating"), Some(bundle.pid(id)))
    );
    // One that fails ends the restore.
    ok(&bundle.oci(&["checkpoint", IGNORE, id]));
    bundle.configure(|config| {
        let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "exit 5"]}]);
        config["hooks"] = json!({"createRuntime": hook});
    });
    let refused = bundle.oci(&["restore", "-d", IGNORE, id]);
    assert!(text(&refused.stderr).contains("error running createRuntime hook #0"), "{refused:?}");
    assert_nothing_left(&bundle, id);
}

/// Namespaces of others are entered again, not copied.
#[test]
fn a_network_namespace_by_path_stays_the_same() {
    let Some(bundle) = bundle(COUNTING) else { return };
    let guard = Guard::new(&bundle, "netns");
    let id = guard.1.as_str();
    let mut holder = Command::new("unshare")
        .args(["--net", "sh", "-c", "echo up; exec sleep 60"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    let namespace = format!("/proc/{}/ns/net", holder.id());
    bundle.configure(|config| {
        let all = config["linux"]["namespaces"].as_array_mut().unwrap();
        let network = all.iter_mut().find(|entry| entry["type"] == "network").unwrap();
        network["path"] = namespace.clone().into();
    });
    detached(&bundle, &["run", "-d", id]);
    ok(&bundle.oci(&["checkpoint", IGNORE, id]));
    detached(&bundle, &["restore", "-d", IGNORE, id]);
    let of = |path: &str| std::fs::read_link(path).unwrap();
    assert_eq!(of(&format!("/proc/{}/ns/net", bundle.pid(id))), of(&namespace));
    ok(&bundle.oci(&["checkpoint", IGNORE, id]));
    holder.kill().unwrap();
    holder.wait().unwrap();
    let refused = bundle.oci(&["restore", "-d", IGNORE, id]);
    assert!(text(&refused.stderr).contains(&namespace), "{refused:?}");
    assert_nothing_left(&bundle, id);
}

#[test]
fn what_cannot_be_is_one_line_and_leaves_nothing() {
    let Some(bundle) = Bundle::new("exec sleep 60") else { return };
    let guard = Guard::new(&bundle, "errors");
    let id = guard.1.as_str();
    let line = |args: &[&str]| {
        let output = bundle.command(args).env("PATH", "/nowhere").stdin(Stdio::null()).output();
        let output = output.unwrap();
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""), "{args:?}");
        let errors = text(&output.stderr).to_owned();
        assert_eq!(errors.lines().count(), 1, "{errors}");
        errors
    };
    assert!(line(&["checkpoint", IGNORE, id]).contains("does not exist"));
    assert!(line(&["restore", id]).contains("the directory of the images"));
    assert_nothing_left(&bundle, id);
    // Made, not started.
    detached(&bundle, &["create", id]);
    assert!(line(&["checkpoint", IGNORE, id]).contains("cannot be checkpointed in created state"));
    ok(&bundle.oci(&["start", id]));
    assert!(line(&["checkpoint", IGNORE, id]).contains("criu: it is not in PATH"));
    assert!(
        line(&["checkpoint", "--parent-path", "/abs", id])
            .contains("--parent-path must be relative")
    );
    assert!(line(&["checkpoint", "--parent-path", "none", id]).contains("--parent-path"));
    assert!(
        line(&["checkpoint", "--page-server", "here", id]).contains("--page-server ADDRESS:PORT")
    );
    assert!(
        line(&["checkpoint", "--empty-ns", "pid", id])
            .contains("namespace \"pid\" is not supported")
    );
    let status = ["checkpoint", "--lazy-pages", "--status-fd", "77", id];
    assert!(line(&status).contains("--status-fd"));
    assert_eq!(bundle.status(id), "running");
    ok(&bundle.oci(&["delete", "--force", id]));
    // A directory with no images in it.
    assert!(line(&["restore", id]).contains("descriptors.json"));
    std::fs::write(bundle.path("checkpoint/descriptors.json"), "[]").unwrap();
    assert!(line(&["restore", id]).contains("criu: it is not in PATH"));
    assert_nothing_left(&bundle, id);
}

#[test]
fn images_that_are_none_fail_with_criu_s_words() {
    let Some(bundle) = bundle(COUNTING) else { return };
    let guard = Guard::new(&bundle, "broken");
    let id = guard.1.as_str();
    detached(&bundle, &["run", "-d", id]);
    ok(&bundle.oci(&["checkpoint", IGNORE, id]));
    std::fs::remove_file(bundle.path("checkpoint/core-1.img")).unwrap();
    let failed = bundle.oci(&["restore", "-d", IGNORE, id]);
    let errors = text(&failed.stderr);
    assert!(errors.contains("criu failed: type RESTORE errno"), "{errors}");
    assert!(errors.contains("empty-image") && errors.contains("restore.log"), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert_nothing_left(&bundle, id);
}

#[test]
fn a_restore_that_is_killed_leaves_what_delete_takes_away() {
    let Some(bundle) = bundle(COUNTING) else { return };
    let guard = Guard::new(&bundle, "killed");
    let id = guard.1.as_str();
    detached(&bundle, &["run", "-d", id]);
    wait_for("some numbers", || count(&bundle) > 5);
    ok(&bundle.oci(&["checkpoint", IGNORE, id]));
    let at = count(&bundle);
    bundle.configure(|config| {
        let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "kill -9 $PPID"]}]);
        config["hooks"] = json!({"createRuntime": hook});
    });
    let killed = bundle.oci(&["restore", "-d", IGNORE, id]);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&killed.status), Some(9));
    assert_eq!(bundle.status(id), "stopped");
    ok(&bundle.oci(&["delete", "--force", id]));
    assert_nothing_left(&bundle, id);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(count(&bundle), at, "something of it lives");
}

/// Where the kernel cannot tell which memory has changed, it says so.
#[test]
fn memory_can_be_dumped_in_advance_where_the_kernel_tracks_it() {
    let Some(bundle) = bundle(COUNTING) else { return };
    let guard = Guard::new(&bundle, "pre");
    let id = guard.1.as_str();
    detached(&bundle, &["run", "-d", id]);
    wait_for("some numbers", || count(&bundle) > 5);
    let first = bundle.oci(&["checkpoint", IGNORE, "--pre-dump", "--image-path", "first", id]);
    assert_eq!(bundle.status(id), "running");
    let check = Command::new("criu").args(["check", "--feature", "mem_dirty_track"]).output();
    if !check.unwrap().status.success() {
        println!("pre-dump itself is not tested: this kernel has no CONFIG_MEM_SOFT_DIRTY");
        assert!(text(&first.stderr).contains("CRIU is missing features: MemTrack"), "{first:?}");
        return;
    }
    ok(&first);
    let second = ["checkpoint", IGNORE, "--parent-path", "../first", "--image-path", "second", id];
    ok(&bundle.oci(&second));
    assert!(bundle.path("second/parent").is_symlink());
    let at = count(&bundle);
    detached(&bundle, &["restore", "-d", IGNORE, "--image-path", "second", id]);
    assert_counts_on(&bundle, at);
}

/// Two are there when it ends: who waits for it, and who has ended it.
#[test]
fn a_container_in_the_foreground_ends_with_its_checkpoint() {
    let Some(bundle) = bundle(COUNTING) else { return };
    let guard = Guard::new(&bundle, "front");
    let id = guard.1.as_str();
    let mut command = bundle.command(&["run", id]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = command.spawn().unwrap();
    wait_for("some numbers", || count(&bundle) > 5);
    ok(&bundle.oci(&["checkpoint", IGNORE, id]));
    assert_eq!(running.wait().unwrap().code(), Some(137));
    assert_nothing_left(&bundle, id);
    let mut command = bundle.command(&["restore", IGNORE, id]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut restored = command.spawn().unwrap();
    let at = count(&bundle);
    wait_for("a greater number", || count(&bundle) > at);
    ok(&bundle.oci(&["kill", id, "KILL"]));
    assert_eq!(restored.wait().unwrap().code(), Some(137));
    assert_nothing_left(&bundle, id);
}

#[test]
fn settings_come_from_the_file_of_the_annotation() {
    let Some(bundle) = bundle(COUNTING) else { return };
    let guard = Guard::new(&bundle, "conf");
    let id = guard.1.as_str();
    let conf = bundle.path("criu.conf");
    std::fs::write(&conf, "log-file=other.log\n").unwrap();
    bundle.configure(|config| config["annotations"] = json!({"org.criu.config": conf}));
    detached(&bundle, &["run", "-d", id]);
    ok(&bundle.oci(&["checkpoint", IGNORE, "--work-path", "w", id]));
    assert!(bundle.path("w/other.log").exists() && !bundle.path("w/dump.log").exists());
    assert!(bundle.path("checkpoint/inventory.img").exists());
}
