//! The container's first process, from clone to exec: one straight list of
//! steps ([`start`], [`become_command`]), each in a file of its own. Any error
//! ends it and is reported to the parent.
//!
//! ```text
//! supervised ─ cgroup ─ [descriptors closed] ─ namespaces ─ sources opened ─ pivot ─ mounts ─ devices ─ terminal
//!   ─ names ─ masked, read-only ─ [go] ─ inside ─ sysctls ─ user, rights, filter ─ exec
//! ```
//!
//! From the pivot on nothing of the host can be named any more.

mod cgroupfs;
mod command;
mod copy_up;
mod devices;
mod error;
mod fsapi;
mod identity;
mod mounts;
mod paths;
mod procfs;
mod reaper;
mod root;
mod rootfs;
mod shed;
mod stage;
mod terminal;

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rcnt_base::report::StartError;
use rcnt_base::sys::child::{self, Cloned, Rest, exit_now};
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::cgroup::{JoinHandles, Layout};
use crate::channel::ChildEnd;
use crate::plan::{CapabilitySets, ContainerPlan, DevicesPlan, NamespaceKind, ProcessPlan};
use crate::security::change_apparmor_on_exec;
use crate::spawn::{ChildIo, Lifetime};
use command::Command;
pub(crate) use error::{Doing, InitError};
use procfs::Procfs;
pub(crate) use root::{Links, Root};
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

/// The list of steps of a container's first process.
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
    let io = shed(io, null, &kept).doing("close inherited descriptors")?;
    join(&joins)?;
    if plan.namespaces.new.contains(&NamespaceKind::Cgroup) {
        // Only now: its root is the cgroup one is in when making it.
        child::unshare_namespaces(UnshareFlags::NEWCGROUP).doing("make a cgroup namespace")?;
    }
    identity::leave_keyring()?;

    stage.enter("rootfs");
    let sources = mounts::open_sources(&plan.mounts)?;
    let null = paths::clone_null(plan)?;
    let cgroups = cgroupfs::open_view(&plan.mounts, layout, &plan.cgroup.path)?;
    rootfs::make_private()?;
    let root = rootfs::enter(&plan.rootfs)?;

    stage.enter("mounts");
    let devpts = mounts::apply(&root, &plan.mounts, sources, &cgroups)?;
    devices::apply(&root, &plan.devices)?;
    let streams = Streams::open(io, &root, devpts.as_ref())?;
    terminal::bind_console(&root, &streams, plan.devices != DevicesPlan::default())?;
    let cwd = root.ensure_dir(&plan.process.cwd, Links::Follow);
    let cwd = cwd.map_err(|source| InitError::Cwd { path: plan.process.cwd.clone(), source })?;
    paths::mask(&root, &plan.masked_paths, null)?;
    paths::make_readonly(&root, &plan.readonly_paths)?;
    if plan.rootfs.readonly {
        rootfs::make_readonly(&root)?;
    }

    stage.enter("hostname");
    set_names(plan)?;

    stage.enter("network");
    if !channel.wait_go().doing("wait for the network")? {
        // Whoever started us is gone: there is nobody to report to.
        exit_now(rcnt_base::report::ExitKind::Runtime.code());
    }
    inside()?;

    stage.enter("sysctl");
    if !plan.sysctls.is_empty() {
        procfs::set_sysctls(&Procfs::new()?, &plan.sysctls)?;
    }

    let launch =
        Launch { process: &plan.process, root: &root, cwd: &cwd, streams: &streams, parentage };
    become_command(&launch, channel, stage)
}

fn join(joins: &[(NamespaceKind, OwnedFd)]) -> Result<(), InitError> {
    for (kind, fd) in joins {
        let expected = match kind {
            NamespaceKind::Cgroup => LinkNameSpaceType::ControlGroup,
            NamespaceKind::Ipc => LinkNameSpaceType::InterProcessCommunication,
            NamespaceKind::Mount => LinkNameSpaceType::Mount,
            NamespaceKind::Network => LinkNameSpaceType::Network,
            NamespaceKind::Pid => LinkNameSpaceType::ProcessID,
            NamespaceKind::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        };
        rustix::thread::move_into_link_name_space(fd.as_fd(), Some(expected))
            .doing(format!("join the {kind:?} namespace"))?;
    }
    Ok(())
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
    pub(crate) streams: &'a Streams,
    pub(crate) parentage: Parentage<'a>,
}

/// From a privileged process inside to the command: user, limits, rights, filter, exec.
pub(crate) fn become_command(
    launch: &Launch<'_>,
    channel: &ChildEnd,
    stage: &mut Stage,
) -> Result<Infallible, InitError> {
    let Launch { process, root, cwd, streams, parentage } = launch;
    stage.enter("user");
    let user = identity::look_up(root, process)?;
    let sets = identity::sets_for(process, &user);

    stage.enter("process");
    let use_init = matches!(parentage, Parentage::First { use_init: true, .. });
    let gated = matches!(parentage, Parentage::First { lifetime: Lifetime::Gated(_), .. });
    let labelled = process.apparmor_profile.is_some();
    let written = use_init || gated || labelled || process.oom_score_adj.is_some();
    let procfs = written.then(Procfs::new).transpose()?;
    if let Some(procfs) = &procfs {
        privileged_writes(procfs, process, use_init)?;
    }
    streams.install(user.uid).doing("set up the standard streams")?;
    enter_cwd(cwd, &process.cwd)?;
    rustix::process::umask(Mode::from_raw_mode(process.umask.unwrap_or(0o022)));
    child::inherit_only(2, Rest::CloseOnExec).doing("close inherited descriptors")?;
    identity::set_limits(&process.rlimits)?;

    stage.enter("rights");
    identity::assume(&user, sets)?;
    if process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).doing("set no_new_privs")?;
    }
    parentage.keep_tied()?;

    stage.enter("exec");
    let command = Command::find(&process.args, &process.env, &user.home)?;
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
    parentage.wait_at_gate(procfs.as_ref())?;
    confine(process, sets)?;
    Err(command.execute().into())
}

/// What needs procfs and rights that are about to go.
fn privileged_writes(
    procfs: &Procfs,
    process: &ProcessPlan,
    use_init: bool,
) -> Result<(), InitError> {
    if let Some(score) = process.oom_score_adj {
        let path = format!("{}/oom_score_adj", rustix::process::getpid());
        procfs.write(&path, &score.to_string()).doing(format!("set oom_score_adj to {score}"))?;
    }
    if let Some(profile) = &process.apparmor_profile {
        let own = procfs.open(&rustix::process::getpid().to_string(), OFlags::PATH);
        own.and_then(|own| change_apparmor_on_exec(own.as_fd(), profile))
            .doing(format!("apply AppArmor profile {profile:?}"))?;
    }
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
fn confine(process: &ProcessPlan, sets: CapabilitySets) -> Result<(), InitError> {
    if process.no_new_privileges {
        identity::finish(sets)?;
    }
    if let Some(program) = &process.seccomp {
        crate::seccomp::install(program).doing("load the seccomp filter")?;
    }
    if process.no_new_privileges { Ok(()) } else { identity::finish(sets) }
}

/// The rest of pid 1's life under `--init`; its exit code.
fn be_init(command: rustix::process::Pid, process: &ProcessPlan, sets: CapabilitySets) -> u8 {
    let lived = (|| {
        let signals = reaper::signals()?;
        confine(process, sets).map_err(std::io::Error::other)?;
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
