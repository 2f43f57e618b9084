//! The containers on disk: create, load, find, list, remove. Directories appear
//! and disappear whole, by rename; names are symbolic links, won once.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rcnt_base::files::{self, Durability, Lock};
use rcnt_base::ids::{ContainerId, Name};
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use crate::container::{Container, Record, State, Status};
use crate::error::{EngineError, Result};
use crate::paths::Paths;

/// Stores a new container and takes its name.
///
/// # Errors
/// The name is taken, or the disk is full. Nothing is left behind.
pub fn create(paths: &Paths, record: &Record, durability: Durability) -> Result<()> {
    let saving = || EngineError::state(format!("cannot save container {}", record.name));
    for dir in [paths.containers(), paths.names()] {
        files::create_dirs(&dir).map_err(saving())?;
    }
    let building = paths.containers().join(under_construction(".new-", &record.id));
    let built = (|| {
        fs::create_dir(&building)?;
        for part in ["upper", "work"] {
            fs::create_dir(building.join(part))?;
        }
        // The container's root directory takes its mode from here.
        rustix::fs::chmod(building.join("upper"), rustix::fs::Mode::from_raw_mode(0o755))?;
        files::write_json(&building.join("container.json"), record, durability)?;
        files::write_json(&building.join("state.json"), &State::created(), Durability::Volatile)
    })()
    .map_err(saving());
    let stored = built.and_then(|()| claim_name(paths, &record.name, &record.id)).and_then(|()| {
        fs::rename(&building, paths.container(&record.id)).map_err(|e| {
            let _ = files::remove_if_exists(&paths.name(&record.name));
            saving()(e)
        })
    });
    if stored.is_err() {
        let _ = files::remove_tree(&building);
    } else if durability == Durability::Durable {
        files::sync_dir(&paths.containers()).map_err(saving())?;
        files::sync_dir(&paths.names()).map_err(saving())?;
    }
    stored
}

fn claim_name(paths: &Paths, name: &Name, id: &ContainerId) -> Result<()> {
    let link = paths.name(name);
    // A second try after a name whose container a crash has left nowhere.
    for _ in 0..2 {
        match std::os::unix::fs::symlink(id, &link) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let holder = holder(paths, &link)?;
                if let Some(holder) = holder {
                    return Err(EngineError::NameTaken {
                        name: name.to_string(),
                        holder: holder.to_string(),
                    });
                }
            }
            Err(e) => return Err(EngineError::state(format!("cannot take name {name}"))(e)),
        }
    }
    Err(EngineError::NameTaken { name: name.to_string(), holder: "?".into() })
}

/// Who holds the name; a link to nobody is removed.
fn holder(paths: &Paths, link: &Path) -> Result<Option<ContainerId>> {
    let Ok(target) = fs::read_link(link) else { return Ok(None) };
    let id: Option<ContainerId> = target.to_str().and_then(|t| t.parse().ok());
    let alive = id.filter(|id| paths.container(id).exists() || is_being_made(paths, id));
    if alive.is_none() {
        files::remove_if_exists(link)
            .map_err(EngineError::state("cannot remove a name left behind"))?;
    }
    Ok(alive)
}

/// Loads one container; `None` when there is none of this id.
///
/// # Errors
/// A damaged file.
pub fn load(paths: &Paths, id: &ContainerId) -> Result<Option<Container>> {
    load_at(rustix::fs::CWD, &paths.container(id), id)
}

/// The container of this id whose directory is `path`, below `dir`.
fn load_at(dir: impl AsFd, path: &Path, id: &ContainerId) -> Result<Option<Container>> {
    let found = read_at::<Record, State>(dir, path, id)?;
    Ok(found.map(|(record, state)| Container {
        id: id.clone(),
        name: record.name.clone(),
        record,
        state,
    }))
}

