//! The netstack against a real kernel. Each test runs in a process of its own
//! with fresh network and mount namespaces: nothing of the machine is touched.
//! Needs root, `unshare`, `ip` and `nft`.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic, reason = "tests")]
#![allow(missing_docs, unreachable_pub, reason = "tests")]

mod cases;
mod names;
mod policy;
mod world;

use std::process::{Command, ExitCode};

/// Set in the process that is the world of the test it names.
const WORLD: &str = "RCNT_TEST_WORLD";

fn all() -> impl Iterator<Item = &'static cases::Case> {
    cases::ALL.iter().chain(names::ALL).chain(policy::ALL)
}

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(WORLD) {
        let (_, case) = all().find(|(n, _)| *n == name).unwrap();
        case();
        return ExitCode::SUCCESS;
    }
    if std::env::args().any(|a| a == "--list") {
        return ExitCode::SUCCESS;
    }
    let filter = std::env::args().nth(1).filter(|a| !a.starts_with('-')).unwrap_or_default();
    if !rustix::process::geteuid().is_root() {
        println!("netstack kernel tests: {} skipped, they need root", all().count());
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, _) in all().filter(|(name, _)| name.contains(&filter)) {
        let output = in_a_fresh_world(name);
        let ok = output.status.success();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        if !ok {
            failed += 1;
            print!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn in_a_fresh_world(name: &str) -> std::process::Output {
    let me = std::env::current_exe().unwrap();
    // A tmpfs over /run hides the machine's named namespaces.
    let prepare =
        "mount -t tmpfs tmpfs /run && mount -t sysfs sysfs /sys && exec timeout 60 \"$0\"";
    Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "sh", "-ec", prepare])
        .arg(me)
        .env(WORLD, name)
        .output()
        .unwrap()
}
