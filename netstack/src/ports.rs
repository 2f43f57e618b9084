//! Ports: what `-p`, `--expose` and `-P` say, what they come to, and how
//! docker prints it. Text in, values out; nothing here touches the host.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

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

/// One `-p` as typed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
