//! Ending containers: `stop`, `kill`, `restart`, `wait`, `rm`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rcnt_base::files::{self, Durability, Lock};
use rcnt_base::sys::child;
use rcnt_runtime::cgroup;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::container::{Container, Status};
use crate::error::{EngineError, Result};
use crate::session::Remote;
use crate::start::{self, StartMode};
use crate::{Engine, records, removal, repair, signals};

/// How long a killed container may take to be gone: its clean-up included.
const DEATH: Duration = Duration::from_secs(20);

/// Sends the stop signal, waits, kills. Stopping what does not run is done already.
/// `timeout` in seconds, negative: wait for ever.
///
/// # Errors
/// The signal is none, or the container survives SIGKILL.
pub fn stop(
    engine: &Engine,
    container: &Container,
    signal: Option<&str>,
    timeout: Option<i64>,
) -> Result<()> {
    let config = &container.record.config;
    let signal = signal.map_or(Ok(config.stop_signal), signals::parse)?;
    let timeout = timeout.unwrap_or(config.stop_timeout);
    let container = settled(engine, container)?;
    if container.state.status != Status::Running {
        return Ok(());
    }
    let end = Ending::watch(engine, &container);
    send(&container, signal)?;
    let patience = u64::try_from(timeout).ok().map(Duration::from_secs);
    if end.wait(engine, patience)? {
        return Ok(());
    }
    destroy(engine, &container)
}

/// The container as it is when nobody is just starting or removing it.
fn settled(engine: &Engine, container: &Container) -> Result<Container> {
    drop(records::lock(&engine.paths, container)?);
    engine.reload(container)
}

/// Sends a signal to the container's first process.
///
/// # Errors
/// The signal is none, or the container does not run.
pub fn kill(engine: &Engine, container: &Container, signal: &str) -> Result<()> {
    let signal = signals::parse(signal)?;
    let container = settled(engine, container)?;
    if container.state.status != Status::Running {
        return Err(EngineError::NotRunning(container.name.to_string()));
    }
    if signal == 9 {
        // As docker: a kill returns when the container is gone.
        return destroy(engine, &container);
    }
    send(&container, signal)
}

/// Stops and starts again.
///
/// # Errors
/// As [`stop`] and [`start::start`].
pub fn restart(
    engine: &Engine,
    container: &Container,
    signal: Option<&str>,
    timeout: Option<i64>,
) -> Result<()> {
    // Until it runs again `--rm` does not count.
    if container.record.request.auto_remove {
        let keep = engine.paths.keep(&container.id);
        // No run directory: it does not run, and is not removed by stopping.
        let _ = files::write_atomic(&keep, b"", Durability::Volatile);
    }
    stop(engine, container, signal, timeout)?;
    let lock = records::lock(&engine.paths, container)?;
    let container = engine.reload_locked(container)?;
    start::start_locked(engine, container, StartMode::Detached, lock).map(drop)
}

/// Waits for the end of a container; returns its exit code. One that was never
/// started, or has ended, is not waited for.
///
/// # Errors
/// It was removed meanwhile without a trace.
pub fn wait(engine: &Engine, container: &Container) -> Result<i32> {
    let container = engine.reload(container)?;
    if container.state.status != Status::Running {
        return Ok(container.state.exit_code);
    }
    if let Ok(mut remote) = Remote::connect(&engine.paths.run(&container.id), false, false)
        && let Ok(Some(code)) = remote.wait_exited(None)
    {
        return Ok(code);
    }
    // It takes no more clients, or died: its lock tells the end as well.
    drop(Lock::wait_shared_existing(&engine.paths.supervisor_lock(&container.id)));
    repair::repair_one(&engine.paths, &container.id)?;
    Ok(engine.reload(&container)?.state.exit_code)
}

/// Removes a container; one that runs only with `force`.
///
/// # Errors
/// It runs, or something of it cannot be removed.
pub fn remove(engine: &Engine, container: &Container, force: bool, volumes: bool) -> Result<()> {
    let paths = &engine.paths;
    let _lock = records::lock(paths, container)?;
    let container = engine.reload_locked(container)?;
    if container.state.status == Status::Running {
        if !force {
            return Err(EngineError::RemoveRunning(container.name.to_string()));
        }
        destroy(engine, &container)?;
    }
    removal::remove_files(paths, &container, volumes)
}

/// Kills everything in the container and waits until it is cleaned up.
fn destroy(engine: &Engine, container: &Container) -> Result<()> {
    let end = Ending::watch(engine, container);
    send(container, 9)?;
    if end.wait(engine, Some(DEATH))? {
        return Ok(());
    }
    // Its first process is stuck or its supervisor stopped: go by the cgroup.
    let group = engine.cgroup_parent(&container.record.request).join(&container.id);
    let _ = cgroup::layout().map(|layout| cgroup::kill_all(&layout, &group));
    match Ending::watch(engine, container).wait(engine, Some(DEATH))? {
        true => Ok(()),
        false => Err(EngineError::WillNotDie(container.name.to_string())),
    }
}

fn send(container: &Container, signal: i32) -> Result<()> {
    let sending = || EngineError::state(format!("cannot signal container {}", container.name));
    // Ended just now is what was wanted, or will be seen by who waits.
    let Some(pidfd) = first_process(container) else { return Ok(()) };
    match child::signal_pidfd(pidfd.as_fd(), signal) {
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(()),
        sent => sent.map_err(sending()),
    }
}

/// A descriptor of the container's first process, if it still is that process:
/// a pid can be anybody's after the end of its owner.
pub(crate) fn first_process(container: &Container) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(container.state.pid).ok()?)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Its parent is the supervisor of this container, unless the number was
    // given away before the descriptor was opened.
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = status.lines().find_map(|l| l.strip_prefix("PPid:"))?.trim();
    (parent == container.state.supervisor.to_string()).then_some(pidfd)
}

/// A container's end, watched from before it was asked for.
struct Ending {
    id: rcnt_base::ids::ContainerId,
    remote: Option<Remote>,
}

impl Ending {
    fn watch(engine: &Engine, container: &Container) -> Self {
        let run = engine.paths.run(&container.id);
        Self { id: container.id.clone(), remote: Remote::connect(&run, false, false).ok() }
    }

    /// Whether it ended, and is cleaned up, within `limit`.
    fn wait(mut self, engine: &Engine, limit: Option<Duration>) -> Result<bool> {
        let waiting = || EngineError::state("cannot wait for the container's supervisor");
        let deadline = limit.and_then(|l| Instant::now().checked_add(l));
        if let Some(remote) = &mut self.remote {
            match remote.wait_exited(limit) {
                Ok(Some(_)) => return Ok(true),
                // The supervisor is gone: what it left is for us.
                Ok(None) => {}
                Err(e) if e.kind() == io::ErrorKind::TimedOut => return Ok(false),
                Err(e) => return Err(waiting()(e)),
            }
        }
        loop {
            let lock = engine.paths.supervisor_lock(&self.id);
            if !Lock::is_held(&lock) {
                repair::repair_one(&engine.paths, &self.id)?;
                return Ok(File::open(lock).is_err());
            }
            if deadline.is_some_and(|d| d <= Instant::now()) {
                return Ok(false);
            }
            // Only for a supervisor that takes no more clients.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
