//! Running from a read-only mount of the own executable that nobody can make
//! writable: a container process that opens `/proc/<pid>/exe` of an rcnt process
//! for writing gets EROFS (CVE-2019-5736).
//!
//! The mount is a detached clone (open_tree(2)) of the one file: it is in no
//! mount namespace, so nobody can remount it. The file is not copied, which
//! keeps its pages shared with every other rcnt.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{CWD, StatVfsMountFlags, statvfs};
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};

use super::child::execve_fd;
use super::mount::{Attributes, set_attributes};

const SELF: &str = "/proc/self/exe";

/// Whether this process' executable sits on a read-only mount. The kernel's own
/// word on the mount itself, the very property a writer would run into: nothing
/// in the environment can pretend it.
///
/// # Errors
/// procfs is not mounted.
pub fn is_sealed() -> io::Result<bool> {
    Ok(statvfs(SELF)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Returns if [`is_sealed`], else executes this program again, with the same
/// arguments and environment, from a sealed mount of itself; then it returns
/// only in the new process.
///
/// # Errors
/// The mount cannot be made (no CAP_SYS_ADMIN) or executed.
pub fn seal_self() -> io::Result<()> {
    if is_sealed()? {
        return name_again();
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let file = open_tree(CWD, SELF, flags)?;
    let change = Attributes { set: MountAttrFlags::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    set_attributes(&file, &change)?;
    let argv = std::env::args_os().map(|arg| CString::new(arg.into_vec()));
    let env = std::env::vars_os().map(|(name, value)| {
        let mut pair = name.into_vec();
        pair.push(b'=');
        pair.extend(value.into_vec());
        CString::new(pair)
    });
    let argv = argv.collect::<Result<Vec<_>, _>>()?;
    let env = env.collect::<Result<Vec<_>, _>>()?;
    Err(execve_fd(&file, &argv, &env))
}

/// Kernels before 6.14 name a process executed by descriptor after its number:
/// `ps` would show "3".
fn name_again() -> io::Result<()> {
    let argv0 = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&argv0).file_name().unwrap_or_default();
    // Never a null byte: it came as a C string.
    if let Ok(name) = CString::new(name.as_encoded_bytes()) {
        rustix::thread::set_name(&name)?;
    }
    Ok(())
}
