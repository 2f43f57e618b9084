//! What [`super::default_network`] needs to know, read from this host's kernel.

use std::io;
use std::path::Path;

use rcnt_base::roots::Roots;
use rcnt_base::sys::netlink::Family;

use super::{BridgeConfig, Decision, Host, HostNetFacts, NetworkError, default_network};
use crate::facts::{Link, read_addresses, read_links, read_routes};
use crate::names::read_host_resolv_conf;
use crate::socket::Socket;
use crate::wire::Requests;
use crate::wire::link::{LinkRequest, read_link};

/// [`default_network`] on this host, in the current network namespace.
///
/// # Errors
/// As [`default_network`].
pub fn default_network_here(
    roots: &Roots,
    config: &BridgeConfig,
) -> Result<Decision, NetworkError> {
    default_network(roots, config, &Host { link: &find_link, facts: &read_facts })
}

/// One interface by name: a single question, however many there are.
///
/// # Errors
/// The kernel's reason; that there is no such interface is none.
pub fn find_link(name: &str) -> io::Result<Option<Link>> {
    let mut requests = Requests::default();
    let sequence = LinkRequest { name: Some(name), ..LinkRequest::default() }.get(&mut requests);
    let mut found = None;
    let answers = Socket::open(Family::Route)?.exchange(&requests, |message| {
        let link = read_link(message);
        found = Some(link.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?);
        Ok(())
    })?;
    match answers.errno(sequence) {
        0 | libc::ENODEV => Ok(found),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Links, addresses, routes and name servers.
///
/// # Errors
/// The kernel's reason, or a resolv.conf that cannot be read.
pub fn read_facts() -> io::Result<HostNetFacts> {
    Ok(HostNetFacts {
        links: read_links()?,
        addresses: read_addresses()?,
        routes: read_routes()?,
        name_servers: read_host_resolv_conf(Path::new("/"))?.name_servers,
        // Not there with ipv6.disable=1 or without the protocol.
        ipv6: Path::new("/proc/net/if_inet6").exists(),
    })
}
