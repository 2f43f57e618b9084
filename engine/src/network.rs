//! A container's place on the network: which network, which addresses and
//! ports, in which namespace. Joins netstack's parts; decides nothing of theirs.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rcnt_base::files::{self, Durability};
use rcnt_base::ids::ContainerId;
use rcnt_base::trace::Step;
use rcnt_netstack::apply;
use rcnt_netstack::claims::{self, ClaimRequest, Claims, Lease};
use rcnt_netstack::network::{self, Network, default_network_here};
use rcnt_netstack::plan::{BridgePlan, NetworkPlan, table_name};
use rcnt_netstack::ports::{PortSpec, Protocol, PublishedPort};
use rcnt_netstack::relay::Relays;

use crate::Engine;
use crate::container::{Container, Endpoint, Status};
use crate::error::{EngineError, Result};
use crate::paths::Paths;
use crate::request::{EndpointRequest, NetworkMode};

pub(crate) mod aside;
mod change;
mod connect;
mod endpoint;
mod gateway;
mod stored;

pub(crate) use change::{Change, Note};
pub(crate) use connect::{connect, disconnect, mend};
use endpoint::Parts;
pub(crate) use endpoint::names;
use gateway::Wish;
pub(crate) use stored::{enlist, mode, plans, wanted, write_plans};

/// Where a container is on the network.
#[derive(Debug)]
pub(crate) struct Place {
    /// On bridges: the links, addresses and ports, in the order of its interfaces.
    pub plans: Vec<NetworkPlan>,
    /// The same, as `inspect` tells it.
    pub endpoints: Vec<Endpoint>,
    /// What is held for it; given back on drop unless kept.
    pub claims: Vec<Claims>,
    /// Another's network namespace.
    pub join: Option<OwnedFd>,
    /// The container whose namespace that is.
    pub joined: Option<ContainerId>,
}

impl Place {
    fn nowhere() -> Self {
        Self {
            plans: Vec::new(),
            endpoints: Vec::new(),
            claims: Vec::new(),
            join: None,
            joined: None,
        }
    }

    /// Whether it has an IPv6 address.
    pub(crate) fn has_ipv6(&self) -> bool {
        self.endpoints.iter().any(|e| e.address6.is_some())
    }

    /// All its addresses, by interface, IPv4 first.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.endpoints.iter().flat_map(Endpoint::addresses)
    }

    /// The host, as its default routes reach it.
    pub(crate) fn gateways(&self) -> Vec<IpAddr> {
        let v4 = self.plans.iter().find_map(|p| p.endpoint.gateway4).map(IpAddr::V4);
        let v6 = self.plans.iter().find_map(|p| p.endpoint.gateway6).map(IpAddr::V6);
        v4.into_iter().chain(v6).collect()
    }
}

/// Decides the place of a container that is to be started, and claims what it needs.
///
/// # Errors
/// No such network, a taken port or address, a container to join that does not run.
pub(crate) fn place(engine: &Engine, container: &Container) -> Result<Place> {
    match &mode(&engine.paths, container) {
        NetworkMode::None | NetworkMode::Host => Ok(Place::nowhere()),
        NetworkMode::Bridge(_) => on_networks(engine, container),
        NetworkMode::Container(target) => {
            let target = engine.find(target)?;
            if target.state.status != Status::Running {
                return Err(EngineError::JoinStopped(target.name.to_string()));
            }
            let join = namespace(&target)?;
            let marking = EngineError::state("cannot mark the joined container");
            files::write_atomic(&engine.paths.joined(&target.id), b"", Durability::Volatile)
                .map_err(marking)?;
            Ok(Place { join: Some(join), joined: Some(target.id), ..Place::nowhere() })
        }
    }
}

/// A running container's network namespace, held open.
pub(crate) fn namespace(target: &Container) -> Result<OwnedFd> {
    let stopped = || EngineError::JoinStopped(target.name.to_string());
    let path = format!("/proc/{}/ns/net", target.state.pid);
    let namespace = std::fs::File::open(path).map_err(|_| stopped())?;
    // Asked after it was opened: a pid given away meanwhile was opened in vain.
    crate::stop::first_process(target).ok_or_else(stopped)?;
    Ok(namespace.into())
}

