//! Device nodes and the symlinks of `/dev`.

use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Uid, chmodat, chownat, makedev, mknodat, statat, symlinkat,
};
use rustix::io::Errno;

use super::error::{Doing, InitError};
use super::root::{Links, Root, clean};
use crate::plan::{DeviceKind, DeviceNode, DevicesPlan};

/// Makes nodes and links. A node that is there with the right number is used,
/// whatever made it; anything else in its place is an error.
pub(crate) fn apply(root: &Root, plan: &DevicesPlan) -> Result<(), InitError> {
    for node in &plan.nodes {
        make_node(root, node).on("create device", &node.path)?;
    }
    for (link, target) in &plan.symlinks {
        make_link(root, link, target).on("create link", link)?;
    }
    Ok(())
}

fn make_node(root: &Root, node: &DeviceNode) -> std::io::Result<()> {
    let DeviceNode { path, kind, major, minor, mode, uid, gid } = node;
    let path = clean(path);
    let (parent, name) = root.ensure_parent(&path, Links::Refuse)?;
    let file_type = match kind {
        DeviceKind::Char => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::All => return Err(Errno::INVAL.into()),
    };
    let (number, mode) = (makedev(*major, *minor), Mode::from_raw_mode(*mode & 0o7777));
    match mknodat(&parent, name, file_type, mode, number) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let found = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if found.st_rdev != number || FileType::from_raw_mode(found.st_mode) != file_type {
                return Err(Errno::EXIST.into());
            }
        }
        Err(e) => return Err(e.into()),
    }
    // The parent is ours and the name was just checked not to be a symlink;
    // fchmodat(2) has no way not to follow one.
    chmodat(&parent, name, mode, AtFlags::empty())?;
    if (*uid, *gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
        chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

fn make_link(root: &Root, link: &Path, target: &Path) -> std::io::Result<()> {
    let link = clean(link);
    let (parent, name) = root.ensure_parent(&link, Links::Refuse)?;
    match symlinkat(target, &parent, name) {
        // An image's own, or one a bind over /dev brought along.
        Err(Errno::EXIST) | Ok(()) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
