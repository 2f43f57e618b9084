//! Removing a directory tree that a stranger shaped: a container or an archive.
//!
//! However deep the tree is, a few descriptors and no recursion suffice: what
//! lies deeper than 32 levels is lifted to the top under a fresh name and met
//! again there. However wide it is, one directory block at a time is in memory.
//! Every step goes from a directory's descriptor to a name in it; symbolic links
//! are removed, never followed, and no mount is entered.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, StatxAttributes,
    StatxFlags, openat, openat2, renameat, renameat_with, statx, unlinkat,
};
use rustix::io::Errno;

/// Directories open at once. Trees of this depth are removed where they are.
const DEPTH: usize = 32;
/// How often a directory is read again because new names appeared in it; a file
/// system that skips names while others are removed needs a few.
const PASSES: u32 = 100;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes `path` and, when it is a directory, all below it; "already gone" is
/// success. A symbolic link is removed itself.
///
/// # Errors
/// The kernel's reason, with the name it concerns and, where the kernel's word
/// alone would puzzle, what is in the way. Part of the tree may be gone then.
pub fn remove(path: &Path) -> io::Result<()> {
    let Some(Component::Normal(name)) = path.components().next_back() else {
        let text = format!("{} is not a name in a directory", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    };
    let parent = match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(parent) => {
            openat(CWD, parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        }
        None => openat(CWD, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()),
    };
    let parent = match parent {
        Err(Errno::NOENT) => return Ok(()),
        parent => parent?,
    };
    let name = std::ffi::CString::new(name.as_encoded_bytes())?;
    match unlinkat(&parent, &name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR) => return gone(&parent, &name, AtFlags::empty()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(e) => return Err(refusal(parent.as_fd(), &name, e)),
    }
    match open_dir(parent.as_fd(), &name) {
        Ok(top) => empty(&top)?,
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(refusal(parent.as_fd(), &name, e)),
    }
    gone(&parent, &name, AtFlags::REMOVEDIR)
}

/// Removes all below the directory `top`, which stays.
///
/// # Errors
/// As [`remove`].
pub fn empty(top: impl AsFd) -> io::Result<()> {
    let mut stack = vec![Level::new(Dir::read_from(top.as_fd())?, c"".to_owned())];
    let mut lifted = 0;
    while let Some(level) = stack.last_mut() {
        let Some(entry) = level.dir.read() else {
            if level.is_done()? {
                leave(&mut stack)?;
            }
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        level.seen = true;
        let dir = level.dir.fd()?;
        if entry.file_type() != FileType::Directory {
            match unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                // The file system did not tell what it is.
                Err(Errno::ISDIR) => {}
                Err(e) => return Err(refusal(dir, name, e)),
            }
        }
        match unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => enter(&mut stack, name, &mut lifted)?,
            Err(e) => return Err(refusal(dir, name, e)),
        }
    }
    Ok(())
}

/// A directory being emptied.
struct Level {
    dir: Dir,
    /// In the level above.
    name: std::ffi::CString,
    /// Whether this pass over it has met anything.
    seen: bool,
    passes: u32,
}

impl Level {
    fn new(dir: Dir, name: std::ffi::CString) -> Self {
        Self { dir, name, seen: false, passes: 0 }
    }

    /// At the end of a pass: one that met nothing is the last; else names may
    /// have been added or skipped meanwhile.
    fn is_done(&mut self) -> io::Result<bool> {
        if !self.seen {
            return Ok(true);
        }
        self.passes += 1;
        if self.passes > PASSES {
            let text = format!("{:?}: somebody keeps adding to it", self.name);
            return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, text));
        }
        self.seen = false;
        self.dir.rewind();
        Ok(false)
    }
}

/// Goes into `name`, a directory that is not empty, or lifts it to the top.
fn enter(stack: &mut Vec<Level>, name: &CStr, lifted: &mut u64) -> io::Result<()> {
    let (Some(top), Some(level)) = (stack.first(), stack.last()) else { return Ok(()) };
    let (top, dir) = (top.dir.fd()?, level.dir.fd()?);
    let opened = if stack.len() < DEPTH { open_dir(dir, name) } else { Err(Errno::MFILE) };
    match opened {
        Ok(child) => stack.push(Level::new(Dir::new(child)?, name.to_owned())),
        Err(Errno::NOENT) => {}
        // Also when others use up the descriptors; but the top has nowhere to lift to.
        Err(Errno::MFILE | Errno::NFILE) if stack.len() > 1 => {
            lift(dir, name, top, lifted)?;
            // The top has got a name by us, which is no sign of somebody adding.
            if let Some(top) = stack.first_mut() {
                top.passes = 0;
            }
        }
        Err(e) => return Err(refusal(dir, name, e)),
    }
    Ok(())
}

/// Removes the last level, now empty, from the one above.
fn leave(stack: &mut Vec<Level>) -> io::Result<()> {
    let (Some(level), Some(above)) = (stack.pop(), stack.last()) else { return Ok(()) };
    gone(above.dir.fd()?, &level.name, AtFlags::REMOVEDIR)
}

fn lift(dir: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>, lifted: &mut u64) -> io::Result<()> {
    loop {
        *lifted += 1;
        let fresh = format!(".lifted.{lifted}");
        let done = match renameat_with(dir, name, top, fresh.as_str(), RenameFlags::NOREPLACE) {
            // A file system without RENAME_NOREPLACE: an empty directory may be replaced.
            Err(Errno::INVAL) => renameat(dir, name, top, fresh.as_str()),
            done => done,
        };
        match done {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(e) => return Err(refusal(dir, name, e)),
        }
    }
}

fn open_dir(dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    openat2(dir, name, DIRECTORY, Mode::empty(), ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS)
}

fn gone(dir: impl AsFd, name: &CStr, flags: AtFlags) -> io::Result<()> {
    match unlinkat(&dir, name, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(refusal(dir.as_fd(), name, e)),
    }
}

/// The error for `name` in `dir`, with what the kernel's word does not say.
fn refusal(dir: BorrowedFd<'_>, name: &CStr, errno: Errno) -> io::Error {
    let frozen = |name: &CStr, flags| {
        let found = statx(dir, name, flags | AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
        found.is_ok_and(|stat| {
            let marks = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
            stat.stx_attributes.intersects(marks)
        })
    };
    let cause = match errno {
        Errno::BUSY | Errno::XDEV => ": something is mounted there",
        Errno::PERM if frozen(name, AtFlags::empty()) => ": it is immutable (see chattr)",
        Errno::PERM if frozen(c"", AtFlags::EMPTY_PATH) => {
            ": its directory is immutable (see chattr)"
        }
        _ => "",
    };
    let error = io::Error::from(errno);
    io::Error::new(error.kind(), format!("{}: {error}{cause}", name.to_string_lossy()))
}

#[cfg(test)]
mod tests;
