//! The host's side of the wire: bridge, veth pair, their settings.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use rcnt_base::sys::netlink::Family;
use rustix::io::Errno;

use super::{AttachError, inside, router, shape};
use crate::facts::Address;
use crate::plan::{BridgePlan, EndpointPlan, NetworkPlan};
use crate::socket::{Answers, Socket};
use crate::sysctl::ProcSys;
use crate::wire::Requests;
use crate::wire::link::{LinkKind, LinkRequest, LinkState, read_state};
use crate::wire::route::add_address;

/// Whether the bridge was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bridge {
    Made,
    Found,
}

/// How often and how far apart a link is asked for before it is taken as it is.
const LINK_ATTEMPTS: u32 = 100;
const LINK_PAUSE: Duration = Duration::from_micros(200);
const EEXIST: i32 = Errno::EXIST.raw_os_error();
const EXFULL: i32 = Errno::XFULL.raw_os_error();

/// Bridge and veth pair, complete and up on the host's side.
pub(super) fn attach(
    plan: &NetworkPlan,
    bridge_plan: &BridgePlan,
    netns: BorrowedFd<'_>,
    sysctls: &ProcSys,
) -> Result<(Bridge, Vec<bool>), AttachError> {
    let name = &bridge_plan.interface;
    let bridge_error = |source| AttachError::Bridge { bridge: name.clone(), source };
    let mut socket = Socket::open(Family::Route).map_err(bridge_error)?;
    let (index, bridge) = match socket.interface_index(name).map_err(bridge_error)? {
        Some(index) => (index, Bridge::Found),
        None => {
            let index = make_bridge(&mut socket, bridge_plan).map_err(bridge_error)?;
            // Before it comes up and could learn anything from a router.
            bridge_settings(bridge_plan, sysctls, LinkState::default())?;
            (index, Bridge::Made)
        }
    };
    // Nothing is routed to or from an internal network.
    let mut switched_on = Vec::new();
    if plan.host.ip_forward && !bridge_plan.policy.internal {
        switched_on.extend(router::forward(plan, sysctls, false)?);
        if bridge_plan.address6.is_some() {
            router::keep_router_advertisements(sysctls).map_err(bridge_error)?;
            switched_on.extend(router::forward(plan, sysctls, true)?);
        }
    }
    let inside_error = |source| AttachError::Inside {
        interface: plan.endpoint.interface.clone(),
        owner: plan.owner_name.clone(),
        source,
    };
    let bandwidth_error =
        |source| AttachError::Bandwidth { owner: plan.owner_name.clone(), source };
    let mut container = inside::prepare(&plan.endpoint, netns, sysctls).map_err(inside_error)?;
    connect(&mut socket, plan, bridge_plan, index, netns)?;
    inside::interface_settings(&plan.endpoint, netns, sysctls).map_err(inside_error)?;
    inside::configure(&mut container, &plan.endpoint).map_err(inside_error)?;
    let EndpointPlan { host_interface, bandwidth, .. } = &plan.endpoint;
    shape::limit(&mut socket, host_interface, bandwidth.into).map_err(bandwidth_error)?;
    forwarding(&mut socket, &plan.endpoint.host_interface).map_err(bridge_error)?;
    let state = forwarding(&mut socket, name).map_err(bridge_error)?;
    inside::announce(&mut container, &plan.endpoint).map_err(inside_error)?;
    if bridge == Bridge::Found {
        bridge_settings(bridge_plan, sysctls, state)?;
    }
    Ok((bridge, switched_on))
}

/// Whether the firewall can see what passes within a bridge at all.
fn can_filter() -> io::Result<()> {
    match std::fs::exists("/proc/sys/net/bridge/bridge-nf-call-iptables") {
        Ok(false) => Err(io::Error::other(
            "keeping its containers apart (icc=false) needs the kernel's br_netfilter module",
        )),
        known => known.map(drop),
    }
}

/// The bridge, down and without address: its settings come before its life.
fn make_bridge(socket: &mut Socket, bridge: &BridgePlan) -> io::Result<u32> {
    let BridgePlan { interface, alias, mac, address4: _, address6: _, mtu, policy } = bridge;
    if !policy.icc {
        can_filter()?;
    }
    let mut requests = Requests::default();
    let create = LinkRequest {
        name: Some(interface),
        mac: Some(*mac),
        mtu: Some(*mtu),
        kind: Some(LinkKind::Bridge { filtered: !policy.icc }),
        ..LinkRequest::default()
    };
    let create = create.create(&mut requests);
    // The alias is not taken from the creating message (rtnl_newlink_create).
    let alias = LinkRequest { name: Some(interface), alias: Some(alias), ..LinkRequest::default() };
    let alias = alias.change(&mut requests);
    let plain = LinkRequest { name: Some(interface), no_link_local: true, ..Default::default() };
    plain.change(&mut requests); // fails harmlessly on kernels without IPv6
    let answers = exchange(socket, &requests)?;
    // Another rcnt may have made it a moment ago.
    answers.check(create, &[EEXIST])?;
    answers.check(alias, &[])?;
    socket
        .interface_index(interface)?
        .ok_or_else(|| io::Error::other("it vanished while it was being set up"))
}

