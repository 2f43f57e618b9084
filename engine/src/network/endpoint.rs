//! One container on one network: from a wish and a lease to the plan, and to what
//! the container and its neighbours see of it. Pure.

use std::net::IpAddr;

use rcnt_base::ids::ContainerId;
use rcnt_netstack::claims::Lease;
use rcnt_netstack::egress::EgressList;
use rcnt_netstack::members::{Member, PrivateName};
use rcnt_netstack::names::{ExtraHost, HostTarget};
use rcnt_netstack::network::HostPolicy;
use rcnt_netstack::plan::{EndpointPlan, Mac, NetworkPlan, Wire};
use rcnt_netstack::ports::PublishedPort;

use super::gateway::{self, Wish};
use crate::container::{Container, Endpoint};
use crate::error::{EngineError, Result};
use crate::request::{IFNAME, SYSCTLS, sysctls};

/// What an endpoint is made of besides the network and the wish for it.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// The instance's nftables table.
    pub(crate) table: &'a str,
    /// What the configuration lets us change of the host.
    pub(crate) host: HostPolicy,
    /// What `host-gateway` is, where that is not the network's gateway.
    pub(crate) host_gateway: Option<IpAddr>,
    /// Whose it is.
    pub(crate) container: &'a Container,
    /// Its addresses.
    pub(crate) lease: &'a Lease,
    /// Docker's EndpointID, from which the host's interface has its name too.
    pub(crate) id: &'a ContainerId,
    /// The interface inside.
    pub(crate) interface: String,
    /// There are others already.
    pub(crate) further: bool,
    /// It has the default route of IPv4, of IPv6.
    pub(crate) default_routes: (bool, bool),
    /// The ports that lead to it.
    pub(crate) published: Vec<PublishedPort>,
}

/// The name of an interface inside: as asked for, or the network's prefix and the
/// first number that none of `taken` has.
pub(crate) fn interface(wish: &Wish, taken: &[String]) -> String {
    if let Some(asked) = wish.request.driver_opts.get(IFNAME) {
        return asked.clone();
    }
    let prefix = wish.network.interface_prefix();
    let names = (0..=taken.len()).map(|n| format!("{prefix}{n}"));
    names.into_iter().find(|name| !taken.contains(name)).unwrap_or_else(|| format!("{prefix}0"))
}

/// What shall be.
///
/// # Errors
/// A network or an address that cannot be used so.
pub(crate) fn plan(wish: &Wish, parts: &Parts<'_>) -> Result<NetworkPlan> {
    let Wish { request, network } = wish;
    let unusable = |why: &str| EngineError::Network {
        name: network.name.to_string(),
        source: why.to_owned().into(),
    };
    let wire = Wire::of(network).ok_or_else(|| unusable("containers have no interface on it"))?;
    let addresses = network.addresses.as_ref().ok_or_else(|| unusable("it has no addresses"))?;
    let Parts { lease, container, interface, .. } = parts;
    let address6 = addresses.subnet6.zip(lease.v6).map(|(subnet, ip)| (ip, subnet.prefix()));
    if address6.is_none() && request.link_local.iter().any(IpAddr::is_ipv6) {
        return Err(unusable("an IPv6 link-local address needs a network with IPv6"));
    }
    if wire.bridge().is_none() && container.record.request.bandwidth.into.is_some() {
        return Err(unusable("--bandwidth limits what comes in on bridge networks only: say /OUT"));
    }
    let gateways = match parts.host_gateway {
        Some(address) => vec![address],
        None => {
            let v6 = gateway::gateway6(network).map(IpAddr::V6);
            gateway::gateway4(network).map(IpAddr::V4).into_iter().chain(v6).collect()
        }
    };
    let egress = egress(container, &gateways);
    if egress.is_some() && wire.bridge().is_none() {
        return Err(unusable("--egress-allow holds on bridge networks only"));
    }
    if egress.is_some() && !parts.host.firewall {
        return Err(unusable("--egress-allow needs the firewall, which config.toml switches off"));
    }
    let settings = request.driver_opts.get(SYSCTLS).and_then(|text| sysctls(text));
    let setting =
        |([net, last], value): ([String; 2], String)| (format!("{net}/{interface}/{last}"), value);
    Ok(NetworkPlan {
        table: parts.table.to_owned(),
        host: parts.host,
        endpoint: EndpointPlan {
            host_interface: match wire.bridge() {
                Some(_) => format!("veth{}", parts.id.as_str().get(..11).unwrap_or_default()),
                None => String::new(),
            },
            interface: interface.clone(),
            mac: request.mac.unwrap_or_else(|| Mac::from_ipv4(lease.v4)),
            address4: (lease.v4, addresses.subnet4.prefix()),
            gateway4: gateway::gateway4(network).filter(|_| parts.default_routes.0),
            address6,
            gateway6: gateway::gateway6(network).filter(|_| parts.default_routes.1),
            mtu: network.bridge().map_or(0, |bridge| bridge.mtu),
            hairpin: network.bridge().is_some_and(|bridge| bridge.policy.hairpin),
            link_local: request.link_local.clone(),
            sysctls: settings.unwrap_or_default().into_iter().map(setting).collect(),
            further: parts.further,
            bandwidth: container.record.request.bandwidth,
            egress,
        },
        // Who is on the LAN has ports of its own there.
        published: if wire.bridge().is_some() { parts.published.clone() } else { Vec::new() },
        wire,
        owner: container.id.clone(),
        owner_name: container.name.to_string(),
    })
}

