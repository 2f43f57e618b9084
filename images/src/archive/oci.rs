//! An OCI image layout, in a directory or a tar (OCI image-spec
//! image-layout.md): `index.json` leads to manifests, everything else is a blob
//! under its digest.

use rcnt_base::ids::Digest;
use sha2::{Digest as _, Sha256};

use super::docker::descriptor;
use super::load::{LoadError, Planned, PlannedLayer};
use super::members::{Members, Section};
use crate::config::{CONFIG_MAX, ImageConfig};
use crate::manifest::{
    Descriptor, Document, Index, MANIFEST_MAX, Manifest, ManifestError, OCI_INDEX, Platform,
};
use crate::reference::Reference;
use crate::store::{CommitError, Ingest, NewImage};

pub(super) const INDEX: &str = "index.json";
/// Indexes in indexes: the layout's, the image's, and one to spare.
const DEPTH_MAX: usize = 4;
const IMAGES_MAX: usize = 1000;

/// Follows the index to one image per entry, this machine's of each.
pub(super) fn plan(
    members: &Members,
    index: Section,
    ingest: &Ingest,
) -> Result<Vec<Planned>, LoadError> {
    let bytes = index.read_all(INDEX, MANIFEST_MAX)?;
    let Document::Index(index) = Document::parse(&bytes, Some(OCI_INDEX))? else {
        return Err(LoadError::NotImages);
    };
    let entries = entries_for_us(&index)?;
    let mut planned: Vec<Planned> = Vec::new();
    for entry in entries {
        let mut image = plan_entry(members, entry, ingest)?;
        image.image.names.extend(name_of(entry));
        // One image under several names has an entry for each.
        match planned.iter_mut().find(|p| p.image.manifest == image.image.manifest) {
            Some(same) => same.image.names.append(&mut image.image.names),
            None => planned.push(image),
        }
    }
    Ok(planned)
}

/// The entries to load: all but other machines' and documents about images.
fn entries_for_us(index: &Index) -> Result<Vec<&Descriptor>, LoadError> {
    let host = Platform::host();
    let images: Vec<&Descriptor> = index.manifests.iter().filter(|d| !d.is_attestation()).collect();
    if images.is_empty() || images.len() > IMAGES_MAX {
        let what = format!("it lists {} images", images.len());
        return Err(LoadError::Malformed { name: INDEX.to_owned(), what });
    }
    let ours = |entry: &&&Descriptor| {
        entry
            .platform
            .as_ref()
            .is_none_or(|p| p.os == host.os && p.architecture == host.architecture)
    };
    let chosen: Vec<&Descriptor> = images.iter().filter(ours).copied().collect();
    if chosen.is_empty() {
        return Err(ManifestError::NoPlatform(host).into());
    }
    Ok(chosen)
}

fn plan_entry(
    members: &Members,
    entry: &Descriptor,
    ingest: &Ingest,
) -> Result<Planned, LoadError> {
    let mut entry = entry.clone();
    for _ in 0..DEPTH_MAX {
        let bytes = read_blob(members, &entry, MANIFEST_MAX)?;
        match Document::parse(&bytes, Some(&entry.media_type))? {
            Document::Image(manifest) => return plan_image(members, bytes, manifest, ingest),
            Document::Index(index) => entry = index.choose(&Platform::host())?.clone(),
        }
    }
    let what = format!("indexes are nested more than {DEPTH_MAX} deep");
    Err(LoadError::Malformed { name: INDEX.to_owned(), what })
}

fn plan_image(
    members: &Members,
    bytes: Vec<u8>,
    manifest: Manifest,
    ingest: &Ingest,
) -> Result<Planned, LoadError> {
    let config_bytes = read_blob(members, &manifest.config, CONFIG_MAX)?;
    let diff_ids = ImageConfig::parse(&config_bytes)?.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let (layers, diff_ids) = (manifest.layers.len(), diff_ids.len());
        return Err(CommitError::LayerCount { layers, diff_ids }.into());
    }
    ingest.put(&config_bytes)?;
    let mut layers = Vec::with_capacity(diff_ids.len());
    for (blob, diff_id) in manifest.layers.into_iter().zip(diff_ids) {
        let from = blob_section(members, &blob)?;
        let Descriptor { media_type, digest, size, platform: _, annotations: _ } = blob;
        layers.push(PlannedLayer { blob: descriptor(media_type, digest, size), diff_id, from });
    }
    Ok(Planned { image: NewImage { manifest: bytes, names: Vec::new() }, layers })
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn blob_section(members: &Members, blob: &Descriptor) -> Result<Section, LoadError> {
    let name = blob_name(&blob.digest);
    let section = members.get(&name)?;
    if section.len() != blob.size {
        return Err(LoadError::Size { name, expected: blob.size, actual: section.len() });
    }
    Ok(section)
}

fn read_blob(members: &Members, blob: &Descriptor, max: u64) -> Result<Vec<u8>, LoadError> {
    let name = blob_name(&blob.digest);
    let bytes = blob_section(members, blob)?.read_all(&name, max)?;
    let actual = Digest::from_sha256(Sha256::digest(&bytes).into());
    if actual != blob.digest {
        return Err(LoadError::Digest { name, actual });
    }
    Ok(bytes)
}

/// The name an entry's annotations give. containerd writes the full one; the
/// OCI annotation may hold a name, a name and a tag, or only a tag – the last
/// is told by how it looks and names nothing.
fn name_of(entry: &Descriptor) -> Option<Reference> {
    if let Some(name) = entry.annotation("io.containerd.image.name") {
        return name.parse().ok();
    }
    let name = entry.annotation("org.opencontainers.image.ref.name")?;
    let only_tag = !name.contains([':', '/', '@'])
        && (name == "latest" || name.starts_with(|c: char| c.is_ascii_digit()));
    if only_tag { None } else { name.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_name_images_or_only_tag_them() {
        let entry = |key: &str, value: &str| Descriptor {
            annotations: Some([(key.to_owned(), value.to_owned())].into()),
            ..descriptor(String::new(), Digest::from_sha256([0; 32]), 0)
        };
        let oci = |v: &str| name_of(&entry("org.opencontainers.image.ref.name", v));
        assert_eq!(oci("docker.io/library/x:1").unwrap().familiar(), "x:1");
        assert_eq!(oci("busybox").unwrap().familiar(), "busybox:latest");
        assert_eq!(oci("latest"), None);
        assert_eq!(oci("1.36"), None);
        assert_eq!(oci("Not/A/Name"), None);
        let full = entry("io.containerd.image.name", "localhost:5000/a:b");
        assert_eq!(name_of(&full).unwrap().to_string(), "localhost:5000/a:b");
    }
}
