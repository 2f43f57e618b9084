//! `network trace`: names → namespaces and addresses, then a probe.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rcnt_netstack::facts;
use rcnt_netstack::namespace::here;
use rcnt_netstack::network;
use rcnt_netstack::plan::table_name;
use rcnt_netstack::ports::Protocol;
use rcnt_netstack::trace::{Report, Sought, Source, TraceRequest, follow};

use crate::Engine;
use crate::capture::namespace;
use crate::container::{Container, Status};
use crate::error::{EngineError, Result};
use crate::request::NetworkMode;

/// A question, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceArgs {
    /// A container, `host`, or an outside address.
    pub source: String,
    /// A container, address or name, `:port`, `/udp`.
    pub destination: String,
    /// How long to wait for an answer.
    pub patience: Duration,
}

/// `DST[:PORT][/PROTOCOL]`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Destination {
    host: String,
    sought: Sought,
}

/// Sends a probe and follows it.
///
/// # Errors
/// Unknown names; containers that do not run; what the kernel does not allow.
pub fn trace(engine: &Engine, args: &TraceArgs) -> Result<Report> {
    let Destination { host, sought } = parse(&args.destination)?;
    let running: Vec<Container> = engine.list()?;
    let running: Vec<Container> =
        running.into_iter().filter(|c| c.state.status == Status::Running).collect();
    let local: Vec<IpAddr> = facts::read_addresses()
        .map_err(EngineError::state("cannot read the host's addresses"))?
        .into_iter()
        .map(|address| address.address)
        .collect();
    let from = Origin::find(engine, &args.source, &running, &local)?;
    let destination = resolve(engine, &host, &from)?;
    let target = match &from {
        // A container's 127.0.0.1 is its own.
        Origin::Container(..) if destination.is_loopback() => None,
        _ => behind(&running, destination, sought, &local),
    };
    let target = target.map(|c| namespace(c).map(|(netns, _)| (c.name.to_string(), netns)));
    let target: Option<(String, OwnedFd)> = target.transpose()?;
    let request = TraceRequest {
        source: from.source(),
        destination,
        sought,
        target: target.as_ref().map(|(name, netns)| (name.clone(), netns.as_fd())),
        table: &table_name(&engine.paths.roots.instance()),
        internal: from.internal(engine),
        patience: args.patience,
    };
    follow(&request).map_err(|e| EngineError::Trace(Box::new(e)))
}

/// Who asks.
enum Origin {
    Container(Box<Container>, OwnedFd),
    Host(OwnedFd),
    Outside(IpAddr),
}

impl Origin {
    fn find(engine: &Engine, text: &str, running: &[Container], local: &[IpAddr]) -> Result<Self> {
        let host = || here().map(Self::Host).map_err(EngineError::state("cannot open /proc"));
        let container = |container: Container| {
            let (netns, _) = namespace(&container)?;
            Ok(Self::Container(Box::new(container), netns))
        };
        match text.parse::<IpAddr>() {
            Ok(address) if local.contains(&address) || address.is_loopback() => host(),
            Ok(address) => match running.iter().find(|c| c.state.addresses().contains(&address)) {
                Some(found) => container(found.clone()),
                None => Ok(Self::Outside(address)),
            },
            Err(_) => match engine.find(text) {
                Ok(found) => container(found),
                Err(EngineError::NoSuchContainer(_)) if text == "host" => host(),
                Err(error) => Err(error),
            },
        }
    }

    fn source(&self) -> Source<'_> {
        match self {
            Self::Container(container, netns) => {
                let of_host = container.record.request.network == NetworkMode::Host;
                let name = if of_host { "host".to_owned() } else { container.name.to_string() };
                Source::Inside(name, netns.as_fd())
            }
            Self::Host(netns) => Source::Inside("host".to_owned(), netns.as_fd()),
            Self::Outside(address) => Source::Outside(*address),
        }
    }

    /// The internal network it is on, if it is on no other.
    fn internal(&self, engine: &Engine) -> Option<String> {
        let Self::Container(container, _) = self else { return None };
        let mut internal = None;
        for endpoint in &container.state.endpoints {
            let known = network::load(&engine.paths.roots, &endpoint.network).ok().flatten()?;
            if !known.internal {
                return None;
            }
            internal = Some(known.name.to_string());
        }
        internal
    }
}

