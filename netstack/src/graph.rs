//! A picture of a host's network: its interfaces, the networks of rcnt, the
//! containers on them with addresses and published ports. The facts are put
//! together by the caller; each form is made from [`Graph`] alone (pure).
//!
//! - [`text()`] box characters, 80 columns
//! - [`dot()`]  for graphviz
//! - [`svg()`]  a drawing that needs nothing else
//!
//! As JSON it is what its fields say; `docs/looking.md` tells them.

mod dot;
mod svg;
mod text;

use std::net::IpAddr;

use serde::Serialize;

pub use dot::dot;
pub use svg::svg;
pub use text::text;

/// Everything there is to draw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Graph {
    /// The host's name.
    pub host: String,
    /// Its interfaces, but not the host's ends of containers' wires.
    pub interfaces: Vec<Interface>,
    /// The networks, in the order of their names.
    pub networks: Vec<NetworkNode>,
    /// The running containers, in the order of their names.
    pub containers: Vec<ContainerNode>,
}

/// An interface of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `bridge`, `vlan`…; empty for hardware and `lo`.
    pub kind: String,
    /// Whether it is switched on.
    pub up: bool,
    /// Addresses with prefix lengths.
    pub addresses: Vec<String>,
    /// The bridge it is a port of.
    pub master: Option<String>,
    /// The next hops of default routes through it.
    pub default_via: Vec<IpAddr>,
}

/// A network of rcnt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NetworkNode {
    /// Its name.
    pub name: String,
    /// `bridge`, `macvlan`, `ipvlan`.
    pub driver: String,
    /// The bridge, or the parent interface.
    pub interface: String,
    /// Whether it leads nowhere else.
    pub internal: bool,
    /// Its blocks.
    pub subnets: Vec<String>,
    /// Its gateways.
    pub gateways: Vec<IpAddr>,
}

/// A running container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ContainerNode {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// `bridge`, `none`, `host`, `container:<name>`.
    pub mode: String,
    /// Its places on networks.
    pub endpoints: Vec<EndpointNode>,
    /// Its published ports: `0.0.0.0:8080 → 80/tcp`.
    pub ports: Vec<String>,
    /// What it may open connections to (`--egress-allow`), if not to everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<String>>,
}

/// A wire between a network and a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EndpointNode {
    /// The network's name.
    pub network: String,
    /// The interface inside the container.
    pub interface: String,
    /// The host's end of the veth pair; empty where there is none.
    pub host_interface: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl Graph {
    /// The containers on a network, each with its wire.
    fn on<'a>(
        &'a self,
        network: &'a str,
    ) -> impl Iterator<Item = (&'a ContainerNode, &'a EndpointNode)> {
        self.containers.iter().flat_map(move |container| {
            let wires = container.endpoints.iter().filter(move |e| e.network == network);
            wires.map(move |endpoint| (container, endpoint))
        })
    }

    /// The containers on no network of ours.
    fn apart(&self) -> impl Iterator<Item = &ContainerNode> {
        self.containers.iter().filter(|container| container.endpoints.is_empty())
    }
}

impl Interface {
    /// What is told of it besides its name.
    fn details(&self) -> Vec<String> {
        let mut details = self.addresses.clone();
        details.extend(self.default_via.iter().map(|next| format!("default via {next}")));
        details.extend(self.master.iter().map(|master| format!("in {master}")));
        if !self.up {
            details.push("down".to_owned());
        }
        details
    }
}

impl NetworkNode {
    /// What is told of it besides its name.
    fn details(&self) -> Vec<String> {
        let mut details = vec![self.driver.clone()];
        if self.internal {
            details.push("internal".to_owned());
        }
        details.extend(self.subnets.iter().cloned());
        details.extend(self.gateways.iter().map(|gateway| format!("gateway {gateway}")));
        details
    }
}

