//! The store through its public API: look-ups, removal with docker's rules,
//! garbage, many commands at once, death at any moment, a full disk.

#![allow(clippy::disallowed_methods, reason = "tests run other programs and write files")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]

mod fixture;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fixture::*;
use rcnt_base::ids::Digest;
use rcnt_base::report::chain;
use rcnt_images::Store;
use rcnt_images::archive::{Input, load};
use rcnt_images::manifest::Descriptor;
use rcnt_images::progress::Silent;
use rcnt_images::store::{Fetch, Use};
use tempfile::TempDir;

/// For tests that run this very binary as another process.
const ROLE: &str = "RCNT_IMAGES_TEST_ROLE";

struct World {
    dir: TempDir,
    store: Store,
}

fn unused(_: &Digest) -> Option<Use> {
    None
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("images")).unwrap();
        Self { dir, store }
    }

    fn with(images: &[Made]) -> Self {
        let world = Self::new();
        world.load(images);
        world
    }

    fn load(&self, images: &[Made]) {
        let bytes = docker_archive(images);
        load::load(&self.store, Input::Stream(&mut bytes.as_slice()), &Silent)
            .unwrap_or_else(|e| panic!("{}", chain(&e)));
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("images")
    }

    fn count(&self, dir: &str) -> usize {
        std::fs::read_dir(self.root().join(dir)).map_or(0, Iterator::count)
    }

    fn remove(&self, name: &str, force: bool, user: Option<Use>) -> Result<Vec<String>, String> {
        match self.store.remove(name, force, &|_| user.clone()) {
            Ok(lines) => Ok(lines.iter().map(ToString::to_string).collect()),
            Err(e) => Err(chain(&e)),
        }
    }

    fn error(&self, name: &str) -> String {
        chain(&self.store.resolve(name).unwrap_err())
    }
}

fn running() -> Option<Use> {
    Some(Use { container: "0123456789ab".into(), running: true })
}

fn stopped() -> Option<Use> {
    Some(Use { container: "0123456789ab".into(), running: false })
}

#[test]
fn images_are_found_by_name_id_and_prefix() {
    let made = Made::new("team/app:1.0", "s");
    let world = World::with(std::slice::from_ref(&made));
    let id = made.id();
    let hex = &id["sha256:".len()..];
    for name in
        ["team/app:1.0", "docker.io/team/app:1.0", &id, hex, &hex[..12], &hex[..3], &id[..20]]
    {
        assert_eq!(world.store.resolve(name).unwrap().id.to_string(), id, "{name}");
    }
    for (name, words) in [
        ("nope", "No such image: nope:latest"),
        ("team/app", "No such image: team/app:latest"),
        ("docker.io/library/nope:2", "No such image: nope:2"),
        ("localhost:5000/x", "No such image: localhost:5000/x:latest"),
    ] {
        assert_eq!(world.error(name), words);
    }
    let nobody = "f".repeat(64);
    assert_eq!(world.error(&nobody), format!("No such image: {nobody}"));
    assert!(world.error("Upper/Case").contains("must be lowercase"));
    assert!(world.error("a b").contains("invalid reference format"));
    assert!(world.error("").contains("invalid reference format"));
}

#[test]
fn a_prefix_of_two_images_is_refused() {
    let world = World::new();
    // Sixteen digits, seventeen images.
    let images: Vec<Made> = (0..17).map(|n| Made::new(&format!("x:{n}"), &n.to_string())).collect();
    world.load(&images);
    let firsts: Vec<char> = images.iter().map(|m| m.id().chars().nth(7).unwrap()).collect();
    let twice = firsts.iter().find(|c| firsts.iter().filter(|d| d == c).count() > 1).unwrap();
    let error = world.error(&twice.to_string());
    assert!(error.contains("is ambiguous"), "{error}");
    let error = world.remove(&twice.to_string(), true, None).unwrap_err();
    assert!(error.contains("is ambiguous"), "{error}");
    assert_eq!(world.store.list().unwrap().len(), 17);
}

#[test]
fn a_name_wins_over_an_id_that_begins_so() {
    let (a, b) = (Made::new("a:1", "a"), Made::new("b:1", "b"));
    let short = &a.id()[7..19];
    let mut named = b.clone();
    named.tags = vec![format!("{short}:latest")];
    let world = World::with(&[a, named]);
    assert_eq!(world.store.resolve(short).unwrap().id.to_string(), b.id());
}

