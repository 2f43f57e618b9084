//! What a crash left: run directories whose lock nobody holds. Every command
//! looks for them first; the clean-up is the same as after a normal end.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rcnt_base::files::{self, Durability, Lock};
use rcnt_base::ids::ContainerId;
use rcnt_base::report;
use rcnt_netstack::plan::table_name;
use rcnt_netstack::{apply, claims};
use rustix::fs::{Mode, OFlags};

use crate::container::{Container, Status};
use crate::error::{EngineError, Result};
use crate::journal::{self, Journal};
use crate::paths::Paths;
use crate::{links, network, records, removal};

/// 128 + SIGKILL: what is left of such a container is killed.
const KILLED: i32 = 137;

/// Cleans up after every supervisor that died without doing so, and corrects
/// states that say "running" after a reboot.
///
/// # Errors
/// The directory of running containers cannot be read. What one container's
/// clean-up could not do is told in its state and tried again by the next command.
pub fn repair(paths: &Paths) -> Result<()> {
    let runs = paths.runs();
    let survey = records::survey(&runs)?;
    records::sweep(&runs, &survey.hidden);
    let living = Living::open(paths);
    for id in survey.ids {
        if living.has(&id) {
            continue;
        }
        // What is wrong with one container must not stop work on the others.
        if let Err(error) = repair_one(paths, &id) {
            log::warn!("cannot clean up after container {}: {}", id.short(), report::chain(&error));
        }
    }
    Ok(())
}

/// Who has a supervisor, asked of many: with 500 containers the way to their locks
/// is most of what every command does.
#[derive(Debug)]
pub(crate) struct Living(Option<OwnedFd>);

impl Living {
    /// Opens the directory of running containers; without one nobody lives.
    pub(crate) fn open(paths: &Paths) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self(rustix::fs::open(paths.runs(), flags, Mode::empty()).ok())
    }

    /// Whether somebody holds its supervisor's lock now.
    pub(crate) fn has(&self, id: &ContainerId) -> bool {
        let lock = Path::new(id.as_str()).join(Paths::SUPERVISOR_LOCK);
        self.0.as_ref().is_some_and(|runs| Lock::is_held_at(runs, &lock))
    }
}

/// Cleans up one run directory unless somebody lives in it or does so already.
///
/// # Errors
/// Its lock cannot be opened.
pub fn repair_one(paths: &Paths, id: &ContainerId) -> Result<()> {
    let Some(_lock) = lock_abandoned(paths, id)? else { return Ok(()) };
    // Somebody is at work on its networks: their undo list is not whole yet.
    let change = paths.change_lock(id);
    let _change = match change.exists() {
        true => match Lock::try_now(&change) {
            Ok(Some(lock)) => Some(lock),
            Ok(None) | Err(_) => return Ok(()),
        },
        false => None,
    };
    log::info!("container {} was left behind by a dead supervisor: cleaning up", id.short());
    // A record that cannot be read does not keep its network and cgroup alive.
    let container = records::load(paths, id).unwrap_or_default();
    if let Some(container) = container.as_ref().filter(|c| c.state.status == Status::Running) {
        let error = "the container's supervisor was killed";
        let state = container.state.clone().exited(KILLED, error, false);
        if let Err(error) = records::save_state(paths, id, &state) {
            log::warn!("{}", report::chain(&error));
        }
    }
    let problems = undo(paths, id);
    for problem in &problems {
        log::warn!("container {}: {problem}", id.short());
    }
    if problems.is_empty()
        && let Some(container) = container.filter(|c| c.record.request.auto_remove)
    {
        removal::remove_files(paths, &container, true)?;
    }
    Ok(())
}

/// The lock of a run directory that nobody lives in.
fn lock_abandoned(paths: &Paths, id: &ContainerId) -> Result<Option<Lock>> {
    let path = paths.supervisor_lock(id);
    let locking = || EngineError::state(format!("cannot lock {}", path.display()));
    let lock = match Lock::try_now(&path) {
        // Removed meanwhile by its supervisor or another command.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        lock => lock.map_err(locking())?,
    };
    let Some(lock) = lock else { return Ok(None) };
    // Opened, then locked: in between its owner may have finished, and another
    // start may have put a directory of its own in this place.
    let held = rustix::fs::fstat(&lock).map_err(|e| locking()(e.into()))?;
    let there = rustix::fs::stat(&path);
    let same = there.is_ok_and(|there| (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino));
    Ok(same.then_some(lock))
}

