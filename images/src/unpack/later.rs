//! What directories get when everything in them is made: owner, mode, times.
//! Kept in an unnamed file, not in memory: an archive may have a million.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::error::UnpackError;
use super::pax::Time;

/// One directory's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DirectoryMeta {
    pub(crate) path: Vec<u8>,
    /// To tell whether it is still the same directory.
    pub(crate) inode: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The list, written once and read once.
pub(crate) struct Later(BufWriter<File>);

impl Later {
    /// In the file system of `dir`, without a name: gone when we are.
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let fd = openat(CWD, dir, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Self(BufWriter::new(File::from(fd))))
    }

    pub(crate) fn push(&mut self, meta: &DirectoryMeta) -> io::Result<()> {
        let DirectoryMeta { path, inode, mode, uid, gid, mtime, xattrs } = meta;
        let out = &mut self.0;
        out.write_all(&inode.to_ne_bytes())?;
        for n in [*mode, *uid, *gid, mtime.nanoseconds, xattrs.len() as u32] {
            out.write_all(&n.to_ne_bytes())?;
        }
        out.write_all(&mtime.seconds.to_ne_bytes())?;
        put(out, path)?;
        for (name, value) in xattrs {
            put(out, name)?;
            put(out, value)?;
        }
        Ok(())
    }

    /// Hands out everything in order.
    pub(crate) fn replay(
        self,
        mut each: impl FnMut(&DirectoryMeta) -> Result<(), UnpackError>,
    ) -> Result<(), UnpackError> {
        let mut file = self.0.into_inner().map_err(|e| UnpackError::Read(e.into_error()))?;
        let end = file.stream_position().map_err(UnpackError::Read)?;
        file.rewind().map_err(UnpackError::Read)?;
        let mut from = BufReader::new(file.take(end));
        while let Some(meta) = read(&mut from).map_err(UnpackError::Read)? {
            each(&meta)?;
        }
        Ok(())
    }
}

fn put(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(&(bytes.len() as u32).to_ne_bytes())?;
    out.write_all(bytes)
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn bytes(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let len = u32::from_ne_bytes(array(from)?);
    let mut bytes = vec![0; len as usize];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read(from: &mut impl Read) -> io::Result<Option<DirectoryMeta>> {
    let mut inode = [0; 8];
    // The end, between two records.
    if from.read(inode.get_mut(..1).unwrap_or_default())? == 0 {
        return Ok(None);
    }
    from.read_exact(inode.get_mut(1..).unwrap_or_default())?;
    let mut numbers = [0u32; 5];
    for n in &mut numbers {
        *n = u32::from_ne_bytes(array(from)?);
    }
    let [mode, uid, gid, nanoseconds, xattr_count] = numbers;
    let mtime = Time { seconds: i64::from_ne_bytes(array(from)?), nanoseconds };
    let path = bytes(from)?;
    let mut xattrs = Vec::new();
    for _ in 0..xattr_count {
        xattrs.push((bytes(from)?, bytes(from)?));
    }
    let inode = u64::from_ne_bytes(inode);
    Ok(Some(DirectoryMeta { path, inode, mode, uid, gid, mtime, xattrs }))
}