fn on_networks(engine: &Engine, container: &Container) -> Result<Place> {
    let mut wishes = Vec::new();
    for request in stored::wanted(&engine.paths, container)? {
        wishes.push(resolve(engine, request)?);
    }
    gateway::sort(&mut wishes);
    let candidates: Vec<_> = wishes.iter().map(Into::into).collect();
    let (default4, default6) = gateway::choose(&candidates);
    let specs = crate::ports::wishes(&engine.paths, container)?;
    if !specs.is_empty() {
        warn_unserved(engine);
    }
    let mut claims = Vec::new();
    for (position, wish) in wishes.iter().enumerate() {
        // Held even while there is no way in: a network that has one may come.
        let has_ports = position == default4.or(default6).unwrap_or(0);
        claims.push(claim(engine, container, wish, if has_ports { &specs } else { &[] })?);
    }
    let ports: Vec<PublishedPort> = claims.iter().flat_map(|c| c.published.clone()).collect();
    let table = table_name(&engine.paths.roots.instance());
    let mut place = Place::nowhere();
    for (position, (wish, claims)) in wishes.iter().zip(&claims).enumerate() {
        let default_routes = (default4 == Some(position), default6 == Some(position));
        let taken: Vec<String> = place.endpoints.iter().map(|e| e.interface.clone()).collect();
        let id = ContainerId::random().map_err(EngineError::state("cannot name a veth"))?;
        let parts = Parts {
            table: &table,
            host: engine.config.host_policy(),
            host_gateway: engine.config.host_gateway_ip,
            container,
            lease: leased(wish, claims)?,
            // A name never used before: the pair of the last run may not be gone yet.
            id: &id,
            interface: endpoint::interface(wish, &taken),
            further: position > 0,
            default_routes,
            published: led_to(&ports, default_routes, default6.is_some(), engine.config.relays()),
        };
        let plan = endpoint::plan(wish, &parts)?;
        place.endpoints.push(endpoint::endpoint(wish, &plan, &id));
        place.plans.push(plan);
    }
    Ok(Place { claims, ..place })
}

/// Says so where the configuration leaves nobody to carry what comes to a published port.
pub(crate) fn warn_unserved(engine: &Engine) {
    if !engine.config.host_policy().firewall && engine.config.relays() == Relays::Nothing {
        log::warn!(
            "published ports cannot be reached: firewall and userland-proxy are both off \
             in the configuration"
        );
    }
}

/// The names of the networks that a container is on, or shall be on when it runs.
pub(crate) fn names_of(paths: &Paths, container: &Container) -> Vec<String> {
    let state = &container.state;
    match &mode(paths, container) {
        NetworkMode::None => vec!["none".to_owned()],
        NetworkMode::Host => vec!["host".to_owned()],
        NetworkMode::Container(_) => Vec::new(),
        NetworkMode::Bridge(_) if state.status == Status::Running => {
            state.endpoints.iter().map(|e| e.network.to_string()).collect()
        }
        NetworkMode::Bridge(_) => {
            let wanted = stored::wanted(paths, container).unwrap_or_default();
            wanted.into_iter().map(|request| request.network).collect()
        }
    }
}

/// Which of a container's ports lead to a network that has the default routes of these
/// families. IPv6 clients of a container without IPv6 are relayed to where IPv4 is.
pub(crate) fn led_to(
    ports: &[PublishedPort],
    routes: (bool, bool),
    has_ipv6: bool,
    relays: Relays,
) -> Vec<PublishedPort> {
    let relayed = !has_ipv6 && relays != Relays::Nothing && routes.0;
    let leads = |port: &&PublishedPort| match port.host_ip {
        IpAddr::V4(_) => routes.0,
        IpAddr::V6(_) => routes.1 || relayed && port.protocol != Protocol::Sctp,
    };
    ports.iter().filter(leads).copied().collect()
}

fn leased<'a>(wish: &Wish, claims: &'a Claims) -> Result<&'a Lease> {
    claims.lease.as_ref().ok_or_else(|| EngineError::Network {
        name: wish.network.name.to_string(),
        source: "no address was leased".into(),
    })
}

