//! The life of a container: create, start, run, kill, delete, pause, resume.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Hooks;
use rcnt_base::report::StartError;
use rcnt_runtime::cgroup;
use rcnt_runtime::oci;
use rcnt_runtime::plan::ContainerPlan;
use rcnt_runtime::spawn::{ChildIo, Init, WindowSize, spawn_gated};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};

use crate::args::{CreateArgs, RunArgs};
use crate::state::{Directory, Saved, Status, start_time};
use crate::{Error, console, hooks};

/// Makes the container; its command waits for [`start`].
pub(crate) fn create(root: &Path, args: &CreateArgs) -> Result<Created, Error> {
    let bundle = match &args.bundle {
        Some(path) => path.clone(),
        None => std::env::current_dir().map_err(Error::io("find the working directory"))?,
    };
    let bundle = bundle.canonicalize().map_err(Error::io("find the bundle"))?;
    let config = oci::read(&bundle)?;
    let plan = oci::plan(&args.id, &bundle, &config)?;
    let directory = Directory::of(root, &args.id)?;
    directory.claim()?;
    let saved = Saved {
        id: args.id.clone(),
        bundle,
        pid: 0,
        start_time: 0,
        created: now(),
        cgroup: plan.cgroup.path.clone(),
        paused: false,
        config,
    };
    create_claimed(args, &plan, &directory, saved).inspect_err(|_| {
        // The first error is the one worth telling.
        let _ = cgroup::layout().map(|layout| cgroup::remove(&layout, &plan.cgroup.path));
        let _ = directory.remove();
    })
}

/// A container whose command has not started.
pub(crate) struct Created {
    directory: Directory,
    saved: Saved,
    init: Init,
    terminal: Option<OwnedFd>,
}

fn create_claimed(
    args: &CreateArgs,
    plan: &ContainerPlan,
    directory: &Directory,
    mut saved: Saved,
) -> Result<Created, Error> {
    let fifo = directory.fifo();
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o622), 0)
        .and_then(|()| rustix::fs::chmod(&fifo, Mode::from_raw_mode(0o622)))
        .map_err(Error::errno("make the start FIFO"))?;
    let gate = open(&fifo, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::errno("open the start FIFO"))?;
    let io = io_of(plan, &saved)?;
    let mut init = spawn_gated(plan, io, &mut || Ok(()), gate)?;
    saved.pid = init.pid().as_raw_nonzero().get();
    saved.start_time = start_time(saved.pid).unwrap_or(0);
    let started = prepare(&mut init, &saved).inspect_err(|_| reap_failed(&init))?;
    directory.save(&saved)?;
    if let Some(path) = &args.pid_file {
        rcnt_base::files::write_atomic_mode(
            path,
            saved.pid.to_string().as_bytes(),
            0o644,
            rcnt_base::files::Durability::Volatile,
        )
        .map_err(Error::io("write the pid file"))?;
    }
    let mut terminal = started;
    if let (Some(master), Some(socket)) = (&terminal, &args.console_socket) {
        console::send(socket, master.as_fd()).map_err(Error::io("send the terminal"))?;
        terminal = None;
    }
    Ok(Created { directory: directory.clone(), saved, init, terminal })
}

/// Hooks while the container waits, then "go", then all up to exec.
fn prepare(init: &mut Init, saved: &Saved) -> Result<Option<OwnedFd>, Error> {
    if let Some(all) = saved.config.hooks() {
        refuse_inner_hooks(all)?;
        let state = saved.json(Status::Creating);
        #[allow(deprecated)] // by the specification, but Docker uses it
        hooks::run(all.prestart().as_ref(), &state)?;
        hooks::run(all.create_runtime().as_ref(), &state)?;
    }
    // Gone means that it has failed, which it tells next.
    let _ = init.network_ready();
    Ok(init.wait_ready()?.terminal)
}

fn refuse_inner_hooks(hooks: &Hooks) -> Result<(), Error> {
    let inner = hooks.create_container().iter().chain(hooks.start_container()).flatten();
    match inner.count() {
        0 => Ok(()),
        _ => Err(Error::Refused("hooks inside the container's namespaces cannot be run".into())),
    }
}

fn reap_failed(init: &Init) {
    let _ = rustix::process::pidfd_send_signal(init.pidfd(), rustix::process::Signal::KILL);
    let _ = console::exit_code(init.pid());
}

