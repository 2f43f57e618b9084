//! A container without a mount namespace of its own mounts in its caller's, and
//! nobody but us takes that away again: no namespace ends with it.

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

/// Unmounts what is mounted on `rootfs` and below, the last first. "Nothing
/// there" is done.
///
/// # Errors
/// The mount table cannot be read, or the kernel's reason for the first mount
/// that stays; the others are tried all the same.
pub fn release(rootfs: &Path) -> std::io::Result<()> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    let mut first = Ok(());
    for mountpoint in below(&table, rootfs).into_iter().rev() {
        match unmount(&mountpoint, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // Went with another, or in a race with somebody else's clean-up.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(errno) => first = first.and(Err(errno.into())),
        }
    }
    first
}

/// Mount points of a mountinfo text (proc_pid_mountinfo(5)) on `rootfs` or below.
fn below(table: &[u8], rootfs: &Path) -> Vec<PathBuf> {
    let mountpoint = |line: &[u8]| {
        let field = line.split(|b| *b == b' ').nth(4)?;
        Some(PathBuf::from(crate::cgroup::layout::unescape(field)))
    };
    let mounts = table.split(|b| *b == b'\n').filter_map(mountpoint);
    mounts.filter(|path| path.starts_with(rootfs)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_below_is_found() {
        let table = b"1 2 0:3 / /b/rootfs rw - x x rw\n\
                      1 2 0:3 / /b/rootfs/a\\040b rw - x x rw\n\
                      1 2 0:3 / /b/rootfs2 rw - x x rw\n\
                      1 2 0:3 / / rw - x x rw\n";
        let found = below(table, Path::new("/b/rootfs"));
        assert_eq!(found, [PathBuf::from("/b/rootfs"), PathBuf::from("/b/rootfs/a b")]);
    }
}
