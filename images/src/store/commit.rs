//! Making an image: all its content is here, so make it durable and name it.

use std::path::Path;

use rcnt_base::files::{read_json, sync_dir};
use rcnt_base::ids::Digest;

use super::blob::BlobError;
use super::ingest::{Ingest, LayerInfo};
use super::records::{LayerRecord, Record};
use super::{Paths, StoreError};
use crate::config::{CONFIG_MAX, ConfigError, ImageConfig};
use crate::manifest::{Descriptor, Document, Manifest, ManifestError, OCI_MANIFEST};
use crate::reference::Reference;

/// An overlay of more layers than this is refused; the kernel's own bound is 500.
pub(crate) const LAYERS_MAX: usize = 500;

/// An image whose blobs have been added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImage {
    /// The manifest's bytes, as they came.
    pub manifest: Vec<u8>,
    /// Names it gets: `name:tag`s and `name@digest`s. May be empty.
    pub names: Vec<Reference>,
}

/// Why an image was not made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// It is an index: choose an image from it first.
    #[error("manifest is an index, not an image")]
    Index,
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The manifest and the configuration disagree.
    #[error("manifest has {layers} layers but the configuration {diff_ids}")]
    LayerCount {
        /// The manifest's.
        layers: usize,
        /// The configuration's.
        diff_ids: usize,
    },
    /// Over the kernel's bound.
    #[error("image has {0} layers; at most {LAYERS_MAX} can be stacked")]
    TooManyLayers(usize),
    /// A blob the manifest names was not added, or has another size.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Ingest {
    /// Turns added blobs into images and gives them their names, all durable
    /// when it returns: one sync for everything. A name moves from the image it
    /// stood for. Returns the ids, in order.
    ///
    /// # Errors
    /// Blobs missing or contradicting each other; the store. No name has moved
    /// then, and every image stands or falls as a whole.
    pub fn commit(&self, images: &[NewImage]) -> Result<Vec<Digest>, CommitError> {
        let mut records = Vec::with_capacity(images.len());
        for image in images {
            records.push(self.record_of(&image.manifest)?);
        }
        let paths = self.paths();
        paths.seal(&records)?;
        let lock = paths.lock();
        let _lock =
            rcnt_base::files::Lock::wait(&lock).map_err(|e| paths.error("lock", &lock, e))?;
        let mut ids = Vec::with_capacity(images.len());
        for (image, record) in images.iter().zip(records) {
            // The first manifest stays the image's own: a second `load` of a
            // pulled image must not lose what `push` would send.
            let known = paths.record(&record.id).ok().flatten();
            if !known.is_some_and(|known| known.blobs().all(|b| paths.blob(&b.digest).is_file())) {
                paths.write_record(&record)?;
            }
            for name in &image.names {
                paths.set_name(name, &record.id)?;
            }
            ids.push(record.id);
        }
        self.keep_staged();
        Ok(ids)
    }

    /// Checks that all an image needs is here, and describes it.
    fn record_of(&self, manifest_bytes: &[u8]) -> Result<Record, CommitError> {
        let Document::Image(manifest) = Document::parse(manifest_bytes, None)? else {
            return Err(CommitError::Index);
        };
        let paths = self.paths();
        let Manifest { schema_version: _, media_type, config, layers } = manifest;
        self.check_here(&config)?;
        let parsed = ImageConfig::parse(&paths.read_blob(&config.digest, CONFIG_MAX)?)?;
        let diff_ids = parsed.rootfs.diff_ids;
        if layers.len() != diff_ids.len() {
            let (layers, diff_ids) = (layers.len(), diff_ids.len());
            return Err(CommitError::LayerCount { layers, diff_ids });
        }
        if layers.len() > LAYERS_MAX {
            return Err(CommitError::TooManyLayers(layers.len()));
        }
        let mut records = Vec::with_capacity(layers.len());
        for (blob, diff_id) in layers.into_iter().zip(diff_ids) {
            self.check_here(&blob)?;
            self.unpack(&blob.digest, &diff_id)?;
            let info = paths.at_layer(&diff_id, |dir| read_json(&dir.join(LayerInfo::FILE)))?;
            let LayerInfo { size, .. } =
                info.ok_or_else(|| paths.missing(&paths.layer(&diff_id)))?;
            records.push(LayerRecord { blob, diff_id, size });
        }
        let manifest = Descriptor {
            media_type: media_type.unwrap_or_else(|| OCI_MANIFEST.to_owned()),
            digest: self.put(manifest_bytes)?,
            size: manifest_bytes.len() as u64,
            platform: None,
            annotations: None,
        };
        let id = config.digest.clone();
        Ok(Record { schema: 1, id, manifest, config, layers: records, created: parsed.created })
    }

    fn check_here(&self, blob: &Descriptor) -> Result<(), CommitError> {
        let paths = self.paths();
        let found = paths.blob_size(&blob.digest)?;
        let actual = found.ok_or_else(|| paths.missing(&paths.blob(&blob.digest)))?;
        if actual != blob.size {
            let (digest, expected) = (blob.digest.clone(), blob.size);
            return Err(BlobError::Size { digest, expected, actual }.into());
        }
        Ok(())
    }
}

impl Paths {
    /// Moves what is staged of these images to its place, after one syncfs(2)
    /// has brought it to the disk, and makes the moves durable.
    fn seal(&self, records: &[Record]) -> Result<(), StoreError> {
        let blobs = records
            .iter()
            .flat_map(Record::blobs)
            .map(|blob| (self.staged_blobs().join(blob.digest.hex()), self.blob(&blob.digest)));
        let layers = records.iter().flat_map(|r| &r.layers).map(|layer| {
            (self.staged_layers().join(layer.diff_id.hex()), self.layer(&layer.diff_id))
        });
        let mut moves: Vec<_> =
            blobs.chain(layers).filter(|(from, to)| from.exists() && !to.exists()).collect();
        moves.sort();
        moves.dedup();
        if moves.is_empty() {
            return Ok(());
        }
        self.sync_disk()?;
        for (from, to) in moves {
            match std::fs::rename(&from, &to) {
                // Another command that needed the same has sealed it meanwhile.
                Err(_) if to.exists() => {}
                done => done.map_err(|e| self.error("write", &to, e))?,
            }
        }
        for dir in [self.blobs(), self.layers()] {
            sync_dir(&dir).map_err(|e| self.error("sync", &dir, e))?;
        }
        Ok(())
    }

    fn sync_disk(&self) -> Result<(), StoreError> {
        let root: &Path = self.root();
        let dir = std::fs::File::open(root).map_err(|e| self.error("open", root, e))?;
        let _step = rcnt_base::trace::Step::new("sync image store");
        rustix::fs::syncfs(&dir).map_err(|e| self.error("sync", root, e))
    }
}
