//! `network connect` and `network disconnect`.
//!
//! A container that does not run just has another list of networks from then on.
//! One that runs is changed from here, by the command: the same plan and the same
//! effects as at its start, each in the undo list first ([`Change`]). Killed half-way,
//! either command leaves a container that is not on the network: taking it off is
//! how the one is undone and how the other is finished ([`mend`]).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};

use rcnt_base::ids::{ContainerId, Name};
use rcnt_base::report;
use rcnt_netstack::apply::{self, DefaultRoutes};
use rcnt_netstack::claims;
use rcnt_netstack::members;
use rcnt_netstack::plan::{NetworkPlan, NetworkUndo, table_name};
use rcnt_netstack::ports::PublishedPort;
use rcnt_netstack::sysctl::ProcSys;

use super::change::{self, Change, Note};
use super::endpoint::{self, Parts};
use super::gateway::{self, Candidate, Wish};
use super::{aside, checked, leased, led_to, resolve, stored};
use crate::container::{Container, Endpoint, Status};
use crate::error::{EngineError, Result};
use crate::journal::Journal;
use crate::request::{EndpointArgs, EndpointRequest, NetworkMode};
use crate::{Engine, etc_files, links, records, request, resolver};

/// Puts a container on one more network.
///
/// # Errors
/// It is on it already, or cannot be; nothing is changed then.
pub(crate) fn connect(engine: &Engine, container: &Container, args: &EndpointArgs) -> Result<()> {
    let paths = &engine.paths;
    let _command = records::lock(paths, container)?;
    let container = engine.reload_locked(container)?;
    can_change(&stored::mode(paths, &container), &args.network)?;
    let request = request::endpoint(args)?;
    let request = match request.network.as_str() {
        "bridge" => request,
        _ => checked(engine, request)?,
    };
    let links = links::named(engine, &request.links)?;
    let request = EndpointRequest { links, ..request };
    let wanted = stored::wanted(paths, &container)?;
    if wanted.iter().any(|there| there.network == request.network) {
        return Err(EngineError::AlreadyConnected {
            container: container.name.to_string(),
            network: request.network,
        });
    }
    if container.state.status == Status::Running {
        return connect_running(engine, &container, &resolve(engine, request)?);
    }
    stored::set_wanted(paths, &container, wanted.into_iter().chain([request]).collect())
}

/// Takes a container off a network.
///
/// # Errors
/// It is not on it.
pub(crate) fn disconnect(engine: &Engine, container: &Container, network: &str) -> Result<()> {
    let paths = &engine.paths;
    let _command = records::lock(paths, container)?;
    let container = engine.reload_locked(container)?;
    if matches!(network, "host") {
        return Err(EngineError::HostNetwork);
    }
    if network == "none" && stored::mode(paths, &container) == NetworkMode::None {
        // As docker: then it can be put on others.
        return stored::set_wanted(paths, &container, Vec::new());
    }
    let named = EndpointRequest { network: network.to_owned(), ..EndpointRequest::default() };
    let name = resolve(engine, named)?.network.name;
    let wanted = stored::wanted(paths, &container)?;
    if !wanted.iter().any(|there| there.network == name.as_str()) {
        return Err(EngineError::NotConnected {
            container: container.id.to_string(),
            network: name.to_string(),
        });
    }
    if container.state.status != Status::Running {
        return stored::forget(paths, &container, &name);
    }
    let change = Change::begin(paths, &container)?;
    change.note(&Note::Network(name.clone()))?;
    take_off(engine, change, &name)
}

/// Ends what killed commands had begun.
pub(crate) fn mend(engine: &Engine) {
    for (change, note) in change::left_behind(&engine.paths) {
        let id = change.container.id.clone();
        log::info!("container {}: a change was left half done", id.short());
        let done = match &note {
            Note::Network(network) => take_off(engine, change, network),
            Note::Ports(left) => crate::ports::settle(change, left),
        };
        if let Err(error) = done {
            log::warn!("container {}: {}", id.short(), report::chain(&error));
        }
    }
}

/// Whether a container of this kind can be put on more networks, in docker's words.
fn can_change(mode: &NetworkMode, network: &str) -> Result<()> {
    match (mode, network) {
        (_, "host") => Err(EngineError::HostNetwork),
        (_, "none") | (NetworkMode::None, _) => Err(EngineError::PrivateNetwork),
        (NetworkMode::Host | NetworkMode::Container(_), _) => Err(EngineError::SharedNetwork),
        (NetworkMode::Bridge(_), _) => Ok(()),
    }
}

fn connect_running(engine: &Engine, container: &Container, wish: &Wish) -> Result<()> {
    let paths = &engine.paths;
    let change = Change::begin(paths, container)?;
    change.note(&Note::Network(wish.network.name.clone()))?;
    // After an error the lock is free again; the note says what is to be taken back.
    put_on(engine, change, wish).inspect_err(|_| mend(engine))?.finish()
}

fn namespace(container: &Container) -> Result<OwnedFd> {
    super::namespace(container).map_err(|_| EngineError::NotRunning(container.name.to_string()))
}

