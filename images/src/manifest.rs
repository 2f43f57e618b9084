//! Manifests and indexes, OCI's and docker's schema 2: which blobs an image is
//! made of, and which image of an index is for this machine.
//!
//! Pure: bytes in, struct out. A document that could be read as both kinds is
//! refused (CVE-2021-41190): what it is must not depend on who asks.

use std::collections::BTreeMap;

use rcnt_base::ids::Digest;
use serde::{Deserialize, Serialize};

/// Manifests and indexes larger than this are refused (registries refuse them too).
pub const MANIFEST_MAX: u64 = 4 << 20;

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, uncompressed; `+gzip` and `+zstd` follow.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// docker's manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// docker's manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// docker's image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// Why bytes are not a manifest we can use.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Over [`MANIFEST_MAX`].
    #[error("manifest of {0} bytes is larger than {MANIFEST_MAX}")]
    TooLarge(u64),
    /// Not JSON, too deeply nested, or fields of the wrong type.
    #[error("manifest is malformed")]
    Malformed(#[source] serde_json::Error),
    /// Both an image and an index.
    #[error("manifest is ambiguous: it has both \"manifests\" and \"config\" or \"layers\"")]
    Ambiguous,
    /// The type it states is not the one it was served as, or not its content's.
    #[error("manifest is ambiguous: it was served as {served} but is {found}")]
    WrongType {
        /// What the registry or the descriptor said.
        served: String,
        /// What the document says or is.
        found: String,
    },
    /// docker's format of before 2016.
    #[error(
        "manifest has schema version {0}, which is no longer supported: push the image again with a current tool"
    )]
    OldSchema(u64),
    /// Neither kind.
    #[error("manifest is neither an image nor an index")]
    Unknown,
    /// An OCI artifact: a chart, a signature…
    #[error("manifest is not of a container image: its configuration is {0}")]
    NotAnImage(String),
    /// No entry for this machine.
    #[error("no matching manifest for {0} in the manifest list entries")]
    NoPlatform(Platform),
}

/// A blob by digest and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: String,
    /// Its content's digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// For an index's entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// `org.opencontainers.image.ref.name` and others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// The annotation `key`.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// BuildKit's provenance documents stand in the index beside the images
    /// they describe; they are not images.
    pub fn is_attestation(&self) -> bool {
        self.annotation("vnd.docker.reference.type").is_some()
            || self.platform.as_ref().is_some_and(|p| p.os == "unknown")
    }
}

/// An operating system and processor, in Go's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`…
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// `v8`, `v7`…
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |v| write!(f, "/{v}"))
    }
}

impl Platform {
    /// This machine's.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "x86" => ("386", None),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Self {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// How well an image for `self` runs on `host`: `None` not at all, else the
    /// larger the better. A missing variant is the architecture's plainest.
    fn suits(&self, host: &Platform) -> Option<u8> {
        if self.os != host.os || self.architecture != host.architecture {
            return None;
        }
        match (&self.variant, &host.variant) {
            (ours, theirs) if ours == theirs => Some(3),
            (None, _) => Some(2),
            // arm64/v8 is arm64; an arm/v6 image runs on a v7 processor.
            (Some(image), Some(host)) => (image < host).then_some(1),
            (Some(variant), None) => (variant == "v1" || variant == "v8").then_some(1),
        }
    }
}

/// An image: one configuration, its layers lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u64,
    /// May be absent in OCI's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The image configuration.
    pub config: Descriptor,
    /// The layer blobs, compressed or not.
    pub layers: Vec<Descriptor>,
}

/// Several images, one per platform or name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u64,
    /// May be absent in OCI's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The images, or further indexes.
    pub manifests: Vec<Descriptor>,
}

/// What a registry or a layout may hold under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Image(Manifest),
    /// A choice of images.
    Index(Index),
}

