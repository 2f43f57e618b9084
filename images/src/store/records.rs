//! Records: what an image is made of, in one small file per image, so that
//! finding an image needs no walk over blobs.

use std::io;
use std::path::PathBuf;

use rcnt_base::files::{Durability, read_json, write_json};
use rcnt_base::ids::Digest;
use serde::{Deserialize, Serialize};

use super::{Paths, StoreError};
use crate::manifest::Descriptor;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) schema: u32,
    /// The configuration's digest.
    pub(crate) id: Digest,
    /// The manifest blob: as it came, or synthesised.
    pub(crate) manifest: Descriptor,
    pub(crate) config: Descriptor,
    /// Lowest first.
    pub(crate) layers: Vec<LayerRecord>,
    pub(crate) created: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) blob: Descriptor,
    pub(crate) diff_id: Digest,
    /// Bytes of its files, unpacked.
    pub(crate) size: u64,
}

impl Record {
    pub(crate) fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add)
    }

    /// Every blob the image needs.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        [&self.manifest, &self.config].into_iter().chain(self.layers.iter().map(|l| &l.blob))
    }
}

/// A removed image that a container still uses keeps its content under this
/// name: nobody finds it, `gc` spares it until the container is gone.
const REMOVED: &str = "removed";

impl Paths {
    fn record_path(&self, id: &Digest) -> PathBuf {
        self.records().join(format!("{}.json", id.hex()))
    }

    fn removed_path(&self, id: &Digest) -> PathBuf {
        self.records().join(format!("{}.{REMOVED}", id.hex()))
    }

    pub(crate) fn record(&self, id: &Digest) -> Result<Option<Record>, StoreError> {
        let path = self.record_path(id);
        match read_json::<Record>(&path) {
            Ok(record) if record.id == *id => Ok(Some(record)),
            Ok(_) => Err(StoreError::Damaged { path, what: "it is of another image".to_owned() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.error("read", &path, e)),
        }
    }

    /// The ids of all images, and of those removed but still used.
    pub(crate) fn record_ids(&self) -> Result<(Vec<Digest>, Vec<Digest>), StoreError> {
        let dir = self.records();
        let entries = std::fs::read_dir(&dir).map_err(|e| self.error("read", &dir, e))?;
        let (mut live, mut removed) = (Vec::new(), Vec::new());
        for entry in entries {
            let entry = entry.map_err(|e| self.error("read", &dir, e))?;
            let name = entry.file_name();
            let Some((hex, suffix)) = name.to_str().and_then(|n| n.split_once('.')) else {
                continue;
            };
            let Ok(id) = format!("sha256:{hex}").parse::<Digest>() else { continue };
            match suffix {
                "json" => live.push(id),
                REMOVED => removed.push(id),
                _ => {}
            }
        }
        live.sort();
        removed.sort();
        Ok((live, removed))
    }

    pub(crate) fn write_record(&self, record: &Record) -> Result<(), StoreError> {
        let path = self.record_path(&record.id);
        write_json(&path, record, Durability::Durable)
            .map_err(|e| self.error("write", &path, e))?;
        // The image is back; its grave is not needed any more.
        let removed = self.removed_path(&record.id);
        rcnt_base::files::remove_if_exists(&removed).map_err(|e| self.error("remove", &removed, e))
    }

    /// Hides an image from all look-ups; its content stays until `gc`.
    pub(crate) fn bury_record(&self, id: &Digest) -> Result<(), StoreError> {
        let path = self.record_path(id);
        std::fs::rename(&path, self.removed_path(id)).map_err(|e| self.error("remove", &path, e))
    }

    pub(crate) fn buried_record(&self, id: &Digest) -> Result<Record, StoreError> {
        let path = self.removed_path(id);
        read_json(&path).map_err(|e| self.error("read", &path, e))
    }

    pub(crate) fn drop_buried(&self, id: &Digest) -> Result<(), StoreError> {
        let path = self.removed_path(id);
        rcnt_base::files::remove_if_exists(&path).map_err(|e| self.error("remove", &path, e))
    }
}
