//! `-p` as typed: parsing, printing, and what several of them come to together.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{PortError, Protocol, port_range, split_protocol};

/// One `-p` as typed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortSpec {
    /// The host address asked for; `None`: the network's default, which is every address.
    pub host_ip: Option<IpAddr>,
    /// First and last host port; `None`: an ephemeral port for each container port. More host
    /// ports than the one container port: any one of them that is free.
    pub host_ports: Option<(u16, u16)>,
    /// First and last container port, never 0.
    pub container_ports: (u16, u16),
    /// TCP unless said otherwise.
    pub protocol: Protocol,
}

impl PortSpec {
    /// Whether each container port has a host port of its own, decided already;
    /// not so for ephemeral ports and "any one of this range".
    pub fn is_fixed(&self) -> bool {
        self.host_ports.is_some_and(|host| span(host) == span(self.container_ports))
    }

    /// How many ports get published.
    pub fn len(&self) -> usize {
        usize::from(span(self.container_ports)) + 1
    }

    /// Never: a spec is at least one port.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Whether both want a host port in common on a common address, for certain.
    fn collides(&self, other: &Self) -> bool {
        let (Some(a), Some(b)) = (self.host_ports, other.host_ports) else { return false };
        self.is_fixed()
            && other.is_fixed()
            && self.protocol == other.protocol
            && a.0 <= b.1
            && b.0 <= a.1
            && addresses_meet(self.host_ip, other.host_ip)
    }
}

fn span(range: (u16, u16)) -> u16 {
    range.1.saturating_sub(range.0)
}

/// `None` is every address of both families, unspecified is every address of its own.
fn addresses_meet(a: Option<IpAddr>, b: Option<IpAddr>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return true };
    a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
}

/// Several `-p` as one list: equal ones once, order kept.
///
/// # Errors
/// [`PortError::Conflict`] when two of them can never be had together.
pub fn merge(specs: impl IntoIterator<Item = PortSpec>) -> Result<Vec<PortSpec>, PortError> {
    let mut merged: Vec<PortSpec> = Vec::new();
    for spec in specs {
        if spec.is_fixed() && merged.contains(&spec) {
            continue;
        }
        if let Some(first) = merged.iter().find(|m| m.collides(&spec)) {
            return Err(PortError::Conflict { first: first.clone(), second: spec });
        }
        merged.push(spec);
    }
    Ok(merged)
}

impl FromStr for PortSpec {
    type Err = PortError;

    /// `[[ip:][hostPort]:]containerPort[/protocol]`, ports may be ranges; or docker's long form
    /// `published=8080,target=80,protocol=tcp`.
    fn from_str(s: &str) -> Result<Self, PortError> {
        if s.contains('=') {
            return long_form(s)?.parse();
        }
        let (front, container) = s.rsplit_once(':').unwrap_or(("", s));
        // The last colon of the front ends the address: addresses may have colons of their own.
        let (ip, host) = front.rsplit_once(':').unwrap_or(("", front));
        let (port, protocol) = split_protocol(container)?;
        if port.is_empty() {
            return Err(PortError::NoPort(s.to_owned()));
        }
        let container_ports = port_range(port)
            .filter(|(first, _)| *first > 0)
            .ok_or_else(|| PortError::ContainerPort(port.to_owned()))?;
        let host_ports = parse_host_ports(host)?;
        if let Some(range) = host_ports
            && span(range) != span(container_ports)
            && span(container_ports) != 0
        {
            return Err(PortError::Ranges { container: port.into(), host: host.into() });
        }
        Ok(Self { host_ip: parse_host_ip(ip)?, host_ports, container_ports, protocol })
    }
}

/// Empty and `0` leave the choice to the kernel.
fn parse_host_ports(host: &str) -> Result<Option<(u16, u16)>, PortError> {
    if host.is_empty() {
        return Ok(None);
    }
    match port_range(host) {
        Some((0, 0)) => Ok(None),
        Some(range) if range.0 > 0 => Ok(Some(range)),
        _ => Err(PortError::HostPort(host.to_owned())),
    }
}

fn parse_host_ip(ip: &str) -> Result<Option<IpAddr>, PortError> {
    if ip.is_empty() {
        return Ok(None);
    }
    let bracketed = ip.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let parsed = match bracketed {
        Some(inner) => inner.parse::<Ipv6Addr>().map(IpAddr::V6).ok(),
        None => ip.parse::<IpAddr>().ok(),
    };
    // ::ffff:192.0.2.1 is an IPv4 address in IPv6's clothes.
    parsed
        .map(|ip| Some(ip.to_canonical()))
        .ok_or_else(|| PortError::Address(bracketed.unwrap_or(ip).to_owned()))
}

