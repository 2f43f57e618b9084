//! From what the user typed to an image. On the start path: three small file
//! reads and one look at each layer, no lock, no directory walk for a name.

use std::path::PathBuf;

use rcnt_base::ids::Digest;

use super::records::Record;
use super::{Store, StoreError};
use crate::config::{CONFIG_MAX, ConfigError, ImageConfig};
use crate::reference::{Reference, ReferenceError};

/// An image, ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The configuration's digest: docker's image id.
    pub id: Digest,
    /// The name it was found by; `None` when by id.
    pub reference: Option<Reference>,
    /// The manifest's digest, what a registry calls the image.
    pub manifest: Digest,
    /// How to run it, what built it, when.
    pub config: ImageConfig,
    /// Overlay lower directories, topmost first.
    pub layers: Vec<PathBuf>,
    /// Bytes of all layers, unpacked.
    pub size: u64,
}

/// A line of `images`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// The image id.
    pub id: Digest,
    /// `name:tag`s, sorted; empty: dangling.
    pub tags: Vec<Reference>,
    /// `name@digest`s it was pulled by, sorted.
    pub digests: Vec<Reference>,
    /// RFC 3339, from the configuration.
    pub created: Option<String>,
    /// Bytes of all layers, unpacked.
    pub size: u64,
    /// The manifest's digest.
    pub manifest: Digest,
}

/// Why a name leads to no image.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// docker's words; the name with its tag.
    #[error("No such image: {0}")]
    NotFound(String),
    /// More than one image's id begins so.
    #[error("image id prefix \"{0}\" is ambiguous: it matches {1} images")]
    AmbiguousPrefix(String, usize),
    /// Neither a name nor an id.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored configuration is not readable.
    #[error("image {} is damaged", .0.short())]
    Config(Digest, #[source] ConfigError),
}

impl ResolveError {
    /// The image is not here: `run` may pull it.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }
}

/// What the typed text turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) id: Digest,
    /// The name in the store, when it was a name.
    pub(crate) name: Option<Reference>,
}

impl Store {
    /// Finds an image by `name[:tag][@digest]`, id, unique id prefix or `sha256:…`.
    ///
    /// # Errors
    /// [`ResolveError::NotFound`] in docker's words; see the others.
    pub fn resolve(&self, text: &str) -> Result<Image, ResolveError> {
        let found = self.find(text)?;
        let record =
            self.paths.record(&found.id)?.ok_or_else(|| ResolveError::NotFound(text.to_owned()))?;
        self.image(record, found.name)
    }

    /// Every image, by id.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn list(&self) -> Result<Vec<ImageSummary>, StoreError> {
        let names = self.paths.all_names()?;
        let (ids, _) = self.paths.record_ids()?;
        let mut list = Vec::with_capacity(ids.len());
        for id in ids {
            // It may have been removed since the directory was read.
            let Some(record) = self.paths.record(&id)? else { continue };
            let ours = names.iter().filter(|n| n.image == id).map(|n| n.name.clone());
            let (digests, tags) = ours.partition(|name: &Reference| name.digest().is_some());
            list.push(ImageSummary {
                id,
                tags,
                digests,
                created: record.created.clone(),
                size: record.size(),
                manifest: record.manifest.digest,
            });
        }
        Ok(list)
    }

    /// The stored configuration blob, byte by byte, for `inspect`, `save`, `push`.
    ///
    /// # Errors
    /// The store cannot be read, or the blob is too large to be one.
    pub fn config_blob(&self, id: &Digest) -> Result<Vec<u8>, StoreError> {
        self.paths.read_blob(id, CONFIG_MAX)
    }

    pub(crate) fn find(&self, text: &str) -> Result<Found, ResolveError> {
        let by_id = |id: Digest| Found { id, name: None };
        if let Ok(id) = text.parse::<Digest>().or_else(|_| format!("sha256:{text}").parse()) {
            return match self.paths.record(&id)? {
                Some(_) => Ok(by_id(id)),
                None => Err(ResolveError::NotFound(text.to_owned())),
            };
        }
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        let is_prefix = (1..64).contains(&prefix.len())
            && prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let name = match text.parse::<Reference>() {
            Ok(name) => Some(name),
            Err(_) if is_prefix => None,
            Err(e) => return Err(e.into()),
        };
        if let Some(name) = &name {
            // With a digest the tag says nothing, as with docker.
            let key = name.digest().map_or_else(|| name.clone(), |d| name.at_digest(d.clone()));
            if let Some(id) = self.paths.named(&key)? {
                return Ok(Found { id, name: Some(key) });
            }
        }
        if is_prefix && let Some(id) = self.by_prefix(prefix)? {
            return Ok(by_id(id));
        }
        Err(ResolveError::NotFound(name.map_or_else(|| text.to_owned(), |n| n.familiar())))
    }

    fn by_prefix(&self, prefix: &str) -> Result<Option<Digest>, ResolveError> {
        let (ids, _) = self.paths.record_ids()?;
        let mut matching = ids.into_iter().filter(|id| id.hex().starts_with(prefix));
        match (matching.next(), matching.count()) {
            (found, 0) => Ok(found),
            (_, more) => Err(ResolveError::AmbiguousPrefix(prefix.to_owned(), more + 1)),
        }
    }

    fn image(&self, record: Record, reference: Option<Reference>) -> Result<Image, ResolveError> {
        let size = record.size();
        let bytes = self.paths.read_blob(&record.id, CONFIG_MAX)?;
        let config =
            ImageConfig::parse(&bytes).map_err(|e| ResolveError::Config(record.id.clone(), e))?;
        let mut layers = Vec::with_capacity(record.layers.len());
        for layer in record.layers.iter().rev() {
            let path = self.paths.layer(&layer.diff_id).join("diff");
            if !path.is_dir() {
                let what = "the layer is missing; pull or load the image again".to_owned();
                return Err(StoreError::Damaged { path, what }.into());
            }
            layers.push(path);
        }
        Ok(Image {
            id: record.id,
            reference,
            manifest: record.manifest.digest,
            config,
            layers,
            size,
        })
    }
}
