//! `load` and `import` through the public API: every format, and every lie a
//! format can hold.

#![allow(clippy::disallowed_methods, reason = "tests run other tools and write files")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]

mod fixture;

use std::path::Path;
use std::process::Command;

use fixture::*;
use rcnt_base::report::chain;
use rcnt_images::archive::import::{ImportOptions, import};
use rcnt_images::archive::{Input, load};
use rcnt_images::progress::Silent;
use rcnt_images::{Image, Store};
use serde_json::{Value, json};
use tempfile::TempDir;

struct World {
    dir: TempDir,
    store: Store,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("images")).unwrap();
        Self { dir, store }
    }

    fn file(&self, bytes: &[u8]) -> std::path::PathBuf {
        let path = self.dir.path().join("archive");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn load(&self, bytes: &[u8]) -> Result<Vec<String>, String> {
        self.load_path(&self.file(bytes))
    }

    fn load_path(&self, path: &Path) -> Result<Vec<String>, String> {
        match load::load(&self.store, Input::Path(path), &Silent) {
            Ok(loaded) => Ok(loaded.iter().map(ToString::to_string).collect()),
            Err(e) => Err(chain(&e)),
        }
    }

    fn refused(&self, bytes: &[u8]) -> String {
        let error = self.load(bytes).unwrap_err();
        assert!(!error.contains('\n'), "{error:?}");
        assert!(self.store.list().unwrap().is_empty());
        self.assert_no_leftovers();
        error
    }

    /// Nothing half made, nothing whole that no image needs, no locks.
    fn assert_no_leftovers(&self) {
        let images = self.dir.path().join("images");
        let names = |dir: &str| -> Vec<String> {
            let entries = std::fs::read_dir(images.join(dir)).into_iter().flatten();
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
        };
        let left = || [names("tmp"), names("staging")].concat();
        // The last session tidies up. Another test's thread may be between fork
        // and exec just then, with a copy of our lock: so it is not the last, and
        // leaves that to the next.
        for _ in 0..200 {
            if left().is_empty() {
                break;
            }
            drop(self.store.ingest().unwrap());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(left().is_empty(), "{:?}", left());
        if self.store.list().unwrap().is_empty() {
            let left = [names("blobs/sha256"), names("layers")].concat();
            assert!(left.is_empty(), "{left:?}");
        }
    }

    fn resolve(&self, name: &str) -> Image {
        self.store.resolve(name).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
}

fn assert_whole(image: &Image, made: &Made) {
    assert_eq!(image.id.to_string(), made.id());
    assert_eq!(image.config.config.cmd, ["/bin/sh"]);
    let [upper, lower] = image.layers.as_slice() else { panic!("{:?}", image.layers) };
    assert!(upper.join("etc/salt").is_file() && lower.join("bin/sh").is_file());
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let gone = std::fs::symlink_metadata(upper.join("etc/old")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
}

#[test]
fn every_format_gives_the_same_image() {
    let made = Made::new("team/app:1.0", "s");
    let one = std::slice::from_ref(&made);
    let archives: Vec<(&str, Vec<u8>)> = vec![
        ("docker", docker_archive(one)),
        ("docker hybrid", hybrid_archive(&made)),
        ("oci", pack(&oci_files(one, <[u8]>::to_vec, ""))),
        ("oci gzip layers", pack(&oci_files(one, gzip, "+gzip"))),
        ("oci zstd layers", pack(&oci_files(one, zstd, "+zstd"))),
        ("oci, media types that lie", pack(&oci_files(one, zstd, "+gzip"))),
    ];
    for (what, archive) in archives {
        for (how, archive) in
            [("plain", archive.clone()), ("gzip", gzip(&archive)), ("zstd", zstd(&archive))]
        {
            let world = World::new();
            let loaded = world.load(&archive).unwrap_or_else(|e| panic!("{what} {how}: {e}"));
            assert_eq!(loaded, ["Loaded image: team/app:1.0"], "{what} {how}");
            assert_whole(&world.resolve("team/app:1.0"), &made);
            world.assert_no_leftovers();
            let world = World::new();
            let mut stdin = archive.as_slice();
            load::load(&world.store, Input::Stream(&mut stdin), &Silent).unwrap();
            assert_whole(&world.resolve("team/app:1.0"), &made);
        }
    }
}

#[test]
fn an_oci_layout_directory_is_read_without_leaving_it() {
    let made = Made::new("app:1.0", "s");
    let world = World::new();
    let layout = world.dir.path().join("layout");
    let files = oci_files(std::slice::from_ref(&made), gzip, "+gzip");
    spread(&files, &layout);
    assert_eq!(world.load_path(&layout).unwrap(), ["Loaded image: app:1.0"]);
    assert_whole(&world.resolve("app:1.0"), &made);
    // A blob that is a link to somewhere else is not a blob.
    let config = layout.join(blob(&made.config).0);
    let moved = world.dir.path().join("moved");
    std::fs::rename(&config, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &config).unwrap();
    assert!(World::new().load_path(&layout).is_err());
    std::fs::remove_file(&config).unwrap();
    let error = World::new().load_path(&layout).unwrap_err();
    assert!(error.starts_with("archive has no blobs/sha256/"), "{error}");
}

#[test]
fn several_images_and_names_share_layers() {
    let (a, mut b) = (Made::new("a:1", "same"), Made::new("b:1", "other"));
    b.tags.push("b:2".to_owned());
    let mut unnamed = Made::new("", "third");
    unnamed.tags.clear();
    let world = World::new();
    let archive = docker_archive(&[a.clone(), b.clone(), unnamed.clone()]);
    let expected = [
        "Loaded image: a:1".to_owned(),
        "Loaded image: b:1".to_owned(),
        "Loaded image: b:2".to_owned(),
        format!("Loaded image ID: {}", unnamed.id()),
    ];
    assert_eq!(world.load(&archive).unwrap(), expected);
    // Three tops, one shared bottom.
    assert_eq!(std::fs::read_dir(world.dir.path().join("images/layers")).unwrap().count(), 4);
    assert_eq!(world.resolve("a:1").layers[1], world.resolve("b:2").layers[1]);
    assert_eq!(world.load(&archive).unwrap(), expected, "again");
    let again = pack(&oci_files(&[a, b], gzip, "+gzip"));
    assert_eq!(world.load(&again).unwrap().len(), 3);
    assert_eq!(world.store.list().unwrap().len(), 3);
}

#[test]
fn the_image_for_this_machine_is_chosen_from_an_index() {
    let ours = Made::new("", "ours");
    let (manifest, mut files) = oci_manifest(&ours, gzip, "+gzip");
    files.push(blob(&manifest));
    let mut mine = descriptor(OCI_MANIFEST, &manifest);
    let host = rcnt_images::manifest::Platform::host();
    mine["platform"] = json!(host);
    let mut other = descriptor(OCI_MANIFEST, b"absent");
    other["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let mut note = descriptor(OCI_MANIFEST, b"attestation");
    note["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let inner =
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [other, mine, note]})
            .to_string();
    files.push(blob(inner.as_bytes()));
    let mut entry = descriptor(OCI_INDEX, inner.as_bytes());
    entry["annotations"] = json!({"io.containerd.image.name": "docker.io/library/multi:7"});
    let index = |entries: Value| {
        let mut files = files.clone();
        let json = json!({"schemaVersion": 2, "manifests": entries}).to_string();
        files.push(("index.json".to_owned(), json.into_bytes()));
        pack(&files)
    };
    let world = World::new();
    assert_eq!(world.load(&index(json!([entry]))).unwrap(), ["Loaded image: multi:7"]);
    assert_whole(&world.resolve("multi:7"), &ours);
    let error = World::new().refused(&index(json!([other])));
    assert!(error.starts_with("no matching manifest for linux/"), "{error}");
}

#[test]
fn old_archives_link_equal_layers() {
    let made = Made::of(vec![layer(&[("a", b"1")]), layer(&[("a", b"1")])], &["twice:1"]);
    let config = format!("{}.json", hex(&made.config));
    let list = json!([{"Config": config, "RepoTags": ["twice:1"], "Layers": ["x/layer.tar", "y/layer.tar"]}]);
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |kind, name: &str, content: &[u8], to: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        if to.is_empty() {
            tar.append_data(&mut header, name, content).unwrap();
        } else {
            tar.append_link(&mut header, name, to).unwrap();
        }
    };
    add(tar::EntryType::Regular, "x/layer.tar", &made.layers[0], "");
    add(tar::EntryType::Symlink, "y/layer.tar", b"", "../x/layer.tar");
    add(tar::EntryType::Regular, &config, &made.config, "");
    add(tar::EntryType::Regular, "manifest.json", list.to_string().as_bytes(), "");
    let archive = tar.into_inner().unwrap();
    let world = World::new();
    world.load(&archive).unwrap();
    assert_eq!(world.resolve("twice:1").layers.len(), 2);
}

#[test]
fn lies_are_refused_each_with_its_line() {
    let made = Made::new("x:1", "s");
    let one = std::slice::from_ref(&made);
    let id = hex(&made.config);
    let replaced = |files: &[(String, Vec<u8>)], name: &str, content: &[u8]| {
        let mut files = files.to_vec();
        files.iter_mut().find(|(n, _)| n == name).unwrap().1 = content.to_vec();
        pack(&files)
    };
    let oci = oci_files(one, gzip, "+gzip");
    let config = blob(&made.config).0;
    let other = String::from_utf8(made.config.clone()).unwrap().replace("/bin/sh", "/bin/xx");
    let error = World::new().refused(&replaced(&oci, &config, other.as_bytes()));
    assert_eq!(
        error,
        format!("{config} has the wrong content: its digest is sha256:{}", hex(other.as_bytes()))
    );
    let error = World::new().refused(&replaced(&oci, &config, b"{}"));
    assert!(error.contains("has the wrong size: 2 bytes instead of"), "{error}");

    let packed = gzip(&made.layers[0]);
    let name = blob(&packed).0;
    let mut flipped = packed.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let error = World::new().refused(&replaced(&oci, &name, &flipped));
    assert!(error.starts_with("blob sha256:") && error.contains("wrong content"), "{error}");
    let error = World::new().refused(&replaced(&oci, &name, &packed[..middle]));
    assert!(error.contains("wrong size"), "{error}");

    // A layer that is right by its blob but is not what the configuration says.
    let mut wrong = made.clone();
    wrong.layers[0] = layer(&[("evil", b"x")]);
    let error = World::new().refused(&pack(&oci_files(&[wrong.clone()], gzip, "+gzip")));
    assert!(error.contains("layer has the wrong content: its diff id is sha256:"), "{error}");
    let error = World::new().refused(&docker_archive(&[wrong]));
    assert!(error.contains("wrong content"), "{error}");

    let swapped = format!("{id}.json");
    let error = World::new().refused(&pack(&[
        ("manifest.json".into(), json!([{"Config": swapped, "Layers": []}]).to_string().into()),
        (swapped.clone(), b"{}".to_vec()),
    ]));
    assert!(error.starts_with(&format!("{swapped} has the wrong content")), "{error}");
}

#[test]
fn what_is_no_image_archive_is_refused_in_one_line() {
    let list = |text: &str| pack(&[("manifest.json".into(), text.into())]);
    let deep = format!("[{}", "[".repeat(500_000));
    let index = |text: &str| pack(&[("index.json".into(), text.into())]);
    let ambiguous = r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
    for (archive, expected) in [
        (Vec::new(), "not an image archive"),
        (b"hello, I am text".to_vec(), "archive is truncated"),
        (vec![b'x'; 4096], "no tar header"),
        (pack(&[("readme".into(), b"x".to_vec())]), "not an image archive"),
        (list("["), "manifest.json is malformed"),
        (list("[]"), "it lists 0 images"),
        (list("{}"), "manifest.json is malformed"),
        (list(&deep), "manifest.json is malformed"),
        (list(&" ".repeat(5 << 20)), "is larger than"),
        (list(r#"[{"Config":"../../etc/passwd","Layers":[]}]"#), "leads outside"),
        (list(r#"[{"Config":"gone.json","Layers":[]}]"#), "archive has no gone.json"),
        (
            list(r#"[{"Config":"manifest.json","Layers":["a"]}]"#),
            "image configuration is malformed",
        ),
        (index(ambiguous), "manifest is ambiguous"),
        (index(r#"{"schemaVersion":1,"manifests":[]}"#), "schema version 1"),
        (index(r#"{"schemaVersion":2,"manifests":[]}"#), "it lists 0 images"),
        (gzip(b"not a tar at all"), "archive is truncated"),
    ] {
        let error = World::new().refused(&archive);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let whole = docker_archive(&[Made::new("x:1", "s")]);
    for cut in [whole.len() / 4, whole.len() / 2, whole.len() - 2000] {
        let error = World::new().refused(&whole[..cut]);
        assert!(
            error.contains("truncated") || error.contains("not an image archive"),
            "{cut}: {error}"
        );
    }
    let error = World::new().load_path(Path::new("/nonexistent/x")).unwrap_err();
    assert_eq!(error, "cannot open /nonexistent/x: No such file or directory (os error 2)");
}

#[test]
fn ambiguous_image_manifests_are_refused() {
    // CVE-2021-41190: one document, two readings.
    let made = Made::new("x:1", "s");
    let (manifest, mut files) = oci_manifest(&made, gzip, "+gzip");
    let mut both: Value = serde_json::from_slice(&manifest).unwrap();
    both["manifests"] = json!([]);
    let both = both.to_string();
    files.push(blob(both.as_bytes()));
    let index =
        json!({"schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST, both.as_bytes())]});
    files.push(("index.json".into(), index.to_string().into()));
    let error = World::new().refused(&pack(&files));
    assert!(error.starts_with("manifest is ambiguous"), "{error}");
}

#[test]
fn a_root_file_system_becomes_an_image() {
    let rootfs = tar(&[("bin/", b""), ("bin/true", b"#!"), ("etc/", b""), ("etc/hostname", b"h")]);
    let plain = std::env::temp_dir().join(format!("rcnt-xz-{}", std::process::id()));
    std::fs::write(&plain, &rootfs).unwrap();
    let mut xz = xz_output(Command::new("xz").args(["-c", "-3"]).arg(&plain));
    std::fs::remove_file(&plain).unwrap();
    let mut forms =
        vec![("plain", rootfs.clone()), ("gzip", gzip(&rootfs)), ("zstd", zstd(&rootfs))];
    forms.extend(xz.take().map(|bytes| ("xz", bytes)));
    for (what, bytes) in forms {
        let world = World::new();
        let options = ImportOptions {
            name: Some("base:1".parse().unwrap()),
            changes: vec!["CMD [\"/bin/true\"]".into(), "ENV A=b".into()],
            message: Some("first".into()),
            platform: None,
        };
        let id = import(&world.store, Input::Stream(&mut bytes.as_slice()), &options)
            .unwrap_or_else(|e| panic!("{what}: {}", chain(&e)));
        let image = world.resolve("base:1");
        assert_eq!((image.id.clone(), image.layers.len()), (id, 1));
        assert_eq!(
            (image.config.config.cmd.clone(), image.config.config.env.clone()),
            (vec!["/bin/true".to_owned()], vec!["A=b".to_owned()])
        );
        assert_eq!(image.config.history[0].comment, "first");
        assert_eq!(image.config.rootfs.diff_ids[0].hex(), hex(&rootfs), "{what}");
        assert!(image.layers[0].join("etc/hostname").is_file());
        world.assert_no_leftovers();
        // Once more: the layer is there, the image is a new one.
        import(&world.store, Input::Path(&world.file(&bytes)), &ImportOptions::default()).unwrap();
        assert_eq!(world.store.list().unwrap().len(), 2);
        assert_eq!(std::fs::read_dir(world.dir.path().join("images/layers")).unwrap().count(), 1);
    }
}

/// `None` where xz is not installed.
fn xz_output(command: &mut Command) -> Option<Vec<u8>> {
    match command.output() {
        Ok(done) if done.status.success() => Some(done.stdout),
        _ => {
            eprintln!("skipped: xz is not installed");
            None
        }
    }
}

#[test]
fn imports_that_fail_leave_nothing() {
    let world = World::new();
    let rootfs = tar(&[("f", &[7; 5000])]);
    let refused = |bytes: &[u8], options: &ImportOptions| {
        let error = import(&world.store, Input::Path(&world.file(bytes)), options).unwrap_err();
        assert!(world.store.list().unwrap().is_empty());
        world.assert_no_leftovers();
        chain(&error)
    };
    let plain = ImportOptions::default();
    assert_eq!(refused(b"", &plain), "archive is empty");
    assert!(refused(&rootfs[..3000], &plain).contains("truncated"));
    assert!(refused(&gzip(&rootfs)[..40], &plain).contains("truncated"));
    assert!(refused(b"BZh91AY&SY", &plain).contains("compressed with bzip2"));
    let bad = ImportOptions { changes: vec!["RUN x".into()], ..plain };
    assert_eq!(refused(&rootfs, &bad), "RUN is not a valid change command");
}

/// What skopeo and umoci write, we read; when they are there.
#[test]
fn archives_of_other_tools_are_read() {
    if Command::new("skopeo").arg("--version").output().is_err() {
        eprintln!("skipped: skopeo is not installed");
        return;
    }
    let made = Made::new("tool:1", "s");
    let world = World::new();
    let at = |name: &str| world.dir.path().join(name).display().to_string();
    std::fs::write(at("in.tar"), docker_archive(std::slice::from_ref(&made))).unwrap();
    let copy = |from: &str, to: &str| {
        let done = Command::new("skopeo")
            .args(["copy", "--insecure-policy", "--quiet", from, to])
            .output()
            .unwrap();
        assert!(done.status.success(), "{from} → {to}: {}", String::from_utf8_lossy(&done.stderr));
    };
    copy(&format!("docker-archive:{}", at("in.tar")), &format!("oci:{}:tool:2", at("layout")));
    copy(
        &format!("docker-archive:{}", at("in.tar")),
        &format!("oci-archive:{}:tool:3", at("oci.tar")),
    );
    copy(
        &format!("docker-archive:{}", at("in.tar")),
        &format!("docker-archive:{}:tool:4", at("docker.tar")),
    );
    for (what, tag) in [("layout", "tool:2"), ("oci.tar", "tool:3"), ("docker.tar", "tool:4")] {
        let world = World::new();
        let loaded =
            world.load_path(Path::new(&at(what))).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(loaded, [format!("Loaded image: {tag}")]);
        // skopeo may write the configuration anew in another format.
        let image = world.resolve(tag);
        assert_eq!(image.layers.len(), 2);
        assert!(image.layers[0].join("etc/salt").is_file());
    }
    if Command::new("umoci").arg("--version").output().is_err() {
        eprintln!("skipped: umoci is not installed");
        return;
    }
    let image = format!("{}:fresh", at("umoci"));
    for args in [
        vec!["init", "--layout", &at("umoci")],
        vec!["new", "--image", &image],
        vec!["unpack", "--image", &image, &at("bundle")],
    ] {
        assert!(Command::new("umoci").args(args).output().unwrap().status.success());
    }
    std::fs::write(at("bundle/rootfs/hello"), b"umoci").unwrap();
    assert!(
        Command::new("umoci")
            .args(["repack", "--image", &image, &at("bundle")])
            .output()
            .unwrap()
            .status
            .success()
    );
    let world = World::new();
    world.load_path(Path::new(&at("umoci"))).unwrap();
    let image = world.resolve("fresh");
    assert_eq!(std::fs::read(image.layers[0].join("hello")).unwrap(), b"umoci");
}
