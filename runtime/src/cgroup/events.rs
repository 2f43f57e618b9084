//! What happens to a cgroup, as descriptors to poll: out of memory, and the end.
//!
//! v1: an eventfd on memory.oom_control, which also fires when the cgroup is
//! removed (cgroup-v1/memory.rst, "OOM Control"). v2: inotify on memory.events and
//! cgroup.events, which "generate a file modified event" (cgroup-v2.rst).

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Mode, OFlags, inotify};
use rustix::io::Errno;

use super::layout::Layout;
use super::stats::field;
use super::{CgroupError, checked, write_value};

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The memory limit was met and could not be kept (v1), or a process was killed
    /// for it (v2).
    OutOfMemory,
    /// No process is left (v2), or the cgroup is gone. Nothing comes after it.
    Gone,
}

/// A watched cgroup.
#[derive(Debug)]
pub struct Watch {
    notify: OwnedFd,
    source: Source,
}

#[derive(Debug)]
enum Source {
    V1 { dir: PathBuf, _control: OwnedFd },
    V2 { dir: PathBuf, killed: u64 },
}

/// Watches a cgroup that exists.
///
/// # Errors
/// There is no memory controller, or a file cannot be opened.
pub fn watch(layout: &Layout, path: &Path) -> Result<Watch, CgroupError> {
    let path = checked(path)?;
    match (layout.v1_of("memory"), layout.unified_dir(path)) {
        (Some(memory), _) => watch_v1(memory.dir(path)),
        (None, Some(dir)) => watch_v2(dir),
        (None, None) => Err(CgroupError::NoMemory),
    }
}

fn watch_v1(dir: PathBuf) -> Result<Watch, CgroupError> {
    let file = dir.join("memory.oom_control");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let control =
        rustix::fs::open(&file, flags, Mode::empty()).map_err(CgroupError::io("open", &file))?;
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let notify = eventfd(0, flags).map_err(CgroupError::io("make an eventfd for", &file))?;
    let registration = dir.join("cgroup.event_control");
    let line = format!("{} {}", notify.as_raw_fd(), control.as_raw_fd());
    write_value(&registration, &line).map_err(CgroupError::io("write", &registration))?;
    Ok(Watch { notify, source: Source::V1 { dir, _control: control } })
}

fn watch_v2(dir: PathBuf) -> Result<Watch, CgroupError> {
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let notify = inotify::init(flags).map_err(CgroupError::io("make an inotify for", &dir))?;
    for name in ["memory.events", "cgroup.events"] {
        let file = dir.join(name);
        inotify::add_watch(&notify, &file, inotify::WatchFlags::MODIFY)
            .map_err(CgroupError::io("watch", &file))?;
    }
    let killed = kills(&dir).unwrap_or(0);
    Ok(Watch { notify, source: Source::V2 { dir, killed } })
}

fn kills(dir: &Path) -> Option<u64> {
    field(&fs::read_to_string(dir.join("memory.events")).ok()?, "oom_kill")
}

impl AsFd for Watch {
    /// Readable when [`Watch::read`] has something to say.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notify.as_fd()
    }
}

impl Watch {
    /// What has happened since the last call, in order. Never blocks.
    ///
    /// # Errors
    /// As read(2).
    pub fn read(&mut self) -> io::Result<Vec<Event>> {
        if !self.drain()? {
            return Ok(Vec::new());
        }
        let mut events = Vec::new();
        match &mut self.source {
            Source::V1 { dir, .. } => {
                let gone = !dir.exists();
                events.push(if gone { Event::Gone } else { Event::OutOfMemory });
            }
            Source::V2 { dir, killed } => {
                let now = kills(dir).unwrap_or(*killed);
                if now > *killed {
                    events.push(Event::OutOfMemory);
                }
                *killed = now;
                let text = fs::read_to_string(dir.join("cgroup.events"));
                if text.map_or(true, |text| field(&text, "populated") == Some(0)) {
                    events.push(Event::Gone);
                }
            }
        }
        Ok(events)
    }

    /// Whether there was anything to read.
    fn drain(&self) -> io::Result<bool> {
        // An eventfd wants 8 bytes; several inotify events fit, each without a name.
        let mut buffer = [0u8; 512];
        let mut any = false;
        loop {
            match rustix::io::read(&self.notify, &mut buffer[..]) {
                Ok(0) | Err(Errno::AGAIN) => return Ok(any),
                Ok(_) => any = true,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
