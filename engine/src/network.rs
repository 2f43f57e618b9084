//! A container's place on the network: which network, which addresses and
//! ports, in which namespace. Joins netstack's parts; decides nothing of theirs.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rcnt_base::files::{self, Durability};
use rcnt_base::ids::ContainerId;
use rcnt_base::trace::Step;
use rcnt_netstack::apply;
use rcnt_netstack::claims::{self, ClaimRequest, Claims};
use rcnt_netstack::members::{self, Member};
use rcnt_netstack::network::{BridgeConfig, Network, default_network_here};
use rcnt_netstack::plan::{BridgePlan, EndpointPlan, Mac, NetworkPlan, table_name};
use rcnt_netstack::ports;
use serde::Deserialize;

use crate::Engine;
use crate::container::{Container, Endpoint, Status, one_or_many};
use crate::error::{EngineError, Result};
use crate::paths::Paths;
use crate::request::NetworkMode;

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
    /// Whether it has an IPv6 address.
    pub(crate) fn has_ipv6(&self) -> bool {
        self.endpoints.iter().any(|e| e.address6.is_some())
    }

    /// All its addresses, by interface, IPv4 first.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let both = |e: &Endpoint| {
            [Some(IpAddr::V4(e.address4.0)), e.address6.map(|(address, _)| address.into())]
        };
        self.endpoints.iter().flat_map(both).flatten()
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
    let nowhere = Place {
        plans: Vec::new(),
        endpoints: Vec::new(),
        claims: Vec::new(),
        join: None,
        joined: None,
    };
    match &container.record.request.network {
        NetworkMode::None | NetworkMode::Host => Ok(nowhere),
        NetworkMode::Bridge(_) => on_bridge(engine, container),
        NetworkMode::Container(target) => {
            let target = engine.find(target)?;
            if target.state.status != Status::Running {
                return Err(EngineError::JoinStopped(target.name.to_string()));
            }
            let join = namespace(&target)?;
            let marking = EngineError::state("cannot mark the joined container");
            files::write_atomic(&engine.paths.joined(&target.id), b"", Durability::Volatile)
                .map_err(marking)?;
            Ok(Place { join: Some(join), joined: Some(target.id), ..nowhere })
        }
    }
}

/// A running container's network namespace, held open.
fn namespace(target: &Container) -> Result<OwnedFd> {
    let stopped = || EngineError::JoinStopped(target.name.to_string());
    let path = format!("/proc/{}/ns/net", target.state.pid);
    let namespace = std::fs::File::open(path).map_err(|_| stopped())?;
    // Asked after it was opened: a pid given away meanwhile was opened in vain.
    crate::stop::first_process(target).ok_or_else(stopped)?;
    Ok(namespace.into())
}

fn on_bridge(engine: &Engine, container: &Container) -> Result<Place> {
    let request = &container.record.request;
    let network = default_network(engine)?;
    let mut specs = request.publish.clone();
    if request.publish_all {
        specs = ports::publish_all(&specs, &container.record.config.exposed);
    }
    let specs = ports::merge(specs).map_err(|e| EngineError::Claims(Box::new(e)))?;
    let claim = ClaimRequest {
        exec_root: &engine.paths.roots.exec,
        owner: &container.id,
        owner_name: container.name.as_str(),
        network: &network,
        address4: request.ip,
        lease: true,
        relay: engine.config.relays(),
        ports: &specs,
    };
    let claims = take(engine, &claim)?;
    // A name never used before: the pair of the last run may not be gone yet.
    let endpoint_id = ContainerId::random().map_err(EngineError::state("cannot name a veth"))?;
    let plan = plan(engine, container, &network, &claims, &endpoint_id)?;
    let EndpointPlan { host_interface, interface, mac, address4, address6, .. } =
        plan.endpoint.clone();
    let endpoint = Endpoint {
        network: network.name,
        network_id: network.id,
        endpoint_id: endpoint_id.to_string(),
        interface,
        host_interface,
        mac,
        address4,
        gateway4: Some(plan.bridge.address4.0),
        address6,
        gateway6: plan.bridge.address6.map(|(gateway, _)| gateway),
    };
    Ok(Place {
        plans: vec![plan],
        endpoints: vec![endpoint],
        claims: vec![claims],
        join: None,
        joined: None,
    })
}

