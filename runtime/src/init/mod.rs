//! The container's first process, from clone to exec: one straight list of
//! steps ([`start`], [`become_command`]), each in a file of its own. Any error
//! ends it and is reported to the parent.
//!
//! ```text
//! supervised ─ cgroup ─ [descriptors closed] ─ namespaces ─ sources opened ─ root mounted ─ mounts ─ devices ─ terminal
//!   ─ [hooks] ─ pivot ─ masked, read-only ─ names ─ [go] ─ inside ─ sysctls ─ user, rights ─ [start, hooks] ─ filter ─ exec
//! ```
//!
//! Everything from "sources opened" on goes by descriptor: no path of the host is
//! looked up any more, and from the pivot on none could be.

mod attributes;
mod cgroupfs;
mod command;
mod copy_up;
mod devices;
mod error;
mod filesystems;
mod fsapi;
mod identity;
mod idmap;
mod lender;
mod mounts;
mod namespaces;
mod no_pivot;
mod paths;
mod procfs;
mod reaper;
mod root;
mod rootfs;
mod shed;
mod sources;
mod stage;
mod terminal;

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rcnt_base::report::StartError;
use rcnt_base::sys::child::{self, Cloned, Rest, exit_now};
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::thread::UnshareFlags;

use crate::birth::clone_flags;
use crate::cgroup::{JoinHandles, Layout};
use crate::channel::ChildEnd;
use crate::plan::{
    CapabilitySets, ContainerPlan, DevicesPlan, HooksPlan, NamespaceKind, ProcessPlan,
};
use crate::security::change_apparmor_on_exec;
use crate::spawn::{ChildIo, Lifetime};
pub(crate) use attributes::{Joining, enter_processors, join_keyring};
use command::{Command, CommandError};
pub(crate) use error::{Doing, InitError};
pub(crate) use fsapi::{attach, clone_path};
pub(crate) use identity::become_root;
pub(crate) use mounts::PROC_FILES;
pub(crate) use procfs::{Procfs, set_oom_score};
pub(crate) use root::{Links, Root, clean};
use shed::Held;
pub(crate) use shed::{host_null, shed};
pub(crate) use stage::Stage;
pub(crate) use terminal::Streams;

/// Everything the child inherits from [`crate::spawn::spawn`].
pub(crate) struct Birth<'a> {
    pub(crate) plan: &'a ContainerPlan,
    pub(crate) io: ChildIo,
    /// The host's null device.
    pub(crate) null: &'a OwnedFd,
    pub(crate) layout: &'a Layout,
    pub(crate) cgroup: Option<&'a JoinHandles>,
    /// Namespaces to enter, pid excepted, in which the child is born.
    pub(crate) joins: Vec<(NamespaceKind, OwnedFd)>,
    pub(crate) inside: &'a mut dyn FnMut() -> Result<(), StartError>,
    pub(crate) lifetime: Lifetime,
}

/// Whatever happens, a clone never returns into its parent's code.
struct NoReturn;

impl Drop for NoReturn {
    fn drop(&mut self) {
        exit_now(rcnt_base::report::ExitKind::Runtime.code());
    }
}

/// Runs `steps` as a cloned child: reports what fails through `channel` and
/// exits with its code.
pub(crate) fn run_child(
    channel: &ChildEnd,
    steps: impl FnOnce(&mut Stage) -> Result<Infallible, InitError>,
) -> ! {
    let _guard = NoReturn;
    let mut stage = Stage::new();
    let Err(error) = steps(&mut stage);
    let error = error.into_start_error(stage.name());
    channel.failed(&error);
    exit_now(error.kind.code())
}

/// The list of steps of a container's first process, made by [`crate::birth`]
/// directly.
pub(crate) fn start(
    birth: Birth<'_>,
    channel: &ChildEnd,
    stage: &mut Stage,
) -> Result<Infallible, InitError> {
    let Birth { plan, io, null, layout, cgroup, joins, inside, lifetime } = birth;
    stage.enter("supervise");
    let parentage = Parentage::First { use_init: plan.use_init, lifetime: &lifetime };
    parentage.keep_tied()?;
    rustix::process::umask(Mode::empty());

    stage.enter("cgroup");
    if let Some(handles) = cgroup {
        handles.join_self()?;
    }

    stage.enter("namespaces");
    let joined = joins.iter().map(|(_, fd)| fd.as_fd());
    let kept: Vec<BorrowedFd<'_>> =
        joined.chain(lifetime.gate()).chain([channel.as_fd()]).collect();
    let io = shed(io, null, &kept, plan.process.attributes.passed)
        .doing("close inherited descriptors")?;
    namespaces::join(&joins)?;

    let outside = Outside::open(plan, layout)?;
    set_up(Scene { plan, io, outside, inside, parentage }, channel, stage)
}

