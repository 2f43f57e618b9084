//! `network check`: what was recorded against what there is, in the kernel
//! ([`rcnt_netstack::check`]) and in files; and mending it on request.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rcnt_base::files::{self, Lock};
use rcnt_base::report::chain;
use rcnt_netstack::check::{self, Recorded, Subject};
use rcnt_netstack::network::{HostNetFacts, Network, NetworkWarning, read_facts, recheck};
use rcnt_netstack::plan::{BridgePlan, NetworkPlan, table_name};
use rcnt_netstack::sysctl::ProcSys;
use rcnt_netstack::{claims, dns, members};

use crate::container::{Container, Endpoint, Status};
use crate::error::{EngineError, Result};
use crate::journal::Journal;
use crate::{Engine, network, repair, resolver};

/// Something that is not as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `host`, `network NAME` or `container NAME`.
    pub subject: String,
    /// What is wrong, one line.
    pub what: String,
    /// It is as recorded again.
    pub mended: bool,
}

impl Engine {
    /// Compares the kernel and the files with what was recorded: all of it, or what
    /// concerns the networks and containers named `only`. With `mend`, what has
    /// drifted is put right, and everything else left alone.
    ///
    /// # Errors
    /// An unknown name; the kernel does not tell its state.
    pub fn check_networks(&self, only: &[String], mend: bool) -> Result<Vec<Finding>> {
        let reading = || EngineError::state("cannot compare the network with the records");
        let wanted = self.subjects(only)?;
        let is_wanted = |subject: &str| wanted.as_ref().is_none_or(|all| all.contains(subject));
        let networks = self.networks()?;
        let running = self.running()?;
        let mut places: Vec<(NetworkPlan, &OwnedFd)> = Vec::new();
        for (container, namespace) in &running {
            let plans = network::plans(&self.paths, &container.id);
            places.extend(plans.into_iter().map(|plan| (plan, namespace)));
        }
        let places: Vec<_> = places.iter().map(|(p, ns)| (p.clone(), ns.as_fd())).collect();
        let own = |network: &&Network| network.bridge().is_some_and(|b| !b.policy.foreign);
        let bridges: Vec<BridgePlan> =
            networks.iter().filter(own).filter_map(BridgePlan::of).collect();
        let fenced = repair::forwarding(&self.paths);
        let recorded = Recorded {
            table: &table_name(&self.paths.roots.instance()),
            firewall: self.config.host_policy().firewall,
            bridges: &bridges,
            places: &places,
            fenced: &fenced,
        };
        let of_kernel = |subject: &Subject| is_wanted(&name(&networks, subject));
        let sysctls = ProcSys::open().map_err(reading())?;
        let found = check::check(&recorded, &sysctls, mend, &of_kernel).map_err(reading())?;
        let mut all: Vec<Finding> = found
            .into_iter()
            .map(|f| Finding {
                subject: name(&networks, &f.subject),
                what: f.what,
                mended: f.mended,
            })
            .collect();
        let around = read_facts().map_err(reading())?;
        let in_the_way = networks.iter().flat_map(|network| overlaps(network, &around));
        all.extend(in_the_way.filter(|finding| is_wanted(&finding.subject)));
        for (container, namespace) in &running {
            if is_wanted(&format!("container {}", container.name)) {
                all.extend(self.check_files(container, mend));
                all.extend(self.check_names(container, namespace.as_fd(), mend));
            }
        }
        Ok(all)
    }

    /// The subjects that these names stand for; `None`: all.
    fn subjects(&self, only: &[String]) -> Result<Option<BTreeSet<String>>> {
        if only.is_empty() {
            return Ok(None);
        }
        let subject = |name: &String| match self.find(name) {
            Ok(container) => Ok(format!("container {}", container.name)),
            Err(EngineError::NoSuchContainer(_)) => {
                Ok(format!("network {}", self.find_network(name)?.name))
            }
            Err(error) => Err(error),
        };
        only.iter().map(subject).collect::<Result<_>>().map(Some)
    }

