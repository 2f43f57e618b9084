//! What the network of one container shall be, as plain data. Everything that
//! can be decided is decided here; [`crate::apply`] only sends it.
//!
//! Callers: the engine builds a [`NetworkPlan`] from a network and claims, saves
//! [`NetworkPlan::undo`] before the first change, then calls
//! [`crate::apply::attach`]. Nothing here touches the machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcnt_base::ids::ContainerId;
use serde::{Deserialize, Serialize};

use crate::bandwidth::Bandwidth;
use crate::egress::EgressList;
use crate::network::{
    BridgePolicy, GatewayMode, HostPolicy, IpvlanFlag, IpvlanMode, Kind, MacvlanMode, Network,
    Parent,
};
use crate::ports::{Protocol, PublishedPort};

pub use crate::mac::{Mac, MacError};

/// The nftables table (family inet) of the instance with this tag
/// ([`rcnt_base::roots::Roots::instance`]): `rcnt`, or `rcnt-<tag>`.
pub fn table_name(instance: &str) -> String {
    if instance.is_empty() { "rcnt".to_owned() } else { format!("rcnt-{instance}") }
}

/// One container on one network; one on several has as many plans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPlan {
    /// The instance's nftables table, see [`table_name`].
    pub table: String,
    /// What the configuration lets us change of the host.
    #[serde(default)]
    pub host: HostPolicy,
    /// What the container's interface hangs on; shared, never part of its undo list.
    #[serde(alias = "bridge")]
    pub wire: Wire,
    /// The container's own interface and addresses.
    pub endpoint: EndpointPlan,
    /// The ports to publish, each claimed before this plan was made.
    pub published: Vec<PublishedPort>,
    /// Who this is for; the key of every comment in the ruleset.
    pub owner: ContainerId,
    /// The container's name, for people who read `nft list ruleset`.
    pub owner_name: String,
}

/// What a container's interface hangs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Wire {
    /// A veth pair, one end in a bridge of the host's.
    Bridge(BridgePlan),
    /// An interface made from one of the host's.
    Lan(LanPlan),
}

impl Wire {
    /// What containers of this network hang on; `None` where they have no interfaces.
    pub fn of(network: &Network) -> Option<Self> {
        let (parent, kind, mtu) = match &network.kind {
            Kind::Bridge(_) => return BridgePlan::of(network).map(Self::Bridge),
            Kind::Macvlan(m) => (&m.parent, LanKind::Macvlan(m.mode), m.mtu),
            Kind::Ipvlan(i) => (&i.parent, LanKind::Ipvlan(i.mode, i.flag), i.mtu),
            Kind::Host | Kind::None => return None,
        };
        Some(Self::Lan(LanPlan { parent: parent.clone(), kind, mtu }))
    }

    /// Its bridge, if it hangs on one.
    pub fn bridge(&self) -> Option<&BridgePlan> {
        match self {
            Wire::Bridge(bridge) => Some(bridge),
            Wire::Lan(_) => None,
        }
    }
}

/// A macvlan or ipvlan network's part of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LanPlan {
    /// The host's interface.
    pub parent: Parent,
    /// What is made from it.
    pub kind: LanKind,
    /// Bytes; the parent's when absent.
    pub mtu: Option<u32>,
}

/// What a container's interface on a LAN is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LanKind {
    /// One with a MAC of its own.
    Macvlan(MacvlanMode),
    /// One with the parent's MAC.
    Ipvlan(IpvlanMode, IpvlanFlag),
}

impl LanKind {
    /// docker's word for the driver.
    pub fn driver(self) -> &'static str {
        match self {
            LanKind::Macvlan(_) => "macvlan",
            LanKind::Ipvlan(..) => "ipvlan",
        }
    }
}

/// A bridge as it shall be; made if absent, never changed when it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgePlan {
    /// Interface name, at most 15 bytes.
    pub interface: String,
    /// The interface's alias (`rcnt:<exec-root>`): tells other instances and
    /// people whose it is. At most 255 bytes.
    pub alias: String,
    /// Set in the creating message, so that it neither follows the lowest port's
    /// nor is rewritten by udev (systemd#21185).
    pub mac: Mac,
    /// The gateway address and its prefix length.
    pub address4: (Ipv4Addr, u8),
    /// The IPv6 gateway address and its prefix length, when the network has IPv6.
    pub address6: Option<(Ipv6Addr, u8)>,
    /// Bytes.
    pub mtu: u32,
    /// What it lets pass.
    #[serde(default)]
    pub policy: BridgeRules,
}

