//! A bounded pipe of byte buffers between two threads: backpressure when the
//! reader is slow, end of stream when the writer is dropped. Buffers go round,
//! so memory stays at `DEPTH` × `CHUNK` however much flows through.

use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc::{
    Receiver, Sender, SyncSender, TryRecvError, channel as unbounded, sync_channel,
};

/// Bytes of one buffer.
pub(crate) const CHUNK: usize = 128 << 10;
/// Buffers on their way at most.
const DEPTH: usize = 8;

/// The writing end. Dropping it ends the stream after what was written.
#[derive(Debug)]
pub(crate) struct ChunkWriter {
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    current: Vec<u8>,
}

/// The reading end. Dropping it makes the writer fail with `BrokenPipe`.
#[derive(Debug)]
pub(crate) struct ChunkReader {
    full: Receiver<Vec<u8>>,
    empty: Sender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

/// A new pipe.
pub(crate) fn channel() -> (ChunkWriter, ChunkReader) {
    let (full_to, full) = sync_channel(DEPTH);
    let (empty_to, empty) = unbounded();
    let writer = ChunkWriter { full: full_to, empty, current: Vec::with_capacity(CHUNK) };
    (writer, ChunkReader { full, empty: empty_to, current: Vec::new(), at: 0 })
}

impl ChunkWriter {
    /// A buffer to fill, and to pass to [`ChunkWriter::send`].
    pub(crate) fn buffer(&self) -> Vec<u8> {
        match self.empty.try_recv() {
            Ok(buffer) => buffer,
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Vec::with_capacity(CHUNK),
        }
    }

    /// Sends a whole buffer.
    pub(crate) fn send(&self, buffer: Vec<u8>) -> io::Result<()> {
        self.full.send(buffer).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK.saturating_sub(self.current.len());
        let (now, _) = bytes.split_at(bytes.len().min(room));
        self.current.extend_from_slice(now);
        if self.current.len() >= CHUNK {
            self.flush()?;
        }
        Ok(now.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.current.is_empty() {
            return Ok(());
        }
        let mut next = self.buffer();
        next.clear();
        let full = std::mem::replace(&mut self.current, next);
        self.send(full)
    }
}

impl Drop for ChunkWriter {
    fn drop(&mut self) {
        // A reader that is gone does not want the rest.
        let _ = self.flush();
    }
}

impl BufRead for ChunkReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at >= self.current.len() {
            // A closed channel is the end of the stream.
            let Ok(next) = self.full.recv() else { return Ok(&[]) };
            let used = std::mem::replace(&mut self.current, next);
            self.at = 0;
            if used.capacity() > 0 {
                // The writer may be gone already; then nobody needs the buffer.
                let _ = self.empty.send(used);
            }
        }
        Ok(self.current.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

impl Read for ChunkReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let have = self.fill_buf()?;
        let n = have.len().min(to.len());
        let (Some(to), Some(have)) = (to.get_mut(..n), have.get(..n)) else { return Ok(0) };
        to.copy_from_slice(have);
        self.consume(n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_end_is_the_end() {
        let (mut to, mut from) = channel();
        let data: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
        let sent = data.clone();
        let thread = std::thread::spawn(move || to.write_all(&sent).unwrap());
        let mut got = Vec::new();
        from.read_to_end(&mut got).unwrap();
        thread.join().unwrap();
        assert!(got == data);
    }

    #[test]
    fn a_reader_that_is_gone_stops_the_writer() {
        let (mut to, from) = channel();
        drop(from);
        assert_eq!(to.write_all(&[0; 2 * CHUNK]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
