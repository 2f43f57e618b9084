//! A tar stream, entry by entry. Extensions (GNU long names, PAX, sparse maps)
//! are resolved here; what comes out is one [`Entry`] and its data.
//!
//! Our own reader, because what keeps readers apart is what attackers use: a
//! PAX size belongs to the file and not to the header between (RUSTSEC-2025-0111,
//! -2026-0067), extensions are bounded, and where docker and GNU tar would read
//! an archive differently it is refused.

use std::io::{BufRead, ErrorKind};

use super::error::UnpackError;
use super::header::{BLOCK, Block, Dialect, Header, text};
use super::pax::{EXTENSION_MAX, Pax, Time};
use super::sparse::{MapLines, SEGMENTS_MAX, SparseMap, gnu_pairs};

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One entry, all extensions applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) device: (u32, u32),
    /// Bytes of data that follow.
    pub(crate) stored: u64,
    pub(crate) sparse: Option<SparseMap>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Extensions met before an entry.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

/// A stream that may be able to pass over bytes without reading them.
pub(crate) trait Skip {
    /// Passes over `n` bytes, or answers that it cannot.
    fn skip(&mut self, _n: u64) -> std::io::Result<bool> {
        Ok(false)
    }
}

impl Skip for super::chunks::ChunkReader {}

/// Reads entries from `source`.
pub(crate) struct TarReader<R> {
    source: R,
    offset: u64,
    /// Data of the current entry not read yet, then its padding.
    left: u64,
    padding: u64,
}

