//! docker's archive: `manifest.json` lists images by configuration, names and
//! layer files. Newer ones are an OCI layout besides; the list counts, as it
//! does for docker. It has no manifests, so one is synthesised per image.

use std::io::Read;

use rcnt_base::ids::Digest;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::load::{LoadError, Planned, PlannedLayer};
use super::members::{Members, Section};
use crate::config::{CONFIG_MAX, ImageConfig};
use crate::manifest::{Descriptor, MANIFEST_MAX, Manifest, OCI_CONFIG};
use crate::reference::Reference;
use crate::store::{Ingest, NewImage};
use crate::unpack::Compression;

pub(super) const LIST: &str = "manifest.json";
/// More images in one archive than this is no `save`.
const IMAGES_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Reads the list and every configuration; layers are only located.
pub(super) fn plan(
    members: &Members,
    list: Section,
    ingest: &Ingest,
) -> Result<Vec<Planned>, LoadError> {
    let bytes = list.read_all(LIST, MANIFEST_MAX)?;
    let listed: Vec<Listed> =
        serde_json::from_slice(&bytes).map_err(|e| LoadError::Json(LIST.to_owned(), e))?;
    if listed.is_empty() || listed.len() > IMAGES_MAX {
        let what = format!("it lists {} images", listed.len());
        return Err(LoadError::Malformed { name: LIST.to_owned(), what });
    }
    listed.into_iter().map(|image| plan_image(members, image, ingest)).collect()
}

fn plan_image(members: &Members, listed: Listed, ingest: &Ingest) -> Result<Planned, LoadError> {
    let Listed { config: config_name, repo_tags, layers } = listed;
    let layers = layers.unwrap_or_default();
    let bytes = members.get(&config_name)?.read_all(&config_name, CONFIG_MAX)?;
    let digest = Digest::from_sha256(Sha256::digest(&bytes).into());
    if digest_in_name(&config_name).is_some_and(|named| named != digest) {
        return Err(LoadError::Digest { name: config_name, actual: digest });
    }
    let config = ImageConfig::parse(&bytes)?;
    let diff_ids = config.rootfs.diff_ids;
    if diff_ids.len() != layers.len() {
        let (name, listed, known) = (LIST.to_owned(), layers.len(), diff_ids.len());
        let what = format!("it lists {listed} layers but the configuration {known}");
        return Err(LoadError::Malformed { name, what });
    }
    ingest.put(&bytes)?;
    let mut planned = Vec::with_capacity(layers.len());
    for (name, diff_id) in layers.into_iter().zip(diff_ids) {
        planned.push(plan_layer(members, &name, diff_id)?);
    }
    let config = descriptor(OCI_CONFIG.to_owned(), digest, bytes.len() as u64);
    let blobs = planned.iter().map(|layer| layer.blob.clone()).collect();
    let manifest = serde_json::to_vec(&Manifest::synthesise(config, blobs))
        .map_err(|e| LoadError::Json(LIST.to_owned(), e))?;
    let names: Result<Vec<Reference>, _> =
        repo_tags.unwrap_or_default().iter().map(|tag| tag.parse()).collect();
    Ok(Planned { image: NewImage { manifest, names: names? }, layers: planned })
}

fn plan_layer(members: &Members, name: &str, diff_id: Digest) -> Result<PlannedLayer, LoadError> {
    let from = members.get(name)?;
    let compression = from.compression()?;
    let digest = match (compression, digest_in_name(name)) {
        // The archive itself is the blob; its digest is checked while it is read.
        (Compression::None, _) => diff_id.clone(),
        (_, Some(named)) if name.starts_with("blobs/sha256/") => named,
        // A compressed layer in an archive that does not name it by digest.
        _ => hash(from.clone())?,
    };
    let blob = descriptor(compression.layer_media_type(), digest, from.len());
    Ok(PlannedLayer { blob, diff_id, from })
}

pub(super) fn descriptor(media_type: String, digest: Digest, size: u64) -> Descriptor {
    Descriptor { media_type, digest, size, platform: None, annotations: None }
}

fn hash(mut from: Section) -> Result<Digest, LoadError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = from.read(&mut buffer).map_err(LoadError::Read)?;
        if n == 0 {
            return Ok(Digest::from_sha256(hasher.finalize().into()));
        }
        hasher.update(buffer.get(..n).unwrap_or_default());
    }
}

/// `<hex>.json`, `<hex>.tar`, `blobs/sha256/<hex>`: the digest the name claims.
fn digest_in_name(name: &str) -> Option<Digest> {
    let last = name.rsplit('/').next()?;
    let hex = last.split('.').next()?;
    format!("sha256:{hex}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_claim_a_digest() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for name in [format!("{hex}.json"), format!("blobs/sha256/{hex}"), format!("{hex}.tar")] {
            assert_eq!(digest_in_name(&name).unwrap().hex(), hex, "{name}");
        }
        assert_eq!(digest_in_name("config.json"), None);
        assert_eq!(digest_in_name(&format!("{hex}/layer.tar")), None);
    }
}
