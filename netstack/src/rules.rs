//! The instance's nftables table, as data. A constant base of chains, sets and
//! maps; whatever is particular to a bridge or a container is an element, so the
//! cost of a packet or of a change does not depend on how many there are.
//!
//! ```text
//! prerouting ─raw─► fence: 127/8 on the wire is dropped
//! prerouting ─nat─► to a local address? ─► published: maps ─► dnat
//! output ─────nat─► to a local address? ─► published
//! forward: established · not to our bridges · dnat'ed · same bridge · else drop
//! postrouting: leaving our bridges, hairpin, from 127/8: masquerade
//! ```
//!
//! Neighbours are left alone: every verdict concerns our own bridges, addresses
//! of this host, or 127/8 on the wire. Pure: nothing here is sent.

use std::net::IpAddr;

use crate::plan::{BridgePlan, NetworkPlan, NetworkUndo};
use crate::ports::{Protocol, PublishedPort};
use crate::wire::abi::*;
use crate::wire::nft::{Batch, Element, Expression, Hook, Set, Type};

/// Names of our bridges.
const BRIDGES: Set = Set { name: "bridges", key: &[Type::Interface], data: &[], interval: false };
/// From bridge, to bridge: what may talk directly. A bridge with itself, so far.
const TALK: Set =
    Set { name: "talk", key: &[Type::Interface, Type::Interface], data: &[], interval: false };
/// Subnet and its bridge: a published port reached from inside the same bridge.
/// (A bridged packet has no input interface in postrouting, so its source tells.)
const HAIRPIN4: Set =
    Set { name: "hairpin4", key: &[Type::Ipv4, Type::Interface], data: &[], interval: true };
const HAIRPIN6: Set =
    Set { name: "hairpin6", key: &[Type::Ipv6, Type::Interface], data: &[], interval: true };
/// Ports published on every address of the host.
const ANY4: Set = Set {
    name: "any4",
    key: &[Type::Protocol, Type::Port],
    data: &[Type::Ipv4, Type::Port],
    interval: false,
};
const ANY6: Set = Set {
    name: "any6",
    key: &[Type::Protocol, Type::Port],
    data: &[Type::Ipv6, Type::Port],
    interval: false,
};
/// Ports published on one address.
const ADDR4: Set = Set {
    name: "addr4",
    key: &[Type::Ipv4, Type::Protocol, Type::Port],
    data: &[Type::Ipv4, Type::Port],
    interval: false,
};
const ADDR6: Set = Set {
    name: "addr6",
    key: &[Type::Ipv6, Type::Protocol, Type::Port],
    data: &[Type::Ipv6, Type::Port],
    interval: false,
};
const SETS: [Set; 8] = [BRIDGES, TALK, HAIRPIN4, HAIRPIN6, ANY4, ANY6, ADDR4, ADDR6];

/// A chain with its rules: expressions and the comment that `nft` shows.
struct Chain {
    name: &'static str,
    hook: Option<Hook>,
    rules: &'static [(&'static [Expression], &'static str)],
}