/// Its two files, as far as `R` and `S` want to know.
fn read_at<R: DeserializeOwned, S: DeserializeOwned>(
    dir: impl AsFd,
    path: &Path,
    id: &ContainerId,
) -> Result<Option<(R, S)>> {
    let reading = || EngineError::state(format!("cannot read container {}", id.short()));
    let record = match files::read_json_at(&dir, &path.join(Paths::RECORD)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(reading())?,
    };
    let state = match files::read_json_at(&dir, &path.join(Paths::STATE)) {
        // Being removed right now.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(reading())?,
    };
    Ok(Some((record, state)))
}

/// Every container, newest first. One whose files are damaged is left out, and
/// said to be. What a crash left half made or half removed is removed.
///
/// # Errors
/// The directory cannot be read.
pub fn list(paths: &Paths) -> Result<Vec<Container>> {
    let mut all = each(paths, |dir, path, id| load_at(dir, path, id))?;
    all.sort_by(|a, b| b.record.created.cmp(&a.record.created).then_with(|| a.id.cmp(&b.id)));
    Ok(all)
}

/// The least there is to say of a container: to read no more of a thousand takes half
/// of the time.
#[derive(Debug)]
pub struct Sketch {
    /// Its id.
    pub id: ContainerId,
    /// When it was created.
    pub created: OffsetDateTime,
    /// What its state says.
    pub status: Status,
}

/// As [`list`], in outline.
///
/// # Errors
/// As [`list`].
pub(crate) fn sketches(paths: &Paths) -> Result<Vec<Sketch>> {
    let mut all = each(paths, sketch_at)?;
    all.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    Ok(all)
}

fn sketch_at(dir: &OwnedFd, path: &Path, id: &ContainerId) -> Result<Option<Sketch>> {
    #[derive(Deserialize)]
    struct Made {
        #[serde(with = "time::serde::rfc3339")]
        created: OffsetDateTime,
    }
    #[derive(Deserialize)]
    struct Now {
        status: Status,
    }
    let found = read_at::<Made, Now>(dir, path, id)?;
    Ok(found.map(|(made, now)| Sketch {
        id: id.clone(),
        created: made.created,
        status: now.status,
    }))
}

/// Has `load` read every container there is.
fn each<T>(
    paths: &Paths,
    load: impl Fn(&OwnedFd, &Path, &ContainerId) -> Result<Option<T>>,
) -> Result<Vec<T>> {
    let dir = paths.containers();
    let survey = survey(&dir)?;
    sweep(&dir, &survey.hidden);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(open) = rustix::fs::open(&dir, flags, Mode::empty()) else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for id in survey.ids {
        match load(&open, Path::new(id.as_str()), &id) {
            Ok(container) => all.extend(container),
            Err(error) => log::warn!("{}", rcnt_base::report::chain(&error)),
        }
    }
    Ok(all)
}

/// What a directory of containers has.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Entries that are container ids.
    pub(crate) ids: Vec<ContainerId>,
    /// Entries that begin with a dot.
    pub(crate) hidden: Vec<String>,
}

/// Reads `dir` once; an absent one has nothing.
///
/// # Errors
/// The directory cannot be read.
pub(crate) fn survey(dir: &Path) -> Result<Survey> {
    let reading = || EngineError::state(format!("cannot list {}", dir.display()));
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Survey::default()),
        read => read.map_err(reading())?,
    };
    let mut survey = Survey::default();
    for entry in entries {
        let Ok(name) = entry.map_err(reading())?.file_name().into_string() else { continue };
        match name.starts_with('.') {
            true => survey.hidden.push(name),
            false => survey.ids.extend(name.parse::<ContainerId>()),
        }
    }
    Ok(survey)
}

/// The container ids that name entries of `dir`; an absent directory has none.
///
/// # Errors
/// The directory cannot be read.
pub fn ids(dir: &Path) -> Result<Vec<ContainerId>> {
    Ok(survey(dir)?.ids)
}

