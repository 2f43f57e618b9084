//! A fresh volume starts with what the image has where it is mounted: content,
//! owners, modes, times, extended attributes, symlinks and hard links.
//!
//! Both sides are walked by descriptor and without following a symlink, so
//! nothing outside the two trees is read or written, whatever an image holds
//! (CVE-2024-9341, CVE-2022-23648).

use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
    chownat, copy_file_range, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens,
    linkat, mkdirat, mknodat, openat, readlinkat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

/// Where the first name of each hard-linked file was put: its new directory and name.
type Links = HashMap<(u64, u64), (OwnedFd, Vec<u8>)>;

/// Copies the content and the attributes of directory `from` into directory
/// `to`, unless `to` has entries already.
///
/// # Errors
/// The first call that failed; what was copied by then stays.
pub(crate) fn copy_up(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let to = openat(to, c".", flags, Mode::empty())?;
    let from = openat(from, c".", flags, Mode::empty())?;
    for entry in Dir::read_from(&to)? {
        // A new ext4 volume's lost+found does not make it used.
        if ![c".", c"..", c"lost+found"].contains(&entry?.file_name()) {
            return Ok(());
        }
    }
    copy_dir(&from, &to, &mut Links::new())
}

fn copy_dir(from: &OwnedFd, to: &OwnedFd, links: &mut Links) -> io::Result<()> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_entry(from, to, name, links)?;
        }
    }
    copy_attributes(from, to, &fstat(from)?)
}

fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &CStr, links: &mut Links) -> io::Result<()> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::Directory {
        mkdirat(to, name, Mode::from_raw_mode(0o700))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let below_from = openat(from, name, flags, Mode::empty())?;
        let below_to = openat(to, name, flags, Mode::empty())?;
        return copy_dir(&below_from, &below_to, links);
    }
    if stat.st_nlink > 1 {
        if let Some((dir, first)) = links.get(&(stat.st_dev, stat.st_ino)) {
            return Ok(linkat(dir, first.as_slice(), to, name, AtFlags::empty())?);
        }
        let dir = rustix::io::fcntl_dupfd_cloexec(to, 3)?;
        links.insert((stat.st_dev, stat.st_ino), (dir, name.to_bytes().to_vec()));
    }
    match kind {
        FileType::RegularFile => copy_file(from, to, name),
        FileType::Symlink => {
            let target = readlinkat(from, name, Vec::new())?;
            symlinkat(&target, to, name)?;
            finish_by_name(to, name, &stat)
        }
        _ => {
            mknodat(to, name, kind, Mode::from_raw_mode(stat.st_mode & 0o7777), stat.st_rdev)?;
            finish_by_name(to, name, &stat)?;
            Ok(rustix::fs::chmodat(
                to,
                name,
                Mode::from_raw_mode(stat.st_mode & 0o7777),
                AtFlags::empty(),
            )?)
        }
    }
}

fn copy_file(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> io::Result<()> {
    // The image may hold a FIFO where a file was a moment ago: never wait for one.
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = openat(from, name, read, Mode::empty())?;
    let stat = fstat(&source)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("an entry changed its kind while it was copied"));
    }
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let target = openat(to, name, write, Mode::from_raw_mode(0o600))?;
    copy_bytes(&source, &target)?;
    copy_attributes(&source, &target, &stat)
}

/// copy_file_range(2) shares blocks where the file system can; where it cannot
/// work at all, plain reads and writes.
fn copy_bytes(source: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    loop {
        match copy_file_range(source, None, target, None, 1 << 30) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => break,
            Err(e) => return Err(e.into()),
        }
    }
    let mut buffer = vec![0u8; 128 * 1024];
    loop {
        let n = rustix::io::retry_on_intr(|| rustix::io::read(source, &mut buffer[..]))?;
        let mut rest = buffer.get(..n).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        while !rest.is_empty() {
            let done = rustix::io::retry_on_intr(|| rustix::io::write(target, rest))?;
            rest = rest.get(done..).unwrap_or_default();
        }
    }
}

/// Owner, then mode (chown clears setuid), then attributes (chown clears file
/// capabilities), then times.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchown(to, Some(uid), Some(gid))?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    copy_xattrs(from, to)?;
    Ok(futimens(to, &times(stat))?)
}

/// Extended attributes the target's file system does not know are left out.
fn copy_xattrs(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    const LARGEST: usize = 64 * 1024; // XATTR_SIZE_MAX and XATTR_LIST_MAX, linux/limits.h
    let mut names = vec![0u8; LARGEST];
    let listed = match flistxattr(from, &mut names[..]) {
        Err(Errno::OPNOTSUPP) | Ok(0) => return Ok(()),
        other => other?,
    };
    let mut value = vec![0u8; LARGEST];
    for name in names.get(..listed).unwrap_or_default().split(|b| *b == 0) {
        if name.is_empty() {
            continue;
        }
        let size = fgetxattr(from, name, &mut value[..])?;
        let value = value.get(..size).unwrap_or_default();
        match fsetxattr(to, name, value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Owner and times of something that cannot be opened.
fn finish_by_name(to: &OwnedFd, name: &CStr, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn times(stat: &Stat) -> Timestamps {
    let at = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    Timestamps {
        last_access: at(stat.st_atime, stat.st_atime_nsec),
        last_modification: at(stat.st_mtime, stat.st_mtime_nsec),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // fixtures
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    fn open(path: &Path) -> OwnedFd {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        rustix::fs::open(path, flags, Mode::empty()).unwrap()
    }

    #[test]
    fn everything_an_image_can_hold_is_copied() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("sub/deep")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("sub/file"), vec![7u8; 300_000]).unwrap();
        fs::set_permissions(from.join("sub/file"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::hard_link(from.join("sub/file"), from.join("sub/deep/again")).unwrap();
        symlink("/etc/shadow", from.join("link")).unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o1770)).unwrap();
        copy_up(open(&from), open(&to)).unwrap();
        assert_eq!(fs::read(to.join("sub/deep/again")).unwrap().len(), 300_000);
        let (a, b) = (fs::metadata(to.join("sub/file")), fs::metadata(to.join("sub/deep/again")));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!((a.ino(), a.nlink(), a.mode() & 0o7777), (b.ino(), 2, 0o4751));
        assert_eq!(a.mtime_nsec(), fs::metadata(from.join("sub/file")).unwrap().mtime_nsec());
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("/etc/shadow"));
        assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, 0o1770);
    }

    #[test]
    fn a_volume_in_use_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("new"), "x").unwrap();
        fs::write(to.join("old"), "y").unwrap();
        copy_up(open(&from), open(&to)).unwrap();
        assert!(!to.join("new").exists());
    }
}
