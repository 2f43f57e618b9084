//! What the configuration says of networks: docker's daemon options.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cidr::{CidrError, Ipv4Net, Ipv6Net};

/// What the configuration says of the default bridge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BridgeConfig {
    /// `bridge`: the interface's name; one that exists already is used with its address.
    pub bridge: Option<String>,
    /// `bip`: the bridge's address and its prefix length.
    pub bip: Option<Ipv4Net>,
    /// `fixed-cidr`: containers get addresses from this part of the subnet.
    pub fixed_cidr: Option<Ipv4Net>,
    /// `ipv6`: IPv6 too, from `fixed-cidr-v6` or a unique local prefix of its own.
    pub ipv6: bool,
    /// `fixed-cidr-v6`: the IPv6 subnet; switches IPv6 on.
    pub fixed_cidr_v6: Option<Ipv6Net>,
    /// `mtu`, bytes; the default route's when absent.
    pub mtu: Option<u32>,
    /// `ip`: where `-p` without an address publishes.
    pub bind_address: Option<IpAddr>,
    /// `default-address-pools`; [`DEFAULT_POOLS`](super::DEFAULT_POOLS) when empty.
    pub pools: Vec<AddressPool>,
    /// `icc`; yes when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icc: Option<bool>,
    /// `ip-masq`; yes when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masquerade: Option<bool>,
    /// `allow-direct-routing`; no when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct_routing: Option<bool>,
    /// `default-gateway`: where containers' default route leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_gateway: Option<Ipv4Addr>,
    /// `default-gateway-v6`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_gateway_v6: Option<Ipv6Addr>,
}

/// What the configuration says of the host, for all networks of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostPolicy {
    /// `ip-forward`: turn on forwarding where it is needed.
    pub ip_forward: bool,
    /// `firewall` (docker's `iptables` and `ip6tables`): write rules at all.
    pub firewall: bool,
}

impl Default for HostPolicy {
    fn default() -> Self {
        Self { ip_forward: true, firewall: true }
    }
}

/// A range that subnets are cut from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PoolText", into = "String")]
pub struct AddressPool {
    /// The whole range.
    pub base: Ipv4Net,
    /// Prefix length of each subnet.
    pub size: u8,
}

/// The smallest block with room for as many containers as a bridge has ports (1023, BR_MAX_PORTS
/// of `net/bridge/br_private.h`): 2048 addresses. Small, so that pools last and VPNs are missed.
pub const SUBNET_PREFIX: u8 = 21;

/// Not an address pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The base is no address block.
    #[error("invalid address pool {0}")]
    Base(String, #[source] CidrError),
    /// Neither `BASE` nor `base=BASE,size=LENGTH`, or a size that does not fit.
    #[error("invalid address pool {0}: not BASE or base=BASE,size=PREFIX-LENGTH")]
    Form(String),
}

impl FromStr for AddressPool {
    type Err = PoolError;

    /// docker's `base=10.90.0.0/16,size=24`, or just `10.90.0.0/16`.
    fn from_str(s: &str) -> Result<Self, PoolError> {
        let form = || PoolError::Form(s.to_owned());
        let base =
            |text: &str| text.parse::<Ipv4Net>().map_err(|e| PoolError::Base(s.to_owned(), e));
        let (base, size) = match s.strip_prefix("base=") {
            None => {
                let base = base(s)?;
                (base, SUBNET_PREFIX.max(base.prefix()))
            }
            Some(rest) => {
                let (text, size) = rest.split_once(",size=").ok_or_else(form)?;
                (base(text)?, size.parse().map_err(|_| form())?)
            }
        };
        if size < base.prefix() || size > 30 {
            return Err(form());
        }
        Ok(Self { base: base.truncated(), size })
    }
}

impl fmt::Display for AddressPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "base={},size={}", self.base, self.size)
    }
}

/// A pool as the command line of docker's daemon has it, or as its daemon.json has.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected \"BASE\", \"base=BASE,size=LENGTH\" or {base, size}")]
enum PoolText {
    Line(String),
    Table { base: String, size: u8 },
}

impl TryFrom<PoolText> for AddressPool {
    type Error = PoolError;
    fn try_from(text: PoolText) -> Result<Self, PoolError> {
        match text {
            PoolText::Line(line) => line.parse(),
            PoolText::Table { base, size } => format!("base={base},size={size}").parse(),
        }
    }
}

impl From<AddressPool> for String {
    fn from(pool: AddressPool) -> String {
        pool.to_string()
    }
}
