//! Sends plans to the kernel: rtnetlink for links, addresses and routes, one
//! nf_tables transaction for rules, a few sysctls. No decisions here.
//!
//! ```text
//! attach   both ends of the wire, then rules     (supervisor, while init mounts)
//! detach   elements by key, tracked flows        (supervisor, or whoever repairs)
//! purge    an instance's last trace: bridges, table
//! ```

use std::io;
use std::os::fd::BorrowedFd;

use crate::neighbours::{self, ForwardDrop};
use crate::network::Parent;
use crate::plan::{BridgePlan, LanKind, NetworkPlan, NetworkUndo, Passage, Wire};
use crate::ports::PublishedPort;
use crate::rules::Part;
use crate::sysctl::ProcSys;

pub(crate) mod door;
pub(crate) mod egress;
mod error;
mod flows;
mod inside;
mod lan;
mod links;
mod router;
pub(crate) mod ruleset;
pub(crate) mod shape;

pub use error::{AttachError, DetachError, PurgeError};
pub use inside::{ConfigureError, DefaultRoutes, configure_loopback, set_default_routes};

/// What [`attach`] found on its way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attached {
    /// The bridge was there but our table was not, or not whole: somebody flushed
    /// the ruleset. The base is back and so are this container's elements; those
    /// of other running containers come back with [`publish`].
    pub rules_were_lost: bool,
    /// Families (whether IPv6) whose forwarding was switched on just now, fenced: to be
    /// written down for [`fence`], should the rules get lost.
    pub forwarding: Vec<bool>,
    /// Chains of others that drop what a bridge made just now forwards.
    pub closed: Vec<ForwardDrop>,
}

/// Makes the bridge if absent, the veth pair with its end born in `netns` and
/// configured there, the sysctls, the base ruleset and the container's map
/// elements. When it returns, packets pass in every direction.
///
/// The calling thread visits `netns` for a moment.
///
/// # Errors
/// The first thing that could not be made; nothing is rolled back here.
pub fn attach(
    plan: &NetworkPlan,
    netns: BorrowedFd<'_>,
    sysctls: &ProcSys,
) -> Result<Attached, AttachError> {
    let listing = |source| AttachError::Egress { owner: plan.owner_name.clone(), source };
    // Before there is a way out.
    egress::confine(plan).map_err(listing)?;
    let (bridge, forwarding) = match &plan.wire {
        Wire::Bridge(bridge) => links::attach(plan, bridge, netns, sysctls)?,
        Wire::Lan(lan) => {
            lan::attach(plan, lan, netns, sysctls)?;
            return Ok(Attached::default());
        }
    };
    if !plan.host.firewall {
        return Ok(Attached { forwarding, ..Attached::default() });
    }
    egress::guard(plan).map_err(listing)?;
    let base = ruleset::publish(plan, bridge == links::Bridge::Made)?;
    flows::end_older(plan)
        .map_err(|source| AttachError::Flows { owner: plan.owner_name.clone(), source })?;
    let rules_were_lost = bridge == links::Bridge::Found && base == ruleset::Base::Declared;
    let closed = match (bridge, plan.wire.bridge()) {
        (links::Bridge::Made, Some(made)) => open_doors(&plan.table, &made.interface),
        _ => Vec::new(),
    };
    Ok(Attached { rules_were_lost, forwarding, closed })
}

/// Declares the base ruleset and the elements of `plan` again, touching no link:
/// repair after somebody else's `nft flush ruleset`.
///
/// # Errors
/// The kernel's reason.
pub fn publish(plan: &NetworkPlan) -> Result<(), AttachError> {
    if !plan.host.firewall {
        return Ok(());
    }
    let listing = |source| AttachError::Egress { owner: plan.owner_name.clone(), source };
    egress::confine(plan).and_then(|()| egress::guard(plan)).map_err(listing)?;
    ruleset::publish(plan, false).map(|_| ())
}

/// Publishes ports of a container that is attached already: those of `plan`, in one
/// transaction; then ends the UDP flows that began without them.
///
/// # Errors
/// The kernel's reason.
pub fn publish_more(plan: &NetworkPlan) -> Result<(), AttachError> {
    if !plan.host.firewall || plan.wire.bridge().is_none() {
        return Ok(());
    }
    ruleset::publish(plan, false)?;
    flows::end_older(plan)
        .map_err(|source| AttachError::Flows { owner: plan.owner_name.clone(), source })
}

