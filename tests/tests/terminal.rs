//! `-it`: a proper terminal inside, and the caller's as it was after any exit.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::time::Duration;

use rcnt_tests::{Terminal, World, eventually};
use serde_json::json;

const SHELL: &str = "run -it --rm --name tt --net=none busybox sh";
const PROMPT: &str = "/ # ";

/// A shell in a new container, at its prompt.
#[track_caller]
fn shell(world: &World) -> Terminal {
    let mut terminal = world.terminal(SHELL);
    terminal.expect(PROMPT);
    terminal
}

/// Runs `command` and returns once its output shows `text`; the command's own
/// echo must not contain it.
#[track_caller]
fn answer(terminal: &mut Terminal, command: &str, text: &str) {
    terminal.line(command);
    terminal.expect("\r\n");
    terminal.expect(text);
    terminal.expect(PROMPT);
}

#[test]
fn a_shell_has_a_terminal_with_the_right_size_from_the_start() {
    let world = World::new();
    let mut terminal = world
        .terminal("run -it --rm --net=none busybox sh -c 'stty size; tty; ls -l /dev/console'");
    terminal.expect("24 80");
    terminal.expect("/dev/pts/0");
    terminal.expect("/dev/console");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn the_exit_code_comes_through_the_terminal() {
    let world = World::new();
    let mut terminal = shell(&world);
    terminal.line("exit 42");
    assert_eq!(terminal.wait(), 42);
    let mut terminal = world.terminal("run -it --rm --net=none busybox nosuch");
    assert_eq!(terminal.wait(), 127);
}

#[test]
fn job_control_works() {
    let world = World::new();
    let mut terminal = shell(&world);
    terminal.line("sleep 500");
    std::thread::sleep(Duration::from_millis(200));
    terminal.send("\x1a");
    terminal.expect("Stopped");
    terminal.expect(PROMPT);
    answer(&mut terminal, "jobs", "sleep 500");
    terminal.line("fg");
    terminal.expect("sleep 500");
    std::thread::sleep(Duration::from_millis(200));
    terminal.send("\x03");
    terminal.expect(PROMPT);
    answer(&mut terminal, "echo code $?", "code 130");
    assert!(!terminal.shows().contains("job control turned off"), "{}", terminal.shows());
    terminal.send("\x04");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn a_resize_reaches_the_program() {
    let world = World::new();
    let mut terminal = shell(&world);
    terminal.line("trap 'stty size' WINCH; echo trapped");
    terminal.expect("\r\ntrapped");
    terminal.resize(40, 132);
    // ash runs a trap when its line is finished.
    eventually("the new size", || {
        terminal.line("stty size");
        std::thread::sleep(Duration::from_millis(100));
        terminal.shows().contains("40 132")
    });
    terminal.line("exit 0");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn keys_detach_and_leave_the_container_running() {
    let world = World::new();
    let mut terminal = shell(&world);
    terminal.line("echo $$ >/tmp/mark");
    terminal.expect(PROMPT);
    terminal.send("\x10\x11");
    assert_eq!(terminal.wait(), 0);
    assert_eq!(world.inspect("tt", "/State/Running"), json!(true));
    world.rcnt("exec tt cat /tmp/mark").success().prints("1");
    let mut again = world.terminal("attach tt");
    again.line("echo back");
    again.expect("\r\nback");
    again.line("exit 3");
    assert_eq!(again.wait(), 3);
    eventually("--rm removed it", || world.ok("ps -aq").is_empty());
}

#[test]
fn ctrl_p_alone_is_passed_on() {
    let world = World::new();
    let mut terminal = world.terminal("run -it --rm --net=none busybox sh -c 'stty raw -echo; echo ready; dd bs=1 count=2 2>/dev/null | xxd'");
    terminal.expect("ready");
    terminal.send("\x10x");
    terminal.expect("1078");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn the_callers_terminal_is_restored_after_every_kind_of_end() {
    let world = World::new();
    world.sh("ln -s /bin/sh /srv/home/sh").success();
    let mut terminal = world.terminal_of("sh");
    terminal.expect("# ");
    terminal.line("PS1='host> '; stty -g >/srv/tmp/before");
    terminal.expect("\r\nhost> ");
    let check = |terminal: &mut Terminal, what: &str| {
        terminal.line("stty -g | cmp - /srv/tmp/before && echo the_same_$((40+2))");
        let seen = terminal.expect("_42");
        assert!(seen.contains("the_same"), "after {what}: {}", terminal.shows());
        terminal.expect("host> ");
    };
    terminal.line("rcnt run -it --rm --net=none busybox true");
    terminal.expect("host> ");
    check(&mut terminal, "an exit");
    terminal.line("rcnt run -it --rm --net=none busybox nosuch");
    terminal.expect("host> ");
    check(&mut terminal, "a failed start");
    terminal.line("rcnt run -it --rm --name tt --net=none busybox sh");
    terminal.expect(PROMPT);
    terminal.send("\x10\x11");
    terminal.expect("host> ");
    check(&mut terminal, "a detach");
    terminal.line("rcnt attach tt");
    terminal.send("\r");
    terminal.expect(PROMPT);
    world.rcnt("kill tt").success();
    terminal.expect("host> ");
    check(&mut terminal, "a kill from elsewhere");
    terminal.line("rcnt run -it --rm --name uu --net=none busybox sh");
    terminal.expect(PROMPT);
    let cli = world.pids_with("rcnt run -it --rm --name uu");
    world.sh(&format!("kill -TERM {}", cli[0])).success();
    world.rcnt("kill uu");
    terminal.expect("host> ");
    check(&mut terminal, "a signal to the command line");
}

#[test]
fn exec_gets_a_terminal_of_its_own() {
    let world = World::new();
    world.ok("run -d --name cc --net=none busybox sleep 1000");
    let mut terminal = world.terminal("exec -it cc sh");
    terminal.expect(PROMPT);
    answer(&mut terminal, "stty size", "24 80");
    answer(&mut terminal, "tty", "/dev/pts/0");
    terminal.line("sleep 500");
    std::thread::sleep(Duration::from_millis(200));
    terminal.send("\x03");
    terminal.expect(PROMPT);
    terminal.line("exit 5");
    assert_eq!(terminal.wait(), 5);
    let mut terminal = world.terminal("exec -it cc sh");
    terminal.expect(PROMPT);
    terminal.send("\x10\x11");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn a_terminal_that_hangs_up_does_not_end_the_container() {
    let world = World::new();
    let mut terminal = shell(&world);
    terminal.hang_up();
    terminal.wait();
    eventually("the command line ends", || world.pids_with("rcnt run -it").len() <= 1);
    assert_eq!(world.inspect("tt", "/State/Running"), json!(true));
    world.ok("rm -f tt");
    world.nothing_is_left();
}

#[test]
fn a_terminal_is_refused_where_there_is_none() {
    let world = World::new();
    world.rcnt("run -it --rm --net=none busybox sh").exits(1).warns("not a TTY");
    // -t without -i needs none.
    world.rcnt("run -t --rm --net=none busybox tty").success().has("/dev/pts/0");
}

#[test]
fn a_detached_container_may_have_a_terminal() {
    let world = World::new();
    world.ok("run -dit --name cc --net=none busybox sh");
    assert_eq!(world.inspect("cc", "/Config/Tty"), json!(true));
    let mut terminal = world.terminal("attach cc");
    terminal.line("echo hello");
    terminal.expect("\r\nhello");
    terminal.send("\x10\x11");
    assert_eq!(terminal.wait(), 0);
    world.rcnt("logs cc").success().has("hello");
}
