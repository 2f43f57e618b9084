//! A test runner without threads: what is tested here clones the process, which
//! is only sound with one thread (`harness = false` in Cargo.toml).
#![allow(dead_code)] // each test file uses its part

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use rcnt_base::sys::child::{Cloned, clone3, exit_now};
use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};
use rustix::thread::UnshareFlags;

/// Runs the tests whose names contain the first argument that is no flag.
pub(crate) fn main(tests: &[(&str, fn())]) -> ExitCode {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return ExitCode::SUCCESS;
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in tests.iter().filter(|(name, _)| name.contains(&wanted)) {
        let fine = catch_unwind(AssertUnwindSafe(test)).is_ok();
        println!("test {name} ... {}", if fine { "ok" } else { "FAILED" });
        *if fine { &mut passed } else { &mut failed } += 1;
    }
    // In libtest's words, for whoever adds up (scripts/summary).
    println!("\ntest result: {passed} passed; {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs `act` in a clone and gives its exit code back; a signal is 256 and its number.
pub(crate) fn in_child(act: impl FnOnce() -> u8) -> i32 {
    wait(start(None, act))
}

/// Starts `act` in a clone, born in `cgroup` if there is one.
pub(crate) fn start(cgroup: Option<std::os::fd::BorrowedFd<'_>>, act: impl FnOnce() -> u8) -> Pid {
    match clone3(UnshareFlags::empty(), cgroup).unwrap() {
        Cloned::Parent { pid, .. } => pid,
        Cloned::Child => {
            // A panic must not run the parent's remaining tests here.
            let code = catch_unwind(AssertUnwindSafe(act)).unwrap_or(255);
            exit_now(code)
        }
    }
}

/// The exit code; a signal is 256 and its number.
pub(crate) fn wait(pid: Pid) -> i32 {
    let (_, status): (Pid, WaitStatus) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    status.exit_status().or(status.terminating_signal().map(|signal| 256 + signal)).unwrap()
}
