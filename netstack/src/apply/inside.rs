//! The container's side of the wire: `lo`, `eth0`, its addresses and routes, over
//! a netlink socket that was opened inside the container's network namespace.
//!
//! The supervisor does this, not init: it costs no hand-over between processes,
//! runs while init mounts, and whoever configures must also see to it that the
//! host's end forwards before the first packet (see `links::forwarding`).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rcnt_base::sys::netlink::Family;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::facts::{Address, Route};
use crate::plan::{EndpointPlan, Mac};
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

/// Brings up `lo` and nothing else, in the calling thread's network namespace
/// (`--net=none`).
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

/// Enters `netns` with the calling thread for as long as it takes to prepare its
/// settings and to open a socket there. The socket stays in that namespace.
pub(super) fn prepare(
    endpoint: &EndpointPlan,
    netns: BorrowedFd<'_>,
    sysctls: &ProcSys,
) -> io::Result<Socket> {
    let kind = Some(LinkNameSpaceType::Network);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let home: OwnedFd = openat(CWD, "/proc/thread-self/ns/net", flags, Mode::empty())?;
    move_into_link_name_space(netns, kind)?;
    let prepared = settings(endpoint, sysctls).and_then(|()| Socket::open(Family::Route));
    move_into_link_name_space(home.as_fd(), kind)?;
    prepared
}

/// Set before there is any link but `lo`; `eth0` inherits them when it is born.
fn settings(endpoint: &EndpointPlan, sysctls: &ProcSys) -> io::Result<()> {
    // An address always has the MAC made from it, so nobody can remember a wrong
    // one, unless it was asked for: then the kernel shall announce it when the link
    // comes up (moby#36069). An announcement is flooded to every port of the
    // bridge, which took three quarters of a start with 500 containers.
    let announce = endpoint.mac != Mac::from_ipv4(endpoint.address4.0);
    if announce {
        sysctls.write("net/ipv4/conf/default/arp_notify", "1")?;
    }
    if endpoint.address6.is_none() {
        // No address may ever exist, not even a link-local one (CVE-2024-32473).
        return sysctls.write_if_there("net/ipv6/conf/all/disable_ipv6", "1");
    }
    if announce {
        sysctls.write("net/ipv6/conf/default/ndisc_notify", "1")?;
    }
    sysctls.write("net/ipv6/conf/default/accept_ra", "0")?;
    // The subnet is ours: nobody else can have the address (a second's wait otherwise).
    sysctls.write("net/ipv6/conf/default/accept_dad", "0")
}

/// `lo` up, addresses, link up, default routes.
pub(super) fn configure(socket: &mut Socket, endpoint: &EndpointPlan) -> io::Result<()> {
    let index = socket.interface_index(&endpoint.interface)?.ok_or(Errno::NODEV)?;
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
    if let Some(gateway) = endpoint.gateway4 {
        default_route(Ipv4Addr::UNSPECIFIED.into(), gateway.into());
    }
    if let (Some(gateway), Some(_)) = (endpoint.gateway6, endpoint.address6) {
        default_route(Ipv6Addr::UNSPECIFIED.into(), gateway.into());
    }
    (requests, expected)
}
