//! One small process per container: parent of its first process, owner of its
//! pty or pipes, writer of its log, keeper of its port reservations, and the
//! one that records its end and takes everything back.
//!
//! ```text
//! CLI ──fork──► supervisor ──clone3──► init ──exec──► the command
//!  └──socketpair──┘ │  └─ poll: pidfd, signals, control socket, pipes or pty
//!                   └─ ctl.sock ◄── attach, wait, stop
//! ```
//!
//! It runs from the same file as the CLI that forked it: no exec, and all
//! supervisors share the program's pages.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rcnt_base::files::{self, Lock};
use rcnt_base::report::{self, StartError};
use rcnt_netstack::dns::NamesPlan;
use rcnt_netstack::plan::NetworkPlan;
use rcnt_netstack::relay::{Relay, Relays};
use rcnt_runtime::cgroup;
use rcnt_runtime::plan::ContainerPlan;
use rcnt_runtime::spawn::WindowSize;
use time::OffsetDateTime;

use crate::container::{Container, Endpoint, State, Status};
use crate::journal::{self, Journal};
use crate::paths::Paths;
use crate::session::frame::Reply;
use crate::{records, removal};

mod clients;
mod guard;
pub mod log;
mod serve;
mod start;
mod streams;

use clients::{Client, Clients};
use serve::Running;
pub(crate) use start::let_go_of_streams;

/// Everything the supervisor needs, decided before the fork.
#[derive(Debug)]
pub struct Launch {
    /// Where files are.
    pub paths: Paths,
    /// What is started.
    pub container: Container,
    /// How.
    pub plan: ContainerPlan,
    /// Its places on bridge networks, in the order of its interfaces.
    pub networks: Vec<NetworkPlan>,
    /// The same, as `inspect` tells it.
    pub endpoints: Vec<Endpoint>,
    /// What its links say to its processes.
    pub linked_env: Vec<String>,
    /// What its resolver knows, on user-defined networks.
    pub names: Option<NamesPlan>,
    /// Holds the published ports.
    pub relay: Relay,
    /// Whose connections it relays.
    pub relays: Relays,
    /// Another container's network namespace, which the plan names by this descriptor.
    pub joined: Option<OwnedFd>,
    /// How to take it back; saved already.
    pub journal: Journal,
    /// Says that this container has a supervisor.
    pub lock: Lock,
    /// The terminal's size.
    pub size: Option<WindowSize>,
    /// The CLI wants the output.
    pub attached: bool,
}

/// What is needed at the end: all that a supervisor keeps of its launch.
struct Ending {
    paths: Paths,
    container: Container,
    journal: Journal,
    state: State,
    relay: Relay,
    /// Released only when everything is taken back.
    _lock: Lock,
}

/// Runs in the forked child until the container has ended and is cleaned up.
/// Returns the process's exit code. `starting` is the right to change the
/// container: kept until it runs, even when the CLI is killed meanwhile, so that
/// nobody removes a container that is about to run.
pub fn supervise(launch: Launch, starting: Lock, client: UnixStream) -> i32 {
    let mut clients = Clients::new(Client::new(client, launch.attached, launch.attached).ok());
    let running = match start::start(&launch, &mut clients) {
        Ok(running) => running,
        Err(error) => {
            end_failed(launch, &error);
            drop(starting);
            let json = serde_json::to_vec(&error).unwrap_or_default();
            clients.send(&Reply::Failed(json));
            clients.flush_all();
            return 1;
        }
    };
    let mut ending = keep(launch, &running);
    drop(starting);
    clients.send(&Reply::Started);
    start::let_go_of_stderr();
    let group = ending.journal.cgroup.clone();
    let exit_code = {
        let Ending { paths, container, relay, .. } = &mut ending;
        serve::until_exit(running, &mut clients, paths, container, relay)
    };
    let oom_killed =
        cgroup::layout().is_ok_and(|layout| cgroup::oom_killed(&layout, &group).unwrap_or(false));
    end_exited(ending, exit_code, oom_killed);
    clients.send(&Reply::Exited(exit_code));
    clients.flush_all();
    0
}

