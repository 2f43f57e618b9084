//! A cgroup's processes: which, stop, go on, end; and its own end. "Already
//! gone" is success everywhere here, because teardown may run twice.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, unlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::layout::Layout;
use super::{CgroupError, checked, systemd, write_value};
use crate::plan::CgroupPlan;

/// How long SIGKILL, the freezer and the last process's exit may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Every process id in the cgroup and below, ascending, as the caller's pid namespace
/// numbers them. Asks every hierarchy: a process may have left one of them.
///
/// # Errors
/// [`CgroupError`]; a cgroup that does not exist has no processes.
pub fn pids(layout: &Layout, path: &Path) -> Result<Vec<i32>, CgroupError> {
    let path = checked(path)?;
    let mut all = BTreeSet::new();
    for dir in layout.directories(path) {
        for dir in tree(&dir)? {
            let procs = dir.join("cgroup.procs");
            match fs::read_to_string(&procs) {
                // 0 stands for a process of another pid namespace.
                Ok(text) => {
                    let ids = text.lines().filter_map(|line| line.parse::<i32>().ok());
                    all.extend(ids.filter(|pid| *pid > 0));
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(CgroupError::io("read", &procs)(error)),
            }
        }
    }
    Ok(all.into_iter().collect())
}

/// SIGKILLs every process in the cgroup and below, and waits until none is left.
/// Where there is a v2 tree the kernel does it in one stroke (cgroup.kill, Linux
/// 5.14); else the freezer keeps forks from outrunning us.
///
/// # Errors
/// [`CgroupError::StillAlive`] after ten seconds, or a file cannot be written.
pub fn kill_all(layout: &Layout, path: &Path) -> Result<(), CgroupError> {
    let path = checked(path)?;
    if is_known_empty(layout, path) {
        return Ok(());
    }
    if let Some(dir) = layout.unified_dir(path) {
        let file = dir.join("cgroup.kill");
        match write_value(&file, "1") {
            Ok(()) | Err(Errno::NOENT | Errno::NODEV) => {}
            Err(error) => return Err(CgroupError::io("write", &file)(error)),
        }
    }
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(200);
    let mut first = true;
    loop {
        let alive: Vec<i32> = pids(layout, path)?;
        if alive.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(CgroupError::StillAlive {
                path: path.to_owned(),
                seconds: PATIENCE.as_secs(),
            });
        }
        // With cgroup.kill they are only on their way out: look once more before
        // walking the list.
        if !(first && layout.unified.is_some()) {
            kill_listed(layout, path)?;
        }
        first = false;
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// The usual case at teardown, told by one or two small files instead of a walk
/// through every hierarchy: the kernel's own counts over all below. `false` is
/// no answer. Whoever slipped out of both would still make [`remove`] fail.
fn is_known_empty(layout: &Layout, path: &Path) -> bool {
    let says = |dir: PathBuf, file: &str, nobody: fn(&str) -> bool| match fs::read_to_string(
        dir.join(file),
    ) {
        Ok(text) => nobody(&text),
        Err(error) => is_gone(&error),
    };
    let unpopulated = |text: &str| super::stats::field(text, "populated") == Some(0);
    let unified = layout.unified_dir(path).map(|dir| says(dir, "cgroup.events", unpopulated));
    let zero = |text: &str| text.trim() == "0";
    let counted = layout.v1_of("pids").map(|pids| says(pids.dir(path), "pids.current", zero));
    let answers: Vec<bool> = unified.into_iter().chain(counted).collect();
    !answers.is_empty() && answers.into_iter().all(|empty| empty)
}

/// One round of SIGKILL over the list. Frozen processes neither fork nor end, so
/// the ids cannot be used again by others while we go through them.
fn kill_listed(layout: &Layout, path: &Path) -> Result<(), CgroupError> {
    // Not waiting for it to settle: a process in uninterruptible sleep never
    // freezes, and the next round finds what got away.
    request_frozen(layout, path, true);
    for pid in pids(layout, path)?.into_iter().filter_map(Pid::from_raw) {
        // Gone since, or a zombie waiting for its parent: both are fine.
        let _ = kill_process(pid, Signal::KILL);
    }
    request_frozen(layout, path, false);
    Ok(())
}

fn request_frozen(layout: &Layout, path: &Path, frozen: bool) {
    let (file, value) = match (layout.v1_of("freezer"), layout.unified_dir(path)) {
        (Some(freezer), _) => {
            let file = freezer.dir(path).join("freezer.state");
            (file, if frozen { "FROZEN" } else { "THAWED" })
        }
        (None, Some(dir)) => (dir.join("cgroup.freeze"), if frozen { "1" } else { "0" }),
        (None, None) => return,
    };
    let _ = write_value(&file, value);
}

/// Stops every process in it (`pause`) and waits until all are stopped.
///
/// # Errors
/// [`CgroupError::NoFreezer`], [`CgroupError::NotSettled`], or a file cannot be written.
pub fn freeze(layout: &Layout, path: &Path) -> Result<(), CgroupError> {
    set_frozen(layout, path, true)
}

/// Lets them run again.
///
/// # Errors
/// As [`freeze`].
pub fn thaw(layout: &Layout, path: &Path) -> Result<(), CgroupError> {
    set_frozen(layout, path, false)
}

/// Whether it is frozen, or about to be. One without a freezer, or that does not
/// exist, is not.
pub fn is_frozen(layout: &Layout, path: &Path) -> bool {
    let Ok(path) = checked(path) else { return false };
    let (file, thawed) = match (layout.v1_of("freezer"), layout.unified_dir(path)) {
        (Some(freezer), _) => (freezer.dir(path).join("freezer.state"), "THAWED"),
        (None, Some(dir)) => (dir.join("cgroup.freeze"), "0"),
        (None, None) => return false,
    };
    fs::read_to_string(file).is_ok_and(|text| text.trim() != thawed)
}

fn set_frozen(layout: &Layout, path: &Path, frozen: bool) -> Result<(), CgroupError> {
    let path = checked(path)?;
    if let Some(freezer) = layout.v1_of("freezer") {
        let state = if frozen { "FROZEN" } else { "THAWED" };
        let file = freezer.dir(path).join("freezer.state");
        return settle(&file, state, path, |text| text.trim() == state, &file);
    }
    let Some(dir) = layout.unified_dir(path) else { return Err(CgroupError::NoFreezer) };
    let (file, events) = (dir.join("cgroup.freeze"), dir.join("cgroup.events"));
    let (value, state) = if frozen { ("1", "frozen 1") } else { ("0", "frozen 0") };
    settle(&file, value, path, |text| text.lines().any(|line| line == state), &events)
}

/// Writes `value` to `file` until `watched` says it has come true. v1 may need
/// the write again: a fork in the middle leaves it FREEZING.
fn settle(
    file: &Path,
    value: &'static str,
    path: &Path,
    reached: impl Fn(&str) -> bool,
    watched: &Path,
) -> Result<(), CgroupError> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(100);
    loop {
        write_value(file, value).map_err(CgroupError::io("write", file))?;
        let text = fs::read_to_string(watched).map_err(CgroupError::io("read", watched))?;
        if reached(&text) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let seconds = PATIENCE.as_secs();
            return Err(CgroupError::NotSettled { path: path.to_owned(), state: value, seconds });
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Whether the kernel killed a process in it for want of memory. Must be asked
/// before [`remove`]; a cgroup that is gone says no.
///
/// # Errors
/// A file is there but cannot be read.
pub fn oom_killed(layout: &Layout, path: &Path) -> Result<bool, CgroupError> {
    let path = checked(path)?;
    let file = match (layout.v1_of("memory"), layout.unified_dir(path)) {
        (Some(memory), _) => memory.dir(path).join("memory.oom_control"),
        (None, Some(dir)) => dir.join("memory.events"),
        (None, None) => return Ok(false),
    };
    match fs::read_to_string(&file) {
        Ok(text) => Ok(super::stats::field(&text, "oom_kill").is_some_and(|count| count > 0)),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(CgroupError::io("read", &file)(error)),
    }
}

/// Removes the cgroup and its children from every hierarchy; "already gone" is
/// done. Waits (bounded) for processes that are just exiting. Goes through all
/// hierarchies even when one fails.
///
/// # Errors
/// The first directory that stays, usually EBUSY: processes are still in it.
pub fn remove(layout: &Layout, path: &Path) -> Result<(), CgroupError> {
    let path = checked(path)?;
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut first = Ok(());
    for dir in layout.directories(path) {
        first = first.and(remove_dir(&dir, deadline));
    }
    first
}

fn remove_dir(dir: &Path, deadline: Instant) -> Result<(), CgroupError> {
    let mut pause = Duration::from_micros(200);
    loop {
        match rmdir(dir) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) if Instant::now() < deadline => {
                // Busy means processes or children. Children first, deepest first.
                for child in tree(dir)?.into_iter().skip(1).rev() {
                    let _ = rmdir(&child);
                }
                if matches!(rmdir(dir), Ok(()) | Err(Errno::NOENT)) {
                    return Ok(());
                }
                sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            Err(error) => return Err(CgroupError::io("remove", dir)(error)),
        }
    }
}

/// [`remove`] for a plan: a systemd unit is stopped first. "Already gone" is done.
///
/// # Errors
/// As [`remove`], or systemd cannot be asked.
pub fn destroy(layout: &Layout, plan: &CgroupPlan) -> Result<(), CgroupError> {
    // A unit that stays must not keep us from removing what is ours.
    let stopped = plan.unit.as_ref().map_or(Ok(()), systemd::stop);
    remove(layout, &plan.path)?;
    Ok(stopped?)
}

/// Removes the directories above `path` that are empty, as far as they are. For
/// when an instance's last container has gone; a concurrent [`super::create()`] makes them anew.
///
/// # Errors
/// Only a bad path; a parent in use simply stays.
pub fn remove_empty_parents(layout: &Layout, path: &Path) -> Result<(), CgroupError> {
    let path = checked(path)?;
    for parent in path.ancestors().skip(1).take_while(|p| !p.as_os_str().is_empty()) {
        for dir in layout.directories(parent) {
            let _ = rmdir(&dir);
        }
    }
    Ok(())
}

fn rmdir(dir: &Path) -> rustix::io::Result<()> {
    unlinkat(CWD, dir, AtFlags::REMOVEDIR)
}

/// `dir` and every cgroup below it, parents first. Empty when it is gone.
fn tree(dir: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let mut found = vec![dir.to_owned()];
    let mut next = 0;
    while let Some(dir) = found.get(next).cloned() {
        next += 1;
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(CgroupError::io("read", &dir)(error)),
        };
        let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        found.extend(entries.flatten().filter(is_dir).map(|entry| entry.path()));
    }
    Ok(found)
}

/// The directory vanished before or while we looked.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}
