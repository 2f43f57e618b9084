//! Reading a container's log, from any line, and following it: inotify tells
//! of more, the supervisor's socket of the end. No polling.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use serde::Deserialize;
use time::OffsetDateTime;

use crate::Engine;
use crate::container::{Container, Status};
use crate::error::{EngineError, Result};
use crate::session::{Event, Remote, Session};

/// What to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on until the container ends.
    pub follow: bool,
    /// Only the last so many lines that there are now.
    pub tail: Option<u64>,
    /// Nothing older.
    pub since: Option<OffsetDateTime>,
    /// Nothing newer.
    pub until: Option<OffsetDateTime>,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LogLine {
    /// With its end of line, unless it was cut.
    #[serde(rename = "log")]
    pub text: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// When it was written.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
}

/// Gives the lines of a log one by one.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    /// Rotated first, then current.
    files: Vec<BufReader<File>>,
    options: LogOptions,
    /// A line whose end is not written yet.
    partial: Vec<u8>,
    news: Option<News>,
}

/// Whence a follower hears.
#[derive(Debug)]
struct News {
    watch: OwnedFd,
    end: Session,
    ended: bool,
}

/// Opens a container's log.
///
/// # Errors
/// It cannot be read.
pub fn open(engine: &Engine, container: &Container, options: &LogOptions) -> Result<LogReader> {
    let reading = || EngineError::state(format!("cannot read the log of {}", container.name));
    let path = engine.paths.log(&container.id);
    // Watch first: what is written between reading and watching is not missed.
    let news = match options.follow && container.state.status == Status::Running {
        true => News::of(engine, container).map_err(reading())?,
        false => None,
    };
    let mut files = Vec::new();
    for file in [path.with_extension("json.1"), path.clone()] {
        match File::open(file) {
            Ok(file) => files.push(BufReader::new(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(reading()(e)),
        }
    }
    if let Some(lines) = options.tail {
        files = tail(files, lines).map_err(reading())?;
    }
    Ok(LogReader { path, files, options: options.clone(), partial: Vec::new(), news })
}

/// The files from where the last `lines` lines begin.
fn tail(files: Vec<BufReader<File>>, mut lines: u64) -> io::Result<Vec<BufReader<File>>> {
    let last = files.len().saturating_sub(1);
    let mut kept = Vec::new();
    for (n, reader) in files.into_iter().enumerate().rev() {
        if lines == 0 && n != last {
            break;
        }
        let mut file = reader.into_inner();
        let (offset, found) = offset_of_last(&mut file, lines)?;
        file.seek(SeekFrom::Start(offset))?;
        lines -= found;
        kept.push(BufReader::new(file));
    }
    kept.reverse();
    Ok(kept)
}

/// Where the last `lines` lines of a file begin, and how many there are.
fn offset_of_last(file: &mut File, lines: u64) -> io::Result<(u64, u64)> {
    const CHUNK: u64 = 64 << 10;
    let size = file.metadata()?.len();
    let (mut position, mut found) = (size, 0);
    while position > 0 {
        let start = position.saturating_sub(CHUNK);
        let mut chunk = vec![0; usize::try_from(position - start).map_err(io::Error::other)?];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut chunk)?;
        for (n, _) in chunk.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            let after = start + n as u64 + 1;
            // The end of the last line is not the start of another.
            if after < size {
                if found + 1 >= lines {
                    return Ok((if lines == 0 { size } else { after }, lines));
                }
                found += 1;
            } else if lines == 0 {
                return Ok((size, 0));
            }
        }
        position = start;
    }
    Ok((0, if size > 0 { found + 1 } else { 0 }))
}

