//! The supervisor's loop: one poll(2) over the process, its streams, its
//! clients and the signals of the host.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rcnt_base::report;
use rcnt_base::sys::signals::SignalFd;
use rcnt_base::sys::{child, memory};
use rcnt_netstack::claims::Reservation;
use rcnt_netstack::dns::{NamesPlan, Resolver};
use rcnt_netstack::ports::PublishedPort;
use rcnt_netstack::relay::Relay;
use rcnt_runtime::spawn::Init;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::clients::Clients;
use super::guard::Guard;
use super::log::{LogWriter, Stream};
use super::streams::Streams;
use crate::container::Container;
use crate::network;
use crate::paths::Paths;
use crate::ports::HeldPort;
use crate::session::frame::{Reply, Request};
use crate::session::reap;

/// How often a terminal that nobody holds open is looked at.
const HUNG_UP: Duration = Duration::from_secs(1);
/// How long nothing must happen before memory is given back.
const QUIET: Duration = Duration::from_millis(500);

/// A started container.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) init: Init,
    pub(super) streams: Streams,
    pub(super) log: LogWriter,
    pub(super) signals: SignalFd,
    /// On user-defined networks.
    pub(super) names: Option<Resolver>,
}

impl Running {
    pub(super) fn pid(&self) -> u32 {
        u32::try_from(self.init.pid().as_raw_nonzero().get()).unwrap_or(0)
    }

    fn signal(&self, number: i32) {
        // It may have ended just now.
        let _ = child::signal_pidfd(self.init.pidfd(), number);
    }
}

/// Serves until the container's first process has ended and its output is read;
/// returns its exit code.
pub(super) fn until_exit(
    mut running: Running,
    clients: &mut Clients,
    paths: &Paths,
    container: &Container,
    relay: &mut Relay,
) -> i32 {
    let mut kill_at: Option<Instant> = None;
    // Started just now: the memory that took is given back when it is quiet.
    let mut grown = true;
    let mut guard = Guard::new();
    loop {
        let names = running.names.as_ref().and_then(Resolver::deadline);
        let timed = names.into_iter().chain(guard.deadline());
        let timed = timed.map(|at| at.saturating_duration_since(Instant::now()));
        let limit = relay.patience().into_iter().chain(timed).min();
        let patience = match (kill_at, grown) {
            (Some(at), _) => Patience::For(at.saturating_duration_since(Instant::now())),
            (None, _) if limit.is_some() => Patience::For(limit.unwrap_or(QUIET)),
            (None, _) if running.streams.is_hung_up() => Patience::For(HUNG_UP),
            (None, true) => Patience::For(QUIET),
            (None, false) => Patience::Small,
        };
        if let (Patience::Small, Some(names)) = (&patience, running.names.as_mut()) {
            names.rest();
        }
        let Ready { any, streams, relayed, named, ruled, clients: ready, signal, exited } =
            wait(&running, clients, relay, &guard, patience);
        if guard.serve(paths, container, ruled)
            && let Some(names) = running.names.as_mut()
        {
            names.rules_are_back();
        }
        if running.streams.is_hung_up() {
            // Nobody holds the terminal open now; somebody may again.
            running.streams.look_again();
        } else if !any && kill_at.is_none() && limit.is_none() {
            grown = false;
            continue;
        }
        grown = true;
        if streams || running.streams.is_hung_up() {
            running.streams.flush_input();
            if clients.keep_up() {
                take_output(&mut running, clients);
            }
        }
        if relayed || limit.is_some() {
            relay.serve();
        }
        if let Some(names) = running.names.as_mut() {
            names.serve(named);
        }
        let requests = clients.serve(&ready);
        let mut handed = clients.take_handed();
        for request in requests {
            match request {
                Request::Hold(ports) => {
                    let done = hold(relay, &ports, &mut handed).map_err(|e| report::chain(&e));
                    if !relay.leads() {
                        relay.lead(super::relay_targets(&network::plans(paths, &container.id)));
                    }
                    clients.send(&Reply::Changed(done));
                }
                Request::LetGo(ports) => {
                    let done = let_go(relay, &ports).map_err(|e| report::chain(&e));
                    clients.send(&Reply::Changed(done));
                }
                Request::NetworksChanged => {
                    guard.networks_changed();
                    relay.lead(super::relay_targets(&network::plans(paths, &container.id)));
                }
                request => obey(&mut running, request, clients),
            }
        }
        if clients.take_input_lost() {
            running.streams.close_input();
        }
        if signal && matches!(running.signals.read(), Ok(Some(_))) {
            kill_at = kill_at.or_else(|| stop(&running, container));
        }
        if kill_at.is_some_and(|t| t <= Instant::now()) {
            running.signal(9);
            kill_at = None;
        }
        // A child that cannot be waited for is not there any more.
        let code = exited.then(|| reap(running.init.pidfd()).unwrap_or(Some(255))).flatten();
        if let Some(code) = code {
            while take_output(&mut running, clients) {}
            running.log.finish();
            return code;
        }
    }
}

/// How long the loop waits for news.
enum Patience {
    /// So long.
    For(Duration),
    /// However long, after giving back memory.
    Small,
}

fn timespec(limit: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    }
}