/// Records that the container runs, and drops the plan.
fn keep(launch: Launch, running: &Running) -> Ending {
    let Launch {
        paths,
        container,
        plan: _,
        networks,
        endpoints,
        linked_env,
        mut relay,
        relays,
        journal,
        lock,
        ..
    } = launch;
    let targets = relay_targets(&networks);
    if let Err(error) = relay.open(relays, targets) {
        ::log::warn!("cannot relay to published ports: {}", report::chain(&error));
    }
    let state = State {
        status: Status::Running,
        pid: running.pid(),
        supervisor: std::process::id(),
        exit_code: 0,
        error: String::new(),
        oom_killed: false,
        started: Some(OffsetDateTime::now_utc()),
        finished: None,
        endpoints,
        linked_env,
        ports: networks.into_iter().flat_map(|n| n.published).collect(),
        ..container.state.clone()
    };
    if let Err(error) = records::save_state(&paths, &container.id, &state) {
        // The container runs all the same; its lock tells that it does.
        ::log::warn!("{}", report::chain(&error));
    }
    Ending { paths, container, journal, state, relay, _lock: lock }
}

/// Where clients that no rule serves are led.
fn relay_targets(networks: &[NetworkPlan]) -> Vec<IpAddr> {
    let publishes = networks.iter().find(|network| !network.published.is_empty());
    let Some(network) = publishes else { return Vec::new() };
    let v6 = network.endpoint.address6.map(|(address, _)| address.into());
    vec![v6.unwrap_or_else(|| network.endpoint.address4.0.into())]
}

fn end_failed(launch: Launch, error: &StartError) {
    let Launch { paths, container, journal, relay, lock: _lock, .. } = launch;
    drop(relay);
    let problems = journal::teardown(&paths, &journal);
    if container.record.request.auto_remove {
        let _ = removal::remove_files(&paths, &container, true);
        return;
    }
    let code = i32::from(error.kind.code());
    let state = State {
        exit_code: code,
        error: with_problems(&error.message, &problems),
        finished: Some(OffsetDateTime::now_utc()),
        ..container.state.clone()
    };
    let _ = records::save_state(&paths, &container.id, &state);
}

fn end_exited(ending: Ending, exit_code: i32, oom_killed: bool) {
    let Ending { paths, container, journal, state, relay, _lock } = ending;
    // Before the claims: whoever gets these must find the ports free.
    drop(relay);
    // The record first: whoever finds the run directory gone must find the end.
    let state = state.exited(exit_code, "", oom_killed);
    let remove = container.record.request.auto_remove && !paths.keep(&container.id).exists();
    let _ = records::save_state(&paths, &container.id, &state);
    let (journal, _change) = end_of_changes(&paths, journal, &state);
    let problems = journal::teardown(&paths, &journal);
    if !problems.is_empty() {
        let error = with_problems("", &problems);
        let _ = records::save_state(&paths, &container.id, &State { error, ..state });
    }
    if remove {
        let _ = removal::remove_files(&paths, &container, true);
    }
}

/// The undo list as commands have left it that changed the container meanwhile, and
/// the lock that keeps others from doing so (see `network::change`).
fn end_of_changes(paths: &Paths, journal: Journal, state: &State) -> (Journal, Option<Lock>) {
    let lock = paths.change_lock(&journal.id);
    if !lock.exists() {
        return (journal, None);
    }
    let lock = Lock::wait(&lock).ok();
    // Whoever held the lock may have written the state as it was before the end.
    let _ = records::save_state(paths, &journal.id, state);
    let changed = files::read_json(&paths.undo(&journal.id));
    (changed.unwrap_or(journal), lock)
}

fn with_problems(message: &str, problems: &[String]) -> String {
    match (message, problems) {
        (message, []) => message.to_owned(),
        ("", problems) => format!("clean-up is not complete: {}", problems.join("; ")),
        (message, problems) => {
            format!("{message}; clean-up is not complete: {}", problems.join("; "))
        }
    }
}
