//! The elements of containers with egress lists. Pure.

use std::net::IpAddr;

use super::base::egress::*;
use super::{Entry, interface_key, octets, port_key, port_word, protocol_number};
use crate::egress::{Span, disjoint};
use crate::plan::{NetworkPlan, NetworkUndo};
use crate::ports::Protocol;
use crate::wire::nft::Element;

/// A family's own of two.
fn of<T>(address: IpAddr, v4: T, v6: T) -> T {
    if address.is_ipv4() { v4 } else { v6 }
}

/// All that a list says in the table before anything has been learned about names:
/// whom it confines, and where to. Nothing of a container without a list.
pub(crate) fn list_entries(plan: &NetworkPlan, comment: &str) -> Vec<Entry> {
    let Some(list) = &plan.endpoint.egress else { return Vec::new() };
    let element =
        |key: Vec<u8>| Element { key, comment: Some(comment.to_owned()), ..Element::default() };
    let wire = interface_key(&plan.endpoint.host_interface);
    let mut entries = Vec::new();
    for source in plan.sources() {
        let confined = of(source, CONFINED4, CONFINED6);
        entries.push((confined.name, element(octets(source))));
        let own = of(source, OWN4, OWN6);
        entries.push((own.name, element([wire.to_vec(), octets(source)].concat())));
        let same = |span: &Span| span.first.is_ipv4() == source.is_ipv4();
        let blocks = list.blocks().map(Span::of).chain(neighbours(plan)).filter(same);
        for span in disjoint(&blocks.collect::<Vec<_>>()) {
            let set = of(source, EGRESS4, EGRESS6);
            let (key, key_end) = ends(source, &span);
            entries.push((set.name, Element { key_end: Some(key_end), ..element(key) }));
        }
    }
    entries
}

/// First and last key of a span.
fn ends(source: IpAddr, span: &Span) -> (Vec<u8>, Vec<u8>) {
    let key = |to, protocol: u8, port| {
        [octets(source), octets(to), vec![protocol, 0, 0, 0], port_word(port).to_vec()].concat()
    };
    let (low, high) = match span.ports {
        None => ((0, 0), (u8::MAX, u16::MAX)),
        Some(ports) => {
            let protocol = protocol_number(ports.protocol);
            ((protocol, ports.first), (protocol, ports.last))
        }
    };
    (key(span.first, low.0, low.1), key(span.last, high.0, high.1))
}

/// The container's own subnets but for the host's addresses and broadcasts: packets
/// within a bridge pass here where br_netfilter is loaded, and need not elsewhere.
fn neighbours(plan: &NetworkPlan) -> Vec<Span> {
    let Some(bridge) = plan.wire.bridge() else { return Vec::new() };
    let mut all = Vec::new();
    let (gateway, prefix) = bridge.address4;
    if let Some(block) = crate::cidr::Ipv4Net::new(gateway, prefix) {
        let (first, last, host) =
            (u32::from(block.network()), u32::from(block.last()), u32::from(gateway));
        let span = |first: u32, last: u32| {
            let (first, last): (std::net::Ipv4Addr, std::net::Ipv4Addr) =
                (first.into(), last.into());
            Span { first: first.into(), last: last.into(), ports: None }
        };
        if first + 1 < host {
            all.push(span(first + 1, host - 1));
        }
        if host.saturating_add(1) < last {
            all.push(span(host + 1, last - 1));
        }
    }
    if let Some((gateway, prefix)) = bridge.address6
        && let Some(block) = crate::cidr::Ipv6Net::new(gateway, prefix)
    {
        let (first, last, host) =
            (u128::from(block.network()), u128::from(block.last()), u128::from(gateway));
        let span = |first: u128, last: u128| {
            let (first, last): (std::net::Ipv6Addr, std::net::Ipv6Addr) =
                (first.into(), last.into());
            Span { first: first.into(), last: last.into(), ports: None }
        };
        if first < host {
            all.push(span(first, host - 1));
        }
        if host < last {
            all.push(span(host + 1, last));
        }
    }
    all
}

/// What the address of a name on the list opens, for so many milliseconds.
pub(crate) fn learned_entry(
    source: IpAddr,
    to: IpAddr,
    service: Option<(Protocol, u16)>,
    milliseconds: u64,
    comment: &str,
) -> Entry {
    let mut key = [octets(source), octets(to)].concat();
    let set = match service {
        None => of(source, HOSTS4, HOSTS6),
        Some((protocol, port)) => {
            key.extend(port_key(protocol, port));
            of(source, NAMED4, NAMED6)
        }
    };
    let comment = Some(comment.to_owned());
    (set.name, Element { key, comment, timeout: Some(milliseconds), ..Element::default() })
}

/// Whether an element is one of a list's, whosever.
pub(crate) fn is_of_list(entry: &Entry) -> bool {
    list_sets().any(|name| name == entry.0)
}

/// Whether it was learned from an answer, which nobody has written down.
pub(crate) fn is_learned(entry: &Entry) -> bool {
    [NAMED4, NAMED6, HOSTS4, HOSTS6].iter().any(|set| set.name == entry.0)
}

/// Every set of lists.
pub(crate) fn list_sets() -> impl Iterator<Item = &'static str> {
    SETS.iter().map(|set| set.name)
}

/// Whether an element is about a container with these addresses or this wire.
pub(crate) fn concerns(entry: &Entry, undo: &NetworkUndo) -> bool {
    let (set, element) = entry;
    let by_wire = *set == OWN4.name || *set == OWN6.name;
    if by_wire {
        return element.key.starts_with(&interface_key(&undo.host_interface));
    }
    let ipv6 = [CONFINED6, EGRESS6, NAMED6, HOSTS6].iter().any(|s| s.name == *set);
    let mut sources = undo.confined.iter().filter(|source| source.is_ipv6() == ipv6);
    is_of_list(entry) && sources.any(|source| element.key.starts_with(&octets(*source)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::{EgressList, Span};

    #[test]
    fn a_span_covers_every_protocol_or_one() {
        let list = EgressList::parse(&["10.0.0.0/8", "192.0.2.1:80-90/udp"]).unwrap();
        let spans: Vec<Span> = disjoint(&list.blocks().map(Span::of).collect::<Vec<_>>());
        let source = [10, 1, 0, 2].into();
        let (key, end) = ends(source, &spans[0]);
        assert_eq!(key, [10, 1, 0, 2, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(end, [10, 1, 0, 2, 10, 255, 255, 255, 255, 0, 0, 0, 255, 255, 0, 0]);
        let (key, end) = ends(source, &spans[1]);
        assert_eq!(key[8..], [17, 0, 0, 0, 0, 80, 0, 0]);
        assert_eq!(end[8..], [17, 0, 0, 0, 0, 90, 0, 0]);
    }
}
