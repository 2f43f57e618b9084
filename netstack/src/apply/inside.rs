//! The container's side of the wire, done by its own init in its own network
//! namespace, before exec.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcnt_base::sys::netlink::Family;
use rustix::io::Errno;

use crate::facts::{Address, Route};
use crate::plan::EndpointPlan;
use crate::socket::Socket;
use crate::sysctl::ProcSys;
use crate::wire::Requests;
use crate::wire::route::{LinkRequest, add_address, add_route};

/// Why the container's side could not be configured.
#[derive(Debug, thiserror::Error)]
#[error("cannot configure {interface} inside the container")]
pub struct ConfigureError {
    /// The interface.
    pub interface: String,
    /// The kernel's reason.
    pub source: io::Error,
}

/// The kernel's number of `lo`: always the first interface of a namespace.
const LO: u32 = 1;

/// Runs inside the container's network namespace, in the forked init: `lo`,
/// address, link up, default routes. No threads.
///
/// # Errors
/// The kernel's reason.
pub fn configure_inside(endpoint: &EndpointPlan, sysctls: &ProcSys) -> Result<(), ConfigureError> {
    configure(endpoint, sysctls)
        .map_err(|source| ConfigureError { interface: endpoint.interface.clone(), source })
}

/// Brings up `lo` and nothing else (`--net=none`).
///
/// # Errors
/// The kernel's reason.
pub fn configure_loopback() -> Result<(), ConfigureError> {
    let up = || {
        let mut requests = Requests::default();
        let lo = lo_up(&mut requests);
        Socket::open(Family::Route)?.exchange(&requests, |_| Ok(()))?.check(lo, &[])
    };
    up().map_err(|source| ConfigureError { interface: "lo".to_owned(), source })
}

fn lo_up(requests: &mut Requests) -> u32 {
    LinkRequest { index: LO, up: true, ..LinkRequest::default() }.change(requests)
}

fn configure(endpoint: &EndpointPlan, sysctls: &ProcSys) -> io::Result<()> {
    let name = &endpoint.interface;
    if endpoint.address6.is_none() {
        // Before any link is up, so that no address ever exists (CVE-2024-32473).
        sysctls.ensure_if_there("net/ipv6/conf/all/disable_ipv6", "1")?;
        sysctls.ensure_if_there("net/ipv6/conf/default/disable_ipv6", "1")?;
    }
    // The kernel announces the address when the link comes up: neighbours that
    // remember another MAC for it learn at once (moby#36069).
    sysctls.write(&format!("net/ipv4/conf/{name}/arp_notify"), "1")?;
    if endpoint.address6.is_some() {
        sysctls.write(&format!("net/ipv6/conf/{name}/ndisc_notify"), "1")?;
        sysctls.write(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
        // The subnet is ours: nobody else can have the address (a second's wait otherwise).
        sysctls.write(&format!("net/ipv6/conf/{name}/accept_dad"), "0")?;
    }
    let mut socket = Socket::open(Family::Route)?;
    let index = socket.interface_index(name)?.ok_or(Errno::NODEV)?;
    let (requests, expected) = requests(endpoint, index);
    let answers = socket.exchange(&requests, |_| Ok(()))?;
    expected.into_iter().try_for_each(|sequence| answers.check(sequence, &[]))
}

/// One buffer, in the order in which the kernel wants it: routes need a link that is up.
fn requests(endpoint: &EndpointPlan, link: u32) -> (Requests, Vec<u32>) {
    let mut requests = Requests::default();
    let mut expected = vec![lo_up(&mut requests)];
    let address = |(address, prefix)| Address { link, address, prefix };
    let (ip, prefix) = endpoint.address4;
    expected.push(add_address(&mut requests, &address((IpAddr::from(ip), prefix))));
    if let Some((ip, prefix)) = endpoint.address6 {
        expected.push(add_address(&mut requests, &address((ip.into(), prefix))));
    }
    let up = LinkRequest { index: link, up: true, ..LinkRequest::default() };
    expected.push(up.change(&mut requests));
    let mut default_route = |destination: IpAddr, gateway: IpAddr| {
        let route =
            Route { destination, prefix: 0, gateway: Some(gateway), link: Some(link), table: 254 };
        expected.push(add_route(&mut requests, &route));
    };
    default_route(Ipv4Addr::UNSPECIFIED.into(), endpoint.gateway4.into());
    if let (Some(gateway), Some(_)) = (endpoint.gateway6, endpoint.address6) {
        default_route(Ipv6Addr::UNSPECIFIED.into(), gateway.into());
    }
    (requests, expected)
}
