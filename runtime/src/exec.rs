//! One more process in a running container: born into its pid namespace and v2
//! cgroup, it enters everything else by the pidfd of the container's first
//! process and then goes the same way to exec as that one went.
//!
//! Nothing of the container runs on the host's side, and until exec the child
//! is non-dumpable: the container can neither trace it nor open what it holds
//! (CVE-2016-9962, CVE-2019-5736). What it holds of the host's it has closed
//! before it enters: names inside are the container's to choose.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rcnt_base::report::StartError;
use rcnt_base::sys::child::{Cloned, clone3};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, Signal, pidfd_send_signal, set_dumpable_behavior};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};

use crate::birth::in_pid_namespace;
use crate::cgroup::{self, JoinHandles, LayoutKind};
use crate::channel::{self, ChildEnd, ParentEnd};
use crate::init::{
    Doing, InitError, Joining, Launch, Parentage, Procfs, Root, Stage, Streams, become_command,
    become_root, enter_processors, host_null, join_keyring, open_cwd, run_child, set_oom_score,
    shed,
};
use crate::plan::{JoinPlan, ProcessPlan};
use crate::seccomp::listener::{Filtered, hand_over};
use crate::spawn::ChildIo;

/// The container to enter.
#[derive(Debug)]
pub struct ExecTarget {
    /// A pidfd of its first process. That it is this container's is the caller's
    /// to check, after opening it: a number can have passed to somebody else.
    pub init: OwnedFd,
    /// Which cgroup to join.
    pub cgroup: JoinPlan,
    /// Whether it has a user namespace that is not the caller's.
    pub user_namespace: bool,
    /// Whether it has a time namespace that is not the caller's.
    pub time_namespace: bool,
}

impl ExecTarget {
    /// The container whose first process is `pid`, of which `init` is a pidfd.
    /// Looks at which of its namespaces are not the caller's.
    pub fn of(pid: Pid, init: OwnedFd, cgroup: JoinPlan) -> Self {
        let link = |who: &str, kind: &str| std::fs::read_link(format!("/proc/{who}/ns/{kind}"));
        // None at all on a kernel without them.
        let differs = |kind| {
            let both = (link(&pid.to_string(), kind), link("self", kind));
            matches!(both, (Ok(its), Ok(ours)) if its != ours)
        };
        let (user_namespace, time_namespace) = (differs("user"), differs("time"));
        let cgroup = JoinPlan { init: Some(pid.as_raw_nonzero().get()), ..cgroup };
        Self { init, cgroup, user_namespace, time_namespace }
    }
}

/// The started process, a child of the caller.
#[derive(Debug)]
pub struct Running {
    /// Its pid in the caller's pid namespace; the caller reaps it.
    pub pid: Pid,
    /// Readable when it has exited.
    pub pidfd: OwnedFd,
    /// Master of its pty, when [`ChildIo::Terminal`] was asked for.
    pub terminal: Option<OwnedFd>,
}

/// Starts `process` inside `target`; returns once it runs. The caller must be
/// single-threaded; it becomes non-dumpable.
///
/// The process does not die with the caller, but with the container. Its
/// working directory must exist. Reap it promptly: the container's first
/// process cannot be reaped before it (pid_namespaces(7)).
///
/// # Errors
/// What went wrong, with docker's exit code for it. Nothing is left behind.
pub fn exec(
    target: &ExecTarget,
    process: &ProcessPlan,
    io: ChildIo,
) -> Result<Running, StartError> {
    let fail = |error: InitError| error.into_start_error("exec");
    let found = must_live(&target.init).doing("find the container's first process");
    found.map_err(fail)?;
    let null = host_null().doing("open /dev/null").map_err(fail)?;
    let mut handles = join_handles(&target.cgroup).map_err(fail)?;
    let (parent_end, child_end) = channel::pair().doing("make a channel").map_err(fail)?;
    let mut cloned = clone_into(target, handles.as_ref());
    if let Some(other) = other_cgroup(&target.cgroup, &cloned) {
        handles = Some(other);
        cloned = clone_into(target, handles.as_ref());
    }
    let doing = match target.cgroup.sub.is_empty() {
        true => "start a process in the container",
        false => "start a process in the container, adding pid of it to cgroups",
    };
    match cloned.doing(doing).map_err(fail)? {
        Cloned::Parent { pid, pidfd } => {
            // Ours would hide the child's end of file.
            drop(child_end);
            match started(target, process, &parent_end, pid, pidfd.as_fd()) {
                Ok(terminal) => Ok(Running { pid, pidfd, terminal }),
                Err(error) => {
                    // It may be waiting for somebody to answer for its filter.
                    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
                    let _ =
                        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
                    Err(error)
                }
            }
        }
        Cloned::Child => {
            drop(parent_end);
            run_child(&child_end, |stage| {
                let handles = handles.as_ref();
                let birth = ExecBirth { target, handles, process, io, null: &null };
                start(birth, &child_end, stage)
            })
        }
    }
}