impl LogReader {
    /// The next line; `None` at the end, which a follower meets only when the
    /// container has ended.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn next_line(&mut self) -> Result<Option<LogLine>> {
        let path = self.path.clone();
        self.advance().map_err(EngineError::state(format!("cannot read log {}", path.display())))
    }

    fn advance(&mut self) -> io::Result<Option<LogLine>> {
        loop {
            let Some(line) = self.raw_line()? else {
                if self.options.follow && self.wait_for_more()? {
                    continue;
                }
                return Ok(None);
            };
            // A line that a power cut left damaged is not worth the rest.
            let Ok(line) = serde_json::from_slice::<LogLine>(&line) else { continue };
            if self.options.until.is_some_and(|until| line.time > until) {
                return Ok(None);
            }
            if self.options.since.is_none_or(|since| line.time >= since) {
                return Ok(Some(line));
            }
        }
    }

    fn raw_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        while let Some(file) = self.files.first_mut() {
            let got = file.read_until(b'\n', &mut self.partial)?;
            if self.partial.last() == Some(&b'\n') {
                return Ok(Some(std::mem::take(&mut self.partial)));
            }
            if got == 0 {
                // The current file stays open: more may come.
                if self.files.len() == 1 {
                    return Ok(None);
                }
                self.files.remove(0);
            }
        }
        Ok(None)
    }

    /// Waits for more; `false` when the container has ended and all is read.
    fn wait_for_more(&mut self) -> io::Result<bool> {
        if self.reopened()? {
            return Ok(true);
        }
        let Some(news) = &mut self.news else { return Ok(false) };
        if news.ended {
            return Ok(false);
        }
        let left = match self.options.until {
            None => None,
            Some(until) => match Duration::try_from(until - OffsetDateTime::now_utc()) {
                Ok(left) => Some(left),
                // It is past.
                Err(_) => return Ok(false),
            },
        };
        news.wait(left)?;
        Ok(true)
    }

    /// Goes on with the new file after a rotation, or with the first one.
    fn reopened(&mut self) -> io::Result<bool> {
        let now = match File::open(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened?,
        };
        let current = match self.files.last() {
            Some(reader) => Some(reader.get_ref().metadata()?.ino()),
            None => None,
        };
        if current == Some(now.metadata()?.ino()) {
            return Ok(false);
        }
        self.files.push(BufReader::new(now));
        Ok(true)
    }
}

impl News {
    /// `None` when the container has just ended.
    fn of(engine: &Engine, container: &Container) -> io::Result<Option<Self>> {
        let run = engine.paths.run(&container.id);
        let Ok(remote) = Remote::connect(&run, false, false) else { return Ok(None) };
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let directory: &Path = &engine.paths.container(&container.id);
        let events = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE_SELF;
        inotify::add_watch(&watch, directory, events)?;
        Ok(Some(Self { watch, end: Session::Remote(remote), ended: false }))
    }

    fn wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        let mut fds = vec![PollFd::new(&self.watch, PollFlags::IN)];
        fds.extend(self.end.poll_fds());
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        drop(fds);
        // What exactly changed does not matter: the file is read anyway.
        let mut buffer = [0u8; 4096];
        while rustix::io::read(&self.watch, &mut buffer).is_ok_and(|n| n > 0) {}
        let over = |e: &Event| matches!(e, Event::Exited(_) | Event::Closed);
        self.ended = self.end.read()?.iter().any(over);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn reader(text: &str, lines: u64) -> String {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let mut rest = String::new();
        for mut file in tail(vec![BufReader::new(file)], lines).unwrap() {
            file.read_to_string(&mut rest).unwrap();
        }
        rest
    }

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        assert_eq!(reader("a\nb\nc\n", 2), "b\nc\n");
        assert_eq!(reader("a\nb\nc\n", 3), "a\nb\nc\n");
        assert_eq!(reader("a\nb\nc\n", 9), "a\nb\nc\n");
        assert_eq!(reader("a\nb\nc\n", 0), "");
        assert_eq!(reader("", 5), "");
        let long = "x".repeat(70_000) + "\nend\n";
        assert_eq!(reader(&long, 1), "end\n");
    }

    #[test]
    fn lines_come_from_the_rotated_file_too() {
        let file = |text: &str| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            BufReader::new(file)
        };
        let mut rest = String::new();
        for mut part in tail(vec![file("a\nb\n"), file("c\n")], 2).unwrap() {
            part.read_to_string(&mut rest).unwrap();
        }
        assert_eq!(rest, "b\nc\n");
    }
}
