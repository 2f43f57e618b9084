//! One bridge network as it is stored in `data-root/networks/<name>.json`.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcnt_base::ids::Name;
use serde::{Deserialize, Serialize};

use crate::cidr::{Ipv4Net, Ipv6Net};

/// A bridge network: decided once, stored, the same on every later start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeNetwork {
    /// Version of this file's form.
    pub schema: u32,
    /// As `--network` names it; the default network is `bridge`.
    pub name: Name,
    /// 64 lower-case hex digits, as docker's.
    pub id: String,
    /// The bridge's interface on the host: `rcnt0`, or what the configuration says.
    pub interface: String,
    /// What the interface's alias (IFLA_IFALIAS) must say: `rcnt:<exec-root>`.
    pub alias: String,
    /// The IPv4 block, host part cleared.
    pub subnet4: Ipv4Net,
    /// The bridge's own IPv4 address.
    pub gateway4: Ipv4Addr,
    /// Containers get addresses from this part of `subnet4` only (`fixed-cidr`, `--ip-range`).
    pub range4: Option<Ipv4Net>,
    /// The IPv6 block, host part cleared; `None`: no IPv6 at all on this network.
    pub subnet6: Option<Ipv6Net>,
    /// The bridge's own IPv6 address; `Some` exactly when `subnet6` is.
    pub gateway6: Option<Ipv6Addr>,
    /// Addresses never leased (`--aux-address`).
    pub reserved: BTreeSet<IpAddr>,
    /// Bytes per packet on the bridge and its veths.
    pub mtu: u32,
    /// Where `-p` without an address publishes; `None`: on every address (`ip` of the configuration).
    pub bind_address: Option<IpAddr>,
}
