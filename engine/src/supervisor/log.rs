//! The container's log: one JSON object a line, in docker's json-file form.
//! Bounded: at `MOST` bytes the file is renamed to `log.json.1`, replacing
//! the one before it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Bytes of one log file; two are kept.
const MOST: u64 = 64 << 20;
/// A line longer than this is stored in parts, as docker does.
const LONGEST_LINE: usize = 16 << 10;

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// Appends to a container's log.
#[derive(Debug)]
pub struct LogWriter {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl LogWriter {
    /// Opens the log for appending. A log that cannot be written does not stop
    /// the container.
    pub fn open(path: PathBuf) -> Self {
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&path).ok();
        let size = file.as_ref().and_then(|f| f.metadata().ok()).map_or(0, |m| m.len());
        Self { path, file, size, stdout: Vec::new(), stderr: Vec::new() }
    }

    /// Takes what the container wrote; whole lines are stored at once.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let now = timestamp();
        let mut entries = Vec::new();
        let partial = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let mut piece = piece;
            while partial.len() + piece.len() > LONGEST_LINE {
                let (head, tail) = piece.split_at(LONGEST_LINE - partial.len());
                partial.extend_from_slice(head);
                entry(&mut entries, stream, partial, &now);
                partial.clear();
                piece = tail;
            }
            partial.extend_from_slice(piece);
            if partial.last() == Some(&b'\n') {
                entry(&mut entries, stream, partial, &now);
                partial.clear();
            }
        }
        // A quiet container's supervisor keeps no buffer.
        if partial.is_empty() {
            partial.shrink_to_fit();
        }
        self.append(&entries);
    }

    /// Stores what had no end of line yet.
    pub fn finish(&mut self) {
        let now = timestamp();
        let mut entries = Vec::new();
        for (stream, partial) in [(Stream::Stdout, &self.stdout), (Stream::Stderr, &self.stderr)] {
            if !partial.is_empty() {
                entry(&mut entries, stream, partial, &now);
            }
        }
        self.append(&entries);
        self.stdout.clear();
        self.stderr.clear();
    }

    fn append(&mut self, entries: &[u8]) {
        if entries.is_empty() {
            return;
        }
        let Some(file) = &mut self.file else { return };
        if file.write_all(entries).is_ok() {
            self.size += entries.len() as u64;
        }
        if self.size > MOST {
            let old = self.path.with_extension("json.1");
            if std::fs::rename(&self.path, old).is_ok() {
                let path = std::mem::take(&mut self.path);
                *self = Self {
                    stdout: std::mem::take(&mut self.stdout),
                    stderr: std::mem::take(&mut self.stderr),
                    ..Self::open(path)
                };
            }
        }
    }
}

fn timestamp() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}

/// Appends `{"log":…,"stream":…,"time":…}` and a newline.
fn entry(out: &mut Vec<u8>, stream: Stream, text: &[u8], time: &str) {
    out.extend_from_slice(b"{\"log\":");
    let text = String::from_utf8_lossy(text);
    // Writing a string to a Vec cannot fail.
    let _ = serde_json::to_writer(&mut *out, text.as_ref());
    out.extend_from_slice(
        format!(",\"stream\":\"{}\",\"time\":\"{time}\"}}\n", stream.as_str()).as_bytes(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &std::path::Path) -> Vec<(String, String)> {
        std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap())
            .map(|v| {
                (v["stream"].as_str().unwrap().to_owned(), v["log"].as_str().unwrap().to_owned())
            })
            .collect()
    }

    #[test]
    fn streams_are_split_into_lines_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.json");
        let mut log = LogWriter::open(path.clone());
        log.write(Stream::Stdout, b"a\nb");
        log.write(Stream::Stderr, b"x\n");
        log.write(Stream::Stdout, b"c\n\xff");
        log.finish();
        let want =
            [("stdout", "a\n"), ("stderr", "x\n"), ("stdout", "bc\n"), ("stdout", "\u{fffd}")];
        let want: Vec<_> = want.iter().map(|(s, l)| ((*s).to_owned(), (*l).to_owned())).collect();
        assert_eq!(lines(&path), want);
    }

    #[test]
    fn a_line_without_end_is_stored_in_parts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.json");
        let mut log = LogWriter::open(path.clone());
        log.write(Stream::Stdout, &vec![b'a'; LONGEST_LINE * 2 + 5]);
        log.finish();
        let sizes: Vec<_> = lines(&path).iter().map(|(_, l)| l.len()).collect();
        assert_eq!(sizes, [LONGEST_LINE, LONGEST_LINE, 5]);
    }
}
