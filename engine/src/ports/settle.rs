//! The ports a running container has in the end: how `port rm` takes some of them
//! away, and how a killed `port add` or `port rm` is undone or finished.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use rcnt_netstack::claims::{self, ClaimsUndo};
use rcnt_netstack::plan::NetworkPlan;
use rcnt_netstack::ports::{PortSpec, PublishedPort};
use rcnt_netstack::{apply, claims::is_of_a_port};
use serde::{Deserialize, Serialize};

use super::write_wishes;
use crate::error::{EngineError, Result};
use crate::journal::Journal;
use crate::network::{self, Change};
use crate::session::Remote;

/// What is left of a container's ports when a change is over, or was killed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PortsLeft {
    /// The ports.
    keep: Vec<PublishedPort>,
    /// Their claims.
    files: BTreeSet<PathBuf>,
    /// What it shall have at its next start.
    wishes: Vec<PortSpec>,
}

impl PortsLeft {
    /// Those it has, wherever an addition is killed.
    pub(super) fn as_before(journal: &Journal, wishes: Vec<PortSpec>) -> Self {
        Self { keep: journal.ports.clone(), files: files(journal).collect(), wishes }
    }

    /// Those it has but for `gone`.
    pub(super) fn without(
        journal: &Journal,
        gone: &[PublishedPort],
        wishes: Vec<PortSpec>,
    ) -> Self {
        let stays = |port: &&PublishedPort| !gone.contains(port);
        let keep: Vec<PublishedPort> = journal.ports.iter().filter(stays).copied().collect();
        let needed: BTreeSet<PathBuf> = keep.iter().map(claims::file_of).collect();
        // A port of both families may be published in one alone, and is claimed in both.
        let six =
            |port: &PublishedPort| PublishedPort { host_ip: Ipv6Addr::UNSPECIFIED.into(), ..*port };
        let halves = gone.iter().filter(|port| port.host_ip == Ipv4Addr::UNSPECIFIED).map(six);
        let freed: BTreeSet<PathBuf> =
            gone.iter().copied().chain(halves).map(|port| claims::file_of(&port)).collect();
        let stays = |file: &PathBuf| needed.contains(file) || !freed.contains(file);
        Self { keep, files: files(journal).filter(stays).collect(), wishes }
    }
}

/// The claims of a container's ports.
fn files(journal: &Journal) -> impl Iterator<Item = PathBuf> {
    journal.claims.iter().flat_map(|claim| claim.files.clone()).filter(|file| is_of_a_port(file))
}

/// Takes all ports from a running container but those that are left: rules, sockets,
/// claims, and the state last. What of it is done already is fine.
///
/// # Errors
/// What could not be taken.
pub(crate) fn settle(mut change: Change<'_>, left: &PortsLeft) -> Result<()> {
    let paths = change.paths;
    let container = change.container.clone();
    let keep: BTreeSet<String> = left.keep.iter().map(ToString::to_string).collect();
    let stays = |port: &PublishedPort| keep.contains(&port.to_string());
    let gone: Vec<PublishedPort> =
        change.journal.ports.iter().filter(|port| !stays(port)).copied().collect();
    let mut plans = network::plans(paths, &container.id);
    for (plan, undo) in plans.iter_mut().zip(&mut change.journal.networks) {
        let (kept, removed): (Vec<_>, Vec<_>) = undo.published.iter().copied().partition(stays);
        let part = NetworkPlan { published: removed, ..plan.clone() };
        apply::withdraw(&part.undo(), &kept).map_err(|e| EngineError::Claims(Box::new(e)))?;
        plan.published.clone_from(&kept);
        undo.published = kept;
    }
    network::write_plans(paths, &container.id, &plans)?;
    if let Ok(mut remote) = Remote::connect(&paths.run(&container.id), false, false) {
        remote
            .let_go(&gone)
            .map_err(EngineError::state("cannot tell the supervisor of the ports"))?;
    }
    release(&change, left)?;
    change.journal.ports.retain(stays);
    for held in &mut change.journal.claims {
        held.files.retain(|file| !is_of_a_port(file) || left.files.contains(file));
    }
    change.journal.save(paths)?;
    change.container.state.ports = plans.into_iter().flat_map(|plan| plan.published).collect();
    change.commit()?;
    write_wishes(paths, &container, left.wishes.clone())?;
    change.finish()
}

/// Frees the claims of what is gone; of a killed command also those that it had not
/// written down.
fn release(change: &Change<'_>, left: &PortsLeft) -> Result<()> {
    let exec_root: &Path = &change.paths.roots.exec;
    let owner = change.container.id.clone();
    let goes = |file: &PathBuf| !left.files.contains(file);
    let undo =
        ClaimsUndo { owner: owner.clone(), files: files(&change.journal).filter(goes).collect() };
    claims::release(exec_root, &undo)
        .and_then(|()| match change.mends {
            true => claims::release_ports(exec_root, &owner, &|file| left.files.contains(file)),
            false => Ok(()),
        })
        .map_err(EngineError::state("cannot free the claims of the ports"))
}
