//! `--link` on the default network: what a container gets of its sources when it
//! starts, and what changes in its recipients when a source starts with another
//! address. (On user-defined networks links are names of the resolver's.)
//!
//! `exec-root/links/<source>/<recipient id>` says who is linked to whom, as long as
//! the recipient runs. Sources are known by name, so one that is made anew is found.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rcnt_base::files;
use rcnt_base::ids::{ContainerId, Name};
use rcnt_base::report;
use rcnt_netstack::apply;
use rcnt_netstack::members::PrivateName;
use rcnt_netstack::names::{Link, Source, relinked};
use rcnt_netstack::plan::{Passage, table_name};
use rcnt_netstack::ports::ContainerPort;

use crate::container::{Container, Endpoint, Status};
use crate::error::{EngineError, Result};
use crate::journal::Journal;
use crate::network::Change;
use crate::paths::Paths;
use crate::request::{NetworkMode, RequestError};
use crate::{Engine, etc_files, records};

/// The network that has links.
const DEFAULT: &str = "bridge";

/// What a container gets of all its sources.
#[derive(Debug, Default)]
pub(crate) struct Linked {
    /// Variables, in docker's order.
    pub(crate) env: Vec<String>,
    /// Addresses and names for `/etc/hosts`.
    pub(crate) hosts: Vec<(IpAddr, String)>,
    /// What is opened where containers of the bridge do not talk.
    pub(crate) passages: Vec<Passage>,
    /// The sources' names.
    pub(crate) sources: Vec<Name>,
}

/// The links of a container to be created, their sources by their names.
///
/// # Errors
/// An unknown source, or one without a network of its own.
pub(crate) fn checked(engine: &Engine, links: &[Link]) -> Result<Vec<Link>> {
    links
        .iter()
        .map(|link| {
            let mut source = engine
                .find(&link.source)
                .map_err(|_| EngineError::NoLinkSource(link.source.clone()))?;
            // Who has no network of its own is reached where its owner is.
            while let NetworkMode::Container(owner) = &source.record.request.network {
                source = engine.find(owner)?;
            }
            if source.record.request.network == NetworkMode::Host {
                return Err(EngineError::LinkToHost);
            }
            let alias = if link.alias == link.source {
                source.name.to_string()
            } else {
                link.alias.clone()
            };
            Ok(Link { source: source.name.to_string(), alias })
        })
        .collect()
}

/// Whether a container of this name may have these links. (One without a name of the
/// user's is nobody's source yet.)
///
/// # Errors
/// One of its sources is linked to it, over others or directly: none of them could
/// ever be started first.
pub(crate) fn check_cycles(paths: &Paths, name: Option<&Name>, links: &[Link]) -> Result<()> {
    let Some(name) = name else { return Ok(()) };
    let sources = |links: &[Link]| links.iter().map(|l| l.source.clone()).collect::<Vec<_>>();
    let mut ways: Vec<Vec<String>> =
        sources(links).into_iter().map(|source| vec![name.to_string(), source]).collect();
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop() {
        let Some(last) = way.last() else { continue };
        if last == name.as_str() {
            return Err(EngineError::LinkCycle(way.join(" -> ")));
        }
        if !seen.insert(last.clone()) {
            continue;
        }
        // One that is gone leads nowhere.
        let Ok(source) = records::find(paths, last) else { continue };
        let further = |next: String| way.iter().cloned().chain([next]).collect();
        ways.extend(sources(&source.record.request.links).into_iter().map(further));
    }
    Ok(())
}

/// [`checked`] for a user-defined network, in docker's form.
///
/// # Errors
/// As [`checked`], and a link that is none.
pub(crate) fn named(engine: &Engine, links: &[String]) -> Result<Vec<String>> {
    let parse = |text: &String| text.parse::<Link>().map_err(|e| RequestError::Link(e).into());
    let links = links.iter().map(parse).collect::<Result<Vec<Link>>>()?;
    Ok(checked(engine, &links)?.iter().map(Link::to_string).collect())
}

