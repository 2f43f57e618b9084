//! The last stretch, the same for a container's first process and for every
//! further one: user, limits, rights, the wait for the start, filter, exec.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rcnt_base::sys::child::{self, Cloned, Rest, exit_now};
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::thread::UnshareFlags;

use super::command::{Command, CommandError};
use super::error::{Doing, InitError};
use super::procfs::{Procfs, set_oom_score};
use super::root::{self, Links, Root};
use super::stage::Stage;
use super::terminal::Streams;
use super::{attributes, identity, reaper};
use crate::channel::ChildEnd;
use crate::plan::{CapabilitySets, HooksPlan, ProcessPlan};
use crate::security::change_apparmor_on_exec;
use crate::spawn::Lifetime;

/// Whose child the command is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Parentage<'a> {
    /// The container's first process.
    First {
        /// As a child of an init of ours.
        use_init: bool,
        /// Until when it lives, and when it begins.
        lifetime: &'a Lifetime,
    },
    /// A further process of a running container.
    Further,
}

impl Parentage<'_> {
    /// Ties the process to its supervisor, if it has one. Said again after a
    /// change of user, which clears it (prctl(2)).
    pub(super) fn keep_tied(&self) -> Result<(), InitError> {
        if matches!(self, Parentage::First { lifetime: Lifetime::Supervised, .. }) {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
                .doing("tie the container to its supervisor")?;
        }
        Ok(())
    }

    /// Waits until somebody starts the container, if that is separate from creating it.
    fn wait_at_gate(&self, procfs: Option<&Procfs>) -> Result<(), InitError> {
        if let (Parentage::First { lifetime: Lifetime::Gated(gate), .. }, Some(procfs)) =
            (self, procfs)
        {
            procfs.signal_fifo(gate).doing("wait for the start of the container")?;
        }
        Ok(())
    }
}

/// What is left to do once the surroundings are complete.
pub(crate) struct Launch<'a> {
    pub(crate) process: &'a ProcessPlan,
    pub(crate) root: &'a Root,
    pub(crate) cwd: &'a OwnedFd,
    pub(crate) streams: Streams,
    pub(crate) parentage: Parentage<'a>,
    /// One that is there already, because it could not be made now.
    pub(crate) procfs: Option<Procfs>,
    /// Still to be set.
    pub(crate) oom_score: Option<i32>,
    /// What else runs first, in a container that is being started.
    pub(crate) hooks: Option<&'a HooksPlan>,
}

/// From a privileged process inside to the command: user, limits, rights, filter, exec.
pub(crate) fn become_command(
    launch: Launch<'_>,
    channel: &ChildEnd,
    stage: &mut Stage,
) -> Result<Infallible, InitError> {
    let Launch { process, root, cwd, streams, parentage, procfs, oom_score, hooks } = launch;
    stage.enter("user");
    let user = identity::look_up(root, process)?;
    let sets = identity::sets_for(process, &user);

    stage.enter("process");
    let use_init = matches!(parentage, Parentage::First { use_init: true, .. });
    let gated = matches!(parentage, Parentage::First { lifetime: Lifetime::Gated(_), .. });
    let labelled = process.apparmor_profile.is_some() || process.attributes.selinux_label.is_some();
    let written = use_init || gated || labelled || oom_score.is_some();
    let procfs = match procfs {
        None if written => Some(Procfs::new()?),
        made => made,
    };
    if let Some(procfs) = &procfs {
        privileged_writes(procfs, process, oom_score, use_init)?;
    }
    streams.install(user.uid).doing("set up the standard streams")?;
    enter_cwd(cwd, &process.cwd)?;
    rustix::process::umask(Mode::from_raw_mode(process.umask.unwrap_or(0o022)));
    let passed = process.attributes.passed;
    child::inherit_only(2 + passed, Rest::CloseOnExec).doing("close inherited descriptors")?;
    child::keep_on_exec(passed).doing("pass on descriptors")?;
    identity::set_limits(&process.rlimits)?;
    attributes::apply(&process.attributes)?;

    stage.enter("rights");
    identity::assume(&user, sets)?;
    if process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).doing("set no_new_privs")?;
    }
    parentage.keep_tied()?;

    stage.enter("exec");
    // A container may be created without a command; it cannot be started then.
    let command = match process.args.is_empty() && gated {
        true => Err(CommandError::Empty),
        false => Ok(Command::find(&process.args, &process.env, &user.home)?),
    };
    if use_init {
        reaper::hold_signals()?;
        // No namespaces: a plain fork.
        if let Cloned::Parent { pid, pidfd } =
            child::clone3(UnshareFlags::empty(), None).doing("start the command")?
        {
            // Closed with everything else, not by its owner.
            std::mem::forget(pidfd);
            exit_now(be_init(pid, process, sets));
        }
        reaper::lead_foreground(streams.master.is_some())?;
    }
    child::reset_signals().doing("reset signals")?;
    channel
        .executing(streams.master.as_ref().map(AsFd::as_fd), stage.times())
        .doing("report to the parent")?;
    // The master is the parent's now, the streams are at 0, 1 and 2.
    drop(streams);
    if gated {
        // As the first process of a pid namespace it would not notice them. Exec
        // puts the defaults back.
        let ends = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];
        rcnt_base::sys::signals::end_on(&ends).doing("catch signals")?;
    }
    if process.listener().is_some() {
        // The parent, who passes the listener's descriptor on, is not there later.
        confine(process, sets, Some(channel))?;
    }
    parentage.wait_at_gate(procfs.as_ref())?;
    // Asked before the filter is loaded, which may not allow it.
    let unheard = gated && !channel.is_heard();
    let Err(error) = go(process, sets, hooks, command);
    if unheard {
        tell_on_stderr(error, stage);
    }
    Err(error)
}

