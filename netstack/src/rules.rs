//! The instance's nftables table, as data. A constant base of chains, sets and
//! maps; whatever is particular to a bridge or a container is an element, so the
//! cost of a packet or of a change does not depend on how many there are.
//!
//! ```text
//! prerouting ─raw─► fence: 127/8 on the wire is dropped
//! prerouting ─nat─► to a local address? ─► published: maps ─► dnat
//! output ─────nat─► from or to ::1, from fe80::/10? left to the relay; to a local address? ─► published
//! forward: established · between strangers (if fenced) · internal networks · not to our
//!          bridges · dnat'ed · who may talk · open ports · links · unprotected · else drop
//! postrouting: leaving masqueraded bridges, hairpin, from 127/8: masquerade
//! ```
//!
//! Neighbours are left alone: every verdict concerns our own bridges, addresses
//! of this host, or 127/8 on the wire. Pure: nothing here is sent.

mod base;
mod egress;

use std::collections::BTreeSet;
use std::net::IpAddr;

pub(crate) use self::base::egress::{LISTS, NOT_LISTED};
use self::base::sets::*;
pub(crate) use self::base::{BASE, Part};
pub(crate) use self::egress::*;
use crate::network::GatewayMode;
use crate::plan::{BridgePlan, BridgeRules, NetworkPlan, NetworkUndo, Passage, Publishing};
use crate::ports::{Protocol, PublishedPort};
use crate::wire::abi::{NFPROTO_IPV4, NFPROTO_IPV6};
use crate::wire::nft::Element;

/// An element and the set it belongs to.
pub(crate) type Entry = (&'static str, Element);

/// What the base must know of a bridge.
pub(crate) fn bridge_entries(bridge: &BridgePlan) -> Vec<Entry> {
    let BridgeRules { internal, icc, masquerade, ref trusted, .. } = bridge.policy;
    let name = interface_key(&bridge.interface);
    let plain = |key: Vec<u8>| Element { key, ..Element::default() };
    let mut entries =
        vec![(BRIDGES.name, plain(name.to_vec())), (WITHIN.name, plain([name, name].concat()))];
    if icc {
        entries.push((TALK.name, plain([name, name].concat())));
    }
    if internal {
        entries.push((INTERNAL.name, plain(name.to_vec())));
        return entries;
    }
    for from in trusted {
        entries.push((TALK.name, plain([interface_key(from), name].concat())));
    }
    let families = [
        (Some(pair(bridge.address4)), MASQUERADED4, UNPROTECTED4, ROUTED4, HAIRPIN4),
        (bridge.address6.map(pair), MASQUERADED6, UNPROTECTED6, ROUTED6, HAIRPIN6),
    ];
    for (address, masqueraded, unprotected, routed, hairpin) in families {
        let Some((address, prefix)) = address else { continue };
        let mode = bridge.policy.mode(address.is_ipv6());
        if masquerade && mode != GatewayMode::Routed {
            entries.push((masqueraded.name, plain(name.to_vec())));
        }
        match mode {
            GatewayMode::Nat | GatewayMode::Isolated => {}
            GatewayMode::NatUnprotected => {
                entries.push((unprotected.name, plain(name.to_vec())));
            }
            GatewayMode::Routed => entries.push((routed.name, plain(name.to_vec()))),
        }
        entries.push((hairpin.name, range(address, prefix, name)));
    }
    entries
}

fn pair<T: Into<IpAddr>>((address, prefix): (T, u8)) -> (IpAddr, u8) {
    (address.into(), prefix)
}

/// That this host forwards a family for containers only.
pub(crate) fn fence_entry(ipv6: bool) -> Entry {
    let family = if ipv6 { NFPROTO_IPV6 } else { NFPROTO_IPV4 };
    (FENCED.name, Element { key: vec![family], ..Element::default() })
}

/// Whether it is a link's: who is linked is not recorded with the networks.
pub(crate) fn is_link(entry: &Entry) -> bool {
    entry.0 == LINKS4.name || entry.0 == LINKS6.name
}

/// Every set and map there may be.
pub(crate) fn set_names() -> impl Iterator<Item = &'static str> {
    SETS.iter().map(|set| set.name).chain(list_sets())
}

/// What a link opens; `None` between addresses of two families.
pub(crate) fn passage_entry(passage: &Passage, comment: &str) -> Option<Entry> {
    let Passage { from, to, protocol, port } = *passage;
    let set = match (from, to) {
        (IpAddr::V4(_), IpAddr::V4(_)) => LINKS4,
        (IpAddr::V6(_), IpAddr::V6(_)) => LINKS6,
        _ => return None,
    };
    let mut key = octets(from);
    key.extend(octets(to));
    key.extend(port_key(protocol, port));
    Some((set.name, Element { key, comment: Some(comment.to_owned()), ..Element::default() }))
}

/// An interface name as the kernel compares it: 16 bytes, filled up with NUL.
pub(crate) fn interface_key(name: &str) -> [u8; 16] {
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

/// A protocol and a port, as parts of a key.
fn port_key(protocol: Protocol, port: u16) -> [u8; 8] {
    let [a, b, c, d] = port_word(port);
    [protocol_number(protocol), 0, 0, 0, a, b, c, d]
}

/// The elements of one published port; none when the container has no address of
/// the host address's family, because the kernel cannot translate between them.
fn entries_of(undo: &NetworkUndo, port: &PublishedPort, comment: &str) -> Vec<Entry> {
    let Some(target) = undo.target(port.host_ip) else { return Vec::new() };
    let Publishing { translated, open } = undo.publishing(port);
    let comment = Some(comment.to_owned());
    let mut entries = Vec::new();
    if translated {
        let any = port.host_ip.is_unspecified();
        let set = match (port.host_ip, any) {
            (IpAddr::V4(_), true) => ANY4,
            (IpAddr::V4(_), false) => ADDR4,
            (IpAddr::V6(_), true) => ANY6,
            (IpAddr::V6(_), false) => ADDR6,
        };
        let mut key = if any { Vec::new() } else { octets(port.host_ip) };
        key.extend(port_key(port.protocol, port.host_port));
        let mut data = octets(target);
        data.extend_from_slice(&port_word(port.container_port));
        let (data, comment) = (Some(data), comment.clone());
        entries.push((set.name, Element { key, data, comment, ..Element::default() }));
    }
    if open {
        let set = if target.is_ipv4() { OPEN4 } else { OPEN6 };
        let mut key = octets(target);
        key.extend(port_key(port.protocol, port.container_port));
        entries.push((set.name, Element { key, comment, ..Element::default() }));
    }
    entries
}

/// What `nft list ruleset` shows beside a container's ports.
pub(crate) fn comment(plan: &NetworkPlan) -> String {
    // The id comes first: a long name is cut, the id tells whose element it is.
    format!("{} {}", plan.owner.short(), plan.owner_name)
}

/// The elements of published ports, each with the place of its port in the list
/// and each once: two host ports may lead to one open port of the container.
pub(crate) fn port_entries(
    undo: &NetworkUndo,
    ports: &[PublishedPort],
    comment: &str,
) -> Vec<(usize, Entry)> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::with_capacity(ports.len());
    for (place, port) in ports.iter().enumerate() {
        for entry in entries_of(undo, port, comment) {
            // What translates is there once by its claim.
            let shared = entry.1.data.is_none();
            if !shared || seen.insert((entry.0, entry.1.key.clone())) {
                all.push((place, entry));
            }
        }
    }
    all
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
