//! Small images made on the spot, as OCI layouts or as a registry's documents.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::hostile::digest;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

#[derive(Clone, Copy)]
pub(crate) enum Packing {
    None,
    Gzip,
    Zstd,
}

#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) blob: Vec<u8>,
    media_type: String,
    diff_id: String,
}

pub(crate) fn layer(files: &[(&str, &[u8])], packing: Packing) -> Layer {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        tar.append_data(&mut header, path, *content).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    let (blob, suffix) = match packing {
        Packing::None => (tar.clone(), ""),
        Packing::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&tar).unwrap();
            (gzip.finish().unwrap(), "+gzip")
        }
        Packing::Zstd => (zstd::encode_all(tar.as_slice(), 1).unwrap(), "+zstd"),
    };
    Layer { blob, media_type: format!("{LAYER}{suffix}"), diff_id: digest(&tar) }
}

/// Content that does not compress: `size` bytes that depend on `seed`.
pub(crate) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(size)
    .collect()
}

#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<Layer>,
    architecture: String,
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

pub(crate) fn image(architecture: &str, layers: &[Layer]) -> Image {
    let diff_ids: Vec<&str> = layers.iter().map(|l| l.diff_id.as_str()).collect();
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": {"Cmd": ["/hello"], "Env": ["A=b"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = config.to_string().into_bytes();
    let blobs: Vec<Value> = layers.iter().map(|l| descriptor(&l.media_type, &l.blob)).collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &config), "layers": blobs,
    });
    let manifest = manifest.to_string().into_bytes();
    Image { manifest, config, layers: layers.to_vec(), architecture: architecture.to_owned() }
}

impl Image {
    /// Every blob but the manifest, by digest.
    pub(crate) fn blobs(&self) -> BTreeMap<String, Vec<u8>> {
        let layers = self.layers.iter().map(|l| (digest(&l.blob), l.blob.clone()));
        layers.chain([(digest(&self.config), self.config.clone())]).collect()
    }

    fn entry(&self) -> Value {
        let mut entry = descriptor(MANIFEST, &self.manifest);
        entry["platform"] = json!({"architecture": self.architecture, "os": "linux"});
        entry
    }
}

pub(crate) fn index(images: &[Image]) -> Vec<u8> {
    let entries: Vec<Value> = images.iter().map(Image::entry).collect();
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string().into_bytes()
}

/// Writes an OCI layout with one name, `latest`: the image, or an index of all
/// when there are several.
pub(crate) fn write_layout(dir: &Path, images: &[Image]) {
    let write = |path: &str, bytes: &[u8]| {
        File::create(dir.join(path)).unwrap().write_all(bytes).unwrap();
    };
    let write_blob = |bytes: &[u8]| {
        write(&format!("blobs/sha256/{}", &digest(bytes)["sha256:".len()..]), bytes);
    };
    std::fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    for image in images {
        write_blob(&image.manifest);
        image.blobs().values().for_each(|blob| write_blob(blob));
    }
    let mut top = match images {
        [one] => descriptor(MANIFEST, &one.manifest),
        many => {
            let index = index(many);
            write_blob(&index);
            descriptor(INDEX, &index)
        }
    };
    top["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    write("index.json", json!({"schemaVersion": 2, "manifests": [top]}).to_string().as_bytes());
}
