//! The parent's side of starting a container: cgroup, channel, clone3(2), and
//! the news of how it went. Everything else is `init`'s.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rcnt_base::report::StartError;
use rcnt_base::sys::child::{Cloned, clone3};
use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Pid, set_dumpable_behavior};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::cgroup::{self, CgroupError, Layout, LayoutError};
use crate::channel::{self, ParentEnd};
use crate::init::{self, Birth};
use crate::plan::{ContainerPlan, NamespaceKind};

/// The standard streams of a command.
#[derive(Debug)]
pub enum ChildIo {
    /// Three descriptors; no stdin means the host's `/dev/null`.
    Pipes {
        /// Becomes descriptor 0.
        stdin: Option<OwnedFd>,
        /// Becomes descriptor 1.
        stdout: OwnedFd,
        /// Becomes descriptor 2.
        stderr: OwnedFd,
    },
    /// A pty opened in the container's own devpts; its master comes back in [`Started`].
    Terminal {
        /// Set before the command starts; 80×24 when nobody knows.
        size: Option<WindowSize>,
    },
}

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters per line.
    pub columns: u16,
}

/// Why a container's first process could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The host's null device could not be opened.
    #[error("cannot open /dev/null")]
    Null(#[source] io::Error),
    /// The socket pair could not be made.
    #[error("cannot make the channel to the container")]
    Channel(#[source] io::Error),
    /// The machine's cgroups are not understood.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The container's cgroup could not be made.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A namespace to join is not there.
    #[error("cannot open namespace {}", path.display())]
    Namespace {
        /// As planned.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// clone3(2) failed.
    #[error("cannot create the container's namespaces")]
    Clone(#[source] io::Error),
}

/// The container's first process, not necessarily past exec yet.
#[derive(Debug)]
pub struct Init {
    pid: Pid,
    pidfd: OwnedFd,
    channel: ParentEnd,
}

/// A command that is running: exec(2) has happened.
#[derive(Debug)]
pub struct Started {
    /// Master of the pty, when [`ChildIo::Terminal`] was asked for.
    pub terminal: Option<OwnedFd>,
}

impl Init {
    /// Its pid in the caller's pid namespace.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Readable when it has exited; waitid(2) P_PIDFD takes it.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Its network namespace.
    ///
    /// # Errors
    /// The process is gone, or the kernel's reason.
    pub fn netns(&self) -> io::Result<OwnedFd> {
        let path = format!("/proc/{}/ns/net", self.pid);
        Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// The parent's "go": everything outside is ready, init may call `inside`
    /// and start the command. Must be called exactly once, network or not;
    /// dropping [`Init`] without it ends the child.
    ///
    /// # Errors
    /// The child is gone; [`Init::wait_started`] tells why.
    pub fn network_ready(&self) -> io::Result<()> {
        self.channel.go()
    }

    /// Readable when [`Init::wait_started`] would not block (beyond exec itself).
    pub fn started_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// Blocks until the command runs or could not be started.
    ///
    /// # Errors
    /// What went wrong inside, with docker's exit code for it. The child has
    /// exited or is about to; it still has to be reaped.
    pub fn wait_started(&mut self) -> Result<Started, StartError> {
        self.channel.wait().map(|terminal| Started { terminal })
    }

    /// The reason that a child gave before it ended, for a caller that has met a
    /// consequence of it (no namespaces to open, nobody to say "go" to); `None`
    /// when it ended without a word. Blocks until it has ended: kill it first.
    pub fn last_words(&mut self) -> Option<StartError> {
        self.channel.last_words()
    }

    /// Blocks until all is done but exec, or something went wrong; what
    /// [`spawn_gated`]'s caller waits for.
    ///
    /// # Errors
    /// As [`Init::wait_started`].
    pub fn wait_ready(&mut self) -> Result<Started, StartError> {
        self.channel.wait_ready().map(|terminal| Started { terminal })
    }
}

/// Starts `plan`: makes the cgroup, clones, and returns at once; the child
/// mounts meanwhile, then waits for [`Init::network_ready`], calls `inside` in
/// the container's network namespace while still privileged, and executes.
///
/// The caller must be single-threaded, and reap the child. It becomes
/// non-dumpable, so that its copy in the container cannot be traced or looked
/// into from there before exec. Of what the caller has open the child keeps
/// `io` only, so `inside` must open for itself what it uses. The cgroup stays
/// when the child ends: [`cgroup::remove`] it.
///
/// # Errors
/// What could not be made on this side; nothing is left behind then. Errors
/// inside come from [`Init::wait_started`].
pub fn spawn(
    plan: &ContainerPlan,
    io: ChildIo,
    inside: &mut dyn FnMut() -> Result<(), StartError>,
) -> Result<Init, SpawnError> {
    spawn_with(plan, io, inside, Lifetime::Supervised)
}

/// [`spawn`] for OCI's create and start: the child stops right before exec until
/// somebody opens the FIFO `gate` (any descriptor on it, O_PATH is enough) for
/// reading, and writes one byte to it then. It does not die with the caller.
/// [`Init::wait_ready`] tells when it has got there.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_gated(
    plan: &ContainerPlan,
    io: ChildIo,
    inside: &mut dyn FnMut() -> Result<(), StartError>,
    gate: OwnedFd,
) -> Result<Init, SpawnError> {
    spawn_with(plan, io, inside, Lifetime::Gated(gate))
}

/// Who watches over a container's first process.
#[derive(Debug)]
pub(crate) enum Lifetime {
    /// The caller: it dies with it.
    Supervised,
    /// Nobody, but it waits for the FIFO's reader before exec.
    Gated(OwnedFd),
}

impl Lifetime {
    /// The FIFO, if there is one.
    pub(crate) fn gate(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Lifetime::Supervised => None,
            Lifetime::Gated(gate) => Some(gate.as_fd()),
        }
    }
}

fn spawn_with(
    plan: &ContainerPlan,
    io: ChildIo,
    inside: &mut dyn FnMut() -> Result<(), StartError>,
    lifetime: Lifetime,
) -> Result<Init, SpawnError> {
    let layout = cgroup::layout()?;
    let mut joins = open_joins(plan)?;
    let pid_namespace = take_pid(&mut joins);
    let null = init::host_null().map_err(SpawnError::Null)?;
    let (parent_end, child_end) = channel::pair().map_err(SpawnError::Channel)?;
    let own_cgroup = !plan.cgroup.path.as_os_str().is_empty();
    let handles = own_cgroup.then(|| cgroup::create(&layout, &plan.cgroup)).transpose()?;
    let clone = || {
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        let into = handles.as_ref().and_then(cgroup::JoinHandles::clone_into_fd);
        clone3(clone_flags(plan), into)
    };
    let cloned = match &pid_namespace {
        Some(fd) => in_pid_namespace(fd.as_fd(), clone),
        None => clone(),
    };
    match cloned {
        Ok(Cloned::Parent { pid, pidfd }) => Ok(Init { pid, pidfd, channel: parent_end }),
        Ok(Cloned::Child) => {
            // Or our own copy would keep the parent's end alive after the parent.
            drop(parent_end);
            let cgroup = handles.as_ref();
            let null = &null;
            let birth = Birth { plan, io, null, layout: &layout, cgroup, joins, inside, lifetime };
            init::run_child(&child_end, |stage| init::start(birth, &child_end, stage))
        }
        Err(error) => {
            undo_cgroup(&layout, plan, own_cgroup);
            Err(SpawnError::Clone(error))
        }
    }
}

fn undo_cgroup(layout: &Layout, plan: &ContainerPlan, made: bool) {
    if made {
        // The error that brought us here is the one worth telling.
        let _ = cgroup::remove(layout, &plan.cgroup.path);
    }
}

/// Namespaces born with the process. The mount namespace always is; the cgroup
/// namespace comes later, when the process is in its cgroup.
fn clone_flags(plan: &ContainerPlan) -> UnshareFlags {
    let flag = |kind: &NamespaceKind| match kind {
        NamespaceKind::Cgroup => UnshareFlags::empty(),
        NamespaceKind::Ipc => UnshareFlags::NEWIPC,
        NamespaceKind::Mount => UnshareFlags::NEWNS,
        NamespaceKind::Network => UnshareFlags::NEWNET,
        NamespaceKind::Pid => UnshareFlags::NEWPID,
        NamespaceKind::Uts => UnshareFlags::NEWUTS,
    };
    plan.namespaces.new.iter().map(flag).fold(UnshareFlags::NEWNS, |all, flag| all | flag)
}

fn open_joins(plan: &ContainerPlan) -> Result<Vec<(NamespaceKind, OwnedFd)>, SpawnError> {
    let open = |(kind, path): (&NamespaceKind, &PathBuf)| {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map(|fd| (*kind, fd))
            .map_err(|e| SpawnError::Namespace { path: path.clone(), source: e.into() })
    };
    plan.namespaces.join.iter().map(open).collect()
}

/// A pid namespace is entered by being born in it.
fn take_pid(joins: &mut Vec<(NamespaceKind, OwnedFd)>) -> Option<OwnedFd> {
    let at = joins.iter().position(|(kind, _)| *kind == NamespaceKind::Pid)?;
    Some(joins.swap_remove(at).1)
}

/// Runs `clone` so that its child is born in the pid namespace `fd` (the
/// namespace itself or a process in it), then points the caller's own future
/// children back to its own namespace.
pub(crate) fn in_pid_namespace(
    fd: BorrowedFd<'_>,
    clone: impl FnOnce() -> io::Result<Cloned>,
) -> io::Result<Cloned> {
    let kind = Some(LinkNameSpaceType::ProcessID);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let own = rustix::fs::open("/proc/self/ns/pid", flags, Mode::empty())?;
    move_into_link_name_space(fd, kind)?;
    let cloned = clone();
    if !matches!(cloned, Ok(Cloned::Child)) {
        move_into_link_name_space(own.as_fd(), kind)?;
    }
    cloned
}
