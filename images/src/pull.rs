//! From a reference to an image in the store.
//!
//! ```text
//! manifest or index ─► image for our platform ─► configuration ─► layers, three at a time ─► commit
//! ```
//!
//! A layer is hashed, written and unpacked while it arrives; what the store has
//! is not asked for again. The session with the store ([`Ingest`]) keeps
//! everything that was added from garbage collection until the image is
//! committed, which is the first moment that anything of it can be seen. A pull
//! that ends early leaves partial blobs which the next one continues.

mod layers;
mod platform;
mod retry;

use rcnt_base::ids::Digest;

pub use platform::{PlatformError, parse_platform};
pub use retry::Retries;

use crate::config::{CONFIG_MAX, ConfigError, ImageConfig};
use crate::manifest::{Descriptor, Document, Manifest, ManifestError, Platform};
use crate::progress::Progress;
use crate::reference::Reference;
use crate::registry::{Client, FetchedManifest, RegistryError, Repository};
use crate::store::{BlobError, CommitError, Ingest, LAYERS_MAX, NewImage, Store, StoreError};

/// An index may name indexes; more levels than this is a trick.
const INDEX_DEPTH: usize = 3;

/// How to pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullOptions {
    /// `--platform`; `None`: this machine's, and whatever there is when the
    /// name leads to a single image.
    pub platform: Option<Platform>,
    /// Layers that are downloaded at a time; docker's default is 3.
    pub parallel: usize,
    /// What to do about broken connections.
    pub retries: Retries,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self { platform: None, parallel: 3, retries: Retries::default() }
    }
}

/// An image that is in the store now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// What was asked for.
    pub reference: Reference,
    /// The image's id.
    pub image: Digest,
    /// What the registry calls it: the digest of its manifest, or of the index it is in.
    pub digest: Digest,
    /// Whether the name stands for another image than before.
    pub newer: bool,
}

impl Pulled {
    /// docker's closing lines.
    pub fn lines(&self) -> [String; 2] {
        let name = self.reference.familiar();
        [
            format!("Digest: {}", self.digest),
            match self.newer {
                true => format!("Status: Downloaded newer image for {name}"),
                false => format!("Status: Image is up to date for {name}"),
            },
        ]
    }
}

