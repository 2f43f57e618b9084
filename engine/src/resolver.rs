//! The resolver of a container on user-defined networks: what it shall know, when
//! the container starts and when its networks change while it runs.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use rcnt_netstack::dns::{ADDRESS, Listed, NamesPlan};
use rcnt_netstack::names::{DnsOverrides, ResolvConf, read_host_resolv_conf};
use rcnt_netstack::network;
use rcnt_netstack::plan::table_name;

use crate::Engine;
use crate::container::{Container, Endpoint};
use crate::error::{EngineError, Result};
use crate::request::is_user_defined;
use crate::session::Remote;
use crate::session::frame::Request;

/// What flags and configuration put in place of the host's resolv.conf.
pub(crate) fn overrides(engine: &Engine, container: &Container) -> DnsOverrides {
    fn or<T: Clone>(own: &[T], default: &[T]) -> Vec<T> {
        if own.is_empty() { default.to_vec() } else { own.to_vec() }
    }
    let (request, config) = (&container.record.request, &engine.config);
    DnsOverrides {
        name_servers: or(&request.dns, &config.dns),
        search: or(&request.dns_search, &config.dns_search),
        options: or(&request.dns_option, &config.dns_opt),
    }
}

/// The resolv.conf of a container on these networks: with a resolver of its own on
/// user-defined ones, as on every bridge otherwise.
pub(crate) fn resolv_conf(
    engine: &Engine,
    container: &Container,
    endpoints: &[Endpoint],
    host: &ResolvConf,
) -> ResolvConf {
    let overrides = overrides(engine, container);
    if has_resolver(container, endpoints) {
        return host.for_resolver(&overrides, IpAddr::V4(ADDRESS));
    }
    host.for_container(&overrides, endpoints.iter().any(|e| e.address6.is_some()))
}

/// Whether a container on these networks has a resolver of its own: on user-defined
/// ones, and wherever it has an egress list, which learns from its answers.
pub(crate) fn has_resolver(container: &Container, endpoints: &[Endpoint]) -> bool {
    let confined = container.record.request.egress.is_some();
    endpoints.iter().any(|endpoint| confined || has_names(endpoint))
}

pub(crate) fn has_names(endpoint: &Endpoint) -> bool {
    is_user_defined(endpoint.network.as_str())
}

/// What the resolver of a container on these networks shall know; `None` when it is
/// has none.
///
/// # Errors
/// The host's resolv.conf or a network cannot be read.
pub(crate) fn plan(
    engine: &Engine,
    container: &Container,
    endpoints: &[Endpoint],
) -> Result<Option<NamesPlan>> {
    if !has_resolver(container, endpoints) {
        return Ok(None);
    }
    names(engine, container, endpoints, &host()?).map(Some)
}

fn host() -> Result<ResolvConf> {
    read_host_resolv_conf(Path::new("/"))
        .map_err(EngineError::state("cannot read the host's resolv.conf"))
}

fn names(
    engine: &Engine,
    container: &Container,
    endpoints: &[Endpoint],
    host: &ResolvConf,
) -> Result<NamesPlan> {
    let conf = resolv_conf(engine, container, endpoints, host);
    let mut forwards = false;
    for endpoint in endpoints {
        let network = network::load(&engine.paths.roots, &endpoint.network).map_err(|e| {
            EngineError::Network { name: endpoint.network.to_string(), source: Box::new(e) }
        })?;
        forwards |= network.is_some_and(|network| !network.internal);
    }
    let listed = container.record.request.egress.clone().map(|list| Listed {
        table: table_name(&engine.paths.roots.instance()),
        sources: endpoints
            .iter()
            .flat_map(|e| e.addresses().chain(e.request.link_local.iter().copied()))
            .collect(),
        list,
        comment: format!("{} {}", container.id.short(), container.name),
    });
    let named = endpoints.iter().filter(|endpoint| has_names(endpoint));
    Ok(NamesPlan {
        exec_root: engine.paths.roots.exec.clone(),
        container: container.id.clone(),
        networks: named.map(|endpoint| endpoint.network.clone()).collect(),
        forwards,
        servers: overrides(engine, container).name_servers,
        ndots: conf.ndots(),
        search: conf.search,
        listed,
    })
}

/// Tells a running container's resolver that the container's networks are no longer
/// `before` but `after`; on its first user-defined network it gets one, which it keeps.
/// Its resolv.conf follows unless somebody has changed it.
///
/// # Errors
/// The supervisor does not answer, or cannot open the sockets.
pub fn networks_changed(
    engine: &Engine,
    container: &Container,
    before: &[Endpoint],
    after: &[Endpoint],
) -> Result<()> {
    let had = has_resolver(container, before);
    if !had && !has_resolver(container, after) {
        return Ok(());
    }
    let host = host()?;
    let plan = names(engine, container, after, &host)?;
    let talking = || EngineError::state("cannot tell the supervisor about the networks");
    let json = serde_json::to_vec(&plan).map_err(|e| talking()(e.into()))?;
    let done = Remote::connect(&engine.paths.run(&container.id), false, false)
        .and_then(|mut supervisor| supervisor.change(&Request::Names(json)))
        .map_err(talking())?;
    done.map_err(|why| talking()(std::io::Error::other(why)))?;
    if has_resolver(container, after) {
        let text = |endpoints| resolv_conf(engine, container, endpoints, &host).render();
        let (old, new) = (text(before), text(after));
        if old != new {
            rewrite(&engine.paths.container(&container.id).join("resolv.conf"), &old, &new)
                .map_err(EngineError::state("cannot rewrite the container's resolv.conf"))?;
        }
    }
    Ok(())
}

/// Writes `new` over `old`, into the same file: it is mounted in the container.
fn rewrite(path: &Path, old: &str, new: &str) -> std::io::Result<()> {
    if std::fs::read_to_string(path)? != old {
        return Ok(());
    }
    OpenOptions::new().write(true).truncate(true).open(path)?.write_all(new.as_bytes())
}
