//! `network create`, `ls`, `inspect`, `rm`, `prune`: the networks themselves.
//! Who is on them is [`crate::network`]'s business.

use std::io::ErrorKind;

use rcnt_netstack::apply;
use rcnt_netstack::members::{self, Member};
use rcnt_netstack::network::{
    self, Addresses, CreateError, Defaults, Kind, Network, NetworkWish, ParentMaking, RemoveError,
    read_facts,
};
use rcnt_netstack::plan::{BridgePlan, Wire, table_name};
use rcnt_netstack::sysctl::ProcSys;
use serde_json::{Map, Value, json};
use time::format_description::well_known::Rfc3339;

use crate::Engine;
use crate::container::{Container, Status};
use crate::error::{EngineError, Result};
use crate::network::aside;
use crate::request::NetworkMode;

impl Engine {
    /// Every network, by name; the default one is decided if it was not.
    ///
    /// # Errors
    /// A configuration that cannot be; files that cannot be read.
    pub fn networks(&self) -> Result<Vec<Network>> {
        let has_default = self.config.has_default_bridge();
        if has_default {
            crate::network::default_network(self)?;
        }
        let mut all =
            network::list(&self.paths.roots).map_err(|e| EngineError::Networks(Box::new(e)))?;
        // Stored by an earlier configuration.
        all.retain(|network| has_default || network.name.as_str() != "bridge");
        Ok(all)
    }

    /// The network of this full id, name or unambiguous id prefix.
    ///
    /// # Errors
    /// None, several, or files that cannot be read.
    pub fn find_network(&self, reference: &str) -> Result<Network> {
        if reference == "bridge" {
            return crate::network::default_network(self);
        }
        network::find(&self.paths.roots, reference).map_err(EngineError::FindNetwork)
    }

    /// Makes a network. See [`network::create`].
    ///
    /// # Errors
    /// What in the wish cannot be; the disk; the kernel.
    pub fn create_network(&self, wish: &NetworkWish) -> Result<Network> {
        let defaults = Defaults {
            pools: &self.config.default_address_pools,
            direct_routing: self.config.allow_direct_routing,
        };
        let make = |network: &Network| self.make_on_host(network);
        network::create(&self.paths.roots, wish, &defaults, &read_facts, &make)
            .map_err(|e| EngineError::CreateNetwork(Box::new(e)))
    }

    fn table(&self) -> String {
        table_name(&self.paths.roots.instance())
    }

    /// Makes what a network has on the host, or nothing.
    fn make_on_host(&self, network: &Network) -> std::result::Result<(), CreateError> {
        match &network.kind {
            Kind::Bridge(bridge) if bridge.policy.foreign => Ok(()),
            Kind::Bridge(bridge) => {
                let Some(plan) = BridgePlan::of(network) else { return Ok(()) };
                let cannot =
                    |source| CreateError::Interface { interface: bridge.interface.clone(), source };
                let sysctls = ProcSys::open().map_err(cannot)?;
                apply::raise_bridge(&plan, &sysctls).map_err(|error| {
                    // Its own error is what the user should read.
                    let _ = apply::remove_bridge(&self.table(), &plan, &apply::remove_interface);
                    cannot(std::io::Error::other(rcnt_base::report::chain(&error)))
                })?;
                if self.config.host_policy().firewall {
                    for chain in apply::open_doors(&self.table(), &plan.interface) {
                        log::warn!("{}", chain.advice());
                    }
                }
                Ok(())
            }
            Kind::Macvlan(_) | Kind::Ipvlan(_) => {
                let Some(Wire::Lan(lan)) = Wire::of(network) else { return Ok(()) };
                let cannot = |source| CreateError::Interface {
                    interface: lan.parent.interface.clone(),
                    source,
                };
                if !apply::has_kind(lan.kind).map_err(cannot)? {
                    return Err(CreateError::Unsupported(lan.kind.driver()));
                }
                apply::raise_parent(&lan.parent).map_err(|error| {
                    let _ = apply::remove_parent(&lan.parent);
                    match lan.parent.made {
                        ParentMaking::Vlan { .. } if error.kind() == ErrorKind::Unsupported => {
                            CreateError::Unsupported("VLANs (802.1q)")
                        }
                        _ => cannot(error),
                    }
                })
            }
            Kind::Host | Kind::None => Ok(()),
        }
    }

    /// Removes a network that no container is on.
    ///
    /// # Errors
    /// It is in use, or comes with every instance.
    pub fn remove_network(&self, network: &Network) -> Result<()> {
        let unmake = |staying: &[Network]| match Wire::of(network) {
            // The administrator's own stays: it has not our mark.
            Some(Wire::Bridge(plan)) => {
                Ok(apply::remove_bridge(&self.table(), &plan, &aside::remove_interface)?)
            }
            Some(Wire::Lan(lan)) => {
                let mut others = staying.iter().filter_map(Network::parent);
                match others.any(|parent| parent.interface == lan.parent.interface) {
                    true => Ok(()),
                    false => Ok(apply::remove_parent(&lan.parent)?),
                }
            }
            _ => Ok(()),
        };
        network::remove(&self.paths.roots, network, &unmake)
            .map_err(|e| EngineError::RemoveNetwork(Box::new(e)))
    }