/// Waits until it runs; its terminal's master.
fn started(
    target: &ExecTarget,
    process: &ProcessPlan,
    parent_end: &ParentEnd,
    pid: Pid,
    pidfd: BorrowedFd<'_>,
) -> Result<Option<OwnedFd>, StartError> {
    let terminal = parent_end.wait_ready()?;
    if let Some(listener) = process.listener() {
        let descriptor = parent_end.take_listener(pidfd)?;
        let pid = pid.as_raw_nonzero().get();
        let first = target.cgroup.init.unwrap_or_default();
        hand_over(listener, Filtered { pid, first, status: "running" }, descriptor)?;
    }
    parent_end.wait_executed()?;
    Ok(terminal)
}

/// Whether it has ended: its pidfd is readable then.
fn must_live(init: &OwnedFd) -> rustix::io::Result<()> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut [PollFd::new(init, PollFlags::IN)], Some(&now))? {
        0 => Ok(()),
        _ => Err(Errno::SRCH),
    }
}

fn clone_into(target: &ExecTarget, handles: Option<&JoinHandles>) -> std::io::Result<Cloned> {
    in_pid_namespace(target.init.as_fd(), || {
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        clone3(UnshareFlags::empty(), handles.and_then(JoinHandles::clone_into_fd))
    })
}

fn join_handles(plan: &JoinPlan) -> Result<Option<JoinHandles>, InitError> {
    if plan.path.as_os_str().is_empty() {
        return Ok(None);
    }
    let layout = cgroup::layout().map_err(std::io::Error::other).doing("find the cgroups")?;
    Ok(Some(cgroup::open_for(&layout.based(&plan.bases), plan)?))
}

/// A v2 cgroup whose processes have made cgroups of their own in it takes no
/// process any more (cgroups(7), "no internal processes"): then the one that the
/// container's first process has moved to.
fn other_cgroup(plan: &JoinPlan, cloned: &std::io::Result<Cloned>) -> Option<JoinHandles> {
    let busy = |error: &std::io::Error| {
        [libc::EBUSY, libc::EOPNOTSUPP, libc::ENODEV].map(Some).contains(&error.raw_os_error())
    };
    let full = cloned.as_ref().is_err_and(busy);
    let pid = plan.init.filter(|_| full && plan.sub.is_empty())?;
    let layout = cgroup::layout().ok().filter(|layout| layout.kind() == LayoutKind::V2)?;
    cgroup::open_of(&layout, pid).ok()
}

struct ExecBirth<'a> {
    target: &'a ExecTarget,
    handles: Option<&'a JoinHandles>,
    process: &'a ProcessPlan,
    io: ChildIo,
    null: &'a OwnedFd,
}

fn start(
    birth: ExecBirth<'_>,
    channel: &ChildEnd,
    stage: &mut Stage,
) -> Result<Infallible, InitError> {
    let ExecBirth { target, handles, process, io, null } = birth;
    let init = &target.init;
    stage.enter("cgroup");
    enter_processors(&process.attributes)?;
    if let Some(handles) = handles {
        handles.join_self()?;
    }

    stage.enter("namespaces");
    let kept = [init.as_fd(), channel.as_fd()];
    let io =
        shed(io, null, &kept, process.attributes.passed).doing("close inherited descriptors")?;
    // All at once and last the way back: afterwards "/" is the container's.
    let mut all = ThreadNameSpaceType::CONTROL_GROUP
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME;
    all.set(ThreadNameSpaceType::TIME, target.time_namespace);
    all.set(ThreadNameSpaceType::USER, target.user_namespace);
    // A user namespace takes the rights for these; the procfs is of the pid
    // namespace we were born in.
    let mut procfs = None;
    if target.user_namespace {
        let own = Procfs::new()?;
        if let Some(score) = process.oom_score_adj {
            set_oom_score(&own, score)?;
        }
        procfs = Some(own);
    }
    move_into_thread_name_spaces(init.as_fd(), all).doing("enter the container's namespaces")?;
    if target.user_namespace {
        become_root()?;
    }
    join_keyring(&process.attributes, Joining::Further)?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let root = Root::new(root.doing("open the container's root")?);

    stage.enter("terminal");
    let streams = Streams::open(io, &root, None)?;
    let cwd = open_cwd(&root, &process.cwd)?;
    let launch = Launch {
        process,
        root: &root,
        cwd: &cwd,
        streams,
        parentage: Parentage::Further,
        procfs,
        oom_score: process.oom_score_adj.filter(|_| !target.user_namespace),
        hooks: None,
    };
    become_command(launch, channel, stage)
}
