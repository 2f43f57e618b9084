//! tcpdump's filter language, the useful part of it (pcap-filter(7)), as a tree.
//!
//! - [`parse`](Filter::parse) words → [`Filter`]
//! - [`bytes`]                `tcp[13] & 2 != 0`, as it is meant and written
//! - `compile`                [`Filter`] → classic BPF
//!
//! Displaying a filter gives words that parse to it again. Pure.

pub mod bytes;
pub(crate) mod compile;
mod parse;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use bytes::Comparison;
pub use parse::FilterError;

use crate::plan::Mac;

/// Names that `host` knows, and the addresses each stands for.
pub type Names = BTreeMap<String, Vec<IpAddr>>;

/// Which packets are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Every packet.
    All,
    /// Those of one kind.
    Test(Test),
    /// All others.
    Not(Box<Filter>),
    /// Both.
    And(Box<Filter>, Box<Filter>),
    /// One or the other.
    Or(Box<Filter>, Box<Filter>),
}

/// One primitive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// `tcp`.
    Protocol(Protocol),
    /// `src net 10.0.0.0/8`, `host 10.0.0.1`, `arp host 10.0.0.1`.
    Net {
        /// `ip`, `ip6` or `arp` before it.
        family: Option<Protocol>,
        /// `src` or `dst` before it.
        direction: Direction,
        /// The first address.
        address: IpAddr,
        /// How many of its bits count.
        prefix: u8,
    },
    /// `tcp dst port 80`, `portrange 8000-8010`.
    Port {
        /// `tcp`, `udp` or `sctp` before it.
        transport: Option<Protocol>,
        /// `src` or `dst` before it.
        direction: Direction,
        /// The first port.
        first: u16,
        /// The last one.
        last: u16,
    },
    /// `ether src 02:42:0a:00:00:02`.
    Ether {
        /// `src` or `dst` before it.
        direction: Direction,
        /// The address.
        mac: Mac,
    },
    /// `vlan 50`; without a number any tag.
    Vlan(Option<u16>),
    /// `ip[8] < 5`, `len > 100`.
    Bytes(Comparison),
    /// `less 100`: this many bytes or fewer.
    Less(u32),
    /// `greater 100`: this many bytes or more.
    Greater(u32),
}

/// Which end of a packet is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Where it comes from.
    Source,
    /// Where it goes to.
    Destination,
    /// `src or dst`, and what is meant when nothing is said.
    #[default]
    Either,
    /// `src and dst`.
    Both,
}

/// A protocol that has a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// ARP.
    Arp,
    /// TCP over either.
    Tcp,
    /// UDP over either.
    Udp,
    /// SCTP over either.
    Sctp,
    /// ICMP, which is IPv4's.
    Icmp,
    /// ICMPv6.
    Icmp6,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Ip, Self::Ip6, Self::Arp, Self::Tcp, Self::Udp, Self::Sctp, Self::Icmp, Self::Icmp6];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Arp => "arp",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Icmp => "icmp",
            Self::Icmp6 => "icmp6",
        }
    }

    /// Whether it can stand before `port`.
    fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Sctp)
    }

    /// Whether it can stand before `host` and `net`.
    fn has_addresses(self) -> bool {
        matches!(self, Self::Ip | Self::Ip6 | Self::Arp)
    }
}

impl Filter {
    fn and(self, other: Self) -> Self {
        Self::And(Box::new(self), Box::new(other))
    }

    fn or(self, other: Self) -> Self {
        Self::Or(Box::new(self), Box::new(other))
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => Ok(()),
            Self::Test(test) => write!(f, "{test}"),
            Self::Not(inner) => write!(f, "not ({inner})"),
            Self::And(left, right) => write!(f, "({left}) and ({right})"),
            Self::Or(left, right) => write!(f, "({left}) or ({right})"),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "src ",
            Self::Destination => "dst ",
            Self::Either => "",
            Self::Both => "src and dst ",
        })
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = |protocol: &Option<Protocol>| {
            protocol.map(|p| format!("{} ", p.word())).unwrap_or_default()
        };
        match self {
            Self::Protocol(protocol) => f.write_str(protocol.word()),
            Self::Net { family, direction, address, prefix } => {
                let family = before(family);
                match *prefix == bits(*address) {
                    true => write!(f, "{family}{direction}host {address}"),
                    false => write!(f, "{family}{direction}net {address}/{prefix}"),
                }
            }
            Self::Port { transport, direction, first, last } => {
                let transport = before(transport);
                match first == last {
                    true => write!(f, "{transport}{direction}port {first}"),
                    false => write!(f, "{transport}{direction}portrange {first}-{last}"),
                }
            }
            Self::Ether { direction, mac } => write!(f, "ether {direction}host {mac}"),
            Self::Vlan(None) => f.write_str("vlan"),
            Self::Vlan(Some(tag)) => write!(f, "vlan {tag}"),
            Self::Bytes(comparison) => write!(f, "{comparison}"),
            Self::Less(bytes) => write!(f, "less {bytes}"),
            Self::Greater(bytes) => write!(f, "greater {bytes}"),
        }
    }
}

