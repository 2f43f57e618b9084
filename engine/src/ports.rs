//! `port add` and `port rm`: other published ports for a container that runs, and
//! from then on whenever it is started.
//!
//! The command claims and binds; the undo list says so before the rules do (one
//! transaction); then the sockets go to the supervisor, which holds and relays them
//! (SCM_RIGHTS). What a killed command leaves, the next one takes back or finishes
//! ([`mod@settle`]). What a container shall have is kept in `ports.json`, as asked for:
//! ephemeral ports are picked anew.

use std::io;
use std::net::IpAddr;

use rcnt_base::files::{self, Durability};
use rcnt_netstack::apply;
use rcnt_netstack::claims::{ClaimRequest, Reservation};
use rcnt_netstack::plan::NetworkPlan;
use rcnt_netstack::ports::{self, PortSpec, Protocol, PublishedPort};
use serde::{Deserialize, Serialize};

use crate::container::{Container, Status};
use crate::error::{EngineError, Result};
use crate::network::{self, Change, Note};
use crate::paths::Paths;
use crate::request::NetworkMode;
use crate::session::Remote;
use crate::{Engine, records};

mod settle;

pub(crate) use settle::{PortsLeft, settle};

/// One held port, as it is told to the supervisor; its socket comes beside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldPort {
    pub(crate) protocol: Protocol,
    pub(crate) host_ip: Option<IpAddr>,
    pub(crate) host_port: u16,
    pub(crate) container_port: u16,
    /// Whether a socket comes with it: the kernel may lack the protocol.
    pub(crate) socket: bool,
}

impl HeldPort {
    pub(crate) fn of(held: &Reservation) -> Self {
        let Reservation { protocol, host_ip, host_port, container_port, ref socket } = *held;
        Self { protocol, host_ip, host_port, container_port, socket: socket.is_some() }
    }
}

/// `ports.json`.
#[derive(Serialize, Deserialize)]
struct Wishes {
    publish: Vec<PortSpec>,
}

/// The ports a container shall have when it is started: those it was created with,
/// but for what `port add` and `port rm` have changed since.
///
/// # Errors
/// A damaged file; wishes that cannot be had together.
pub(crate) fn wishes(paths: &Paths, container: &Container) -> Result<Vec<PortSpec>> {
    let specs = match files::read_json::<Wishes>(&paths.ports(&container.id)) {
        Ok(wishes) => wishes.publish,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let request = &container.record.request;
            match request.publish_all {
                true => ports::publish_all(&request.publish, &container.record.config.exposed),
                false => request.publish.clone(),
            }
        }
        Err(e) => return Err(EngineError::state("cannot read the container's ports")(e)),
    };
    ports::merge(specs).map_err(|e| EngineError::Claims(Box::new(e)))
}

fn write_wishes(paths: &Paths, container: &Container, publish: Vec<PortSpec>) -> Result<()> {
    files::write_json(&paths.ports(&container.id), &Wishes { publish }, Durability::Durable)
        .map_err(EngineError::state("cannot write the container's ports"))
}

impl Engine {
    /// Publishes more ports of a container: at once if it runs, and at every start.
    ///
    /// # Errors
    /// A taken port; nothing is changed then.
    pub fn add_ports(&self, container: &Container, specs: Vec<PortSpec>) -> Result<()> {
        let paths = &self.paths;
        let _command = records::lock(paths, container)?;
        let container = self.reload_locked(container)?;
        can_change(paths, &container)?;
        let before = wishes(paths, &container)?;
        let all = before.iter().cloned().chain(specs.clone());
        let all = ports::merge(all).map_err(|e| EngineError::Claims(Box::new(e)))?;
        if container.state.status == Status::Running {
            network::warn_unserved(self);
            let specs = ports::merge(specs).map_err(|e| EngineError::Claims(Box::new(e)))?;
            let change = Change::begin(paths, &container)?;
            let left = PortsLeft::as_before(&change.journal, before);
            change.note(&Note::Ports(left))?;
            // After an error the lock is free again; the note says what is to be taken back.
            let change = publish_more(self, change, &specs).inspect_err(|_| network::mend(self))?;
            write_wishes(paths, &container, all)?;
            return change.finish();
        }
        write_wishes(paths, &container, all)
    }