    /// Removes every network that no container is on and that `condemned` agrees to; those
    /// removed.
    ///
    /// # Errors
    /// The networks cannot be listed, or one of them not removed.
    pub fn prune_networks(&self, condemned: &dyn Fn(&Network) -> bool) -> Result<Vec<Network>> {
        let mut all =
            network::list(&self.paths.roots).map_err(|e| EngineError::Networks(Box::new(e)))?;
        all.retain(|network| !network.is_predefined() && condemned(network));
        let mut removed = Vec::new();
        for network in all {
            match self.remove_network(&network) {
                Ok(()) => removed.push(network),
                Err(EngineError::RemoveNetwork(e)) if matches!(*e, RemoveError::InUse { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    /// Whether no container is on it; always said of networks, never of `bridge`, `host`, `none`.
    pub fn is_dangling(&self, network: &Network) -> bool {
        !network.is_predefined() && !network::is_in_use(&self.paths.roots, &network.name)
    }

    /// The network as `docker network inspect` shows one.
    ///
    /// # Errors
    /// The directory of its members cannot be read.
    pub fn inspect_network(&self, network: &Network) -> Result<Value> {
        let members = members::list(&self.paths.roots.exec, &network.name)
            .map_err(EngineError::state("cannot read who is on the network"))?;
        let on_it = members.iter().map(|m| (m.id.to_string(), endpoint(network, m)));
        let without_addresses = self.without_addresses(&network.kind)?;
        let predefined = network.is_predefined();
        let ipam_options = match (predefined, network.ipam.options.is_empty()) {
            (true, true) => Value::Null,
            _ => json!(network.ipam.options),
        };
        Ok(json!({
            "Name": network.name,
            "Id": network.id,
            "Created": network.created.format(&Rfc3339).unwrap_or_default(),
            "Scope": "local",
            "Driver": network.kind.driver(),
            "EnableIPv4": network.enable_ipv4,
            "EnableIPv6": network.enable_ipv6,
            "IPAM": {
                "Driver": "default",
                "Options": ipam_options,
                "Config": network.ipam.config.iter().map(subnet).collect::<Vec<_>>(),
            },
            "Internal": network.internal,
            "Attachable": network.attachable,
            "Ingress": false,
            "ConfigFrom": { "Network": "" },
            "ConfigOnly": false,
            "Containers": on_it.chain(without_addresses).collect::<Map<_, _>>(),
            "Options": network.options,
            "Labels": network.labels,
        }))
    }
}

impl Engine {
    /// The running containers of `host` and `none`, which keep no list of them.
    fn without_addresses(&self, kind: &Kind) -> Result<Vec<(String, Value)>> {
        let mode = match kind {
            Kind::Host => NetworkMode::Host,
            Kind::None => NetworkMode::None,
            _ => return Ok(Vec::new()),
        };
        let on_it = |c: &Container| {
            c.state.status == Status::Running && crate::network::mode(&self.paths, c) == mode
        };
        let shown = |c: Container| {
            let fields = json!({
                "Name": c.name,
                "EndpointID": c.id,
                "MacAddress": "",
                "IPv4Address": "",
                "IPv6Address": "",
            });
            (c.id.to_string(), fields)
        };
        Ok(self.list()?.into_iter().filter(on_it).map(shown).collect())
    }
}

/// One subnet; docker leaves out what there is not.
fn subnet(config: &network::IpamConfig) -> Value {
    let network::IpamConfig { subnet, ip_range, gateway, aux_addresses } = config;
    let mut shown = Map::new();
    shown.insert("Subnet".into(), json!(subnet));
    if let Some(range) = ip_range {
        shown.insert("IPRange".into(), json!(range));
    }
    if let Some(gateway) = gateway {
        shown.insert("Gateway".into(), json!(gateway));
    }
    if !aux_addresses.is_empty() {
        shown.insert("AuxiliaryAddresses".into(), json!(aux_addresses));
    }
    Value::Object(shown)
}

/// A container on the network.
fn endpoint(network: &Network, member: &Member) -> Value {
    let with_prefix = |address: Option<String>, prefix: Option<u8>| match (address, prefix) {
        (Some(address), Some(prefix)) => format!("{address}/{prefix}"),
        _ => String::new(),
    };
    let addresses: Option<&Addresses> = network.addresses.as_ref();
    let prefix4 = addresses.map(|a| a.subnet4.prefix());
    let prefix6 = addresses.and_then(|a| a.subnet6).map(|subnet| subnet.prefix());
    json!({
        "Name": member.name,
        "EndpointID": member.endpoint_id,
        "MacAddress": member.mac,
        "IPv4Address": with_prefix(member.address4.map(|a| a.to_string()), prefix4),
        "IPv6Address": with_prefix(member.address6.map(|a| a.to_string()), prefix6),
    })
}