/// How many bits an address of this family has.
fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::capture::filter::parse::masked;
    use proptest::prelude::*;

    fn any_direction() -> impl Strategy<Value = Direction> {
        prop_oneof![
            Just(Direction::Source),
            Just(Direction::Destination),
            Just(Direction::Either),
            Just(Direction::Both)
        ]
    }

    /// Few addresses, so that filters and packets meet.
    pub(crate) fn any_address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (0u8..3, 0u8..3).prop_map(|(a, b)| IpAddr::from([10, a, 0, b])),
            (0u16..3, 0u16..3).prop_map(|(a, b)| IpAddr::from([0xfd00, 0, 0, a, 0, 0, 0, b])),
        ]
    }

    fn any_net() -> impl Strategy<Value = Test> {
        let families = prop_oneof![Just(0u8), Just(1), Just(2)];
        (families, any_direction(), any_address(), 0u8..=128).prop_map(
            |(family, direction, address, prefix)| {
                let family = match (family, address) {
                    (0, _) => None,
                    (_, IpAddr::V6(_)) => Some(Protocol::Ip6),
                    (1, _) => Some(Protocol::Ip),
                    _ => Some(Protocol::Arp),
                };
                let prefix = prefix.min(bits(address));
                Test::Net { family, direction, address: masked(address, prefix), prefix }
            },
        )
    }

    fn any_test() -> impl Strategy<Value = Test> {
        let transports = prop_oneof![
            Just(None),
            Just(Some(Protocol::Tcp)),
            Just(Some(Protocol::Udp)),
            Just(Some(Protocol::Sctp))
        ];
        prop_oneof![
            (0..Protocol::ALL.len()).prop_map(|n| Test::Protocol(Protocol::ALL[n])),
            any_net(),
            (transports, any_direction(), 1u16..6, 0u16..4).prop_map(
                |(transport, direction, first, more)| Test::Port {
                    transport,
                    direction,
                    first,
                    last: first + more
                }
            ),
            (any_direction(), any::<bool>()).prop_map(|(direction, own)| {
                let mac = if own { Mac([2; 6]) } else { Mac([2, 2, 2, 2, 2, 3]) };
                Test::Ether { direction, mac }
            }),
            proptest::option::of(0u16..4096).prop_map(Test::Vlan),
            bytes::tests::any_comparison().prop_map(Test::Bytes),
            (0u32..200).prop_map(Test::Less),
            (0u32..200).prop_map(Test::Greater),
        ]
    }

    pub(crate) fn any_filter() -> impl Strategy<Value = Filter> {
        any_test().prop_map(Filter::Test).prop_recursive(6, 48, 2, |inner| {
            prop_oneof![
                inner.clone().prop_map(|f| Filter::Not(Box::new(f))),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| a.and(b)),
                (inner.clone(), inner).prop_map(|(a, b)| a.or(b)),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_filter_printed_parses_to_itself(filter in any_filter()) {
            let text = filter.to_string();
            prop_assert_eq!(Filter::parse(&text, &Names::new()), Ok(filter), "{}", text);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            let _ = Filter::parse(&text, &Names::new());
        }

        #[test]
        fn no_words_panic(words in proptest::collection::vec(
            prop_oneof![
                Just("src"), Just("dst"), Just("or"), Just("and"), Just("not"), Just("("), Just(")"),
                Just("host"), Just("net"), Just("port"), Just("portrange"), Just("tcp"), Just("ip"),
                Just("10.0.0.1"), Just("10/8"), Just("80"), Just("80-90"), Just("mask"), Just("less"),
                Just("ether"), Just("vlan"), Just("len"), Just("[6:2]"), Just("[tcpflags]"),
                Just("["), Just("]"), Just("&"), Just("|"), Just("="), Just("!="), Just("<"),
                Just("tcp-syn"), Just("02:42:0a:00:00:02")
            ], 0..12)
        ) {
            let _ = Filter::parse(&words.join(" "), &Names::new());
        }
    }
}