/// Why an image could not be pulled. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// What it sent is no manifest we can use.
    #[error("cannot use what {0} stands for")]
    Manifest(String, #[source] ManifestError),
    /// Indexes in indexes in indexes.
    #[error("{0} is an index of indexes, too deep to follow")]
    TooDeep(String),
    /// `--platform` asked for another one.
    #[error("image {reference} was found but is for {found}, not {wanted}")]
    WrongPlatform {
        /// The name.
        reference: String,
        /// The image's.
        found: String,
        /// The user's.
        wanted: String,
    },
    /// The configuration is larger than any image's.
    #[error("the configuration of {0} has {1} bytes; at most {CONFIG_MAX} are read")]
    ConfigTooLarge(String, u64),
    /// The configuration cannot be read.
    #[error("cannot use the configuration of {0}")]
    Config(String, #[source] ConfigError),
    /// Manifest and configuration disagree.
    #[error("the manifest of {reference} has {layers} layers, its configuration {diff_ids}")]
    LayerCount {
        /// The name.
        reference: String,
        /// The manifest's.
        layers: usize,
        /// The configuration's.
        diff_ids: usize,
    },
    /// A blob could not be written.
    #[error("cannot store {object}")]
    Write {
        /// The layer or configuration.
        object: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A download thread could not be started.
    #[error("cannot start a download thread")]
    Thread(#[source] std::io::Error),
    /// Another layer failed; this one was told to stop.
    #[error("stopped")]
    Stopped,
    /// A blob is wrong or cannot be unpacked.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The image cannot be made of its blobs.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PullError {
    /// What the user could do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(e) => e.hint(),
            Self::WrongPlatform { found, .. } => {
                Some(format!("use --platform {found}, or leave it out"))
            }
            _ => None,
        }
    }
}

impl PullError {
    /// Whether the disk has no room for the image.
    fn is_full(&self) -> bool {
        let full = |e: &std::io::Error| {
            matches!(e.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
        };
        match self {
            Self::Write { source, .. } => full(source),
            Self::Blob(BlobError::Store(StoreError::Full { .. })) => true,
            Self::Store(StoreError::Full { .. }) => true,
            Self::Commit(CommitError::Store(StoreError::Full { .. })) => true,
            Self::Commit(CommitError::Blob(BlobError::Store(StoreError::Full { .. }))) => true,
            _ => false,
        }
    }
}

/// Brings the image that `reference` names into `store`.
///
/// # Errors
/// [`PullError`]; no name or image has changed then.
pub fn pull(
    store: &Store,
    client: &Client,
    reference: &Reference,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Pulled, PullError> {
    let session = store.ingest()?;
    let pulled = bring(store, &session, client, reference, options, progress);
    if !pulled.as_ref().is_err_and(PullError::is_full) {
        // What has come need not come again when the next attempt goes further.
        session.keep_staged();
    }
    pulled
}

fn bring(
    store: &Store,
    session: &Ingest,
    client: &Client,
    reference: &Reference,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Pulled, PullError> {
    let pull =
        Pull { session, repository: &client.repository(reference), reference, options, progress };
    let before = store.resolve(&reference.to_string()).ok().map(|image| image.id);
    progress.line(&format!("{}: Pulling from {}", spoken(reference), reference.repository()));
    if let Some(image) = &before
        && let Some(digest) = pull.unchanged(store, image)?
    {
        let (reference, image) = (reference.clone(), image.clone());
        return Ok(Pulled { reference, image, digest, newer: false });
    }
    let (top, manifest, bytes) = pull.manifest()?;
    let config = pull.config(&manifest)?;
    pull.layers(&manifest, &config)?;
    let mut names = vec![reference.at_digest(top.clone())];
    if reference.digest().is_none() {
        names.push(reference.clone());
    }
    let ids = session.commit(&[NewImage { manifest: bytes, names }])?;
    let image = ids.into_iter().next().unwrap_or(manifest.config.digest);
    let newer = before.as_ref() != Some(&image);
    Ok(Pulled { reference: reference.clone(), image, digest: top, newer })
}

/// What docker calls the target in "latest: Pulling from library/nginx".
fn spoken(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (None, Some(tag)) => tag.to_owned(),
        _ => reference.to_string(),
    }
}

/// One pull under way.
#[derive(Clone, Copy)]
struct Pull<'a> {
    session: &'a Ingest,
    repository: &'a Repository,
    reference: &'a Reference,
    options: &'a PullOptions,
    progress: &'a dyn Progress,
}

impl Pull<'_> {
    /// The tag's digest, if it stands for what we have. Asked without fetching:
    /// registries that ration pulls count only manifests that are fetched.
    fn unchanged(&self, store: &Store, image: &Digest) -> Result<Option<Digest>, PullError> {
        let digest = match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => Some(digest.clone()),
            (None, Some(tag)) => match self.repository.tag_digest(tag) {
                Err(e @ RegistryError::Unreachable { .. }) => return Err(e.into()),
                // Not every registry answers HEAD well: the GET that follows decides.
                answer => answer.unwrap_or_default(),
            },
            (None, None) => None,
        };
        let Some(digest) = digest else { return Ok(None) };
        let same = store
            .resolve(&self.reference.at_digest(digest.clone()).to_string())
            .ok()
            .filter(|known| known.id == *image);
        // With --platform, the same index may mean another image.
        let fits = |platform: &Platform| {
            same.as_ref().is_some_and(|known| mismatch(&known.config, platform).is_none())
        };
        Ok((same.is_some() && self.options.platform.as_ref().is_none_or(fits)).then_some(digest))
    }

    /// The digest of what the name stands for, and the image manifest it leads to.
    fn manifest(&self) -> Result<(Digest, Manifest, Vec<u8>), PullError> {
        let wrong = |e| PullError::Manifest(self.reference.familiar(), e);
        let host = self.options.platform.clone().unwrap_or_else(Platform::host);
        let mut fetched = self.fetch(self.reference.target())?;
        let top = fetched.digest.clone();
        for _ in 0..INDEX_DEPTH {
            let served = Some(fetched.media_type.as_str());
            match Document::parse(&fetched.bytes, served).map_err(wrong)? {
                Document::Image(manifest) => return Ok((top, manifest, fetched.bytes)),
                Document::Index(index) => {
                    let entry = index.choose(&host).map_err(wrong)?;
                    log::debug!("{top} has {} for {host}", entry.digest);
                    fetched = self.fetch(entry.digest.as_str())?;
                    self.check_size(entry, &fetched)?;
                }
            }
        }
        Err(PullError::TooDeep(self.reference.familiar()))
    }

    fn fetch(&self, target: &str) -> Result<FetchedManifest, PullError> {
        let mut wait = self.options.retries.first_contact();
        loop {
            match self.repository.manifest(target) {
                Err(e) if !e.is_silence() && wait.again(&e, 0) => {}
                done => return Ok(done?),
            }
        }
    }

    fn check_size(&self, entry: &Descriptor, got: &FetchedManifest) -> Result<(), PullError> {
        let actual = got.bytes.len() as u64;
        if actual == entry.size {
            return Ok(());
        }
        let digest = entry.digest.clone();
        Err(BlobError::Size { digest, expected: entry.size, actual }.into())
    }

    /// The configuration, fetched unless it is here.
    fn config(&self, manifest: &Manifest) -> Result<ImageConfig, PullError> {
        let name = || self.reference.familiar();
        let descriptor = &manifest.config;
        // The commit would say so as well, but only after downloading them all.
        if manifest.layers.len() > LAYERS_MAX {
            return Err(CommitError::TooManyLayers(manifest.layers.len()).into());
        }
        if descriptor.size > CONFIG_MAX {
            return Err(PullError::ConfigTooLarge(name(), descriptor.size));
        }
        self.blob(descriptor)?;
        let bytes = self.session.read_blob(&descriptor.digest, CONFIG_MAX)?;
        let config = ImageConfig::parse(&bytes).map_err(|e| PullError::Config(name(), e))?;
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(PullError::LayerCount { reference: name(), layers, diff_ids });
        }
        if let Some(wanted) = &self.options.platform
            && let Some(found) = mismatch(&config, wanted)
        {
            let wanted = wanted.to_string();
            return Err(PullError::WrongPlatform { reference: name(), found, wanted });
        }
        Ok(config)
    }
}

/// What the image is for, if that is not `wanted`.
fn mismatch(config: &ImageConfig, wanted: &Platform) -> Option<String> {
    let differs = config.os != wanted.os || config.architecture != wanted.architecture;
    differs.then(|| format!("{}/{}", config.os, config.architecture))
}
