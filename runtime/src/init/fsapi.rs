//! The kernel's mount API in three words: a file system made detached
//! ([`filesystem`]), an existing mount cloned detached ([`clone_of`]), and either
//! put in place by descriptor ([`attach`]). Nothing is visible to anybody before
//! it is complete.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rcnt_base::sys::mount::Attributes;
use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    move_mount, open_tree,
};

use crate::plan::{AccessTime, MountAttributes, Propagation};

/// An option of a new file system.
pub(crate) enum Setting<'a> {
    /// `key`
    Flag(&'a str),
    /// `key=value`
    Value(&'a str, &'a str),
}

/// A new instance of file system `kind`, detached. The mount's source shows as `source`.
///
/// # Errors
/// The kernel's reason, with its own words where it wrote some.
pub(crate) fn filesystem(
    kind: &str,
    source: &str,
    settings: &[Setting<'_>],
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    let configured = configure(&context, source, settings);
    configured.map_err(|errno| with_kernel_words(&context, errno))?;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes);
    mount.map_err(|errno| with_kernel_words(&context, errno))
}

fn configure(context: &OwnedFd, source: &str, settings: &[Setting<'_>]) -> Result<(), Errno> {
    fsconfig_set_string(context, "source", source)?;
    for setting in settings {
        match setting {
            Setting::Flag(key) => fsconfig_set_flag(context, *key)?,
            Setting::Value(key, value) => fsconfig_set_string(context, *key, *value)?,
        }
    }
    fsconfig_create(context)
}

/// A file system context is also a log: each read gives one message, "e " and
/// the text for an error. What the kernel said is worth more than its errno.
pub(crate) fn with_kernel_words(context: &OwnedFd, errno: Errno) -> io::Error {
    let mut words = String::new();
    let mut buffer = [0u8; 1024];
    while let Ok(n) = rustix::io::read(context, &mut buffer[..]) {
        let Some(line) = buffer.get(..n).and_then(|l| l.strip_prefix(b"e ")) else { continue };
        if !words.is_empty() {
            words.push_str("; ");
        }
        words.push_str(String::from_utf8_lossy(line).trim_end());
    }
    let error = io::Error::from(errno);
    if words.is_empty() {
        return error;
    }
    io::Error::new(error.kind(), format!("{error}: {words}"))
}

/// A detached clone of the mount at host path `source`, from there downwards.
pub(crate) fn clone_path(source: &Path, recursive: bool) -> io::Result<OwnedFd> {
    Ok(open_tree(CWD, source, clone_flags(recursive))?)
}

/// A detached clone of what `handle` is open on.
pub(crate) fn clone_of(handle: impl AsFd, recursive: bool) -> io::Result<OwnedFd> {
    let flags = clone_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(handle.as_fd(), c"", flags)?)
}

fn clone_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive { flags | OpenTreeFlags::AT_RECURSIVE } else { flags }
}

/// Puts the detached `mount` on top of what `target` is open on.
pub(crate) fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    const EMPTY: &CStr = c"";
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount.as_fd(), EMPTY, target.as_fd(), EMPTY, flags)?)
}

/// What mount_setattr(2) has to be asked for to get `wanted`.
pub(crate) fn change_to(wanted: MountAttributes) -> Attributes {
    let MountAttributes { readonly, nosuid, nodev, noexec, nodiratime, nosymfollow, atime } =
        wanted;
    let mut change = Attributes::default();
    for (wish, flag) in [
        (readonly, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (nosuid, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (nodev, MountAttrFlags::MOUNT_ATTR_NODEV),
        (noexec, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (nodiratime, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
        (nosymfollow, MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
    ] {
        match wish {
            Some(true) => change.set |= flag,
            Some(false) => change.clear |= flag,
            None => {}
        }
    }
    if let Some(atime) = atime {
        change.clear |= MountAttrFlags::MOUNT_ATTR__ATIME;
        change.set |= match atime {
            AccessTime::Relative => MountAttrFlags::MOUNT_ATTR_RELATIME,
            AccessTime::Never => MountAttrFlags::MOUNT_ATTR_NOATIME,
            AccessTime::Strict => MountAttrFlags::MOUNT_ATTR_STRICTATIME,
        };
    }
    change
}

/// The kernel's flag for a propagation.
pub(crate) fn propagation_flag(propagation: Propagation) -> MountPropagationFlags {
    match propagation {
        Propagation::Private => MountPropagationFlags::PRIVATE,
        Propagation::Slave => MountPropagationFlags::DOWNSTREAM,
        Propagation::Shared => MountPropagationFlags::SHARED,
        Propagation::Unbindable => MountPropagationFlags::UNBINDABLE,
    }
}

/// Whether `handle` is on a read-only mount.
pub(crate) fn is_readonly(handle: impl AsFd) -> bool {
    rustix::fs::fstatvfs(handle).is_ok_and(|s| s.f_flag.contains(StatVfsMountFlags::RDONLY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attribute_has_its_flag() {
        let all = |wish| MountAttributes {
            readonly: wish,
            nosuid: wish,
            nodev: wish,
            noexec: wish,
            nodiratime: wish,
            nosymfollow: wish,
            atime: None,
        };
        let (raised, lowered) = (change_to(all(Some(true))), change_to(all(Some(false))));
        assert_eq!(raised.set.bits().count_ones(), 6);
        assert_eq!((raised.set, raised.clear), (lowered.clear, lowered.set));
        let nothing = change_to(MountAttributes::default());
        assert!(nothing.set.is_empty() && nothing.clear.is_empty());
        let atime = Some(AccessTime::Never);
        let noatime = change_to(MountAttributes { atime, ..MountAttributes::default() });
        assert_eq!(noatime.set, MountAttrFlags::MOUNT_ATTR_NOATIME);
        assert_eq!(noatime.clear, MountAttrFlags::MOUNT_ATTR__ATIME);
    }
}
