//! What of the host the binds of a container show.
//!
//! Each is cloned when its turn comes: mounts are listed in the order they were
//! made in, and earlier ones may bring what lies below the container's root.
//! Only one that mounts are to travel through to the host (`rshared`) is taken
//! hold of before this namespace's mounts are cut off from the host's
//! ([`hold_shared`]).
//!
//! In a user namespace the source is taken from the copy of the host's mounts
//! that belongs to that namespace, because the copy locks the attributes the host
//! gave them (mount_namespaces(7)); where the container's root may not look, the
//! [`super::lender`] helps.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rcnt_base::sys::mount::map_ids;
use rustix::io::Errno;

use super::fsapi::{clone_of, clone_path};
use super::idmap;
use super::mounts::Workplace;
use super::root::{Links, clean};
use crate::plan::{ContainerPlan, IdMapPlan, MountKind, MountPlan, NamespaceKind, Propagation};

/// A bind whose source cannot be had, by its number.
pub(crate) type Failed = (usize, io::Error);

/// For each mount of the plan, in order, a clone of its source if it has to be
/// made now: it is in the source's peer group.
pub(crate) fn hold_shared(plan: &ContainerPlan) -> Result<Vec<Option<OwnedFd>>, Failed> {
    let user_namespace = plan.namespaces.separate(NamespaceKind::User);
    let hold = |(nth, mount): (usize, &MountPlan)| {
        let MountKind::Bind { source, recursive, .. } = &mount.kind else { return Ok(None) };
        let shared = mount.propagation.iter().any(|change| change.to == Propagation::Shared);
        // The copy a user namespace gets has been cut off already.
        if !shared || user_namespace || inside(plan, source).is_some() {
            return Ok(None);
        }
        clone_path(source, *recursive).map(Some).map_err(|error| (nth, error))
    };
    plan.mounts.iter().enumerate().map(hold).collect()
}

/// `source` as a path inside the container, if it lies below its root.
pub(super) fn inside<'a>(plan: &ContainerPlan, source: &'a Path) -> Option<&'a Path> {
    source.strip_prefix(&plan.rootfs.mountpoint).ok()
}

/// `tree` with its owners mapped.
pub(super) fn map(
    tree: OwnedFd,
    id_map: Option<&IdMapPlan>,
    maps: &mut idmap::Known,
) -> io::Result<OwnedFd> {
    if let Some(plan) = id_map {
        map_ids(&tree, maps.namespace(&plan.ids)?.as_fd(), plan.recursive)
            .map_err(why_not_mapped)?;
    }
    Ok(tree)
}

fn why_not_mapped(error: io::Error) -> io::Error {
    let hint = match Errno::from_io_error(&error) {
        Some(Errno::INVAL) => ": perhaps the file system cannot have id-mapped mounts",
        _ => "",
    };
    io::Error::new(error.kind(), format!("map the owners: {error}{hint}"))
}

/// Clones the source of mount number `nth`, whose turn it is.
pub(crate) fn open(
    workplace: &Workplace<'_>,
    nth: usize,
    held: Option<OwnedFd>,
    maps: &mut idmap::Known,
) -> io::Result<OwnedFd> {
    let Workplace { plan, root, lender, .. } = *workplace;
    let Some(MountKind::Bind { source, recursive, id_map, .. }) =
        plan.mounts.get(nth).map(|mount| &mount.kind)
    else {
        return Err(Errno::INVAL.into());
    };
    if let (Some(lender), true) = (lender, id_map.is_some()) {
        // Comes cloned and mapped, which takes the host's rights.
        return lender.borrow(nth);
    }
    let tree = match (held, inside(plan, source)) {
        // Once more, for its place in the list; before Linux 6.15 it cannot be had.
        (Some(held), _) => clone_of(&held, *recursive).unwrap_or(held),
        (None, Some(path)) => clone_of(root.find(&clean(path), Links::Follow)?, *recursive)?,
        (None, None) => match (clone_path(source, *recursive), lender) {
            (Err(error), Some(lender)) if error.kind() == io::ErrorKind::PermissionDenied => {
                clone_of(lender.borrow(nth)?, *recursive)?
            }
            (tree, _) => tree?,
        },
    };
    map(tree, id_map.as_ref(), maps)
}
