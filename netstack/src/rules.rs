//! The instance's nftables table, as data. A constant base of chains, sets and
//! maps; whatever is particular to a bridge or a container is an element, so the
//! cost of a packet or of a change does not depend on how many there are.
//!
//! ```text
//! prerouting ─raw─► fence: 127/8 on the wire is dropped
//! prerouting ─nat─► to a local address? ─► published: maps ─► dnat
//! output ─────nat─► from or to ::1, from fe80::/10? left to the relay; to a local address? ─► published
//! forward: established · not to our bridges · dnat'ed · same bridge · else drop
//! postrouting: leaving our bridges, hairpin, from 127/8: masquerade
//! ```
//!
//! Neighbours are left alone: every verdict concerns our own bridges, addresses
//! of this host, or 127/8 on the wire. Pure: nothing here is sent.

mod base;

use std::net::IpAddr;

use self::base::{ADDR4, ADDR6, ANY4, ANY6, BRIDGES, HAIRPIN4, HAIRPIN6, TALK};
pub(crate) use self::base::{MARK_PREFIX, chain_uses, declare, mark};
use crate::plan::{BridgePlan, NetworkPlan, NetworkUndo};
use crate::ports::{Protocol, PublishedPort};
use crate::wire::nft::Element;

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
}