/// The steps of the process between the caller and the container's first
/// process: everything that needs the host's rights, which a user namespace
/// takes away, and a time namespace, into which one is born.
pub(crate) fn start_through(
    birth: Birth<'_>,
    channel: &ChildEnd,
    stage: &mut Stage,
) -> Result<Infallible, InitError> {
    let Birth { plan, io, null, layout, cgroup, joins, inside, lifetime } = birth;
    rustix::process::umask(Mode::empty());
    stage.enter("cgroup");
    if let Some(handles) = cgroup {
        handles.join_self()?;
    }
    if let Some(score) = plan.process.oom_score_adj {
        // Inherited; inside, the file would be the host's root's.
        set_oom_score(&Procfs::new()?, score)?;
    }

    stage.enter("namespaces");
    let joined = joins.iter().map(|(_, fd)| fd.as_fd());
    let kept: Vec<BorrowedFd<'_>> =
        joined.chain(lifetime.gate()).chain([channel.as_fd()]).collect();
    let io = shed(io, null, &kept, plan.process.attributes.passed)
        .doing("close inherited descriptors")?;
    let (lender, borrower) = lender::start(plan).doing("start a helper for the mounts")?.unzip();
    let outside = Outside { borrower, ..Outside::open(plan, layout)? };
    namespaces::join_as_far_as_allowed(joins)?;
    namespaces::make_time(&plan.namespaces)?;
    let flags = clone_flags(&plan.namespaces);
    match child::clone3_sibling(flags).doing("create the container's namespaces")? {
        Cloned::Parent { pid, .. } => {
            // Or this copy would keep the lender waiting.
            drop(outside);
            channel.born(pid.as_raw_nonzero().get()).doing("report to the parent")?;
            if let Some(lender) = lender {
                lender.wait();
            }
            exit_now(0);
        }
        Cloned::Child => {
            // Its own errors are told by it, not by its maker's frames.
            run_child(channel, |stage| {
                stage.enter("supervise");
                let parentage = Parentage::First { use_init: plan.use_init, lifetime: &lifetime };
                parentage.keep_tied()?;
                if plan.namespaces.new.contains(&NamespaceKind::User) {
                    go_on(channel.wait_mapped().doing("wait for the id mappings")?);
                }
                set_up(Scene { plan, io, outside, inside, parentage }, channel, stage)
            })
        }
    }
}

/// What of the host the container's mounts need, opened while the host's paths
/// mean something, by a process with the host's rights.
struct Outside {
    rootfs: rootfs::Source,
    mounts: Vec<Option<OwnedFd>>,
    /// Helps with the rest.
    borrower: Option<lender::Borrower>,
    null: Option<OwnedFd>,
    cgroups: cgroupfs::View,
}

impl Outside {
    fn open(plan: &ContainerPlan, layout: &Layout) -> Result<Self, InitError> {
        Ok(Self {
            rootfs: rootfs::open(&plan.rootfs)?,
            mounts: sources::hold_shared(plan)
                .map_err(|(nth, e)| mounts::failed(plan, nth, "open the source", e))?,
            borrower: None,
            null: paths::clone_null(plan)?,
            cgroups: cgroupfs::open_view(plan, layout)?,
        })
    }
}

/// The first process in its namespaces, with all it needs to go on.
struct Scene<'a> {
    plan: &'a ContainerPlan,
    io: Held,
    outside: Outside,
    inside: &'a mut dyn FnMut() -> Result<(), StartError>,
    parentage: Parentage<'a>,
}

