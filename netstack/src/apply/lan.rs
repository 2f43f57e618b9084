//! Containers on a LAN: the parent interface on the host, and a macvlan or ipvlan
//! of it for each container. Nothing of a container stays on the host: its
//! interface is born in its namespace and goes with it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rcnt_base::sys::netlink::Family;
use rustix::io::Errno;

use super::{AttachError, inside, links, shape};
use crate::network::{Parent, ParentMaking};
use crate::plan::{EndpointPlan, LanKind, LanPlan, NetworkPlan};
use crate::socket::Socket;
use crate::sysctl::ProcSys;
use crate::wire::Requests;
use crate::wire::link::{LinkKind, LinkRequest};

const EEXIST: i32 = Errno::EXIST.raw_os_error();
const EOPNOTSUPP: i32 = Errno::OPNOTSUPP.raw_os_error();
/// How long an address may still be held by an interface whose container is gone.
const HELD: Duration = Duration::from_secs(2);

/// Puts the container on the LAN: its interface, made from the parent, with
/// addresses and routes.
pub(super) fn attach(
    plan: &NetworkPlan,
    lan: &LanPlan,
    netns: BorrowedFd<'_>,
    sysctls: &ProcSys,
) -> Result<(), AttachError> {
    let endpoint = &plan.endpoint;
    let parent_error =
        |source| AttachError::Parent { parent: lan.parent.interface.clone(), source };
    let inside_error = |source| AttachError::Inside {
        interface: endpoint.interface.clone(),
        owner: plan.owner_name.clone(),
        source,
    };
    let parent = raise(&lan.parent).map_err(parent_error)?;
    let mut container = inside::prepare(endpoint, netns, sysctls).map_err(inside_error)?;
    let mut socket = Socket::open(Family::Route).map_err(parent_error)?;
    make(&mut socket, lan, parent, endpoint, netns).map_err(|source| AttachError::Lan {
        interface: endpoint.interface.clone(),
        parent: lan.parent.interface.clone(),
        source,
    })?;
    inside::interface_settings(endpoint, netns, sysctls).map_err(inside_error)?;
    configure_when_free(&mut container, endpoint).map_err(inside_error)?;
    links::forwarding(&mut container, &endpoint.interface).map_err(inside_error)?;
    if matches!(lan.kind, LanKind::Macvlan(_)) {
        inside::announce(&mut container, endpoint).map_err(inside_error)?;
    }
    Ok(())
}

/// The container's interface, born in its namespace.
fn make(
    socket: &mut Socket,
    lan: &LanPlan,
    parent: u32,
    endpoint: &EndpointPlan,
    netns: BorrowedFd<'_>,
) -> io::Result<()> {
    let (kind, mac) = match lan.kind {
        LanKind::Macvlan(mode) => (LinkKind::Macvlan(mode), Some(endpoint.mac)),
        // It has the parent's.
        LanKind::Ipvlan(mode, flag) => (LinkKind::Ipvlan(mode, flag), None),
    };
    let mut requests = Requests::default();
    let create = LinkRequest {
        name: Some(&endpoint.interface),
        mac,
        mtu: lan.mtu,
        lower: Some(parent),
        netns_fd: Some(netns.as_raw_fd()),
        kind: Some(kind),
        ..LinkRequest::default()
    };
    let create = create.create(&mut requests);
    socket.exchange(&requests, |_| Ok(()))?.check(create, &[])
}

/// Addresses, life, routes, in this order: the kernel announces the addresses that a
/// link has when it comes up. A MAC follows from its address, and the kernel refuses
/// the link (EADDRINUSE, `macvlan_open`) while another of the parent's has the same:
/// that of the address's last holder, whose namespace the kernel takes down in the
/// background (`cleanup_net`).
fn configure_when_free(socket: &mut Socket, endpoint: &EndpointPlan) -> io::Result<()> {
    let give_up = Instant::now() + HELD;
    loop {
        match inside::configure_tolerating(socket, endpoint, &[EEXIST]) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < give_up => {
                sleep(Duration::from_millis(2));
            }
            done => break done?,
        }
    }
    shape::limit(socket, &endpoint.interface, endpoint.bandwidth.out)
}