/// What a bridge lets pass, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BridgeRules {
    /// Nothing is routed from it or to it.
    pub internal: bool,
    /// Its containers reach each other.
    pub icc: bool,
    /// What leaves gets the host's address, where its mode translates at all.
    pub masquerade: bool,
    /// How IPv4 comes in.
    pub mode4: GatewayMode,
    /// How IPv6 comes in.
    pub mode6: GatewayMode,
    /// The host has no IPv4 address on it.
    pub inhibit4: bool,
    /// Interfaces of the host that reach containers' own addresses.
    pub trusted: Vec<String>,
    /// Published ports are open at the containers' own addresses, too.
    pub direct_routing: bool,
}

impl Default for BridgeRules {
    fn default() -> Self {
        let internal = false;
        Self::of(internal, &BridgePolicy::default())
    }
}

impl BridgeRules {
    fn of(internal: bool, policy: &BridgePolicy) -> Self {
        Self {
            internal,
            icc: policy.icc,
            masquerade: policy.masquerade,
            mode4: policy.gateway_mode4,
            mode6: policy.gateway_mode6,
            inhibit4: policy.inhibit_ipv4,
            trusted: policy.trusted.clone(),
            direct_routing: policy.direct_routing,
        }
    }

    /// How addresses of this family come in.
    pub fn mode(&self, ipv6: bool) -> GatewayMode {
        if ipv6 { self.mode6 } else { self.mode4 }
    }

    /// Whether the host has an address of this family on the bridge.
    pub fn host_address(&self, ipv6: bool) -> bool {
        self.mode(ipv6) != GatewayMode::Isolated && (ipv6 || !self.inhibit4)
    }

    /// How a published port of this host address gets to its container.
    fn publishing(&self, host: IpAddr) -> Publishing {
        let mode = self.mode(host.is_ipv6());
        let open = !host.is_loopback() && (self.direct_routing || mode == GatewayMode::Routed);
        Publishing { translated: mode != GatewayMode::Routed, open }
    }
}

/// How one published port gets to its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Publishing {
    /// From the host's address.
    pub(crate) translated: bool,
    /// At the container's own address.
    pub(crate) open: bool,
}

impl BridgePlan {
    /// The bridge of a bridge network.
    pub fn of(network: &Network) -> Option<Self> {
        let (bridge, addresses) = (network.bridge()?, network.addresses.as_ref()?);
        let prefix6 = addresses.subnet6.map_or(64, |subnet| subnet.prefix());
        Some(Self {
            interface: bridge.interface.clone(),
            alias: bridge.alias.clone(),
            mac: Mac::from_ipv4(addresses.gateway4),
            address4: (addresses.gateway4, addresses.subnet4.prefix()),
            address6: addresses.gateway6.map(|gateway| (gateway, prefix6)),
            mtu: bridge.mtu,
            policy: BridgeRules::of(network.internal, &bridge.policy),
        })
    }
}

/// The container's side: a veth pair whose one end sits in the bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointPlan {
    /// The host end, unique on the host, at most 15 bytes.
    pub host_interface: String,
    /// The container end: `eth0`, on further networks `eth1` and so on.
    pub interface: String,
    /// The container end's link-layer address.
    pub mac: Mac,
    /// Address and prefix length.
    pub address4: (Ipv4Addr, u8),
    /// The default route's next hop; `None`: another endpoint has the default route,
    /// or nobody.
    pub gateway4: Option<Ipv4Addr>,
    /// Address and prefix length; `None` switches IPv6 off on it (CVE-2024-32473).
    pub address6: Option<(Ipv6Addr, u8)>,
    /// The IPv6 default route's next hop; `None` as for IPv4.
    pub gateway6: Option<Ipv6Addr>,
    /// Bytes.
    pub mtu: u32,
    /// Lets the bridge send a packet back out of the port it came in by: needed to
    /// reach oneself through one's own published port.
    pub hairpin: bool,
    /// `--link-local-ip`: further addresses that no network hands out.
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    /// Settings of the interface inside, below /proc/sys, with their values.
    #[serde(default)]
    pub sysctls: Vec<(String, String)>,
    /// The container has other interfaces already, whose settings are theirs.
    #[serde(default)]
    pub further: bool,
    /// How fast it may be.
    #[serde(default)]
    pub bandwidth: Bandwidth,
    /// What it may open connections to; `None`: to everything.
    #[serde(default)]
    pub egress: Option<EgressList>,
}

/// Something that one container may reach of another on a bridge whose containers
/// do not talk (`icc=false`): what links open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Passage {
    /// Who calls.
    pub from: IpAddr,
    /// Who is called; of the same family.
    pub to: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port of the called.
    pub port: u16,
}