/// From new namespaces to the command.
fn set_up(
    scene: Scene<'_>,
    channel: &ChildEnd,
    stage: &mut Stage,
) -> Result<Infallible, InitError> {
    let Scene { plan, io, outside, inside, parentage } = scene;
    let kinds = &plan.namespaces;
    if kinds.new.contains(&NamespaceKind::Cgroup) {
        // Only now: its root is the cgroup one is in when making it.
        child::unshare_namespaces(UnshareFlags::NEWCGROUP).doing("make a cgroup namespace")?;
    }
    join_keyring(&plan.process.attributes, Joining::First)?;

    stage.enter("rootfs");
    let own_mounts = kinds.new.contains(&NamespaceKind::Mount);
    if own_mounts {
        rootfs::cut_off()?;
    }
    let user_namespace = kinds.separate(NamespaceKind::User);
    // In a user namespace its own copy is the one with the host's flags locked.
    let rootfs = match user_namespace.then(|| rootfs::open(&plan.rootfs)) {
        Some(Ok(own)) => own,
        _ => outside.rootfs,
    };
    let root = rootfs::attach(&plan.rootfs, rootfs)?;
    if user_namespace {
        become_root()?;
    }

    stage.enter("mounts");
    let workplace = mounts::Workplace {
        plan,
        root: &root,
        cgroups: &outside.cgroups,
        lender: outside.borrower.as_ref(),
    };
    let mut mounted = mounts::apply(&workplace, outside.mounts)?;
    drop(outside.borrower);
    devices::apply(&root, &plan.devices)?;
    let streams = Streams::open(io, &root, mounted.devpts.as_ref())?;
    terminal::bind_console(&root, &streams, plan.devices != DevicesPlan::default())?;
    // A created container may wait for long: nothing that is done with stays open.
    drop(outside.cgroups);
    // A procfs can only be made in a user namespace while a whole one is in sight.
    let procfs = user_namespace.then(Procfs::new).transpose()?;

    run_hooks(plan, &root, channel, stage)?;

    stage.enter("root");
    rootfs::enter(&root, &plan.rootfs, own_mounts)?;
    mounted.make_readonly()?;
    drop(mounted);
    let cwd = root.ensure_dir(&plan.process.cwd, Links::Follow);
    let cwd = cwd.map_err(|source| InitError::Cwd { path: plan.process.cwd.clone(), source })?;
    paths::mask(&root, plan, outside.null)?;
    paths::make_readonly(&root, &plan.readonly_paths)?;
    if plan.rootfs.readonly {
        rootfs::make_readonly(&root)?;
    }

    stage.enter("hostname");
    set_names(plan)?;

    stage.enter("network");
    go_on(channel.wait_go().doing("wait for the network")?);
    inside()?;

    stage.enter("sysctl");
    let sysctls = !plan.sysctls.is_empty();
    let procfs = if sysctls && procfs.is_none() { Some(Procfs::new()?) } else { procfs };
    if let Some(procfs) = procfs.as_ref().filter(|_| sysctls) {
        procfs::set_sysctls(procfs, &plan.sysctls)?;
    }

    let launch = Launch {
        process: &plan.process,
        root: &root,
        cwd: &cwd,
        streams,
        parentage,
        procfs,
        oom_score: plan.process.oom_score_adj.filter(|_| !user_namespace),
        hooks: Some(&plan.hooks),
    };
    become_command(launch, channel, stage)
}

/// Those of the host's side, which the parent runs meanwhile, then our own.
fn run_hooks(
    plan: &ContainerPlan,
    root: &Root,
    channel: &ChildEnd,
    stage: &mut Stage,
) -> Result<(), InitError> {
    let hooks = &plan.hooks;
    stage.enter("hooks");
    if hooks.outside {
        go_on(channel.wait_hooked().doing("wait for the hooks")?);
    }
    if !hooks.create_container.is_empty() {
        // Their paths are the host's; what they are to change is right here.
        rustix::process::fchdir(root).doing("enter the root file system")?;
        let state = hook_state(hooks, "creating");
        crate::hooks::run("createContainer", &hooks.create_container, &state, &[])?;
    }
    Ok(())
}

/// What hooks inside learn of the container: its pid is the one seen there.
fn hook_state(hooks: &HooksPlan, status: &str) -> serde_json::Value {
    let mut state = hooks.state.clone();
    state.insert("status".into(), status.into());
    state.insert("pid".into(), rustix::process::getpid().as_raw_nonzero().get().into());
    state.into()
}

/// Whoever started us may be gone: then there is nobody to report to.
fn go_on(told: bool) {
    if !told {
        exit_now(rcnt_base::report::ExitKind::Runtime.code());
    }
}

fn set_names(plan: &ContainerPlan) -> Result<(), InitError> {
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.as_bytes())
            .doing(format!("set the hostname to {name:?}"))?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name.as_bytes())
            .doing(format!("set the domain name to {name:?}"))?;
    }
    Ok(())
}

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
    fn keep_tied(&self) -> Result<(), InitError> {
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
