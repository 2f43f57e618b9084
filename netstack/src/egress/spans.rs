//! Address ranges with what may be reached at them, made disjoint: a set of the
//! kernel's takes no two ranges that overlap.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Ports;
use crate::cidr::IpNet;

/// Addresses from the first to the last, all of which may be reached in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// First address.
    pub(crate) first: IpAddr,
    /// Last address, of the same family.
    pub(crate) last: IpAddr,
    /// `None`: by every protocol.
    pub(crate) ports: Option<Ports>,
}

impl Span {
    /// All addresses of a block.
    pub(crate) fn of((block, ports): (IpNet, Option<Ports>)) -> Self {
        let (first, last) = match block {
            IpNet::V4(block) => (block.network().into(), block.last().into()),
            IpNet::V6(block) => (block.network().into(), block.last().into()),
        };
        Self { first, last, ports }
    }
}

/// The same, with no address and port in two of them. All are of one family.
pub(crate) fn disjoint(wanted: &[Span]) -> Vec<Span> {
    let mut starts = BTreeSet::new();
    for Span { first, last, .. } in wanted {
        starts.insert(number(*first));
        starts.extend(number(*last).checked_add(1));
    }
    // (first, last, services) in order, where there are any.
    let mut segments: Vec<(u128, u128, Vec<Option<Ports>>)> = Vec::new();
    let starts: Vec<u128> = starts.into_iter().collect();
    for (n, start) in starts.iter().enumerate() {
        let covering = wanted.iter().filter(|b| (number(b.first)..=number(b.last)).contains(start));
        let services = merged(covering.map(|b| b.ports).collect());
        if services.is_empty() {
            continue;
        }
        let end = starts.get(n + 1).map_or(u128::MAX, |next| next - 1);
        match segments.last_mut() {
            Some((_, last, same)) if last.checked_add(1) == Some(*start) && *same == services => {
                *last = end;
            }
            _ => segments.push((*start, end, services)),
        }
    }
    let ipv6 = wanted.iter().any(|b| b.first.is_ipv6());
    let one = |(first, last, services): (u128, u128, Vec<Option<Ports>>)| {
        let (first, last) = (address(first, ipv6), address(last, ipv6));
        services.into_iter().map(move |ports| Span { first, last, ports })
    };
    segments.into_iter().flat_map(one).collect()
}

/// Everything once: all there is, or ranges of ports that do not touch.
fn merged(services: Vec<Option<Ports>>) -> Vec<Option<Ports>> {
    if services.contains(&None) {
        return vec![None];
    }
    let mut ports: Vec<Ports> = services.into_iter().flatten().collect();
    ports.sort_unstable();
    let mut merged: Vec<Ports> = Vec::new();
    for next in ports {
        match merged.last_mut() {
            Some(range) if touches(*range, next) => range.last = range.last.max(next.last),
            _ => merged.push(next),
        }
    }
    merged.into_iter().map(Some).collect()
}

/// Of one protocol, and nothing in between; `next` does not begin first.
fn touches(range: Ports, next: Ports) -> bool {
    range.protocol == next.protocol && u32::from(next.first) <= u32::from(range.last) + 1
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

fn address(number: u128, ipv6: bool) -> IpAddr {
    match u32::try_from(number) {
        Ok(small) if !ipv6 => Ipv4Addr::from(small).into(),
        // One past the last of IPv4 begins nothing.
        Err(_) if !ipv6 => Ipv4Addr::BROADCAST.into(),
        _ => Ipv6Addr::from(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Protocol;
    use proptest::prelude::*;

    fn holds(all: &[Span], at: IpAddr, protocol: Protocol, port: u16) -> usize {
        let here = |b: &&Span| {
            (b.first..=b.last).contains(&at)
                && b.ports
                    .is_none_or(|p| p.protocol == protocol && (p.first..=p.last).contains(&port))
        };
        all.iter().filter(here).count()
    }

    fn one() -> impl Strategy<Value = Span> {
        // Small, so that they overlap.
        let end = prop_oneof![0u8..20, 236u8..=255];
        let ports = proptest::option::of((any::<bool>(), 1u16..12, 0u16..6));
        (end.clone(), end, ports).prop_map(|(a, b, ports)| {
            let ip = |n: u8| {
                let high = if n > 200 { 255 } else { 0 };
                IpAddr::from([high, high, high, n])
            };
            let (first, last) = (ip(a).min(ip(b)), ip(a).max(ip(b)));
            let ports = ports.map(|(udp, first, more)| Ports {
                protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
                first,
                last: first + more,
            });
            Span { first, last, ports }
        })
    }

    proptest! {
        #[test]
        fn disjoint_spans_hold_what_the_wanted_hold(wanted in proptest::collection::vec(one(), 0..6)) {
            let made = disjoint(&wanted);
            for last in (0u8..22).chain(234..=255) {
                for high in [0u8, 255] {
                    let at = IpAddr::from([high, high, high, last]);
                    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
                        for port in 0..20 {
                            let (want, have) = (holds(&wanted, at, protocol, port), holds(&made, at, protocol, port));
                            prop_assert_eq!(have, usize::from(want > 0), "{} {} {}", at, protocol, port);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_ends_of_both_families_are_reached() {
        for block in ["0.0.0.0/0", "255.255.255.255/32", "::/0"] {
            let rule: super::super::EgressRule = block.parse().unwrap();
            let super::super::Target::Block(block) = rule.target else { panic!() };
            let all = disjoint(&[Span::of((block, None))]);
            assert_eq!(all, [Span::of((block, None))]);
        }
    }
}
