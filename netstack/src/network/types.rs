//! What is stored of a network: as typed, and as decided.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcnt_base::ids::Name;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::driver_options::INTERFACE_PREFIX;
use super::options::{GatewayMode, IpvlanFlag, IpvlanMode, MacvlanMode};
use crate::cidr::{IpNet, Ipv4Net, Ipv6Net};

/// A network of any driver: decided once, stored, the same on every later start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// As `--network` names it; the default network is `bridge`.
    pub name: Name,
    /// 64 lower-case hex digits, as docker's.
    pub id: String,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// `--internal`: nothing but the network's own containers can be reached.
    #[serde(default)]
    pub internal: bool,
    /// `--attachable`: of no meaning without a swarm, but shown.
    #[serde(default)]
    pub attachable: bool,
    /// `--ipv4`.
    pub enable_ipv4: bool,
    /// `--ipv6`.
    pub enable_ipv6: bool,
    /// `--label`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `--opt`, as typed, under docker's long names.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// `--subnet`, `--gateway`, `--ip-range`, `--aux-address`, as shown by inspect.
    #[serde(default)]
    pub ipam: Ipam,
    /// What addresses its containers get; none on `host` and `none`.
    pub addresses: Option<Addresses>,
    /// The driver, and what it needs.
    pub kind: Kind,
}

/// docker's IPAM configuration of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipam {
    /// `--ipam-opt`, kept and shown.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// One entry for each subnet.
    #[serde(default)]
    pub config: Vec<IpamConfig>,
}

/// One subnet as `network inspect` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamConfig {
    /// The block.
    pub subnet: IpNet,
    /// `--ip-range`.
    #[serde(default)]
    pub ip_range: Option<IpNet>,
    /// `--gateway`, or what was chosen for it.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// `--aux-address name=address`.
    #[serde(default)]
    pub aux_addresses: BTreeMap<String, IpAddr>,
}

/// The addresses of a network, as decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The IPv4 block, host part cleared.
    pub subnet4: Ipv4Net,
    /// The bridge's own IPv4 address; on macvlan and ipvlan the LAN's router's.
    pub gateway4: Ipv4Addr,
    /// Containers get addresses from this part of `subnet4` only (`fixed-cidr`, `--ip-range`).
    #[serde(default)]
    pub range4: Option<Ipv4Net>,
    /// The IPv6 block, host part cleared; `None`: no IPv6 at all on this network.
    #[serde(default)]
    pub subnet6: Option<Ipv6Net>,
    /// As `gateway4`; `Some` exactly when `subnet6` is.
    #[serde(default)]
    pub gateway6: Option<Ipv6Addr>,
    /// Addresses never leased (`--aux-address`).
    #[serde(default)]
    pub reserved: BTreeSet<IpAddr>,
}

impl Addresses {
    /// Its blocks, IPv4 first.
    pub fn blocks(&self) -> impl Iterator<Item = IpNet> + use<> {
        let blocks = [Some(IpNet::V4(self.subnet4)), self.subnet6.map(IpNet::V6)];
        blocks.into_iter().flatten()
    }
}

/// A driver and what it has decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "driver")]
pub enum Kind {
    /// A bridge of ours on the host, a veth pair for each container.
    Bridge(Bridge),
    /// Each container is a machine of its own on the LAN, with a MAC of its own.
    Macvlan(Macvlan),
    /// Each container is on the LAN behind the parent's MAC.
    Ipvlan(Ipvlan),
    /// The host's own network.
    Host,
    /// `lo` alone.
    None,
}

impl Kind {
    /// docker's word for the driver (`null` for `none`).
    pub fn driver(&self) -> &'static str {
        match self {
            Kind::Bridge(_) => "bridge",
            Kind::Macvlan(_) => "macvlan",
            Kind::Ipvlan(_) => "ipvlan",
            Kind::Host => "host",
            Kind::None => "null",
        }
    }
}

/// A bridge and its policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// The bridge's interface on the host: `rcnt0`, `br-<id>`, or what was asked for.
    pub interface: String,
    /// What the interface's alias (IFLA_IFALIAS) must say: `rcnt:<exec-root>`.
    pub alias: String,
    /// Bytes per packet on the bridge and its veths.
    pub mtu: u32,
    /// Where `-p` without an address publishes (`ip`, `host_binding_ipv4`); `None`: on every
    /// address.
    #[serde(default)]
    pub bind_address: Option<IpAddr>,
    /// The rest of what was asked for, or its default.
    #[serde(default)]
    pub policy: BridgePolicy,
}

