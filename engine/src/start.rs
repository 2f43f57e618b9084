//! `start`: from a stored container to a running one. Facts, claims, plan and
//! undo list first; then a fork, and the supervisor does the rest.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rcnt_base::files::{self, Lock};
use rcnt_base::ids::ContainerId;
use rcnt_base::report::StartError;
use rcnt_base::sys::child;
use rcnt_base::sys::process::{self, Fork};
use rcnt_base::trace::Step;
use rcnt_netstack::claims::Claims;
use rcnt_netstack::relay::Relay;
use rcnt_runtime::plan::ContainerPlan;
use rcnt_runtime::spawn::WindowSize;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::{Resource, Rlimit, getrlimit};

use crate::container::{Container, Status};
use crate::error::{EngineError, Result};
use crate::facts::{self, HostFacts};
use crate::journal::{self, Journal};
use crate::network::{self, Place};
use crate::paths::Paths;
use crate::plan::{self, Inputs, Sources};
use crate::session::{Remote, Session, StartReport};
use crate::supervisor::{self, Launch};
use crate::{Engine, etc_files, links, records, repair, resolver, volumes};

/// Who gets the output of a container that is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartMode {
    /// Only its log.
    Detached,
    /// The caller, from the first byte on.
    Attached {
        /// The caller's terminal, if it has one.
        size: Option<WindowSize>,
    },
}

/// Starts a container and returns once its command runs. The session of a
/// container started [`StartMode::Detached`] gives its end, but no output.
///
/// # Errors
/// Why it does not run; all that was made for it is taken back.
pub fn start(engine: &Engine, container: &Container, mode: StartMode) -> Result<Session> {
    let paths = &engine.paths;
    let command_lock = records::lock(paths, container)?;
    let container = engine.reload_locked(container)?;
    if container.record.request.auto_remove && container.state.status == Status::Exited {
        // Its supervisor is about to remove it.
        return Err(EngineError::NoSuchContainer(container.name.to_string()));
    }
    start_locked(engine, container, mode, command_lock)
}

/// [`start`] for who holds the right to change the container already.
///
/// # Errors
/// As [`start`].
pub(crate) fn start_locked(
    engine: &Engine,
    container: Container,
    mode: StartMode,
    command_lock: Lock,
) -> Result<Session> {
    let paths = &engine.paths;
    if container.state.status == Status::Running {
        return engine.attach(&container, false, mode != StartMode::Detached);
    }
    let run = RunDir::create(paths, &container.id)?;
    let launch = prepare(engine, container, run, mode)?;
    let (ours, theirs) =
        UnixStream::pair().map_err(EngineError::state("cannot make a socket pair"))?;
    let _step = Step::new("start");
    match process::fork() {
        Ok(Fork::Child) => {
            drop(ours);
            let code = supervisor::supervise(launch, command_lock, theirs);
            child::exit_now(u8::try_from(code).unwrap_or(1))
        }
        Ok(Fork::Parent(_)) => {
            let (paths, container) = of_parent(launch);
            drop(theirs);
            wait_started(&paths, &container, ours)
        }
        Err(error) => {
            journal::teardown(&launch.paths, &launch.journal);
            Err(EngineError::state("cannot fork a supervisor")(error))
        }
    }
}

/// What the CLI still needs after the fork. Everything else it must let go of:
/// the lock that says who supervises, and the reservations.
fn of_parent(launch: Launch) -> (Paths, Container) {
    (launch.paths, launch.container)
}

fn wait_started(paths: &Paths, container: &Container, socket: UnixStream) -> Result<Session> {
    let talking = || EngineError::state("cannot talk to the supervisor");
    let mut session = Remote::new(socket).map_err(talking())?;
    match session.wait_started().map_err(talking())? {
        StartReport::Started => Ok(Session::Remote(session)),
        StartReport::Failed(json) => {
            let error: StartError =
                serde_json::from_slice(&json).map_err(|e| talking()(std::io::Error::other(e)))?;
            Err(EngineError::Start(error))
        }
        StartReport::Gone => {
            repair::repair_one(paths, &container.id)?;
            Err(EngineError::SupervisorDied(container.name.to_string()))
        }
    }
}

/// The directory that exists exactly while a container runs. Until
/// [`RunDir::keep`] it disappears with this value.
struct RunDir {
    path: PathBuf,
    lock: Option<Lock>,
}