impl<R: BufRead + Skip> TarReader<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, offset: 0, left: 0, padding: 0 }
    }

    /// Bytes read so far: after [`TarReader::next`], where the data begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next entry; what was not read of the last one's data is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, UnpackError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_data()?;
            let Some(block) = self.block()? else {
                return match extensions.path.is_none() && extensions.pax.is_none() {
                    true => Ok(None),
                    false => Err(UnpackError::Truncated),
                };
            };
            if block == [0; BLOCK] {
                return self.end();
            }
            let bad = |what| UnpackError::Header { what, offset: self.offset - BLOCK as u64 };
            let header = Header::checked(&block).ok_or_else(|| bad("no tar header"))?;
            let size = header.size().ok_or_else(|| bad("a size that is none"))?;
            match header.type_flag() {
                b'L' => {
                    let long = self.extension(size)?;
                    set_once(&mut extensions.path, text(&long).to_vec(), || self.header_error())?;
                }
                b'K' => {
                    let long = self.extension(size)?;
                    set_once(&mut extensions.link, text(&long).to_vec(), || self.header_error())?;
                }
                b'x' | b'X' => {
                    let bytes = self.extension(size)?;
                    let pax = Pax::parse(&bytes).ok_or_else(|| self.bad_extension())?;
                    set_once(&mut extensions.pax, pax, || self.header_error())?;
                }
                b'g' => {
                    let bytes = self.extension(size)?;
                    let pax = Pax::parse(&bytes).ok_or_else(|| self.bad_extension())?;
                    if pax.changes_what_is_read() {
                        let what = "a global header that renames or resizes every entry";
                        return Err(UnpackError::Header { what, offset: self.offset });
                    }
                }
                // A volume's label names the archive, not a file.
                b'V' => self.set_data(0),
                flag => return self.entry(&header, flag, size, extensions).map(Some),
            }
        }
    }

    fn header_error(&self) -> UnpackError {
        let what = "two extended headers of one kind for one entry";
        UnpackError::Header { what, offset: self.offset }
    }

    fn bad_extension(&self) -> UnpackError {
        UnpackError::Header { what: "a malformed extended header", offset: self.offset }
    }

    /// One zero block ends the archive, the second confirms it.
    fn end(&mut self) -> Result<Option<Entry>, UnpackError> {
        match self.block()? {
            Some(block) if block != [0; BLOCK] => Err(UnpackError::Header {
                what: "an end marker in the middle",
                offset: self.offset - BLOCK as u64,
            }),
            _ => Ok(None),
        }
    }

    fn entry(
        &mut self,
        header: &Header<'_>,
        flag: u8,
        header_size: u64,
        extensions: Extensions,
    ) -> Result<Entry, UnpackError> {
        let Extensions { path, link, pax } = extensions;
        let pax = pax.unwrap_or_default();
        let bad = |what| UnpackError::Header { what, offset: self.offset - BLOCK as u64 };
        let path = pax.path.or(path).unwrap_or_else(|| header.path());
        let kind = kind_of(flag, &path).ok_or_else(|| bad("an entry of unknown type"))?;
        let mut stored = pax.size.unwrap_or(header_size);
        match kind {
            Kind::File => {}
            // POSIX lets a link's size tell its target's; no data follows.
            Kind::HardLink => stored = 0,
            // Some programs would skip that many bytes, others not.
            _ if stored != 0 => return Err(bad("data behind an entry that has none")),
            _ => {}
        }
        // The kernel counts in signed 64 bits; so must everything below.
        if i64::try_from(stored).is_err() {
            return Err(bad("a size beyond any file"));
        }
        let id = |pax: Option<u64>, header: Option<i64>| {
            let id = pax.or_else(|| header.and_then(|n| u64::try_from(n).ok()))?;
            // chown(2) takes the last one for "leave it".
            u32::try_from(id).ok().filter(|id| *id != u32::MAX)
        };
        let seconds = header.mtime().unwrap_or_default();
        let device = match kind {
            Kind::CharDevice | Kind::BlockDevice => {
                header.device().ok_or_else(|| bad("a device number that is none"))?
            }
            _ => (0, 0),
        };
        let mode = header.mode().ok_or_else(|| bad("a mode that is none"))?;
        let mut entry = Entry {
            kind,
            path,
            link: pax.link.or(link).unwrap_or_else(|| header.link()),
            mode: u32::try_from(mode & 0o7777).unwrap_or_default(),
            uid: id(pax.uid, header.uid()).ok_or_else(|| bad("a user id that is none"))?,
            gid: id(pax.gid, header.gid()).ok_or_else(|| bad("a group id that is none"))?,
            mtime: pax.mtime.unwrap_or(Time { seconds, nanoseconds: 0 }),
            device,
            stored,
            sparse: None,
            xattrs: pax.xattrs,
        };
        self.set_data(stored);
        if flag == b'S' && header.dialect() == Dialect::Gnu {
            self.gnu_sparse(header, &mut entry)?;
        } else if pax.sparse.map_in_data {
            self.sparse_lines(pax.sparse.real_size, &mut entry)?;
        } else if let Some(map) = pax.sparse.map {
            entry.sparse = self.map(map, pax.sparse.real_size, stored)?;
        }
        Ok(entry)
    }

    fn map(
        &self,
        segments: Vec<super::sparse::Segment>,
        real_size: Option<u64>,
        stored: u64,
    ) -> Result<Option<SparseMap>, UnpackError> {
        real_size
            .and_then(|real| SparseMap::checked(segments, real, stored))
            .map(Some)
            .ok_or(UnpackError::Header { what: "a malformed sparse map", offset: self.offset })
    }

    /// The old GNU format: the map goes on in blocks between header and data.
    fn gnu_sparse(&mut self, header: &Header<'_>, entry: &mut Entry) -> Result<(), UnpackError> {
        let (pairs, mut more, real_size) = header.gnu_sparse();
        let mut segments = Vec::new();
        let bad = UnpackError::Header { what: "a malformed sparse map", offset: self.offset };
        if gnu_pairs(pairs, &mut segments).is_none() {
            return Err(bad);
        }
        while more {
            let block = self.block()?.ok_or(UnpackError::Truncated)?;
            let (pairs, tail) = block.split_at(504);
            more = tail.first().is_some_and(|b| *b != 0);
            if gnu_pairs(pairs, &mut segments).is_none() || segments.len() > SEGMENTS_MAX {
                return Err(bad);
            }
        }
        entry.sparse = self.map(segments, real_size, entry.stored)?;
        Ok(())
    }

    /// GNU's format 1.0: the map is the first blocks of the data.
    fn sparse_lines(
        &mut self,
        real_size: Option<u64>,
        entry: &mut Entry,
    ) -> Result<(), UnpackError> {
        let bad = UnpackError::Header { what: "a malformed sparse map", offset: self.offset };
        let mut lines = MapLines::default();
        loop {
            let Some(left) = self.left.checked_sub(BLOCK as u64) else { return Err(bad) };
            let block = self.block()?.ok_or(UnpackError::Truncated)?;
            self.left = left;
            match lines.feed(&block) {
                None => return Err(bad),
                Some(true) => break,
                Some(false) => {}
            }
        }
        entry.stored = self.left;
        entry.sparse = self.map(lines.segments(), real_size, entry.stored)?;
        Ok(())
    }

    fn set_data(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// The data of an extension, bounded, and its padding.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        if size > EXTENSION_MAX {
            let what = "an extended header of more than 1 MiB";
            return Err(UnpackError::Header { what, offset: self.offset });
        }
        self.set_data(size);
        let mut bytes = Vec::new();
        self.data(&mut |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Hands the rest of the current entry's data to `each`, piece by piece.
    pub(crate) fn data(
        &mut self,
        each: &mut dyn FnMut(&[u8]) -> Result<(), UnpackError>,
    ) -> Result<(), UnpackError> {
        while self.left > 0 {
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            let chunk = fill(&mut self.source)?;
            let Some(chunk) = chunk.get(..chunk.len().min(left)).filter(|c| !c.is_empty()) else {
                return Err(UnpackError::Truncated);
            };
            each(chunk)?;
            let n = chunk.len();
            self.source.consume(n);
            self.left -= n as u64;
            self.offset += n as u64;
        }
        Ok(())
    }

    fn skip_data(&mut self) -> Result<(), UnpackError> {
        let all = self.left.checked_add(self.padding).ok_or(UnpackError::Truncated)?;
        if all > 0 && self.source.skip(all).map_err(UnpackError::Read)? {
            (self.left, self.padding) = (0, 0);
            self.offset = self.offset.checked_add(all).ok_or(UnpackError::Truncated)?;
            return Ok(());
        }
        self.data(&mut |_| Ok(()))?;
        self.left = std::mem::take(&mut self.padding);
        self.data(&mut |_| Ok(()))
    }

    /// `None` at the end of the stream.
    fn block(&mut self) -> Result<Option<Block>, UnpackError> {
        let mut block = [0; BLOCK];
        let mut at = 0;
        while let Some(rest) = block.get_mut(at..).filter(|rest| !rest.is_empty()) {
            let chunk = fill(&mut self.source)?;
            let n = chunk.len().min(rest.len());
            if let (Some(rest), Some(chunk)) = (rest.get_mut(..n), chunk.get(..n)) {
                rest.copy_from_slice(chunk);
            }
            match (n, at) {
                (0, 0) => return Ok(None),
                (0, _) => return Err(UnpackError::Truncated),
                _ => {}
            }
            self.source.consume(n);
            self.offset += n as u64;
            at += n;
        }
        Ok(Some(block))
    }

    /// Reads what follows the archive's end to the end of the stream: writers
    /// pad, and the sender must not be left hanging.
    pub(crate) fn drain(mut self) -> Result<(), UnpackError> {
        loop {
            let n = fill(&mut self.source)?.len();
            if n == 0 {
                return Ok(());
            }
            self.source.consume(n);
        }
    }
}

fn fill(source: &mut impl BufRead) -> Result<&[u8], UnpackError> {
    // Asked twice, because the borrow of a first answer would outlive an error.
    loop {
        match source.fill_buf() {
            Ok(_) => break,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Err(UnpackError::Truncated),
            Err(e) => return Err(UnpackError::Read(e)),
        }
    }
    source.fill_buf().map_err(UnpackError::Read)
}

fn set_once<T>(
    slot: &mut Option<T>,
    value: T,
    error: impl FnOnce() -> UnpackError,
) -> Result<(), UnpackError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(error()),
    }
}

fn kind_of(flag: u8, path: &[u8]) -> Option<Kind> {
    Some(match flag {
        // Before POSIX a directory was a file with a slash at its end.
        0 | b'0' if path.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        _ => return None,
    })
}
