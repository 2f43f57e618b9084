//! What a container may leave behind, and where to look for it. The bridge and
//! the constant part of the nftables table are shared and may stay.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Space, World};

/// What was there before the first container.
#[derive(Debug, Default)]
pub struct Baseline {
    mounts: Vec<String>,
    links: Vec<String>,
    processes: Vec<u32>,
}

impl Baseline {
    /// As things are now.
    pub fn of(space: &Space) -> Self {
        let processes = space.processes().into_iter().map(|(pid, _)| pid).collect();
        Self { mounts: mounts(space), links: links(space), processes }
    }
}

/// Everything that is there and should not be, one line each.
pub fn find(space: &Space, baseline: &Baseline, cgroup_parent: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (pid, line) in space.processes() {
        if !baseline.processes.contains(&pid) {
            found.push(format!("process {pid}: {line}"));
        }
    }
    found.extend(fresh("mount", mounts(space), &baseline.mounts));
    // A bridge of ours may stay; whatever hangs on it may not.
    let links = links(space).into_iter().filter(|l| !l.starts_with("rcnt"));
    found.extend(fresh("link", links.collect(), &baseline.links));
    found.extend(rules(space));
    for dir in cgroups(cgroup_parent) {
        // The parent itself is shared, like the bridge.
        if dir.file_name().is_none_or(|n| n.to_string_lossy() != cgroup_parent) {
            found.push(format!("cgroup {}", dir.display()));
        }
    }
    found.extend(files(space));
    found
}

fn fresh(kind: &str, now: Vec<String>, before: &[String]) -> Vec<String> {
    let new = now.into_iter().filter(|item| !before.contains(item));
    new.map(|item| format!("{kind} {item}")).collect()
}

/// "root mount-point type source" of each mount (proc_pid_mountinfo(5)).
fn mounts(space: &Space) -> Vec<String> {
    let path = format!("/proc/{}/mountinfo", space.init());
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let describe = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        Some(format!("{} {} {right}", left.get(3)?, left.get(4)?))
    };
    text.lines().filter_map(describe).collect()
}

/// Names of network links, without their peers.
fn links(space: &Space) -> Vec<String> {
    let output = space.inside_network(|| {
        Command::new("ip").args(["-o", "link"]).output().expect("ip(8), of iproute2, runs")
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let name = |line: &str| Some(line.split(": ").nth(1)?.split('@').next()?.to_owned());
    text.lines().filter_map(name).collect()
}

/// Tables that are not ours, and elements of a container in those that are: all
/// of a map's, and a set's that name an interface. Sets of bridges and their
/// subnets belong to the bridges.
fn rules(space: &Space) -> Vec<String> {
    let text = ruleset(space);
    let mut found = Vec::new();
    let (mut table, mut map) = (String::new(), false);
    for line in text.lines() {
        map = line.starts_with("\tmap ") || (map && !line.starts_with("\tset "));
        if let Some(name) = line.strip_prefix("table ") {
            table = name.trim_end_matches(" {").to_owned();
            if !table.split(' ').nth(1).is_some_and(|name| name.starts_with("rcnt")) {
                found.push(format!("nft table {table}"));
            }
        } else if line.contains("elements = {") && (map || line.contains("\"veth")) {
            found.push(format!("nft table {table}: {}", line.trim()));
        }
    }
    found
}

/// `nft list ruleset` of the space.
pub fn ruleset(space: &Space) -> String {
    let output = space.inside_network(|| {
        Command::new("nft").args(["list", "ruleset"]).output().expect("nft(8), of nftables, runs")
    });
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Every directory at or below a cgroup of this name, in every hierarchy, the
/// deepest first.
pub fn cgroups(name: &str) -> Vec<PathBuf> {
    fn walk(dir: &Path, name: &str, below: bool, found: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|t| t.is_dir()) {
                continue;
            }
            let ours = below || entry.file_name().to_string_lossy() == name;
            walk(&entry.path(), name, ours, found);
            if ours {
                found.push(entry.path());
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), name, false, &mut found);
    found
}

/// Files that stand for a container or an unfinished write.
fn files(space: &Space) -> Vec<String> {
    let mut found = Vec::new();
    for (root, spots) in
        [(World::EXEC, &["ports", "containers"][..]), (World::DATA, &["containers", "names"][..])]
    {
        for spot in spots {
            let dir = format!("{root}/{spot}");
            found.extend(names_in(space, &dir).map(|name| format!("file {dir}/{name}")));
        }
    }
    let networks = format!("{}/networks", World::EXEC);
    for network in names_in(space, &networks) {
        let leases = format!("{networks}/{network}/ip");
        found.extend(names_in(space, &leases).map(|name| format!("lease {leases}/{name}")));
    }
    for root in [World::EXEC, World::DATA] {
        let mut unfinished = Vec::new();
        find_temporaries(&space.outside(root), &mut unfinished);
        found.extend(unfinished.into_iter().map(|path| format!("temporary {}", path.display())));
    }
    found
}

fn names_in(space: &Space, dir: &str) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(space.outside(dir)).into_iter().flatten().flatten();
    // A lock's name outlives its holder by design.
    entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|name| name != "lock" && !name.ends_with(".lock"))
}

fn find_temporaries(dir: &Path, found: &mut Vec<PathBuf>) {
    // What images contain is theirs.
    if dir.file_name().is_some_and(|n| n == "layers" || n == "volumes") {
        return;
    }
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            find_temporaries(&entry.path(), found);
        } else if entry.file_name().to_string_lossy().ends_with(".tmp") {
            found.push(entry.path());
        }
    }
}

/// Removes one cgroup below `parent`, if it is empty.
pub(crate) fn remove_empty_cgroup(parent: &str, name: &str) {
    let all = cgroups(parent).into_iter();
    for dir in all.filter(|dir| dir.file_name().is_some_and(|n| n == name)) {
        let _ = std::fs::remove_dir(dir);
    }
}

/// Removes the cgroups at and below one of this name, which must be empty by now.
pub fn remove_cgroups(name: &str) {
    for _ in 0..100 {
        let all = cgroups(name);
        if all.is_empty() {
            return;
        }
        for dir in all {
            let _ = std::fs::remove_dir(dir);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
