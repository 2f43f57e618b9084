//! Freeing what no image needs: blobs and layers without a record, images
//! removed while a container used them, leftovers of crashed commands. It takes
//! both locks of the store, so nothing is being added, named or started
//! meanwhile; it deletes only what it can list as garbage under them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcnt_base::files::{Lock, is_unfinished};
use rcnt_base::ids::Digest;
use rcnt_base::tree;

use crate::store::{Paths, Removed, Store, StoreError, Use};

/// An interrupted download can be continued for this long.
const PARTIAL_KEPT: Duration = Duration::from_secs(24 * 3600);

/// What was freed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freed {
    /// Blobs and partial blobs.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Unpacked layers.
    pub layers: u64,
    /// Bytes of their files.
    pub layer_bytes: u64,
}

impl Store {
    /// Frees what no image and no container needs. Waits for pulls, loads and
    /// starts that are going on.
    ///
    /// # Errors
    /// The store. What was freed until then stays freed.
    pub fn gc(&self, in_use: &dyn Fn(&Digest) -> Option<Use>) -> Result<Freed, StoreError> {
        let path = self.paths().writers_lock();
        let _writers = Lock::wait(&path).map_err(|e| self.paths().error("lock", &path, e))?;
        let _lock = self.exclusive()?;
        collect(self.paths(), in_use)
    }

    /// [`Store::gc`], unless something is being added just now.
    pub(crate) fn try_gc(
        &self,
        in_use: &dyn Fn(&Digest) -> Option<Use>,
    ) -> Result<Option<Freed>, StoreError> {
        let path = self.paths().writers_lock();
        let writers = Lock::try_now(&path).map_err(|e| self.paths().error("lock", &path, e))?;
        let Some(_writers) = writers else { return Ok(None) };
        let _lock = self.exclusive()?;
        collect(self.paths(), in_use).map(Some)
    }

    /// `image prune`: removes images without a name (with `all`, also those
    /// with one) that no container uses, then frees what is left over.
    ///
    /// # Errors
    /// The store.
    pub fn prune(
        &self,
        all: bool,
        in_use: &dyn Fn(&Digest) -> Option<Use>,
    ) -> Result<(Vec<Removed>, Freed), StoreError> {
        let mut removed = Vec::new();
        for image in self.list()? {
            if !(all || image.tags.is_empty()) {
                continue;
            }
            let _lock = self.exclusive()?;
            if in_use(&image.id).is_some() || self.paths().record(&image.id)?.is_none() {
                continue;
            }
            let mut names = self.paths().all_names()?;
            names.retain(|file| file.image == image.id);
            // Named since the list was made: not what was asked for.
            if !all && names.iter().any(|file| file.name.digest().is_none()) {
                continue;
            }
            for file in names {
                self.paths().drop_name(&file.name)?;
                removed.push(Removed::Untagged(file.name));
            }
            self.paths().bury_record(&image.id)?;
            removed.push(Removed::Deleted(image.id));
        }
        Ok((removed, self.gc(in_use)?))
    }
}

/// With both locks held.
pub(crate) fn collect(
    paths: &Paths,
    in_use: &dyn Fn(&Digest) -> Option<Use>,
) -> Result<Freed, StoreError> {
    let (live, buried) = paths.record_ids()?;
    let (mut blobs, mut layers) = (BTreeSet::new(), BTreeSet::new());
    let mut keep = |record: crate::store::Record| {
        blobs.extend(record.blobs().map(|blob| blob.digest.hex().to_owned()));
        layers.extend(record.layers.iter().map(|layer| layer.diff_id.hex().to_owned()));
    };
    for id in &live {
        // A record that cannot be read is an error, not garbage: stop, delete nothing.
        if let Some(record) = paths.record(id)? {
            keep(record);
        }
    }
    for id in &buried {
        if in_use(id).is_some() {
            keep(paths.buried_record(id)?);
        } else {
            paths.drop_buried(id)?;
        }
    }
    let mut freed = Freed::default();
    sweep(paths, &paths.layers(), |name, path| {
        if layers.contains(name) {
            return Ok(());
        }
        freed.layers += 1;
        freed.layer_bytes += paths.layer_info(path).map_or(0, |info| info.size);
        // Out of sight first: a layer is whole or not there.
        let gone = paths.fresh_tmp("gone");
        std::fs::rename(path, &gone).map_err(|e| paths.error("remove", path, e))?;
        tree::remove(&gone).map_err(|e| paths.error("remove", path, e))
    })?;
    sweep(paths, &paths.blobs(), |name, path| {
        if blobs.contains(name) { Ok(()) } else { free_blob(paths, path, &mut freed) }
    })?;
    sweep_unfinished(paths)?;
    // Nothing is staged for anybody: whoever stages holds the writers' lock.
    sweep(paths, &paths.staging(), |_, path| {
        tree::remove(path).map_err(|e| paths.error("remove", path, e))
    })?;
    sweep(paths, &paths.tmp(), |name, path| {
        if name.ends_with(".part") && is_younger(path, PARTIAL_KEPT) {
            return Ok(());
        }
        tree::remove(path).map_err(|e| paths.error("remove", path, e))
    })?;
    Ok(freed)
}

/// Records and names are written under these locks: nobody writes one now.
fn sweep_unfinished(paths: &Paths) -> Result<(), StoreError> {
    for dir in [paths.records(), paths.refs()] {
        sweep(paths, &dir, |name, path| match is_unfinished(name) {
            true => tree::remove(path).map_err(|e| paths.error("remove", path, e)),
            false => Ok(()),
        })?;
    }
    Ok(())
}

fn free_blob(paths: &Paths, path: &Path, freed: &mut Freed) -> Result<(), StoreError> {
    freed.blobs += 1;
    freed.blob_bytes += std::fs::symlink_metadata(path).map_or(0, |m| m.len());
    tree::remove(path).map_err(|e| paths.error("remove", path, e))
}

fn is_younger(path: &Path, age: Duration) -> bool {
    let modified = std::fs::symlink_metadata(path).and_then(|m| m.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|past| past < age))
}

/// Calls `each` for every entry of `dir`; an absent `dir` has none.
fn sweep(
    paths: &Paths,
    dir: &Path,
    mut each: impl FnMut(&str, &Path) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(paths.error("read", dir, e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| paths.error("read", dir, e))?;
        each(&entry.file_name().to_string_lossy(), &entry.path())?;
    }
    Ok(())
}
