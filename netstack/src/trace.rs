//! Where a packet goes and what becomes of it: a real probe is sent and followed.
//!
//! ```text
//! source's namespace      host                               target's namespace
//! socket ──► sniffer ──► sniffer, nf_tables events ──► sniffer ──► sniffer
//! ```
//!
//! - [`follow`]  sends it and watches (effects)
//! - `explain` what was seen → where it went, or where and why it was lost (pure)
//! - `sender` who sends: a socket (`probe`), or a packet "from the LAN" (`inject`)
//! - `ears` a sniffer in each namespace, and nf_tables (`watch`)
//!
//! A sniffer is a packet(7) socket ([`crate::capture`]); nf_tables is watched in the
//! host's namespace and wherever else there are chains. All of it goes with our
//! sockets: kill -9 leaves nothing.

mod ears;
mod explain;
mod inject;
mod nowhere;
mod probe;
mod sender;
mod watch;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rcnt_base::sys::netlink::Family;
use serde::Serialize;

use explain::explain;
pub use explain::{Report, Step};

use crate::facts::{self, Route};
use crate::namespace::{here, visit};
use crate::neighbours::{self, Firewall};
use crate::socket::Socket;
use crate::sysctl::ProcSys;
use crate::wire::route;
use ears::Ears;
use nowhere::Nowhere;
use probe::Answer;
use sender::Sender;
use watch::Event;

/// What is asked of the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sought {
    /// A connection to this port.
    Tcp(u16),
    /// An answer from this port.
    Udp(u16),
    /// An ICMP echo.
    Echo,
}

/// Where the probe comes from.
#[derive(Debug)]
pub enum Source<'a> {
    /// A container of this name, or `host`, by its network namespace.
    Inside(String, BorrowedFd<'a>),
    /// A machine elsewhere: the probe arrives at the interface that leads to it.
    Outside(IpAddr),
}

/// A question.
#[derive(Debug)]
pub struct TraceRequest<'a> {
    /// Where from.
    pub source: Source<'a>,
    /// Where to.
    pub destination: IpAddr,
    /// What for.
    pub sought: Sought,
    /// The container that the destination is, or whose published port it is, if it is one.
    pub target: Option<(String, BorrowedFd<'a>)>,
    /// The nftables table of this instance.
    pub table: &'a str,
    /// The internal network that is the source's only one, if it is.
    pub internal: Option<String>,
    /// How long to wait for an answer.
    pub patience: Duration,
}

/// Why there is no answer to the question.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// Nobody can listen or mark.
    #[error("cannot watch packets in {place}")]
    Watch {
        /// The container, or `host`.
        place: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The probe itself.
    #[error("cannot make a probe to {to}")]
    Probe {
        /// Where to.
        to: IpAddr,
        /// The kernel's reason.
        source: io::Error,
    },
    /// No interface leads to the source.
    #[error("cannot let a packet from {from} arrive: no interface leads there")]
    NoWay {
        /// The source.
        from: IpAddr,
    },
}

/// How long to wait between two looks.
const ROUND: Duration = Duration::from_millis(5);

/// A namespace on the way, in the order in which the probe visits them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    Source,
    Host,
    Target,
}

/// A packet of ours, seen on an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sighting {
    place: Place,
    interface: String,
    outgoing: bool,
    what: Seen,
    from: SocketAddr,
    to: SocketAddr,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Probe,
    /// With TCP's RST or not.
    Answer {
        refuses: bool,
    },
    /// ICMP about the probe: the whole line.
    Error(String),
    /// ARP, or ICMPv6's neighbour discovery, for this address.
    Asks(IpAddr),
}

/// What the machine says besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The source's route: destination, next hop, interface; or the errno.
    route: Option<Result<(Route, String), i32>>,
    /// What the host's routing says to a packet that comes in where the probe did.
    arrival: Option<Result<(Route, String), i32>>,
    /// Whether reverse path filtering is why.
    reverse_path: bool,
    /// What is in the way at the source, when it has no route.
    nowhere: Nowhere,
    /// The same of the host, for a packet that comes in where the probe did.
    nowhere_on_host: Nowhere,
    /// The setting that keeps the host from forwarding.
    not_forwarding: Option<String>,
    /// Tables of iptables-legacy, which no trace shows.
    legacy: Vec<String>,
    /// The chains of iptables-legacy that drop whatever a bridge forwards.
    legacy_drops: Vec<String>,
}