impl RunDir {
    /// Makes it, locked from the first moment on: whoever finds it unlocked
    /// knows that it was left behind.
    fn create(paths: &Paths, id: &ContainerId) -> Result<Self> {
        let making =
            || EngineError::state(format!("cannot make the run directory of {}", id.short()));
        files::create_dirs(&paths.runs()).map_err(making())?;
        let building = paths.runs().join(records::under_construction(".", id));
        let made = (|| {
            fs::create_dir(&building)?;
            fs::create_dir(building.join("rootfs"))?;
            Lock::wait(&building.join("lock"))
        })();
        let lock = made.inspect_err(|_| drop(files::remove_tree(&building))).map_err(making())?;
        let path = paths.run(id);
        let guard = Building(building);
        // Its last supervisor may be cleaning up still, or have died.
        repair::vacate(paths, id)?;
        renameat_with(CWD, &guard.0, CWD, &path, RenameFlags::NOREPLACE)
            .map_err(|e| making()(e.into()))?;
        std::mem::forget(guard);
        Ok(Self { path, lock: Some(lock) })
    }

    /// From here on the journal removes it.
    fn keep(mut self) -> Option<Lock> {
        self.lock.take()
    }
}

/// A directory that is not whole yet; removed when dropped.
struct Building(PathBuf);

impl Drop for Building {
    fn drop(&mut self) {
        // What stays is swept by the next command.
        let _ = files::remove_tree(&self.0);
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // What stays is found unlocked, and removed, by the next command.
            let _ = files::remove_tree(&self.path);
        }
    }
}

/// Facts, claims, plan, undo list: all that is decided before the fork.
fn prepare(engine: &Engine, container: Container, run: RunDir, mode: StartMode) -> Result<Launch> {
    let _step = Step::new("prepare");
    let paths = &engine.paths;
    let (id, record) = (&container.id, &container.record);
    let image = engine.image_by_id(&record.image_id)?;
    let facts = HostFacts::read().map_err(EngineError::state("cannot read /proc"))?;
    volumes::check_binds(&record.request.mounts, true)?;
    let files_before = getrlimit(Resource::Nofile);
    let place = network::place(engine, &container)?;
    let linked = links::of_recipient(engine, &container, &place.endpoints)?;
    let names = resolver::plan(engine, &container, &place.endpoints)?;
    let sources = Sources {
        volumes: volumes::prepare(paths, record)?,
        etc: etc_files::write(engine, &container, &place, &linked.hosts)?,
    };
    let cgroup = engine.cgroup_parent(&record.request).join(id);
    let mut plan = plan::container_plan(&Inputs {
        record,
        linked: &linked.env,
        facts: &facts,
        layers: image.layers,
        upper: paths.container(id).join("upper"),
        work: paths.container(id).join("work"),
        rootfs: paths.rootfs(id),
        sources,
        join_network: place.join.as_ref().map(by_descriptor),
        host_devices: if record.request.privileged { facts::device_nodes() } else { Vec::new() },
        cgroup: cgroup.clone(),
    })?;
    keep_limit(&mut plan, &files_before);
    let Place { plans: networks, endpoints, claims, join, joined: _ } = place;
    let journal = Journal {
        id: id.clone(),
        cgroup,
        networks: networks.iter().map(|n| n.undo()).collect(),
        members: endpoints.iter().map(|e| e.network.clone()).collect(),
        ports: claims.iter().flat_map(|c| c.published.clone()).collect(),
        passages: linked.passages,
        sources: linked.sources,
        claims: claims.iter().map(|c| c.undo().clone()).collect(),
    };
    journal.save(paths)?;
    if !networks.is_empty() {
        network::write_plans(paths, id, &networks)?;
        network::enlist(paths, &container, &endpoints)?;
        links::enlist(paths, id, &journal.sources)?;
        links::source_starts(engine, &container, &endpoints);
    }
    let Some(lock) = run.keep() else {
        return Err(EngineError::SupervisorDied(container.name.to_string()));
    };
    Ok(Launch {
        paths: paths.clone(),
        plan,
        names,
        networks,
        endpoints,
        linked_env: linked.env,
        relay: Relay::closed(claims.into_iter().flat_map(Claims::keep).collect()),
        relays: engine.config.relays(),
        joined: join,
        journal,
        lock,
        size: match mode {
            StartMode::Attached { size } => size,
            StartMode::Detached => None,
        },
        attached: mode != StartMode::Detached,
        container,
    })
}

/// A path that leads to an open file in this process, and in its forks.
fn by_descriptor(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Reserving many ports may have raised our own limit of open files; the
/// container's is what ours was.
fn keep_limit(plan: &mut ContainerPlan, before: &Rlimit) {
    let asked = plan.process.rlimits.iter().any(|limit| limit.name == "nofile");
    if getrlimit(Resource::Nofile) != *before && !asked {
        let number = |n: Option<u64>| n.unwrap_or(u64::MAX);
        plan.process.rlimits.push(rcnt_runtime::plan::Rlimit {
            name: "nofile".into(),
            soft: number(before.current),
            hard: number(before.maximum),
        });
    }
}
