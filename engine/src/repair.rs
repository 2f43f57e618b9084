//! What a crash left: run directories whose lock nobody holds. Every command
//! looks for them first; the clean-up is the same as after a normal end.

use rcnt_base::files::{self, Lock};
use rcnt_base::ids::ContainerId;
use rcnt_base::report;
use rcnt_netstack::plan::NetworkPlan;
use rcnt_netstack::{apply, claims};

use crate::container::Status;
use crate::error::{EngineError, Result};
use crate::journal::{self, Journal};
use crate::paths::Paths;
use crate::{records, removal};

/// 128 + SIGKILL: what is left of such a container is killed.
const KILLED: i32 = 137;

/// Cleans up after every supervisor that died without doing so, and corrects
/// states that say "running" after a reboot.
///
/// # Errors
/// The directory of running containers cannot be read. What one container's
/// clean-up could not do is told in its state and tried again by the next command.
pub fn repair(paths: &Paths) -> Result<()> {
    records::sweep(&paths.runs())?;
    for id in records::ids(&paths.runs())? {
        if !Lock::is_held(&paths.supervisor_lock(&id)) {
            repair_one(paths, &id)?;
        }
    }
    Ok(())
}

/// Cleans up one run directory unless somebody lives in it or does so already.
///
/// # Errors
/// Its lock cannot be opened.
pub fn repair_one(paths: &Paths, id: &ContainerId) -> Result<()> {
    let run = paths.run(id);
    let lock = match Lock::try_now(&paths.supervisor_lock(id)) {
        // Removed meanwhile by its supervisor or another command.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        lock => lock.map_err(EngineError::state(format!("cannot lock {}", run.display())))?,
    };
    let Some(_lock) = lock else { return Ok(()) };
    log::info!("container {} was left behind by a dead supervisor: cleaning up", id.short());
    let container = records::load(paths, id)?;
    if let Some(container) = container.as_ref().filter(|c| c.state.status == Status::Running) {
        let error = "the container's supervisor was killed";
        let state = container.state.clone().exited(KILLED, error, false);
        records::save_state(paths, id, &state)?;
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

fn undo(paths: &Paths, id: &ContainerId) -> Vec<String> {
    // Claims without an undo list: the CLI died between taking them and writing it.
    let live = |owner: &ContainerId| owner != id && Lock::is_held(&paths.supervisor_lock(owner));
    let mut problems = match files::read_json::<Journal>(&paths.undo(id)) {
        Ok(journal) => journal::teardown(paths, &journal),
        Err(_) => {
            files::remove_tree(&paths.run(id)).err().map(|e| e.to_string()).into_iter().collect()
        }
    };
    if let Err(error) = claims::reap(&paths.roots.exec, &live) {
        problems.push(report::chain(&error));
    }
    problems
}

/// A state that says "running" although nothing runs: the machine was switched
/// off. Corrected where it is read.
///
/// # Errors
/// The state cannot be written.
pub fn settle(paths: &Paths, container: &mut crate::container::Container) -> Result<()> {
    if container.state.status != Status::Running
        || Lock::is_held(&paths.supervisor_lock(&container.id))
    {
        return Ok(());
    }
    // Its supervisor may have recorded the end just now.
    if let Some(now) = records::load(paths, &container.id)? {
        *container = now;
    }
    if container.state.status == Status::Running {
        let error = "the machine was restarted";
        container.state = container.state.clone().exited(255, error, false);
        records::save_state(paths, &container.id, &container.state)?;
    }
    Ok(())
}

/// Somebody flushed the firewall: declares the ports of all running containers
/// again, but those of `except`, which has just done so.
pub fn publish_again(paths: &Paths, except: &ContainerId) {
    for id in records::ids(&paths.runs()).unwrap_or_default() {
        if id == *except || !Lock::is_held(&paths.supervisor_lock(&id)) {
            continue;
        }
        let Ok(plan) = files::read_json::<NetworkPlan>(&paths.network_plan(&id)) else { continue };
        if let Err(error) = apply::publish(&plan) {
            log::warn!("container {}: {}", id.short(), report::chain(&error));
        }
    }
}
