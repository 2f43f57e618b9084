//! `port`, `port add`, `port rm`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rcnt_engine::Engine;
use rcnt_engine::netstack::ports::{PortError, PortSpec, Protocol, PublishedPort};

use crate::args::container::PortFlags;
use crate::failure::Failure;
use crate::render;

/// `port`: all mappings, or where one port of the container is published; `port add`
/// and `port rm`.
///
/// # Errors
/// No such container; a port that is none, is not published or is taken.
pub(super) fn port(engine: &Engine, flags: &PortFlags) -> Result<u8, Failure> {
    let words: Vec<&str> = flags.words.iter().map(String::as_str).collect();
    // One or two words are docker's, whatever the container is called.
    match (words.as_slice(), flags.publish.as_slice()) {
        ([container], []) => show(engine, container, None),
        ([container, port], []) => show(engine, container, Some(port)),
        (["add", container, more @ ..], publish) => {
            let texts = publish.iter().map(String::as_str).chain(more.iter().copied());
            engine.add_ports(&engine.find(container)?, specs(texts)?)?;
            Ok(0)
        }
        (["rm", container, ports @ ..], []) => {
            let container = engine.find(container)?;
            engine.remove_ports(&container, &specs(ports.iter().copied())?)?;
            Ok(0)
        }
        _ => Err(Failure::general("'rcnt port' requires at least 1 and at most 2 arguments")
            .hint("rcnt port add CONTAINER -p PORTS, rcnt port rm CONTAINER PORTS")),
    }
}

fn specs<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<PortSpec>, Failure> {
    texts.map(|text| text.parse().map_err(|e: PortError| Failure::general(e.to_string()))).collect()
}

fn show(engine: &Engine, name: &str, port: Option<&str>) -> Result<u8, Failure> {
    let container = engine.find(name)?;
    let ports = &container.state.ports;
    let text = match port {
        None => all(ports),
        Some(wanted) => {
            let (port, protocol) = parse(wanted)?;
            let text = one(ports, port, protocol);
            if text.is_empty() {
                return Err(Failure::general(format!(
                    "no public port '{port}/{protocol}' published for {name}"
                )));
            }
            text
        }
    };
    render::out(&text)?;
    Ok(0)
}

fn parse(text: &str) -> Result<(u16, Protocol), Failure> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match (port.parse::<u16>(), protocol.parse()) {
        (Ok(port), Ok(protocol)) if port > 0 => Ok((port, protocol)),
        _ => Err(Failure::general(format!("invalid port '{text}'"))
            .hint("a port is written as 80, 80/tcp, 53/udp or 80/sctp")),
    }
}

fn address(port: &PublishedPort) -> String {
    // Display puts IPv6 addresses in brackets, as docker.
    SocketAddr::new(port.host_ip, port.host_port).to_string()
}

fn all(ports: &[PublishedPort]) -> String {
    let mut sorted: BTreeMap<(u16, Protocol), Vec<String>> = BTreeMap::new();
    for port in ports {
        sorted.entry((port.container_port, port.protocol)).or_default().push(address(port));
    }
    let lines = sorted.iter().flat_map(|((port, protocol), addresses)| {
        addresses.iter().map(move |address| format!("{port}/{protocol} -> {address}\n"))
    });
    lines.collect()
}

fn one(ports: &[PublishedPort], port: u16, protocol: Protocol) -> String {
    let ours = ports.iter().filter(|p| (p.container_port, p.protocol) == (port, protocol));
    ours.map(|port| address(port) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports() -> Vec<PublishedPort> {
        let port = |protocol, ip: &str, host_port, container_port| PublishedPort {
            protocol,
            host_ip: ip.parse().unwrap(),
            host_port,
            container_port,
        };
        vec![
            port(Protocol::Tcp, "0.0.0.0", 8080, 80),
            port(Protocol::Tcp, "::", 8080, 80),
            port(Protocol::Udp, "127.0.0.1", 5353, 53),
        ]
    }

    #[test]
    fn mappings_are_printed_as_docker_prints_them() {
        assert_eq!(
            all(&ports()),
            "53/udp -> 127.0.0.1:5353\n80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n"
        );
        assert_eq!(one(&ports(), 80, Protocol::Tcp), "0.0.0.0:8080\n[::]:8080\n");
        assert_eq!(one(&ports(), 80, Protocol::Udp), "");
        assert_eq!(parse("53/UDP").unwrap(), (53, Protocol::Udp));
        for wrong in ["0", "65536", "x", "80/x", ""] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 1, "{wrong}");
        }
    }
}