#[test]
fn tags_move_and_leave_dangling_images() {
    let (first, second) = (Made::new("x:1", "a"), Made::new("x:1", "b"));
    let world = World::with(&[first.clone(), second.clone()]);
    assert_eq!(world.store.resolve("x:1").unwrap().id.to_string(), second.id());
    let list = world.store.list().unwrap();
    let dangling = list.iter().find(|i| i.id.to_string() == first.id()).unwrap();
    assert!(dangling.tags.is_empty());
    world.store.tag(&first.id(), &"localhost:5000/kept:2".parse().unwrap()).unwrap();
    assert_eq!(world.store.resolve("localhost:5000/kept:2").unwrap().id.to_string(), first.id());
    assert!(world.store.tag("nope", &"y".parse().unwrap()).unwrap_err().is_not_found());
    let (removed, _) = world.store.prune(false, &unused).unwrap();
    assert_eq!(removed.len(), 0);
    world.store.remove("localhost:5000/kept:2", false, &unused).unwrap();
    assert_eq!(world.store.list().unwrap().len(), 1);
}

#[test]
fn removal_follows_dockers_rules() {
    let mut made = Made::new("x:1", "s");
    made.tags.push("y:2".into());
    let id = made.id();
    let short = id[7..19].to_owned();
    let fresh = || World::with(std::slice::from_ref(&made));
    let deleted = format!("Deleted: {id}");

    // One of two names: only that name, whoever uses the image.
    let world = fresh();
    assert_eq!(world.remove("x:1", false, running()).unwrap(), ["Untagged: x:1"]);
    // The last one, while in use.
    assert_eq!(
        world.remove("y:2", false, stopped()).unwrap_err(),
        format!(
            "conflict: unable to remove repository reference \"y:2\" (must force) - \
             container 0123456789ab is using its referenced image {short}"
        )
    );
    assert_eq!(world.remove("y:2", true, running()).unwrap(), ["Untagged: y:2"]);
    assert_eq!(world.store.list().unwrap().len(), 1, "dangling, for its container");
    assert_eq!(world.remove(&short, false, None).unwrap(), std::slice::from_ref(&deleted));
    assert_eq!(
        (world.count("layers"), world.count("blobs/sha256"), world.count("records")),
        (0, 0, 0)
    );

    // By id.
    let world = fresh();
    assert_eq!(
        world.remove(&short, true, running()).unwrap_err(),
        format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by running container 0123456789ab"
        )
    );
    assert_eq!(
        world.remove(&short, false, stopped()).unwrap_err(),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container 0123456789ab"
        )
    );
    assert_eq!(
        world.remove(&short, false, None).unwrap_err(),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )
    );
    let all = ["Untagged: x:1".to_owned(), "Untagged: y:2".to_owned(), deleted.clone()];
    // Forced away under a stopped container: not to be found, but its files stay.
    assert_eq!(world.remove(&short, true, stopped()).unwrap(), all);
    assert!(world.store.list().unwrap().is_empty());
    assert_eq!(world.count("layers"), 2);
    world.store.gc(&|_| stopped()).unwrap();
    assert_eq!(world.count("layers"), 2);
    let freed = world.store.gc(&unused).unwrap();
    assert_eq!((freed.layers, freed.blobs, world.count("layers")), (2, 4, 0));

    // And back again.
    world.load(std::slice::from_ref(&made));
    assert_eq!(world.remove("x:1", false, None).unwrap(), ["Untagged: x:1"]);
    assert_eq!(world.remove("y", false, None).unwrap_err(), "No such image: y:latest");
    assert_eq!(world.remove("y:2", false, None).unwrap(), ["Untagged: y:2".to_owned(), deleted]);
}

#[test]
fn layers_stay_while_another_image_needs_them() {
    let (a, b) = (Made::new("a:1", "a"), Made::new("b:1", "b"));
    let world = World::with(&[a, b]);
    assert_eq!(world.count("layers"), 3);
    world.remove("a:1", false, None).unwrap();
    assert_eq!(world.count("layers"), 2);
    let image = world.store.resolve("b:1").unwrap();
    assert!(image.layers.iter().all(|layer| layer.is_dir()));
}