/// Everything that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observation {
    sightings: Vec<Sighting>,
    /// Of nf_tables: where, whether about the answer, what.
    events: Vec<(Place, bool, Event)>,
    answer: Answer,
    source: Option<SocketAddr>,
    facts: Facts,
}

/// Sends a probe and follows it.
///
/// # Errors
/// The kernel does not let us watch or send.
pub fn follow(request: &TraceRequest<'_>) -> Result<Report, TraceError> {
    let making = |source| TraceError::Probe { to: request.destination, source };
    let host = here().map_err(|source| watching("host", source))?;
    let mut sender = Sender::prepare(request, host.as_fd())?;
    let mut all = vec![("host", Place::Host, host.as_fd())];
    if let Source::Inside(name, netns) = &request.source {
        all.push((name, Place::Source, *netns));
    }
    all.extend(request.target.iter().map(|(name, netns)| (name.as_str(), Place::Target, *netns)));
    let mut ears = Vec::new();
    for (name, place, netns) in distinct(all) {
        ears.push(Ears::open(place, netns, &sender.mark()).map_err(|e| watching(name, e))?);
    }
    let route = match &request.source {
        Source::Inside(_, netns) => visit(*netns, || source_route(request.destination)),
        Source::Outside(_) => Ok(None),
    };
    let mut facts = Facts { route: route.map_err(making)?, ..Facts::default() };
    if let Source::Inside(_, netns) = &request.source {
        let nowhere = visit(*netns, || match facts.route {
            Some(Err(_)) => nowhere::read(request.destination),
            _ => Ok(Nowhere { route: None, down: nowhere::down()? }),
        });
        facts.nowhere = nowhere.map_err(making)?;
    }
    let (sightings, events, answer) = (Vec::new(), Vec::new(), Answer::Silence);
    let mut seen = Observation { sightings, events, answer, source: None, facts };
    listen(request, &mut sender, &mut ears, &mut seen)
        .map_err(|source| watching("host", source))?;
    seen.source = sender.source();
    host_facts(request, &mut seen);
    Ok(explain(request, &seen))
}

fn watching(place: &str, source: io::Error) -> TraceError {
    TraceError::Watch { place: place.to_owned(), source }
}

/// Sends, and listens until it is known what became of it.
fn listen(
    request: &TraceRequest<'_>,
    sender: &mut Sender,
    ears: &mut [Ears],
    seen: &mut Observation,
) -> io::Result<()> {
    let mark = sender.mark();
    sender.fire();
    let until = Instant::now() + request.patience;
    // What belongs to the answer may come a moment after it.
    let mut rounds_after = 5;
    while rounds_after > 0 && Instant::now() < until {
        std::thread::sleep(ROUND);
        for ears in &mut *ears {
            ears.hear(&mark, seen)?;
        }
        // An error is told only once.
        if seen.answer == Answer::Silence {
            seen.answer = sender.answer(seen);
        }
        if seen.answer != Answer::Silence || is_dropped(seen) {
            rounds_after -= 1;
        }
    }
    Ok(())
}

/// Each namespace once, under the first of its places.
fn distinct<'a>(
    all: Vec<(&'a str, Place, BorrowedFd<'a>)>,
) -> Vec<(&'a str, Place, BorrowedFd<'a>)> {
    let identity = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).ok().map(|s| (s.st_dev, s.st_ino));
    let mut distinct: Vec<(&str, Place, BorrowedFd<'_>)> = Vec::new();
    for (name, place, fd) in all {
        if !distinct.iter().any(|(_, _, known)| identity(*known) == identity(fd)) {
            distinct.push((name, place, fd));
        }
    }
    distinct
}

fn is_dropped(seen: &Observation) -> bool {
    let drop =
        |event: &Event| matches!(event, Event::Decided { verdict: watch::Verdict::Drop, .. });
    seen.events.iter().any(|(_, _, event)| drop(event))
}

/// The route to `to` of the namespace we are in: the kernel's answer, or its errno.
fn source_route(to: IpAddr) -> io::Result<Option<Result<(Route, String), i32>>> {
    let mut socket = Socket::open(Family::Route)?;
    Ok(Some(route::look_up(&mut socket, to, None)?))
}