impl Document {
    /// Reads a manifest or index. `served` is the media type of the HTTP answer
    /// or descriptor, when there was one: a contradiction is refused.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn parse(bytes: &[u8], served: Option<&str>) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            schema_version: Option<u64>,
            media_type: Option<String>,
            config: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
            fs_layers: Option<serde::de::IgnoredAny>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        if bytes.len() as u64 > MANIFEST_MAX {
            return Err(ManifestError::TooLarge(bytes.len() as u64));
        }
        let shape: Shape = serde_json::from_slice(bytes).map_err(ManifestError::Malformed)?;
        let is_image = shape.config.is_some() || shape.layers.is_some();
        let is_index = shape.manifests.is_some();
        match shape.schema_version {
            Some(2) => {}
            None if is_image || is_index => {}
            Some(old) => return Err(ManifestError::OldSchema(old)),
            None => return Err(ManifestError::Unknown),
        }
        if (is_image || shape.fs_layers.is_some()) && is_index {
            return Err(ManifestError::Ambiguous);
        }
        let found =
            if is_index { [OCI_INDEX, DOCKER_LIST] } else { [OCI_MANIFEST, DOCKER_MANIFEST] };
        for stated in [shape.media_type.as_deref(), served].into_iter().flatten() {
            // Some registries serve everything as plain JSON: that states nothing.
            let stated = stated.split(';').next().unwrap_or(stated).trim();
            let generic = matches!(
                stated,
                "application/json" | "text/plain" | "application/octet-stream" | ""
            );
            if !generic && !found.contains(&stated) {
                let found =
                    shape.media_type.as_deref().filter(|m| *m != stated).unwrap_or(found[0]);
                return Err(ManifestError::WrongType {
                    served: stated.to_owned(),
                    found: found.to_owned(),
                });
            }
        }
        let document = match (is_image, is_index) {
            (true, false) => Self::Image(from_json(bytes)?),
            (false, true) => Self::Index(from_json(bytes)?),
            _ => return Err(ManifestError::Unknown),
        };
        if let Self::Image(image) = &document
            && ![OCI_CONFIG, DOCKER_CONFIG, "application/octet-stream", "application/json", ""]
                .contains(&image.config.media_type.as_str())
        {
            return Err(ManifestError::NotAnImage(image.config.media_type.clone()));
        }
        Ok(document)
    }
}

fn from_json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ManifestError> {
    serde_json::from_slice(bytes).map_err(ManifestError::Malformed)
}

impl Manifest {
    /// A manifest for layers that came without one (`docker save`, `import`).
    pub fn synthesise(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: Some(OCI_MANIFEST.to_owned()), config, layers }
    }
}

