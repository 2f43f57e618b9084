//! `make bench`: rcnt beside whichever of docker, podman, crun and runc are
//! installed. All take turns in one run on one machine; only ratios count.
//!
//! - [`place`]   namespaces of our own, where peers' daemons disturb nobody
//! - [`peers`]   docker and podman: how each is prepared and asked for the same work
//! - [`oci`]     crun and runc beside rcnt-oci, and the floor
//! - [`measure`] taking turns, medians, memory
//! - [`report`]  the table, with each goal and whether it is met
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark starts the programs it measures and writes a report"
)]

mod measure;
mod oci;
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
    oci: PathBuf,
    rounds: usize,
    record: Option<PathBuf>,
}

fn options() -> Result<Options> {
    let mut options = Options {
        rcnt: PathBuf::from("target/rcnt"),
        oci: PathBuf::from("target/rcnt-oci"),
        rounds: 20,
        record: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--rcnt" => options.rcnt = value()?.into(),
            "--rcnt-oci" => options.oci = value()?.into(),
            "--rounds" => {
                options.rounds = value()?.parse().map_err(|e| format!("--rounds: {e}"))?;
            }
            "--record" => options.record = Some(value()?.into()),
            _ => {
                let usage = "[--rcnt FILE] [--rcnt-oci FILE] [--rounds N] [--record FILE]";
                return Err(format!("usage: rcnt-bench {usage}"));
            }
        }
    }
    for path in [&mut options.rcnt, &mut options.oci] {
        let found = path.canonicalize();
        *path = found.map_err(|e| format!("{}: {e}", path.display()))?;
    }
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
    let names = peers.iter().map(|p| (p.name, p.version.clone())).collect();
    drop(peers);
    let engines = report::Table { title: "Engines, each with the same image:", names, rows };
    let runtimes = oci::table(&options.oci, &place, options.rounds)?;
    let tables = [engines, runtimes];
    for table in &tables {
        print!("{}", report::text(table, options.rounds));
    }
    if let Some(path) = options.record {
        let page = report::page(&tables, options.rounds);
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
