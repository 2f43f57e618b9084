//! Removing a directory tree that a stranger's archive shaped: however deep it
//! is, with two descriptors and a flat stack.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

const OPEN_DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK);

/// Removes `path` and all below it; "already gone" is success. Nothing is
/// followed, so nothing outside can be reached.
///
/// # Errors
/// The kernel's reason.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match openat(rustix::fs::CWD, path, OPEN_DIR, Mode::empty()) {
        Ok(top) => {
            empty(&top)?;
            std::fs::remove_dir(path)
        }
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => std::fs::remove_file(path),
        Err(e) => Err(e.into()),
    }
}

/// Removes all below `top`. A directory met below is emptied by lifting its own
/// directories up to `top` under fresh names, so the depth never grows.
pub(crate) fn empty(top: &OwnedFd) -> io::Result<()> {
    let mut lifted = 0u64;
    loop {
        let mut met_directory = false;
        for (name, is_dir) in entries(top)? {
            if !is_dir {
                gone(unlinkat(top, &name, AtFlags::empty()))?;
                continue;
            }
            met_directory = true;
            // Someone else's mode must not stop root without CAP_DAC_OVERRIDE.
            let dir = openat(top, &name, OPEN_DIR, Mode::empty())?;
            for (child, is_dir) in entries(&dir)? {
                if !is_dir {
                    gone(unlinkat(&dir, &child, AtFlags::empty()))?;
                } else if unlinkat(&dir, &child, AtFlags::REMOVEDIR).is_err() {
                    lift(&dir, &child, top, &mut lifted)?;
                }
            }
            unlinkat(top, &name, AtFlags::REMOVEDIR)?;
        }
        if !met_directory {
            return Ok(());
        }
    }
}

fn lift(dir: &OwnedFd, child: &CStr, top: &OwnedFd, lifted: &mut u64) -> io::Result<()> {
    use rustix::fs::{RenameFlags, renameat_with};
    loop {
        *lifted += 1;
        let name = format!(".lifted.{lifted}");
        match renameat_with(dir, child, top, name.as_str(), RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            // A file system without RENAME_NOREPLACE: an empty directory may be replaced.
            Err(Errno::INVAL) => return Ok(renameat(dir, child, top, name.as_str())?),
            done => return Ok(done?),
        }
    }
}

fn gone(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::NOENT) | Ok(()) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// One directory's names, and whether each is a directory. Bounded: a directory
/// with very many names is handed out in rounds.
fn entries(dir: &OwnedFd) -> io::Result<Vec<(CString, bool)>> {
    const ROUND: usize = 10_000;
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let is_dir = match entry.file_type() {
            FileType::Unknown => {
                let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode).is_dir()
            }
            known => known.is_dir(),
        };
        names.push((name.to_owned(), is_dir));
        if names.len() == ROUND {
            break;
        }
    }
    Ok(names)
}