/// Takes a destination apart: `web:80`, `10.0.0.1/udp`, `[fd00::1]:53/udp`, `fd00::1`.
fn parse(text: &str) -> Result<Destination> {
    let wrong = || EngineError::Destination(text.to_owned());
    let (rest, protocol) = match text.rsplit_once('/') {
        Some((rest, protocol)) => (rest, protocol.parse::<Protocol>().map_err(|_| wrong())?),
        None => (text, Protocol::Tcp),
    };
    let (host, port) = if let Ok(address) = rest.parse::<IpAddr>() {
        (address.to_string(), None)
    } else if let Ok(address) = rest.parse::<SocketAddr>() {
        (address.ip().to_string(), Some(address.port()))
    } else {
        match rest.rsplit_once(':') {
            Some((host, port)) => {
                let port = port.parse::<u16>().map_err(|_| wrong())?;
                (host.to_owned(), Some(port))
            }
            None => (rest.to_owned(), None),
        }
    };
    let sought = match (port, protocol) {
        (Some(0), _) | (_, Protocol::Sctp) => return Err(wrong()),
        (Some(port), Protocol::Tcp) => Sought::Tcp(port),
        (Some(port), Protocol::Udp) => Sought::Udp(port),
        (None, _) if rest.len() == text.len() => Sought::Echo,
        (None, _) => return Err(wrong()),
    };
    if host.is_empty() { Err(wrong()) } else { Ok(Destination { host, sought }) }
}

/// An address, a container's name, or a name that the host can look up.
fn resolve(engine: &Engine, host: &str, from: &Origin) -> Result<IpAddr> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    match engine.find(host) {
        Ok(container) => address_of(&container, from),
        Err(EngineError::NoSuchContainer(_)) => {
            let unknown = || EngineError::UnknownHost(host.to_owned());
            let found: Vec<SocketAddr> =
                (host, 0).to_socket_addrs().map_err(|_| unknown())?.collect();
            let four = found.iter().find(|address| address.is_ipv4());
            four.or(found.first()).map(SocketAddr::ip).ok_or_else(unknown)
        }
        Err(error) => Err(error),
    }
}

/// A container's address, on a network it shares with who asks where there is one.
fn address_of(container: &Container, from: &Origin) -> Result<IpAddr> {
    // That it runs, first of all.
    namespace(container)?;
    if container.record.request.network == NetworkMode::Host {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    let endpoints = &container.state.endpoints;
    let shared = match from {
        Origin::Container(asking, _) => endpoints.iter().find(|endpoint| {
            asking.state.endpoints.iter().any(|own| own.network == endpoint.network)
        }),
        _ => None,
    };
    let endpoint = shared.or(endpoints.first());
    let nowhere = || EngineError::NoAddress(container.name.to_string());
    endpoint.and_then(|endpoint| endpoint.addresses().next()).ok_or_else(nowhere)
}

/// The container that has this address, or whose published port it is.
fn behind<'a>(
    running: &'a [Container],
    destination: IpAddr,
    sought: Sought,
    local: &[IpAddr],
) -> Option<&'a Container> {
    if let Some(own) = running.iter().find(|c| c.state.addresses().contains(&destination)) {
        return Some(own);
    }
    let (port, protocol) = match sought {
        Sought::Tcp(port) => (port, Protocol::Tcp),
        Sought::Udp(port) => (port, Protocol::Udp),
        Sought::Echo => return None,
    };
    let here = local.contains(&destination) || destination.is_loopback();
    running.iter().filter(|_| here).find(|container| {
        container.state.ports.iter().any(|p| {
            let any = p.host_ip.is_unspecified() && p.host_ip.is_ipv4() == destination.is_ipv4();
            (any || p.host_ip == destination) && (p.host_port, p.protocol) == (port, protocol)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_taken_apart() {
        for (text, host, sought) in [
            ("web", "web", Sought::Echo),
            ("web:80", "web", Sought::Tcp(80)),
            ("web:53/udp", "web", Sought::Udp(53)),
            ("10.0.0.1:80/tcp", "10.0.0.1", Sought::Tcp(80)),
            ("fd00::1", "fd00::1", Sought::Echo),
            ("[fd00::1]:53/udp", "fd00::1", Sought::Udp(53)),
        ] {
            assert_eq!(parse(text).unwrap(), Destination { host: host.into(), sought }, "{text}");
        }
        for wrong in
            ["", ":80", "web:0", "web:x", "web:80/sctp", "web/udp", "web:80/icmp", "web:70000"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