/// `lo`, as 16 bytes of an interface name.
const LO: Expression = Expression::NotEqual(b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
const IIFNAME: Expression = Expression::Meta { key: NFT_META_IIFNAME, to: 0 };
const OIFNAME: Expression = Expression::Meta { key: NFT_META_OIFNAME, to: 0 };
const FAMILY: Expression = Expression::Meta { key: NFT_META_NFPROTO, to: 0 };
const IS_IPV4: Expression = Expression::Equal(&[NFPROTO_IPV4]);
const IS_IPV6: Expression = Expression::Equal(&[NFPROTO_IPV6]);
const IS_LOOPBACK: Expression = Expression::Equal(&[127]);
const IS_LOCAL: Expression = Expression::Equal(&RTN_LOCAL.to_ne_bytes());
const NOT_ZERO: Expression = Expression::NotEqual(&[0; 4]);
const TO_PUBLISHED: (&[Expression], &str) = (
    &[Expression::DestinationType, IS_LOCAL, Expression::Jump("published")],
    "only what is addressed to this host",
);

const fn network_header(offset: u32, bytes: u32, to: u32) -> Expression {
    Expression::Payload { base: NFT_PAYLOAD_NETWORK_HEADER, offset, bytes, to }
}

const fn l4proto(to: u32) -> Expression {
    Expression::Meta { key: NFT_META_L4PROTO, to }
}

/// The destination port, at the same place for tcp, udp and sctp.
const fn destination_port(to: u32) -> Expression {
    Expression::Payload { base: NFT_PAYLOAD_TRANSPORT_HEADER, offset: 2, bytes: 2, to }
}

const CHAINS: [Chain; 6] = [
    Chain {
        name: "fence",
        // raw: before connection tracking and every NAT
        hook: Some(Hook { kind: "filter", number: NF_INET_PRE_ROUTING, priority: -300 }),
        rules: &[
            (
                &[
                    IIFNAME,
                    LO,
                    FAMILY,
                    IS_IPV4,
                    network_header(16, 1, 0),
                    IS_LOOPBACK,
                    Expression::Drop,
                ],
                "loopback is never on a wire, CVE-2020-8558",
            ),
            (
                &[
                    IIFNAME,
                    LO,
                    FAMILY,
                    IS_IPV4,
                    network_header(12, 1, 0),
                    IS_LOOPBACK,
                    Expression::Drop,
                ],
                "",
            ),
        ],
    },
    Chain {
        name: "prerouting",
        hook: Some(Hook { kind: "nat", number: NF_INET_PRE_ROUTING, priority: -100 }),
        rules: &[TO_PUBLISHED],
    },
    Chain {
        name: "output",
        hook: Some(Hook { kind: "nat", number: NF_INET_LOCAL_OUT, priority: -100 }),
        rules: &[TO_PUBLISHED],
    },
    Chain {
        name: "published",
        hook: None,
        rules: &[
            (
                &[
                    FAMILY,
                    IS_IPV4,
                    network_header(16, 4, 0),
                    l4proto(1),
                    destination_port(2),
                    Expression::Map(ADDR4.name),
                    Expression::Dnat { family: NFPROTO_IPV4, port: 1 },
                ],
                "",
            ),
            (
                &[
                    FAMILY,
                    IS_IPV4,
                    l4proto(0),
                    destination_port(1),
                    Expression::Map(ANY4.name),
                    Expression::Dnat { family: NFPROTO_IPV4, port: 1 },
                ],
                "",
            ),
            (
                &[
                    FAMILY,
                    IS_IPV6,
                    network_header(24, 16, 0),
                    l4proto(4),
                    destination_port(5),
                    Expression::Map(ADDR6.name),
                    Expression::Dnat { family: NFPROTO_IPV6, port: 4 },
                ],
                "",
            ),
            (
                &[
                    FAMILY,
                    IS_IPV6,
                    l4proto(0),
                    destination_port(1),
                    Expression::Map(ANY6.name),
                    Expression::Dnat { family: NFPROTO_IPV6, port: 4 },
                ],
                "",
            ),
        ],
    },
    Chain {
        name: "postrouting",
        hook: Some(Hook { kind: "nat", number: NF_INET_POST_ROUTING, priority: 100 }),
        rules: &[
            (
                &[
                    IIFNAME,
                    Expression::InSet(BRIDGES.name),
                    OIFNAME,
                    Expression::NotInSet(BRIDGES.name),
                    Expression::Masquerade,
                ],
                "containers to the world",
            ),
            (
                &[
                    Expression::ConntrackStatus,
                    Expression::And(IPS_DST_NAT),
                    NOT_ZERO,
                    FAMILY,
                    IS_IPV4,
                    network_header(12, 4, 0),
                    Expression::Meta { key: NFT_META_OIFNAME, to: 1 },
                    Expression::InSet(HAIRPIN4.name),
                    Expression::Masquerade,
                ],
                "a published port reached from its own bridge",
            ),
            (
                &[
                    Expression::ConntrackStatus,
                    Expression::And(IPS_DST_NAT),
                    NOT_ZERO,
                    FAMILY,
                    IS_IPV6,
                    network_header(8, 16, 0),
                    Expression::Meta { key: NFT_META_OIFNAME, to: 4 },
                    Expression::InSet(HAIRPIN6.name),
                    Expression::Masquerade,
                ],
                "",
            ),
            (
                &[
                    OIFNAME,
                    Expression::InSet(BRIDGES.name),
                    FAMILY,
                    IS_IPV4,
                    network_header(12, 1, 0),
                    IS_LOOPBACK,
                    Expression::Masquerade,
                ],
                "a published port reached at 127.0.0.1",
            ),
        ],
    },
    Chain {
        name: "forward",
        hook: Some(Hook { kind: "filter", number: NF_INET_FORWARD, priority: 0 }),
        rules: &[
            (
                &[
                    Expression::ConntrackState,
                    Expression::And(CT_STATE_ESTABLISHED_RELATED),
                    NOT_ZERO,
                    Expression::Accept,
                ],
                "",
            ),
            (
                &[OIFNAME, Expression::NotInSet(BRIDGES.name), Expression::Accept],
                "not to a container",
            ),
            (
                &[
                    Expression::ConntrackStatus,
                    Expression::And(IPS_DST_NAT),
                    NOT_ZERO,
                    Expression::Accept,
                ],
                "published",
            ),
            (
                &[
                    IIFNAME,
                    Expression::Meta { key: NFT_META_OIFNAME, to: 4 },
                    Expression::InSet(TALK.name),
                    Expression::Accept,
                ],
                "neighbours on one bridge",
            ),
            (&[Expression::Drop], "not published"),
        ],
    },
];

/// What marks the base as this one: a chain without rules that carries a hash of
/// the base in its name. (A table's user data cannot be changed later, a chain is
/// made and removed in the transaction that changes the rules.)
pub(crate) const MARK_PREFIX: &str = "base-";

/// The name of the mark chain of the base as compiled in.
pub(crate) fn mark() -> String {
    let mut batch = Batch::new("");
    declare(&mut batch);
    let requests = batch.finish();
    let bytes = requests.bytes().unwrap_or_default();
    let hash = bytes
        .iter()
        .fold(0x811c_9dc5_u32, |hash, b| (hash ^ u32::from(*b)).wrapping_mul(0x0100_0193));
    format!("{MARK_PREFIX}{hash:08x}")
}

/// The chains of the base with the number of users (rules in it, jumps to it)
/// that the kernel counts when the chain is whole.
pub(crate) fn chain_uses() -> impl Iterator<Item = (&'static str, usize)> {
    CHAINS.iter().map(|chain| {
        let jumps = CHAINS
            .iter()
            .flat_map(|c| c.rules)
            .filter(|(steps, _)| steps.contains(&Expression::Jump(chain.name)))
            .count();
        (chain.name, chain.rules.len() + jumps)
    })
}

/// Declares the base: makes what is absent, writes every rule anew. Elements stay.
pub(crate) fn declare(batch: &mut Batch<'_>) {
    batch.table();
    for set in &SETS {
        batch.set(set);
    }
    for chain in &CHAINS {
        batch.chain(chain.name, chain.hook);
        batch.flush_chain(chain.name);
    }
    for chain in &CHAINS {
        for (steps, comment) in chain.rules {
            batch.rule(chain.name, steps, comment);
        }
    }
}

/// An element and the set it belongs to.
pub(crate) type Entry = (&'static str, Element);

/// What the base must know of a bridge.
pub(crate) fn bridge_entries(bridge: &BridgePlan) -> Vec<Entry> {
    let name = interface_key(&bridge.interface);
    let plain = |key: Vec<u8>| Element { key, ..Element::default() };
    let (address, prefix) = bridge.address4;
    let mut entries = vec![
        (BRIDGES.name, plain(name.to_vec())),
        (TALK.name, plain([name, name].concat())),
        (HAIRPIN4.name, range(address.into(), prefix, name)),
    ];
    if let Some((address, prefix)) = bridge.address6 {
        entries.push((HAIRPIN6.name, range(address.into(), prefix, name)));
    }
    entries
}

/// An interface name as the kernel compares it: 16 bytes, filled up with NUL.
fn interface_key(name: &str) -> [u8; 16] {
    let mut key = [0; 16];
    for (slot, byte) in key.iter_mut().zip(name.bytes()) {
        *slot = byte;
    }
    key
}

/// Every address of the subnet, with the interface.
fn range(address: IpAddr, prefix: u8, interface: [u8; 16]) -> Element {
    let (mut first, mut last) = (octets(address), octets(address));
    for (n, (low, high)) in first.iter_mut().zip(&mut last).enumerate() {
        let kept = usize::from(prefix).saturating_sub(n * 8).min(8);
        // All ones shifted out of the byte by the bits that stay.
        let host = u8::try_from(0xff_u16 >> kept).unwrap_or(0);
        *low &= !host;
        *high |= host;
    }
    first.extend_from_slice(&interface);
    last.extend_from_slice(&interface);
    Element { key: first, key_end: Some(last), ..Element::default() }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// IANA's protocol numbers.
pub(crate) fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

/// A port takes a whole register in a concatenation.
fn port_word(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

/// The element of one published port; `None` when the container has no address of
/// the host address's family, because the kernel cannot translate between them.
pub(crate) fn port_entry(undo: &NetworkUndo, port: &PublishedPort, comment: &str) -> Option<Entry> {
    let target = undo.target(port.host_ip)?;
    let any = port.host_ip.is_unspecified();
    let set = match (port.host_ip, any) {
        (IpAddr::V4(_), true) => ANY4,
        (IpAddr::V4(_), false) => ADDR4,
        (IpAddr::V6(_), true) => ANY6,
        (IpAddr::V6(_), false) => ADDR6,
    };
    let mut key = if any { Vec::new() } else { octets(port.host_ip) };
    key.extend_from_slice(&[protocol_number(port.protocol), 0, 0, 0]);
    key.extend_from_slice(&port_word(port.host_port));
    let mut data = octets(target);
    data.extend_from_slice(&port_word(port.container_port));
    let element =
        Element { key, key_end: None, data: Some(data), comment: Some(comment.to_owned()) };
    Some((set.name, element))
}

/// What `nft list ruleset` shows beside a container's ports.
pub(crate) fn comment(plan: &NetworkPlan) -> String {
    // The id comes first: a long name is cut, the id tells whose element it is.
    format!("{} {}", plan.owner.short(), plan.owner_name)
}

/// The elements of all published ports of a plan.
pub(crate) fn port_entries(plan: &NetworkPlan) -> Vec<Entry> {
    let (undo, comment) = (plan.undo(), comment(plan));
    plan.published.iter().filter_map(|port| port_entry(&undo, port, &comment)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_covers_its_subnet() {
        let lo = interface_key("rcnt0");
        let element = range("10.88.3.1".parse().unwrap(), 20, lo);
        assert_eq!(element.key[..4], [10, 88, 0, 0]);
        assert_eq!(element.key_end.unwrap()[..4], [10, 88, 15, 255]);
        let element = range("fd00::1".parse().unwrap(), 64, lo);
        assert_eq!(element.key_end.unwrap()[7..10], [0, 255, 255]);
    }

    #[test]
    fn the_mark_is_stable_within_a_build() {
        assert_eq!(mark(), mark());
        assert_eq!(mark().len(), MARK_PREFIX.len() + 8);
    }

    #[test]
    fn the_kernel_counts_rules_and_jumps() {
        let uses: Vec<_> = chain_uses().collect();
        assert!(uses.contains(&("published", 6)), "{uses:?}");
        assert!(uses.contains(&("forward", 5)), "{uses:?}");
    }
}
