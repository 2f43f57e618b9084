//! `--init`: pid 1 stays rcnt's. It starts the command as its child, passes
//! every signal on to it, reaps whatever is orphaned, and ends as the command
//! ended. It runs with the command's own rights, filter included: it is code of
//! ours in the container, but nothing the container could gain by.

use std::io;

use rcnt_base::sys::child::{self, Rest};
use rcnt_base::sys::signals::{SignalFd, set_blocked};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::process::{Pid, WaitOptions, WaitStatus};

use super::error::{Doing, InitError};
use super::procfs::Procfs;

/// Faults of pid 1 itself: blocked they would be fatal without a trace.
const FAULTS: [i32; 7] = [
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
];

fn forwarded() -> Vec<i32> {
    (1..=64).filter(|signal| !FAULTS.contains(signal)).collect()
}

/// Keeps signals for later from before the command exists, so that none is lost.
pub(crate) fn hold_signals() -> Result<(), InitError> {
    set_blocked(&forwarded()).map(drop).doing("block signals")
}

/// The child's side of the fork: a process group of its own, in the terminal's
/// foreground if there is one.
pub(crate) fn lead_foreground(terminal: bool) -> Result<(), InitError> {
    rustix::process::setpgid(None, None).doing("make a process group")?;
    if terminal {
        // Signals are still blocked here: a background process that changes the
        // foreground group would be stopped by SIGTTOU otherwise.
        let group = rustix::process::getpgrp();
        rustix::termios::tcsetpgrp(rustix::stdio::stdin(), group)
            .doing("put the command in the foreground")?;
    }
    Ok(())
}

/// Overwrites rcnt's arguments and environment, which belong to the host and
/// would show in the container's `/proc/1`, with a plain name.
pub(crate) fn forget_host(procfs: &Procfs) -> Result<(), InitError> {
    overwrite_arguments(procfs).doing("clear the command line of the container's init")?;
    rustix::thread::set_name(c"rcnt-init").doing("name the container's init")
}

fn overwrite_arguments(procfs: &Procfs) -> io::Result<()> {
    let me = rustix::process::getpid();
    let mut text = [0u8; 4096];
    let stat = procfs.open(&format!("{me}/stat"), OFlags::RDONLY)?;
    let n = rustix::io::read(&stat, &mut text[..])?;
    let text = String::from_utf8_lossy(text.get(..n).unwrap_or_default());
    let [arg_start, arg_end, env_start, env_end] =
        memory_bounds(&text).ok_or(io::ErrorKind::InvalidData)?;
    let memory = procfs.open(&format!("{me}/mem"), OFlags::WRONLY)?;
    let clear = |start: u64, end: u64, text: &[u8]| -> io::Result<()> {
        let size = usize::try_from(end.saturating_sub(start)).unwrap_or(0).min(4 << 20);
        let mut bytes = text.to_vec();
        bytes.resize(size, 0);
        rustix::io::pwrite(&memory, &bytes, start).map(drop).map_err(io::Error::from)
    };
    clear(arg_start, arg_end, b"rcnt-init")?;
    clear(env_start, env_end, b"")
}

/// Fields 48 to 51 of proc_pid_stat(5). The name, field 2, may contain anything
/// but ends at the last parenthesis.
fn memory_bounds(stat: &str) -> Option<[u64; 4]> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(45).map(|field| field.parse::<u64>().ok());
    let mut next = || fields.next()?;
    let bounds = [next()?, next()?, next()?, next()?];
    bounds.iter().all(|address| *address != 0).then_some(bounds)
}

/// Where signals are read from. Closes every other descriptor but the streams.
pub(crate) fn signals() -> io::Result<SignalFd> {
    child::inherit_only(2, Rest::Close)?;
    // With the host's pid namespace it is not pid 1, yet orphans are its to reap.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    SignalFd::new(&forwarded())
}

/// Lives until `command` has ended; its exit code, 128 + n for signal n.
pub(crate) fn run(command: Pid, signals: &SignalFd) -> io::Result<u8> {
    loop {
        let mut fds = [PollFd::new(signals, PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) | Ok(_) => {}
            Err(e) => return Err(e.into()),
        }
        while let Some(received) = signals.read()? {
            if received.signal != libc::SIGCHLD {
                // It may be gone already; then SIGCHLD is pending as well.
                let _ = child::kill(command, received.signal);
            } else if let Some(code) = reap(command)? {
                return Ok(code);
            }
        }
    }
}

/// Reaps all that ended; the command's exit code if it is among them.
fn reap(command: Pid) -> io::Result<Option<u8>> {
    let mut code = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == command => code = Some(exit_code(status)),
            Ok(Some(_)) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(code),
            Err(e) => return Err(e.into()),
        }
    }
}

fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or(status.terminating_signal().map(|n| 128 + n));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_of_arguments_and_environment_are_found() {
        let text = std::fs::read_to_string("/proc/self/stat").unwrap();
        let [a, b, c, d] = memory_bounds(&text).unwrap();
        assert!(a < b && b <= c && c <= d);
        let hostile = text.replacen('(', "() 1 2 3 (", 1);
        assert_eq!(memory_bounds(&hostile), Some([a, b, c, d]));
        assert_eq!(memory_bounds("1 (x) R 1"), None);
    }
}
