//! Networks: made, connected to a running container, disconnected, removed.
//! The floor is ip(8) adding and removing a bridge.

use crate::Result;
use crate::child::timed;
use crate::engines::names;
use crate::host::Namespace;
use crate::measure::{Contestant, part, row, turns_of};
use crate::peers::{Peer, first_line};
use crate::report::Table;

const NETWORK: &str = "benchnet";
const CONTAINER: &str = "member";

/// Who makes networks.
enum Maker<'a> {
    Engine(&'a Peer),
    Hand(Namespace),
}

impl Contestant for Maker<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Engine(peer) => peer.name,
            Self::Hand(_) => "ip",
        }
    }
}

impl Maker<'_> {
    /// Milliseconds of `create`, `connect`, `disconnect`, `rm`.
    fn life(&self) -> Result<[Option<f64>; 4]> {
        match self {
            Self::Engine(peer) => {
                let time = |verb: &str, args: &[&str]| {
                    peer.time("network", &[&[verb], args].concat()).map(Some)
                };
                Ok([
                    time("create", &[NETWORK])?,
                    time("connect", &[NETWORK, CONTAINER])?,
                    time("disconnect", &[NETWORK, CONTAINER])?,
                    time("rm", &[NETWORK])?,
                ])
            }
            Self::Hand(namespace) => {
                let ip = |line: &str| {
                    let mut command = std::process::Command::new("ip");
                    command.args(line.split(' '));
                    namespace.inside(|| timed(&mut command)).map(Some)
                };
                let added = ip("link add benchnet type bridge")?;
                Ok([added, None, None, ip("link delete benchnet")?])
            }
        }
    }
}

/// Measures everything.
pub(crate) fn table(peers: &[Peer], rounds: usize) -> Table {
    eprint!("measuring networks, {rounds} rounds:");
    for peer in peers {
        // Who cannot is told of by the turns.
        let _ = peer.time("run", &["-d", "--name", CONTAINER, "busybox", "sleep", "1000"]);
    }
    let mut makers: Vec<_> = peers.iter().map(Maker::Engine).collect();
    let mut names = names(peers);
    let version = first_line(std::process::Command::new("ip").arg("-V"));
    match Namespace::new().and_then(|namespace| Ok((namespace, version?))) {
        Ok((namespace, version)) => {
            makers.push(Maker::Hand(namespace));
            names.push(("ip", version));
        }
        Err(reason) => eprintln!("rcnt-bench: without ip: {reason}"),
    }
    let [created, connected, disconnected, removed] = turns_of(&makers, rounds, Maker::life);
    peers.iter().for_each(|peer| drop(peer.remove(&[CONTAINER])));
    eprintln!();
    let of = |divisor| vec![part("docker", divisor), part("podman", divisor)];
    let rows = vec![
        row("network create", created, of(5.0)),
        row("network connect, a running container", connected, of(5.0)),
        row("network disconnect", disconnected, of(8.0)),
        row("network rm", removed, of(1.0)),
    ];
    let title = "Networks; the last column is the floor, a bridge added and deleted by ip(8):";
    Table { title, note: "", rounds, names, rows }
}
