//! `make bench`: rcnt beside whichever of docker, podman, crun and runc are
//! installed. All take turns in one run on one machine; only ratios count.
//!
//! - [`place`]    namespaces of our own, where peers' daemons disturb nobody
//! - [`host`]     in them, a network namespace and a LAN for each contestant
//! - [`peers`]    docker and podman: how each is prepared and asked for the same work
//! - [`child`]    one command: its time, its end
//! - [`measure`]  taking turns; [`statistics`] medians
//! - [`engines`]  one container's life
//! - [`networks`] making, connecting and removing networks
//! - [`paths`]    what goes through, beside [`floor`], the same built by hand;
//!   [`traffic`] is what goes
//! - [`names`]    what a resolver makes of [`queries`]
//! - [`many`]     whether much makes slow; [`series`] 200 in a row
//! - [`oci`]      crun and runc beside rcnt-oci, and the floor
//! - [`report`]   the tables, with each goal and whether it is met
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark starts the programs it measures and writes a report"
)]

mod child;
mod engines;
mod floor;
mod host;
mod many;
mod measure;
mod names;
mod networks;
mod oci;
mod options;
mod paths;
mod peers;
mod place;
mod queries;
mod report;
mod series;
mod statistics;
mod traffic;

use std::process::ExitCode;

use options::Part;

/// What a benchmark fails with: one line is enough for its reader.
type Result<T> = std::result::Result<T, String>;

fn run() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("serve") => return traffic::serve(),
        Some("echo") => return queries::echo(),
        _ => {}
    }
    let options = options::parse(std::env::args().skip(1))?;
    if !place::is_inside() {
        return place::enter();
    }
    let place = place::Place::prepare()?;
    let (rounds, wanted) = (options.rounds, |part| options.only.is_none_or(|only| only == part));
    // First, while nothing else is there; told last.
    let runtimes = wanted(Part::Runtimes).then(|| oci::table(&options.oci, &place, rounds));
    let mut tables = Vec::new();
    if options.only != Some(Part::Runtimes) {
        let peers = peers::all(&options.rcnt, &place)?;
        let parts = [
            (Part::Engines, engines::table as fn(&[peers::Peer], usize) -> report::Table),
            (Part::Networks, networks::table),
            (Part::Paths, paths::table),
            (Part::Names, names::table),
        ];
        let measured = parts.iter().filter(|(part, _)| wanted(*part));
        tables.extend(measured.map(|(_, table)| table(&peers, rounds)));
        if let (true, Some(ours)) = (wanted(Part::Many), peers.first()) {
            match many::table(ours, &options.rcnt, &place, rounds) {
                Ok(table) => tables.push(table),
                Err(reason) => eprintln!("\nrcnt-bench: without a crowd: {reason}"),
            }
            tables.push(series::table(&peers, options.all));
        }
    }
    if let Some(table) = runtimes {
        tables.push(table?);
    }
    for table in &tables {
        print!("{}", report::text(table));
    }
    if let Some(path) = options.record {
        let page = report::page(&tables);
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