    /// Withdraws ports of a container. Connections through them go on.
    ///
    /// # Errors
    /// A port that is not published.
    pub fn remove_ports(&self, container: &Container, specs: &[PortSpec]) -> Result<()> {
        let paths = &self.paths;
        let _command = records::lock(paths, container)?;
        let container = self.reload_locked(container)?;
        can_change(paths, &container)?;
        let mut wanted = wishes(paths, &container)?;
        if container.state.status != Status::Running {
            for spec in specs {
                let before = units(&wanted);
                let kept: Vec<PortSpec> =
                    before.iter().filter(|unit| !names(spec, unit)).cloned().collect();
                if kept.len() == before.len() {
                    return Err(not_published(spec, &container));
                }
                wanted = kept;
            }
            return write_wishes(paths, &container, wanted);
        }
        let change = Change::begin(paths, &container)?;
        let held = change.journal.ports.clone();
        let mut gone: Vec<PublishedPort> = Vec::new();
        for spec in specs {
            let found: Vec<_> = held.iter().filter(|port| matches(spec, port)).copied().collect();
            if found.is_empty() {
                return Err(not_published(spec, &container));
            }
            gone.extend(found);
        }
        // One socket and one wish for both families: both go, or neither.
        for port in &gone {
            let other = held.iter().find(|p| is_other_family(p, port) && !gone.contains(p));
            if let Some(other) = other {
                let (port, name) = (port.to_string(), container.name.to_string());
                return Err(EngineError::HalfOfAPort { port, other: other.to_string(), name });
            }
        }
        let left = PortsLeft::without(&change.journal, &gone, without(&wanted, &gone));
        change.note(&Note::Ports(left.clone()))?;
        settle(change, &left)
    }
}

/// Only a container with networks of its own has ports of its own.
fn can_change(paths: &Paths, container: &Container) -> Result<()> {
    match network::mode(paths, container) {
        NetworkMode::Bridge(_) => Ok(()),
        _ => Err(EngineError::NoPortsOfItsOwn(container.name.to_string())),
    }
}

fn not_published(spec: &PortSpec, container: &Container) -> EngineError {
    EngineError::NotPublished { port: spec.to_string(), name: container.name.to_string() }
}

/// Claims, undo list, rules, supervisor, state.
fn publish_more<'a>(
    engine: &Engine,
    mut change: Change<'a>,
    specs: &[PortSpec],
) -> Result<Change<'a>> {
    let paths = &engine.paths;
    let container = change.container.clone();
    let mut plans = network::plans(paths, &container.id);
    let main = plans.iter().position(has_default_route).unwrap_or(0);
    let name = container.state.endpoints.get(main).map(|e| e.network.to_string());
    let none = || EngineError::NoPortsOfItsOwn(container.name.to_string());
    let claim = ClaimRequest {
        exec_root: &paths.roots.exec,
        owner: &container.id,
        owner_name: container.name.as_str(),
        network: &engine.find_network(&name.ok_or_else(none)?)?,
        address4: None,
        address6: None,
        lease: false,
        relay: engine.config.relays(),
        ports: specs,
    };
    let claims = network::take(engine, &claim)?;
    let more = claims.published.clone();
    change.journal.claims.push(claims.undo().clone());
    change.journal.ports.extend(more.iter().copied());
    let mut added: Vec<NetworkPlan> = Vec::new();
    let six = plans.iter().any(|plan| plan.endpoint.gateway6.is_some());
    for (plan, undo) in plans.iter_mut().zip(&mut change.journal.networks) {
        let four = plan.endpoint.gateway4.is_some();
        let routes = (four, plan.endpoint.gateway6.is_some());
        let published = network::led_to(&more, routes, six, engine.config.relays());
        undo.published.extend(published.iter().copied());
        plan.published.extend(published.iter().copied());
        added.push(NetworkPlan { published, ..plan.clone() });
    }
    change.journal.save(paths)?;
    let publish = |plan: &NetworkPlan| apply::publish_more(plan);
    let mut filled = added.iter().filter(|plan| !plan.published.is_empty());
    filled.try_for_each(publish).map_err(|e| EngineError::Claims(Box::new(e)))?;
    network::write_plans(paths, &container.id, &plans)?;
    let held = claims.keep();
    let mut remote = Remote::connect(&paths.run(&container.id), false, false)
        .map_err(|_| EngineError::NotRunning(container.name.to_string()))?;
    remote.hold(&held).map_err(EngineError::state("cannot hand the ports to the supervisor"))?;
    change.container.state.ports = plans.into_iter().flat_map(|plan| plan.published).collect();
    change.commit()?;
    Ok(change)
}

fn has_default_route(plan: &NetworkPlan) -> bool {
    plan.endpoint.gateway4.is_some() || plan.endpoint.gateway6.is_some()
}

