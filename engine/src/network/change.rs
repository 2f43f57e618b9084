//! The right to change what surrounds a running container: its networks, its ports.
//!
//! ```text
//! change                                   end of the container (supervisor)
//! 1 locks run/<id>/change                  1 state.json says "exited"
//! 2 state.json says "running"? else stop   2 run/<id>/change there? waits for its lock,
//! 3 changes/<id> says what is on its way     says "exited" once more, reads undo.json anew
//! 4 undo.json, then effects                3 takes back what undo.json lists
//! 5 state.json, changes/<id> gone
//! ```
//!
//! Whichever comes first, the other sees it: no effect is without its line in the
//! undo list that is run. A change that was killed is found by the next command in
//! `changes/<id>`, its lock free, and is taken back; see [`super::connect::mend`].

use std::io;

use rcnt_base::files::{self, Durability, Lock};
use rcnt_base::ids::{ContainerId, Name};
use rcnt_base::report;
use serde::{Deserialize, Serialize};

use crate::container::{Container, Status};
use crate::error::{EngineError, Result};
use crate::journal::Journal;
use crate::paths::Paths;
use crate::ports::PortsLeft;
use crate::session::Remote;
use crate::{records, stop};

/// A change of a running container, from its lock to [`Change::finish`].
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub(crate) paths: &'a Paths,
    /// As it is; what is changed in its state is saved by [`Change::commit`].
    pub(crate) container: Container,
    /// Its undo list; saved by whoever changes it.
    pub(crate) journal: Journal,
    /// It ends what a killed command had begun: what is there is not known.
    pub(crate) mends: bool,
    _lock: Lock,
}

/// What `changes/<id>` says: what is on its way, and what becomes of it if it is killed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Note {
    /// The container is put on this network or taken off it: it is taken off.
    Network(Name),
    /// It gets ports or loses some: these are left.
    Ports(PortsLeft),
}

impl<'a> Change<'a> {
    /// Waits for the right to change a running container's surroundings. The caller
    /// holds the container's command lock.
    ///
    /// # Errors
    /// It does not run (any more).
    pub(crate) fn begin(paths: &'a Paths, container: &Container) -> Result<Self> {
        let stopped = || EngineError::NotRunning(container.name.to_string());
        let lock = Lock::wait(&paths.change_lock(&container.id)).map_err(|_| stopped())?;
        Self::locked(paths, container, lock)?.ok_or_else(stopped)
    }

    /// [`Change::begin`] for who finds a change left behind; `None` where somebody is
    /// at work on the container, or it does not run.
    fn try_begin(paths: &'a Paths, container: &Container) -> Result<Option<Self>> {
        match Lock::try_now(&paths.change_lock(&container.id)) {
            Ok(Some(lock)) => Self::locked(paths, container, lock),
            Ok(None) | Err(_) => Ok(None),
        }
    }

    fn locked(paths: &'a Paths, container: &Container, lock: Lock) -> Result<Option<Self>> {
        // Its end may have come while this waited, and with it the end of the lock's
        // file: then the lock is nobody's.
        let Some(container) = records::load(paths, &container.id)? else { return Ok(None) };
        let lives = container.state.status == Status::Running
            && Lock::is_held(&paths.supervisor_lock(&container.id))
            && stop::first_process(&container).is_some();
        if !lives {
            return Ok(None);
        }
        let journal = files::read_json(&paths.undo(&container.id))
            .map_err(EngineError::state("cannot read the undo list"))?;
        Ok(Some(Self { paths, container, journal, mends: false, _lock: lock }))
    }

    /// Says what is on its way, before anything of it is done.
    ///
    /// # Errors
    /// The disk is full.
    pub(crate) fn note(&self, note: &Note) -> Result<()> {
        let id = &self.container.id;
        let path = self.paths.change(id);
        // Beside the lock: what a crash leaves of it goes with the run directory.
        let draft = self.paths.run(id).join("change.json");
        let place = || std::fs::rename(&draft, &path);
        let written =
            files::write_json(&draft, note, Durability::Volatile).and_then(|()| match place() {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    files::create_dirs(&self.paths.changes()).and_then(|()| place())
                }
                done => done,
            });
        written.map_err(EngineError::state("cannot write down the change"))
    }

    /// Saves the changed state.
    ///
    /// # Errors
    /// The disk is full.
    pub(crate) fn commit(&self) -> Result<()> {
        records::save_state(self.paths, &self.container.id, &self.container.state)
    }

    /// All is done: nothing is on its way any more. A supervisor that relays to
    /// published ports is told.
    ///
    /// # Errors
    /// The note cannot be removed.
    pub(crate) fn finish(self) -> Result<()> {
        let relays = !self.journal.ports.is_empty();
        if relays
            && let Ok(remote) =
                &mut Remote::connect(&self.paths.run(&self.container.id), false, false)
        {
            // One that has just ended has nothing to relay.
            let _ = remote.networks_changed();
        }
        files::remove_if_exists(&self.paths.change(&self.container.id))
            .map_err(EngineError::state("cannot forget the change"))
    }
}

/// The changes that were left behind by the dead, of containers that still run, each
/// with what they were about. Those of others, whose end took everything back,
/// are forgotten.
pub(crate) fn left_behind(paths: &Paths) -> Vec<(Change<'_>, Note)> {
    let mut found = Vec::new();
    for id in records::ids(&paths.changes()).unwrap_or_default() {
        match abandoned(paths, &id) {
            Ok(change) => found.extend(change),
            Err(error) => log::warn!("container {}: {}", id.short(), report::chain(&error)),
        }
    }
    found
}

fn abandoned<'a>(paths: &'a Paths, id: &ContainerId) -> Result<Option<(Change<'a>, Note)>> {
    let forget = || {
        files::remove_if_exists(&paths.change(id))
            .map_err(EngineError::state("cannot forget a change"))
    };
    let Some(container) = records::load(paths, id)? else { return forget().map(|()| None) };
    if !paths.run(id).exists() {
        return forget().map(|()| None);
    }
    let Some(mut change) = Change::try_begin(paths, &container)? else { return Ok(None) };
    change.mends = true;
    // Finished before we had the lock.
    let Ok(note) = files::read_json::<Note>(&paths.change(id)) else { return Ok(None) };
    Ok(Some((change, note)))
}
