//! The bytes of a blob as they come: exactly as many as promised, at a pace that
//! shows good will.

use std::io::{self, Read};
use std::time::{Duration, Instant};

/// A blob that brings less than this in the time-out for silence is as good as
/// silent: a byte now and then must not hold us for ever.
const PACE: u64 = 16 << 10;

/// A blob on its way: exactly the bytes its descriptor promises, or an error.
pub struct BlobStream {
    reader: Box<dyn Read + Send>,
    /// Bytes still to come, skipped ones included.
    left: u64,
    /// Bytes to drop first.
    skip: u64,
    /// How long to wait for [`PACE`] bytes.
    patience: Duration,
    /// Spent waiting since `came` was zero; the reader's own time does not count.
    waited: Duration,
    came: u64,
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobStream").field("left", &self.left).finish_non_exhaustive()
    }
}

impl BlobStream {
    /// `left` bytes of `reader`, the first `skip` of them dropped.
    pub(super) fn new(
        reader: Box<dyn Read + Send>,
        left: u64,
        skip: u64,
        patience: Duration,
    ) -> Self {
        Self { reader, left, skip, patience, waited: Duration::ZERO, came: 0 }
    }
}

impl Read for BlobStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.skip > 0 {
            let mut scratch = [0u8; 16 << 10];
            let want = usize::try_from(self.skip).unwrap_or(usize::MAX).min(scratch.len());
            let n = self.take(scratch.get_mut(..want).unwrap_or_default())?;
            self.skip -= n as u64;
        }
        self.take(buffer)
    }
}

impl BlobStream {
    fn take(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            // Reading to the end lets the connection be used again, and shows a surplus.
            return match self.reader.read(buffer)? {
                0 => Ok(0),
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, "more bytes than promised")),
            };
        }
        let begun = Instant::now();
        let n = self.reader.read(buffer)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.waited += begun.elapsed();
        self.came += n as u64;
        if self.waited > self.patience {
            if self.came < PACE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it comes too slowly"));
            }
            (self.waited, self.came) = (Duration::ZERO, 0);
        }
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "more bytes than promised")
        })?;
        Ok(n)
    }
}
