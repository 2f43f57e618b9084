//! Taking turns: every round, each contestant does the work once, the order
//! moving by one, so that whatever slows the machine down slows all.

use std::process::Command;
use std::time::Instant;

use crate::Result;
use crate::peers::Peer;
use crate::place::quiet;

/// Containers that the memory of helpers is averaged over.
const CONTAINERS: usize = 5;

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    /// What was done.
    pub(crate) work: &'static str,
    /// Unit of the figures.
    pub(crate) unit: &'static str,
    /// Median of each contestant, in their order; `None` where it cannot do it.
    pub(crate) medians: Vec<Option<f64>>,
    /// rcnt may take at most this part of that peer's figure.
    pub(crate) goals: Vec<Goal>,
}

/// "At most `most` times what `peer` needs", or an absolute figure.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// A part of a peer's figure.
    Part {
        /// Whose.
        peer: &'static str,
        /// 16 means at most 1/16.
        divisor: f64,
    },
    /// At most this much.
    AtMost(f64),
}

pub(crate) const fn part(peer: &'static str, divisor: f64) -> Goal {
    Goal::Part { peer, divisor }
}

/// Measures everything.
pub(crate) fn rows(peers: &mut [Peer], rounds: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    eprint!("measuring, {rounds} rounds:");
    let none = turns(peers, rounds, |peer| timed(&mut peer.run_true()).map(Some))?;
    rows.push(row(
        "run --rm --net=none IMG true",
        none,
        vec![part("podman", 10.0), part("docker", 16.0)],
    ));
    let bridge = turns(peers, rounds, |peer| run(peer, &["--rm", "busybox", "true"]))?;
    rows.push(row("run --rm IMG true (bridge)", bridge, vec![part("docker", 15.0)]));
    let port =
        turns(peers, rounds, |peer| run(peer, &["--rm", "-p", "18080:80", "busybox", "true"]))?;
    let goals = vec![part("docker", 16.0), part("podman", 20.0)];
    rows.push(row("run --rm -p 18080:80 IMG true (bridge)", port, goals));
    rows.extend(lives(peers, rounds)?);
    rows.push(memory(peers)?);
    eprintln!();
    Ok(rows)
}

pub(crate) fn row(work: &'static str, medians: Vec<Option<f64>>, goals: Vec<Goal>) -> Row {
    Row { work, unit: "ms", medians, goals }
}

/// `run -d`, `exec`, `ps -q` and `rm -f`, on the same containers.
fn lives(peers: &[Peer], rounds: usize) -> Result<Vec<Row>> {
    let started = turns(peers, rounds, |peer| {
        let run = run(peer, &["-d", "--name", "bench", "busybox", "sleep", "1000"])?;
        remove(peer, "bench")?;
        Ok(run)
    })?;
    let removed = turns(peers, rounds, |peer| {
        run(peer, &["-d", "--name", "bench", "busybox", "sleep", "1000"])?;
        remove(peer, "bench")
    })?;
    for peer in peers {
        run(peer, &["-d", "--name", "lives", "busybox", "sleep", "1000"])?;
    }
    let executed = turns(peers, rounds, |peer| engine(peer, "exec", &["lives", "true"]))?;
    let listed = turns(peers, rounds, |peer| engine(peer, "ps", &["-q"]))?;
    for peer in peers {
        remove(peer, "lives")?;
    }
    Ok(vec![
        row("run -d (bridge)", started, vec![part("podman", 8.0)]),
        row("exec CONTAINER true", executed, vec![part("docker", 10.0)]),
        row("rm -f of a running container", removed, vec![part("docker", 6.0)]),
        row("ps -q", listed, vec![part("docker", 3.0)]),
    ])
}

/// What stays in memory per container with a published port.
fn memory(peers: &[Peer]) -> Result<Row> {
    let mut medians = Vec::new();
    for peer in peers {
        let names: Vec<String> = (0..CONTAINERS).map(|n| format!("memory{n}")).collect();
        for (n, name) in names.iter().enumerate() {
            let port = format!("{}:80", 18100 + n);
            run(peer, &["-d", "--name", name, "-p", &port, "busybox", "sleep", "1000"])?;
        }
        // What start-up needed is given back a moment later.
        std::thread::sleep(std::time::Duration::from_millis(500));
        let kib = peer.helpers_kib() / CONTAINERS as f64;
        medians.push((kib > 0.0).then_some(kib));
        for name in &names {
            remove(peer, name)?;
        }
    }
    let goals = vec![part("podman", 1.0), Goal::AtMost(358.0)];
    Ok(Row { work: "memory of helpers per container (PSS)", unit: "KiB", medians, goals })
}

fn run(peer: &Peer, args: &[&str]) -> Result<Option<f64>> {
    engine(peer, "run", args)
}

fn remove(peer: &Peer, name: &str) -> Result<Option<f64>> {
    // podman asks first and waits ten seconds unless told.
    let args: &[&str] =
        if peer.name == "podman" { &["-f", "-t", "0", name] } else { &["-f", name] };
    engine(peer, "rm", args)
}

fn engine(peer: &Peer, verb: &str, args: &[&str]) -> Result<Option<f64>> {
    timed(&mut peer.command(verb, args)).map(Some)
}

/// Whoever takes turns has a name.
pub(crate) trait Contestant {
    /// The column's head.
    fn name(&self) -> &str;
}

impl Contestant for Peer {
    fn name(&self) -> &str {
        self.name
    }
}

/// Wall time in milliseconds, from before the fork to after the wait.
pub(crate) fn timed(command: &mut Command) -> Result<f64> {
    let since = Instant::now();
    quiet(command)?;
    Ok(since.elapsed().as_secs_f64() * 1e3)
}

/// Each contestant's median over all rounds; the first round is a warm-up.
pub(crate) fn turns<P: Contestant>(
    peers: &[P],
    rounds: usize,
    work: impl Fn(&P) -> Result<Option<f64>>,
) -> Result<Vec<Option<f64>>> {
    let mut figures: Vec<Vec<f64>> = vec![Vec::new(); peers.len()];
    for round in 0..=rounds {
        for turn in 0..peers.len() {
            let nth = (round + turn) % peers.len();
            let peer = &peers[nth];
            let figure = work(peer).map_err(|e| format!("{}: {e}", peer.name()))?;
            if round > 0 {
                figures[nth].extend(figure);
            }
        }
    }
    eprint!(" .");
    Ok(figures.into_iter().map(median).collect())
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}
