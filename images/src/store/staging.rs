//! Whole content that is not yet, or only just, part of an image: where it is
//! found, and what becomes of it when no session is left.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rcnt_base::files::{Lock, read_json};
use rcnt_base::ids::Digest;
use rcnt_base::tree;
use rustix::io::Errno;

use super::ingest::LayerInfo;
use super::{Paths, StoreError, Use};

impl Paths {
    /// Looks at a whole blob, durable or staged; `None`: it is not here.
    pub(crate) fn at_blob<T>(
        &self,
        digest: &Digest,
        look: impl Fn(&Path) -> io::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        self.at(&self.blob(digest), &self.staged_blobs().join(digest.hex()), look)
    }

    /// Looks at a whole layer's directory, durable or staged.
    pub(crate) fn at_layer<T>(
        &self,
        diff_id: &Digest,
        look: impl Fn(&Path) -> io::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        self.at(&self.layer(diff_id), &self.staged_layers().join(diff_id.hex()), look)
    }

    /// Another command may move what is staged to its place at any time, never
    /// back: who comes too late for the one finds it at the other.
    fn at<T>(
        &self,
        place: &Path,
        staged: &Path,
        look: impl Fn(&Path) -> io::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        for path in [place, staged, place] {
            match look(path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                found => return found.map(Some).map_err(|e| self.error("read", path, e)),
            }
        }
        Ok(None)
    }

    pub(crate) fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        self.at_blob(digest, |path| {
            let found = std::fs::metadata(path)?;
            if found.is_file() { Ok(found.len()) } else { Err(Errno::NOENT.into()) }
        })
    }

    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<File, StoreError> {
        let file = self.at_blob(digest, |path| File::open(path))?;
        file.ok_or_else(|| self.missing(&self.blob(digest)))
    }

    pub(crate) fn missing(&self, path: &Path) -> StoreError {
        self.error("read", path, Errno::NOENT)
    }

    pub(super) fn has_layer(&self, diff_id: &Digest) -> bool {
        let diff = |path: &Path| std::fs::metadata(path.join("diff"));
        matches!(self.at_layer(diff_id, diff), Ok(Some(found)) if found.is_dir())
    }

    pub(crate) fn layer_info(&self, dir: &Path) -> Result<LayerInfo, StoreError> {
        let path = dir.join(LayerInfo::FILE);
        read_json(&path).map_err(|e| self.error("read", &path, e))
    }

    pub(crate) fn read_blob(&self, digest: &Digest, max: u64) -> Result<Vec<u8>, StoreError> {
        let path = self.blob(digest);
        let mut bytes = Vec::new();
        let read = self.open_blob(digest)?.take(max.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|e| self.error("read", &path, e))?;
        if bytes.len() as u64 > max {
            let what = format!("it is larger than {max} bytes");
            return Err(StoreError::Damaged { path, what });
        }
        Ok(bytes)
    }

    /// Says that what is staged for this boot is nobody's, once nobody is at work.
    pub(super) fn mark_abandoned(&self) {
        let _ = File::create(self.abandoned());
    }

    /// For whoever holds `writers.lock` alone: removes what was only of use while
    /// somebody was at work. With `all`, or marked so, also what is whole but in
    /// no image; it is kept for the next attempt otherwise. What cannot be
    /// removed now is found by `gc`.
    pub(super) fn clear_away(&self, all: bool) {
        let all = all || self.abandoned().exists();
        if all && let Ok(Some(_lock)) = Lock::try_now(&self.lock()) {
            // A commit that failed late has left content in its place. Removed
            // images may be in use, for all we know here.
            let in_use = |_: &Digest| Some(Use { container: String::new(), running: true });
            let _ = crate::gc::collect(self, &in_use);
        }
        for (name, path) in names(&self.staging()) {
            if all || name != self.boot {
                let _ = tree::remove(&path);
            }
        }
        let current = self.staging().join(&self.boot);
        for empty in [self.staged_blobs(), self.staged_layers(), current] {
            let _ = std::fs::remove_dir(empty);
        }
        for (name, path) in names(&self.tmp()) {
            // An interrupted download is continued.
            if !name.ends_with(".part") {
                let _ = tree::remove(&path);
            }
        }
    }

    fn abandoned(&self) -> PathBuf {
        self.staging().join(&self.boot).join("abandoned")
    }
}

fn names(dir: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| (e.file_name().to_string_lossy().into_owned(), e.path())).collect()
}

#[cfg(test)]
mod tests {
    use crate::store::Store;

    #[test]
    fn a_blob_is_found_while_another_command_moves_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let ingest = store.ingest().unwrap();
        let paths = store.paths();
        for n in 0..300 {
            let digest = ingest.put(format!("blob {n}").as_bytes()).unwrap();
            let (staged, place) = (paths.staged_blobs().join(digest.hex()), paths.blob(&digest));
            std::thread::scope(|scope| {
                scope.spawn(|| std::fs::rename(&staged, &place).unwrap());
                while !place.exists() {
                    assert!(paths.open_blob(&digest).is_ok() && ingest.has_blob(&digest));
                }
            });
            assert_eq!(paths.read_blob(&digest, 100).unwrap(), format!("blob {n}").into_bytes());
        }
    }
}