/// The route back to an outside machine, when an interface leads there.
fn way_to(from: IpAddr) -> io::Result<Option<(Route, String)>> {
    let found = source_route(from)?.and_then(Result::ok);
    Ok(found.filter(|(route, name)| route.link.is_some() && name != "lo"))
}

/// What the host says to a packet like the one that came in.
fn host_facts(request: &TraceRequest<'_>, seen: &mut Observation) {
    let names = match request.destination {
        IpAddr::V4(_) => "/proc/thread-self/net/ip_tables_names",
        IpAddr::V6(_) => "/proc/thread-self/net/ip6_tables_names",
    };
    let legacy = std::fs::read_to_string(names).unwrap_or_default();
    seen.facts.legacy = legacy.lines().map(str::to_owned).collect();
    if !seen.facts.legacy.is_empty() {
        seen.facts.legacy_drops = legacy_drops(request).unwrap_or_default();
    }
    // The last interface it came in by is the one that routes: the bridge, not its port.
    let arrived = seen
        .sightings
        .iter()
        .rev()
        .find(|s| s.place == Place::Host && !s.outgoing && s.what == Seen::Probe);
    let interface = arrived.map(|s| s.interface.as_str());
    seen.facts.not_forwarding = not_forwarding(request.destination, interface);
    let Some(arrived) = arrived else { return };
    let (from, to, interface) = (arrived.from.ip(), arrived.to.ip(), arrived.interface.clone());
    let looked = Socket::open(Family::Route).and_then(|mut socket| {
        let link = socket.interface_index(&interface)?;
        let back = route::look_up(&mut socket, from, None)?;
        Ok((route::look_up(&mut socket, to, link.map(|link| (from, link)))?, back))
    });
    let Ok((arrival, back)) = looked else { return };
    // EXDEV says it all; since Linux 6.13 it is EINVAL, as for much else.
    let elsewhere = back.as_ref().map_or(true, |(_, name)| *name != interface);
    seen.facts.reverse_path = match arrival {
        Err(errno) if errno == rustix::io::Errno::XDEV.raw_os_error() => true,
        Err(_) => elsewhere && is_strict(&interface),
        Ok(_) => false,
    };
    if arrival.is_err() {
        seen.facts.nowhere_on_host = nowhere::read(to).unwrap_or_default();
    }
    seen.facts.arrival = Some(arrival);
}

fn legacy_drops(request: &TraceRequest<'_>) -> io::Result<Vec<String>> {
    let links = facts::read_links()?;
    let bridges = links.iter().filter(|link| link.kind.as_deref() == Some("bridge"));
    let bridges: Vec<&str> = bridges.map(|link| link.name.as_str()).collect();
    let ours = Firewall::Legacy { ipv6: request.destination.is_ipv6() };
    let drops = neighbours::read(request.table, &bridges)?.into_iter();
    Ok(drops.filter(|drop| drop.firewall == ours).map(|drop| drop.to_string()).collect())
}

/// The setting that is 0. For IPv4 an interface has one of its own for what comes in by
/// it (kernel documentation, ip-sysctl); for IPv6 that decides of other things.
fn not_forwarding(to: IpAddr, arrived: Option<&str>) -> Option<String> {
    let names = match (to, arrived) {
        (IpAddr::V4(_), None) => vec!["net/ipv4/ip_forward".to_owned()],
        (IpAddr::V4(_), Some(interface)) => {
            vec!["net/ipv4/ip_forward".to_owned(), format!("net/ipv4/conf/{interface}/forwarding")]
        }
        (IpAddr::V6(_), _) => vec!["net/ipv6/conf/all/forwarding".to_owned()],
    };
    let sysctls = ProcSys::open().ok()?;
    let is_off = |name: &String| sysctls.read(name).map_or(true, |value| value == "0");
    names.into_iter().find(is_off)
}

/// Whether IPv4 packets must come by the interface that leads back: the greater of two
/// settings counts (kernel documentation, ip-sysctl).
fn is_strict(interface: &str) -> bool {
    let setting = |name: &str| {
        let value =
            ProcSys::open().and_then(|s| s.read(&format!("net/ipv4/conf/{name}/rp_filter")));
        value.ok().and_then(|value| value.parse::<u8>().ok()).unwrap_or(0)
    };
    setting("all").max(setting(interface)) == 1
}