/// What the bridge needs of the kernel, as far as it is not so already. Checked at
/// every start, to heal what others changed: that costs nothing, since the kernel
/// tells the settings with the link. (Paths below /proc/sys/net are slow to look up
/// where there are hundreds of network namespaces.)
///
/// The veth needs nothing of the kind: what arrives at a bridge's port is the
/// bridge's, the host's IPv6 never sees it.
fn bridge_settings(
    bridge: &BridgePlan,
    sysctls: &ProcSys,
    state: LinkState,
) -> Result<(), AttachError> {
    let BridgePlan { interface, address6, .. } = bridge;
    // No IPv6 at all on an IPv4-only network, the host's end included.
    let (disable, disabled) = if address6.is_some() { ("0", 0) } else { ("1", 1) };
    if state.accept_ra != Some(0) || state.disable_ipv6 != Some(disabled) {
        for (setting, value) in [("accept_ra", "0"), ("disable_ipv6", disable)] {
            let name = format!("net/ipv6/conf/{interface}/{setting}");
            sysctls
                .write_if_there(&name, value)
                .map_err(|e| AttachError::sysctl(&name, value, e))?;
        }
    }
    if state.route_localnet != Some(1) {
        // Lets 127.0.0.1:8080 be translated to a container; fenced in rules.rs.
        let name = format!("net/ipv4/conf/{interface}/route_localnet");
        sysctls.write(&name, "1").map_err(|e| AttachError::sysctl(&name, "1", e))?;
    }
    Ok(())
}

/// One buffer: the bridge's addresses and life (again, in case somebody took
/// them), the pair with its far end born in the container, its options, its life.
fn connect(
    socket: &mut Socket,
    plan: &NetworkPlan,
    bridge_plan: &BridgePlan,
    bridge: u32,
    netns: BorrowedFd<'_>,
) -> Result<(), AttachError> {
    let (BridgePlan { interface, .. }, end) = (bridge_plan, &plan.endpoint);
    let bridge_error = |source| AttachError::Bridge { bridge: interface.clone(), source };
    let veth_error = |source| AttachError::Veth {
        veth: end.host_interface.clone(),
        bridge: interface.clone(),
        source,
    };
    let mut requests = Requests::default();
    let mut expected = Vec::new();
    bridge_life(bridge_plan, bridge, &mut requests, &mut expected);
    let pair = make_pair(&mut requests, plan, bridge, netns);
    let answers = exchange(socket, &requests).map_err(veth_error)?;
    for sequence in expected {
        answers.check(sequence, &[EEXIST]).map_err(bridge_error)?;
    }
    for sequence in pair {
        if answers.errno(sequence) == EXFULL {
            return Err(AttachError::Full { bridge: interface.clone() });
        }
        answers.check(sequence, &[]).map_err(veth_error)?;
    }
    Ok(())
}

/// The bridge up, with its addresses.
fn bridge_life(bridge: &BridgePlan, index: u32, requests: &mut Requests, expected: &mut Vec<u32>) {
    let BridgePlan { mac, address4, address6, policy, .. } = bridge;
    let up = LinkRequest { index, up: true, ..LinkRequest::default() };
    expected.push(up.change(requests));
    let (address, prefix) = *address4;
    let mut addresses = Vec::new();
    if policy.host_address(false) {
        addresses.push(Address { link: index, address: address.into(), prefix });
    }
    if let Some((address, prefix)) = *address6
        && policy.host_address(true)
    {
        addresses.push(Address { link: index, address: address.into(), prefix });
        // The kernel asks for neighbours on behalf of others from a link-local
        // address only (ndisc_send_ns). Ours, because its own would wait for DAD.
        addresses.push(Address { link: index, address: mac.link_local().into(), prefix: 64 });
    }
    expected.extend(addresses.iter().map(|address| add_address(requests, address)));
}

/// Makes a bridge that no container is on yet, up and with its addresses. One that
/// is there is completed.
pub(super) fn raise(bridge: &BridgePlan, sysctls: &ProcSys) -> Result<(), AttachError> {
    let name = &bridge.interface;
    let bridge_error = |source| AttachError::Bridge { bridge: name.clone(), source };
    let mut socket = Socket::open(Family::Route).map_err(bridge_error)?;
    let index = match socket.interface_index(name).map_err(bridge_error)? {
        Some(index) => index,
        None => make_bridge(&mut socket, bridge).map_err(bridge_error)?,
    };
    bridge_settings(bridge, sysctls, LinkState::default())?;
    let (mut requests, mut expected) = (Requests::default(), Vec::new());
    bridge_life(bridge, index, &mut requests, &mut expected);
    let answers = exchange(&mut socket, &requests).map_err(bridge_error)?;
    let mut checked = expected.into_iter().map(|sequence| answers.check(sequence, &[EEXIST]));
    checked.try_for_each(|check| check.map_err(bridge_error))
}