/// Claims, plans, undo list, effects; the state says so last.
fn put_on<'a>(engine: &Engine, mut change: Change<'a>, wish: &Wish) -> Result<Change<'a>> {
    let paths = &engine.paths;
    let container = change.container.clone();
    let claims = super::claim(engine, &container, wish, &[])?;
    let id = ContainerId::random().map_err(EngineError::state("cannot name a veth"))?;
    let mut plans = stored::plans(paths, &container.id);
    let mut endpoints = container.state.endpoints.clone();
    let taken: Vec<String> = endpoints.iter().map(|e| e.interface.clone()).collect();
    let parts = Parts {
        table: &table_name(&paths.roots.instance()),
        host: engine.config.host_policy(),
        host_gateway: engine.config.host_gateway_ip,
        container: &container,
        lease: leased(wish, &claims)?,
        id: &id,
        interface: endpoint::interface(wish, &taken),
        further: !endpoints.is_empty(),
        // Led there when it is whole.
        default_routes: (false, false),
        published: Vec::new(),
    };
    let plan = endpoint::plan(wish, &parts)?;
    endpoints.push(endpoint::endpoint(wish, &plan, &id));
    plans.push(plan.clone());
    let routes = redirect(engine, &mut change, &endpoints, &mut plans);
    change.journal.networks = plans.iter().map(NetworkPlan::undo).collect();
    change.journal.members.push(wish.network.name.clone());
    change.journal.claims.push(claims.undo().clone());
    change.journal.save(paths)?;
    // From here on the undo list frees them.
    drop(claims.keep());
    let netns = namespace(&container)?;
    stored::enlist(paths, &container, endpoints.get(taken.len()..).unwrap_or_default())?;
    let attaching = |e: apply::AttachError| EngineError::Network {
        name: wish.network.name.to_string(),
        source: Box::new(e),
    };
    let sysctls = ProcSys::open().map_err(EngineError::state("cannot use /proc/sys"))?;
    let attached = apply::attach(&plan, netns.as_fd(), &sysctls).map_err(attaching)?;
    for chain in attached.closed {
        log::warn!("{}", chain.advice());
    }
    lead(&change, &netns, &endpoints, routes, &plans)?;
    stored::write_plans(paths, &container.id, &plans)?;
    let wanted = stored::wanted(paths, &container)?.into_iter().chain([wish.request.clone()]);
    stored::set_wanted(paths, &container, wanted.collect())?;
    let before = settled(&mut change, endpoints, &plans)?;
    let after = &change.container.state.endpoints;
    resolver::networks_changed(engine, &change.container, &before, after)?;
    Ok(change)
}

/// Everything of the network is taken back, whatever of it is there; the state says
/// so last.
fn take_off(engine: &Engine, mut change: Change<'_>, network: &Name) -> Result<()> {
    let paths = change.paths;
    let container = change.container.clone();
    let id = &container.id;
    stored::forget(paths, &container, network)?;
    let was = stored::plans(paths, id);
    let stays = |endpoint: &&Endpoint| endpoint.network != *network;
    let endpoints: Vec<Endpoint> =
        container.state.endpoints.iter().filter(stays).cloned().collect();
    let is_known = |undo: &NetworkUndo| endpoints.iter().any(|e| is_of(undo, e));
    let mut plans: Vec<NetworkPlan> =
        was.iter().filter(|plan| is_known(&plan.undo())).cloned().collect();
    let routes = redirect(engine, &mut change, &endpoints, &mut plans);
    let netns = namespace(&container)?;
    // What is published elsewhere from now on is in the undo list before.
    let leaves = |undo: &&NetworkUndo| !is_known(undo);
    let gone: Vec<NetworkUndo> = change.journal.networks.iter().filter(leaves).cloned().collect();
    change.journal.networks = plans.iter().map(NetworkPlan::undo).chain(gone.clone()).collect();
    change.journal.save(paths)?;
    lead(&change, &netns, &endpoints, routes, &plans)?;
    for undo in &gone {
        let failed = |e: apply::DetachError| EngineError::Network {
            name: network.to_string(),
            source: Box::new(e),
        };
        // The wire goes before its rules do: they may confine the container.
        match &undo.inside {
            Some(interface) => apply::remove_inside(netns.as_fd(), interface)
                .map_err(EngineError::state(format!("cannot remove interface {interface}")))?,
            None => aside::remove_interface(&undo.host_interface).map_err(|e| {
                let removing = format!("cannot remove interface {}", undo.host_interface);
                EngineError::state(removing)(e)
            })?,
        }
        apply::detach(undo).map_err(failed)?;
    }
    members::remove(&paths.roots.exec, network, id)
        .map_err(EngineError::state("cannot write down who is on the network"))?;
    let left = container.state.endpoints.iter().find(|e| e.network == *network);
    // A change that was killed may have taken addresses that no state tells of.
    let known: Option<Vec<_>> =
        left.filter(|_| !change.mends).map(|endpoint| endpoint.addresses().collect());
    claims::release_network(&paths.roots.exec, network, id, known.as_deref())
        .map_err(EngineError::state("cannot free the address"))?;
    change.journal.networks.retain(|undo| endpoints.iter().any(|e| is_of(undo, e)));
    change.journal.members.retain(|member| member != network);
    for held in &mut change.journal.claims {
        held.files.retain(|file| !claims::is_of_network(file, network));
    }
    change.journal.claims.retain(|held| !held.files.is_empty());
    change.journal.save(paths)?;
    stored::write_plans(paths, id, &plans)?;
    let before = settled(&mut change, endpoints, &plans)?;
    let after = &change.container.state.endpoints;
    if let Err(error) = resolver::networks_changed(engine, &change.container, &before, after) {
        // The container is off the network all the same.
        log::warn!("container {}: {}", id.short(), report::chain(&error));
    }
    change.finish()
}

