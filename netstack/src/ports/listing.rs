//! The PORTS column of `ps`, as docker prints it, runs of ports merged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{ContainerPort, Protocol, PublishedPort};

/// A run of ports that go up together; without a host side they are exposed only.
struct Run {
    host: Option<(IpAddr, u16)>,
    first: u16,
    last: u16,
    protocol: Protocol,
}

impl Run {
    /// Takes in `port` if it is the next of this run.
    fn extend(&mut self, port: u16) -> bool {
        let next = self.last.checked_add(1) == Some(port);
        if next {
            self.last = port;
        }
        next
    }

    fn text(&self) -> String {
        let range = |first: u16, last: u16| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        };
        let container = range(self.first, self.last);
        let Self { host, protocol, .. } = self;
        match *host {
            None => format!("{container}/{protocol}"),
            Some((ip, first)) => {
                let host = range(first, first.saturating_add(self.last - self.first));
                let ip = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
                format!("{ip}:{host}->{container}/{protocol}")
            }
        }
    }
}

/// What only ports of one run have in common: the next of a run is looked for under this key.
type RunKey = (Option<(IpAddr, i32)>, Protocol);

/// `443/tcp, 0.0.0.0:8000-8002->80-82/tcp, [::]:8000-8002->80-82/tcp`. As docker does: first what
/// is exposed only or published under its own number, then the rest, each by container port; so
/// equal sets print alike.
pub fn listing(published: &[PublishedPort], exposed: &BTreeSet<ContainerPort>) -> String {
    let mut entries: Vec<(ContainerPort, Option<(IpAddr, u16)>)> =
        published.iter().map(|p| (p.container(), Some((p.host_ip, p.host_port)))).collect();
    let seen: BTreeSet<ContainerPort> = published.iter().map(PublishedPort::container).collect();
    entries.extend(exposed.difference(&seen).map(|port| (*port, None)));
    entries.sort_by_key(|(port, host)| (port.port, *host, port.protocol));
    entries.dedup();
    let mut runs: Vec<Run> = Vec::new();
    let mut latest: BTreeMap<RunKey, usize> = BTreeMap::new();
    for (port, host) in entries {
        let offset = host.map(|(ip, host)| (ip, i32::from(host) - i32::from(port.port)));
        let key = (offset, port.protocol);
        let run = latest.get(&key).and_then(|n| runs.get_mut(*n));
        if !run.is_some_and(|run| run.extend(port.port)) {
            latest.insert(key, runs.len());
            runs.push(Run { host, first: port.port, last: port.port, protocol: port.protocol });
        }
    }
    let (renumbered, plain): (Vec<_>, Vec<_>) =
        runs.iter().partition(|run| run.host.is_some_and(|(_, host)| host != run.first));
    let texts: Vec<String> = plain.into_iter().chain(renumbered).map(Run::text).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn published(ip: &str, host: u16, container: u16) -> PublishedPort {
        PublishedPort {
            protocol: Protocol::Tcp,
            host_ip: ip.parse().unwrap(),
            host_port: host,
            container_port: container,
        }
    }

    #[test]
    fn one_port_prints_as_docker_prints_it() {
        let port = published("0.0.0.0", 8080, 80);
        assert_eq!(port.to_string(), "0.0.0.0:8080->80/tcp");
        assert_eq!(published("::", 8080, 80).to_string(), "[::]:8080->80/tcp");
        let both = [port, published("::", 8080, 80)];
        assert_eq!(listing(&both, &BTreeSet::new()), "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp");
    }

    #[test]
    fn runs_of_ports_merge_per_address() {
        let mut ports = Vec::new();
        for n in 0..3 {
            ports.push(published("0.0.0.0", 8000 + n, 80 + n));
            ports.push(published("::", 8000 + n, 80 + n));
        }
        ports.push(published("127.0.0.1", 9000, 80));
        assert_eq!(
            listing(&ports, &BTreeSet::new()),
            "0.0.0.0:8000-8002->80-82/tcp, 127.0.0.1:9000->80/tcp, [::]:8000-8002->80-82/tcp"
        );
    }

    #[test]
    fn exposed_ports_and_equal_numbers_come_first() {
        let exposed = ["80/tcp", "443/tcp", "444/tcp", "53/udp"].map(|s| s.parse().unwrap()).into();
        assert_eq!(
            listing(&[published("0.0.0.0", 8080, 80)], &exposed),
            "53/udp, 443-444/tcp, 0.0.0.0:8080->80/tcp"
        );
        assert_eq!(
            listing(&[published("0.0.0.0", 8080, 80), published("0.0.0.0", 99, 99)], &exposed),
            "53/udp, 0.0.0.0:99->99/tcp, 443-444/tcp, 0.0.0.0:8080->80/tcp"
        );
        assert_eq!(listing(&[], &BTreeSet::new()), "");
    }

    #[test]
    fn the_same_container_port_twice_is_two_entries() {
        let ports = [published("0.0.0.0", 8080, 80), published("0.0.0.0", 8081, 80)];
        assert_eq!(listing(&ports, &BTreeSet::new()), "0.0.0.0:8080->80/tcp, 0.0.0.0:8081->80/tcp");
    }

    proptest! {
        #[test]
        fn the_order_of_ports_changes_nothing(
            mut hosts in proptest::collection::btree_set(1u16..40, 0..20),
        ) {
            let ports: Vec<_> = hosts.iter().map(|h| published("0.0.0.0", *h, *h)).collect();
            let mut back = ports.clone();
            back.reverse();
            let none = BTreeSet::new();
            prop_assert_eq!(listing(&ports, &none), listing(&back, &none));
            hosts.insert(0);
            let gaps = hosts.iter().filter(|h| **h > 0 && (**h == 1 || !hosts.contains(&(**h - 1)))).count();
            let text = listing(&ports, &none);
            prop_assert_eq!(text.split(", ").filter(|t| !t.is_empty()).count(), gaps);
        }
    }
}
