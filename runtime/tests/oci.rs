//! `rcnt-oci` as an engine uses it: bundles in, exit codes and state out.
//! Needs root and busybox-static, else it is skipped (unless
//! RCNT_TESTS_MUST_WORK is set).
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

mod bundle;

use std::process::Stdio;

use bundle::{Bundle, text};

#[test]
fn run_gives_the_output_and_the_exit_code() {
    let Some(bundle) = Bundle::new("echo out; echo err >&2; exit 7") else { return };
    let output = bundle.oci(&["run", &bundle.id("a")]);
    assert_eq!(
        (output.status.code(), text(&output.stdout), text(&output.stderr)),
        (Some(7), "out\n", "err\n")
    );
    // Nothing is left.
    assert_eq!(text(&bundle.oci(&["list", "--quiet"]).stdout), "");
}

#[test]
fn a_container_lives_through_its_states() {
    let Some(bundle) = Bundle::new("echo started; exec sleep 60") else { return };
    let id = bundle.id("b");
    let log = std::fs::File::create(bundle.path("out")).unwrap();
    let pid_file = bundle.path("pid");
    let made = bundle
        .command(&["create", "--pid-file", pid_file.to_str().unwrap(), &id])
        .stdin(Stdio::null())
        .stdout(log)
        .status();
    assert!(made.unwrap().success());
    assert_eq!(bundle.status(&id), "created");
    assert_eq!(std::fs::read_to_string(bundle.path("out")).unwrap(), "");
    let pid: i32 = std::fs::read_to_string(pid_file).unwrap().parse().unwrap();
    assert!(bundle.oci(&["start", &id]).status.success());
    assert_eq!(bundle.status(&id), "running");
    assert!(!bundle.oci(&["start", &id]).status.success());
    let exec = bundle.oci(&[
        "exec",
        "--user",
        "12:34",
        "--env",
        "A=b",
        &id,
        "sh",
        "-c",
        "id -u; echo $A; exit 3",
    ]);
    assert_eq!((exec.status.code(), text(&exec.stdout)), (Some(3), "12\nb\n"));
    assert_eq!(bundle.oci(&["exec", &id, "nothing"]).status.code(), Some(255));
    let ps = bundle.oci(&["ps", "--format", "json", &id]);
    assert_eq!(text(&ps.stdout), format!("[{pid}]\n"));
    assert!(bundle.oci(&["pause", &id]).status.success());
    assert_eq!(bundle.status(&id), "paused");
    assert!(bundle.oci(&["resume", &id]).status.success());
    assert!(!bundle.oci(&["delete", &id]).status.success());
    assert!(bundle.oci(&["kill", &id, "KILL"]).status.success());
    for _ in 0..200 {
        if bundle.status(&id) == "stopped" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(bundle.status(&id), "stopped");
    assert!(bundle.oci(&["delete", &id]).status.success());
    let gone = bundle.oci(&["state", &id]);
    assert!(text(&gone.stderr).contains("does not exist"), "{gone:?}");
    assert!(bundle.oci(&["delete", "--force", &id]).status.success());
}

#[test]
fn a_failure_is_one_line_and_leaves_nothing() {
    let Some(bundle) = Bundle::new("") else { return };
    let id = bundle.id("c");
    bundle.configure(|config| config["process"]["args"] = serde_json::json!(["missing"]));
    let log = bundle.path("log.json");
    let output = bundle.oci(&["--log", log.to_str().unwrap(), "--log-format", "json", "run", &id]);
    let expected = "exec: \"missing\": executable file not found in $PATH\n";
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), expected));
    let logged: serde_json::Value = serde_json::from_slice(&std::fs::read(log).unwrap()).unwrap();
    assert_eq!(logged["level"], "error");
    assert_eq!(text(&bundle.oci(&["list", "-q"]).stdout), "");
    bundle.configure(|config| config["linux"]["namespaces"][0]["type"] = "user".into());
    let output = bundle.oci(&["run", &id]);
    assert!(
        text(&output.stderr)
            .contains("linux.uidMappings: user namespaces enabled, but no uid mappings found"),
        "{output:?}"
    );
}

#[test]
fn hooks_run_with_the_state_and_can_refuse() {
    let Some(bundle) = Bundle::new("echo ran") else { return };
    let id = bundle.id("d");
    let hook =
        |script: String| serde_json::json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    let seen = |name: &str| format!("cat > {}", bundle.path(name).display());
    bundle.configure(|config| {
        config["hooks"] = serde_json::json!({
            "createRuntime": hook(seen("create")),
            "poststart": hook(seen("start")),
            "poststop": hook(seen("stop")),
        });
    });
    assert_eq!(text(&bundle.oci(&["run", &id]).stdout), "ran\n");
    for (name, status) in [("create", "creating"), ("start", "running"), ("stop", "stopped")] {
        let state: serde_json::Value =
            serde_json::from_slice(&std::fs::read(bundle.path(name)).unwrap()).unwrap();
        assert_eq!((state["status"].as_str(), state["id"].as_str()), (Some(status), Some(&*id)));
    }
    bundle.configure(|config| {
        config["hooks"] = serde_json::json!({"createRuntime": hook("echo no >&2; exit 1".into())});
    });
    let output = bundle.oci(&["run", &id]);
    assert_eq!(text(&output.stdout), "");
    assert!(
        text(&output.stderr).contains("error running createRuntime hook #0: /bin/sh: "),
        "{output:?}"
    );
}

#[test]
fn a_terminal_goes_to_the_console_socket() {
    let Some(bundle) = Bundle::new("stty size; exec sleep 60") else { return };
    let id = bundle.id("e");
    bundle.configure(|config| {
        config["process"]["terminal"] = true.into();
        config["process"]["consoleSize"] = serde_json::json!({"height": 21, "width": 43});
    });
    let socket = bundle.path("console");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let output = bundle.oci(&["create", "--console-socket", socket.to_str().unwrap(), &id]);
    assert!(output.status.success(), "{output:?}");
    let (connection, _) = listener.accept().unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0u8; 64];
    rustix::net::recvmsg(
        &connection,
        &mut [std::io::IoSliceMut::new(&mut bytes)],
        &mut control,
        rustix::net::RecvFlags::CMSG_CLOEXEC,
    )
    .unwrap();
    let master = control.drain().find_map(|message| match message {
        rustix::net::RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    assert!(bundle.oci(&["start", &id]).status.success());
    let n = rustix::io::read(master.unwrap(), &mut bytes[..]).unwrap();
    assert_eq!(text(&bytes[..n]), "21 43\r\n");
    assert!(bundle.oci(&["delete", "--force", &id]).status.success());
}

#[test]
fn signals_are_passed_on_to_a_command_in_the_foreground() {
    let Some(bundle) = Bundle::new("trap 'exit 9' TERM; echo up; while :; do usleep 20000; done")
    else {
        return;
    };
    let mut child = bundle
        .command(&["run", &bundle.id("f")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0u8; 3];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));
}
