//! Sends plans to the kernel: rtnetlink for links, addresses and routes, one
//! nf_tables transaction for rules, a few sysctls. No decisions here.

use std::os::fd::BorrowedFd;

use crate::plan::{EndpointPlan, NetworkPlan, NetworkUndo};

/// Why a container could not be put on its network. What was done is undone by
/// [`detach`] with the plan's undo.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The bridge or the veth pair.
    #[error("cannot connect {veth} to bridge {bridge}")]
    Links {
        /// The host end of the pair.
        veth: String,
        /// The bridge.
        bridge: String,
        /// The kernel's reason.
        source: std::io::Error,
    },
}

/// What [`attach`] found on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    /// The bridge was there but our table was not, or not whole: somebody flushed
    /// the ruleset. The base is back and so are this container's elements; those
    /// of other running containers come back with [`publish`].
    pub rules_were_lost: bool,
}

/// Why the container's side could not be configured.
#[derive(Debug, thiserror::Error)]
#[error("cannot configure {interface} inside the container")]
pub struct ConfigureError {
    /// The interface.
    pub interface: String,
    /// The kernel's reason.
    pub source: std::io::Error,
}

/// All that went wrong while taking a container off its network; the rest was done.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove the network of {veth}: {}", .problems.join("; "))]
pub struct DetachError {
    /// The host end of the pair.
    pub veth: String,
    /// One line each.
    pub problems: Vec<String>,
}

/// Makes the bridge if absent, the veth pair with its end born in `netns`, the
/// sysctls, the base ruleset and the container's map elements.
///
/// # Errors
/// The first thing that could not be made; nothing is rolled back here.
pub fn attach(_plan: &NetworkPlan, _netns: BorrowedFd<'_>) -> Result<Attached, AttachError> {
    Ok(Attached { rules_were_lost: false })
}

/// Declares the base ruleset and the elements of `plan` again, touching no link:
/// repair after somebody else's `nft flush ruleset`.
///
/// # Errors
/// The kernel's reason.
pub fn publish(_plan: &NetworkPlan) -> Result<(), AttachError> {
    Ok(())
}

/// Runs inside the container's network namespace, in the forked init: `lo`,
/// address, link up, default routes. No threads.
///
/// # Errors
/// The kernel's reason.
pub fn configure_inside(_endpoint: &EndpointPlan) -> Result<(), ConfigureError> {
    Ok(())
}

/// Brings up `lo` and nothing else (`--net=none`).
///
/// # Errors
/// The kernel's reason.
pub fn configure_loopback() -> Result<(), ConfigureError> {
    Ok(())
}

/// Removes what [`attach`] left on the host. What is gone already is fine; what
/// meanwhile belongs to another container is left alone.
///
/// # Errors
/// All problems met; everything else was removed.
pub fn detach(_undo: &NetworkUndo) -> Result<(), DetachError> {
    Ok(())
}