impl Index {
    /// The entry that runs best on `host`. An entry without a platform is taken
    /// when it is the only image.
    ///
    /// # Errors
    /// [`ManifestError::NoPlatform`].
    pub fn choose(&self, host: &Platform) -> Result<&Descriptor, ManifestError> {
        let images: Vec<&Descriptor> =
            self.manifests.iter().filter(|d| !d.is_attestation()).collect();
        let mut best: Option<(u8, &Descriptor)> = None;
        for image in &images {
            let score = image.platform.as_ref().and_then(|p| p.suits(host));
            if let Some(score) = score
                && best.is_none_or(|(top, _)| score > top)
            {
                best = Some((score, image));
            }
        }
        match (best, images.as_slice()) {
            (Some((_, image)), _) => Ok(image),
            (None, [only]) if only.platform.is_none() => Ok(only),
            _ => Err(ManifestError::NoPlatform(host.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn descriptor(platform: Option<(&str, Option<&str>)>) -> Descriptor {
        Descriptor {
            media_type: OCI_MANIFEST.into(),
            digest: D.parse().unwrap(),
            size: 1,
            platform: platform.map(|(a, v)| Platform {
                architecture: a.into(),
                os: "linux".into(),
                variant: v.map(Into::into),
            }),
            annotations: None,
        }
    }

    fn image_json() -> String {
        format!(r#""config":{{"mediaType":"{OCI_CONFIG}","digest":"{D}","size":2}},"layers":[]"#)
    }

    #[test]
    fn kinds_are_told_apart_by_content() {
        let image = format!(r#"{{"schemaVersion":2,{}}}"#, image_json());
        assert!(matches!(Document::parse(image.as_bytes(), None), Ok(Document::Image(_))));
        let index = br#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(matches!(Document::parse(index, Some(DOCKER_LIST)), Ok(Document::Index(_))));
    }

    #[test]
    fn what_is_both_or_says_otherwise_is_refused() {
        let both = format!(r#"{{"schemaVersion":2,"manifests":[],{}}}"#, image_json());
        assert!(matches!(Document::parse(both.as_bytes(), None), Err(ManifestError::Ambiguous)));
        let image = format!(r#"{{"schemaVersion":2,{}}}"#, image_json());
        let error = Document::parse(image.as_bytes(), Some(OCI_INDEX)).unwrap_err();
        assert!(matches!(error, ManifestError::WrongType { .. }), "{error}");
        let says = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}",{}}}"#, image_json());
        assert!(Document::parse(says.as_bytes(), Some(OCI_MANIFEST)).is_err());
    }

    #[test]
    fn old_artifact_and_broken_manifests_have_their_own_words() {
        let old = br#"{"schemaVersion":1,"fsLayers":[],"name":"x"}"#;
        assert!(matches!(Document::parse(old, None), Err(ManifestError::OldSchema(1))));
        let chart = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"{D}","size":2}},"layers":[]}}"#
        );
        assert!(matches!(
            Document::parse(chart.as_bytes(), None),
            Err(ManifestError::NotAnImage(_))
        ));
        assert!(matches!(Document::parse(b"{}", None), Err(ManifestError::Unknown)));
        let bad_size = image_json().replace("\"size\":2", "\"size\":-2");
        assert!(
            Document::parse(format!(r#"{{"schemaVersion":2,{bad_size}}}"#).as_bytes(), None)
                .is_err()
        );
        let deep = format!("{{\"manifests\":{}", "[".repeat(1 << 20));
        assert!(matches!(Document::parse(deep.as_bytes(), None), Err(ManifestError::Malformed(_))));
    }

    #[test]
    fn the_platform_that_fits_best_is_chosen() {
        let host =
            Platform { architecture: "arm".into(), os: "linux".into(), variant: Some("v7".into()) };
        let index = |entries: Vec<Descriptor>| Index {
            schema_version: 2,
            media_type: None,
            manifests: entries,
        };
        let many = index(vec![
            descriptor(Some(("amd64", None))),
            descriptor(Some(("arm", Some("v6")))),
            descriptor(Some(("arm", Some("v7")))),
        ]);
        assert_eq!(
            many.choose(&host).unwrap().platform.as_ref().unwrap().variant.as_deref(),
            Some("v7")
        );
        let none = index(vec![descriptor(Some(("s390x", None)))]);
        let error = none.choose(&host).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no matching manifest for linux/arm/v7 in the manifest list entries"
        );
        assert!(index(vec![descriptor(None)]).choose(&host).is_ok());
        let amd64 = Platform { architecture: "amd64".into(), os: "linux".into(), variant: None };
        assert!(index(vec![descriptor(Some(("amd64", Some("v3"))))]).choose(&amd64).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Document::parse(&bytes, None);
        }

        #[test]
        fn a_manifest_survives_being_written(size in any::<u64>(), n in 0usize..4) {
            let mut config = descriptor(None);
            config.media_type = OCI_CONFIG.into();
            config.size = size;
            let manifest = Manifest::synthesise(config.clone(), vec![config; n]);
            let bytes = serde_json::to_vec(&manifest).unwrap();
            prop_assert_eq!(Document::parse(&bytes, Some(OCI_MANIFEST)).unwrap(), Document::Image(manifest));
        }
    }
}