/// Whether an entry of the undo list is this endpoint's.
fn is_of(undo: &NetworkUndo, endpoint: &Endpoint) -> bool {
    match &undo.inside {
        Some(interface) => endpoint.interface == *interface,
        None => endpoint.host_interface == undo.host_interface,
    }
}

/// Chooses anew who has default routes and ports; changes the plans accordingly.
fn redirect(
    engine: &Engine,
    change: &mut Change<'_>,
    endpoints: &[Endpoint],
    plans: &mut [NetworkPlan],
) -> (Option<usize>, Option<usize>) {
    let candidates: Vec<Candidate<'_>> = endpoints.iter().map(Into::into).collect();
    let (default4, default6) = gateway::choose(&candidates);
    if default6.is_some() {
        let halves = other_halves(&change.journal);
        change.journal.ports.extend(halves);
    }
    let (ports, relays) = (&change.journal.ports, engine.config.relays());
    for (position, (plan, endpoint)) in plans.iter_mut().zip(endpoints).enumerate() {
        let has = (default4 == Some(position), default6 == Some(position));
        plan.endpoint.gateway4 = endpoint.gateway4.filter(|_| has.0);
        plan.endpoint.gateway6 = endpoint.gateway6.filter(|_| has.1);
        plan.published = led_to(ports, has, default6.is_some(), relays);
    }
    (default4, default6)
}

/// Ports that are claimed for both families and have been published in IPv4 alone, since
/// no IPv6 client would have got anywhere: their IPv6 halves.
fn other_halves(journal: &Journal) -> Vec<PublishedPort> {
    let six =
        |port: &PublishedPort| PublishedPort { host_ip: Ipv6Addr::UNSPECIFIED.into(), ..*port };
    let claimed = |port: &PublishedPort| {
        let file = claims::file_of(port);
        journal.claims.iter().any(|claim| claim.files.contains(&file))
    };
    let four = journal.ports.iter().filter(|p| p.host_ip == Ipv4Addr::UNSPECIFIED);
    four.map(six).filter(|p| claimed(p) && !journal.ports.contains(p)).collect()
}

/// Leads ports and default routes where the plans say, each in one step.
fn lead(
    change: &Change<'_>,
    netns: &OwnedFd,
    endpoints: &[Endpoint],
    (default4, default6): (Option<usize>, Option<usize>),
    plans: &[NetworkPlan],
) -> Result<()> {
    let name = |source| EngineError::Network { name: change.container.name.to_string(), source };
    let before = &change.container.state;
    let candidates: Vec<Candidate<'_>> = before.endpoints.iter().map(Into::into).collect();
    let was = gateway::choose(&candidates);
    let of = |list: &[Endpoint], at: Option<usize>| {
        at.and_then(|at| list.get(at)).map(|e| e.interface.clone())
    };
    let moved = of(&before.endpoints, was.0) != of(endpoints, default4)
        || of(&before.endpoints, was.1) != of(endpoints, default6);
    // A change that was killed may have moved them, which nobody has written down.
    if !moved && !change.mends {
        return Ok(());
    }
    let at = |position: Option<usize>| position.and_then(|position| endpoints.get(position));
    let v4 = at(default4).and_then(|e| Some((e.interface.as_str(), e.gateway4?)));
    let v6 = at(default6).and_then(|e| Some((e.interface.as_str(), e.gateway6?)));
    apply::set_default_routes(netns.as_fd(), &DefaultRoutes { v4, v6 })
        .map_err(|e| name(Box::new(e)))?;
    for plan in plans.iter().filter(|plan| !plan.published.is_empty()) {
        apply::publish(plan).map_err(|e| name(Box::new(e)))?;
    }
    Ok(())
}

/// The change is whole: the names inside, then the state. Returns the endpoints from
/// before.
fn settled(
    change: &mut Change<'_>,
    endpoints: Vec<Endpoint>,
    plans: &[NetworkPlan],
) -> Result<Vec<Endpoint>> {
    let before = std::mem::replace(&mut change.container.state.endpoints, endpoints);
    let ports = plans.iter().flat_map(|plan| plan.published.clone());
    change.container.state.ports = ports.collect();
    etc_files::readdress(change.paths, &change.container, &before)?;
    change.commit()?;
    Ok(before)
}
