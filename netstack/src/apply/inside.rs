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
use crate::wire::link::LinkRequest;
use crate::wire::route::{add_address, add_route, delete_route, replace_route};

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
    visit(netns, || settings(endpoint, sysctls).and_then(|()| Socket::open(Family::Route)))
}

/// Does `work` with the calling thread in `netns`.
pub(super) fn visit<T>(
    netns: BorrowedFd<'_>,
    work: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let kind = Some(LinkNameSpaceType::Network);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let home: OwnedFd = openat(CWD, "/proc/thread-self/ns/net", flags, Mode::empty())?;
    move_into_link_name_space(netns, kind)?;
    let done = work();
    move_into_link_name_space(home.as_fd(), kind)?;
    done
}

/// Removes an interface inside.
pub(super) fn remove(netns: BorrowedFd<'_>, interface: &str) -> io::Result<()> {
    visit(netns, || super::links::remove(interface))
}

/// The settings that were asked for of an interface that is there.
pub(super) fn interface_settings(
    endpoint: &EndpointPlan,
    netns: BorrowedFd<'_>,
    sysctls: &ProcSys,
) -> io::Result<()> {
    if endpoint.sysctls.is_empty() {
        return Ok(());
    }
    visit(netns, || {
        endpoint.sysctls.iter().try_for_each(|(name, value)| {
            let named = |e: io::Error| io::Error::new(e.kind(), format!("{name}={value}: {e}"));
            sysctls.write(name, value).map_err(named)
        })
    })
}

/// Where a namespace's default routes shall lead: interface and next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultRoutes<'a> {
    /// IPv4; `None`: nowhere.
    pub v4: Option<(&'a str, Ipv4Addr)>,
    /// IPv6.
    pub v6: Option<(&'a str, Ipv6Addr)>,
}

/// Leads the default routes of `netns` elsewhere, each in one step where there is
/// one before and after.
///
/// # Errors
/// The kernel's reason.
pub fn set_default_routes(netns: BorrowedFd<'_>, routes: &DefaultRoutes<'_>) -> io::Result<()> {
    let mut socket = visit(netns, || Socket::open(Family::Route))?;
    let v4 = routes.v4.map(|(link, gateway)| (link, IpAddr::V4(gateway)));
    let v6 = routes.v6.map(|(link, gateway)| (link, IpAddr::V6(gateway)));
    let anywhere = [(v4, Ipv4Addr::UNSPECIFIED.into()), (v6, Ipv6Addr::UNSPECIFIED.into())];
    for (wanted, destination) in anywhere {
        let route = |gateway, link| Route { destination, prefix: 0, gateway, link, table: 254 };
        let mut requests = Requests::default();
        let (sequence, tolerated) = match wanted {
            Some((link, gateway)) => {
                let index = socket.interface_index(link)?.ok_or(Errno::NODEV)?;
                let route = route(Some(gateway), Some(index));
                (replace_route(&mut requests, &route), Vec::new())
            }
            // No such route; no IPv6 in the kernel.
            None => {
                let gone = [Errno::SRCH, Errno::NODEV, Errno::AFNOSUPPORT, Errno::OPNOTSUPP];
                let gone = gone.map(|errno| errno.raw_os_error()).to_vec();
                (delete_route(&mut requests, &route(None, None)), gone)
            }
        };
        socket.exchange(&requests, |_| Ok(()))?.check(sequence, &tolerated)?;
    }
    Ok(())
}

/// Whether neighbours may remember another MAC of its address.
fn is_announced(endpoint: &EndpointPlan) -> bool {
    endpoint.mac != Mac::from_ipv4(endpoint.address4.0)
}

/// Announces the addresses of an interface whose way to its neighbours is open now: what
/// the kernel sent when it came up may have met a port of the bridge that did not forward
/// yet. Being given its MAC is what makes it speak again (`inetdev_event`,
/// `ndisc_netdev_event`: NETDEV_CHANGEADDR).
pub(super) fn announce(socket: &mut Socket, endpoint: &EndpointPlan) -> io::Result<()> {
    if !is_announced(endpoint) {
        return Ok(());
    }
    let index = socket.interface_index(&endpoint.interface)?.ok_or(Errno::NODEV)?;
    let mut requests = Requests::default();
    let again = LinkRequest { index, mac: Some(endpoint.mac), ..LinkRequest::default() };
    let again = again.change(&mut requests);
    socket.exchange(&requests, |_| Ok(()))?.check(again, &[])
}

/// Set before there is any link but `lo`; `eth0` inherits them when it is born.
fn settings(endpoint: &EndpointPlan, sysctls: &ProcSys) -> io::Result<()> {
    // An address always has the MAC made from it, so nobody can remember a wrong
    // one, unless it was asked for: then the kernel shall announce it when the link
    // comes up (moby#36069). An announcement is flooded to every port of the
    // bridge, which took three quarters of a start with 500 containers.
    let announced = is_announced(endpoint);
    if announced {
        sysctls.write("net/ipv4/conf/default/arp_notify", "1")?;
    }
    if endpoint.address6.is_none() {
        // No address may ever exist, not even a link-local one (CVE-2024-32473).
        let of = if endpoint.further { "default" } else { "all" };
        let name = format!("net/ipv6/conf/{of}/disable_ipv6");
        return sysctls.write_if_there(&name, "1");
    }
    if endpoint.further {
        // The interfaces before may have done without; only they go on so.
        sysctls.write("net/ipv6/conf/default/disable_ipv6", "0")?;
        sysctls.write("net/ipv6/conf/lo/disable_ipv6", "0")?;
    }
    if announced {
        sysctls.write("net/ipv6/conf/default/ndisc_notify", "1")?;
    }
    sysctls.write("net/ipv6/conf/default/accept_ra", "0")?;
    // The subnet is ours: nobody else can have the address (a second's wait otherwise).
    sysctls.write("net/ipv6/conf/default/accept_dad", "0")
}

/// `lo` up, addresses, link up, default routes.
pub(super) fn configure(socket: &mut Socket, endpoint: &EndpointPlan) -> io::Result<()> {
    configure_tolerating(socket, endpoint, &[])?;
    super::shape::limit(socket, &endpoint.interface, endpoint.bandwidth.out)
}

/// [`configure`] for a container that may have lost part of it.
pub(super) fn configure_again(endpoint: &EndpointPlan, netns: BorrowedFd<'_>) -> io::Result<()> {
    let mut socket = visit(netns, || Socket::open(Family::Route))?;
    configure_tolerating(&mut socket, endpoint, &[Errno::EXIST.raw_os_error()])
}

/// As far as it is not so already; the first refusal in the order of the requests.
pub(super) fn configure_tolerating(
    socket: &mut Socket,
    endpoint: &EndpointPlan,
    tolerated: &[i32],
) -> io::Result<()> {
    let index = socket.interface_index(&endpoint.interface)?.ok_or(Errno::NODEV)?;
    let (requests, expected) = requests(endpoint, index);
    let answers = socket.exchange(&requests, |_| Ok(()))?;
    expected.into_iter().try_for_each(|sequence| answers.check(sequence, tolerated))
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
    for ip in &endpoint.link_local {
        // 169.254.0.0/16 (RFC 3927), fe80::/64 (RFC 4291).
        let prefix = if ip.is_ipv4() { 16 } else { 64 };
        expected.push(add_address(&mut requests, &address((*ip, prefix))));
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
