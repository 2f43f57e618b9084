//! Why a layer was not unpacked: one enum, since the archive, its compression
//! and the disk can each be at fault in the middle of one stream.

use std::io;

use rcnt_base::ids::Digest;

/// Why a layer archive was not unpacked. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The file ends in the middle.
    #[error("archive is truncated")]
    Truncated,
    /// Not a tar archive, or one that different programs read differently.
    #[error("archive is damaged: {what} at byte {offset}")]
    Header {
        /// What is wrong.
        what: &'static str,
        /// Of the uncompressed archive.
        offset: u64,
    },
    /// The compressed stream is broken.
    #[error("cannot decompress {0} data")]
    Decompress(&'static str, #[source] io::Error),
    /// A compression that layers do not have.
    #[error("archive is compressed with {0}, which is not read: use gzip, zstd or none")]
    Compression(&'static str),
    /// It expands without end.
    #[error("archive expands to more than {times} times its size")]
    Bomb {
        /// The bound.
        times: u64,
    },
    /// Larger than what the disk has free, with a reserve.
    #[error("archive needs more than the {free} bytes free on the disk")]
    TooLarge {
        /// The bound.
        free: u64,
    },
    /// One entry is not acceptable.
    #[error("archive entry \"{name}\": {what}")]
    Entry {
        /// Its name, made printable.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The kernel refused to make one entry.
    #[error("cannot {action} archive entry \"{name}\"")]
    Write {
        /// "create", "write", "set owner of"…
        action: &'static str,
        /// Its name, made printable.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The content is not what the image's configuration says.
    #[error("layer has the wrong content: its diff id is {actual}")]
    DiffId {
        /// The content's.
        actual: Digest,
    },
    /// The source could not be read.
    #[error("cannot read archive")]
    Read(#[source] io::Error),
    /// The other side of the work ended first; it has the reason.
    #[error("unpacking was interrupted")]
    Interrupted,
}

impl UnpackError {
    /// The disk is full: the store says so in its own words.
    pub(crate) fn storage_full(&self) -> bool {
        let source = match self {
            Self::Write { source, .. } => source,
            Self::Read(source) | Self::Decompress(_, source) => source,
            Self::TooLarge { .. } => return true,
            _ => return false,
        };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// An archive's name for a message: lossy, without control characters, bounded.
pub(crate) fn printable(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let clean = |c: char| if c.is_control() { '?' } else { c };
    match text.char_indices().nth(200) {
        Some((at, _)) => {
            text.get(..at).unwrap_or_default().chars().map(clean).chain("…".chars()).collect()
        }
        None => text.chars().map(clean).collect(),
    }
}
