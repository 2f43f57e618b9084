//! `--no-pivot`: the root mount moved over "/" and entered with chroot(2), for
//! hosts that run from an initramfs. The host's mounts stay below, where nothing
//! in the container can name them; its procfs and sysfs are taken away all the
//! same, or a process with the right to mount could find them again.

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::error::{Doing, InitError};
use super::fsapi::{attach, filesystem};
use super::root::Root;
use super::rootfs::chroot;

/// Makes `root` the root of this mount namespace without pivot_root(2).
pub(crate) fn move_root(root: &Root) -> Result<(), InitError> {
    for mountpoint in revealing()? {
        let shown = String::from_utf8_lossy(&mountpoint).into_owned();
        match unmount(mountpoint.as_slice(), UnmountFlags::DETACH) {
            // Locked in a user namespace: covered instead.
            Err(Errno::INVAL | Errno::PERM) => {
                cover(&mountpoint).doing(format!("cover the host's {shown}"))?;
            }
            // Went with one above it.
            Err(Errno::NOENT) | Ok(()) => {}
            other => other.doing(format!("unmount the host's {shown}"))?,
        }
    }
    let slash = openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let slash = slash.doing("open the host's root")?;
    attach(root, &slash).doing("move the root file system to /")?;
    chroot(root).doing("change the root directory")
}

fn cover(mountpoint: &[u8]) -> std::io::Result<()> {
    let empty =
        filesystem("tmpfs", "tmpfs", &[], rustix::mount::MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    attach(&empty, openat(CWD, mountpoint, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// Mount points of whole procfs and sysfs instances of the host, the last first.
fn revealing() -> Result<Vec<Vec<u8>>, InitError> {
    let table = std::fs::read("/proc/self/mountinfo").doing("read the mounts")?;
    let mut found: Vec<_> = table.split(|b| *b == b'\n').filter_map(whole_instance).collect();
    found.reverse();
    Ok(found)
}

/// The mount point of a mountinfo line (proc_pid_mountinfo(5)) that shows a
/// procfs or sysfs from its root, below the host's `/proc` and `/sys`.
fn whole_instance(line: &[u8]) -> Option<Vec<u8>> {
    let mut fields = line.split(|b| *b == b' ');
    let (root, mountpoint) = (fields.nth(3)?, fields.next()?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    let hosts = mountpoint == b"/proc" || mountpoint == b"/sys";
    (root == b"/" && hosts && matches!(kind, b"proc" | b"sysfs")).then(|| mountpoint.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hosts_own_procfs_and_sysfs_go() {
        let point = |line: &str| whole_instance(line.as_bytes());
        assert_eq!(point("1 2 0:3 / /proc rw - proc proc rw"), Some(b"/proc".to_vec()));
        assert_eq!(point("1 2 0:3 / /sys rw shared:1 - sysfs sysfs rw"), Some(b"/sys".to_vec()));
        assert_eq!(point("1 2 0:3 / /b/rootfs/proc rw - proc proc rw"), None);
        assert_eq!(point("1 2 0:3 /sys /proc rw - proc proc rw"), None);
        assert_eq!(point("broken"), None);
    }
}
