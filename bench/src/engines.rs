//! One container's life with each engine: `run`, `exec`, `ps`, `rm`, and what
//! stays in memory.

use crate::Result;
use crate::measure::{Goal, Row, part, row, turns};
use crate::peers::Peer;
use crate::report::Table;

/// Containers that the memory of helpers is averaged over.
const CONTAINERS: usize = 5;

/// Measures everything.
pub(crate) fn table(peers: &[Peer], rounds: usize) -> Table {
    eprint!("measuring engines, {rounds} rounds:");
    let run = |args: &'static [&'static str]| {
        turns(peers, rounds, |peer| peer.time("run", args).map(Some))
    };
    let none = run(&["--rm", "--net=none", "busybox", "true"]);
    let goals = vec![part("podman", 10.0), part("docker", 16.0)];
    let mut rows = vec![row("run --rm --net=none IMG true", none, goals)];
    let bridge = run(&["--rm", "busybox", "true"]);
    rows.push(row("run --rm IMG true (bridge)", bridge, vec![part("docker", 15.0)]));
    let port = run(&["--rm", "-p", "18080:80", "busybox", "true"]);
    let goals = vec![part("docker", 16.0), part("podman", 20.0)];
    rows.push(row("run --rm -p 18080:80 IMG true (bridge)", port, goals));
    rows.extend(lives(peers, rounds));
    rows.push(memory(peers));
    eprintln!();
    Table {
        title: "Engines, each with the same image:",
        note: "",
        rounds,
        names: names(peers),
        rows,
    }
}

/// The columns' heads and what each says its version is.
pub(crate) fn names(peers: &[Peer]) -> Vec<(&'static str, String)> {
    peers.iter().map(|peer| (peer.name, peer.version.clone())).collect()
}

/// `run -d`, `exec`, `ps -q` and `rm -f`, on the same containers.
fn lives(peers: &[Peer], rounds: usize) -> Vec<Row> {
    let start =
        |peer: &Peer, name| peer.time("run", &["-d", "--name", name, "busybox", "sleep", "1000"]);
    let started = turns(peers, rounds, |peer| {
        let took = start(peer, "bench")?;
        peer.remove(&["bench"])?;
        Ok(Some(took))
    });
    let removed = turns(peers, rounds, |peer| {
        start(peer, "bench")?;
        peer.remove(&["bench"]).map(Some)
    });
    // Who cannot is told of by the rows that follow.
    peers.iter().for_each(|peer| drop(start(peer, "lives")));
    let executed = turns(peers, rounds, |peer| peer.time("exec", &["lives", "true"]).map(Some));
    let listed = turns(peers, rounds, |peer| peer.time("ps", &["-q"]).map(Some));
    peers.iter().for_each(|peer| drop(peer.remove(&["lives"])));
    vec![
        row("run -d (bridge)", started, vec![part("podman", 8.0)]),
        row("exec CONTAINER true", executed, vec![part("docker", 10.0)]),
        row("rm -f of a running container", removed, vec![part("docker", 6.0)]),
        row("ps -q", listed, vec![part("docker", 3.0)]),
    ]
}

/// What stays in memory per container with a published port.
fn memory(peers: &[Peer]) -> Row {
    let work = "memory of helpers per container (PSS)".to_owned();
    let medians = peers.iter().map(|peer| {
        helpers(peer).unwrap_or_else(|reason| {
            eprintln!("\nrcnt-bench: a row without {}: {reason}", peer.name);
            None
        })
    });
    let goals = vec![part("podman", 1.0), Goal::AtMost(358.0)];
    Row { work, unit: "KiB", medians: medians.collect(), goals }
}

fn helpers(peer: &Peer) -> Result<Option<f64>> {
    let names: Vec<String> = (0..CONTAINERS).map(|n| format!("memory{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        let port = format!("{}:80", 18100 + n);
        peer.time("run", &["-d", "--name", name, "-p", &port, "busybox", "sleep", "1000"])?;
    }
    // What start-up needed is given back a moment later.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let kib = peer.helpers_kib() / CONTAINERS as f64;
    peer.remove(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok((kib > 0.0).then_some(kib))
}
