//! The container's surroundings, from new namespaces to the point where only the
//! command is missing: root, mounts, devices, terminal, hooks, names, network.

use std::convert::Infallible;
use std::os::fd::OwnedFd;

use rcnt_base::report::StartError;
use rcnt_base::sys::child::{self, exit_now};
use rustix::thread::UnshareFlags;

use super::attributes::{Joining, join_keyring};
use super::error::{Doing, InitError};
use super::identity::become_root;
use super::launch::{Launch, Parentage, become_command, hook_state};
use super::procfs::{self, Procfs};
use super::root::{Links, Root};
use super::shed::Held;
use super::stage::Stage;
use super::terminal::{self, Streams};
use super::{cgroupfs, devices, lender, mounts, paths, rootfs, sources};
use crate::cgroup::Layout;
use crate::channel::ChildEnd;
use crate::plan::{ContainerPlan, DevicesPlan, NamespaceKind};

/// What of the host the container's mounts need, opened while the host's paths
/// mean something, by a process with the host's rights.
pub(super) struct Outside {
    rootfs: rootfs::Source,
    mounts: Vec<Option<OwnedFd>>,
    /// Helps with the rest.
    pub(super) borrower: Option<lender::Borrower>,
    null: Option<OwnedFd>,
    cgroups: cgroupfs::View,
}

impl Outside {
    pub(super) fn open(plan: &ContainerPlan, layout: &Layout) -> Result<Self, InitError> {
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
pub(super) struct Scene<'a> {
    pub(super) plan: &'a ContainerPlan,
    pub(super) io: Held,
    pub(super) outside: Outside,
    pub(super) inside: &'a mut dyn FnMut() -> Result<(), StartError>,
    pub(super) parentage: Parentage<'a>,
}

/// From new namespaces to the command.
pub(super) fn set_up(
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

/// Whoever started us may be gone: then there is nobody to report to.
pub(super) fn go_on(told: bool) {
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
