//! `create`: everything up to the container's command, which waits for `start`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rcnt_base::report::{ExitKind, StartError};
use rcnt_runtime::activation::{Notify, passed};
use rcnt_runtime::cgroup;
use rcnt_runtime::criu::stream_names;
use rcnt_runtime::oci::config::ConsoleSize;
use rcnt_runtime::oci::{self, CgroupDriver, outside_hooks};
use rcnt_runtime::plan::{ContainerPlan, Keyring, NamespaceKind};
use rcnt_runtime::shared_mounts;
use rcnt_runtime::spawn::{ChildIo, Init, WindowSize, spawn_gated};
use rcnt_runtime::{hooks, loopback};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::process::{Pid, Signal, pidfd_send_signal};

use crate::args::CreateArgs;
use crate::handover::{Handover, Wishes};
use crate::state::{Directory, Lock, Saved, Status, start_time};
use crate::{Error, console, shares};

/// A container whose command has not started.
pub(crate) struct Created {
    pub(crate) directory: Directory,
    /// Nobody else starts or deletes it meanwhile.
    pub(crate) lock: Lock,
    pub(crate) saved: Saved,
    pub(crate) init: Init,
    /// Its terminal's master, unless it went to a socket.
    pub(crate) terminal: Option<OwnedFd>,
}

/// Makes the container; its command waits for `start`. `detach`: we will be gone
/// while it runs.
pub(crate) fn create(
    root: &Path,
    args: &CreateArgs,
    driver: CgroupDriver,
    detach: bool,
) -> Result<Created, Error> {
    let passed = passed(args.preserve_fds, true)?;
    let directory = Directory::of(root, &args.id)?;
    let bundle = match &args.bundle {
        Some(path) => path.clone(),
        None => std::env::current_dir().map_err(Error::io("find the working directory"))?,
    };
    let bundle = bundle.canonicalize().map_err(Error::io("find the bundle"))?;
    let config = oci::read(&bundle)?;
    let mut plan = oci::plan(&args.id, &bundle, &config, driver)?;
    if args.no_pivot {
        oci::forbid_pivot(&mut plan, &config)?;
    }
    if args.no_new_keyring {
        plan.process.attributes.keyring = Keyring::Inherited;
    }
    passed.to(&mut plan.process);
    if let Some(notify) = Notify::from_environment(directory.path()) {
        notify.add_to(&mut plan.mounts, &mut plan.process);
    }
    let wishes = Wishes {
        console_socket: args.console_socket.as_deref(),
        pidfd_socket: args.pidfd_socket.as_deref(),
        pid_file: args.pid_file.as_deref(),
        detach,
    };
    let intel_rdt = shares::planned(&plan)?;
    let handover = Handover::prepare(&wishes, plan.process.terminal)?;
    let lock = directory.claim()?;
    let saved = Saved {
        id: args.id.clone(),
        bundle,
        pid: 0,
        start_time: 0,
        created: now(),
        cgroup: plan.cgroup.clone(),
        intel_rdt,
        no_new_keyring: args.no_new_keyring,
        descriptors: stream_names(),
        config,
    };
    let group = saved.intel_rdt.clone();
    let mut spawned = false;
    let made = create_claimed(&handover, &plan, &directory, saved, &mut spawned);
    match made {
        Ok((saved, init, terminal)) => Ok(Created { directory, lock, saved, init, terminal }),
        Err(error) => {
            abandon(&directory, &lock, &plan, spawned);
            if !lock.is_void() {
                let _ = shares::remove(group.as_ref());
            }
            Err(error)
        }
    }
}

/// Removes what a failed creation has made. The error that brought us here is
/// the one worth telling.
///
/// Until a process was `spawned` there is no cgroup of ours, nor after a failure of
/// that: one that is there is somebody else's, with all that is in it.
fn abandon(directory: &Directory, lock: &Lock, plan: &ContainerPlan, spawned: bool) {
    // Deleted by force meanwhile: the id and the cgroup may be somebody else's now.
    if lock.is_void() {
        return;
    }
    if spawned && let Ok(layout) = cgroup::layout_of(&plan.cgroup) {
        let _ = cgroup::kill_all(&layout, &plan.cgroup.path);
        let _ = cgroup::destroy(&layout, &plan.cgroup);
        // What is above it may be a pod's, prepared by somebody else.
    }
    if !plan.namespaces.separate(NamespaceKind::Mount) {
        let _ = shared_mounts::release(&plan.rootfs.mountpoint);
    }
    let _ = directory.remove();
}

