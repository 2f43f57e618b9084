//! How to take back what starting a container made: written down before the
//! first change, run at every end. Start failure, normal exit, `rm -f` and the
//! clean-up after a crash all call [`teardown`].

use std::path::{Path, PathBuf};

use rcnt_base::files::{self, Durability};
use rcnt_base::ids::{ContainerId, Name};
use rcnt_base::report;
use rcnt_netstack::claims::{self, ClaimsUndo};
use rcnt_netstack::plan::{NetworkUndo, Passage, table_name};
use rcnt_netstack::ports::PublishedPort;
use rcnt_netstack::{apply, members};
use rcnt_runtime::cgroup::{self, CgroupError};
use serde::{Deserialize, Serialize};

use crate::container::one_or_many;
use crate::error::{EngineError, Result};
use crate::paths::Paths;
use crate::{links, records};

/// `undo.json`: names only, so that it means the same in any process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    /// Whose.
    pub id: ContainerId,
    /// The cgroup, as the runtime names it.
    pub cgroup: PathBuf,
    /// Links and map elements, one for each bridge network.
    #[serde(default, alias = "network", deserialize_with = "one_or_many")]
    pub networks: Vec<NetworkUndo>,
    /// The networks that it is written down as a member of.
    #[serde(default)]
    pub members: Vec<Name>,
    /// Every port it holds, published now or not.
    #[serde(default)]
    pub ports: Vec<PublishedPort>,
    /// What its links have opened.
    #[serde(default)]
    pub passages: Vec<Passage>,
    /// The containers it is linked to.
    #[serde(default)]
    pub sources: Vec<Name>,
    /// Addresses and ports; freed last, when nothing uses them any more.
    #[serde(default, deserialize_with = "one_or_many")]
    pub claims: Vec<ClaimsUndo>,
}

impl Journal {
    /// Saves it where [`teardown`] after a crash finds it. Not durable: a reboot
    /// undoes all of it.
    ///
    /// # Errors
    /// The disk is full.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        files::write_json(&paths.undo(&self.id), self, Durability::Volatile)
            .map_err(EngineError::state("cannot write the undo list"))
    }
}

/// Kills what is left of the container and takes back everything listed. "Gone
/// already" is done; problems are collected while the rest goes on. The run
/// directory, and with it the list, goes only when all is undone.
pub fn teardown(paths: &Paths, journal: &Journal) -> Vec<String> {
    let Journal {
        id,
        cgroup: group,
        networks,
        members: member_of,
        ports: _,
        passages,
        sources,
        claims: held,
    } = journal;
    let mut problems = Vec::new();
    let mut note = |result: std::result::Result<(), String>| problems.extend(result.err());
    let layout = cgroup::layout().map_err(|e| report::chain(&e));
    let on_group = |act: fn(&cgroup::Layout, &Path) -> std::result::Result<(), CgroupError>| {
        act(layout.as_ref().map_err(Clone::clone)?, group).map_err(|e| report::chain(&e))
    };
    note(on_group(cgroup::kill_all));
    for network in member_of {
        let gone = members::remove(&paths.roots.exec, network, id);
        note(gone.map_err(|e| report::chain(&e)));
    }
    for source in sources {
        note(links::delist(paths, id, source).map_err(|e| report::chain(&e)));
    }
    if !passages.is_empty() {
        let table = table_name(&paths.roots.instance());
        note(apply::close_passages(&table, passages).map_err(|e| report::chain(&e)));
    }
    for network in networks {
        // The kernel removes the veth with its namespace, unless somebody joined that:
        // then it goes before its rules do, lest who is inside is confined no more.
        if paths.joined(id).exists() {
            note(apply::remove_link(network).map_err(|e| report::chain(&e)));
        }
        note(apply::detach(network).map_err(|e| report::chain(&e)));
    }
    note(on_group(cgroup::remove));
    for held in held {
        note(claims::release(&paths.roots.exec, held).map_err(|e| report::chain(&e)));
    }
    if problems.is_empty() {
        problems.extend(remove_run(paths, id).err().map(|e| e.to_string()));
    }
    problems
}

/// Removes a run directory, whole for whoever looks: it is renamed aside first.
///
/// # Errors
/// The kernel's reason. What was renamed aside is swept by the next command.
pub(crate) fn remove_run(paths: &Paths, id: &ContainerId) -> std::io::Result<()> {
    let gone = paths.runs().join(records::under_construction(".gone-", id));
    match std::fs::rename(paths.run(id), &gone) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        renamed => renamed.and_then(|()| files::remove_tree(&gone)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_from_when_there_was_one_network_load() {
        let id = "a".repeat(64);
        let old = serde_json::json!({
            "id": id, "cgroup": "rcnt/a",
            "network": {
                "table": "rcnt", "host_interface": "veth1", "address4": "10.90.0.2",
                "address6": null, "published": [], "owner": id,
            },
            "claims": { "owner": id, "files": ["networks/bridge/ip/10.90.0.2"] },
        });
        let journal: Journal = serde_json::from_value(old).unwrap();
        assert_eq!((journal.networks.len(), journal.claims.len()), (1, 1));
        let none = serde_json::json!({ "id": id, "cgroup": "c", "network": null, "claims": null });
        let journal: Journal = serde_json::from_value(none).unwrap();
        assert_eq!((journal.networks, journal.claims), (Vec::new(), Vec::new()));
    }
}
