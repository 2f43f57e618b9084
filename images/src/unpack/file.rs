//! A regular file being filled, and the metadata that every kind of file gets.

use std::os::fd::OwnedFd;

use rustix::fs::{
    Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown, fsetxattr, ftruncate,
    futimens,
};
use rustix::io::Errno;

use super::error::UnpackError;
use super::pax::Time;
use super::tar::Entry;
use crate::overlay::may_carry;

/// A file that has been made and is waiting for its data.
pub(crate) struct File {
    fd: OwnedFd,
    /// open(2) has set the mode already.
    mode_set: bool,
    /// For messages.
    name: String,
}

impl File {
    pub(super) fn new(fd: OwnedFd, mode_set: bool, name: String) -> Self {
        Self { fd, mode_set, name }
    }

    fn error(&self, action: &'static str) -> impl Fn(Errno) -> UnpackError {
        let name = self.name.clone();
        move |e| UnpackError::Write { action, name: name.clone(), source: e.into() }
    }

    /// Writes all of `bytes` at `offset`.
    pub(crate) fn write(&self, mut bytes: &[u8], mut offset: u64) -> Result<(), UnpackError> {
        while !bytes.is_empty() {
            match rustix::io::pwrite(&self.fd, bytes, offset) {
                Ok(0) => return Err(self.error("write")(Errno::NOSPC)),
                Ok(n) => {
                    bytes = bytes.get(n..).unwrap_or_default();
                    offset += n as u64;
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(self.error("write")(e)),
            }
        }
        Ok(())
    }

    /// Makes a sparse file's end, which may be a hole.
    pub(crate) fn set_size(&self, size: u64) -> Result<(), UnpackError> {
        ftruncate(&self.fd, size).map_err(self.error("write"))
    }

    /// Owner first: it clears set-id bits and capabilities. Time last.
    pub(crate) fn finish(self, entry: &Entry) -> Result<(), UnpackError> {
        if (entry.uid, entry.gid) != (0, 0) {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            fchown(&self.fd, Some(uid), Some(gid)).map_err(self.error("set owner of"))?;
        }
        if !self.mode_set {
            fchmod(&self.fd, Mode::from_raw_mode(entry.mode)).map_err(self.error("set mode of"))?;
        }
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| may_carry(name)) {
            set_xattr(&self.fd, name, value).map_err(self.error("set attribute of"))?;
        }
        futimens(&self.fd, &timestamps(entry.mtime)).map_err(self.error("set time of"))
    }
}

pub(super) fn set_xattr(file: &OwnedFd, name: &[u8], value: &[u8]) -> rustix::io::Result<()> {
    ignoring_unsupported(fsetxattr(file, name, value, XattrFlags::empty()))
}

/// A file system without such attributes still makes a usable layer; docker
/// carries on too.
pub(super) fn ignoring_unsupported(result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::NOTSUP) => Ok(()),
        done => done,
    }
}

pub(super) fn timestamps(time: Time) -> Timestamps {
    let spec = Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) };
    Timestamps { last_access: spec, last_modification: spec }
}