fn make_pair(
    requests: &mut Requests,
    plan: &NetworkPlan,
    bridge: u32,
    netns: BorrowedFd<'_>,
) -> [u32; 2] {
    let end = &plan.endpoint;
    let peer = LinkRequest {
        name: Some(&end.interface),
        mac: Some(end.mac),
        mtu: Some(end.mtu),
        netns_fd: Some(netns.as_raw_fd()),
        ..LinkRequest::default()
    };
    let create = LinkRequest {
        name: Some(&end.host_interface),
        // One that somebody has chosen is left alone by udev (systemd.link(5),
        // MACAddressPolicy=persistent); nothing is ever sent to it or from it.
        mac: Some(end.mac.far_end()),
        mtu: Some(end.mtu),
        master: Some(bridge),
        kind: Some(LinkKind::Veth(Box::new(peer))),
        ..LinkRequest::default()
    };
    let create = create.create(requests);
    let name = Some(end.host_interface.as_str());
    // The kernel takes these two from later messages only. Without IPv6 in the
    // kernel the first is refused, and not needed.
    LinkRequest { name, no_link_local: true, ..LinkRequest::default() }.change(requests);
    let live = LinkRequest { name, up: true, hairpin: Some(end.hairpin), ..LinkRequest::default() };
    [create, live.change(requests)]
}

/// Waits until this link really forwards, and tells its state. An interface whose
/// other end comes up later starts to send in a work queue, a moment after; whatever
/// is sent in that moment is lost, and the first ARP request or answer is repeated
/// after a second. Since Linux 6.8 the question itself makes the kernel catch up.
pub(super) fn forwarding(socket: &mut Socket, name: &str) -> io::Result<LinkState> {
    let question = LinkRequest { name: Some(name), ..LinkRequest::default() };
    let mut state = LinkState::default();
    for _ in 0..LINK_ATTEMPTS {
        let mut requests = Requests::default();
        let sequence = question.get(&mut requests);
        let answers = socket.exchange(&requests, |message| {
            state = read_state(message);
            Ok(())
        })?;
        if state.operational {
            break;
        }
        if answers.errno(sequence) != 0 {
            answers.check(sequence, &[])?;
        }
        std::thread::sleep(LINK_PAUSE);
    }
    Ok(state)
}

fn exchange(socket: &mut Socket, requests: &Requests) -> io::Result<Answers> {
    socket.exchange(requests, |_| Ok(()))
}

/// Whether there is an interface of this name.
pub(super) fn exists(name: &str) -> io::Result<bool> {
    Socket::open(Family::Route)?.interface_index(name).map(|index| index.is_some())
}

/// Looks for an interface until it is gone. Each question waits for the RTNL lock
/// (netlink(7)), which whoever deletes it holds while it is still there.
pub(super) fn wait_gone(name: &str) -> io::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let socket = Socket::open(Family::Route)?;
    let deadline = std::time::Instant::now() + PATIENCE;
    while socket.interface_index(name)?.is_some() {
        if std::time::Instant::now() > deadline {
            return Err(io::Error::other("it does not go"));
        }
        std::thread::sleep(LINK_PAUSE);
    }
    Ok(())
}

/// Puts the host's end of a pair back into its bridge, up.
pub(super) fn replug(plan: &NetworkPlan) -> Result<(), AttachError> {
    let end = &plan.endpoint;
    let Some(bridge) = plan.wire.bridge().map(|bridge| &bridge.interface) else { return Ok(()) };
    let work = || {
        let mut socket = Socket::open(Family::Route)?;
        let master = socket.interface_index(bridge)?.ok_or(Errno::NODEV)?;
        let mut requests = Requests::default();
        let name = Some(end.host_interface.as_str());
        let plug = LinkRequest { name, master: Some(master), ..LinkRequest::default() };
        let plug = plug.change(&mut requests);
        // Options of a bridge's port are taken once it is one.
        let live =
            LinkRequest { name, up: true, hairpin: Some(end.hairpin), ..LinkRequest::default() };
        let live = live.change(&mut requests);
        let answers = exchange(&mut socket, &requests)?;
        answers.check(plug, &[])?;
        answers.check(live, &[])
    };
    work().map_err(|source| AttachError::Veth {
        veth: end.host_interface.clone(),
        bridge: bridge.clone(),
        source,
    })
}

/// Removes an interface; one that is gone is fine.
pub(super) fn remove(name: &str) -> io::Result<()> {
    let mut socket = Socket::open(Family::Route)?;
    let Some(index) = socket.interface_index(name)? else { return Ok(()) };
    let mut requests = Requests::default();
    let delete = LinkRequest { index, ..LinkRequest::default() }.delete(&mut requests);
    exchange(&mut socket, &requests)?.check(delete, &[Errno::NODEV.raw_os_error()])
}
