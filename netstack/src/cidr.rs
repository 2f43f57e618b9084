//! Address blocks: an address and a prefix length, as `10.88.0.0/16`.
//!
//! Only what networks need: parse and print, containment, overlap, and the
//! n-th address of a block. Text in, value out; nothing here touches the host.

use std::fmt;
use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an address block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// No `/` in it.
    #[error("invalid CIDR address: {0}: no prefix length")]
    NoPrefix(String),
    /// The part before the `/`.
    #[error("invalid CIDR address: {0}")]
    Address(String, #[source] AddrParseError),
    /// The part after the `/` is no number.
    #[error("invalid CIDR address: {0}")]
    Prefix(String, #[source] ParseIntError),
    /// The prefix is longer than the address.
    #[error("invalid CIDR address: {0}: prefix length over {1}")]
    TooLong(String, u8),
}

macro_rules! address_block {
    ($name:ident, $addr:ty, $uint:ty, $bits:expr, $doc:literal) => {
        #[doc = $doc]
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(try_from = "String", into = "String")]
        pub struct $name {
            addr: $addr,
            prefix: u8,
        }

        impl $name {
            /// Every address.
            pub const ANY: Self = Self { addr: <$addr>::UNSPECIFIED, prefix: 0 };

            /// The block of `prefix` bits that starts at or around `addr`;
            /// `None` when the prefix is longer than the address. The host part is kept:
            /// see [`Self::network`].
            pub const fn new(addr: $addr, prefix: u8) -> Option<Self> {
                if prefix > $bits { None } else { Some(Self { addr, prefix }) }
            }

            /// The address as written, host part included (`bip` is a gateway and a prefix in one).
            pub const fn addr(self) -> $addr {
                self.addr
            }

            /// Prefix length in bits.
            pub const fn prefix(self) -> u8 {
                self.prefix
            }

            /// Number of host bits.
            pub const fn host_bits(self) -> u8 {
                $bits - self.prefix
            }

            fn mask(self) -> $uint {
                <$uint>::MAX.checked_shl(u32::from(self.host_bits())).unwrap_or(0)
            }

            /// The first address of the block.
            pub fn network(self) -> $addr {
                <$addr>::from(<$uint>::from(self.addr) & self.mask())
            }

            /// The last address of the block; IPv4's broadcast address.
            pub fn last(self) -> $addr {
                <$addr>::from(<$uint>::from(self.addr) | !self.mask())
            }

            /// The same block with the host part cleared.
            pub fn truncated(self) -> Self {
                Self { addr: self.network(), prefix: self.prefix }
            }

            /// Whether `addr` is in the block.
            pub fn contains(self, addr: $addr) -> bool {
                <$uint>::from(addr) & self.mask() == <$uint>::from(self.addr) & self.mask()
            }

            /// Whether every address of `other` is in this block.
            pub fn covers(self, other: Self) -> bool {
                self.prefix <= other.prefix && self.contains(other.addr)
            }

            /// Whether the two blocks have an address in common.
            pub fn overlaps(self, other: Self) -> bool {
                self.covers(other) || other.covers(self)
            }

            /// The `n`-th address, counted from [`Self::network`]; `None` past the end.
            pub fn nth(self, n: $uint) -> Option<$addr> {
                let addr = <$uint>::from(self.network()).checked_add(n)?;
                Some(<$addr>::from(addr)).filter(|a| self.contains(*a))
            }

            /// How far `addr` is from [`Self::network`]: the host part.
            pub fn host_part(self, addr: $addr) -> $uint {
                <$uint>::from(addr) & !self.mask()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.addr, self.prefix)
            }
        }

        impl FromStr for $name {
            type Err = CidrError;
            fn from_str(s: &str) -> Result<Self, CidrError> {
                let (addr, prefix) =
                    s.split_once('/').ok_or_else(|| CidrError::NoPrefix(s.to_owned()))?;
                let addr = addr.parse().map_err(|e| CidrError::Address(s.to_owned(), e))?;
                let prefix = prefix.parse().map_err(|e| CidrError::Prefix(s.to_owned(), e))?;
                Self::new(addr, prefix).ok_or_else(|| CidrError::TooLong(s.to_owned(), $bits))
            }
        }

        impl TryFrom<String> for $name {
            type Error = CidrError;
            fn try_from(s: String) -> Result<Self, CidrError> {
                s.parse()
            }
        }

        impl From<$name> for String {
            fn from(net: $name) -> String {
                net.to_string()
            }
        }
    };
}

address_block!(Ipv4Net, Ipv4Addr, u32, 32, "An IPv4 address block, `10.88.0.0/16`.");
address_block!(Ipv6Net, Ipv6Addr, u128, 128, "An IPv6 address block, `fd00::/64`.");