/// Our own streams, or a terminal of the size the configuration says or ours has.
fn io_of(plan: &ContainerPlan, saved: &Saved) -> Result<ChildIo, Error> {
    if !plan.process.terminal {
        return own_streams();
    }
    let configured = saved.config.process().as_ref().and_then(|p| p.console_size());
    let small = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
    let configured = configured
        .map(|size| WindowSize { rows: small(size.height()), columns: small(size.width()) });
    Ok(ChildIo::Terminal { size: configured.or_else(console::own_size) })
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
fn now() -> String {
    let format = &time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::now_utc().format(format).unwrap_or_default()
}

/// Lets a created container's command go.
pub(crate) fn start(root: &Path, id: &str) -> Result<(), Error> {
    let directory = Directory::of(root, id)?;
    let saved = directory.load()?;
    match directory.status(&saved) {
        Status::Created => open_gate(&directory, &saved),
        status => {
            Err(Error::Refused(format!("cannot start a container that is {}", status.word())))
        }
    }
}

fn open_gate(directory: &Directory, saved: &Saved) -> Result<(), Error> {
    let fifo = directory.fifo();
    let pidfd = saved.first_process().map_err(Error::io("find the container's first process"))?;
    // Without O_NONBLOCK a container that died meanwhile would keep us here.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let gate = open(&fifo, flags, Mode::empty()).map_err(Error::errno("open the start FIFO"))?;
    let mut fds = [PollFd::new(&gate, PollFlags::IN), PollFd::new(&pidfd, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, None))
        .map_err(Error::errno("wait for the container"))?;
    let mut byte = [0u8; 1];
    let got = rustix::io::read(&gate, &mut byte[..]).unwrap_or(0);
    rcnt_base::files::remove_if_exists(&fifo).map_err(Error::io("remove the start FIFO"))?;
    if got != 1 {
        return Err(Error::Refused("the container died before it was started".into()));
    }
    if let Some(all) = saved.config.hooks() {
        // The container runs; a hook's failure is told but changes nothing.
        if let Err(error) = hooks::run(all.poststart().as_ref(), &saved.json(Status::Running)) {
            crate::warn(&error);
        }
    }
    Ok(())
}

/// create, start, and unless detached wait and delete.
pub(crate) fn run(root: &Path, args: &RunArgs) -> Result<u8, Error> {
    let signals = console::hold_signals().map_err(Error::io("block signals"))?;
    let created = create(root, &args.create)?;
    let Created { directory, saved, init, terminal } = created;
    if args.detach && terminal.is_some() {
        reap_failed(&init);
        erase(&directory, &saved)?;
        return Err(Error::Refused("a detached terminal needs --console-socket".into()));
    }
    let opened = open_gate(&directory, &saved);
    if let (Ok(()), true) = (&opened, args.detach) {
        return Ok(0);
    }
    let ended = opened.and_then(|()| {
        console::attend(init.pid(), init.pidfd(), &signals, terminal)
            .map_err(Error::io("wait for the container"))
    });
    if ended.is_err() {
        reap_failed(&init);
    }
    erase(&directory, &saved)?;
    ended
}

/// Sends a signal to the first process, or to all.
pub(crate) fn kill(root: &Path, id: &str, signal: i32, all: bool) -> Result<(), Error> {
    let directory = Directory::of(root, id)?;
    let saved = directory.load()?;
    let stopped = directory.status(&saved) == Status::Stopped;
    if all {
        let layout = cgroup::layout()?;
        for pid in cgroup::pids(&layout, &saved.cgroup)? {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                // It may have ended since the list was read.
                let _ = rcnt_base::sys::child::kill(pid, signal);
            }
        }
        return Ok(());
    }
    if stopped {
        return Err(Error::Refused("container not running".into()));
    }
    let pid = saved.pid().map_err(Error::io("read the container's pid"))?;
    rcnt_base::sys::child::kill(pid, signal).map_err(Error::io("signal the container"))
}

/// Removes what is left of a stopped container; with `force` ends it first.
pub(crate) fn delete(root: &Path, id: &str, force: bool) -> Result<(), Error> {
    let directory = Directory::of(root, id)?;
    let saved = match directory.load() {
        Err(_) if force && directory.exists() => return Ok(directory.remove()?),
        Err(_) if force => return Ok(()),
        other => other?,
    };
    let status = directory.status(&saved);
    // One that was never started has nothing to lose.
    if !matches!(status, Status::Stopped | Status::Created) && !force {
        return Err(Error::Refused(format!(
            "cannot delete container {id} that is not stopped: {}",
            status.word()
        )));
    }
    erase(&directory, &saved)
}

fn erase(directory: &Directory, saved: &Saved) -> Result<(), Error> {
    let layout = cgroup::layout()?;
    cgroup::kill_all(&layout, &saved.cgroup)?;
    wait_gone(saved);
    cgroup::remove(&layout, &saved.cgroup)?;
    cgroup::remove_empty_parents(&layout, &saved.cgroup)?;
    if let Some(all) = saved.config.hooks()
        && let Err(error) = hooks::run(all.poststop().as_ref(), &saved.json(Status::Stopped))
    {
        crate::warn(&error);
    }
    Ok(directory.remove()?)
}

/// A killed process takes a moment to be gone; its parent may reap it later.
fn wait_gone(saved: &Saved) {
    let Ok(pid) = saved.pid() else { return };
    let flags = rustix::process::PidfdFlags::empty();
    let Ok(pidfd) = rustix::process::pidfd_open(pid, flags) else { return };
    if crate::state::is_alive(saved.pid, saved.start_time) {
        let ten_seconds = rustix::time::Timespec { tv_sec: 10, tv_nsec: 0 };
        let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&ten_seconds));
    }
}

/// Freezes or thaws every process of the container.
pub(crate) fn set_paused(root: &Path, id: &str, paused: bool) -> Result<(), Error> {
    let directory = Directory::of(root, id)?;
    let mut saved = directory.load()?;
    let status = directory.status(&saved);
    let fits = if paused {
        matches!(status, Status::Running | Status::Created)
    } else {
        status == Status::Paused
    };
    if !fits {
        let what = if paused { "pause" } else { "resume" };
        return Err(Error::Refused(format!("cannot {what} a container that is {}", status.word())));
    }
    let layout = cgroup::layout()?;
    let change = if paused { cgroup::freeze } else { cgroup::thaw };
    change(&layout, &saved.cgroup)?;
    saved.paused = paused;
    Ok(directory.save(&saved)?)
}

/// Pids as the caller sees them.
pub(crate) fn pids(root: &Path, id: &str) -> Result<Vec<i32>, Error> {
    let saved = Directory::of(root, id)?.load()?;
    Ok(cgroup::pids(&cgroup::layout()?, &saved.cgroup)?)
}

/// A path of the command line, absolute.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(Error::io("find the working directory"))
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        Error::Start(error)
    }
}

impl Error {
    /// For `map_err`: what was being tried.
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Error::Io { doing, source }
    }

    /// [`Error::io`] for a bare errno.
    pub(crate) fn errno(doing: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Error::Io { doing, source: errno.into() }
    }
}