/// Withdraws the ports of `undo` from a container that stays, and ends their UDP
/// flows. What it needs for those that are `kept` stays. Connections go on.
///
/// # Errors
/// All problems met; everything else was removed.
pub fn withdraw(undo: &NetworkUndo, kept: &[PublishedPort]) -> Result<(), DetachError> {
    let done = ruleset::withdraw(undo, kept).and_then(|()| flows::end_to(&undo.published));
    done.map_err(|error| DetachError {
        veth: undo.host_interface.clone(),
        problems: vec![error.to_string()],
    })
}

/// Keeps the host from forwarding these families (`true`: IPv6) between networks that
/// are none of ours, as [`attach`] does where it switches forwarding on.
///
/// # Errors
/// The kernel's reason.
pub fn fence(table: &str, families: &[bool]) -> Result<(), AttachError> {
    ruleset::fence(table, families)
        .map_err(|source| AttachError::Rules { table: table.to_owned(), source })
}

/// Opens passages on a bridge whose containers do not talk, in one transaction;
/// `comment` tells whose they are. Those that are open stay so.
///
/// # Errors
/// The kernel's reason.
pub fn open_passages(table: &str, all: &[Passage], comment: &str) -> Result<(), AttachError> {
    ruleset::open_passages(table, all, comment)
        .map_err(|source| AttachError::Rules { table: table.to_owned(), source })
}

/// Closes passages; connections through them go on. What is closed already is fine.
///
/// # Errors
/// The kernel's reason.
pub fn close_passages(table: &str, all: &[Passage]) -> Result<(), AttachError> {
    ruleset::close_passages(table, all)
        .map_err(|source| AttachError::Rules { table: table.to_owned(), source })
}

/// Lets a bridge that was just made through the tables of others that drop what they
/// do not know, where they have a door for that (docker's DOCKER-USER). Returns the
/// chains that still drop. What cannot be read or opened is found by [`crate::check`].
pub fn open_doors(table: &str, interface: &str) -> Vec<ForwardDrop> {
    let read = || neighbours::read(table, &[interface]).unwrap_or_default();
    let closed = read();
    let opened = closed.iter().filter(|drop| door::open(drop, table).unwrap_or(false)).count();
    if opened > 0 { read() } else { closed }
}

/// Puts the host's end of a container's link back into its bridge.
///
/// # Errors
/// The kernel's reason.
pub(crate) fn replug(plan: &NetworkPlan) -> Result<(), AttachError> {
    links::replug(plan)
}

/// Gives a container's side back what it has lost: addresses, routes, life.
///
/// # Errors
/// The kernel's reason.
pub(crate) fn configure_again(
    plan: &NetworkPlan,
    netns: BorrowedFd<'_>,
) -> Result<(), AttachError> {
    inside::configure_again(&plan.endpoint, netns).map_err(|source| AttachError::Inside {
        interface: plan.endpoint.interface.clone(),
        owner: plan.owner_name.clone(),
        source,
    })
}

/// Declares a part of the table's rules anew; elements stay.
///
/// # Errors
/// The kernel's reason.
pub(crate) fn declare(table: &str, part: &Part) -> Result<(), AttachError> {
    ruleset::declare_anew(table, part)
        .map_err(|source| AttachError::Rules { table: table.to_owned(), source })
}

/// Does `work` with the calling thread in `netns`.
///
/// # Errors
/// What `work` says, or the namespace cannot be entered.
pub(crate) fn look_inside<T>(
    netns: BorrowedFd<'_>,
    work: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    inside::visit(netns, work)
}

/// Takes back what [`attach`] left on the host and what does not vanish with the
/// container's network namespace: map elements and UDP flows. What is gone already
/// is fine; what meanwhile belongs to another container is left alone.
///
/// The veth pair is not waited for: the kernel removes it with the namespace, in
/// the background, while deleting it from here waits for RCU grace periods (15 to
/// 50 ms measured). See [`remove_link`].
///
/// # Errors
/// All problems met; everything else was removed.
pub fn detach(undo: &NetworkUndo) -> Result<(), DetachError> {
    let mut problems = Vec::new();
    let mut note = |what: &str, done: io::Result<()>| {
        if let Err(error) = done {
            problems.push(format!("{what}: {error}"));
        }
    };
    note("nftables elements", ruleset::withdraw(undo, &[]));
    note("egress list", egress::release(undo));
    note("tracked UDP flows", flows::end_of(undo));
    if problems.is_empty() {
        return Ok(());
    }
    Err(DetachError { veth: undo.host_interface.clone(), problems })
}

