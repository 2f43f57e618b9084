//! What is let through between networks, in order. An accept here is one of this
//! table only: other tables decide for themselves.

use super::sets::*;
use super::steps::*;
use crate::wire::abi::*;
use crate::wire::nft::Expression;

pub(super) const FORWARD: &[Rule] = &[
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
        &[
            IIFNAME,
            Expression::NotInSet(BRIDGES.name),
            OIFNAME,
            Expression::NotInSet(BRIDGES.name),
            FAMILY,
            Expression::InSet(FENCED.name),
            Expression::Jump("strangers"),
        ],
        "forwarding was switched on for containers only",
    ),
    (
        &[
            IIFNAME,
            Expression::InSet(INTERNAL.name),
            IIFNAME,
            OIFNAME_NEXT,
            Expression::NotInSet(WITHIN.name),
            Expression::Drop,
        ],
        "no way out of an internal network",
    ),
    (
        &[
            OIFNAME,
            Expression::InSet(INTERNAL.name),
            IIFNAME,
            OIFNAME_NEXT,
            Expression::NotInSet(WITHIN.name),
            Expression::Drop,
        ],
        "nor into it",
    ),
    (
        &[
            IIFNAME,
            Expression::InSet(BRIDGES.name),
            OIFNAME,
            Expression::NotInSet(BRIDGES.name),
            l4proto(0),
            IS_TCP,
            Expression::RouteSegment,
            Expression::ToNetworkOrder16,
            Expression::SetSegment,
        ],
        "no larger segments than the way out takes",
    ),
    (&[OIFNAME, Expression::NotInSet(BRIDGES.name), Expression::Accept], "not to a container"),
    (
        &[Expression::ConntrackStatus, Expression::And(IPS_DST_NAT), NOT_ZERO, Expression::Accept],
        "published",
    ),
    (
        &[IIFNAME, OIFNAME_NEXT, Expression::InSet(TALK.name), Expression::Accept],
        "neighbours on one bridge, trusted interfaces",
    ),
    (
        &[
            FAMILY,
            IS_IPV4,
            network_header(16, 4, 0),
            l4proto(1),
            destination_port(2),
            Expression::InSet(OPEN4.name),
            Expression::Accept,
        ],
        "open at the container's own address",
    ),
    (
        &[
            FAMILY,
            IS_IPV6,
            network_header(24, 16, 0),
            l4proto(4),
            destination_port(5),
            Expression::InSet(OPEN6.name),
            Expression::Accept,
        ],
        "",
    ),
    (
        &[
            FAMILY,
            IS_IPV4,
            network_header(12, 4, 0),
            network_header(16, 4, 1),
            l4proto(2),
            destination_port(3),
            Expression::InSet(LINKS4.name),
            Expression::Accept,
        ],
        "linked",
    ),
    (
        &[
            FAMILY,
            IS_IPV6,
            network_header(8, 16, 0),
            network_header(24, 16, 4),
            l4proto(8),
            destination_port(9),
            Expression::InSet(LINKS6.name),
            Expression::Accept,
        ],
        "",
    ),
    (
        &[
            IIFNAME,
            OIFNAME_NEXT,
            Expression::InSet(WITHIN.name),
            l4proto(0),
            IS_ICMPV6,
            ICMP_TYPE,
            Expression::Equal(&[ND_NEIGHBOR_SOLICIT]),
            Expression::Accept,
        ],
        "who has which address is no secret",
    ),
    (
        &[
            IIFNAME,
            OIFNAME_NEXT,
            Expression::InSet(WITHIN.name),
            l4proto(0),
            IS_ICMPV6,
            ICMP_TYPE,
            Expression::Equal(&[ND_NEIGHBOR_ADVERT]),
            Expression::Accept,
        ],
        "",
    ),
    (
        &[
            IIFNAME,
            Expression::NotInSet(BRIDGES.name),
            FAMILY,
            IS_IPV4,
            OIFNAME,
            Expression::InSet(UNPROTECTED4.name),
            Expression::Accept,
        ],
        "unprotected",
    ),
    (
        &[
            IIFNAME,
            Expression::NotInSet(BRIDGES.name),
            FAMILY,
            IS_IPV6,
            OIFNAME,
            Expression::InSet(UNPROTECTED6.name),
            Expression::Accept,
        ],
        "",
    ),
    (
        &[l4proto(0), IS_ICMP, OIFNAME, Expression::InSet(ROUTED4.name), Expression::Accept],
        "routed to",
    ),
    (&[l4proto(0), IS_ICMPV6, OIFNAME, Expression::InSet(ROUTED6.name), Expression::Accept], ""),
    (&[Expression::Drop], "not published"),
];