struct Ready {
    any: bool,
    streams: bool,
    relayed: bool,
    named: [PollFlags; 2],
    ruled: bool,
    clients: Vec<PollFlags>,
    signal: bool,
    exited: bool,
}

fn wait(
    running: &Running,
    clients: &Clients,
    relay: &Relay,
    guard: &Guard,
    patience: Patience,
) -> Ready {
    let init = running.init.pidfd();
    let mut fds =
        vec![PollFd::new(&init, PollFlags::IN), PollFd::new(&running.signals, PollFlags::IN)];
    let streams = running.streams.poll_fds(clients.keep_up());
    let first_relay = fds.len() + streams.len();
    fds.extend(streams);
    fds.extend(relay.poll_fds());
    let first_name = fds.len();
    fds.extend(running.names.iter().flat_map(Resolver::poll_fds));
    let first_rule = fds.len();
    fds.extend(guard.poll_fd());
    let first_client = fds.len();
    fds.extend(clients.poll_fds(running.streams.take_input()));
    // An interrupted wait is a wait without news.
    let _ = match patience {
        Patience::Small => memory::sleep_small(&mut fds),
        Patience::For(limit) => {
            poll(&mut fds, Some(&timespec(limit))).map(drop).map_err(Into::into)
        }
    };
    let happened: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
    let any = |range: std::ops::Range<usize>| {
        happened.get(range).unwrap_or_default().iter().any(|f| !f.is_empty())
    };
    Ready {
        any: any(0..happened.len()),
        exited: any(0..1),
        signal: any(1..2),
        streams: any(2..first_relay),
        relayed: any(first_relay..first_name),
        named: match happened.get(first_name..first_rule) {
            Some(&[datagrams, others]) => [datagrams, others],
            _ => [PollFlags::empty(); 2],
        },
        ruled: any(first_rule..first_client),
        clients: happened.get(first_client..).unwrap_or_default().to_vec(),
    }
}

/// Reads once what the command says; returns whether there may be more. Its stack is
/// given back when nothing happens, unlike that of the loop.
#[inline(never)]
fn take_output(running: &mut Running, clients: &mut Clients) -> bool {
    let mut buffer = [0u8; 8 << 10];
    let Running { streams, log, .. } = running;
    streams.read(&mut buffer, |stream, bytes| give(log, clients, stream, bytes))
}

fn give(log: &mut LogWriter, clients: &mut Clients, stream: Stream, bytes: &[u8]) {
    log.write(stream, bytes);
    clients.send_output(&match stream {
        Stream::Stdout => Reply::Stdout(bytes.to_vec()),
        Stream::Stderr => Reply::Stderr(bytes.to_vec()),
    });
}

fn obey(running: &mut Running, request: Request, clients: &mut Clients) {
    match request {
        Request::Input(bytes) => running.streams.write_input(&bytes),
        Request::CloseInput => running.streams.close_input(),
        Request::Resize { rows, columns } => running.streams.resize(rows, columns),
        Request::Signal(signal) => running.signal(signal),
        Request::Names(plan) => {
            let done = rename(running, &plan).map_err(|error| report::chain(&error));
            clients.send(&Reply::Changed(done));
        }
        // Answered by the client's own connection, and by the loop.
        Request::Hello { .. } | Request::NetworksChanged | Request::Hold(_) | Request::LetGo(_) => {
        }
    }
}

/// Holds more ports, with the sockets that came along.
fn hold(
    relay: &mut Relay,
    ports: &[u8],
    sockets: &mut impl Iterator<Item = OwnedFd>,
) -> io::Result<()> {
    let ports: Vec<HeldPort> = serde_json::from_slice(ports)?;
    let mut held = Vec::new();
    for HeldPort { protocol, host_ip, host_port, container_port, socket } in ports {
        let absent = || io::Error::other("a port came without its socket");
        let socket = if socket { Some(sockets.next().ok_or_else(absent)?) } else { None };
        held.push(Reservation { protocol, host_ip, host_port, container_port, socket });
    }
    relay.add(held)
}

/// Lets go of ports that are not published any more.
fn let_go(relay: &mut Relay, ports: &[u8]) -> io::Result<()> {
    let ports: Vec<PublishedPort> = serde_json::from_slice(ports)?;
    relay.remove(|held| {
        ports.iter().any(|port| {
            (port.protocol, port.host_port) == (held.protocol, held.host_port)
                && held.host_ip.is_none_or(|ip| ip == port.host_ip)
        })
    });
    Ok(())
}

/// Serves other names from now on; a container that had no resolver gets one.
fn rename(running: &mut Running, plan: &[u8]) -> io::Result<()> {
    let plan: NamesPlan = serde_json::from_slice(plan)?;
    match &mut running.names {
        Some(names) => names.change(plan).map_err(io::Error::other)?,
        None => {
            let netns = running.init.netns()?;
            running.names = Some(Resolver::open(plan, netns).map_err(io::Error::other)?);
        }
    }
    Ok(())
}

/// The host asks us to end (a shutdown, or an administrator): stop the container
/// as `rcnt stop` would. Returns when to kill it.
fn stop(running: &Running, container: &Container) -> Option<Instant> {
    let config = &container.record.config;
    running.signal(config.stop_signal);
    let patience = u64::try_from(config.stop_timeout).ok().map(Duration::from_secs);
    patience.and_then(|patience| Instant::now().checked_add(patience))
}
