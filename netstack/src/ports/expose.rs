//! Exposed ports: `--expose`, an image's `ExposedPorts`, and `-P`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{PortError, PortSpec, Protocol, port_range, split_protocol};

/// One port of a container, `80/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerPort {
    /// Never 0.
    pub port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
}

impl fmt::Display for ContainerPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

impl FromStr for ContainerPort {
    type Err = PortError;
    /// `80`, `80/udp`: one port, as `rcnt port NAME 80/udp` takes it.
    fn from_str(s: &str) -> Result<Self, PortError> {
        let (text, protocol) = split_protocol(s)?;
        match port_range(text) {
            Some((port, last)) if port > 0 && port == last => Ok(Self { port, protocol }),
            _ => Err(PortError::ContainerPort(text.to_owned())),
        }
    }
}

impl TryFrom<String> for ContainerPort {
    type Error = PortError;
    fn try_from(s: String) -> Result<Self, PortError> {
        s.parse()
    }
}

impl From<ContainerPort> for String {
    fn from(port: ContainerPort) -> String {
        port.to_string()
    }
}

/// One `--expose`, or one key of an image's `ExposedPorts`: `80`, `80/udp`, `8000-8010/tcp`.
///
/// # Errors
/// docker's words for a host part, a bad protocol or no range.
pub fn parse_expose(s: &str) -> Result<Vec<ContainerPort>, PortError> {
    if s.contains(':') {
        return Err(PortError::Expose(s.to_owned()));
    }
    let (text, protocol) = split_protocol(s)?;
    let (first, last) = port_range(text)
        .filter(|(first, _)| *first > 0)
        .ok_or_else(|| PortError::ExposeRange(s.to_owned()))?;
    Ok((first..=last).map(|port| ContainerPort { port, protocol }).collect())
}

/// `-P`: `specs`, and an ephemeral host port for each exposed port that they leave out.
pub fn publish_all(specs: &[PortSpec], exposed: &BTreeSet<ContainerPort>) -> Vec<PortSpec> {
    let published = |port: &ContainerPort| {
        specs.iter().any(|spec| {
            spec.protocol == port.protocol
                && (spec.container_ports.0..=spec.container_ports.1).contains(&port.port)
        })
    };
    let ephemeral = exposed.iter().filter(|port| !published(port)).map(|port| PortSpec {
        host_ip: None,
        host_ports: None,
        container_ports: (port.port, port.port),
        protocol: port.protocol,
    });
    specs.iter().cloned().chain(ephemeral).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expose_takes_ports_and_ranges() {
        let text = |s: &str| {
            let ports = parse_expose(s).unwrap();
            ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(text("80"), "80/tcp");
        assert_eq!(text("53/UDP"), "53/udp");
        assert_eq!(text("80-82/sctp"), "80/sctp 81/sctp 82/sctp");
        assert_eq!(parse_expose("1-65535").unwrap().len(), 65535);
    }

    #[test]
    fn expose_refuses_in_dockers_words() {
        for (text, want) in [
            ("8080:80", "invalid port format for --expose: 8080:80"),
            ("abc", "invalid range format for --expose: abc"),
            ("", "invalid range format for --expose: "),
            ("0", "invalid range format for --expose: 0"),
            ("90-80", "invalid range format for --expose: 90-80"),
            ("80/x", "invalid proto: x"),
        ] {
            assert_eq!(parse_expose(text).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn publish_all_adds_what_is_exposed_and_not_yet_published() {
        let specs: Vec<PortSpec> = vec!["8080:80".parse().unwrap()];
        let exposed = ["80/tcp", "80/udp", "443/tcp"].map(|s| s.parse().unwrap()).into();
        let all: Vec<String> =
            publish_all(&specs, &exposed).iter().map(ToString::to_string).collect();
        assert_eq!(all, ["8080:80/tcp", "80/udp", "443/tcp"]);
    }

    #[test]
    fn an_exposed_port_is_its_text_in_json() {
        let port: ContainerPort = "80".parse().unwrap();
        assert_eq!(serde_json::to_string(&port).unwrap(), "\"80/tcp\"");
        assert!("80-81".parse::<ContainerPort>().is_err());
    }
}
