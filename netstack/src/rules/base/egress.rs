//! Egress lists: what they add to the table, with the first container that has one.
//!
//! ```text
//! prerouting, before any DNAT: established · of a confined address? ─► listed
//! listed: a span of addresses and ports · a name's addresses · who has which address
//!         · else refused
//! ingress of a confined container's wire ─► own: its own addresses · else drop
//! ```
//!
//! Before DNAT: what counts is the destination as the container addressed it, and one
//! place sees what is forwarded and what is for this host. Established connections
//! are through by the first rule, as is everybody else by the next two.

use super::steps::*;
use super::{Chain, Part};
use crate::wire::abi::*;
use crate::wire::nft::{Expression, Hook, Set, Type};

const fn set(name: &'static str, key: &'static [Type]) -> Set {
    Set { name, key, data: &[], interval: false, timeout: false }
}

const SPAN4: &[Type] = &[Type::Ipv4, Type::Ipv4, Type::Protocol, Type::Port];
const SPAN6: &[Type] = &[Type::Ipv6, Type::Ipv6, Type::Protocol, Type::Port];

/// Addresses of containers that have a list.
pub(in crate::rules) const CONFINED4: Set = set("confined4", &[Type::Ipv4]);
pub(in crate::rules) const CONFINED6: Set = set("confined6", &[Type::Ipv6]);
/// Which of them may come by which wire.
pub(in crate::rules) const OWN4: Set = set("own4", &[Type::Interface, Type::Ipv4]);
pub(in crate::rules) const OWN6: Set = set("own6", &[Type::Interface, Type::Ipv6]);
/// From, to, protocol, port: the addresses on the lists.
pub(in crate::rules) const EGRESS4: Set = Set { interval: true, ..set("egress4", SPAN4) };
pub(in crate::rules) const EGRESS6: Set = Set { interval: true, ..set("egress6", SPAN6) };
/// The same, learned from answers about names on the lists; they live as long as those.
pub(in crate::rules) const NAMED4: Set = Set { timeout: true, ..set("named4", SPAN4) };
pub(in crate::rules) const NAMED6: Set = Set { timeout: true, ..set("named6", SPAN6) };
/// From, to: of names that are listed without a port.
pub(in crate::rules) const HOSTS4: Set =
    Set { timeout: true, ..set("hosts4", &[Type::Ipv4, Type::Ipv4]) };
pub(in crate::rules) const HOSTS6: Set =
    Set { timeout: true, ..set("hosts6", &[Type::Ipv6, Type::Ipv6]) };

pub(in crate::rules) const SETS: [Set; 10] =
    [CONFINED4, CONFINED6, OWN4, OWN6, EGRESS4, EGRESS6, NAMED4, NAMED6, HOSTS4, HOSTS6];

const SOURCE4: Expression = network_header(12, 4, 0);
const SOURCE6: Expression = network_header(8, 16, 0);

const CHAINS: [Chain; 3] = [
    Chain {
        name: "egress",
        // mangle: behind connection tracking (-200), before every DNAT (-100)
        hook: Some(Hook { kind: "filter", number: NF_INET_PRE_ROUTING, priority: -150 }),
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
                &[FAMILY, IS_IPV4, SOURCE4, Expression::InSet(CONFINED4.name), TO_LISTED],
                "containers with an egress list",
            ),
            (&[FAMILY, IS_IPV6, SOURCE6, Expression::InSet(CONFINED6.name), TO_LISTED], ""),
        ],
    },
    Chain {
        name: "listed",
        hook: None,
        rules: &[
            (&span4(EGRESS4.name), "addresses"),
            (&span4(NAMED4.name), "names"),
            (&host4(HOSTS4.name), ""),
            (&span6(EGRESS6.name), ""),
            (&span6(NAMED6.name), ""),
            (&host6(HOSTS6.name), ""),
            (&neighbour(&[ND_NEIGHBOR_SOLICIT]), "who has which address is no secret"),
            (&neighbour(&[ND_NEIGHBOR_ADVERT]), ""),
            (
                &[
                    Expression::ConntrackState,
                    Expression::And(CT_STATE_INVALID),
                    NOT_ZERO,
                    Expression::Drop,
                ],
                "no answer: it may be a late part of something allowed",
            ),
            (&[l4proto(0), Expression::Equal(&[6]), Expression::Reset], NOT_LISTED),
            (&[Expression::Prohibit], NOT_LISTED),
        ],
    },
    Chain {
        name: "own",
        hook: None,
        rules: &[
            (
                &[
                    FAMILY,
                    IS_IPV4,
                    IIFNAME,
                    network_header(12, 4, 4),
                    Expression::InSet(OWN4.name),
                    Expression::Accept,
                ],
                "",
            ),
            (
                &[
                    FAMILY,
                    IS_IPV6,
                    IIFNAME,
                    network_header(8, 16, 4),
                    Expression::InSet(OWN6.name),
                    Expression::Accept,
                ],
                "",
            ),
            (
                &[FAMILY, IS_IPV6, SOURCE6, Expression::Equal(&[0; 16]), Expression::Accept],
                "none yet",
            ),
            (&[Expression::Drop], "a source address that is not the container's"),
        ],
    },
];

/// What `network trace` tells of a packet that is on no list.
pub(crate) const NOT_LISTED: &str = "not on the container's egress list";

/// What lists need of the table.
pub(crate) const LISTS: Part = Part {
    sets: &SETS,
    chains: &CHAINS,
    prefix: "lists-",
    // Every confined container's wire jumps to one of them.
    others_jump: true,
};

const TO_LISTED: Expression = Expression::Jump("listed");

const fn span4(set: &'static str) -> [Expression; 8] {
    let to = network_header(16, 4, 1);
    let (protocol, port) = (l4proto(2), destination_port(3));
    let found = Expression::InSet(set);
    [FAMILY, IS_IPV4, SOURCE4, to, protocol, port, found, Expression::Accept]
}

const fn span6(set: &'static str) -> [Expression; 8] {
    let to = network_header(24, 16, 4);
    let (protocol, port) = (l4proto(8), destination_port(9));
    let found = Expression::InSet(set);
    [FAMILY, IS_IPV6, SOURCE6, to, protocol, port, found, Expression::Accept]
}

const fn host4(set: &'static str) -> [Expression; 6] {
    let to = network_header(16, 4, 1);
    [FAMILY, IS_IPV4, SOURCE4, to, Expression::InSet(set), Expression::Accept]
}

const fn host6(set: &'static str) -> [Expression; 6] {
    let to = network_header(24, 16, 4);
    [FAMILY, IS_IPV6, SOURCE6, to, Expression::InSet(set), Expression::Accept]
}

const fn neighbour(kind: &'static [u8]) -> [Expression; 5] {
    [l4proto(0), IS_ICMPV6, ICMP_TYPE, Expression::Equal(kind), Expression::Accept]
}