/// Finds a container as docker does: full id, then name, then unique id prefix.
///
/// # Errors
/// Nobody, or several.
pub fn find(paths: &Paths, reference: &str) -> Result<Container> {
    let nobody = || EngineError::NoSuchContainer(reference.to_owned());
    if let Ok(id) = reference.parse::<ContainerId>() {
        return load(paths, &id)?.ok_or_else(nobody);
    }
    let reference = reference.strip_prefix('/').unwrap_or(reference);
    if let Ok(name) = reference.parse::<Name>() {
        let target = fs::read_link(paths.name(&name)).ok();
        let id = target.and_then(|t| t.to_str().and_then(|t| t.parse::<ContainerId>().ok()));
        if let Some(container) = id.map(|id| load(paths, &id)).transpose()?.flatten() {
            return Ok(container);
        }
    }
    if reference.is_empty() || !reference.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(nobody());
    }
    let mut matches =
        ids(&paths.containers())?.into_iter().filter(|id| id.as_str().starts_with(reference));
    match (matches.next(), matches.next()) {
        (Some(id), None) => load(paths, &id)?.ok_or_else(nobody),
        (Some(_), Some(_)) => Err(EngineError::AmbiguousPrefix(reference.to_owned())),
        (None, _) => Err(nobody()),
    }
}

/// Replaces the state of a container.
///
/// # Errors
/// The disk is full, or the container was removed meanwhile.
pub fn save_state(paths: &Paths, id: &ContainerId, state: &State) -> Result<()> {
    files::write_json(&paths.state(id), state, Durability::Volatile)
        .map_err(EngineError::state(format!("cannot save the state of container {}", id.short())))
}

/// Waits until no other command changes this container, then holds that right.
///
/// # Errors
/// The container is gone.
pub fn lock(paths: &Paths, container: &Container) -> Result<Lock> {
    let lock = Lock::wait(&paths.command_lock(&container.id))
        .map_err(|_| EngineError::NoSuchContainer(container.name.to_string()))?;
    match paths.record(&container.id).exists() {
        true => Ok(lock),
        false => Err(EngineError::NoSuchContainer(container.name.to_string())),
    }
}

/// Removes a container that does not run, and its name. "Already gone" is fine.
///
/// # Errors
/// The first file that cannot be removed.
pub fn remove(paths: &Paths, id: &ContainerId, name: &Name) -> Result<()> {
    let removing = || EngineError::state(format!("cannot remove container {name}"));
    let gone = paths.containers().join(under_construction(".gone-", id));
    match fs::rename(paths.container(id), &gone) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(removing()(e)),
        _ => {}
    }
    let link = paths.name(name);
    if fs::read_link(&link).is_ok_and(|target| target == Path::new(id.as_str())) {
        files::remove_if_exists(&link).map_err(removing())?;
    }
    files::remove_tree(&gone).map_err(removing())
}

/// The name of a directory that is being made by this process, to be renamed
/// when it is whole.
pub(crate) fn under_construction(prefix: &str, id: &ContainerId) -> String {
    format!("{prefix}{id}.{}", std::process::id())
}

/// Whether a name of [`under_construction`] was left behind: its maker is gone.
fn is_abandoned(name: &str) -> bool {
    let maker = name.rsplit_once('.').and_then(|(_, pid)| pid.parse::<u32>().ok());
    maker.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

fn is_being_made(paths: &Paths, id: &ContainerId) -> bool {
    let prefix = format!(".new-{id}.");
    let hidden = survey(&paths.containers()).unwrap_or_default().hidden;
    hidden.iter().any(|name| name.starts_with(&prefix) && !is_abandoned(name))
}

/// Removes what a crash left half made or half removed in `dir`, of these names that
/// begin with a dot. What cannot be removed is said, and stops nobody.
pub(crate) fn sweep(dir: &Path, hidden: &[String]) {
    for name in hidden.iter().filter(|name| is_abandoned(name)) {
        if let Err(error) = files::remove_tree(&dir.join(name)) {
            log::warn!("cannot remove what a crash left: {error}");
        }
    }
}
