//! From a layer's bytes as they are stored to its tar stream: decompression by
//! magic number (media types lie), the diff id computed on the way.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use rcnt_base::ids::Digest;
use sha2::{Digest as _, Sha256};

use super::chunks::{CHUNK, ChunkWriter};
use super::error::UnpackError;

/// deflate cannot expand more than 1032 times; zstd can, and is held to nearly
/// the same: a bomb costs its sender as many bytes as with gzip.
const RATIO_MAX: u64 = 1100;
/// Small archives may expand to this whatever the ratio: a zeroed gigabyte in a
/// few hundred bytes of zstd is nobody's layer.
const RATIO_FREE: u64 = 64 << 20;

/// How a layer's bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// Told by the first bytes.
    ///
    /// # Errors
    /// The name of a compression we do not read.
    pub(crate) fn detect(head: &[u8]) -> Result<Self, &'static str> {
        match head {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            // A skippable frame: estargz-like tools put their table into one.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err("xz"),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, ..] => Err("bzip2"),
            _ => Ok(Self::None),
        }
    }

    /// The OCI media type of a layer stored so.
    pub(crate) fn layer_media_type(self) -> String {
        let suffix = match self {
            Self::None => "",
            Self::Gzip => "+gzip",
            Self::Zstd => "+zstd",
        };
        format!("{}{suffix}", crate::manifest::OCI_LAYER)
    }
}

/// What came out of the decoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) diff_id: Digest,
    pub(crate) compression: Compression,
}

/// Opens `source` for decompressed reading, whatever it is.
pub(crate) fn open<'a, R: BufRead + 'a>(
    mut source: R,
) -> Result<(Compression, Box<dyn Read + 'a>), UnpackError> {
    let head = source.fill_buf().map_err(UnpackError::Read)?;
    let compression = Compression::detect(head).map_err(UnpackError::Compression)?;
    let reader: Box<dyn Read + 'a> = match compression {
        Compression::None => Box::new(source),
        Compression::Gzip => Box::new(MultiGzDecoder::new(source)),
        Compression::Zstd => {
            Box::new(zstd::Decoder::with_buffer(source).map_err(UnpackError::Read)?)
        }
    };
    Ok((compression, reader))
}

/// Decompresses `source` into `to` until its end. When the stored bytes' digest
/// is checked by someone else and they turn out to be the tar stream itself,
/// that `stored` digest is the diff id and nothing is hashed twice.
pub(crate) fn decode(
    source: impl Read,
    to: ChunkWriter,
    stored: Option<&Digest>,
) -> Result<Decoded, UnpackError> {
    let mut expansion = Expansion::default();
    let counted = expansion.count(source);
    let (compression, mut reader) = open(BufReader::with_capacity(CHUNK, counted))?;
    let known = stored.filter(|_| compression == Compression::None).cloned();
    let mut hasher = Sha256::new();
    loop {
        let mut buffer = to.buffer();
        buffer.resize(CHUNK, 0);
        let n = fill(&mut reader, &mut buffer).map_err(|e| compression.error(e))?;
        buffer.truncate(n);
        if n == 0 {
            break;
        }
        if known.is_none() {
            hasher.update(&buffer);
        }
        expansion.add(n)?;
        // Who reads may have failed; it says why, we only stop.
        to.send(buffer).map_err(|_| UnpackError::Interrupted)?;
    }
    let diff_id = known.unwrap_or_else(|| Digest::from_sha256(hasher.finalize().into()));
    Ok(Decoded { diff_id, compression })
}

/// Fills `buffer` as far as the stream goes.
fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut at = 0;
    while let Some(rest) = buffer.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(n) => at += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(at)
}

impl Compression {
    /// What a failed read of the decompressed stream means.
    pub(crate) fn error(self, error: io::Error) -> UnpackError {
        match (self, error.kind()) {
            (Self::None, _) => UnpackError::Read(error),
            (_, io::ErrorKind::UnexpectedEof) => UnpackError::Truncated,
            (Self::Gzip, _) => UnpackError::Decompress("gzip", error),
            (Self::Zstd, _) => UnpackError::Decompress("zstd", error),
        }
    }
}

/// Holds a decompressed stream to its bounds.
#[derive(Debug, Default)]
pub(crate) struct Expansion {
    taken: Rc<Cell<u64>>,
    out: u64,
    free: Option<u64>,
}

impl Expansion {
    /// Bounded also by what the disk of `file` has free, less a twentieth.
    pub(crate) fn of_disk(file: &File) -> Self {
        let stat = rustix::fs::fstatvfs(file).ok();
        let free = stat.and_then(|stat| stat.f_bavail.checked_mul(stat.f_frsize));
        Self { free: free.map(|free| free - free / 20), ..Self::default() }
    }

    /// `source`, its bytes counted.
    pub(crate) fn count<R: Read>(&mut self, source: R) -> impl Read + use<R> {
        Counting { inner: source, taken: Rc::clone(&self.taken) }
    }

    /// `n` more bytes have come out.
    pub(crate) fn add(&mut self, n: usize) -> Result<(), UnpackError> {
        self.out += n as u64;
        if self.out > RATIO_FREE && self.out / RATIO_MAX > self.taken.get() {
            return Err(UnpackError::Bomb { times: RATIO_MAX });
        }
        match self.free {
            Some(free) if self.out > free => Err(UnpackError::TooLarge { free }),
            _ => Ok(()),
        }
    }
}

struct Counting<R> {
    inner: R,
    taken: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(to)?;
        self.taken.set(self.taken.get() + n as u64);
        Ok(n)
    }
}