/// What a container that is about to start gets of its sources.
///
/// # Errors
/// A source that does not run, or is not on the default network.
pub(crate) fn of_recipient(
    engine: &Engine,
    container: &Container,
    endpoints: &[Endpoint],
) -> Result<Linked> {
    let mut linked = Linked::default();
    let links = &container.record.request.links;
    let own = endpoints.iter().find(|e| e.network.as_str() == DEFAULT);
    // Off the default network there are none.
    let Some(own) = own.filter(|_| !links.is_empty()) else { return Ok(linked) };
    for link in links {
        let stopped = || EngineError::LinkToStopped {
            source: link.source.clone(),
            recipient: container.name.to_string(),
            alias: link.alias.clone(),
        };
        let source = engine.find(&link.source).map_err(|_| stopped())?;
        if source.state.status != Status::Running {
            return Err(stopped());
        }
        let place = source.state.endpoints.iter().find(|e| e.network.as_str() == DEFAULT);
        let place = place.ok_or_else(|| EngineError::LinkElsewhere(source.id.to_string()))?;
        let exposed: Vec<ContainerPort> = source.record.config.exposed.iter().copied().collect();
        let described = described(&source, place, &exposed);
        linked.env.extend(described.environment(container.name.as_str(), &link.alias));
        let names = described.host_names(&link.alias);
        linked.hosts.extend(place.addresses().map(|ip| (ip, names.clone())));
        linked.passages.extend(passages(own, place, &exposed));
        linked.sources.push(source.name.clone());
    }
    Ok(linked)
}

fn described<'a>(
    source: &'a Container,
    place: &Endpoint,
    exposed: &'a [ContainerPort],
) -> Source<'a> {
    let config = &source.record.config;
    Source {
        name: source.name.as_str(),
        hostname: &config.hostname,
        address: place.address4.0.into(),
        exposed,
        env: &config.env,
    }
}

/// From the recipient to each exposed port of the source, by each family both have.
fn passages(recipient: &Endpoint, source: &Endpoint, exposed: &[ContainerPort]) -> Vec<Passage> {
    let mut all = Vec::new();
    for from in recipient.addresses() {
        for to in source.addresses().filter(|to| to.is_ipv4() == from.is_ipv4()) {
            let one = |p: &ContainerPort| Passage { from, to, protocol: p.protocol, port: p.port };
            all.extend(exposed.iter().map(one));
        }
    }
    all
}

/// Writes down whose recipient the container is.
///
/// # Errors
/// The disk is full.
pub(crate) fn enlist(paths: &Paths, id: &ContainerId, sources: &[Name]) -> Result<()> {
    sources.iter().try_for_each(|source| {
        let dir = paths.recipients(source);
        files::create_dirs(&dir)
            .and_then(|()| std::fs::File::create(dir.join(id)).map(drop))
            .map_err(EngineError::state("cannot write down a link"))
    })
}

/// Takes back [`enlist`].
pub(crate) fn delist(paths: &Paths, id: &ContainerId, source: &Name) -> std::io::Result<()> {
    let dir = paths.recipients(source);
    files::remove_if_exists(&dir.join(id))?;
    // The last one takes the directory along.
    let _ = std::fs::remove_dir(&dir);
    Ok(())
}

/// A container starts: those linked to it learn its address. Nobody is, mostly, and
/// to find that out costs one look.
pub(crate) fn source_starts(engine: &Engine, source: &Container, endpoints: &[Endpoint]) {
    let Some(place) = endpoints.iter().find(|e| e.network.as_str() == DEFAULT) else { return };
    for id in records::ids(&engine.paths.recipients(&source.name)).unwrap_or_default() {
        if let Err(error) = relink(engine, &id, source, place) {
            log::warn!("container {}: {}", id.short(), report::chain(&error));
        }
    }
}

