//! podman(1) with `--runtime rcnt-oci`: what its user sees of a container's life.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use rcnt_tests::{Client, Kind, Shared, eventually};

fn podman() -> Shared {
    Client::shared(Kind::Podman)
}

/// A container that sleeps, without a network.
fn sleeper(podman: &Client, name: &str, options: &str) {
    podman.ok(format!("run -d --net=none --name {name} {options} busybox sleep 1000"));
}

#[test]
fn run_passes_output_and_exit_codes_through() {
    let podman = podman();
    let run = |command: &str| podman.run(format!("run --rm --net=none {command}"));
    run("busybox sh -c 'echo out; echo err >&2; exit 3'").exits(3).prints("out").warns("err");
    run("busybox nosuch").exits(127).warns("executable file not found in $PATH");
    run("busybox /etc/passwd").exits(126).warns("permission denied");
    run("busybox /etc").exits(126);
    run("-w /made/for/it busybox pwd").exits(126).warns("/made/for/it");
    let piped = podman.world().job(
        "sh",
        [
            "-c",
            "echo typed | podman --runtime /srv/bin/rcnt-oci \
        --root /srv/podman --runroot /run/podman run -i --rm --net=none busybox cat",
        ],
    );
    piped.run().success().prints("typed");
}

#[test]
fn exec_runs_beside_the_container() {
    let podman = podman();
    sleeper(&podman, "ex", "-e FROM=run");
    podman.run("exec ex sh -c 'echo out; exit 7'").exits(7).prints("out");
    podman
        .run("exec -u web -w /tmp -e ADDED=exec ex sh -c 'id; pwd; echo $FROM $ADDED'")
        .success()
        .has("uid=1000(web) gid=1000(web)")
        .has("2000(extra)")
        .has("\n/tmp\nrun exec");
    podman.run("exec ex nosuch").exits(127).warns("executable file not found in $PATH");
    podman.run("exec ex /etc/passwd").exits(126).warns("permission denied");
    podman.run("exec -w /none ex true").exits(127).warns("no such file or directory");
    podman
        .run("exec --privileged ex grep CapEff /proc/self/status")
        .success()
        .has_not("00000000a80425fb");
    let mut terminal = podman.terminal("exec -it ex sh");
    terminal.line("stty size; tty");
    terminal.expect("24 80");
    terminal.expect("/dev/pts/");
    terminal.line("exit 5");
    assert_eq!(terminal.wait(), 5);
    podman.ok("rm -f -t 0 ex");
}

#[test]
fn a_signal_ends_a_container_and_its_code_says_so() {
    let podman = podman();
    sleeper(&podman, "sig", "");
    podman.ok("kill -s KILL sig");
    podman.run("wait sig").success().prints("137");
    podman.ok("start sig");
    podman.ok("restart -t 0 sig");
    podman.ok("stop -t 0 sig");
    podman.run("inspect --format '{{.State.Status}}' sig").success().prints("exited");
    podman.ok("start sig");
    podman.world().kill("KILL", podman.pid_of("sig"));
    eventually("podman sees the end of a container killed from outside", || {
        podman.ok("inspect --format '{{.State.Status}} {{.State.ExitCode}}' sig") == "exited 137"
    });
    podman.ok("rm sig");
    assert_eq!(podman.ok("ps -aq --filter name=^sig$"), "");
}
