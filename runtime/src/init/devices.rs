//! Device nodes and the symlinks of `/dev`.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fstat, makedev, mknodat, openat,
    readlinkat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::error::{Doing, InitError};
use super::fsapi::{attach, clone_path};
use super::root::{Links, Root, clean};
use crate::plan::{DeviceNode, DevicesPlan, NodeKind};

/// Must lead to the container's own devpts.
const PTMX: &str = "/dev/ptmx";

/// Makes nodes and links. A node that is there with the right number is used,
/// whatever made it; anything else in its place is an error. Comes before the
/// host's paths are gone: what may not be made is bound.
pub(crate) fn apply(root: &Root, plan: &DevicesPlan) -> Result<(), InitError> {
    let mut directory = Directory { root, open: None };
    for node in &plan.nodes {
        let bound = plan.bind && node.kind != NodeKind::Fifo;
        let made = match bound {
            true => bind_node(&mut directory, node),
            false => match make_node(&mut directory, node) {
                // mknod(2): the caller is itself in a user namespace.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                    bind_node(&mut directory, node)
                }
                made => made,
            },
        };
        made.on("create device", &node.path)?;
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
    let (file_type, number) = kernel_kind(*kind, *major, *minor);
    // The mode is exact: start cleared the umask.
    match mknodat(parent, name, file_type, Mode::from_raw_mode(*mode & 0o7777), number) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            return verify(&statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?, node);
        }
        Err(e) => return Err(e.into()),
    }
    if (*uid, *gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
        chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

fn kernel_kind(kind: NodeKind, major: u32, minor: u32) -> (FileType, u64) {
    match kind {
        NodeKind::Char => (FileType::CharacterDevice, makedev(major, minor)),
        NodeKind::Block => (FileType::BlockDevice, makedev(major, minor)),
        NodeKind::Fifo => (FileType::Fifo, 0),
    }
}

/// EEXIST unless `found` is the node.
fn verify(found: &Stat, node: &DeviceNode) -> io::Result<()> {
    let (file_type, number) = kernel_kind(node.kind, node.major, node.minor);
    let same = FileType::from_raw_mode(found.st_mode) == file_type && found.st_rdev == number;
    if same { Ok(()) } else { Err(Errno::EXIST.into()) }
}

/// The host's node of the same path on an empty file.
fn bind_node(directory: &mut Directory<'_>, node: &DeviceNode) -> io::Result<()> {
    let path = clean(&node.path);
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let parent = directory.of(&path)?;
    let host = clone_path(&path, false)?;
    let differs = || io::Error::other("the host's device of that name is another one");
    verify(&fstat(&host)?, node).map_err(|_| differs())?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, name, flags | OFlags::WRONLY, Mode::empty()) {
        Ok(_) => {}
        Err(Errno::EXIST) => {
            let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
                return verify(&found, node);
            }
        }
        Err(e) => return Err(e.into()),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    attach(&host, openat(parent, name, flags, Mode::empty())?)
}

fn make_link(directory: &mut Directory<'_>, link: &Path, target: &Path) -> io::Result<()> {
    let link = clean(link);
    let name = link.file_name().ok_or(Errno::INVAL)?;
    let parent = directory.of(&link)?;
    match symlinkat(target, parent, name) {
        Err(Errno::EXIST) if link == Path::new(PTMX) => {}
        // An image's own, or one a bind over /dev brought along.
        Err(Errno::EXIST) | Ok(()) => return Ok(()),
        Err(e) => return Err(e.into()),
    }
    // A node an image brings would open terminals of the first devpts there was.
    if readlinkat(parent, name, Vec::new())
        .is_ok_and(|to| to.to_bytes() == target.as_os_str().as_bytes())
    {
        return Ok(());
    }
    unlinkat(parent, name, AtFlags::empty())?;
    Ok(symlinkat(target, parent, name)?)
}
