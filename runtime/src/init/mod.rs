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
mod launch;
mod lender;
mod mounts;
mod namespaces;
mod no_pivot;
mod paths;
mod procfs;
mod reaper;
mod root;
mod rootfs;
mod scene;
mod shed;
mod sources;
mod stage;
mod terminal;

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rcnt_base::report::StartError;
use rcnt_base::sys::child::{self, Cloned, exit_now};
use rustix::fs::Mode;

use crate::birth::clone_flags;
use crate::cgroup::{JoinHandles, Layout};
use crate::channel::ChildEnd;
use crate::plan::{ContainerPlan, NamespaceKind};
use crate::spawn::{ChildIo, Lifetime};
pub(crate) use attributes::{Joining, enter_processors, join_keyring};
pub(crate) use error::{Doing, InitError};
pub(crate) use fsapi::{attach, clone_path};
pub(crate) use identity::become_root;
pub(crate) use launch::{Launch, Parentage, become_command, open_cwd};
pub(crate) use mounts::PROC_FILES;
pub(crate) use procfs::{Procfs, set_oom_score};
pub(crate) use root::{Links, Root, clean};
use scene::{Outside, Scene, go_on, set_up};
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
    let mut outside = Outside::open(plan, layout)?;
    outside.borrower = borrower;
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