/// The parent's number: found, or made as it was decided, and up.
pub(super) fn raise(parent: &Parent) -> io::Result<u32> {
    let mut socket = Socket::open(Family::Route)?;
    let name = parent.interface.as_str();
    if let Some(index) = socket.interface_index(name)? {
        if parent.made != ParentMaking::Host {
            // Somebody may have taken it down; ours shall be up.
            up(&mut socket, index)?;
        }
        return Ok(index);
    }
    let request = LinkRequest { name: Some(name), ..LinkRequest::default() };
    let request = match &parent.made {
        ParentMaking::Host => return Err(Errno::NODEV.into()),
        ParentMaking::Vlan { link, tag } => {
            let Some(lower) = socket.interface_index(link)? else {
                let missing = format!("interface {link} does not exist");
                return Err(io::Error::new(io::ErrorKind::NotFound, missing));
            };
            LinkRequest { lower: Some(lower), kind: Some(LinkKind::Vlan(*tag)), ..request }
        }
        ParentMaking::Isolated => LinkRequest { kind: Some(LinkKind::Dummy), ..request },
    };
    make_parent(&mut socket, parent, &request)?;
    let index = socket.interface_index(name)?.ok_or(Errno::NODEV)?;
    up(&mut socket, index)?;
    Ok(index)
}

fn make_parent(socket: &mut Socket, parent: &Parent, request: &LinkRequest<'_>) -> io::Result<()> {
    let mut requests = Requests::default();
    let create = request.create(&mut requests);
    let answers = socket.exchange(&requests, |_| Ok(()))?;
    if answers.errno(create) == EOPNOTSUPP && parent.made == ParentMaking::Isolated {
        return make_pair(socket, parent);
    }
    // Another rcnt may have made it a moment ago.
    answers.check(create, &[EEXIST])?;
    mark(socket, parent)
}

/// Kernels without `dummy`: a veth pair that nobody listens to at its other end does
/// as well. Both ends go when one does.
fn make_pair(socket: &mut Socket, parent: &Parent) -> io::Result<()> {
    let far = far_end(&parent.interface);
    let peer = LinkRequest { name: Some(&far), ..LinkRequest::default() };
    let pair = LinkRequest {
        name: Some(&parent.interface),
        kind: Some(LinkKind::Veth(Box::new(peer))),
        ..LinkRequest::default()
    };
    let mut requests = Requests::default();
    let create = pair.create(&mut requests);
    socket.exchange(&requests, |_| Ok(()))?.check(create, &[EEXIST])?;
    if let Some(index) = socket.interface_index(&far)? {
        up(socket, index)?;
    }
    mark(socket, parent)
}

/// `dm-0123456789ab` → `dn-0123456789ab`.
fn far_end(interface: &str) -> String {
    format!("dn-{}", interface.trim_start_matches("dm-"))
}

/// The alias says whose it is. (It is not taken from the creating message.)
fn mark(socket: &mut Socket, parent: &Parent) -> io::Result<()> {
    let (name, alias) = (Some(parent.interface.as_str()), Some(parent.alias.as_str()));
    let mut requests = Requests::default();
    let named = LinkRequest { name, alias, no_link_local: false, ..LinkRequest::default() };
    let alias = named.change(&mut requests);
    let quiet = LinkRequest { name, no_link_local: true, ..LinkRequest::default() };
    quiet.change(&mut requests); // fails harmlessly on kernels without IPv6
    socket.exchange(&requests, |_| Ok(()))?.check(alias, &[])
}

fn up(socket: &mut Socket, index: u32) -> io::Result<()> {
    let mut requests = Requests::default();
    let up = LinkRequest { index, up: true, ..LinkRequest::default() }.change(&mut requests);
    socket.exchange(&requests, |_| Ok(()))?.check(up, &[])
}

/// Removes a parent that was made by us; one of the host's, or marked by others, stays.
pub(super) fn remove(parent: &Parent) -> io::Result<()> {
    if parent.made == ParentMaking::Host {
        return Ok(());
    }
    let link = crate::network::find_link(&parent.interface)?;
    match link.is_some_and(|link| link.alias.as_deref() == Some(parent.alias.as_str())) {
        true => links::remove(&parent.interface),
        false => Ok(()),
    }
}

/// Whether the kernel can make such interfaces. Asked without what it needs besides
/// the kind: a kernel that knows it misses that (EINVAL), another the kind.
pub(super) fn is_supported(kind: LanKind) -> io::Result<bool> {
    let kind = match kind {
        LanKind::Macvlan(mode) => LinkKind::Macvlan(mode),
        LanKind::Ipvlan(mode, flag) => LinkKind::Ipvlan(mode, flag),
    };
    let mut requests = Requests::default();
    let request = LinkRequest { kind: Some(kind), name: Some("rcnt-ask"), ..Default::default() };
    let create = request.create(&mut requests);
    let answers = Socket::open(Family::Route)?.exchange(&requests, |_| Ok(()))?;
    Ok(answers.errno(create) != EOPNOTSUPP)
}
