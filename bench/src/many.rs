//! Many containers and many ports: whether what is there already slows down
//! what comes next. Ours takes turns with itself: an instance with 500
//! containers and 5,000 published ports, and one with nothing in it.

use std::path::Path;

use crate::Result;
use crate::measure::{Contestant, Goal, Row, part, row, turns_of};
use crate::peers::{self, Peer};
use crate::place::Place;
use crate::report::Table;

/// What the crowded instance has.
const CONTAINERS: usize = 500;
const PORTS_EACH: usize = 10;
/// Its first published port; beyond its last one nothing is published.
const FIRST: usize = 25000;
/// A thousand ports at once, and one.
const THOUSAND: &str = "20000-20999:1000-1999";
const ONE: &str = "20000:80";

const NETWORK: &str = "many";
const NAME: &str = "newcomer";

/// One of the two.
struct Instance<'a>(&'static str, &'a Peer);

impl Contestant for Instance<'_> {
    fn name(&self) -> &str {
        self.0
    }
}

impl Instance<'_> {
    /// Milliseconds of a `run -d` with these flags; the container is gone again.
    fn start(&self, flags: &[&str]) -> Result<f64> {
        let took = start(self.1, NAME, flags)?;
        self.1.remove(&[NAME])?;
        Ok(took)
    }
}

/// `run -d` of a container with this name.
fn start(peer: &Peer, name: &str, flags: &[&str]) -> Result<f64> {
    let image = ["busybox", "sleep", "1000"];
    peer.time("run", &[&["-d", "--name", name], flags, &image].concat())
}

/// Measures ours in a crowd. `empty` is ours with nothing in it.
pub(crate) fn table(empty: &Peer, rcnt: &Path, place: &Place, rounds: usize) -> Result<Table> {
    eprint!("measuring among many, {rounds} rounds:");
    let crowded = peers::another(rcnt, place, "crowd")?;
    for peer in [empty, &crowded] {
        peer.time("network", &["create", NETWORK])?;
        // Somebody is on the network and keeps it up.
        start(peer, "first", &["--network", NETWORK])?;
    }
    for nth in 0..CONTAINERS {
        let (from, last) = (FIRST + nth * PORTS_EACH, FIRST + (nth + 1) * PORTS_EACH - 1);
        let ports = format!("{from}-{last}:80-{}", 80 + PORTS_EACH - 1);
        start(&crowded, &format!("crowd{nth}"), &["--network", NETWORK, "-p", &ports])?;
    }
    // Both are ours, whose version the other tables tell.
    let names = vec![("500 containers", String::new()), ("none", String::new())];
    let instances = [Instance("500 containers", &crowded), Instance("none", empty)];
    let rows = [starts(&instances, rounds), changes(&instances, rounds)].concat();
    let crowd: Vec<String> = (0..CONTAINERS).map(|nth| format!("crowd{nth}")).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    crowded.remove(&[&["first"], &crowd[..]].concat())?;
    empty.remove(&["first"])?;
    empty.time("network", &["rm", NETWORK])?;
    eprintln!();
    Ok(Table { title: TITLE, note: NOTE, rounds, names, rows })
}

const TITLE: &str = "rcnt with 500 containers and 5,000 published ports, and with none:";
const NOTE: &str = "Both instances take turns. To attach a container is\n\
    what `run -d` takes longer on a network with names than with `--net=none`; to publish is what\n\
    `-p` adds to that.";

/// `run -d` in its kinds, and what one kind takes longer than another.
fn starts(instances: &[Instance<'_>], rounds: usize) -> Vec<Row> {
    let [plain, one, attached, published] = turns_of(instances, rounds, |instance| {
        let network = ["--network", NETWORK];
        let publishing = |ports| instance.start(&[&network[..], &["-p", ports]].concat());
        let none = instance.start(&["--net=none"])?;
        let plain = instance.start(&network)?;
        let thousand = publishing(THOUSAND)?;
        Ok([plain, publishing(ONE)?, plain - none, thousand - plain].map(Some))
    });
    let independent = || part("none", 1.0 / 1.3);
    vec![
        row("run -d", plain, vec![independent()]),
        row("run -d -p, one port", one, vec![independent()]),
        row("attach", attached, vec![Goal::AtMost(5.0), independent()]),
        row("publish 1,000 ports", published, vec![Goal::AtMost(50.0)]),
    ]
}

/// What changes a running container's network, and `ps`.
fn changes(instances: &[Instance<'_>], rounds: usize) -> Vec<Row> {
    for Instance(_, peer) in instances {
        // Who cannot is told of by the turns.
        let _ = start(peer, NAME, &[]);
    }
    let [connected, disconnected, added, removed, listed] =
        turns_of(instances, rounds, |instance| {
            let time = |verb: &str, args: &[&str]| instance.1.time(verb, args).map(Some);
            Ok([
                time("network", &["connect", NETWORK, NAME])?,
                time("network", &["disconnect", NETWORK, NAME])?,
                time("port", &["add", NAME, ONE])?,
                time("port", &["rm", NAME, ONE])?,
                time("ps", &["-q"])?,
            ])
        });
    for Instance(_, peer) in instances {
        let _ = peer.remove(&[NAME]);
    }
    let independent = || vec![part("none", 1.0 / 1.3)];
    vec![
        row("network connect", connected, independent()),
        row("network disconnect", disconnected, independent()),
        row("port add, one port", added, independent()),
        row("port rm", removed, independent()),
        row("ps -q", listed, vec![Goal::AtMost(10.0)]),
    ]
}