/// What a bridge lets pass and how; plain data for rules and endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BridgePolicy {
    /// Containers of this network reach each other (`enable_icc`).
    pub icc: bool,
    /// What leaves for the world gets the host's address (`enable_ip_masquerade`).
    pub masquerade: bool,
    /// A container reaches itself through its own published port.
    pub hairpin: bool,
    /// How IPv4 from outside comes in (`gateway_mode_ipv4`).
    pub gateway_mode4: GatewayMode,
    /// The same for IPv6 (`gateway_mode_ipv6`).
    pub gateway_mode6: GatewayMode,
    /// Interfaces from which containers' own addresses may be reached
    /// (`trusted_host_interfaces`).
    pub trusted: Vec<String>,
    /// Every interface is such (`allow-direct-routing` of the configuration).
    pub direct_routing: bool,
    /// The bridge has no IPv4 address of its own (`inhibit_ipv4`).
    pub inhibit_ipv4: bool,
    /// What containers' IPv4 default route leads to, if not to the bridge (`default-gateway`).
    pub default_gateway4: Option<Ipv4Addr>,
    /// The same for IPv6 (`default-gateway-v6`).
    pub default_gateway6: Option<Ipv6Addr>,
    /// Host interfaces belong to somebody else and are never made or removed (`bridge` of the
    /// configuration, or a bridge that was there).
    pub foreign: bool,
}

impl Default for BridgePolicy {
    fn default() -> Self {
        Self {
            icc: true,
            masquerade: true,
            hairpin: true,
            gateway_mode4: GatewayMode::Nat,
            gateway_mode6: GatewayMode::Nat,
            trusted: Vec::new(),
            direct_routing: false,
            inhibit_ipv4: false,
            default_gateway4: None,
            default_gateway6: None,
            foreign: false,
        }
    }
}

/// A macvlan network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Macvlan {
    /// What the containers' interfaces are made from.
    pub parent: Parent,
    /// How they see each other.
    pub mode: MacvlanMode,
    /// Bytes; the parent's when absent.
    #[serde(default)]
    pub mtu: Option<u32>,
}

/// An ipvlan network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipvlan {
    /// What the containers' interfaces are made from.
    pub parent: Parent,
    /// At which layer the parent forwards.
    pub mode: IpvlanMode,
    /// Whether they see each other.
    pub flag: IpvlanFlag,
    /// Bytes; the parent's when absent.
    #[serde(default)]
    pub mtu: Option<u32>,
}

/// The interface of the host that containers' interfaces hang on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its name: `eth0`, `eth0.50`, or one of our own making.
    pub interface: String,
    /// How it is made when it is not there.
    pub made: ParentMaking,
    /// The alias that says that it is ours, where we make it.
    pub alias: String,
}

/// Who makes a parent interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParentMaking {
    /// It is the host's.
    Host,
    /// We do: the 802.1q sub-interface of `link` with this tag.
    Vlan {
        /// The interface it is a part of.
        link: String,
        /// 1 to 4094.
        tag: u16,
    },
    /// We do: one that leads nowhere (internal networks).
    Isolated,
}

impl Network {
    /// The bridge, when it is a bridge network.
    pub fn bridge(&self) -> Option<&Bridge> {
        match &self.kind {
            Kind::Bridge(bridge) => Some(bridge),
            _ => None,
        }
    }

    /// Where `-p` without an address publishes; `None`: on every address.
    pub fn bind_address(&self) -> Option<IpAddr> {
        self.bridge().and_then(|bridge| bridge.bind_address)
    }

    /// Interfaces inside containers are called this and a number (`container_iface_prefix`).
    pub fn interface_prefix(&self) -> &str {
        self.options.get(INTERFACE_PREFIX).map_or("eth", String::as_str)
    }

    /// Whether it comes with every instance and cannot be removed.
    pub fn is_predefined(&self) -> bool {
        PREDEFINED.contains(&self.name.as_str())
    }

    /// The first twelve digits of its id.
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}

/// Networks that every instance has.
pub const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];
