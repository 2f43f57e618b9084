//! Tests of the link-layer header, and of bytes at given places.

use super::super::bytes::{Comparison, Load, Relation};
use super::*;

/// Bytes before ICMPv6 and other transports over IPv6 without extension headers.
const AFTER_IP6: u32 = IP6_PAYLOAD;
/// EtherTypes of a tag in the frame: 802.1Q, 802.1ad.
const TAGGED: [u32; 2] = [0x8100, 0x88a8];
const TAG: u32 = 14;
/// A tag that the kernel has taken out of the frame, and whether there is one
/// (SKF_AD_VLAN_TAG, SKF_AD_VLAN_TAG_PRESENT).
pub(super) const TAKEN_TAG: u32 = 0xffff_f000 + 44;
pub(super) const HAS_TAKEN_TAG: u32 = 0xffff_f000 + 48;
/// The identifier's bits in a tag.
const IDENTIFIER: u32 = 0xfff;
/// Destination and source address: two bytes, then four.
const MAC: (u32, u32) = (6, 0);

impl Assembly {
    pub(super) fn ether(&mut self, direction: Direction, mac: [u8; 6], ways: Ways) {
        let [a, b, c, d, e, f] = mac.map(u32::from);
        let (high, low) = (a << 8 | b, c << 24 | d << 16 | e << 8 | f);
        self.ends(direction, ways, |assembly, source, (yes, no)| {
            let at = if source { MAC.0 } else { MAC.1 };
            let [next] = assembly.places();
            assembly.add(LOAD_WORD, at + 2);
            assembly.jump(EQUAL, low, (next, no));
            assembly.place(next);
            assembly.add(LOAD_HALF, at);
            assembly.jump(EQUAL, high, (yes, no));
        });
    }

    pub(super) fn vlan(&mut self, wanted: Option<u16>, (yes, no): Ways) {
        let [in_frame, taken, tagged, other] = self.places();
        self.add(LOAD_WORD, HAS_TAKEN_TAG);
        self.jump(EQUAL, 0, (in_frame, taken));
        self.place(taken);
        self.add(LOAD_WORD, TAKEN_TAG);
        self.identifier(wanted, (yes, no));
        self.place(in_frame);
        self.add(LOAD_HALF, ETHERTYPE);
        self.jump(EQUAL, TAGGED[0], (tagged, other));
        self.place(other);
        self.jump(EQUAL, TAGGED[1], (tagged, no));
        self.place(tagged);
        self.add(LOAD_HALF, TAG);
        self.identifier(wanted, (yes, no));
    }

    fn identifier(&mut self, wanted: Option<u16>, (yes, no): Ways) {
        match wanted {
            None => self.jump(GREATER_EQUAL, 0, (yes, yes)),
            Some(wanted) => {
                self.add(AND, IDENTIFIER);
                self.jump(EQUAL, wanted.into(), (yes, no));
            }
        }
    }

    pub(super) fn bytes(&mut self, comparison: &Comparison, ways: Ways) {
        let (offset, size, of) = match comparison.load {
            Load::Length => {
                self.add(LOAD_LENGTH, 0);
                return self.compare(comparison, ways);
            }
            Load::Bytes { of, offset, size } => (offset, size, of),
        };
        let (word, word_after_x) = match size {
            1 => (LOAD_BYTE, LOAD_BYTE_AFTER_X),
            2 => (LOAD_HALF, LOAD_HALF_AFTER_X),
            _ => (LOAD_WORD, LOAD_WORD_AFTER_X),
        };
        let network = |protocol| match protocol {
            Protocol::Ip => Some(IPV4),
            Protocol::Ip6 => Some(IPV6),
            Protocol::Arp => Some(ARP),
            _ => None,
        };
        let Some(protocol) = of else {
            self.add(word, offset);
            return self.compare(comparison, ways);
        };
        if let Some(ethertype) = network(protocol) {
            self.only(ethertype, ways.1);
            self.add(word, IP4 + offset);
            return self.compare(comparison, ways);
        }
        let (four, six) = numbers(protocol);
        let [not_six, there6, whole, there4] = self.places();
        self.only(IPV6, not_six);
        self.header_byte(IP6_NEXT, six, (there6, ways.1));
        self.place(there6);
        self.add(word, AFTER_IP6 + offset);
        self.compare(comparison, ways);
        self.place(not_six);
        self.only(IPV4, ways.1);
        self.header_byte(IP4_PROTOCOL, four, (whole, ways.1));
        self.place(whole);
        // Later fragments have no transport header.
        self.add(LOAD_HALF, IP4_FRAGMENT);
        self.jump(ANY_BIT, 0x1fff, (ways.1, there4));
        self.place(there4);
        self.add(LOAD_X_HEADER, IP4);
        self.add(word_after_x, IP4 + offset);
        self.compare(comparison, ways);
    }

    /// What was loaded, against the number.
    fn compare(&mut self, comparison: &Comparison, (yes, no): Ways) {
        let Comparison { load: _, mask, relation, value } = *comparison;
        if let Some(mask) = mask {
            self.add(AND, mask);
        }
        match relation {
            Relation::Equal => self.jump(EQUAL, value, (yes, no)),
            Relation::NotEqual => self.jump(EQUAL, value, (no, yes)),
            Relation::Less => self.jump(GREATER_EQUAL, value, (no, yes)),
            Relation::LessEqual => self.jump(GREATER, value, (no, yes)),
            Relation::Greater => self.jump(GREATER, value, (yes, no)),
            Relation::GreaterEqual => self.jump(GREATER_EQUAL, value, (yes, no)),
        }
    }
}