/// Whether `spec`, as typed after `port rm`, means this port.
fn matches(spec: &PortSpec, port: &PublishedPort) -> bool {
    let (first, last) = spec.container_ports;
    let host = spec.host_ports.is_none_or(|(host, end)| match spec.is_fixed() {
        true => {
            u32::from(port.host_port) + u32::from(first)
                == u32::from(host) + u32::from(port.container_port)
        }
        false => (host..=end).contains(&port.host_port),
    });
    spec.protocol == port.protocol
        && (first..=last).contains(&port.container_port)
        && host
        && spec.host_ip.is_none_or(|ip| ip == port.host_ip)
}

/// The same port of the host and the container, on every address of the other family.
fn is_other_family(a: &PublishedPort, b: &PublishedPort) -> bool {
    let key = |p: &PublishedPort| (p.protocol, p.host_port, p.container_port);
    let any = a.host_ip.is_unspecified() && b.host_ip.is_unspecified();
    key(a) == key(b) && any && a.host_ip != b.host_ip
}

/// Wishes for one container port each.
fn units(specs: &[PortSpec]) -> Vec<PortSpec> {
    let one = |spec: &PortSpec| -> Vec<PortSpec> {
        let (first, last) = spec.container_ports;
        let unit = |port: u16| PortSpec {
            container_ports: (port, port),
            host_ports: match spec.host_ports {
                Some((host, _)) if spec.is_fixed() => {
                    let host = host.saturating_add(port - first);
                    Some((host, host))
                }
                range => range,
            },
            ..spec.clone()
        };
        (first..=last).map(unit).collect()
    };
    specs.iter().flat_map(one).collect()
}

/// Whether `spec`, as typed after `port rm`, means this wish for one port.
fn names(spec: &PortSpec, unit: &PortSpec) -> bool {
    let (first, last) = spec.container_ports;
    let offset = unit.container_ports.0.saturating_sub(first);
    let host = match (spec.host_ports, unit.host_ports) {
        (None, _) => true,
        (Some((host, _)), Some(wish)) => wish.0 == host.saturating_add(offset),
        (Some(_), None) => false,
    };
    spec.protocol == unit.protocol
        && (first..=last).contains(&unit.container_ports.0)
        && host
        && (spec.host_ip.is_none() || spec.host_ip == unit.host_ip)
}

/// The wishes, less those that these published ports came from.
fn without(wishes: &[PortSpec], gone: &[PublishedPort]) -> Vec<PortSpec> {
    let mut units = units(wishes);
    let mut done: Vec<&PublishedPort> = Vec::new();
    for port in gone {
        if done.iter().any(|p| is_other_family(p, port)) {
            continue;
        }
        let came_from = |unit: &PortSpec| {
            unit.protocol == port.protocol
                && unit.container_ports.0 == port.container_port
                && unit.host_ip.is_none_or(|ip| ip == port.host_ip)
                && unit.host_ports.is_none_or(|(a, b)| (a..=b).contains(&port.host_port))
        };
        if let Some(place) = units.iter().position(came_from) {
            units.remove(place);
        }
        done.push(port);
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(texts: &[&str]) -> Vec<PortSpec> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn port(host_ip: &str, host_port: u16, container_port: u16) -> PublishedPort {
        let host_ip = host_ip.parse().unwrap();
        PublishedPort { protocol: Protocol::Tcp, host_ip, host_port, container_port }
    }

    #[test]
    fn a_wish_goes_with_the_port_that_came_from_it() {
        let wishes = specs(&["8080:80", "8000-8002:70-72", "80", "127.0.0.1::90"]);
        let text = |gone: &[PublishedPort]| {
            let left = without(&wishes, gone);
            left.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let both = [port("0.0.0.0", 8080, 80), port("::", 8080, 80)];
        assert_eq!(text(&both), "8000:70/tcp 8001:71/tcp 8002:72/tcp 80/tcp 127.0.0.1::90/tcp");
        let rest = text(&[port("0.0.0.0", 8001, 71), port("127.0.0.1", 40000, 90)]);
        assert_eq!(rest, "8080:80/tcp 8000:70/tcp 8002:72/tcp 80/tcp");
    }

    #[test]
    fn what_is_typed_means_what_it_says() {
        let means = |spec: &str, port: &PublishedPort| matches(&spec.parse().unwrap(), port);
        let published = port("127.0.0.1", 8080, 80);
        for spec in ["80", "8080:80", "127.0.0.1:8080:80", "8079-8081:79-81", ":80"] {
            assert!(means(spec, &published), "{spec}");
        }
        for spec in ["80/udp", "8081:80", "0.0.0.0:8080:80", "8080-8082:79-81", "8080"] {
            assert!(!means(spec, &published), "{spec}");
        }
    }
}