impl ContainerNode {
    /// What it may open connections to, as words: `▷ only`, `10.0.0.0/8`,
    /// `example.org:443/tcp`; none when that is everything.
    fn confined(&self) -> Vec<String> {
        let Some(rules) = &self.egress else { return Vec::new() };
        [vec!["▷ only".to_owned()], rules.clone()].concat()
    }

    /// How a container without a wire is connected.
    fn connected(&self) -> String {
        match self.mode.as_str() {
            "none" => "no network".to_owned(),
            "host" => "the host's network".to_owned(),
            other => match other.strip_prefix("container:") {
                Some(target) => format!("the network of {target}"),
                None => "no network yet".to_owned(),
            },
        }
    }
}

fn joined<T: std::fmt::Display>(items: &[T], between: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Two networks, a container on both, one apart.
    pub(crate) fn sample() -> Graph {
        let wire = |network: &str, n: u8| EndpointNode {
            network: network.into(),
            interface: if network == "bridge" { "eth0" } else { "eth1" }.into(),
            host_interface: format!("veth0123456789{n}"),
            addresses: vec![[10, 90, u8::from(network != "bridge"), n].into()],
        };
        let container = |name: &str, mode: &str, endpoints: Vec<EndpointNode>| ContainerNode {
            name: name.into(),
            id: "a".repeat(64),
            mode: mode.into(),
            endpoints,
            ports: Vec::new(),
            egress: None,
        };
        let mut web = container("web", "bridge", vec![wire("bridge", 2), wire("back", 2)]);
        web.ports = vec!["0.0.0.0:8080 → 80/tcp".into(), "[::]:8080 → 80/tcp".into()];
        let interface = |name: &str, kind: &str, address: &str| Interface {
            name: name.into(),
            kind: kind.into(),
            up: true,
            addresses: vec![address.into()],
            ..Interface::default()
        };
        let mut eth0 = interface("eth0", "", "192.0.2.10/24");
        eth0.default_via = vec![[192, 0, 2, 20].into()];
        eth0.addresses.push("2001:db8::10/64".into());
        let network = |name: &str, interface: &str, third: u8| NetworkNode {
            name: name.into(),
            driver: "bridge".into(),
            interface: interface.into(),
            internal: name == "back",
            subnets: vec![format!("10.90.{third}.0/24")],
            gateways: vec![[10, 90, third, 1].into()],
        };
        Graph {
            host: "host".into(),
            interfaces: vec![
                interface("lo", "", "127.0.0.1/8"),
                eth0,
                interface("rcnt0", "bridge", "10.90.0.1/24"),
                interface("br-back", "bridge", "10.90.1.1/24"),
            ],
            networks: vec![network("back", "br-back", 1), network("bridge", "rcnt0", 0)],
            containers: vec![
                container("db", "bridge", vec![wire("back", 3)]),
                container("lonely", "none", Vec::new()),
                web,
            ],
        }
    }

    /// Names as strangers could choose them.
    pub(crate) fn any_graph() -> impl Strategy<Value = Graph> {
        let name = "[ -~]{1,60}";
        let wires = proptest::collection::vec((name, any::<[u8; 16]>()), 0..3);
        let containers =
            proptest::collection::vec((name, wires, proptest::collection::vec(name, 0..3)), 0..5);
        (name, proptest::collection::vec(name, 0..3), containers).prop_map(
            |(host, networks, containers)| {
                let mut graph = Graph { host, ..Graph::default() };
                for name in &networks {
                    graph.networks.push(NetworkNode { name: name.clone(), ..Default::default() });
                }
                for (name, wires, ports) in containers {
                    let endpoints = wires.into_iter().zip(networks.iter().cycle()).map(
                        |((interface, address), network)| EndpointNode {
                            network: network.clone(),
                            interface,
                            host_interface: "veth".into(),
                            addresses: vec![address.into()],
                        },
                    );
                    let endpoints = endpoints.collect();
                    let mode = "bridge".to_owned();
                    graph.containers.push(ContainerNode {
                        name,
                        endpoints,
                        ports,
                        mode,
                        id: String::new(),
                        egress: None,
                    });
                }
                graph
            },
        )
    }
}