fn relink(engine: &Engine, id: &ContainerId, source: &Container, place: &Endpoint) -> Result<()> {
    let paths = &engine.paths;
    let Some(recipient) = records::load(paths, id)? else { return Ok(()) };
    // It has just ended.
    let Ok(mut change) = Change::begin(paths, &recipient) else { return Ok(()) };
    let own = change.container.state.endpoints.iter().find(|e| e.network.as_str() == DEFAULT);
    let Some(own) = own.cloned() else { return Ok(()) };
    let exposed: Vec<ContainerPort> = source.record.config.exposed.iter().copied().collect();
    let described = described(source, place, &exposed);
    let links = recipient.record.request.links.iter().filter(|l| l.source == source.name.as_str());
    let hosts = paths.container(id).join("hosts");
    let addresses: Vec<IpAddr> = place.addresses().collect();
    for link in links {
        let names = described.host_names(&link.alias);
        etc_files::edit(&hosts, |text| relinked(text, &link.alias, &names, &addresses))?;
    }
    let new = passages(&own, place, &exposed);
    // What led to the source before may be another's now: only sources that run keep
    // what was opened to them.
    let old = std::mem::take(&mut change.journal.passages);
    let others = others(engine, &recipient, source);
    let (kept, gone): (Vec<Passage>, Vec<Passage>) =
        old.into_iter().filter(|p| !new.contains(p)).partition(|p| others.contains(&p.to));
    change.journal.passages = kept.iter().chain(&new).chain(&gone).copied().collect();
    change.journal.save(paths)?;
    let table = table_name(&paths.roots.instance());
    let failed = |e: apply::AttachError| EngineError::Network {
        name: DEFAULT.to_owned(),
        source: Box::new(e),
    };
    apply::close_passages(&table, &gone).map_err(failed)?;
    apply::open_passages(&table, &new, &comment(&recipient)).map_err(failed)?;
    change.journal.passages = kept.into_iter().chain(new).collect();
    change.journal.save(paths)
}

/// The addresses of the recipient's other sources.
fn others(engine: &Engine, recipient: &Container, but: &Container) -> Vec<IpAddr> {
    let links = recipient.record.request.links.iter();
    let others = links.filter(|link| link.source != but.name.as_str());
    others
        .filter_map(|link| engine.find(&link.source).ok())
        .flat_map(|source| source.state.addresses())
        .collect()
}

/// What `nft list ruleset` shows beside a passage.
pub(crate) fn comment(recipient: &Container) -> String {
    format!("{} {}", recipient.id.short(), recipient.name)
}

/// Ways to the recipient's sources, as its undo list has them.
///
/// # Errors
/// The kernel's reason.
pub(crate) fn open(
    paths: &Paths,
    recipient: &Container,
    all: &[Passage],
) -> std::result::Result<(), apply::AttachError> {
    if all.is_empty() {
        return Ok(());
    }
    apply::open_passages(&table_name(&paths.roots.instance()), all, &comment(recipient))
}

/// Opens again what a running recipient's links had opened, after somebody's flush.
pub(crate) fn reopen(paths: &Paths, id: &ContainerId) {
    let journal = files::read_json::<Journal>(&paths.undo(id));
    let passages = journal.map(|journal| journal.passages).unwrap_or_default();
    if let (false, Ok(Some(recipient))) = (passages.is_empty(), records::load(paths, id))
        && let Err(error) = open(paths, &recipient, &passages)
    {
        log::warn!("container {}: {}", id.short(), report::chain(&error));
    }
}

/// A member file's links: names that hold for one container alone.
pub(crate) fn private_names(paths: &Paths, endpoint: &Endpoint) -> Vec<PrivateName> {
    let parse = |text: &String| text.parse::<Link>().ok();
    let links = endpoint.request.links.iter().filter_map(parse);
    links
        .map(|link| {
            let target = records::find(paths, &link.source).ok().map(|source| source.id);
            PrivateName { alias: link.alias, target, source: link.source }
        })
        .collect()
}
