//! Commands that end: each has a time after which it is killed, and what it
//! prints goes to memory, so that neither a program that hangs nor one that
//! leaves a process behind with its output keeps the measuring waiting.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;

use crate::Result;

/// How long one command may take: the slowest that is measured, docker removing
/// 200 containers at once, takes some ten seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs a command that must succeed, and returns what it prints; what it
/// complains about matters only if it does not.
pub(crate) fn quiet(command: &mut Command) -> Result<String> {
    let stdout = memory()?;
    command.stdout(Stdio::from(stdout.try_clone().map_err(|e| e.to_string())?));
    succeed(command)?;
    Ok(text(stdout))
}

/// Wall time of a command in milliseconds, from before the fork to after the wait.
pub(crate) fn timed(command: &mut Command) -> Result<f64> {
    succeed(command.stdout(Stdio::null()))
}

fn succeed(command: &mut Command) -> Result<f64> {
    let stderr = memory()?;
    let copy = stderr.try_clone().map_err(|e| e.to_string())?;
    command.stdin(Stdio::null()).stderr(Stdio::from(copy));
    let since = Instant::now();
    let mut child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
    let status = ended(&mut child, PATIENCE).map_err(|e| format!("{command:?}: {e}"))?;
    let took = since.elapsed().as_secs_f64() * 1e3;
    if status.success() {
        return Ok(took);
    }
    Err(format!("{command:?}: {status}: {}", text(stderr).trim()))
}

/// Waits, and kills what takes too long.
fn ended(child: &mut Child, patience: Duration) -> Result<ExitStatus> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("no pid")?;
    // Not reaped yet, so the number is still its own (pidfd_open(2)).
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| e.to_string())?;
    let most = Timespec { tv_sec: patience.as_secs().try_into().unwrap_or(60), tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&most));
    if ready.map_err(|e| e.to_string())? == 0 {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("took more than {} s", patience.as_secs()));
    }
    child.wait().map_err(|e| e.to_string())
}

fn memory() -> Result<OwnedFd> {
    memfd_create("output", MemfdFlags::CLOEXEC).map_err(|e| format!("memfd_create: {e}"))
}

fn text(memory: OwnedFd) -> String {
    let mut file = File::from(memory);
    let mut bytes = Vec::new();
    // The child's descriptor shares its offset with ours.
    let _ = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_comes_back_and_failures_are_told() {
        assert_eq!(quiet(Command::new("echo").arg("hello")), Ok("hello\n".to_owned()));
        let failed = quiet(Command::new("sh").args(["-c", "echo why >&2; exit 3"]));
        assert!(failed.as_ref().is_err_and(|e| e.ends_with("exit status: 3: why")), "{failed:?}");
    }

    #[test]
    fn a_process_left_behind_with_the_output_is_not_waited_for() {
        let since = Instant::now();
        quiet(Command::new("sh").args(["-c", "sleep 5 & echo started"])).unwrap();
        assert!(since.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn what_hangs_is_killed() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let late = ended(&mut child, Duration::from_secs(1));
        assert_eq!(late, Err("took more than 1 s".to_owned()));
    }
}
