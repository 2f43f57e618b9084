//! Ports: what `-p`, `--expose` and `-P` say, what they come to, and how
//! docker prints it. Text in, values out; nothing here touches the host.
//!
//! - [`PortSpec`] one `-p` as typed, in every form docker takes
//! - [`ContainerPort`] one exposed port, `80/tcp`
//! - [`PublishedPort`] one port as decided by [`crate::claims`]
//! - [`listing()`] the PORTS column of `ps`
//!
//! The texts of errors are docker's where scripts look for them.

mod expose;
mod listing;
mod spec;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use expose::{ContainerPort, parse_expose, publish_all};
pub use listing::listing;
pub use spec::{PortSpec, merge};

/// A transport protocol whose ports can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, the default.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// `tcp`, `udp` or `sctp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = PortError;
    /// In any case: docker takes `80/TCP`.
    fn from_str(s: &str) -> Result<Self, PortError> {
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
            .into_iter()
            .find(|p| s.eq_ignore_ascii_case(p.as_str()))
            .ok_or_else(|| PortError::Protocol(s.to_owned()))
    }
}

/// Why a text names no port, or a set of wishes cannot be met. The user's words are quoted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Nothing where the container's port belongs.
    #[error("no port specified: {0}<empty>")]
    NoPort(String),
    /// Not an address.
    #[error("invalid IP address: {0}")]
    Address(String),
    /// Not a port from 1 to 65535, or not a range of such.
    #[error("invalid containerPort: {0}")]
    ContainerPort(String),
    /// Not a port from 0 to 65535, or not a range of such.
    #[error("invalid hostPort: {0}")]
    HostPort(String),
    /// Ranges of different length, and the container's is more than one port.
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    Ranges {
        /// The container's range as typed.
        container: String,
        /// The host's range as typed.
        host: String,
    },
    /// Neither tcp, udp nor sctp.
    #[error("invalid proto: {0}")]
    Protocol(String),
    /// The long form `published=…,target=…` has a part without `=`.
    #[error("invalid publish opts format (should be name=value but got '{0}')")]
    LongForm(String),
    /// The long form has a name that means nothing.
    #[error("invalid publish option '{0}': only published, target, protocol and mode are known")]
    LongFormName(String),
    /// `--expose` with an address or host port.
    #[error("invalid port format for --expose: {0}")]
    Expose(String),
    /// `--expose` with something that is no range.
    #[error("invalid range format for --expose: {0}")]
    ExposeRange(String),
    /// Two `-p` want the same host port for different container ports.
    #[error("conflicting ports: {first} and {second} want the same host port")]
    Conflict {
        /// The earlier wish.
        first: PortSpec,
        /// The later wish.
        second: PortSpec,
    },
}

/// One published port, decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Host address; unspecified (`0.0.0.0` or `::`) means every address of that family.
    pub host_ip: IpAddr,
    /// Port on the host, never 0.
    pub host_port: u16,
    /// Port in the container, never 0.
    pub container_port: u16,
}

impl PublishedPort {
    /// The host's side, `0.0.0.0:8080` or `[::]:8080`, as `port` prints it.
    pub fn host(&self) -> SocketAddr {
        SocketAddr::new(self.host_ip, self.host_port)
    }

    /// The container's side, `80/tcp`.
    pub fn container(&self) -> ContainerPort {
        ContainerPort { port: self.container_port, protocol: self.protocol }
    }
}

impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.host(), self.container())
    }
}

/// Digits only: Rust's parser also takes `+80`, docker's does not.
fn port_number(s: &str) -> Option<u16> {
    s.bytes().all(|b| b.is_ascii_digit()).then(|| s.parse().ok()).flatten()
}

/// `80` or `80-90`, ends included, in order.
fn port_range(s: &str) -> Option<(u16, u16)> {
    match s.split_once('-') {
        None => port_number(s).map(|p| (p, p)),
        Some((first, last)) => {
            let range = (port_number(first)?, port_number(last)?);
            (range.0 <= range.1).then_some(range)
        }
    }
}

/// `80/udp` into port text and protocol text; docker reads `80/` and `80` as tcp.
fn split_protocol(s: &str) -> Result<(&str, Protocol), PortError> {
    match s.split_once('/') {
        None | Some((_, "")) => Ok((s.trim_end_matches('/'), Protocol::Tcp)),
        Some((port, protocol)) => Ok((port, protocol.parse()?)),
    }
}
