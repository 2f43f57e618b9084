//! `make bench`: rcnt beside whichever of docker, podman, crun and runc are
//! installed. All take turns in one run on one machine; only ratios count.
//!
//! - [`place`]   namespaces of our own, where peers' daemons disturb nobody
//! - [`peers`]   how each is prepared and asked for the same work
//! - [`measure`] taking turns, medians, memory
//! - [`report`]  the table, with each goal and whether it is met
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark starts the programs it measures and writes a report"
)]

mod measure;
mod peers;
mod place;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

/// What a benchmark fails with: one line is enough for its reader.
type Result<T> = std::result::Result<T, String>;

/// The command line.
#[derive(Debug)]
struct Options {
    rcnt: PathBuf,
    rounds: usize,
    record: Option<PathBuf>,
}

fn options() -> Result<Options> {
    let mut options = Options { rcnt: PathBuf::from("target/rcnt"), rounds: 20, record: None };
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--rcnt" => options.rcnt = value()?.into(),
            "--rounds" => {
                options.rounds = value()?.parse().map_err(|e| format!("--rounds: {e}"))?;
            }
            "--record" => options.record = Some(value()?.into()),
            _ => return Err("usage: rcnt-bench [--rcnt FILE] [--rounds N] [--record FILE]".into()),
        }
    }
    let absent = |e| format!("{}: {e}", options.rcnt.display());
    options.rcnt = options.rcnt.canonicalize().map_err(absent)?;
    options.rounds = options.rounds.max(1);
    Ok(options)
}

fn run() -> Result<()> {
    let options = options()?;
    if !place::is_inside() {
        return place::enter();
    }
    let place = place::Place::prepare()?;
    let mut peers = peers::all(&options.rcnt, &place)?;
    let rows = measure::rows(&mut peers, options.rounds)?;
    let names: Vec<(&str, String)> = peers.iter().map(|p| (p.name, p.version.clone())).collect();
    drop(peers);
    print!("{}", report::text(&names, &rows, options.rounds));
    if let Some(path) = options.record {
        let page = report::page(&names, &rows, options.rounds);
        std::fs::write(&path, page).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("rcnt-bench: {message}");
            ExitCode::FAILURE
        }
    }
}
