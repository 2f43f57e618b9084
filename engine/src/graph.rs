//! The facts of a picture of the host's network, put together.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rcnt_netstack::egress::EgressList;
use rcnt_netstack::facts::{self, Link};
use rcnt_netstack::graph::{ContainerNode, EndpointNode, Graph, Interface, NetworkNode};
use rcnt_netstack::network::{self, Kind, Network};
use rcnt_netstack::ports::PublishedPort;

use crate::Engine;
use crate::container::{Container, Status};
use crate::error::{EngineError, Result};
use crate::request::NetworkMode;

/// Everything there is to draw.
///
/// # Errors
/// The kernel or the records cannot be read.
pub fn graph(engine: &Engine) -> Result<Graph> {
    let all = engine.list()?;
    let name_of = |id: &str| match all.iter().find(|c| c.id.as_str() == id) {
        Some(container) => container.name.to_string(),
        None => id.to_owned(),
    };
    let mut containers: Vec<ContainerNode> = all
        .iter()
        .filter(|container| container.state.status == Status::Running)
        .map(|container| container_node(container, &name_of))
        .collect();
    containers.sort_by(|a, b| a.name.cmp(&b.name));
    let networks = network::list(&engine.paths.roots)
        .map_err(|e| EngineError::Network { name: "list".into(), source: Box::new(e) })?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let reading = || EngineError::state("cannot read the host's interfaces");
    let interfaces = interfaces(&containers).map_err(reading())?;
    let mut networks: Vec<NetworkNode> = networks.iter().filter_map(network_node).collect();
    // A default bridge that nobody has used yet is nowhere.
    networks.retain(|n| {
        let there = interfaces.iter().any(|i| i.name == n.interface);
        there || containers.iter().any(|c| c.endpoints.iter().any(|e| e.network == n.name))
    });
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Graph { host, interfaces, networks, containers })
}

fn container_node(container: &Container, name_of: &impl Fn(&str) -> String) -> ContainerNode {
    let endpoints = container.state.endpoints.iter().map(|endpoint| EndpointNode {
        network: endpoint.network.to_string(),
        interface: endpoint.interface.clone(),
        host_interface: endpoint.host_interface.clone(),
        addresses: endpoint.addresses().collect(),
    });
    let mode = match &container.record.request.network {
        NetworkMode::Bridge(name) => name.clone(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::Container(id) => format!("container:{}", name_of(id)),
    };
    ContainerNode {
        name: container.name.to_string(),
        id: container.id.to_string(),
        mode,
        endpoints: endpoints.collect(),
        ports: container.state.ports.iter().map(port).collect(),
        egress: container.record.request.egress.as_ref().map(EgressList::words),
    }
}

fn port(port: &PublishedPort) -> String {
    let host = std::net::SocketAddr::new(port.host_ip, port.host_port);
    format!("{host} → {}/{}", port.container_port, port.protocol)
}

/// `None` for networks that are none of ours: `host` and `none`.
fn network_node(network: &Network) -> Option<NetworkNode> {
    let interface = match &network.kind {
        Kind::Bridge(bridge) => bridge.interface.clone(),
        Kind::Macvlan(lan) => lan.parent.interface.clone(),
        Kind::Ipvlan(lan) => lan.parent.interface.clone(),
        Kind::Host | Kind::None => return None,
    };
    let addresses = network.addresses.as_ref();
    let gateways = addresses.map(|a| [Some(a.gateway4.into()), a.gateway6.map(Into::into)]);
    Some(NetworkNode {
        name: network.name.to_string(),
        driver: network.kind.driver().to_owned(),
        interface,
        internal: network.internal,
        subnets: addresses.iter().flat_map(|a| a.blocks()).map(|b| b.to_string()).collect(),
        gateways: gateways.into_iter().flatten().flatten().collect(),
    })
}

/// Every interface with IPv6 has one; they tell nothing.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
}

/// The host's interfaces, without its ends of the containers' wires.
fn interfaces(containers: &[ContainerNode]) -> std::io::Result<Vec<Interface>> {
    let links = facts::read_links()?;
    let (addresses, routes) = (facts::read_addresses()?, facts::read_routes()?);
    let wires: BTreeSet<&str> = containers
        .iter()
        .flat_map(|container| &container.endpoints)
        .map(|endpoint| endpoint.host_interface.as_str())
        .collect();
    let name_of = |index: u32| links.iter().find(|l| l.index == index).map(|l| l.name.clone());
    let interface = |link: &Link| Interface {
        name: link.name.clone(),
        kind: link.kind.clone().unwrap_or_default(),
        up: link.up,
        addresses: addresses
            .iter()
            .filter(|a| a.link == link.index && !is_link_local(a.address))
            .map(|a| format!("{}/{}", a.address, a.prefix))
            .collect(),
        master: link.master.and_then(name_of),
        default_via: routes
            .iter()
            .filter(|r| r.prefix == 0 && r.link == Some(link.index))
            .filter_map(|r| r.gateway)
            .collect(),
    };
    let shown = links.iter().filter(|link| !wires.contains(link.name.as_str()));
    Ok(shown.map(interface).collect())
}