/// Deletes the veth pair, for a namespace that outlives its container. Idempotent.
/// Waits for RCU grace periods: call it where nobody waits for the answer.
///
/// # Errors
/// The kernel's reason, with the interface.
pub fn remove_link(undo: &NetworkUndo) -> Result<(), DetachError> {
    links::remove(&undo.host_interface).map_err(|error| DetachError {
        veth: undo.host_interface.clone(),
        problems: vec![format!("link: {error}")],
    })
}

/// Whether the host has an interface of this name.
///
/// # Errors
/// The kernel's reason.
pub fn link_exists(interface: &str) -> io::Result<bool> {
    links::exists(interface)
}

/// Deletes an interface; one that is gone is fine. See [`remove_link`].
///
/// # Errors
/// The kernel's reason.
pub fn remove_interface(interface: &str) -> io::Result<()> {
    links::remove(interface)
}

/// Waits until an interface that somebody else is deleting is out of sight.
///
/// # Errors
/// It is still there after two seconds.
pub fn wait_link_gone(interface: &str) -> io::Result<()> {
    links::wait_gone(interface)
}

/// Makes the bridge of a network that no container is on yet; [`attach`] would make
/// it, too, and mends it.
///
/// # Errors
/// The first thing that could not be made. What was made stays: [`remove_bridge`].
pub fn raise_bridge(bridge: &BridgePlan, sysctls: &ProcSys) -> Result<(), AttachError> {
    links::raise(bridge, sysctls)
}

/// Makes the parent interface of a macvlan or ipvlan network, if it is ours to make;
/// [`attach`] would make it, too.
///
/// # Errors
/// The kernel's reason. What was made stays: [`remove_parent`].
pub fn raise_parent(parent: &Parent) -> io::Result<()> {
    lan::raise(parent).map(|_| ())
}

/// Removes a parent interface that [`raise_parent`] made; the host's own stay.
///
/// # Errors
/// The kernel's reason.
pub fn remove_parent(parent: &Parent) -> io::Result<()> {
    lan::remove(parent)
}

/// Whether this kernel can make interfaces of this kind.
///
/// # Errors
/// It cannot be asked.
pub fn has_kind(kind: LanKind) -> io::Result<bool> {
    lan::is_supported(kind)
}

/// Removes an interface of a running container, inside its namespace; one that is
/// gone is fine.
///
/// # Errors
/// The kernel's reason.
pub fn remove_inside(netns: BorrowedFd<'_>, interface: &str) -> io::Result<()> {
    inside::remove(netns, interface)
}

/// Removes the bridge of a network that nobody is on, and what the table says of
/// it. A bridge that is gone, or is not ours, is left alone. `delete` is
/// [`remove_interface`], or what has somebody else wait for it.
///
/// # Errors
/// The first thing that could not be removed.
pub fn remove_bridge(
    table: &str,
    bridge: &BridgePlan,
    delete: &dyn Fn(&str) -> io::Result<()>,
) -> Result<(), PurgeError> {
    let name = &bridge.interface;
    let cannot = |source| PurgeError::Bridge { bridge: name.clone(), source };
    let link = crate::network::find_link(name).map_err(cannot)?;
    if link.is_some_and(|link| link.alias.as_deref() == Some(bridge.alias.as_str())) {
        delete(name).map_err(cannot)?;
    }
    // Somebody else's table that cannot be read keeps no network from going.
    if let Err(error) = door::close(name, table) {
        log::warn!("cannot close bridge {name}'s door in DOCKER-USER: {error}");
    }
    ruleset::forget_bridge(table, bridge)
        .map_err(|source| PurgeError::Table { table: table.to_owned(), source })
}

/// Removes all of an instance from the host's network: every bridge with this
/// alias ([`crate::plan::BridgePlan::alias`]), then the table. For when its last
/// container is gone; what is not there is fine.
///
/// # Errors
/// The first thing that could not be removed.
pub fn purge(table: &str, alias: &str) -> Result<(), PurgeError> {
    for link in crate::facts::read_links().map_err(PurgeError::Links)? {
        if link.kind.as_deref() == Some("bridge") && link.alias.as_deref() == Some(alias) {
            links::remove(&link.name)
                .map_err(|source| PurgeError::Bridge { bridge: link.name, source })?;
        }
    }
    ruleset::remove_table(table)
        .map_err(|source| PurgeError::Table { table: table.to_owned(), source })
}
