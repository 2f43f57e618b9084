//! Runs hooks: programs that get the container's state on stdin (runtime-spec
//! config.md, "POSIX-platform Hooks").
//!
//! Input and output are files in memory, so a hook that never reads or writes a
//! lot blocks nobody.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rcnt_base::sys::signals::describe;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;
use serde_json::Value;

use crate::plan::Hook;

/// How much of a hook's output is told when it fails, bytes.
const TOLD: u64 = 4096;

/// A hook that did not do what it should: it ends what it belongs to.
#[derive(Debug, thiserror::Error)]
#[error("error running {kind} hook #{index}: {path}: {problem}")]
pub struct HookError {
    kind: &'static str,
    index: usize,
    path: String,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Run(io::Error),
    #[error("{}, stdout: {stdout}, stderr: {stderr}", words(status))]
    Failed { status: ExitStatus, stdout: String, stderr: String },
    #[error("killed after its timeout of {0} s")]
    TimedOut(u64),
}

/// Runs `hooks` one after the other with `state` on stdin; `env` is what those
/// get that say nothing of theirs. `kind` is their name in a configuration.
///
/// # Errors
/// The first that fails; those after it do not run.
pub fn run(
    kind: &'static str,
    hooks: &[Hook],
    state: &Value,
    env: &[String],
) -> Result<(), HookError> {
    hooks.iter().enumerate().try_for_each(|(index, hook)| {
        run_one(hook, state, env).map_err(|problem| HookError::of(kind, index, hook, problem))
    })
}

/// Runs all of `hooks`, whether or not one fails: how poststop hooks are run
/// (runtime-spec runtime.md, "Lifecycle"). What went wrong.
pub fn run_all(kind: &'static str, hooks: &[Hook], state: &Value) -> Vec<HookError> {
    let run = |(index, hook): (usize, &Hook)| {
        let problem = run_one(hook, state, &[]).err()?;
        Some(HookError::of(kind, index, hook, problem))
    };
    hooks.iter().enumerate().filter_map(run).collect()
}

impl HookError {
    fn of(kind: &'static str, index: usize, hook: &Hook, problem: Problem) -> Self {
        Self { kind, index, path: hook.path.display().to_string(), problem }
    }
}

/// Other programs are what hooks are.
#[allow(clippy::disallowed_methods)]
fn run_one(hook: &Hook, state: &Value, env: &[String]) -> Result<(), Problem> {
    let (mut stdout, mut stderr) = (memory()?, memory()?);
    let mut stdin = memory()?;
    stdin.write_all(state.to_string().as_bytes()).and_then(|()| stdin.rewind())?;
    let mut command = Command::new(&hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    let env = hook.env.as_deref().unwrap_or(env);
    command.env_clear().envs(env.iter().filter_map(|pair| pair.split_once('=')));
    command.stdin(stdin).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let status = wait(command.spawn()?, hook.timeout)?;
    if status.success() {
        return Ok(());
    }
    Err(Problem::Failed { status, stdout: told(&mut stdout), stderr: told(&mut stderr) })
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Problem::Run(error)
    }
}

/// A signal by its description, which says more than its number.
fn words(status: &ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("signal: {}", describe(signal)),
        None => status.to_string(),
    }
}

fn memory() -> io::Result<File> {
    Ok(memfd_create("hook", MemfdFlags::CLOEXEC)?.into())
}

fn wait(mut child: Child, timeout: Option<u64>) -> Result<ExitStatus, Problem> {
    let Some(seconds) = timeout else { return Ok(child.wait()?) };
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidData).map_err(io::Error::from)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from)?;
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Ok(0) => break,
            Ok(_) => return Ok(child.wait()?),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(io::Error::from(e).into()),
        }
    }
    child.kill().and_then(|()| child.wait())?;
    Err(Problem::TimedOut(seconds))
}

fn told(output: &mut File) -> String {
    let mut bytes = Vec::new();
    // What cannot be read back is not told.
    let _ = output.rewind().and_then(|()| output.take(TOLD).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str) -> Hook {
        let args = ["sh", "-c", script].map(str::to_owned).to_vec();
        Hook { path: "/bin/sh".into(), args, env: None, timeout: None }
    }

    fn fails(hook: Hook) -> String {
        run("poststop", &[hook], &Value::Null, &[]).unwrap_err().to_string()
    }

    #[test]
    fn state_comes_on_stdin_and_the_environment_is_exactly_the_one_given() {
        let script = "line=$(cat) && test \"$line\" = '{\"id\":\"x\"}' && test \"$A\" = b";
        let state = serde_json::json!({"id": "x"});
        run("prestart", &[hook(script)], &state, &["A=b".into()]).unwrap();
        let own = Hook { env: Some(vec!["B=1".into()]), ..hook("test -z \"$A$HOME\" && test $B") };
        run("prestart", &[own], &state, &["A=b".into()]).unwrap();
    }

    #[test]
    fn the_failing_one_is_named_with_what_it_said() {
        let hooks = [hook("true"), hook("echo out; echo err >&2; exit 3")];
        let text = run("createRuntime", &hooks, &Value::Null, &[]).unwrap_err().to_string();
        let want = "error running createRuntime hook #1: /bin/sh: exit status: 3, stdout: out, stderr: err";
        assert_eq!(text, want);
        let missing = Hook { path: "/nonexistent/hook".into(), ..hook("") };
        assert!(fails(missing).contains("hook #0: /nonexistent/hook: No such file"));
    }

    #[test]
    fn a_failure_ends_the_row_unless_all_are_to_run() {
        let hooks = [hook("exit 1"), hook("exit 2"), hook("true")];
        let text = run("prestart", &hooks, &Value::Null, &[]).unwrap_err().to_string();
        assert!(text.contains("hook #0"), "{text}");
        let all = run_all("poststop", &hooks, &Value::Null);
        assert_eq!(all.iter().map(|e| e.index).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn one_that_hangs_is_killed() {
        let since = Instant::now();
        let slow = Hook { timeout: Some(1), ..hook("sleep 30") };
        assert!(fails(slow).contains("killed after its timeout of 1 s"));
        assert!(since.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_talkative_one_that_does_not_read_blocks_nobody() {
        let state = Value::from("x".repeat(200_000));
        let script = "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2";
        run("poststart", &[hook(script)], &state, &[]).unwrap();
    }
}