    /// Every running container that has a network of its own, with its namespace.
    fn running(&self) -> Result<Vec<(Container, OwnedFd)>> {
        let mut all = Vec::new();
        for container in self.list()? {
            let lives = container.state.status == Status::Running
                && Lock::is_held(&self.paths.supervisor_lock(&container.id));
            if lives && !container.state.endpoints.is_empty() {
                // One that has ended just now is none of ours.
                all.extend(network::namespace(&container).ok().map(|ns| (container, ns)));
            }
        }
        Ok(all)
    }

    /// What a running container has in files and sockets.
    fn check_files(&self, container: &Container, mend: bool) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut note = |what: String, mended: bool| {
            found.push(Finding { subject: format!("container {}", container.name), what, mended });
        };
        let exec = &self.paths.roots.exec;
        let journal = files::read_json::<Journal>(&self.paths.undo(&container.id)).ok();
        for held in journal.into_iter().flat_map(|journal| journal.claims) {
            let absent = |file: &&std::path::PathBuf| !exec.join(file).exists();
            let gone: Vec<_> = held.files.iter().filter(absent).cloned().collect();
            if gone.is_empty() {
                continue;
            }
            let names: Vec<_> = gone.iter().map(|file| file.display().to_string()).collect();
            let restore =
                || claims::restore(exec, &container.id, container.name.as_str(), &gone).is_ok();
            note(format!("its claim {} is gone", names.join(", ")), mend && restore());
        }
        for endpoint in &container.state.endpoints {
            let there = members::list(exec, &endpoint.network);
            if !there.is_ok_and(|all| all.iter().any(|member| member.id == container.id)) {
                let what = format!("it is not written down as a member of {}", endpoint.network);
                let enlist = || network::enlist(&self.paths, container, &container.state.endpoints);
                note(what, mend && enlist().is_ok());
            }
        }
        for file in ["hosts", "hostname", "resolv.conf"] {
            if !self.paths.container(&container.id).join(file).exists() {
                note(format!("its {file} is gone until it is started again"), false);
            }
        }
        found
    }

    /// Whether a container with a resolver of its own is answered by it.
    fn check_names(
        &self,
        container: &Container,
        namespace: BorrowedFd<'_>,
        mend: bool,
    ) -> Option<Finding> {
        let places = &container.state.endpoints;
        let address = |place: &Endpoint| {
            let own = members::get(&self.paths.roots.exec, &place.network, &container.id);
            own.ok().flatten()?.address4
        };
        // Whoever is on no list is nobody to the resolver either, which is told already.
        let addresses: Vec<_> =
            places.iter().filter(|p| resolver::has_names(p)).filter_map(address).collect();
        let answered =
            || dns::answers(namespace, container.id.short(), &addresses).unwrap_or(false);
        if addresses.is_empty() || answered() {
            return None;
        }
        let mut what = "port 53 of 127.0.0.11 does not lead to its resolver inside".to_owned();
        let mut mended = false;
        if mend {
            match resolver::networks_changed(self, container, places, places) {
                Ok(()) => mended = answered(),
                Err(why) => what = format!("{what} (cannot be mended: {})", chain(&why)),
            }
        }
        let subject = format!("container {}", container.name);
        Some(Finding { subject, what, mended })
    }
}

/// What the host has got since that is in a network's way: a VPN, another's bridge.
fn overlaps(network: &Network, around: &HostNetFacts) -> impl Iterator<Item = Finding> {
    let subject = format!("network {}", network.name);
    recheck(network, around).into_iter().map(move |warning| Finding {
        subject: subject.clone(),
        what: match warning {
            NetworkWarning::Overlap { subnet, with, .. } => format!("{subnet} overlaps {with}"),
            pending @ NetworkWarning::Pending { .. } => pending.to_string(),
        },
        // Whose addresses should change is not ours to say.
        mended: false,
    })
}

/// Whom a finding concerns, in the user's words.
fn name(networks: &[Network], subject: &Subject) -> String {
    match subject {
        Subject::Host => "host".to_owned(),
        Subject::Container(name) => format!("container {name}"),
        Subject::Bridge(interface) => {
            let of = |n: &&Network| n.bridge().is_some_and(|b| b.interface == *interface);
            match networks.iter().find(of) {
                Some(network) => format!("network {}", network.name),
                None => format!("bridge {interface}"),
            }
        }
    }
}
