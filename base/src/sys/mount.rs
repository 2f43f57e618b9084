//! mount_setattr(2), the one call of the mount API that rustix lacks.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::mount::{MountAttrFlags, MountPropagationFlags};

/// `struct mount_attr` of linux/mount.h.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// What [`set_attributes`] changes.
#[derive(Debug, Clone, Copy)]
pub struct Attributes {
    /// Raised.
    pub set: MountAttrFlags,
    /// Lowered first; an access time policy needs `MOUNT_ATTR__ATIME` here.
    pub clear: MountAttrFlags,
    /// Exactly one of shared, private, downstream (slave), unbindable, or empty to leave it.
    pub propagation: MountPropagationFlags,
    /// Also every mount below.
    pub recursive: bool,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            set: MountAttrFlags::empty(),
            clear: MountAttrFlags::empty(),
            propagation: MountPropagationFlags::empty(),
            recursive: false,
        }
    }
}

/// Changes the mount that `mount` (any descriptor on its root) belongs to.
///
/// # Errors
/// The kernel's reason; `Unsupported` before Linux 5.12.
pub fn set_attributes(mount: impl AsFd, change: &Attributes) -> io::Result<()> {
    let attr = MountAttr {
        set: u64::from(change.set.bits()),
        clear: u64::from(change.clear.bits()),
        propagation: u64::from(change.propagation.bits()),
        userns_fd: 0,
    };
    mount_setattr(mount.as_fd(), change.recursive, &attr)
}

/// Shows owners below `mount`, which must be detached, through the mappings of
/// `user_namespace` (mount_setattr(2), MOUNT_ATTR_IDMAP).
///
/// # Errors
/// The kernel's reason: EINVAL for a file system that cannot do it.
pub fn map_ids(
    mount: impl AsFd,
    user_namespace: BorrowedFd<'_>,
    recursive: bool,
) -> io::Result<()> {
    let attr = MountAttr {
        set: u64::from(MountAttrFlags::MOUNT_ATTR_IDMAP.bits()),
        clear: 0,
        propagation: 0,
        userns_fd: u64::try_from(user_namespace.as_raw_fd()).unwrap_or(u64::MAX),
    };
    mount_setattr(mount.as_fd(), recursive, &attr)
}

fn mount_setattr(mount: BorrowedFd<'_>, recursive: bool, attr: &MountAttr) -> io::Result<()> {
    let recursive = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a constant C string, `attr` is a live `repr(C)` struct of
    // the size passed with it, and the kernel only reads both. Descriptors are
    // borrowed for the call; one that is none answers EBADF.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(needs_5_12(io::Error::last_os_error())),
    }
}

/// rcnt's floor: the newest call it cannot do without.
fn needs_5_12(error: io::Error) -> io::Error {
    if error.raw_os_error() != Some(libc::ENOSYS) {
        return error;
    }
    io::Error::new(io::ErrorKind::Unsupported, "needs Linux 5.12 or newer (mount_setattr)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_is_told_what_it_lacks() {
        let error = needs_5_12(io::Error::from_raw_os_error(libc::ENOSYS));
        assert!(error.to_string().contains("5.12"));
        let other = needs_5_12(io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(other.raw_os_error(), Some(libc::EPERM));
    }
}