/// The container's egress list, with what `--add-host` says of its names.
fn egress(container: &Container, gateways: &[IpAddr]) -> Option<EgressList> {
    let request = &container.record.request;
    let list = request.egress.as_ref()?;
    // Checked when the container was created.
    let hosts: Vec<ExtraHost> = request.add_host.iter().flat_map(|entry| entry.parse()).collect();
    Some(list.with_hosts(hosts.iter().flat_map(|host| {
        let addresses = match host.target {
            HostTarget::Address(address) => vec![address],
            HostTarget::Gateway => gateways.to_vec(),
        };
        addresses.into_iter().map(|address| (host.name.as_str(), address))
    })))
}

/// The same, as `inspect` tells it.
pub(crate) fn endpoint(wish: &Wish, plan: &NetworkPlan, id: &ContainerId) -> Endpoint {
    let end = &plan.endpoint;
    Endpoint {
        network: wish.network.name.clone(),
        network_id: wish.network.id.clone(),
        endpoint_id: id.to_string(),
        interface: end.interface.clone(),
        host_interface: end.host_interface.clone(),
        mac: end.mac,
        address4: end.address4,
        gateway4: gateway::gateway4(&wish.network),
        address6: end.address6,
        gateway6: gateway::gateway6(&wish.network),
        request: wish.request.clone(),
    }
}

/// The container, as others on the endpoint's network know it.
pub(crate) fn member(
    container: &Container,
    endpoint: &Endpoint,
    links: Vec<PrivateName>,
) -> Member {
    Member {
        id: container.id.clone(),
        name: container.name.to_string(),
        aliases: aliases(container, &endpoint.request.aliases),
        links,
        address4: Some(endpoint.address4.0),
        address6: endpoint.address6.map(|(address, _)| address),
        mac: endpoint.mac,
        interface: endpoint.interface.clone(),
        host_interface: endpoint.host_interface.clone(),
        endpoint_id: endpoint.endpoint_id.clone(),
    }
}

/// Docker's DNSNames: all that the container is called on a user-defined network.
pub(crate) fn names(container: &Container, asked: &[String]) -> Vec<String> {
    let mut names = vec![container.name.to_string()];
    let short = container.id.short().to_owned();
    let hostname = container.record.config.hostname.clone();
    for name in asked.iter().cloned().chain([short, hostname]) {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// `--network-alias` and the hostname, each once.
fn aliases(container: &Container, asked: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let known = [container.name.as_str(), container.id.short()];
    for name in asked.iter().chain([&container.record.config.hostname]) {
        if !name.is_empty() && !known.contains(&name.as_str()) && !all.contains(name) {
            all.push(name.clone());
        }
    }
    all
}