/// Claims an address on the wish's network, and ports.
fn claim(
    engine: &Engine,
    container: &Container,
    wish: &Wish,
    ports: &[PortSpec],
) -> Result<Claims> {
    let claim = ClaimRequest {
        exec_root: &engine.paths.roots.exec,
        owner: &container.id,
        owner_name: container.name.as_str(),
        network: &wish.network,
        address4: wish.request.ip,
        address6: wish.request.ip6,
        lease: true,
        relay: engine.config.relays(),
        ports,
    };
    let claims = take(engine, &claim)?;
    // From here on it is in use and stays; before, `network rm` may have come first.
    let Network { name, id, .. } = &wish.network;
    let still_there = wish.network.is_predefined()
        || network::load(&engine.paths.roots, name)
            .map_err(|e| EngineError::Networks(Box::new(e)))?
            .is_some_and(|now| now.id == *id);
    if still_there { Ok(claims) } else { Err(EngineError::NoSuchNetwork(name.to_string())) }
}

/// A request for a user-defined network that can be met as far as can be told now.
///
/// # Errors
/// There is no such network, or no such address on it.
pub(crate) fn checked(engine: &Engine, request: EndpointRequest) -> Result<EndpointRequest> {
    let Wish { request, network } = resolve(engine, request)?;
    let blocks = network.addresses.as_ref();
    let contains4 = |ip| blocks.is_some_and(|b| b.subnet4.contains(ip));
    let contains6 = |ip| blocks.and_then(|b| b.subnet6).is_some_and(|b| b.contains(ip));
    let outside4 = request.ip.filter(|ip| !contains4(*ip)).map(IpAddr::V4);
    let outside6 = request.ip6.filter(|ip| !contains6(*ip)).map(IpAddr::V6);
    match outside4.or(outside6) {
        Some(address) => Err(EngineError::OutsideSubnet(address)),
        None => Ok(request),
    }
}

/// Looks up the network of a wish; the wish is for its name from then on.
///
/// # Errors
/// There is none, or none of containers.
pub(crate) fn resolve(engine: &Engine, mut request: EndpointRequest) -> Result<Wish> {
    let network = match request.network.as_str() {
        "bridge" => default_network(engine)?,
        name => network::find(&engine.paths.roots, name).map_err(|error| match error {
            network::FindError::NotFound(name) => EngineError::NoSuchNetwork(name),
            error => EngineError::Network { name: name.to_owned(), source: Box::new(error) },
        })?,
    };
    request.network = network.name.to_string();
    Ok(Wish { request, network })
}

/// Claims; where the dead may be in the way, once more without them.
pub(crate) fn take(engine: &Engine, request: &ClaimRequest<'_>) -> Result<Claims> {
    let _step = Step::new("claim address and ports");
    match Claims::take(request) {
        Err(error) if error.may_be_stale() => {
            // All of what the dead left goes, rules before claims.
            crate::repair::repair(&engine.paths)?;
            let live = |id: &ContainerId| files::Lock::is_held(&engine.paths.supervisor_lock(id));
            let freed = claims::reap(&engine.paths.roots.exec, &live)
                .map_err(EngineError::state("cannot look for claims of the dead"))?;
            match freed.is_empty() {
                true => Err(error.into()),
                false => Ok(Claims::take(request)?),
            }
        }
        taken => Ok(taken?),
    }
}

/// The network `bridge`: as stored, or decided now.
pub(crate) fn default_network(engine: &Engine) -> Result<Network> {
    let _step = Step::new("default network");
    if !engine.config.has_default_bridge() {
        return Err(EngineError::NoSuchNetwork("bridge".to_owned()));
    }
    let decision = default_network_here(&engine.paths.roots, &engine.config.default_bridge())
        .map_err(|e| EngineError::Network { name: "bridge".into(), source: Box::new(e) })?;
    for warning in &decision.warnings {
        log::warn!("{warning}");
    }
    if let Some(old) = decision.replaces.as_ref().and_then(BridgePlan::of) {
        // Nobody is on it, or it would not have been replaced.
        apply::remove_bridge(
            &table_name(&engine.paths.roots.instance()),
            &old,
            &apply::remove_interface,
        )
        .map_err(|e| EngineError::Network { name: "bridge".into(), source: Box::new(e) })?;
    }
    Ok(decision.network)
}