/// The plans of a running container, in the order of its interfaces.
#[derive(Deserialize)]
struct Plans(#[serde(deserialize_with = "one_or_many")] Vec<NetworkPlan>);

/// Saves what a container's networks shall be.
///
/// # Errors
/// The disk is full.
pub(crate) fn write_plans(paths: &Paths, id: &ContainerId, plans: &[NetworkPlan]) -> Result<()> {
    files::write_json(&paths.network_plan(id), &plans, Durability::Volatile)
        .map_err(EngineError::state("cannot write the network plan"))
}

/// What [`write_plans`] saved; nothing of a container without a bridge network.
pub(crate) fn plans(paths: &Paths, id: &ContainerId) -> Vec<NetworkPlan> {
    files::read_json::<Plans>(&paths.network_plan(id)).map(|plans| plans.0).unwrap_or_default()
}

/// Writes the container down as a member of each of its networks.
///
/// # Errors
/// The disk is full.
pub(crate) fn enlist(paths: &Paths, container: &Container, endpoints: &[Endpoint]) -> Result<()> {
    for endpoint in endpoints {
        let (member, aside) = (member(container, endpoint), paths.run(&container.id));
        members::add(&paths.roots.exec, &endpoint.network, &member, &aside)
            .map_err(EngineError::state("cannot write down who is on the network"))?;
    }
    Ok(())
}

/// The container, as others on the endpoint's network know it.
fn member(container: &Container, endpoint: &Endpoint) -> Member {
    let hostname = &container.record.config.hostname;
    let own = Some(hostname.clone()).filter(|name| name != container.id.short());
    Member {
        id: container.id.clone(),
        name: container.name.to_string(),
        aliases: own.into_iter().collect(),
        links: Vec::new(),
        address4: Some(endpoint.address4.0),
        address6: endpoint.address6.map(|(address, _)| address),
        mac: endpoint.mac,
        interface: endpoint.interface.clone(),
        host_interface: endpoint.host_interface.clone(),
        endpoint_id: endpoint.endpoint_id.clone(),
    }
}

/// Claims; where the dead may be in the way, once more without them.
fn take(engine: &Engine, request: &ClaimRequest<'_>) -> Result<Claims> {
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

fn plan(
    engine: &Engine,
    container: &Container,
    network: &Network,
    claims: &Claims,
    endpoint_id: &ContainerId,
) -> Result<NetworkPlan> {
    let unusable = |why: &str| EngineError::Network {
        name: network.name.to_string(),
        source: why.to_owned().into(),
    };
    let lease = claims.lease.as_ref().ok_or_else(|| unusable("no address was leased"))?;
    let bridge = BridgePlan::of(network).ok_or_else(|| unusable("it is no bridge network"))?;
    let mac = container.record.request.mac_address.map_or_else(|| Mac::from_ipv4(lease.v4), Mac);
    let ((gateway4, prefix4), gateway6) = (bridge.address4, bridge.address6);
    Ok(NetworkPlan {
        table: table_name(&engine.paths.roots.instance()),
        endpoint: EndpointPlan {
            host_interface: format!("veth{}", endpoint_id.as_str().get(..11).unwrap_or_default()),
            interface: "eth0".to_owned(),
            mac,
            address4: (lease.v4, prefix4),
            gateway4: Some(gateway4),
            address6: gateway6.and_then(|(_, prefix)| lease.v6.map(|address| (address, prefix))),
            gateway6: gateway6.map(|(gateway, _)| gateway),
            mtu: bridge.mtu,
            hairpin: true,
        },
        bridge,
        published: claims.published.clone(),
        owner: container.id.clone(),
        owner_name: container.name.to_string(),
    })
}

/// The network `bridge`: as stored, or decided now.
fn default_network(engine: &Engine) -> Result<Network> {
    let _step = Step::new("default network");
    let config = &engine.config;
    let wish = BridgeConfig {
        bridge: config.bridge.clone(),
        bip: config.bip,
        fixed_cidr: config.fixed_cidr,
        ipv6: config.ipv6,
        fixed_cidr_v6: config.fixed_cidr_v6,
        mtu: config.mtu,
        bind_address: config.ip,
        pools: config.default_address_pools.clone(),
        ..BridgeConfig::default()
    };
    let decision = default_network_here(&engine.paths.roots, &wish)
        .map_err(|e| EngineError::Network { name: "bridge".into(), source: Box::new(e) })?;
    for warning in &decision.warnings {
        log::warn!("{warning}");
    }
    if let Some(old) = decision.replaces.as_ref().and_then(BridgePlan::of) {
        // Nobody is on it, or it would not have been replaced.
        apply::remove_bridge(&table_name(&engine.paths.roots.instance()), &old)
            .map_err(|e| EngineError::Network { name: "bridge".into(), source: Box::new(e) })?;
    }
    Ok(decision.network)
}
