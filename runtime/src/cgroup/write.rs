//! Performs planned [`FileWrite`]s, for [`super::create()`] and [`super::update()`].

use std::fs;
use std::path::Path;

use rustix::io::Errno;

use super::limits::FileWrite;
use super::{CgroupError, write_value};

/// Writes them all. Limits that depend on each other (period on quota, memory on
/// swap) can be refused for what is in force now; those are tried again after the
/// rest, as long as that helps.
pub(super) fn write_all(writes: &[FileWrite], path: &Path) -> Result<(), CgroupError> {
    let mut waiting: Vec<&FileWrite> = writes.iter().collect();
    loop {
        let mut refused = Vec::new();
        let mut first = None;
        for write in &waiting {
            match write_one(write, path) {
                Ok(()) => {}
                Err(error) if error.errno() == Some(Errno::INVAL) => {
                    refused.push(*write);
                    first.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match first {
            None => return Ok(()),
            Some(error) if refused.len() == waiting.len() => return Err(error),
            Some(_) => waiting = refused,
        }
    }
}

/// Writes the first file of `write` that exists.
fn write_one(write: &FileWrite, path: &Path) -> Result<(), CgroupError> {
    let dir = write.base.join(path);
    for (name, value) in &write.choices {
        let file = dir.join(name);
        match write_value(&file, value) {
            Ok(()) => return Ok(()),
            Err(Errno::NOENT) => {}
            Err(Errno::BUSY) if name == "memory.limit_in_bytes" => {
                return Err(in_use(write, &dir, value));
            }
            Err(errno) => {
                let (wish, value) = (write.wish.unwrap_or("a default"), value.clone());
                return Err(CgroupError::Write { wish, value, path: file, source: errno.into() });
            }
        }
    }
    match (write.wish, write.choices.first()) {
        (Some(wish), Some((name, _))) => Err(CgroupError::NoFile { wish, path: dir.join(name) }),
        _ => Ok(()),
    }
}

/// v1 refuses what is less than cannot be freed.
fn in_use(write: &FileWrite, dir: &Path, limit: &str) -> CgroupError {
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
    CgroupError::MemoryInUse {
        wish: write.wish.unwrap_or("memory"),
        limit: limit.to_owned(),
        usage: read("memory.usage_in_bytes").trim().to_owned(),
        peak: read("memory.max_usage_in_bytes").trim().to_owned(),
    }
}

/// What the files of `writes` hold now, as writes that put it back, the last first.
pub(super) fn current(writes: &[FileWrite], path: &Path) -> Vec<FileWrite> {
    let restore = |write: &FileWrite| {
        let dir = write.base.join(path);
        let found = write.choices.iter().find_map(|(name, value)| {
            let text = fs::read_to_string(dir.join(name)).ok()?;
            Some((name.clone(), before(name, &text, value)?))
        })?;
        Some(FileWrite { base: write.base.clone(), choices: vec![found], wish: None })
    };
    writes.iter().rev().filter_map(restore).collect()
}

/// What to write to have `text` again after `value` was written. Files with a line
/// for each device or interface are given back the line with the same key.
fn before(name: &str, text: &str, value: &str) -> Option<String> {
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let Some((key, new)) = value.split_once(' ').filter(|_| name != "cpu.max") else {
        // "default 100" is how weights are shown.
        let first = lines().next().unwrap_or_default();
        return Some(first.strip_prefix("default ").unwrap_or(first).to_owned());
    };
    let old = lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    let nothing = match new.split_once('=') {
        // v2: `8:0 rbps=max`
        Some((limit, _)) => format!("{limit}=max"),
        None if name.ends_with("weight") => "default".to_owned(),
        None => "0".to_owned(),
    };
    Some(format!("{key} {}", old.unwrap_or(&nothing)))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // files of a test's own
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn line(write: &FileWrite) -> (PathBuf, String) {
        let (name, value) = &write.choices[0];
        (write.base.join(name), value.clone())
    }

    fn of(dir: &Path, name: &str, value: &str) -> FileWrite {
        let choices = vec![("missing".to_owned(), "1".to_owned()), (name.into(), value.into())];
        FileWrite { base: dir.to_owned(), choices, wish: Some("it") }
    }

    #[test]
    fn the_first_file_there_is_is_written_and_can_be_put_back() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("cpu.max", "max 100000\n"), ("io.max", "8:0 rbps=1 wbps=max\n")] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let writes = [of(dir.path(), "cpu.max", "5 10"), of(dir.path(), "io.max", "8:0 rbps=5")];
        let restore = current(&writes, Path::new(""));
        let shown: Vec<_> = restore.iter().map(line).collect();
        let file = |name: &str| dir.path().join(name);
        assert_eq!(
            shown,
            [
                (file("io.max"), "8:0 rbps=1 wbps=max".to_owned()),
                (file("cpu.max"), "max 100000".to_owned())
            ]
        );
        write_all(&writes, Path::new("")).unwrap();
        assert!(fs::read_to_string(file("cpu.max")).unwrap().starts_with("5 10"));
        let error = write_all(&[of(dir.path(), "none", "1")], Path::new("")).unwrap_err();
        assert!(error.to_string().starts_with("cannot apply it: "), "{error}");
    }

    #[test]
    fn what_was_not_there_is_taken_away_again() {
        let undone = |name, text, value| before(name, text, value).unwrap();
        assert_eq!(undone("io.max", "", "8:0 rbps=5"), "8:0 rbps=max");
        assert_eq!(undone("blkio.throttle.read_bps_device", "8:16 7\n", "8:0 5"), "8:0 0");
        assert_eq!(undone("io.bfq.weight", "default 100\n", "8:0 5"), "8:0 default");
        assert_eq!(undone("io.bfq.weight", "default 100\n", "5"), "100");
        assert_eq!(undone("net_prio.ifpriomap", "lo 0\neth0 3\n", "eth0 5"), "eth0 3");
        assert_eq!(undone("memory.max", "max\n", "5"), "max");
    }
}