/// What [`crate::apply::attach`] leaves on the host, by name: enough to remove it
/// without knowing anything else. Bridge and base table are shared and not listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkUndo {
    /// The nftables table that holds the elements.
    pub table: String,
    /// The host end of the veth pair; the kernel removes it with the namespace.
    pub host_interface: String,
    /// The container's addresses: what tells our elements from a successor's.
    pub address4: Ipv4Addr,
    /// See `address4`.
    pub address6: Option<Ipv6Addr>,
    /// The published ports: the keys of the map elements.
    pub published: Vec<PublishedPort>,
    /// Whose elements these are.
    pub owner: ContainerId,
    /// How the ports are published.
    #[serde(default)]
    pub policy: BridgeRules,
    /// The interface inside, where the host has no end of it (macvlan, ipvlan): it goes
    /// with the namespace, or by [`crate::apply::remove_inside`].
    #[serde(default)]
    pub inside: Option<String>,
    /// The addresses that its egress list confines, if it has one.
    #[serde(default)]
    pub confined: Vec<IpAddr>,
}

impl NetworkPlan {
    /// The addresses from which the container sends.
    pub(crate) fn sources(&self) -> Vec<IpAddr> {
        let EndpointPlan { mac, address4, address6, link_local, .. } = &self.endpoint;
        let mut all = vec![IpAddr::V4(address4.0)];
        // With IPv6 there is an address that the kernel makes.
        all.extend(address6.iter().flat_map(|(ip, _)| [IpAddr::V6(*ip), mac.link_local().into()]));
        all.extend(link_local);
        all
    }

    /// How to take back all that applying this plan does. Pure.
    pub fn undo(&self) -> NetworkUndo {
        let Self { table, wire, endpoint, published, owner, owner_name: _, host: _ } = self;
        NetworkUndo {
            table: table.clone(),
            host_interface: endpoint.host_interface.clone(),
            address4: endpoint.address4.0,
            address6: endpoint.address6.map(|(address, _)| address),
            published: published.clone(),
            owner: owner.clone(),
            policy: wire.bridge().map(|bridge| bridge.policy.clone()).unwrap_or_default(),
            inside: wire.bridge().is_none().then(|| endpoint.interface.clone()),
            confined: endpoint.egress.iter().flat_map(|_| self.sources()).collect(),
        }
    }
}

impl NetworkUndo {
    /// How a port gets to the container.
    pub(crate) fn publishing(&self, port: &PublishedPort) -> Publishing {
        self.policy.publishing(port.host_ip)
    }

    /// The container address that ports published on `host` lead to: of the same
    /// family, because the kernel does not translate between families.
    pub(crate) fn target(&self, host: IpAddr) -> Option<IpAddr> {
        match host {
            IpAddr::V4(_) => Some(self.address4.into()),
            IpAddr::V6(_) => self.address6.map(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_have_tables_of_their_own() {
        assert_eq!(table_name(""), "rcnt");
        assert_eq!(table_name("0badcafe"), "rcnt-0badcafe");
    }

    #[test]
    fn what_a_plan_makes_is_in_its_undo_list() {
        let published = vec![PublishedPort {
            protocol: Protocol::Udp,
            host_ip: Ipv6Addr::UNSPECIFIED.into(),
            host_port: 53,
            container_port: 5353,
        }];
        let (ip, ip6) = (Ipv4Addr::new(10, 88, 0, 5), Ipv6Addr::LOCALHOST);
        let plan = NetworkPlan {
            table: "rcnt".into(),
            host: HostPolicy::default(),
            wire: Wire::Bridge(BridgePlan {
                interface: "rcnt0".into(),
                alias: "rcnt:/run/rcnt".into(),
                mac: Mac::from_ipv4(ip),
                address4: (ip, 16),
                address6: None,
                mtu: 1500,
                policy: BridgeRules::default(),
            }),
            endpoint: EndpointPlan {
                host_interface: "veth1".into(),
                interface: "eth0".into(),
                mac: Mac::from_ipv4(ip),
                address4: (ip, 16),
                gateway4: Some(ip),
                address6: Some((ip6, 64)),
                gateway6: None,
                mtu: 1500,
                hairpin: true,
                link_local: Vec::new(),
                sysctls: Vec::new(),
                further: false,
                bandwidth: Bandwidth::default(),
                egress: None,
            },
            published: published.clone(),
            owner: "a".repeat(64).parse().unwrap(),
            owner_name: "web".into(),
        };
        let undo = plan.undo();
        assert_eq!((undo.table.as_str(), undo.host_interface.as_str()), ("rcnt", "veth1"));
        assert_eq!((undo.published.clone(), undo.owner.clone()), (published, plan.owner.clone()));
        assert_eq!(undo.target(Ipv4Addr::UNSPECIFIED.into()), Some(ip.into()));
        assert_eq!(undo.target(Ipv6Addr::UNSPECIFIED.into()), Some(ip6.into()));
        let saved = serde_json::to_string(&undo).unwrap();
        assert_eq!(serde_json::from_str::<NetworkUndo>(&saved).unwrap(), undo);
    }
}
