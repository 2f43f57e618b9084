//! How much of the disk a container takes, for `ps -s` and `inspect -s`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rcnt_engine::{Container, Engine};

/// Bytes written by the container, and those together with its image's.
pub(super) fn sizes(engine: &Engine, container: &Container) -> (u64, u64) {
    let written = tree(&engine.paths.container(&container.id).join("upper"));
    let image = engine
        .store()
        .ok()
        .and_then(|store| store.resolve(container.record.image_id.as_str()).ok())
        .map_or(0, |image| image.size);
    (written, written + image)
}

/// Bytes of the files below `root`, links not followed. What disappears
/// meanwhile counts nothing: the container may be at work.
fn tree(root: &Path) -> u64 {
    let mut total = 0;
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => dirs.push(entry.path()),
                Ok(meta) if meta.is_file() => total += meta.size(),
                _ => {}
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_and_links_do_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::File::create(dir.path().join("sub/file")).unwrap().set_len(1000).unwrap();
        std::os::unix::fs::symlink("/proc/kcore", dir.path().join("link")).unwrap();
        assert_eq!(tree(dir.path()), 1000);
        assert_eq!(tree(&dir.path().join("nosuch")), 0);
    }
}
