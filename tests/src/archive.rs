//! Layers and images as files, in the formats other tools write: docker-archive
//! (`docker save`), OCI layout directory and OCI archive. Everything can be
//! bent, since hostile and damaged input is tested too.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// A tar file under construction: one layer, or a root file system.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    bytes: Vec<u8>,
    owner: (u64, u64),
}

impl Layer {
    /// An empty one; entries belong to root until [`Layer::owner`] says otherwise.
    pub fn new() -> Self {
        Self::default()
    }

    /// A finished tar, uncompressed.
    pub fn from_tar(tar: Vec<u8>) -> Self {
        Self { bytes: tar, owner: (0, 0) }
    }

    /// Who owns the entries that follow.
    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        self.owner = (uid, gid);
        self
    }

    /// A directory.
    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, path, mode, "", &[])
    }

    /// A regular file.
    pub fn file(self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Regular, path, mode, "", content.as_ref())
    }

    /// A symbolic link.
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, 0o777, target, &[])
    }

    /// Another name for an earlier entry.
    pub fn hardlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, 0o644, target, &[])
    }

    /// A named pipe.
    pub fn fifo(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Fifo, path, mode, "", &[])
    }

    /// "This path of a lower layer is gone" (OCI image-spec, layer.md).
    pub fn whiteout(self, path: &str) -> Self {
        let (dir, name) = path.rsplit_once('/').map_or(("", path), |(d, n)| (d, n));
        let slash = if dir.is_empty() { "" } else { "/" };
        self.file(&format!("{dir}{slash}.wh.{name}"), 0o644, "")
    }

    /// "Nothing of the lower layers' directory shows through".
    pub fn opaque(self, dir: &str) -> Self {
        self.file(&format!("{dir}/.wh..wh..opq"), 0o644, "")
    }

    /// Any entry. The path is written as it is, `..` and all, as a hostile
    /// archive's author would: the tar library would refuse.
    pub fn entry(
        mut self,
        kind: EntryType,
        path: &str,
        mode: u32,
        link: &str,
        content: &[u8],
    ) -> Self {
        let mut header = Header::new_gnu();
        let raw = header.as_gnu_mut().unwrap();
        raw.name[..path.len()].copy_from_slice(path.as_bytes());
        raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    /// The tar file.
    pub fn tar(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if !bytes.ends_with(&[0; 1024]) {
            bytes.extend_from_slice(&[0; 1024]);
        }
        bytes
    }
}

/// An image: layers, the lowest first, and a configuration.
#[derive(Debug, Clone)]
pub struct Image {
    layers: Vec<Vec<u8>>,
    config: Value,
}

impl Image {
    /// One with these layers that runs `sh`.
    pub fn new(layers: &[Layer]) -> Self {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let config = json!({ "Cmd": ["sh"], "Env": [path] });
        Self { layers: layers.iter().map(Layer::tar).collect(), config }
    }

    /// Sets a field of the configuration: `("Entrypoint", json!(["/bin/probe"]))`.
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.config[field] = value;
        self
    }

    /// One more layer on top.
    pub fn layer(mut self, layer: &Layer) -> Self {
        self.layers.push(layer.tar());
        self
    }

    /// The configuration blob.
    pub fn config(&self) -> Vec<u8> {
        let ids: Vec<String> = self.layers.iter().map(|l| digest(l)).collect();
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let config = json!({
            "architecture": architecture, "os": "linux", "created": "2026-01-02T03:04:05Z",
            "config": self.config, "rootfs": { "type": "layers", "diff_ids": ids },
            "history": ids.iter().map(|_| json!({"created_by": "rcnt-tests"})).collect::<Vec<_>>(),
        });
        config.to_string().into_bytes()
    }

    /// What `docker save` writes: manifest.json, one configuration, layer tars.
    pub fn docker_archive(&self, tag: &str) -> Vec<u8> {
        let config = self.config();
        let config_name = format!("{}.json", &digest(&config)["sha256:".len()..]);
        let names: Vec<String> = self
            .layers
            .iter()
            .map(|l| format!("{}/layer.tar", &digest(l)["sha256:".len()..]))
            .collect();
        let tag = if tag.contains(':') { tag.to_owned() } else { format!("{tag}:latest") };
        let manifest = json!([{ "Config": config_name, "RepoTags": [tag], "Layers": names }]);
        let mut files = vec![(config_name.clone(), config)];
        files.extend(names.into_iter().zip(self.layers.iter().cloned()));
        files.push(("manifest.json".to_owned(), manifest.to_string().into_bytes()));
        pack(&files)
    }

    /// The files of an OCI layout, as (path, content). `zip` compresses layers.
    pub fn oci_files(&self, tag: &str, zip: Zip) -> Vec<(String, Vec<u8>)> {
        let mut files =
            vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
        let mut blob = |media: &str, bytes: Vec<u8>| {
            let digest = digest(&bytes);
            let descriptor = json!({ "mediaType": media, "digest": digest, "size": bytes.len() });
            files.push((format!("blobs/sha256/{}", &digest["sha256:".len()..]), bytes));
            descriptor
        };
        let config = blob("application/vnd.oci.image.config.v1+json", self.config());
        let media = format!("application/vnd.oci.image.layer.v1.tar{}", zip.suffix());
        let layers: Vec<Value> = self.layers.iter().map(|l| blob(&media, zip.apply(l))).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": layers,
        });
        let mut manifest =
            blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().into_bytes());
        manifest["annotations"] = json!({
            "org.opencontainers.image.ref.name": tag, "io.containerd.image.name": tag,
        });
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        files.push(("index.json".to_owned(), index.to_string().into_bytes()));
        files
    }

    /// Writes an OCI layout directory.
    pub fn oci_layout(&self, dir: &Path, tag: &str, zip: Zip) {
        for (path, content) in self.oci_files(tag, zip) {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    /// The same as one tar file.
    pub fn oci_archive(&self, tag: &str, zip: Zip) -> Vec<u8> {
        pack(&self.oci_files(tag, zip))
    }
}

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zip {
    /// Not at all.
    No,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Zip {
    fn suffix(self) -> &'static str {
        match self {
            Self::No => "",
            Self::Gzip => "+gzip",
            Self::Zstd => "+zstd",
        }
    }

    /// Compresses.
    pub fn apply(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::No => bytes.to_vec(),
            Self::Gzip => {
                let mut writer =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                writer.write_all(bytes).unwrap();
                writer.finish().unwrap()
            }
            Self::Zstd => filter("zstd", bytes),
        }
    }
}

/// What a program makes of its standard input.
fn filter(program: &str, input: &[u8]) -> Vec<u8> {
    use std::process::{Command, Stdio};
    let mut child = Command::new(program)
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    output.stdout
}

/// A tar file of these files.
pub fn pack(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// `sha256:` and the hex digits.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}
