//! Containers for real: every test spawns processes in new namespaces with a
//! busybox root file system. Needs root and Debian's busybox-static; without
//! either everything is skipped, unless RCNT_TESTS_MUST_WORK is set.
//!
//! The whole program moves into mount and network namespaces of its own first.
//! It has one thread, as spawning demands, so it brings its own small harness:
//! `cargo test -p rcnt-runtime --test containers -- [FILTER]`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod container;
mod exec;
mod measure;
mod run;
mod security;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use rcnt_base::sys::child::unshare_namespaces;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

/// A named test.
pub type Test = (&'static str, fn());

fn why_not() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root");
    }
    (!std::path::Path::new(container::BUSYBOX).exists()).then_some("needs busybox-static")
}

fn main() -> ExitCode {
    if let Some(reason) = why_not() {
        println!("skipped: {reason}");
        let must = std::env::var_os("RCNT_TESTS_MUST_WORK").is_some();
        return if must { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    // As rcnt does: what runs in containers of ours must not be able to change it.
    rcnt_base::sys::sealed::seal_self().unwrap();
    unshare_namespaces(UnshareFlags::NEWNS | UnshareFlags::NEWNET).unwrap();
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    if std::env::args().nth(1).is_some_and(|arg| arg == "--measure") {
        measure::measure(std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(100));
        return ExitCode::SUCCESS;
    }
    let filter = std::env::args().nth(1).filter(|arg| !arg.starts_with('-')).unwrap_or_default();
    let all = run::TESTS.iter().chain(exec::TESTS).chain(security::TESTS);
    let tests = all.filter(|(name, _)| name.contains(&filter));
    let (mut failed, mut passed) = (Vec::new(), 0);
    for (name, test) in tests {
        match catch_unwind(AssertUnwindSafe(test)) {
            Ok(()) => passed += 1,
            Err(_) => failed.push(*name),
        }
        let result = if failed.last() == Some(name) { "FAILED" } else { "ok" };
        println!("test {name} ... {result}");
    }
    println!("\ntest result: {passed} passed; {} failed {failed:?}", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
