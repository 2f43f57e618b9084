//! The steps a rule is made of, and how the kernel takes each.

use crate::wire::{Attributes, abi};

/// One step of a rule. Registers are counted in words of four bytes from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expression {
    Meta {
        key: u32,
        to: u32,
    },
    Payload {
        base: u32,
        offset: u32,
        bytes: u32,
        to: u32,
    },
    ConntrackState,
    ConntrackStatus,
    DestinationType,
    Equal(&'static [u8]),
    NotEqual(&'static [u8]),
    /// An interface's name, filled up with NUL.
    Name([u8; 16]),
    EqualPort(u16),
    /// Register 0 is this port from here on.
    LoadPort(u16),
    /// Bytes of the transport header become what register 0 holds, and its checksum,
    /// which is at that offset, is corrected.
    SetTransport {
        offset: u32,
        bytes: u32,
        checksum: u32,
    },
    /// Register 0 keeps only these bits.
    And(u32),
    /// The address at register 0 keeps only these bits.
    Mask(&'static [u8; 16]),
    InSet(&'static str),
    NotInSet(&'static str),
    /// The key starts at register 0, and there goes the value.
    Map(&'static str),
    /// To the address at register 0 and the port in that register.
    Dnat {
        family: u8,
        port: u32,
    },
    Masquerade,
    /// Register 0 is the largest TCP segment that the packet's route takes.
    RouteSegment,
    /// The 16-bit number in register 0 as it is on the wire.
    ToNetworkOrder16,
    /// The TCP option that tells the largest segment becomes register 0, unless it is
    /// smaller already (nft_exthdr_tcp_set_eval). A packet without it goes on.
    SetSegment,
    /// The packet is traced from here on (NFNLGRP_NFTRACE) unless register 0 begins with 0.
    Trace,
    Accept,
    Drop,
    /// Dropped, and whoever sent it is told so by a TCP reset.
    Reset,
    /// Dropped, and whoever sent it is told so: administratively prohibited.
    Prohibit,
    Return,
    Jump(&'static str),
}

impl Expression {
    pub(super) fn write(self, a: &mut Attributes<'_>) {
        use abi::*;
        let first = NFT_REG32_00;
        match self {
            Self::Meta { key, to } => named(a, "meta", |a| {
                a.be32(NFTA_META_KEY, key);
                a.be32(NFTA_META_DREG, first + to);
            }),
            Self::Payload { base, offset, bytes, to } => named(a, "payload", |a| {
                a.be32(NFTA_PAYLOAD_DREG, first + to);
                a.be32(NFTA_PAYLOAD_BASE, base);
                a.be32(NFTA_PAYLOAD_OFFSET, offset);
                a.be32(NFTA_PAYLOAD_LEN, bytes);
            }),
            Self::ConntrackState => conntrack(a, NFT_CT_STATE),
            Self::ConntrackStatus => conntrack(a, NFT_CT_STATUS),
            Self::DestinationType => named(a, "fib", |a| {
                a.be32(NFTA_FIB_DREG, first);
                a.be32(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
                a.be32(NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
            }),
            Self::Equal(value) => compare(a, NFT_CMP_EQ, value),
            Self::EqualPort(port) => compare(a, NFT_CMP_EQ, &port.to_be_bytes()),
            Self::LoadPort(port) => named(a, "immediate", |a| {
                a.be32(NFTA_IMMEDIATE_DREG, first);
                a.nest(NFTA_IMMEDIATE_DATA, |a| a.put(NFTA_DATA_VALUE, &port.to_be_bytes()));
            }),
            Self::SetTransport { offset, bytes, checksum } => named(a, "payload", |a| {
                a.be32(NFTA_PAYLOAD_SREG, first);
                a.be32(NFTA_PAYLOAD_BASE, NFT_PAYLOAD_TRANSPORT_HEADER);
                a.be32(NFTA_PAYLOAD_OFFSET, offset);
                a.be32(NFTA_PAYLOAD_LEN, bytes);
                a.be32(NFTA_PAYLOAD_CSUM_TYPE, NFT_PAYLOAD_CSUM_INET);
                a.be32(NFTA_PAYLOAD_CSUM_OFFSET, checksum);
            }),
            Self::NotEqual(value) => compare(a, NFT_CMP_NEQ, value),
            Self::Name(name) => compare(a, NFT_CMP_EQ, &name),
            Self::And(bits) => mask(a, &bits.to_ne_bytes()),
            Self::Mask(bits) => mask(a, bits),
            Self::InSet(set) => lookup(a, set, |_| {}),
            Self::NotInSet(set) => lookup(a, set, |a| a.be32(NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV)),
            Self::Map(map) => lookup(a, map, |a| a.be32(NFTA_LOOKUP_DREG, first)),
            Self::Dnat { family, port } => named(a, "nat", |a| {
                a.be32(NFTA_NAT_TYPE, NFT_NAT_DNAT);
                a.be32(NFTA_NAT_FAMILY, u32::from(family));
                a.be32(NFTA_NAT_REG_ADDR_MIN, first);
                a.be32(NFTA_NAT_REG_PROTO_MIN, first + port);
            }),
            Self::Trace => named(a, "meta", |a| {
                a.be32(NFTA_META_KEY, NFT_META_NFTRACE);
                a.be32(NFTA_META_SREG, first);
            }),
            Self::Masquerade => named(a, "masq", |_| {}),
            Self::RouteSegment => named(a, "rt", |a| {
                a.be32(NFTA_RT_DREG, first);
                a.be32(NFTA_RT_KEY, NFT_RT_TCPMSS);
            }),
            Self::SetSegment => named(a, "exthdr", |a| {
                a.be32(NFTA_EXTHDR_SREG, first);
                a.u8(NFTA_EXTHDR_TYPE, TCPOPT_MAXSEG);
                a.be32(NFTA_EXTHDR_OFFSET, 2);
                a.be32(NFTA_EXTHDR_LEN, 2);
                a.be32(NFTA_EXTHDR_OP, NFT_EXTHDR_OP_TCPOPT);
            }),
            Self::ToNetworkOrder16 => named(a, "byteorder", |a| {
                a.be32(NFTA_BYTEORDER_SREG, first);
                a.be32(NFTA_BYTEORDER_DREG, first);
                a.be32(NFTA_BYTEORDER_OP, NFT_BYTEORDER_HTON);
                a.be32(NFTA_BYTEORDER_LEN, 2);
                a.be32(NFTA_BYTEORDER_SIZE, 2);
            }),
            Self::Accept => verdict(a, NF_ACCEPT, None),
            Self::Drop => verdict(a, NF_DROP, None),
            Self::Reset => {
                named(a, "reject", |a| a.be32(NFTA_REJECT_TYPE, NFT_REJECT_TCP_RST));
            }
            Self::Prohibit => named(a, "reject", |a| {
                a.be32(NFTA_REJECT_TYPE, NFT_REJECT_ICMPX_UNREACH);
                a.put(NFTA_REJECT_ICMP_CODE, &[NFT_REJECT_ICMPX_ADMIN_PROHIBITED]);
            }),
            Self::Return => verdict(a, NFT_RETURN, None),
            Self::Jump(chain) => verdict(a, NFT_JUMP, Some(chain)),
        }
    }
}

fn named(a: &mut Attributes<'_>, name: &str, body: impl FnOnce(&mut Attributes<'_>)) {
    a.text(abi::NFTA_EXPR_NAME, name);
    a.nest(abi::NFTA_EXPR_DATA, body);
}

fn mask(a: &mut Attributes<'_>, bits: &[u8]) {
    named(a, "bitwise", |a| {
        let first = abi::NFT_REG32_00;
        a.be32(abi::NFTA_BITWISE_SREG, first);
        a.be32(abi::NFTA_BITWISE_DREG, first);
        // An address at most.
        a.be32(abi::NFTA_BITWISE_LEN, u32::try_from(bits.len()).unwrap_or(0));
        a.nest(abi::NFTA_BITWISE_MASK, |a| a.put(abi::NFTA_DATA_VALUE, bits));
        let zeros = [0; 16];
        let none = zeros.get(..bits.len()).unwrap_or_default();
        a.nest(abi::NFTA_BITWISE_XOR, |a| a.put(abi::NFTA_DATA_VALUE, none));
    });
}

fn conntrack(a: &mut Attributes<'_>, key: u32) {
    named(a, "ct", |a| {
        a.be32(abi::NFTA_CT_KEY, key);
        a.be32(abi::NFTA_CT_DREG, abi::NFT_REG32_00);
    });
}

fn compare(a: &mut Attributes<'_>, operator: u32, value: &[u8]) {
    named(a, "cmp", |a| {
        a.be32(abi::NFTA_CMP_SREG, abi::NFT_REG32_00);
        a.be32(abi::NFTA_CMP_OP, operator);
        a.nest(abi::NFTA_CMP_DATA, |a| a.put(abi::NFTA_DATA_VALUE, value));
    });
}

fn lookup(a: &mut Attributes<'_>, set: &str, more: impl FnOnce(&mut Attributes<'_>)) {
    named(a, "lookup", |a| {
        a.text(abi::NFTA_LOOKUP_SET, set);
        a.be32(abi::NFTA_LOOKUP_SREG, abi::NFT_REG32_00);
        more(a);
    });
}

fn verdict(a: &mut Attributes<'_>, code: u32, chain: Option<&str>) {
    named(a, "immediate", |a| {
        a.be32(abi::NFTA_IMMEDIATE_DREG, abi::NFT_REG_VERDICT);
        a.nest(abi::NFTA_IMMEDIATE_DATA, |a| {
            a.nest(abi::NFTA_DATA_VERDICT, |a| {
                a.be32(abi::NFTA_VERDICT_CODE, code);
                if let Some(chain) = chain {
                    a.text(abi::NFTA_VERDICT_CHAIN, chain);
                }
            });
        });
    });
}
