//! The files of an archive by name. An uncompressed tar is read in place, a
//! compressed or streamed one is first spooled into an unnamed file of the
//! store; a directory is opened name by name and never left.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};

use super::Input;
use super::load::LoadError;
use crate::store::{Paths, StoreError};
use crate::unpack::path::LayerPath;
use crate::unpack::tar::{Kind, Skip, TarReader};
use crate::unpack::{Compression, Expansion, UnpackError, open_decoded};

/// An archive of more files than this is none of images.
const MEMBERS_MAX: usize = 100_000;
/// Old `docker save` links a layer to an equal one; links of links are tricks.
const LINKS_MAX: usize = 4;

/// Where members are found.
pub(super) enum Members {
    Tar { file: Arc<File>, index: BTreeMap<Vec<u8>, Member> },
    Directory(OwnedFd),
}

/// A member of a tar.
pub(super) enum Member {
    Data {
        offset: u64,
        length: u64,
    },
    /// Names another, relative to the archive's root.
    Link(Vec<u8>),
}

/// A member's bytes; clones read independently.
#[derive(Debug, Clone)]
pub(super) struct Section {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Section {
    pub(super) fn len(&self) -> u64 {
        self.left
    }

    /// All of it, if it is not larger than `max`.
    pub(super) fn read_all(mut self, name: &str, max: u64) -> Result<Vec<u8>, LoadError> {
        if self.left > max {
            return Err(LoadError::TooLarge { name: name.to_owned(), size: self.left, max });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(self.left).unwrap_or_default());
        self.read_to_end(&mut bytes).map_err(LoadError::Read)?;
        Ok(bytes)
    }

