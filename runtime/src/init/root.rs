//! The container's root as a descriptor, and every path below it resolved by
//! the kernel without ever leaving it (openat2(2), RESOLVE_IN_ROOT), whatever
//! symlinks an image or a neighbour on a shared volume puts in the way
//! (CVE-2021-30465). Callers keep working on the descriptor they get: a path is
//! looked up once.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, readlinkat, statat,
};
use rustix::io::Errno;

/// How often a path is looked up again when a rename elsewhere disturbed the kernel's walk.
const TRIES: u32 = 64;
/// As many symlinks as path_resolution(7) allows.
const MAX_LINKS: u32 = 40;

/// A directory that is "/" for every path given to it.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
}

/// Whether symlinks inside the root may be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// Within the root.
    Follow,
    /// Not one: ELOOP.
    Refuse,
}

impl Root {
    /// `fd` is any descriptor on the directory.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Opens `path`; a last component that is a symlink is followed unless
    /// `links` or O_NOFOLLOW says otherwise. Magic links never are.
    pub(crate) fn open(&self, path: &Path, flags: OFlags, links: Links) -> io::Result<OwnedFd> {
        let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        if links == Links::Refuse {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        let flags = flags | OFlags::CLOEXEC;
        for _ in 0..TRIES {
            match openat2(&self.fd, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// A handle on `path`, for mounting on it or cloning it.
    pub(crate) fn find(&self, path: &Path, links: Links) -> io::Result<OwnedFd> {
        self.open(path, OFlags::PATH, links)
    }

    /// A handle on the directory `path`, made with its parents (mode 0755,
    /// owner root) where missing, even behind a dangling symlink.
    pub(crate) fn ensure_dir(&self, path: &Path, links: Links) -> io::Result<OwnedFd> {
        self.ensure_dir_counting(&clean(path), links, MAX_LINKS)
    }

    fn ensure_dir_counting(&self, path: &Path, links: Links, hops: u32) -> io::Result<OwnedFd> {
        match self.open(path, OFlags::PATH | OFlags::DIRECTORY, links) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let (Some(parent_path), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::NOENT.into());
        };
        let parent = self.ensure_dir_counting(parent_path, links, hops)?;
        match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) | Ok(()) => {}
            Err(e) => return Err(e.into()),
        }
        match self.open(path, OFlags::PATH | OFlags::DIRECTORY, links) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && hops > 0 => {
                let target = dangling_target(&parent, parent_path, name)?;
                self.ensure_dir_counting(&target, links, hops - 1)
            }
            other => other,
        }
    }

    /// A handle on `path` for a non-directory to be mounted on: an empty
    /// regular file is made where nothing is.
    pub(crate) fn ensure_file(&self, path: &Path, links: Links) -> io::Result<OwnedFd> {
        self.ensure_file_counting(&clean(path), links, MAX_LINKS)
    }

    fn ensure_file_counting(&self, path: &Path, links: Links, hops: u32) -> io::Result<OwnedFd> {
        match self.find(path, links) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let (Some(parent_path), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::NOENT.into());
        };
        let parent = self.ensure_dir_counting(parent_path, links, hops)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&parent, name, flags | OFlags::WRONLY, Mode::from_raw_mode(0o644)) {
            Err(Errno::EXIST) | Ok(_) => {}
            Err(e) => return Err(e.into()),
        }
        match self.find(path, links) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && hops > 0 => {
                let target = dangling_target(&parent, parent_path, name)?;
                self.ensure_file_counting(&target, links, hops - 1)
            }
            other => other,
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Where the dangling symlink `name` in `parent` points, as a path from the root.
fn dangling_target(parent: &OwnedFd, parent_path: &Path, name: &OsStr) -> io::Result<PathBuf> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        return Err(Errno::NOENT.into());
    }
    let target = readlinkat(parent, name, Vec::new())?;
    Ok(clean(&parent_path.join(OsStr::from_bytes(target.as_bytes()))))
}

/// `path` as an absolute path without `.` and `..`, by its words alone (docker
/// cleans destinations the same way). Not a security measure: [`Root`] is.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let fd = openat(rustix::fs::CWD, dir.path().join("root"), flags, Mode::empty()).unwrap();
        (dir, Root::new(fd))
    }

    #[test]
    fn symlinks_out_of_the_root_end_inside_it() {
        let (dir, root) = root();
        let inside = dir.path().join("root");
        symlink("/../../../escape", inside.join("abs")).unwrap();
        symlink("../../target", inside.join("rel")).unwrap();
        root.ensure_dir(Path::new("/abs/x"), Links::Follow).unwrap();
        root.ensure_file(Path::new("/rel"), Links::Follow).unwrap();
        assert!(inside.join("escape/x").is_dir());
        assert!(inside.join("rel").symlink_metadata().unwrap().is_symlink());
        assert!(inside.join("target").is_file());
        assert!(!dir.path().join("target").exists() && !dir.path().join("escape").exists());
        root.ensure_file(Path::new("/../../up"), Links::Follow).unwrap();
        assert!(inside.join("up").is_file());
    }

    #[test]
    fn loops_end() {
        let (dir, root) = root();
        symlink("b", dir.path().join("root/a")).unwrap();
        symlink("a", dir.path().join("root/b")).unwrap();
        assert!(root.ensure_dir(Path::new("/a/x"), Links::Follow).is_err());
        assert!(root.ensure_file(Path::new("/a"), Links::Follow).is_err());
    }

    #[test]
    fn refused_links_are_refused_anywhere_in_the_path() {
        let (dir, root) = root();
        std::fs::create_dir(dir.path().join("root/real")).unwrap();
        symlink("real", dir.path().join("root/dev")).unwrap();
        for path in ["/dev", "/dev/pts"] {
            let error = root.ensure_dir(Path::new(path), Links::Refuse).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(Errno::LOOP.raw_os_error()), "{path}");
        }
    }

    #[test]
    fn magic_links_are_not_followed() {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let root = Root::new(openat(rustix::fs::CWD, "/", flags, Mode::empty()).unwrap());
        assert!(root.find(Path::new("/proc/self/root/etc"), Links::Follow).is_err());
        assert!(root.find(Path::new("/proc/self/cwd"), Links::Follow).is_err());
    }

    proptest! {
        #[test]
        fn cleaned_paths_are_absolute_and_plain(path in "[a-c./]{0,24}") {
            let cleaned = clean(Path::new(&path));
            prop_assert!(cleaned.is_absolute());
            prop_assert!(!cleaned.components().any(|c| matches!(c, Component::ParentDir)));
            prop_assert_eq!(clean(&cleaned), cleaned);
        }
    }
}
