//! A layer archive → a directory that overlayfs can use as a lower one. Two
//! threads, a bounded pipe between: one decompresses and hashes, one makes the
//! files. Memory does not grow with the archive.
//!
//! - [`decode`] compression by magic, diff id, expansion bound
//! - [`tar`], [`header`], [`pax`], [`sparse`] the stream as entries (pure)
//! - [`tree`], [`place`], [`mod@file`] entries as files, contained below one directory
//!
//! Bounds: expansion at most 1100-fold beyond the first 64 MiB; file data at
//! most what the disk has free less a twentieth; extended headers 1 MiB; sparse
//! maps 2^18 pieces; files 16 TiB; names as the kernel takes them.

pub(crate) mod chunks;
mod decode;
mod error;
mod file;
mod header;
mod later;
pub(crate) mod path;
mod pax;
mod place;
mod sparse;
pub(crate) mod tar;
mod tree;

#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::Path;

use rcnt_base::ids::Digest;

use chunks::ChunkReader;
pub(crate) use decode::{Compression, Expansion, open as open_decoded};
pub use error::UnpackError;
use file::File;
use tar::{Entry, Kind, TarReader};
use tree::Tree;

/// What was unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// Digest of the uncompressed archive.
    pub(crate) diff_id: Digest,
    /// Bytes of all files.
    pub(crate) size: u64,
    /// Entries of the archive.
    pub(crate) entries: u64,
    /// How it was stored.
    pub(crate) compression: Compression,
}

/// Unpacks `source` into the empty directory `dir`. `stored` is the digest of
/// the source's bytes if someone checks that; see [`decode::decode`]. On error the
/// directory holds a part: its owner removes it.
pub(crate) fn unpack(
    source: impl Read + Send,
    dir: &Path,
    stored: Option<&Digest>,
) -> Result<Unpacked, UnpackError> {
    let (to, from) = chunks::channel();
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("inflate".to_owned());
        let decoder = builder
            .spawn_scoped(scope, move || decode::decode(source, to, stored))
            .map_err(UnpackError::Read)?;
        let made = make_files(from, dir);
        let decoded = decoder.join().unwrap_or(Err(UnpackError::Interrupted));
        match (decoded, made) {
            (Ok(decoded), Ok((size, entries))) => {
                let decode::Decoded { diff_id, compression } = decoded;
                Ok(Unpacked { diff_id, size, entries, compression })
            }
            // It stopped because the other side had: that one knows why.
            (Err(UnpackError::Interrupted) | Ok(_), Err(e)) | (Err(e), _) => Err(e),
        }
    })
}

/// Reads the tar stream and makes everything in it.
fn make_files(from: ChunkReader, dir: &Path) -> Result<(u64, u64), UnpackError> {
    let mut tree = Tree::open(dir).map_err(|source| UnpackError::Write {
        action: "open the directory of",
        name: "/".to_owned(),
        source,
    })?;
    // A twentieth stays free: a layer must not take the last block of a disk
    // that others write to.
    let free = tree.free().map_or(u64::MAX, |free| free - free / 20);
    let mut tar = TarReader::new(from);
    let (mut size, mut entries) = (0u64, 0u64);
    while let Some(entry) = tar.next()? {
        entries += 1;
        let data = if entry.kind == Kind::File { entry.stored } else { 0 };
        size = size.saturating_add(data);
        if size > free {
            return Err(UnpackError::TooLarge { free });
        }
        if let Some(file) = tree.make(&entry)? {
            write_data(&mut tar, &file, &entry)?;
            file.finish(&entry)?;
        }
    }
    tar.drain()?;
    tree.finish()?;
    Ok((size, entries))
}

fn write_data(
    tar: &mut TarReader<ChunkReader>,
    file: &File,
    entry: &Entry,
) -> Result<(), UnpackError> {
    let Some(map) = &entry.sparse else {
        let mut at = 0;
        return tar.data(&mut |bytes| {
            file.write(bytes, at)?;
            at += bytes.len() as u64;
            Ok(())
        });
    };
    let mut pieces = map.segments.iter().filter(|piece| piece.length > 0);
    let (mut at, mut left) = (0, 0);
    tar.data(&mut |mut bytes| {
        while !bytes.is_empty() {
            if left == 0 {
                let Some(piece) = pieces.next() else { return Err(UnpackError::Truncated) };
                (at, left) = (piece.offset, piece.length);
            }
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let (now, rest) = bytes.split_at(n);
            file.write(now, at)?;
            (at, left, bytes) = (at + n as u64, left - n as u64, rest);
        }
        Ok(())
    })?;
    file.set_size(map.real_size)
}
