//! Masked and read-only paths. What masks is verified first: a container that
//! races its own start could otherwise have us bind a file of its choice where
//! `/dev/null` was meant (CVE-2025-31133).

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rcnt_base::sys::mount::{Attributes, set_attributes};
use rustix::fs::{FileType, fstat, makedev};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::error::{Doing, InitError};
use super::fsapi::{Setting, attach, clone_of, clone_path, filesystem, is_readonly};
use super::root::{Links, Root, clean};
use crate::plan::ContainerPlan;

/// The null device, linux Documentation/admin-guide/devices.txt.
const NULL: (u32, u32) = (1, 3);
const NULL_PATH: &str = "/dev/null";

/// A read-only clone of the host's null device, for a container that need not
/// have one: its `/dev` is a directory of somebody's.
pub(crate) fn clone_null(plan: &ContainerPlan) -> Result<Option<OwnedFd>, InitError> {
    let path = Path::new(NULL_PATH);
    if plan.masked_paths.is_empty() || plan.devices.nodes.iter().any(|node| node.path == path) {
        return Ok(None);
    }
    let null = clone_path(path, false).on("open", path)?;
    verify_null(&null)?;
    // Or the container could change the owner or the mode of the host's.
    let change = Attributes { set: MountAttrFlags::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    set_attributes(&null, &change).on("make read-only", path)?;
    Ok(Some(null))
}

/// Covers each path that exists: a file by the container's `/dev/null`, or by
/// `spare` if there is none; a directory by an empty, read-only tmpfs (one, shared by all).
pub(crate) fn mask(
    root: &Root,
    plan: &ContainerPlan,
    mut spare: Option<OwnedFd>,
) -> Result<(), InitError> {
    let mut null = None;
    let mut empty = None;
    let mut done = BTreeSet::new();
    for path in plan.masked_paths.iter().filter(|path| done.insert(clean(path))) {
        let Some(target) = existing(root, path)? else { continue };
        let directory = is_directory(&target);
        let cover = if directory { &mut empty } else { &mut null };
        // A clone can only be taken from what is attached, so the first of each
        // kind is the master copy of the others.
        let mount = match cover {
            Some(first) => clone_of(&*first, false).on("mask", path)?,
            None if directory => empty_directory(plan.mount_label.as_deref()).on("mask", path)?,
            None => null_device(root, spare.take())?,
        };
        attach(&mount, &target).on("mask", path)?;
        cover.get_or_insert(mount);
    }
    Ok(())
}

/// Makes each path that exists read-only, with what is mounted below it.
pub(crate) fn make_readonly(root: &Root, paths: &[PathBuf]) -> Result<(), InitError> {
    let change = Attributes {
        set: MountAttrFlags::MOUNT_ATTR_RDONLY,
        recursive: true,
        ..Attributes::default()
    };
    for path in paths {
        let Some(target) = existing(root, path)? else { continue };
        if is_readonly(&target) && !is_directory(&target) {
            continue;
        }
        let mount = clone_of(&target, true).on("make read-only", path)?;
        set_attributes(&mount, &change).on("make read-only", path)?;
        attach(&mount, &target).on("make read-only", path)?;
    }
    Ok(())
}

fn existing(root: &Root, path: &Path) -> Result<Option<OwnedFd>, InitError> {
    match root.find(path, Links::Follow) {
        Ok(found) => Ok(Some(found)),
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::NOENT | Errno::NOTDIR)) => {
            Ok(None)
        }
        Err(e) => Err(e).on("look at", path),
    }
}

fn is_directory(handle: &OwnedFd) -> bool {
    fstat(handle).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory)
}

fn empty_directory(label: Option<&str>) -> io::Result<OwnedFd> {
    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mut settings = vec![Setting::Value("nr_inodes", "2"), Setting::Value("mode", "755")];
    settings.extend(label.map(|label| Setting::Value("context", label)));
    filesystem("tmpfs", "tmpfs", &settings, flags)
}

/// A clone of the container's `/dev/null`, which must be just that.
fn null_device(root: &Root, spare: Option<OwnedFd>) -> Result<OwnedFd, InitError> {
    let path = Path::new(NULL_PATH);
    let handle = match (root.find(path, Links::Refuse), spare) {
        (Err(e), Some(spare)) if e.kind() == io::ErrorKind::NotFound => return Ok(spare),
        (found, _) => found.on("open", path)?,
    };
    verify_null(&handle)?;
    clone_of(&handle, false).on("open", path)
}

fn verify_null(handle: &OwnedFd) -> Result<(), InitError> {
    let path = Path::new(NULL_PATH);
    let stat = fstat(handle).on("look at", path)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == makedev(NULL.0, NULL.1);
    if !is_null {
        let why = "is not the null device, so nothing can be masked with it";
        return Err(InitError::Refused { path: path.to_owned(), why });
    }
    Ok(())
}