#[test]
fn garbage_of_crashed_commands_is_collected() {
    let world = World::with(&[Made::new("x:1", "s")]);
    let root = world.root();
    for dir in ["staging/otherboot/layers/aa/diff", "tmp/layer.1.2/diff/deep", "layers/0123/diff"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::write(root.join("blobs/sha256/ffff"), b"nobody's").unwrap();
    std::fs::write(root.join("tmp/blob-aa.part"), b"half").unwrap();
    let freed = world.store.gc(&unused).unwrap();
    assert_eq!((freed.blobs, freed.blob_bytes, freed.layers), (1, 8, 1));
    assert_eq!(
        (world.count("staging"), world.count("layers"), world.count("blobs/sha256")),
        (0, 2, 4)
    );
    // A young partial download may be continued; nothing else is left.
    assert_eq!(world.count("tmp"), 1);
    assert!(world.store.resolve("x:1").is_ok());
}

#[test]
fn what_a_failed_load_added_stays_only_while_somebody_may_count_on_it() {
    let world = World::with(&[Made::new("x:1", "s")]);
    let counts = || ["tmp", "staging", "layers", "blobs/sha256"].map(|dir| world.count(dir));
    // The last session clears away. Another test's thread may be between fork and
    // exec just then, with a copy of our lock: so it is not the last, and leaves
    // that to the next.
    let settles = || {
        for _ in 0..200 {
            if counts() == [0, 0, 2, 4] {
                break;
            }
            drop(world.store.ingest().unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(counts(), [0, 0, 2, 4], "locks and staging directories pile up");
    };
    settles();
    // Two good layers, then one that is cut off.
    let made = Made::of(
        vec![layer(&[("a", b"a")]), layer(&[("b", b"b")]), layer(&[("c", b"c")])[..700].to_vec()],
        &["y:1"],
    );
    let fail = || {
        let bytes = docker_archive(std::slice::from_ref(&made));
        load::load(&world.store, Input::Stream(&mut bytes.as_slice()), &Silent).unwrap_err();
    };
    fail();
    settles();
    let other = world.store.ingest().unwrap();
    fail();
    assert!(other.has_layer(&descriptor_of(&made.layers[0]).digest));
    drop(other);
    settles();
    // And what a killed one left goes with the next that ends.
    std::fs::create_dir_all(world.root().join("tmp/layer.1.2/diff/deep")).unwrap();
    std::fs::create_dir_all(world.root().join("staging/otherboot/layers/aa/diff")).unwrap();
    world.load(&[Made::new("x:1", "s")]);
    settles();
}

#[test]
fn staged_content_of_another_boot_is_not_trusted() {
    let made = Made::new("x:1", "s");
    let world = World::new();
    let hex = hex(&made.layers[0]);
    // As after a power cut: the name is there, the content is not.
    let staged = world.root().join("staging/0000/layers").join(&hex);
    std::fs::create_dir_all(staged.join("diff")).unwrap();
    world.load(&[made]);
    let image = world.store.resolve("x:1").unwrap();
    assert!(image.layers[1].join("bin/sh").is_file());
}

#[test]
fn a_layer_that_vanished_is_reported_and_a_load_brings_it_back() {
    let made = Made::new("x:1", "s");
    let world = World::with(std::slice::from_ref(&made));
    let layer = world.store.resolve("x:1").unwrap().layers[0].clone();
    std::fs::remove_dir_all(layer.parent().unwrap()).unwrap();
    assert!(world.error("x:1").contains("the layer is missing"));
    world.load(&[made]);
    assert!(world.store.resolve("x:1").is_ok());
}

fn descriptor_of(bytes: &[u8]) -> Descriptor {
    serde_json::from_value(descriptor("application/octet-stream", bytes)).unwrap()
}

#[test]
fn an_interrupted_blob_is_continued_and_a_wrong_one_forgotten() {
    use std::io::Write;
    let world = World::new();
    let ingest = world.store.ingest().unwrap();
    let layer = layer(&[("f", &[9; 40_000])]);
    let (blob, diff_id) = (descriptor_of(&layer), descriptor_of(&layer).digest);
    let begin = || match ingest.layer(&blob, &diff_id).unwrap() {
        Fetch::Write(writer) => writer,
        Fetch::Present => panic!("present"),
    };
    let mut writer = begin();
    writer.write_all(&layer[..15_000]).unwrap();
    writer.keep_partial();
    let mut writer = begin();
    assert_eq!(writer.offset(), 15_000);
    writer.write_all(&layer[15_000..20_000]).unwrap();
    drop(writer);
    assert_eq!(begin().offset(), 0, "dropped without keeping");
    let mut writer = begin();
    writer.write_all(&layer[..10_000]).unwrap();
    writer.keep_partial();
    // The server does not do ranges.
    let mut writer = begin().restart().unwrap();
    assert_eq!(writer.offset(), 0);
    writer.write_all(&layer).unwrap();
    let error = writer.write_all(b"more").unwrap_err();
    assert!(error.to_string().contains("wrong size"), "{error}");
    drop(writer);
    let mut writer = begin();
    let mut wrong = layer.clone();
    wrong[600] ^= 1;
    writer.write_all(&wrong).unwrap();
    assert!(chain(&writer.finish().unwrap_err()).contains("wrong content"));
    let mut writer = begin();
    writer.write_all(&layer[..100]).unwrap();
    assert!(chain(&writer.finish().unwrap_err()).contains("wrong size: 100 bytes"));
    let mut writer = begin();
    assert_eq!(writer.offset(), 0);
    writer.write_all(&layer).unwrap();
    writer.finish().unwrap();
    assert!(matches!(ingest.layer(&blob, &diff_id).unwrap(), Fetch::Present));
    assert!(ingest.has_layer(&diff_id) && ingest.has_blob(&blob.digest));
}

#[test]
fn many_commands_at_once_do_each_piece_of_work_once_and_lose_nothing() {
    let images: Vec<Made> = (0..4).map(|n| Made::new(&format!("x:{n}"), &n.to_string())).collect();
    let world = World::new();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (images, world) = (&images, &world);
            scope.spawn(move || {
                // Every command opens the store anew.
                let store = Store::open(&world.root()).unwrap();
                let all = docker_archive(images);
                let one = docker_archive(&images[n % 4..=n % 4]);
                for bytes in [&all, &one, &all] {
                    load::load(&store, Input::Stream(&mut bytes.as_slice()), &Silent)
                        .unwrap_or_else(|e| panic!("{}", chain(&e)));
                    // What load reported is there, whatever others do meanwhile.
                    let image = store.resolve(&format!("x:{}", n % 4)).unwrap();
                    assert!(image.layers.iter().all(|l| l.is_dir()));
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..30 {
                world.store.gc(&unused).unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
        });
    });
    assert_eq!(world.store.list().unwrap().len(), 4);
    world.store.gc(&unused).unwrap();
    assert_eq!((world.count("layers"), world.count("tmp"), world.count("staging")), (5, 0, 0));
}

#[test]
fn removal_waits_for_a_lease() {
    let world = World::with(&[Made::new("x:1", "s")]);
    let lease = world.store.lease().unwrap();
    let image = world.store.resolve("x:1").unwrap();
    std::thread::scope(|scope| {
        let removal = scope.spawn(|| world.remove("x:1", false, None).unwrap());
        std::thread::sleep(Duration::from_millis(50));
        assert!(!removal.is_finished() && image.layers[0].is_dir());
        drop(lease);
        removal.join().unwrap();
    });
    assert!(!image.layers[0].exists());
}

/// Runs one test of this binary as a process in another role.
fn in_role(role: &str, test: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(ROLE, role)
        .env("RCNT_IMAGES_TEST_DIR", dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn role() -> Option<(String, PathBuf)> {
    let dir = std::env::var_os("RCNT_IMAGES_TEST_DIR")?;
    Some((std::env::var(ROLE).ok()?, dir.into()))
}

#[test]
fn a_load_killed_at_any_moment_leaves_a_store_that_works() {
    if let Some((_, dir)) = role() {
        let store = Store::open(&dir.join("images")).unwrap();
        load::load(&store, Input::Path(&dir.join("archive")), &Silent).unwrap();
        return;
    }
    let files: Vec<(String, Vec<u8>)> =
        (0..300).map(|n| (format!("d{}/f{n}", n % 17), vec![n as u8; 3000])).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, c)| (n.as_str(), c.as_slice())).collect();
    let made = Made::of(vec![layer(&files), layer(&[("top", b"t")])], &["big:1"]);
    let world = World::new();
    std::fs::write(world.dir.path().join("archive"), docker_archive(std::slice::from_ref(&made)))
        .unwrap();
    let test = "a_load_killed_at_any_moment_leaves_a_store_that_works";
    // How long one takes here and now, so that the kills fall all over it.
    let began = Instant::now();
    assert!(in_role("load", test, world.dir.path()).status().unwrap().success());
    let whole = began.elapsed();
    world.remove("big:1", false, None).unwrap();
    let mut finished = 0;
    for n in 0..25u32 {
        let mut child = in_role("load", test, world.dir.path()).spawn().unwrap();
        std::thread::sleep(whole * n / 20);
        child.kill().unwrap();
        finished += u32::from(child.wait().unwrap().success());
        // Readers see all of an image or nothing of it.
        if let Ok(image) = world.store.resolve("big:1") {
            assert!(
                image.layers[1].join("d0/f0").is_file() && image.layers[0].join("top").is_file()
            );
            assert_eq!(std::fs::read(image.layers[1].join("d10/f299")).unwrap().len(), 3000);
            world.remove("big:1", false, None).unwrap();
        }
        if n % 5 == 4 {
            world.store.gc(&unused).unwrap();
        }
    }
    assert!(in_role("load", test, world.dir.path()).status().unwrap().success());
    assert_eq!(world.store.resolve("big:1").unwrap().id.to_string(), made.id());
    world.store.gc(&unused).unwrap();
    assert_eq!((world.count("layers"), world.count("staging"), world.count("records")), (2, 0, 1));
    eprintln!("{finished} of 25 finished before they were killed");
}

#[test]
fn records_and_names_whose_writer_was_killed_are_swept() {
    let world = World::new();
    let made = Made::of(vec![layer(&[("a", b"1")])], &["app:1"]);
    world.load(std::slice::from_ref(&made));
    let before = (world.count("records"), world.count("refs"));
    for dir in ["records", "refs"] {
        std::fs::write(world.root().join(dir).join(".0a.json.123.0.tmp"), "{").unwrap();
    }
    world.store.gc(&unused).unwrap();
    assert_eq!((world.count("records"), world.count("refs")), before);
    assert_eq!(world.store.resolve("app:1").unwrap().id.to_string(), made.id());
}

#[test]
fn a_full_disk_is_one_line_and_leaves_nothing() {
    if let Some((role, dir)) = role() {
        return on_small_disk(&role, &dir);
    }
    let test = "a_full_disk_is_one_line_and_leaves_nothing";
    for (role, mount) in [
        ("data", "mount -t tmpfs -o size=2m none"),
        ("inodes", "mount -t tmpfs -o nr_inodes=60 none"),
    ] {
        let world = World::new();
        let disk = world.dir.path().join("disk");
        std::fs::create_dir(&disk).unwrap();
        let inner = in_role(role, test, &disk);
        // A mount namespace of its own: the machine's mounts stay as they are.
        let script = format!("{mount} \"$1\" && shift && exec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]).arg(&disk).arg(inner.get_program());
        command.args(inner.get_args());
        for (key, value) in inner.get_envs() {
            command.env(key, value.unwrap());
        }
        let done = command.output().unwrap();
        let text = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{role}: {text}{}", String::from_utf8_lossy(&done.stdout));
    }
}

fn on_small_disk(role: &str, disk: &Path) {
    let store = Store::open(&disk.join("images")).unwrap();
    let files: Vec<(String, Vec<u8>)> = match role {
        // More than the disk, but no single file is.
        "data" => (0..20).map(|n| (format!("f{n}"), vec![n; 150_000])).collect(),
        _ => (0..200).map(|n| (format!("f{n}"), vec![n])).collect(),
    };
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, c)| (n.as_str(), c.as_slice())).collect();
    let made = Made::of(vec![layer(&files)], &["big:1"]);
    let small = Made::of(vec![layer(&[("f", b"x")])], &["small:1"]);
    let forms = [
        docker_archive(std::slice::from_ref(&made)),
        gzip(&docker_archive(std::slice::from_ref(&made))),
        pack(&oci_files(std::slice::from_ref(&made), zstd, "+zstd")),
    ];
    let entries = || {
        ["tmp", "staging", "blobs/sha256", "layers"]
            .map(|dir| std::fs::read_dir(disk.join("images").join(dir)).map_or(0, Iterator::count))
    };
    for (nth, bytes) in forms.iter().enumerate() {
        let before = entries();
        let error = load::load(&store, Input::Stream(&mut &bytes[..]), &Silent).unwrap_err();
        let expected = format!(
            "image store {} is full: no space left on its disk",
            disk.join("images").display()
        );
        assert_eq!(chain(&error), expected, "{role} {nth}");
        assert_eq!(entries(), before, "{role} {nth}");
        // There is room again, and the store works.
        let bytes = docker_archive(std::slice::from_ref(&small));
        load::load(&store, Input::Stream(&mut &bytes[..]), &Silent).unwrap();
        assert!(store.resolve("small:1").is_ok());
    }
}

#[test]
fn a_missing_or_read_only_place_is_one_line() {
    let error = Store::open(Path::new("/proc/nowhere/images")).unwrap_err();
    let text = chain(&error);
    assert!(
        text.starts_with("cannot create /proc/nowhere/images/") && !text.contains('\n'),
        "{text}"
    );
}