/// The last steps, after the start.
fn go(
    process: &ProcessPlan,
    sets: CapabilitySets,
    hooks: Option<&HooksPlan>,
    command: Result<Command, CommandError>,
) -> Result<Infallible, InitError> {
    let command = command?;
    // Before the hooks: they are part of the container's life (runc has it so).
    if process.listener().is_none() {
        confine(process, sets, None)?;
    }
    if let Some(hooks) = hooks.filter(|hooks| !hooks.start_container.is_empty()) {
        let state = hook_state(hooks, "created");
        crate::hooks::run("startContainer", &hooks.start_container, &state, &command.env())?;
    }
    Err(command.execute().into())
}

/// Ends a container that could not execute its command after whoever created it
/// has gone; whoever started it is no relation of ours.
fn tell_on_stderr(error: InitError, stage: &Stage) -> ! {
    let error = error.into_start_error(stage.name());
    let _ = rustix::io::write(rustix::stdio::stderr(), format!("{error}\n").as_bytes());
    exit_now(error.kind.code())
}

/// What hooks inside learn of the container: its pid is the one seen there.
pub(super) fn hook_state(hooks: &HooksPlan, status: &str) -> serde_json::Value {
    let mut state = hooks.state.clone();
    state.insert("status".into(), status.into());
    state.insert("pid".into(), rustix::process::getpid().as_raw_nonzero().get().into());
    state.into()
}

/// What needs procfs and rights that are about to go.
fn privileged_writes(
    procfs: &Procfs,
    process: &ProcessPlan,
    oom_score: Option<i32>,
    use_init: bool,
) -> Result<(), InitError> {
    if let Some(score) = oom_score {
        set_oom_score(procfs, score)?;
    }
    if let Some(profile) = &process.apparmor_profile {
        let own = procfs.open(&rustix::process::getpid().to_string(), OFlags::PATH);
        own.and_then(|own| change_apparmor_on_exec(own.as_fd(), profile))
            .doing(format!("apply AppArmor profile {profile:?}"))?;
    }
    attributes::label_on_exec(procfs, &process.attributes)?;
    if use_init { reaper::forget_host(procfs) } else { Ok(()) }
}

/// Enters the working directory and makes sure that it is one of the
/// container's (CVE-2024-21626): the kernel answers a path that does not start
/// with a slash when it cannot be reached from the root.
fn enter_cwd(cwd: &OwnedFd, path: &Path) -> Result<(), InitError> {
    let entered = rustix::process::fchdir(cwd).map_err(std::io::Error::from).and_then(|()| {
        let seen = rustix::process::getcwd(Vec::new())?;
        let inside = seen.as_bytes().first() == Some(&b'/');
        if inside { Ok(()) } else { Err(std::io::Error::other("it is outside of the container")) }
    });
    entered.map_err(|source| InitError::Cwd { path: path.to_owned(), source })
}

/// The filter and the final capability sets. Loading the filter needs either
/// no_new_privs, then it comes last, or CAP_SYS_ADMIN, then only capset(2) and
/// execve(2) have to pass it.
///
/// A listener gets its descriptor through `channel`.
fn confine(
    process: &ProcessPlan,
    sets: CapabilitySets,
    channel: Option<&ChildEnd>,
) -> Result<(), InitError> {
    if process.no_new_privileges {
        identity::finish(sets)?;
    }
    if let Some(program) = &process.seccomp {
        let descriptor = crate::seccomp::install(program).doing("load the seccomp filter")?;
        if let (Some(descriptor), Some(channel)) = (descriptor, channel) {
            channel.listening(descriptor.as_fd()).doing("pass on the filter's descriptor")?;
            // close(2) may be trapped; execve(2) closes it.
            std::mem::forget(descriptor);
        }
    }
    if process.no_new_privileges { Ok(()) } else { identity::finish(sets) }
}

/// The rest of pid 1's life under `--init`; its exit code.
fn be_init(command: rustix::process::Pid, process: &ProcessPlan, sets: CapabilitySets) -> u8 {
    let lived = (|| {
        let signals = reaper::signals()?;
        confine(process, sets, None).map_err(std::io::Error::other)?;
        reaper::run(command, &signals)
    })();
    // Without an init the container ends: the kernel kills the command with it.
    lived.unwrap_or(rcnt_base::report::ExitKind::Runtime.code())
}

/// Opens the working directory of a further process: it must exist.
pub(crate) fn open_cwd(root: &Root, path: &Path) -> Result<OwnedFd, InitError> {
    let clean = root::clean(path);
    root.open(&clean, OFlags::PATH | OFlags::DIRECTORY, Links::Follow)
        .map_err(|source| InitError::Cwd { path: path.to_owned(), source })
}
