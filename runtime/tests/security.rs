//! AppArmor's half of `--security-opt` in the real kernel.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test, though not `cfg(test)`

mod single_threaded;

use std::os::fd::AsFd;
use std::process::ExitCode;

use rcnt_runtime::security::{HostSecurity, change_apparmor_on_exec};
use rustix::fs::{Mode, OFlags};
use single_threaded::in_child;

fn main() -> ExitCode {
    single_threaded::main(&[
        ("a_profile_that_is_not_loaded_is_refused", unknown_profile),
        ("unconfined_is_taken_and_the_command_runs", unconfined),
    ])
}

fn change(profile: &str) -> std::io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let own = format!("/proc/{}", rustix::process::getpid());
    let own = rustix::fs::open(own, flags, Mode::empty()).unwrap();
    change_apparmor_on_exec(own.as_fd(), profile)
}

fn unknown_profile() {
    let code = in_child(|| {
        let error = change("rcnt-no-such-profile").unwrap_err();
        u8::from(HostSecurity::read().apparmor && error.raw_os_error() != Some(libc::ENOENT))
    });
    assert_eq!(code, 0);
}

fn unconfined() {
    if !HostSecurity::read().apparmor {
        return println!("  skipped: no AppArmor here");
    }
    let code = in_child(|| {
        change("unconfined").unwrap();
        #[allow(clippy::disallowed_methods)] // a real program is the point
        let status = std::process::Command::new("/bin/true").status();
        u8::from(!status.unwrap().success())
    });
    assert_eq!(code, 0);
}
