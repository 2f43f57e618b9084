//! `exec`: one more process in a running container, a child of the caller.

use std::io::{Read, Write};
use std::path::PathBuf;

use rcnt_base::report::StartError;
use rcnt_base::sys::child;
use rcnt_base::sys::process::{self, Fork};
use rcnt_runtime::exec::{ExecTarget, exec as enter};
use rcnt_runtime::plan::{Attributes, ProcessPlan, UserPlan};
use rcnt_runtime::security;
use rcnt_runtime::spawn::{ChildIo, WindowSize};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::container::{Container, Status};
use crate::error::{EngineError, Result};
use crate::facts::HostFacts;
use crate::session::{Local, Session};
use crate::{Engine, plan, stop};

/// The flags of `exec`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExecArgs {
    /// Command and arguments.
    pub command: Vec<String>,
    /// `-i`.
    pub interactive: bool,
    /// `-t`.
    pub tty: bool,
    /// `-e` and `--env-file`, checked: `NAME=value`.
    pub env: Vec<String>,
    /// `-u`.
    pub user: Option<String>,
    /// `-w`.
    pub workdir: Option<String>,
    /// `--privileged`.
    pub privileged: bool,
    /// The caller's terminal.
    pub size: Option<WindowSize>,
}

/// Starts a process in the container; its streams are the session's.
///
/// # Errors
/// The container does not run, or the process does not start.
pub fn exec(engine: &Engine, container: &Container, args: &ExecArgs) -> Result<Session> {
    let (target, process) = prepare(engine, container, args)?;
    let piping = || EngineError::state("cannot make pipes");
    if args.tty {
        let io = ChildIo::Terminal { size: args.size, bare_newlines: false };
        let running = enter(&target, &process, io)?;
        let master = running
            .terminal
            .ok_or_else(|| piping()(std::io::Error::other("the terminal did not arrive")))?;
        return Local::on_terminal(running.pid, running.pidfd, master, args.interactive)
            .map(Session::Local)
            .map_err(piping());
    }
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|e| piping()(e.into()));
    let (stdout, stdout_child) = pipe()?;
    let (stderr, stderr_child) = pipe()?;
    let (stdin_child, stdin) = match args.interactive {
        true => pipe().map(|(read, write)| (Some(read), Some(write)))?,
        false => (None, None),
    };
    let io = ChildIo::Pipes { stdin: stdin_child, stdout: stdout_child, stderr: stderr_child };
    let running = enter(&target, &process, io)?;
    Local::piped(running.pid, running.pidfd, stdin, stdout, stderr)
        .map(Session::Local)
        .map_err(piping())
}

/// Starts a process in the container and leaves it there, without streams. When
/// this command ends the container's first process inherits it.
///
/// # Errors
/// As [`exec`].
pub fn exec_detached(engine: &Engine, container: &Container, args: &ExecArgs) -> Result<()> {
    let (target, process) = prepare(engine, container, args)?;
    if args.tty {
        return on_a_kept_terminal(&target, &process, args.size);
    }
    let null = || {
        rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| EngineError::state("cannot open /dev/null")(e.into()))
    };
    let io = ChildIo::Pipes { stdin: None, stdout: null()?, stderr: null()? };
    enter(&target, &process, io)?;
    Ok(())
}

/// A pty hangs up when its master is closed, so a child of ours stays to hold
/// it, and to read what nobody wants, until the process ends.
fn on_a_kept_terminal(
    target: &ExecTarget,
    process: &ProcessPlan,
    size: Option<WindowSize>,
) -> Result<()> {
    let forking = || EngineError::state("cannot fork a holder of the terminal");
    let (mut told, mut tell) = std::io::pipe().map_err(forking())?;
    if process::fork().map_err(forking())? != Fork::Child {
        drop(tell);
        let mut report = Vec::new();
        told.read_to_end(&mut report).map_err(forking())?;
        return match report.is_empty() {
            true => Ok(()),
            false => Err(serde_json::from_slice::<StartError>(&report)
                .map_err(|e| forking()(e.into()))?
                .into()),
        };
    }
    let _ = rustix::process::setsid();
    match enter(target, process, ChildIo::Terminal { size, bare_newlines: false }) {
        Ok(running) => {
            drop(tell);
            if let Some(master) = running.terminal {
                // Ends with EIO when nobody holds the other side.
                let _ = std::io::copy(&mut std::fs::File::from(master), &mut std::io::sink());
            }
        }
        Err(error) => {
            let _ = tell.write_all(&serde_json::to_vec(&error).unwrap_or_default());
        }
    }
    child::exit_now(0)
}

fn prepare(
    engine: &Engine,
    container: &Container,
    args: &ExecArgs,
) -> Result<(ExecTarget, ProcessPlan)> {
    let container = engine.reload(container)?;
    let not_running = || EngineError::NotRunning(container.name.to_string());
    if container.state.status != Status::Running {
        return Err(not_running());
    }
    let init = stop::first_process(&container).ok_or_else(not_running)?;
    let record = &container.record;
    let cgroup = engine.cgroup_parent(&record.request).join(&container.id).into();
    let (user_namespace, time_namespace) = (false, false);
    let target = ExecTarget { init, cgroup, user_namespace, time_namespace };
    Ok((target, process_plan(&container, args)?))
}

fn process_plan(container: &Container, args: &ExecArgs) -> Result<ProcessPlan> {
    let record = &container.record;
    let facts = HostFacts::read().map_err(EngineError::state("cannot read /proc"))?;
    let security =
        security::parse(&record.request.security_opt).map_err(|e| EngineError::Rights(e.into()))?;
    let mut rights = record.clone();
    rights.request.privileged |= args.privileged;
    let capabilities = plan::capabilities(&rights, &facts)?;
    let privileged = rights.request.privileged;
    let mut env = plan::environment(record, &container.state.linked_env);
    if args.tty && !env.iter().any(|e| e.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    for entry in &args.env {
        let name = entry.split('=').next();
        env.retain(|e| e.split('=').next() != name);
        env.push(entry.clone());
    }
    Ok(ProcessPlan {
        args: args.command.clone(),
        env,
        cwd: args.workdir.as_ref().map_or_else(|| record.config.workdir.clone(), PathBuf::from),
        user: UserPlan::Spec(args.user.clone().unwrap_or_else(|| record.config.user.clone())),
        capabilities,
        no_new_privileges: security.no_new_privileges,
        rlimits: plan::rlimits(record),
        seccomp: plan::filter(
            &security,
            record.seccomp_profile.as_deref(),
            privileged,
            capabilities,
        )?,
        apparmor_profile: security
            .apparmor_profile(security::HostSecurity::read())
            .map(str::to_owned),
        terminal: args.tty,
        oom_score_adj: record.request.oom_score_adj,
        umask: None,
        additional_groups: record.request.group_add.clone(),
        attributes: Attributes::default(),
    })
}
