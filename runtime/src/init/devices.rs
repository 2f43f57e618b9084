//! Device nodes and the symlinks of `/dev`.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, chownat, makedev, mknodat, statat, symlinkat};
use rustix::io::Errno;

use super::error::{Doing, InitError};
use super::root::{Links, Root, clean};
use crate::plan::{DeviceKind, DeviceNode, DevicesPlan};

/// Makes nodes and links. A node that is there with the right number is used,
/// whatever made it; anything else in its place is an error.
pub(crate) fn apply(root: &Root, plan: &DevicesPlan) -> Result<(), InitError> {
    let mut directory = Directory { root, open: None };
    for node in &plan.nodes {
        make_node(&mut directory, node).on("create device", &node.path)?;
    }
    for (link, target) in &plan.symlinks {
        make_link(&mut directory, link, target).on("create link", link)?;
    }
    Ok(())
}

/// The directory last used: nearly always `/dev`, so it is opened once.
struct Directory<'a> {
    root: &'a Root,
    open: Option<(PathBuf, OwnedFd)>,
}

impl Directory<'_> {
    /// The directory of `path`, made where missing.
    fn of(&mut self, path: &Path) -> io::Result<&OwnedFd> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        if self.open.as_ref().is_none_or(|(known, _)| known != parent) {
            let fd = self.root.ensure_dir(parent, Links::Refuse)?;
            self.open = Some((parent.to_owned(), fd));
        }
        self.open.as_ref().map(|(_, fd)| fd).ok_or_else(|| Errno::NOENT.into())
    }
}

fn make_node(directory: &mut Directory<'_>, node: &DeviceNode) -> io::Result<()> {
    let DeviceNode { path, kind, major, minor, mode, uid, gid } = node;
    let path = clean(path);
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let parent = directory.of(&path)?;
    let file_type = match kind {
        DeviceKind::Char => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::All => return Err(Errno::INVAL.into()),
    };
    let number = makedev(*major, *minor);
    // The mode is exact: start cleared the umask.
    match mknodat(parent, name, file_type, Mode::from_raw_mode(*mode & 0o7777), number) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let same =
                found.st_rdev == number && FileType::from_raw_mode(found.st_mode) == file_type;
            return if same { Ok(()) } else { Err(Errno::EXIST.into()) };
        }
        Err(e) => return Err(e.into()),
    }
    if (*uid, *gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
        chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

fn make_link(directory: &mut Directory<'_>, link: &Path, target: &Path) -> io::Result<()> {
    let link = clean(link);
    let name = link.file_name().ok_or(Errno::INVAL)?;
    match symlinkat(target, directory.of(&link)?, name) {
        // An image's own, or one a bind over /dev brought along.
        Err(Errno::EXIST) | Ok(()) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
