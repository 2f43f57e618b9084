//! Names: how quickly a container on a user-defined network is told where
//! another one is. The floor sends every question back as it came.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::Result;
use crate::engines::names;
use crate::host::Namespace;
use crate::measure::{Contestant, Row, at_least, part, turns_of};
use crate::peers::Peer;
use crate::queries::{load, one_by_one};
use crate::report::Table;

const NETWORK: &str = "names";
const TARGET: &str = "target";
const CLIENT: &str = "asker";
/// How long one turn of load lasts, and how many are asked one by one.
const TURN: Duration = Duration::from_millis(200);
const COUNT: u16 = 500;

/// Somebody who asks, and whom.
struct Asker {
    name: &'static str,
    version: String,
    inside: Namespace,
    server: Ipv4Addr,
    /// The floor's process.
    echo: Option<Child>,
}

impl Contestant for Asker {
    fn name(&self) -> &str {
        self.name
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        if let Some(echo) = &mut self.echo {
            let _ = echo.kill();
            let _ = echo.wait();
        }
    }
}

/// Measures everything.
pub(crate) fn table(peers: &[Peer], rounds: usize) -> Table {
    eprint!("measuring names, {rounds} rounds:");
    let started = names(peers).into_iter().zip(peers);
    let started = started.map(|((name, version), peer)| (name, start(peer, version)));
    let all = started.chain([("echo", floor())]);
    let askers: Vec<Asker> = all
        .filter_map(|(name, asker)| {
            asker.map_err(|e| eprintln!("\nrcnt-bench: names without {name}: {e}")).ok()
        })
        .collect();
    let rows = measured(&askers, rounds);
    for peer in peers {
        let _ = peer.remove(&[TARGET, CLIENT]);
        let _ = peer.time("network", &["rm", NETWORK]);
    }
    eprintln!();
    let names = askers.iter().map(|asker| (asker.name, asker.version.clone())).collect();
    let title = "Names, asked from inside a container; the last column is the floor, a UDP echo:";
    Table { title, note: NOTE, rounds, names, rows }
}

const NOTE: &str = "More is better of questions per second. The name of\n\
    another container on a user-defined network is asked for over UDP, 32 questions under way on\n\
    four sockets, then one after the other. docker's resolver is in its daemon, podman's is\n\
    aardvark-dns.";

/// Two containers on a network with names.
fn start(peer: &Peer, version: String) -> Result<Asker> {
    peer.time("network", &["create", NETWORK])?;
    for name in [TARGET, CLIENT] {
        let args = ["-d", "--name", name, "--network", NETWORK, "busybox", "sleep", "1000"];
        peer.time("run", &args)?;
    }
    let path = format!("/proc/{}/root/etc/resolv.conf", peer.pid_of(CLIENT)?);
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    let server = name_server(&text).ok_or(format!("no name server in {text}"))?;
    let asker =
        Asker { name: peer.name, version, inside: peer.inside_of(CLIENT)?, server, echo: None };
    reach(&asker)?;
    Ok(asker)
}

/// Waits until the name is answered: aardvark reads its files a moment later.
fn reach(asker: &Asker) -> Result<()> {
    let mut last = Ok(());
    for _ in 0..20 {
        let answer = asker.inside.inside(|| one_by_one(asker.server, TARGET, 1));
        last = answer.map(drop);
        if last.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    last
}

/// The first IPv4 name server of a resolv.conf(5).
fn name_server(text: &str) -> Option<Ipv4Addr> {
    text.lines().find_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok())
}

fn floor() -> Result<Asker> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let inside = Namespace::new()?;
    let mut echo = Command::new(own);
    echo.arg("echo").stdin(Stdio::null()).stdout(Stdio::null());
    let echo = inside.inside(|| echo.spawn().map_err(|e| e.to_string()))?;
    let asker = Asker {
        name: "echo",
        version: "this program".to_owned(),
        inside,
        server: Ipv4Addr::LOCALHOST,
        echo: Some(echo),
    };
    reach(&asker)?;
    Ok(asker)
}

fn measured(askers: &[Asker], rounds: usize) -> Vec<Row> {
    let [rates, means, busy] = turns_of(askers, rounds, |asker| {
        let answers = asker.inside.inside(|| load(asker.server, TARGET, TURN))?;
        Ok([answers.per_second / 1e3, answers.mean, answers.p99].map(Some))
    });
    let [p50, p99] = turns_of(askers, rounds, |asker| {
        let answers = asker.inside.inside(|| one_by_one(asker.server, TARGET, COUNT))?;
        Ok([answers.p50, answers.p99].map(Some))
    });
    let row =
        |work: &str, unit, medians, goals| Row { work: work.to_owned(), unit, medians, goals };
    let lower = || vec![part("docker", 1.0), part("podman", 1.0)];
    vec![
        row("32 under way: questions", "k/s", rates, vec![at_least("docker", 1.5)]),
        row("32 under way: mean latency", "µs", means, lower()),
        row("32 under way: p99", "µs", busy, Vec::new()),
        row("one by one: p50", "µs", p50, lower()),
        row("one by one: p99", "µs", p99, lower()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_server_is_asked() {
        let text = "search dns.podman\nnameserver fe80::1\nnameserver 10.89.0.1\n";
        assert_eq!(name_server(text), Some(Ipv4Addr::new(10, 89, 0, 1)));
        assert_eq!(name_server("options ndots:0\n"), None);
    }
}