/// An address block of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IpNet {
    /// IPv4.
    V4(Ipv4Net),
    /// IPv6.
    V6(Ipv6Net),
}

impl IpNet {
    /// The block of `prefix` bits around `addr`; `None` when the prefix is too long.
    pub fn new(addr: IpAddr, prefix: u8) -> Option<Self> {
        match addr {
            IpAddr::V4(a) => Ipv4Net::new(a, prefix).map(IpNet::V4),
            IpAddr::V6(a) => Ipv6Net::new(a, prefix).map(IpNet::V6),
        }
    }

    /// Prefix length in bits; 0 is a default route.
    pub fn prefix(self) -> u8 {
        match self {
            IpNet::V4(n) => n.prefix(),
            IpNet::V6(n) => n.prefix(),
        }
    }

    /// The address as given, host part included.
    pub fn addr(self) -> IpAddr {
        match self {
            IpNet::V4(n) => n.addr().into(),
            IpNet::V6(n) => n.addr().into(),
        }
    }

    /// The block without a host part.
    pub fn truncated(self) -> Self {
        match self {
            IpNet::V4(n) => n.truncated().into(),
            IpNet::V6(n) => n.truncated().into(),
        }
    }

    /// Whether `address` is of its family and in it.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (IpNet::V4(n), IpAddr::V4(a)) => n.contains(a),
            (IpNet::V6(n), IpAddr::V6(a)) => n.contains(a),
            _ => false,
        }
    }

    /// Whether all of `other` is in it.
    pub fn covers(self, other: Self) -> bool {
        match (self, other) {
            (IpNet::V4(a), IpNet::V4(b)) => a.covers(b),
            (IpNet::V6(a), IpNet::V6(b)) => a.covers(b),
            _ => false,
        }
    }

    /// Whether the two have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

impl From<Ipv4Net> for IpNet {
    fn from(net: Ipv4Net) -> Self {
        IpNet::V4(net)
    }
}

impl From<Ipv6Net> for IpNet {
    fn from(net: Ipv6Net) -> Self {
        IpNet::V6(net)
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IpNet::V4(n) => n.fmt(f),
            IpNet::V6(n) => n.fmt(f),
        }
    }
}

impl FromStr for IpNet {
    type Err = CidrError;
    fn from_str(s: &str) -> Result<Self, CidrError> {
        if s.contains(':') { s.parse().map(IpNet::V6) } else { s.parse().map(IpNet::V4) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(s: &str) -> Ipv4Net {
        s.parse().unwrap()
    }

    #[test]
    fn a_block_knows_its_ends_and_members() {
        let n = net("10.88.3.1/16");
        assert_eq!(n.network(), Ipv4Addr::new(10, 88, 0, 0));
        assert_eq!(n.last(), Ipv4Addr::new(10, 88, 255, 255));
        assert_eq!(n.truncated(), net("10.88.0.0/16"));
        assert_eq!(n.nth(2), Some(Ipv4Addr::new(10, 88, 0, 2)));
        assert_eq!(n.nth(65536), None);
        assert_eq!(n.host_part(n.addr()), 0x301);
        assert!(
            n.contains(Ipv4Addr::new(10, 88, 9, 9)) && !n.contains(Ipv4Addr::new(10, 89, 0, 0))
        );
    }

    #[test]
    fn the_whole_space_and_single_addresses_are_blocks_too() {
        let all = net("0.0.0.0/0");
        assert!(all.contains(Ipv4Addr::BROADCAST) && all.covers(net("1.2.3.4/32")));
        assert_eq!(net("1.2.3.4/32").last(), Ipv4Addr::new(1, 2, 3, 4));
        let all6: Ipv6Net = "::/0".parse().unwrap();
        assert_eq!(all6.nth(u128::MAX), Some(Ipv6Addr::from(u128::MAX)));
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "x/8", "10.0.0.0/x", "10.0.0.0/-1"] {
            assert!(bad.parse::<Ipv4Net>().is_err(), "{bad}");
        }
        assert!("fd00::/129".parse::<IpNet>().is_err());
    }

    proptest! {
        #[test]
        fn overlap_is_symmetric_and_means_a_common_address(
            a: u32, b: u32, p in 0u8..=32, q in 0u8..=32,
        ) {
            let x = Ipv4Net::new(a.into(), p).unwrap();
            let y = Ipv4Net::new(b.into(), q).unwrap();
            prop_assert_eq!(x.overlaps(y), y.overlaps(x));
            let common = x.network().max(y.network()) <= x.last().min(y.last());
            prop_assert_eq!(x.overlaps(y), common);
            prop_assert_eq!(x.to_string().parse::<Ipv4Net>().unwrap(), x);
        }
    }
}