/// `published=8080,target=80,protocol=tcp[,mode=…]` as `8080:80/tcp`.
fn long_form(s: &str) -> Result<String, PortError> {
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for part in s.split(',') {
        let (name, value) =
            part.split_once('=').ok_or_else(|| PortError::LongForm(part.to_owned()))?;
        // A second '=' would come back here for ever.
        if value.contains('=') {
            return Err(PortError::LongForm(part.to_owned()));
        }
        match name {
            "published" => published = value,
            "target" => target = value,
            "protocol" => protocol = value,
            // Swarm's ingress or host; one host has only the latter.
            "mode" => {}
            _ => return Err(PortError::LongFormName(name.to_owned())),
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

struct Range((u16, u16));

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.0;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            None => {}
        }
        match self.host_ports {
            Some(range) => write!(f, "{}:", Range(range))?,
            None if self.host_ip.is_some() => f.write_str(":")?,
            None => {}
        }
        write!(f, "{}/{}", Range(self.container_ports), self.protocol)
    }
}

impl TryFrom<String> for PortSpec {
    type Error = PortError;
    fn try_from(s: String) -> Result<Self, PortError> {
        s.parse()
    }
}

impl From<PortSpec> for String {
    fn from(spec: PortSpec) -> String {
        spec.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(s: &str) -> PortSpec {
        s.parse().unwrap_or_else(|e| panic!("{s}: {e}"))
    }

    fn spec(ip: Option<&str>, host: Option<(u16, u16)>, container: (u16, u16)) -> PortSpec {
        PortSpec {
            host_ip: ip.map(|ip| ip.parse().unwrap()),
            host_ports: host,
            container_ports: container,
            protocol: Protocol::Tcp,
        }
    }

    #[test]
    fn every_form_docker_takes_is_taken() {
        let one = (80, 80);
        for (text, want) in [
            ("80", spec(None, None, one)),
            (":80", spec(None, None, one)),
            ("::80", spec(None, None, one)),
            ("0:80", spec(None, None, one)),
            ("0-0:80", spec(None, None, one)),
            ("80/", spec(None, None, one)),
            ("8080:80", spec(None, Some((8080, 8080)), one)),
            ("8080:80/TCP", spec(None, Some((8080, 8080)), one)),
            ("192.0.2.1:8080:80", spec(Some("192.0.2.1"), Some((8080, 8080)), one)),
            ("192.0.2.1::80", spec(Some("192.0.2.1"), None, one)),
            ("192.0.2.1:0:80", spec(Some("192.0.2.1"), None, one)),
            ("[::1]:8080:80", spec(Some("::1"), Some((8080, 8080)), one)),
            ("[::1]::80", spec(Some("::1"), None, one)),
            ("::1:8080:80", spec(Some("::1"), Some((8080, 8080)), one)),
            ("[2001:db8::a]:8080:80", spec(Some("2001:db8::a"), Some((8080, 8080)), one)),
            ("[::ffff:192.0.2.1]:1:80", spec(Some("192.0.2.1"), Some((1, 1)), one)),
            ("8000-8100:80", spec(None, Some((8000, 8100)), one)),
            ("8000-8010:80-90", spec(None, Some((8000, 8010)), (80, 90))),
            ("80-90", spec(None, None, (80, 90))),
            ("1-65535:1-65535", spec(None, Some((1, 65535)), (1, 65535))),
            ("published=8080,target=80", spec(None, Some((8080, 8080)), one)),
            ("target=80,mode=host,protocol=tcp", spec(None, None, one)),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
        assert_eq!(parse("53:53/udp").protocol, Protocol::Udp);
        assert_eq!(parse("53:53/SCTP").protocol, Protocol::Sctp);
    }

    #[test]
    fn errors_are_in_dockers_words() {
        for (text, want) in [
            ("65536:80", "invalid hostPort: 65536"),
            ("80:abc", "invalid containerPort: abc"),
            ("80:0", "invalid containerPort: 0"),
            ("0", "invalid containerPort: 0"),
            ("80:65536", "invalid containerPort: 65536"),
            ("+80:80", "invalid hostPort: +80"),
            ("-1:80", "invalid hostPort: -1"),
            ("9-8:80", "invalid hostPort: 9-8"),
            ("0-5:80", "invalid hostPort: 0-5"),
            ("8080:90-80", "invalid containerPort: 90-80"),
            ("8080:0-3", "invalid containerPort: 0-3"),
            ("127.0.0.1:80", "invalid hostPort: 127.0.0.1"),
            ("localhost:80:80", "invalid IP address: localhost"),
            ("127.0.0.256:80:80", "invalid IP address: 127.0.0.256"),
            ("[127.0.0.1]:80:80", "invalid IP address: 127.0.0.1"),
            ("[::1:80:80", "invalid IP address: [::1"),
            ("[fe80::1%eth0]:80:80", "invalid IP address: fe80::1%eth0"),
            ("", "no port specified: <empty>"),
            (":", "no port specified: :<empty>"),
            ("80:", "no port specified: 80:<empty>"),
            ("80/icmp", "invalid proto: icmp"),
            ("80/tcp/udp", "invalid proto: tcp/udp"),
            (
                "8000-8003:80-81",
                "invalid ranges specified for container and host Ports: 80-81 and 8000-8003",
            ),
            ("8000:80-81", "invalid ranges specified for container and host Ports: 80-81 and 8000"),
            ("target=80,x", "invalid publish opts format (should be name=value but got 'x')"),
            ("80 ", "invalid containerPort: 80 "),
            ("٨٠", "invalid containerPort: ٨٠"),
        ] {
            match text.parse::<PortSpec>() {
                Ok(got) => panic!("{text:?} gave {got:?}"),
                Err(e) => assert_eq!(e.to_string(), want, "{text:?}"),
            }
        }
    }

    #[test]
    fn equal_wishes_merge_and_contradictions_are_refused() {
        let merged = |list: &[&str]| merge(list.iter().map(|s| parse(s)));
        assert_eq!(merged(&["8080:80", "8080:80/tcp", "8080:80/udp"]).unwrap().len(), 2);
        // Two ephemeral ports for one container port are two wishes.
        assert_eq!(merged(&["80", "80"]).unwrap().len(), 2);
        for fine in [
            ["127.0.0.1:80:80", "127.0.0.2:80:80"],
            ["0.0.0.0:80:80", "[::]:80:81"],
            ["80:80", "81:80"],
            ["80:80/tcp", "80:81/udp"],
            ["8000-8010:80", "8000:81"],
        ] {
            assert!(merged(&fine).is_ok(), "{fine:?}");
        }
        for bad in [
            ["8080:80", "8080:81"],
            ["8080:80", "127.0.0.1:8080:80"],
            ["0.0.0.0:8080:80", "127.0.0.1:8080:80"],
            ["8000-8010:80-90", "8005:70"],
            ["[::]:1:1", "[::1]:1:2"],
        ] {
            assert!(matches!(merged(&bad), Err(PortError::Conflict { .. })), "{bad:?}");
        }
    }

    pub(crate) fn any_spec() -> impl Strategy<Value = PortSpec> {
        let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)];
        let ports = (1u16..=65535, 0u16..50, any::<bool>(), 0u16..50);
        (any::<Option<IpAddr>>(), any::<Option<u16>>(), ports, protocol).prop_map(
            |(ip, host, (container, len, pick, more), protocol)| {
                let last = container.saturating_add(len);
                let container_ports = if pick { (container, container) } else { (container, last) };
                let wide = if pick { more } else { span(container_ports) };
                let host_ports = host.map(|h| h.clamp(1, 65535 - wide)).map(|h| (h, h + wide));
                PortSpec {
                    host_ip: ip.map(|ip| ip.to_canonical()),
                    host_ports,
                    container_ports,
                    protocol,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_to_itself(spec in any_spec()) {
            prop_assert_eq!(spec.to_string().parse::<PortSpec>().unwrap(), spec.clone());
            let json = serde_json::to_string(&spec).unwrap();
            prop_assert_eq!(serde_json::from_str::<PortSpec>(&json).unwrap(), spec);
        }

        #[test]
        fn no_text_panics(s in "\\PC{0,40}", t in "[0-9:\\-\\[\\]/a-f=,.]{0,30}") {
            for text in [s, t] {
                if let Ok(spec) = text.parse::<PortSpec>() {
                    prop_assert!(spec.container_ports.0 >= 1);
                    prop_assert!(spec.container_ports.0 <= spec.container_ports.1);
                    prop_assert_eq!(spec.to_string().parse::<PortSpec>().unwrap(), spec);
                }
            }
        }
    }
}