fn create_claimed(
    handover: &Handover,
    plan: &ContainerPlan,
    directory: &Directory,
    mut saved: Saved,
    spawned: &mut bool,
) -> Result<(Saved, Init, Option<OwnedFd>), Error> {
    // Before there is anything to be found by it.
    directory.save(&saved)?;
    if let Some(notify) = Notify::from_environment(directory.path()) {
        notify.prepare().map_err(Error::io("make the directory of the notify socket"))?;
    }
    let fifo = directory.fifo();
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o622), 0)
        .and_then(|()| rustix::fs::chmod(&fifo, Mode::from_raw_mode(0o622)))
        .map_err(Error::errno("make the start FIFO"))?;
    let gate = open(&fifo, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::errno("open the start FIFO"))?;
    let io = io_of(plan, &saved, handover.keeps_terminal())?;
    shares::make(plan, &saved)?;
    let mut init = spawn_gated(plan, io, &mut || bring_up_loopback(plan), gate)?;
    *spawned = true;
    saved.pid = init.pid().as_raw_nonzero().get();
    saved.start_time = start_time(saved.pid).unwrap_or(0);
    let entered = shares::enter(&saved, saved.pid);
    let finished = entered.and_then(|()| prepare(&mut init, &saved)).and_then(|terminal| {
        let kept = handover.deliver(init.pid(), init.pidfd(), terminal)?;
        // From here on it is created.
        directory.save(&saved)?;
        Ok(kept)
    });
    match finished {
        Ok(kept) => Ok((saved, init, kept)),
        Err(error) => {
            init.give_back_devices();
            reap_failed(init.pid(), init.pidfd());
            Err(explained(error, plan))
        }
    }
}

/// What the kernel killed had no words of its own.
fn explained(error: Error, plan: &ContainerPlan) -> Error {
    let killed = cgroup::layout_of(&plan.cgroup)
        .is_ok_and(|layout| cgroup::oom_killed(&layout, &plan.cgroup.path).unwrap_or(false));
    match error {
        Error::Start(mut error) if killed && error.kind == ExitKind::Runtime => {
            error.message = "container init was OOM-killed (memory limit too low?)".to_owned();
            Error::Start(error)
        }
        error => error,
    }
}

/// A new network namespace has it, but down.
fn bring_up_loopback(plan: &ContainerPlan) -> Result<(), StartError> {
    if !plan.namespaces.new.contains(&NamespaceKind::Network) {
        return Ok(());
    }
    loopback::up().map_err(|error| {
        let error = Error::io("bring up the loopback interface")(error);
        StartError::new("network", ExitKind::Runtime, &error)
    })
}

/// Hooks while the container waits, then "go", then all up to exec.
fn prepare(init: &mut Init, saved: &Saved) -> Result<Option<OwnedFd>, Error> {
    let outside = outside_hooks(&saved.config)?;
    if !outside.prestart.is_empty() || !outside.create_runtime.is_empty() {
        init.wait_mounted()?;
        // By its name the first comes after the creation, and is told so.
        hooks::run("prestart", &outside.prestart, &saved.json(Status::Created), &[])?;
        let state = saved.json(Status::Creating);
        hooks::run("createRuntime", &outside.create_runtime, &state, &[])?;
        init.hooks_done().map_err(Error::io("go on after the hooks"))?;
    }
    init.network_ready().map_err(Error::io("have the container go on"))?;
    Ok(init.wait_ready()?.terminal)
}

/// Ends a child that nobody will wait for.
pub(crate) fn reap_failed(pid: Pid, pidfd: BorrowedFd<'_>) {
    let _ = pidfd_send_signal(pidfd.as_fd(), Signal::KILL);
    let _ = console::exit_code(pid);
}

/// Our own streams, or a terminal of the size the configuration says or ours has. `ours`: it
/// stays with us.
fn io_of(plan: &ContainerPlan, saved: &Saved, ours: bool) -> Result<ChildIo, Error> {
    if !plan.process.terminal {
        return own_streams();
    }
    let configured = saved.config.process().as_ref().and_then(|p| p.console_size);
    let size = configured.map(window_size).or_else(console::own_size);
    Ok(ChildIo::Terminal { size, bare_newlines: ours })
}

/// The configuration's `consoleSize`.
pub(crate) fn window_size(size: ConsoleSize) -> WindowSize {
    let small = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
    WindowSize { rows: small(size.height), columns: small(size.width) }
}

/// Descriptors 0, 1 and 2, as duplicates.
pub(crate) fn own_streams() -> Result<ChildIo, Error> {
    let again =
        |fd| rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(Error::errno("pass on the streams"));
    Ok(ChildIo::Pipes {
        stdin: Some(again(rustix::stdio::stdin())?),
        stdout: again(rustix::stdio::stdout())?,
        stderr: again(rustix::stdio::stderr())?,
    })
}

/// UTC, RFC 3339.
pub(crate) fn now() -> String {
    let format = &time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::now_utc().format(format).unwrap_or_default()
}
