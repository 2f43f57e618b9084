//! Where an entry goes, looked up so that no link of the layer leads out of it.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, XattrFlags, fsetxattr, openat2, statat,
};
use rustix::io::Errno;

use super::error::{UnpackError, printable};
use super::path::LayerPath;
use crate::overlay::OPAQUE_XATTR;

/// How directories are opened.
pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// Where an entry goes: its parent, open, and its name there.
pub(super) struct Place<'a> {
    pub(super) parent: Rc<OwnedFd>,
    pub(super) name: &'a [u8],
    pub(super) full: &'a LayerPath,
}

impl Place<'_> {
    pub(super) fn error(&self, action: &'static str) -> impl Fn(Errno) -> UnpackError {
        let name = printable(self.full.bytes());
        move |e| UnpackError::Write { action, name: name.clone(), source: e.into() }
    }

    pub(super) fn refuse<T>(&self, what: &'static str) -> Result<T, UnpackError> {
        Err(UnpackError::Entry { name: printable(self.full.bytes()), what })
    }

    pub(super) fn stat(&self) -> rustix::io::Result<Stat> {
        statat(&self.parent, self.name, AtFlags::SYMLINK_NOFOLLOW)
    }
}

pub(super) fn open_below(root: &OwnedFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let path = std::ffi::OsStr::from_bytes(path);
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        // EAGAIN: a rename somewhere on the system raced with the look-up (openat2(2)).
        match openat2(root, path, DIRECTORY, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
}

pub(super) fn set_opaque(dir: &OwnedFd) -> rustix::io::Result<()> {
    fsetxattr(dir, OPAQUE_XATTR, b"y", XattrFlags::empty())
}

pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}
