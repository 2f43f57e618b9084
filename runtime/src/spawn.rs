//! The parent's side of starting a container: cgroup, channel, clone3(2), and
//! the news of how it went. Everything else is `init`'s.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rcnt_base::report::StartError;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, pidfd_send_signal};

use crate::birth;
use crate::cgroup::{self, CgroupError, LayoutError};
use crate::channel::{self, ParentEnd};
use crate::init::{self, Birth};
use crate::net_devices::{self, Moved, NetDeviceError};
use crate::plan::{ContainerPlan, NamespaceKind, SeccompListener};
use crate::seccomp::listener::{self, Filtered};

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
        /// Its output has line feeds as the command writes them, for a caller that
        /// carries it to a terminal of its own, where they are translated, or to a
        /// pipe, where they should not be.
        bare_newlines: bool,
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
    /// The socket pair could not be made or used.
    #[error("cannot talk to the container's first process")]
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
    /// The namespaces could not be joined or prepared on the way to it.
    #[error(transparent)]
    Birth(StartError),
    /// The ids of the new user namespace could not be given a meaning.
    #[error("cannot write {}", path.display())]
    IdMap {
        /// uid_map or gid_map of the process.
        path: PathBuf,
        /// EINVAL for overlapping ranges or too many of them.
        #[source]
        source: io::Error,
    },
    /// A network device of the plan could not be moved.
    #[error(transparent)]
    NetDevice(#[from] NetDeviceError),
}

/// The container's first process, not necessarily past exec yet.
#[derive(Debug)]
pub struct Init {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
    pub(crate) channel: ParentEnd,
    pub(crate) devices: Option<Moved>,
    /// Whoever is to be told when its filter is loaded.
    pub(crate) listener: Option<SeccompListener>,
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

    /// Moves the plan's network devices back to where they came from, for a caller
    /// that gives up on the container; before it ends the process, with which a
    /// new network namespace goes and takes virtual devices along.
    pub fn give_back_devices(&mut self) {
        if let Some(devices) = self.devices.take() {
            devices.give_back();
        }
    }

    /// The parent's "go": everything outside is ready, init may call `inside`
    /// and start the command. Must be called exactly once, network or not;
    /// dropping [`Init`] without it ends the child.
    ///
    /// # Errors
    /// The kernel's reason; that the child is gone [`Init::wait_started`] tells.
    pub fn network_ready(&self) -> io::Result<()> {
        self.channel.go()
    }

    /// Blocks until the command runs, after [`Init::wait_ready`] and the opening of
    /// the gate.
    ///
    /// # Errors
    /// As [`Init::wait_started`].
    pub fn wait_running(&mut self) -> Result<(), StartError> {
        self.channel.wait_executed()
    }

    /// Blocks until everything is mounted and the container waits for
    /// [`Init::hooks_done`]; only for plans that say so
    /// ([`crate::plan::HooksPlan::outside`]).
    ///
    /// # Errors
    /// As [`Init::wait_started`].
    pub fn wait_mounted(&self) -> Result<(), StartError> {
        self.channel.wait_mounted()
    }

    /// Lets a container that waits for the hooks outside go on.
    ///
    /// # Errors
    /// The kernel's reason; that the child is gone [`Init::wait_started`] tells.
    pub fn hooks_done(&self) -> io::Result<()> {
        self.channel.hooked()
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
        let started = self.wait_ready()?;
        self.channel.wait_executed()?;
        Ok(started)
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
        let terminal = self.channel.wait_ready()?;
        if let Some(listener) = self.listener.take() {
            let descriptor = self.channel.take_listener(self.pidfd.as_fd())?;
            let pid = self.pid.as_raw_nonzero().get();
            let process = Filtered { pid, first: pid, status: "creating" };
            listener::hand_over(&listener, process, descriptor)?;
        }
        Ok(Started { terminal })
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
    let layout = cgroup::layout_of(&plan.cgroup)?;
    let joins = open_joins(plan)?;
    let null = init::host_null().map_err(SpawnError::Null)?;
    let (parent_end, child_end) = channel::pair().map_err(SpawnError::Channel)?;
    let own_cgroup = !plan.cgroup.path.as_os_str().is_empty();
    let handles = own_cgroup.then(|| cgroup::create(&layout, &plan.cgroup)).transpose()?;
    let birth = Birth {
        plan,
        io,
        null: &null,
        layout: &layout,
        cgroup: handles.as_ref(),
        joins,
        inside,
        lifetime,
    };
    let born = birth::first_process(birth, parent_end, child_end);
    let mut init = born.and_then(|init| with_devices(plan, init)).inspect_err(|_| {
        if own_cgroup {
            // The error that brought us here is the one worth telling.
            let _ = cgroup::destroy(&layout, &plan.cgroup);
        }
    })?;
    init.listener = plan.process.listener().cloned();
    Ok(init)
}

/// The network devices are the container's before anybody, hooks included, looks.
fn with_devices(plan: &ContainerPlan, mut init: Init) -> Result<Init, SpawnError> {
    if plan.net_devices.is_empty() {
        return Ok(init);
    }
    let moved = network_of(plan, &init)
        .and_then(|netns| Ok(net_devices::move_into(&plan.net_devices, netns.as_fd())?));
    match moved {
        Ok(devices) => {
            init.devices = devices;
            Ok(init)
        }
        Err(error) => {
            // ESRCH: it has ended by itself.
            let _ = pidfd_send_signal(init.pidfd(), Signal::KILL);
            birth::reap(init.pid);
            Err(error)
        }
    }
}

/// A network namespace to join may not have been joined yet.
fn network_of(plan: &ContainerPlan, init: &Init) -> Result<OwnedFd, SpawnError> {
    let own = || PathBuf::from(format!("/proc/{}/ns/net", init.pid));
    let path = plan.namespaces.join.get(&NamespaceKind::Network).cloned().unwrap_or_else(own);
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| SpawnError::Namespace { path, source: e.into() })
}

fn open_joins(plan: &ContainerPlan) -> Result<Vec<(NamespaceKind, OwnedFd)>, SpawnError> {
    let open = |(kind, path): (&NamespaceKind, &PathBuf)| {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map(|fd| (*kind, fd))
            .map_err(|e| SpawnError::Namespace { path: path.clone(), source: e.into() })
    };
    plan.namespaces.join.iter().map(open).collect()
}
