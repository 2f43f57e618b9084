//! The steps that the base's rules are made of.

use crate::wire::abi::*;
use crate::wire::nft::Expression;

/// A rule: its steps and the comment that `nft` shows.
pub(super) type Rule = (&'static [Expression], &'static str);

/// `lo`, as 16 bytes of an interface name.
pub(super) const LO: Expression = Expression::NotEqual(b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
pub(super) const IIFNAME: Expression = Expression::Meta { key: NFT_META_IIFNAME, to: 0 };
pub(super) const OIFNAME: Expression = Expression::Meta { key: NFT_META_OIFNAME, to: 0 };
/// After the incoming interface in a pair.
pub(super) const OIFNAME_NEXT: Expression = Expression::Meta { key: NFT_META_OIFNAME, to: 4 };
pub(super) const IIFKIND: Expression = Expression::Meta { key: NFT_META_IIFKIND, to: 0 };
pub(super) const OIFKIND: Expression = Expression::Meta { key: NFT_META_OIFKIND, to: 0 };
pub(super) const IS_BRIDGE: Expression = Expression::Equal(b"bridge\0\0\0\0\0\0\0\0\0\0");
pub(super) const FAMILY: Expression = Expression::Meta { key: NFT_META_NFPROTO, to: 0 };
pub(super) const IS_IPV4: Expression = Expression::Equal(&[NFPROTO_IPV4]);
pub(super) const IS_IPV6: Expression = Expression::Equal(&[NFPROTO_IPV6]);
pub(super) const IS_LOOPBACK: Expression = Expression::Equal(&[127]);
/// `::1`; there is no route_localnet for IPv6, so nothing from or to it can leave `lo`.
pub(super) const IS_LOOPBACK6: Expression =
    Expression::Equal(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
/// Whoever calls from a link-local address cannot be routed either.
pub(super) const LINK_LOCAL6: Expression =
    Expression::Equal(&[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
pub(super) const LINK_LOCAL6_MASK: Expression =
    Expression::Mask(&[0xff, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
pub(super) const FROM_LINK_LOCAL6: Rule = (
    &[FAMILY, IS_IPV6, network_header(8, 16, 0), LINK_LOCAL6_MASK, LINK_LOCAL6, Expression::Return],
    "cannot be routed: for the relay",
);
pub(super) const IS_TCP: Expression = Expression::Equal(&[6]);
pub(super) const IS_ICMP: Expression = Expression::Equal(&[1]);
pub(super) const IS_ICMPV6: Expression = Expression::Equal(&[58]);
pub(super) const ICMP_TYPE: Expression =
    Expression::Payload { base: NFT_PAYLOAD_TRANSPORT_HEADER, offset: 0, bytes: 1, to: 0 };
/// linux/icmpv6.h
pub(super) const ND_NEIGHBOR_SOLICIT: u8 = 135;
pub(super) const ND_NEIGHBOR_ADVERT: u8 = 136;
pub(super) const IS_LOCAL: Expression = Expression::Equal(&RTN_LOCAL.to_ne_bytes());
pub(super) const NOT_ZERO: Expression = Expression::NotEqual(&[0; 4]);
pub(super) const TO_PUBLISHED: Rule = (
    &[Expression::DestinationType, IS_LOCAL, Expression::Jump("published")],
    "only what is addressed to this host",
);

pub(super) const fn network_header(offset: u32, bytes: u32, to: u32) -> Expression {
    Expression::Payload { base: NFT_PAYLOAD_NETWORK_HEADER, offset, bytes, to }
}

pub(super) const fn l4proto(to: u32) -> Expression {
    Expression::Meta { key: NFT_META_L4PROTO, to }
}

/// The destination port, at the same place for tcp, udp and sctp.
pub(super) const fn destination_port(to: u32) -> Expression {
    Expression::Payload { base: NFT_PAYLOAD_TRANSPORT_HEADER, offset: 2, bytes: 2, to }
}