/// Waits until no run directory is left of a container that does not run: its
/// supervisor may be cleaning up, or have died doing so.
///
/// # Errors
/// It takes too long.
pub fn vacate(paths: &Paths, id: &ContainerId) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let deadline = Instant::now() + PATIENCE;
    while paths.run(id).exists() {
        repair_one(paths, id)?;
        if Instant::now() > deadline {
            return Err(EngineError::StillEnding(id.short().to_owned()));
        }
        // Nothing tells of the end of another's clean-up, which takes milliseconds.
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn undo(paths: &Paths, id: &ContainerId) -> Vec<String> {
    // Claims without an undo list: the CLI died between taking them and writing it.
    let live = |owner: &ContainerId| owner != id && Lock::is_held(&paths.supervisor_lock(owner));
    let mut problems = match files::read_json::<Journal>(&paths.undo(id)) {
        Ok(journal) => journal::teardown(paths, &journal),
        Err(_) => journal::remove_run(paths, id).err().map(|e| e.to_string()).into_iter().collect(),
    };
    if let Err(error) = claims::reap(&paths.roots.exec, &live) {
        problems.push(report::chain(&error));
    }
    problems
}

/// A state that says "running" although nothing runs: the machine was switched
/// off, or the supervisor died just now. Corrected where it is read, by who has
/// the right to change the container: `locked`, or nobody else has it now.
/// `None`: that end removed the container.
///
/// # Errors
/// The state cannot be read or written.
pub fn settle(paths: &Paths, container: Container, locked: bool) -> Result<Option<Container>> {
    let id = container.id.clone();
    let is_settled = |container: &Container| {
        container.state.status != Status::Running || Lock::is_held(&paths.supervisor_lock(&id))
    };
    if is_settled(&container) {
        return Ok(Some(container));
    }
    let _lock = match locked {
        true => None,
        false => match Lock::try_now(&paths.command_lock(&id)) {
            Ok(Some(lock)) => Some(lock),
            // Somebody is changing it: what they make of it is read next time.
            Ok(None) | Err(_) => return records::load(paths, &id),
        },
    };
    repair_one(paths, &id)?;
    let Some(container) = records::load(paths, &id)? else { return Ok(None) };
    if is_settled(&container) {
        return Ok(Some(container));
    }
    let state = container.state.clone().exited(255, "the machine was restarted", false);
    records::save_state(paths, &id, &state)?;
    if container.record.request.auto_remove {
        removal::remove_files(paths, &container, true)?;
        return Ok(None);
    }
    Ok(Some(Container { state, ..container }))
}

/// Somebody flushed the firewall: declares the ports of all running containers
/// again, but those of `except`, which has just done so.
pub fn publish_again(paths: &Paths, except: Option<&ContainerId>) {
    fence(paths);
    let living = Living::open(paths);
    for id in records::ids(&paths.runs()).unwrap_or_default() {
        if Some(&id) == except || !living.has(&id) {
            continue;
        }
        publish_one(paths, &id);
    }
}

/// [`publish_again`] of one container alone, by its own supervisor, and of what is
/// everybody's. `false`: a command is changing its networks or ports just now.
pub(crate) fn publish_own(paths: &Paths, id: &ContainerId) -> bool {
    let change = paths.change_lock(id);
    let _change = match change.exists().then(|| Lock::try_now(&change)) {
        Some(Ok(None) | Err(_)) => return false,
        Some(Ok(lock)) => lock,
        None => None,
    };
    publish_one(paths, id);
    fence(paths);
    true
}

fn publish_one(paths: &Paths, id: &ContainerId) {
    for plan in network::plans(paths, id) {
        if let Err(error) = apply::publish(&plan) {
            log::warn!("container {}: {}", id.short(), report::chain(&error));
        }
    }
    links::reopen(paths, id);
}

fn fence(paths: &Paths) {
    let fenced = forwarding(paths);
    if fenced.is_empty() {
        return;
    }
    let table = table_name(&paths.roots.instance());
    if let Err(error) = apply::fence(&table, &fenced) {
        log::warn!("{}", report::chain(&error));
    }
}

/// Writes down that forwarding of these families (`true`: IPv6) was switched on.
pub(crate) fn note_forwarding(paths: &Paths, families: &[bool]) {
    let mut all = forwarding(paths);
    all.extend(families.iter().filter(|family| !all.contains(family)).collect::<Vec<_>>());
    if let Err(error) = files::write_json(&paths.forwarding(), &all, Durability::Volatile) {
        // The fence is up; only after somebody's flush would it be missed.
        log::warn!("cannot write {}: {error}", paths.forwarding().display());
    }
}

/// The families whose forwarding rcnt has switched on since boot.
pub(crate) fn forwarding(paths: &Paths) -> Vec<bool> {
    files::read_json(&paths.forwarding()).unwrap_or_default()
}