    /// How it is compressed, told by its first bytes.
    pub(super) fn compression(&self) -> Result<Compression, LoadError> {
        let mut head = [0; 16];
        let mut from = self.clone();
        let mut at = 0;
        while let Some(rest) = head.get_mut(at..).filter(|r| !r.is_empty()) {
            match from.read(rest).map_err(LoadError::Read)? {
                0 => break,
                n => at += n,
            }
        }
        Compression::detect(head.get(..at).unwrap_or_default())
            .map_err(|name| LoadError::Archive(UnpackError::Compression(name)))
    }
}

impl Read for Section {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(to.len());
        let n = self.file.read_at(to.get_mut(..most).unwrap_or_default(), self.offset)?;
        if n == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

impl Members {
    /// Opens what `input` is.
    pub(super) fn open(input: Input<'_>, paths: &Paths) -> Result<Self, LoadError> {
        let path = match input {
            Input::Stream(stream) => return Self::spooled(stream, paths),
            Input::Path(path) => path,
        };
        let error = |e: io::Error| LoadError::Open(path.to_owned(), e);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = openat(CWD, path, flags, Mode::empty()).map_err(|e| error(e.into()))?;
        let stat = fstat(&fd).map_err(|e| error(e.into()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return Ok(Self::Directory(fd)),
            FileType::RegularFile => {}
            // A pipe or device: read once, and wait for its bytes.
            _ => return Self::spooled(&mut File::open(path).map_err(error)?, paths),
        }
        let mut file = File::from(fd);
        let length = file.metadata().map_err(error)?.len();
        let section =
            Section { file: Arc::new(file.try_clone().map_err(error)?), offset: 0, left: length };
        if section.compression()? != Compression::None {
            return Self::spooled(&mut file, paths);
        }
        Self::index(file)
    }

    fn spooled(stream: &mut (dyn Read + Send), paths: &Paths) -> Result<Self, LoadError> {
        let mut file = spool(stream, paths)?;
        file.rewind().map_err(LoadError::Read)?;
        Self::index(file)
    }

    fn index(mut file: File) -> Result<Self, LoadError> {
        let length = file.seek(SeekFrom::End(0)).map_err(LoadError::Read)?;
        file.rewind().map_err(LoadError::Read)?;
        let shared = Arc::new(file.try_clone().map_err(LoadError::Read)?);
        let mut tar = TarReader::new(Seekable(BufReader::new(file)));
        let mut index = BTreeMap::new();
        while let Some(entry) = tar.next()? {
            let path = LayerPath::clean(&entry.path)?;
            if tar.offset().checked_add(entry.stored).is_none_or(|end| end > length) {
                return Err(UnpackError::Truncated.into());
            }
            let member = match entry.kind {
                Kind::File if entry.sparse.is_none() => {
                    Member::Data { offset: tar.offset(), length: entry.stored }
                }
                Kind::HardLink => Member::Link(entry.link),
                Kind::Symlink => {
                    let parent = path.split().map_or(&b""[..], |(parent, _)| parent);
                    Member::Link([parent, b"/", &entry.link].concat())
                }
                _ => continue,
            };
            index.insert(path.bytes().to_vec(), member);
            if index.len() > MEMBERS_MAX {
                return Err(LoadError::TooManyMembers(MEMBERS_MAX));
            }
        }
        Ok(Self::Tar { file: shared, index })
    }

    /// The member `name`, if there is one.
    pub(super) fn find(&self, name: &str) -> Result<Option<Section>, LoadError> {
        let path = LayerPath::clean(name.as_bytes())?;
        match self {
            Self::Directory(dir) => open_member(dir, &path),
            Self::Tar { file, index } => {
                let mut path = path;
                for _ in 0..=LINKS_MAX {
                    match index.get(path.bytes()) {
                        None => return Ok(None),
                        Some(Member::Data { offset, length }) => {
                            let file = Arc::clone(file);
                            return Ok(Some(Section { file, offset: *offset, left: *length }));
                        }
                        Some(Member::Link(to)) => path = LayerPath::clean(to)?,
                    }
                }
                Ok(None)
            }
        }
    }

    /// The member `name`, which must be there.
    pub(super) fn get(&self, name: &str) -> Result<Section, LoadError> {
        self.find(name)?.ok_or_else(|| LoadError::Missing(name.to_owned()))
    }
}

fn open_member(dir: &OwnedFd, path: &LayerPath) -> Result<Option<Section>, LoadError> {
    use rustix::io::Errno;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = match openat2(dir, path.bytes(), flags, Mode::empty(), how) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(e) => return Err(LoadError::Read(e.into())),
    };
    let stat = fstat(&fd).map_err(|e| LoadError::Read(e.into()))?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Ok(None);
    }
    let left = u64::try_from(stat.st_size).unwrap_or_default();
    Ok(Some(Section { file: Arc::new(File::from(fd)), offset: 0, left }))
}

/// Writes a stream, decompressed, into an unnamed file of the store.
fn spool(stream: &mut (dyn Read + Send), paths: &Paths) -> Result<File, LoadError> {
    let dir: &Path = &paths.tmp();
    let full = |e: io::Error| LoadError::Store(paths.error("write", dir, e));
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let fd = openat(CWD, dir, flags, Mode::RUSR | Mode::WUSR).map_err(|e| full(e.into()))?;
    let mut file = File::from(fd);
    let mut expansion = Expansion::of_disk(&file);
    let (compression, mut from) = open_decoded(BufReader::new(expansion.count(stream)))?;
    let mut buffer = vec![0; 128 << 10];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => return Ok(file),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(compression.error(e).into()),
        };
        expansion.add(n).map_err(|e| match e.storage_full() {
            true => StoreError::Full { root: paths.root().to_owned() }.into(),
            false => LoadError::Archive(e),
        })?;
        file.write_all(buffer.get(..n).unwrap_or_default()).map_err(full)?;
    }
}

/// A file whose members' data is passed over without reading it.
struct Seekable(BufReader<File>);

impl Read for Seekable {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.0.read(to)
    }
}

impl BufRead for Seekable {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.0.consume(n);
    }
}

impl Skip for Seekable {
    fn skip(&mut self, n: u64) -> io::Result<bool> {
        let Ok(n) = i64::try_from(n) else { return Ok(false) };
        self.0.seek_relative(n)?;
        Ok(true)
    }
}
