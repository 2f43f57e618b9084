//! `/etc/resolv.conf`, `/etc/hostname` and `/etc/hosts` of a container: made
//! anew at each start, laid over the image's, editable inside while it runs.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcnt_base::files::{self, Durability};
use rcnt_netstack::names::{
    DnsOverrides, ExtraHost, HostTarget, HostsFile, ResolvConf, hostname_file,
    read_host_resolv_conf, readdressed,
};

use crate::Engine;
use crate::container::{Container, Endpoint};
use crate::error::{EngineError, Result};
use crate::network::Place;
use crate::paths::Paths;
use crate::request::NetworkMode;
use crate::resolver;

/// Writes the files; returns (host path, path in the container) of each.
///
/// # Errors
/// The disk is full, or the host's resolv.conf unreadable.
pub(crate) fn write(
    engine: &Engine,
    container: &Container,
    place: &Place,
    linked: &[(IpAddr, String)],
) -> Result<Vec<(PathBuf, PathBuf)>> {
    // Who joins a network namespace shares its owner's names.
    // In the data root: what a container writes into them must not fill the
    // memory that the exec root usually is.
    let dir = engine.paths.container(place.joined.as_ref().unwrap_or(&container.id));
    if place.joined.is_none() {
        let writing = || EngineError::state("cannot write the container's /etc files");
        let host = read_host_resolv_conf(Path::new("/")).map_err(writing())?;
        let texts = [
            ("resolv.conf", resolv_conf(engine, container, place, &host)),
            ("hostname", hostname_file(&container.record.config.hostname)),
            ("hosts", hosts(engine, container, place, linked)?),
        ];
        for (name, text) in texts {
            files::write_atomic_mode(&dir.join(name), text.as_bytes(), 0o644, Durability::Volatile)
                .map_err(writing())?;
        }
    }
    let file = |name: &str| (dir.join(name), Path::new("/etc").join(name));
    Ok(vec![file("resolv.conf"), file("hostname"), file("hosts")])
}

fn resolv_conf(engine: &Engine, container: &Container, place: &Place, host: &ResolvConf) -> String {
    let request = &container.record.request;
    let overrides = resolver::overrides(engine, container);
    let unchanged = overrides == DnsOverrides::default();
    if request.network == NetworkMode::Host && unchanged {
        // The host's own namespace reaches what the host's file names.
        return std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    }
    resolver::resolv_conf(engine, container, &place.endpoints, host).render()
}

fn hosts(
    engine: &Engine,
    container: &Container,
    place: &Place,
    linked: &[(IpAddr, String)],
) -> Result<String> {
    let request = &container.record.request;
    let mut extra = Vec::new();
    for entry in &request.add_host {
        // Checked when the container was created.
        extra.extend(entry.parse::<ExtraHost>());
    }
    extra.extend(
        linked
            .iter()
            .map(|(ip, names)| ExtraHost { name: names.clone(), target: HostTarget::Address(*ip) }),
    );
    if request.network == NetworkMode::Host {
        let mut text = std::fs::read_to_string("/etc/hosts")
            .map_err(EngineError::state("cannot read /etc/hosts"))?;
        for ExtraHost { name, target } in &extra {
            if let HostTarget::Address(address) = target {
                text.push_str(&format!("{address}\t{name}\n"));
            }
        }
        return Ok(text);
    }
    let addresses: Vec<IpAddr> = place.addresses().collect();
    let gateway = match engine.config.host_gateway_ip {
        Some(ip) => vec![ip],
        None => place.gateways(),
    };
    let file = HostsFile {
        hostname: &container.record.config.hostname,
        domainname: request.domainname.as_deref(),
        addresses: &addresses,
        extra: &extra,
        gateway: &gateway,
        ipv6: place.has_ipv6(),
    };
    Ok(file.render())
}

/// Changes a running container's `/etc/hosts` after its places on networks did. It is
/// written in place: inside, the file is a mount of its own.
///
/// # Errors
/// The file cannot be read or written.
pub(crate) fn readdress(paths: &Paths, container: &Container, before: &[Endpoint]) -> Result<()> {
    let all = |endpoints: &[Endpoint]| -> Vec<IpAddr> {
        endpoints.iter().flat_map(Endpoint::addresses).collect()
    };
    let (was, is) = (all(before), all(&container.state.endpoints));
    let gone: Vec<IpAddr> = was.iter().filter(|ip| !is.contains(ip)).copied().collect();
    let come: Vec<IpAddr> = is.iter().filter(|ip| !was.contains(ip)).copied().collect();
    if gone.is_empty() && come.is_empty() {
        return Ok(());
    }
    let own = HostsFile {
        hostname: &container.record.config.hostname,
        domainname: container.record.request.domainname.as_deref(),
        ..HostsFile::default()
    };
    let path = paths.container(&container.id).join("hosts");
    edit(&path, |text| readdressed(text, &own.own_names(), &gone, &come))
}

/// Changes a hosts file in place.
///
/// # Errors
/// The file cannot be read or written.
pub(crate) fn edit(path: &Path, change: impl FnOnce(&str) -> String) -> Result<()> {
    let changing = || EngineError::state("cannot change the container's /etc/hosts");
    let text = std::fs::read_to_string(path).map_err(changing())?;
    write_in_place(path, &change(&text)).map_err(changing())
}

/// The new text over the old, then the length: who reads meanwhile never finds less
/// than one of them.
fn write_in_place(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    file.set_len(u64::try_from(text.len()).unwrap_or(u64::MAX))
}
