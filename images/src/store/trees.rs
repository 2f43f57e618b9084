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
        let round = entries(top)?;
        if round.is_empty() {
            return Ok(());
        }
        for (name, is_dir) in round {
            if !is_dir {
                gone(unlinkat(top, &name, AtFlags::empty()))?;
                continue;
            }
            // Someone else's mode must not stop root without CAP_DAC_OVERRIDE.
            let dir = openat(top, &name, OPEN_DIR, Mode::empty())?;
            flatten(&dir, top, &mut lifted)?;
            unlinkat(top, &name, AtFlags::REMOVEDIR)?;
        }
    }
}

/// Empties `dir` but for directories that are not empty: those move to `top`.
fn flatten(dir: &OwnedFd, top: &OwnedFd, lifted: &mut u64) -> io::Result<()> {
    loop {
        let round = entries(dir)?;
        if round.is_empty() {
            return Ok(());
        }
        for (child, is_dir) in round {
            if !is_dir {
                gone(unlinkat(dir, &child, AtFlags::empty()))?;
            } else if unlinkat(dir, &child, AtFlags::REMOVEDIR).is_err() {
                lift(dir, &child, top, lifted)?;
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{mkdirat, symlinkat};

    #[test]
    fn a_very_deep_tree_is_removed_with_few_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        std::fs::create_dir(&top).unwrap();
        let mut at = openat(rustix::fs::CWD, &top, OPEN_DIR, Mode::empty()).unwrap();
        // Deeper than any path can name, and than there are descriptors.
        for _ in 0..1200 {
            mkdirat(&at, "d", Mode::RWXU).unwrap();
            symlinkat("d", &at, "link").unwrap();
            at = openat(&at, "d", OPEN_DIR, Mode::empty()).unwrap();
        }
        remove(&top).unwrap();
        assert!(!top.exists());
    }

    #[test]
    fn a_very_wide_tree_is_removed_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (top, outside) = (dir.path().join("top"), dir.path().join("outside"));
        std::fs::create_dir_all(top.join("a/.lifted.1/x")).unwrap();
        std::fs::create_dir_all(outside.join("kept")).unwrap();
        for n in 0..10_050 {
            std::fs::File::create(top.join(format!("a/{n}"))).unwrap();
        }
        std::os::unix::fs::symlink(&outside, top.join("a/out")).unwrap();
        std::os::unix::fs::symlink(&outside, top.join("out")).unwrap();
        remove(&top).unwrap();
        assert!(!top.exists() && outside.join("kept").exists());
        remove(&top).unwrap();
    }
}
