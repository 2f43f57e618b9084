//! 200 containers on one bridge, started one after the other and removed at
//! once. The peers need a minute each for it: only with `--all`.

use crate::Result;
use crate::engines::names;
use crate::measure::{Goal, Row, part, row};
use crate::peers::Peer;
use crate::report::Table;
use crate::statistics::median;

const CONTAINERS: usize = 200;
/// How many are the first ones, and the last ones.
const FEW: usize = 10;

/// Measures ours, and with `all` everybody.
pub(crate) fn table(peers: &[Peer], all: bool) -> Table {
    eprint!("measuring 200 in a row:");
    let peers = if all { peers } else { peers.get(..1).unwrap_or_default() };
    let figures: Vec<[Option<f64>; 3]> = peers
        .iter()
        .map(|peer| {
            eprint!(" .");
            measured(peer).unwrap_or_else(|reason| {
                eprintln!("\nrcnt-bench: 200 in a row without {}: {reason}", peer.name);
                [None; 3]
            })
        })
        .collect();
    eprintln!();
    let of = |nth: usize| figures.iter().map(|all| all[nth]).collect::<Vec<_>>();
    let seconds = |work, nth, goals| Row { unit: "s", ..row(work, of(nth), goals) };
    let even = Row { unit: "×", ..row("last ten ÷ first ten", of(1), vec![Goal::AtMost(1.2)]) };
    let rows = vec![
        seconds("run -d, 200 times", 0, vec![part("podman", 8.0), part("docker", 8.0)]),
        even,
        seconds("rm -f of all 200", 2, vec![part("docker", 5.0)]),
    ];
    let title = "200 containers on one bridge:";
    let note = if all { "" } else { "The peers, who take minutes, are measured with `ALL=1`." };
    Table { title, note, rounds: 1, names: names(peers), rows }
}

/// Seconds to start all; the last ones' part of the first ones' time; seconds to
/// remove all.
fn measured(peer: &Peer) -> Result<[Option<f64>; 3]> {
    let names: Vec<String> = (0..CONTAINERS).map(|nth| format!("series{nth}")).collect();
    let start = |name| peer.time("run", &["-d", "--name", name, "busybox", "sleep", "1000"]);
    let times = names.iter().map(|name| start(name)).collect::<Result<Vec<f64>>>();
    let removed = peer.remove(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let times = times?;
    let first = median(times[..FEW].to_vec());
    let last = median(times[times.len() - FEW..].to_vec());
    let ratio = last.zip(first).map(|(last, first)| last / first);
    Ok([Some(times.iter().sum::<f64>() / 1e3), ratio, Some(removed? / 1e3)])
}
