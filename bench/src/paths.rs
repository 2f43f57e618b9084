//! Data paths: how much goes through and how quickly answers come, beside the
//! same path built by hand.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::Result;
use crate::engines::names;
use crate::floor::{self, Floor};
use crate::host::{ADDRESS, Host, Namespace};
use crate::measure::{Contestant, Goal, Row, at_least, turns, turns_of};
use crate::peers::{Peer, first_line};
use crate::report::Table;
use crate::traffic;

/// The two ports of the host that lead to the server's.
const PUBLISHED: u16 = 18080;
/// How long one turn lasts.
const TURN: Duration = Duration::from_millis(100);

/// Who takes the same way through the kernel differs by this much from one run
/// to the next.
const SAME: f64 = 0.97;

/// A server, a client beside it, and the host of both.
struct Site<'a> {
    name: &'static str,
    host: &'a Host,
    client: &'a Namespace,
    server: Ipv4Addr,
}

impl Contestant for Site<'_> {
    fn name(&self) -> &str {
        self.name
    }
}

/// Where the client is, and which address of the server it uses.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Path {
    Neighbour,
    FromHost,
    Localhost,
    OtherHost,
    Hairpin,
}

impl Path {
    const ALL: [Self; 5] =
        [Self::Neighbour, Self::FromHost, Self::Localhost, Self::OtherHost, Self::Hairpin];

    const fn words(self) -> &'static str {
        match self {
            Self::Neighbour => "container → container",
            Self::FromHost => "host → container",
            Self::Localhost => "127.0.0.1:published",
            Self::OtherHost => "other host → published",
            Self::Hairpin => "container → host's address:published",
        }
    }

    /// The namespace it begins in, and the addresses that take requests and streams.
    fn ends<'a>(self, site: &'a Site<'_>) -> (&'a Namespace, SocketAddrV4, SocketAddrV4) {
        let at = |address, first| {
            (SocketAddrV4::new(address, first), SocketAddrV4::new(address, first + 1))
        };
        let host = ADDRESS.parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
        let (from, (requests, stream)) = match self {
            Self::Neighbour => (site.client, at(site.server, traffic::REQUESTS)),
            Self::FromHost => (&site.host.network, at(site.server, traffic::REQUESTS)),
            Self::Localhost => (&site.host.network, at(Ipv4Addr::LOCALHOST, PUBLISHED)),
            Self::OtherHost => (&site.host.other, at(host, PUBLISHED)),
            Self::Hairpin => (site.client, at(host, PUBLISHED)),
        };
        (from, requests, stream)
    }

    /// The part of the floor's figures that has to be reached.
    const fn part(self) -> f64 {
        match self {
            Self::Localhost | Self::Hairpin => 0.95,
            _ => 0.97,
        }
    }
}

/// Measures everything.
pub(crate) fn table(peers: &[Peer], rounds: usize) -> Table {
    eprint!("measuring data paths, {rounds} rounds:");
    let mut names = names(peers);
    let clients: Vec<_> = peers.iter().map(start).collect();
    let built = Floor::new(PUBLISHED);
    let mut sites = Vec::new();
    names.retain(|(name, _)| {
        let started = peers.iter().zip(&clients).find(|(peer, _)| peer.name == *name);
        match started {
            Some((peer, Ok((client, server)))) => {
                sites.push(Site { name: peer.name, host: &peer.host, client, server: *server });
                true
            }
            Some((_, Err(reason))) => {
                eprintln!("\nrcnt-bench: data paths without {name}: {reason}");
                false
            }
            None => false,
        }
    });
    match &built {
        Ok(built) => {
            let Floor { host, client, .. } = built;
            sites.push(Site { name: "by hand", host, client, server: floor::SERVER });
            let version = first_line(std::process::Command::new("nft").arg("--version"));
            names.push(("by hand", version.unwrap_or_default()));
        }
        Err(reason) => eprintln!("\nrcnt-bench: data paths without the floor: {reason}"),
    }
    let rows = measured(&sites, rounds);
    peers.iter().for_each(|peer| drop(peer.remove(&["server", "client"])));
    eprintln!();
    Table { title: TITLE, note: NOTE, rounds, names, rows }
}

const TITLE: &str = "Data paths; the last column is the floor, the same built by hand with ip(8) and \
                     nft(8):";
const NOTE: &str = "More is better of Gbit/s and of requests per second. Each contestant\n\
    is on a host of its own (a network namespace, with another host at the end of its wire).\n\
    Sender, receiver, client and server are the same program for all, the server a process of the\n\
    container, in its cgroup, without a filter of system calls. Requests are asked over 16 connections at once, each again as soon as it is\n\
    answered: the latencies are those of a path that is busy. Where docker or podman take the same\n\
    way through the kernel their figures are ours but for 3 % of noise, which the goals allow.";

/// A server and a client; where the client is, and the server's address.
fn start(peer: &Peer) -> Result<(Namespace, Ipv4Addr)> {
    let publish = |nth: u16| format!("{}:{}", PUBLISHED + nth, traffic::REQUESTS + nth);
    let (first, second) = (publish(0), publish(1));
    let image = ["busybox", "rcnt-bench", "serve"];
    // A filter of system calls is no part of the way, and the floor's server has none.
    let unfiltered = "seccomp=unconfined";
    let flags =
        ["-d", "--name", "server", "--security-opt", unfiltered, "-p", &first, "-p", &second];
    peer.time("run", &[&flags[..], &image].concat())?;
    peer.time("run", &["-d", "--name", "client", "busybox", "sleep", "1000"])?;
    let address = peer.inside_of("server")?.address()?;
    let server = address.parse().map_err(|e| format!("{address}: {e}"))?;
    let client = peer.inside_of("client")?;
    client.inside(|| traffic::reach(SocketAddrV4::new(server, traffic::REQUESTS)))?;
    Ok((client, server))
}

fn measured(sites: &[Site<'_>], rounds: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut from_host = None;
    for path in Path::ALL {
        let goals = vec![
            at_least("by hand", path.part()),
            at_least("docker", SAME),
            at_least("podman", SAME),
        ];
        let row = |what: &str, unit, medians, goals| {
            let work = format!("{}, {what}", path.words());
            Row { work, unit, medians, goals }
        };
        let streams = turns(sites, rounds, |site| {
            let (from, _, stream) = path.ends(site);
            from.inside(|| traffic::stream(stream, TURN)).map(Some)
        });
        rows.push(row("throughput", "Gbit/s", streams, goals.clone()));
        let [rates, p50, p99] = turns_of(sites, rounds, |site| {
            let (from, requests, _) = path.ends(site);
            let answers = from.inside(|| traffic::requests(requests, TURN))?;
            Ok([answers.per_second / 1e3, answers.p50, answers.p99].map(Some))
        });
        let mut goals = goals;
        if path == Path::FromHost {
            from_host = rates.first().copied().flatten();
        } else if path == Path::Localhost {
            let limit = from_host.map(|figure| figure * 0.95);
            goals.push(Goal::From { words: "0.95 × ours host → container", limit });
        }
        rows.push(row("requests", "k/s", rates, goals));
        rows.push(row("request p50", "µs", p50, Vec::new()));
        rows.push(row("request p99", "µs", p99, Vec::new()));
    }
    rows
}
