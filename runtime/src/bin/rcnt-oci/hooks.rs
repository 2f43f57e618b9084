//! Hooks: programs the configuration names, run with the container's state on
//! stdin (runtime-spec config.md, "POSIX-platform Hooks").

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::Hook;
use serde_json::Value;

/// Why a hook counts as failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    #[error("cannot run hook {path}")]
    Run {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("hook {path} ended with {status}: {output}")]
    Failed { path: String, status: std::process::ExitStatus, output: String },
    #[error("hook {path} took longer than its {seconds} s")]
    TimedOut { path: String, seconds: u64 },
}

/// Runs `hooks` one after the other; the first failure ends it.
pub(crate) fn run(hooks: Option<&Vec<Hook>>, state: &Value) -> Result<(), HookError> {
    hooks.into_iter().flatten().try_for_each(|hook| run_one(hook, state))
}

/// Other programs are what hooks are.
#[allow(clippy::disallowed_methods)]
fn run_one(hook: &Hook, state: &Value) -> Result<(), HookError> {
    let path = hook.path().display().to_string();
    let run = |source| HookError::Run { path: path.clone(), source };
    let args = hook.args().as_deref().unwrap_or_default();
    let mut command = Command::new(hook.path());
    if let Some((name, rest)) = args.split_first() {
        command.arg0(name).args(rest);
    }
    let env = hook.env().iter().flatten().filter_map(|pair| pair.split_once('='));
    command.env_clear().envs(env);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(run)?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(state.to_string().as_bytes()) {
            // It need not read its input.
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => return Err(run(e)),
            _ => {}
        }
    }
    if let Some(seconds) = hook.timeout().and_then(|t| u64::try_from(t).ok()).filter(|t| *t > 0) {
        let end = Instant::now() + Duration::from_secs(seconds);
        while child.try_wait().map_err(run)?.is_none() {
            if Instant::now() > end {
                let _ = child.kill().and_then(|()| child.wait());
                return Err(HookError::TimedOut { path, seconds });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let output = child.wait_with_output().map_err(run)?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().chars().take(4096).collect();
    Err(HookError::Failed { path, status: output.status, output: text })
}
