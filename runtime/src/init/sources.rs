//! What of the host the binds of a container show.
//!
//! Mostly it is cloned while nothing is mounted yet ([`open_all`]). Two kinds of
//! source have to wait for their turn: those below the container's root, which
//! earlier mounts may bring, and all of a container in a user namespace. There
//! they are taken from the copy of the host's mounts that belongs to that
//! namespace, because the copy locks the attributes the host gave them
//! (mount_namespaces(7)); where the container's root may not look, the
//! [`super::lender`] helps.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rcnt_base::sys::mount::map_ids;
use rustix::io::Errno;

use super::fsapi::{clone_of, clone_path};
use super::idmap;
use super::lender::Borrower;
use super::root::{Links, Root, clean};
use crate::plan::{ContainerPlan, IdMapPlan, MountKind, MountPlan, NamespaceKind};

/// What a mount has been given so far.
#[derive(Debug)]
pub(crate) enum Source {
    /// It is no bind.
    None,
    /// Cloned, and its owners mapped if they are to be.
    Open(OwnedFd),
    /// Its turn will come.
    Later,
}

/// A bind whose source cannot be had, by its number.
pub(crate) type Failed = (usize, io::Error);

/// Clones the sources of all binds, in the order of the plan's mounts. A clone
/// keeps its place in the source's peer group, so `rshared` still reaches the
/// host after everything else was made private.
pub(crate) fn open_all(plan: &ContainerPlan) -> Result<Vec<Source>, Failed> {
    let user_namespace = plan.namespaces.separate(NamespaceKind::User);
    let mut maps = idmap::Known::default();
    let mut open = |(nth, mount): (usize, &MountPlan)| {
        let MountKind::Bind { source, recursive, id_map, .. } = &mount.kind else {
            return Ok(Source::None);
        };
        if user_namespace || inside(plan, source).is_some() {
            return Ok(Source::Later);
        }
        let tree = clone_path(source, *recursive);
        let mapped = tree.and_then(|tree| map(tree, id_map.as_ref(), &mut maps));
        mapped.map(Source::Open).map_err(|error| (nth, error))
    };
    plan.mounts.iter().enumerate().map(&mut open).collect()
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
pub(crate) fn open_now(
    plan: &ContainerPlan,
    nth: usize,
    root: &Root,
    lender: Option<&Borrower>,
) -> io::Result<OwnedFd> {
    let Some(MountKind::Bind { source, recursive, id_map, .. }) =
        plan.mounts.get(nth).map(|mount| &mount.kind)
    else {
        return Err(Errno::INVAL.into());
    };
    if let (Some(lender), true) = (lender, id_map.is_some()) {
        // Comes cloned and mapped, which takes the host's rights.
        return lender.borrow(nth);
    }
    let tree = match inside(plan, source) {
        Some(path) => {
            let found = root.find(&clean(path), Links::Follow)?;
            clone_of(found, *recursive)?
        }
        None => match (clone_path(source, *recursive), lender) {
            (Err(error), Some(lender)) if error.kind() == io::ErrorKind::PermissionDenied => {
                clone_of(lender.borrow(nth)?, *recursive)?
            }
            (tree, _) => tree?,
        },
    };
    map(tree, id_map.as_ref(), &mut idmap::Known::default())
}
