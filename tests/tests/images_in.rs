//! Images get in: archives, layouts, a registry, a root file system; and what
//! damaged or hostile ones meet.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::time::Duration;

use rcnt_tests::archive::{Image, Layer, Zip, pack};
use rcnt_tests::fixtures::{busybox, busybox_layer};
use rcnt_tests::{Registry, World};
use serde_json::json;

/// A small image whose layers add, replace and remove files of each other.
fn layered() -> Image {
    let middle = Layer::new()
        .dir("data", 0o755)
        .file("data/kept", 0o640, "kept")
        .file("data/removed", 0o644, "removed")
        .file("data/replaced", 0o644, "old")
        .dir("hidden", 0o755)
        .file("hidden/below", 0o644, "below")
        .dir("gone", 0o755)
        .file("gone/deep", 0o644, "deep")
        .owner(1000, 2000)
        .file("data/owned", 0o4755, "owned")
        .hardlink("data/same", "data/owned")
        .symlink("data/link", "../etc/passwd");
    let top = Layer::new()
        .dir("data", 0o755)
        .whiteout("data/removed")
        .file("data/replaced", 0o644, "new")
        .dir("hidden", 0o755)
        .opaque("hidden")
        .file("hidden/above", 0o644, "above")
        .whiteout("gone");
    Image::new(&[busybox_layer(), middle, top])
}

/// What a container of [`layered`] must see.
#[track_caller]
fn shows_its_layers(world: &World, image: &str) {
    let script = "cd /data; ls; cat kept replaced; stat -c '%a %u:%g %h' owned; \
                  readlink link; ls /hidden; ls -d /gone";
    world
        .rcnt(["run", "--rm", "--net=none", image, "sh", "-c", script])
        .exits(1)
        .prints("kept\nlink\nowned\nreplaced\nsame\nkeptnew4755 1000:2000 2\n../etc/passwd\nabove");
}

#[test]
fn a_docker_archive_loads_from_a_file_and_from_standard_input() {
    let world = World::empty();
    world.write("/srv/image.tar", layered().docker_archive("team/app:1.2"));
    world.rcnt("load -i /srv/image.tar").success().has("team/app:1.2");
    shows_its_layers(&world, "team/app:1.2");
    world.load(&busybox()).has("busybox:latest");
    world.rcnt("run --rm --net=none busybox echo hi").success().prints("hi");
}

#[test]
fn a_compressed_docker_archive_loads() {
    let world = World::empty();
    for (zip, tag) in [(Zip::Gzip, "gzipped:1"), (Zip::Zstd, "zstd:1")] {
        world.load(&zip.apply(&layered().docker_archive(tag)));
        shows_its_layers(&world, tag);
    }
}

#[test]
fn an_oci_layout_directory_loads_with_each_compression_of_layers() {
    let world = World::empty();
    for (zip, tag) in [(Zip::No, "plain:1"), (Zip::Gzip, "gzip:1"), (Zip::Zstd, "zstd:1")] {
        let dir = format!("/srv/layout-{}", tag.replace(':', "-"));
        layered().oci_layout(&world.outside(&dir), tag, zip);
        world.rcnt(["load", "-i", dir.as_str()]).success();
        shows_its_layers(&world, tag);
    }
}

#[test]
fn an_oci_archive_loads_plain_and_compressed() {
    let world = World::empty();
    world.load(&layered().oci_archive("plain:1", Zip::Gzip));
    shows_its_layers(&world, "plain:1");
    world.load(&Zip::Gzip.apply(&layered().oci_archive("packed:1", Zip::Zstd)));
    shows_its_layers(&world, "packed:1");
}

#[test]
fn a_root_file_system_is_imported_plain_and_compressed() {
    let world = World::empty();
    world.write("/srv/root.tar", busybox_layer().tar());
    world.write("/srv/root.tar.gz", Zip::Gzip.apply(&busybox_layer().tar()));
    for (file, name) in [("/srv/root.tar", "plain:1"), ("/srv/root.tar.gz", "packed:1")] {
        let id = world.ok(["import", file, name]);
        assert!(id.starts_with("sha256:"), "import prints the image's id: {id}");
        world
            .rcnt(["run", "--rm", "--net=none", name, "cat", "/etc/group"])
            .success()
            .has("extra:x:2000:web");
    }
    // It has no command of its own.
    world.rcnt("run --rm --net=none plain:1").fails(125, &["command"]);
}

#[test]
fn an_image_is_pulled_from_a_registry_by_tag_and_by_digest() {
    let world = World::empty();
    let registry = Registry::start(&world);
    registry.push_archive(&layered().docker_archive("x"), "team/app:1.0");
    let name = format!("{}/team/app", Registry::HOST);
    world.rcnt(["pull", &format!("{name}:1.0")]).success();
    shows_its_layers(&world, &format!("{name}:1.0"));
    let listed = world.rcnt("images").success();
    assert!(listed.stdout.contains(&name), "{listed}");

    let digest = world.sh("skopeo inspect --tls-verify=false docker://127.0.0.1:5000/team/app:1.0 | sed -n 's/.*\"Digest\": \"\\(.*\\)\".*/\\1/p'").success().text();
    world.rcnt(["pull", &format!("{name}@{digest}")]).success();
    let output =
        world.rcnt(["run", "--rm", "--net=none", &format!("{name}@{digest}"), "echo", "hi"]);
    output.success().prints("hi");
}

#[test]
fn run_pulls_what_is_missing_and_pull_always_sees_a_moved_tag() {
    let world = World::empty();
    let registry = Registry::start(&world);
    let version = |text: &str| {
        let layer = Layer::new().file("version", 0o644, text);
        Image::new(&[busybox_layer(), layer]).docker_archive("x")
    };
    registry.push_archive(&version("one"), "app:v");
    let run = |policy: &str| {
        let image = format!("{}/app:v", Registry::HOST);
        world.rcnt(["run", "--rm", "--net=none", policy, &image, "cat", "/version"])
    };
    run("--pull=never").fails(125, &["127.0.0.1:5000/app:v"]);
    run("--pull=missing").success().prints("one");
    registry.push_archive(&version("two"), "app:v");
    run("--pull=missing").success().prints("one");
    run("--pull=always").success().prints("two");
}

#[test]
fn progress_is_plain_lines_when_nobody_watches_and_bars_on_a_terminal() {
    let world = World::empty();
    let registry = Registry::start(&world);
    registry.push_archive(&busybox(), "busybox");
    let image = format!("{}/busybox", Registry::HOST);
    let output = world.rcnt(["pull", image.as_str()]).success();
    let all = format!("{}{}", output.stdout, output.stderr);
    assert!(!all.contains(['\x1b', '\r']), "no control characters\n{output}");
    world.ok(["rmi", image.as_str()]);
    let mut terminal = world.terminal(["pull", image.as_str()]);
    assert_eq!(terminal.wait(), 0);
    assert!(terminal.shows().contains("busybox"), "{}", terminal.shows());
}

#[test]
fn loading_twice_keeps_one_image_and_two_names_share_it() {
    let world = World::empty();
    world.load(&busybox());
    world.load(&busybox());
    assert_eq!(world.ok("images -q").lines().count(), 1);
    world.load(&Image::new(&[busybox_layer()]).docker_archive("other:name"));
    let ids = world.ok("images -q");
    let mut ids: Vec<&str> = ids.lines().collect();
    ids.dedup();
    assert_eq!(ids.len(), 1, "two names of one image: {ids:?}");
    world.rcnt("rmi busybox").success();
    world.rcnt("run --rm --net=none other:name true").success();
}

#[test]
fn a_registry_that_serves_other_bytes_than_it_promised_is_refused() {
    let world = World::empty();
    let registry = Registry::start(&world);
    registry.push_archive(&layered().docker_archive("x"), "app:1");
    let blob = registry.blobs().remove(0);
    // Same length, one byte other: only the digest can tell.
    world.sh(&format!("printf X | dd of={blob} bs=1 seek=5000 conv=notrunc 2>/dev/null")).success();
    world.rcnt("pull 127.0.0.1:5000/app:1").fails(1, &["digest"]);
    world.rcnt("images -q").success().prints("");
}

#[test]
fn a_layout_with_a_damaged_blob_is_refused() {
    let world = World::empty();
    let mut files = layered().oci_files("x:1", Zip::No);
    let big = files.iter_mut().max_by_key(|(_, content)| content.len()).unwrap();
    big.1[9000] ^= 1;
    world.write("/srv/bad.tar", pack(&files));
    world.rcnt("load -i /srv/bad.tar").fails(1, &["digest"]);
    world.rcnt("images -q").success().prints("");
}

#[test]
fn a_layer_that_is_not_what_the_configuration_says_is_refused() {
    let world = World::empty();
    let other = Image::new(&[busybox_layer(), Layer::new().file("evil", 0o644, "evil")]);
    let mut files = layered().oci_files("x:1", Zip::No);
    let config = files.iter().position(|(_, c)| c.starts_with(b"{\"architecture")).unwrap();
    // A configuration of three layers, two of which are others than those listed.
    let wrong = other.layer(&Layer::new().file("third", 0o644, "3")).config();
    let (old, new) =
        (rcnt_tests::archive::digest(&files[config].1), rcnt_tests::archive::digest(&wrong));
    let sizes = (files[config].1.len(), wrong.len());
    files[config] = (format!("blobs/sha256/{}", &new[7..]), wrong);
    // Re-point the manifest and the index, so that every digest on the way is right.
    let repoint = |bytes: &[u8], from: &str, to: &str, size: (usize, usize)| {
        let text = String::from_utf8(bytes.to_vec()).unwrap().replace(from, to);
        text.replace(&format!("\"size\":{}", size.0), &format!("\"size\":{}", size.1)).into_bytes()
    };
    let manifest = files
        .iter()
        .position(|(_, c)| {
            c.windows(8).any(|w| w == b"\"layers\"") && c.starts_with(b"{\"config\"")
        })
        .unwrap();
    let before = files[manifest].1.clone();
    let after = repoint(&before, &old, &new, sizes);
    let names = (rcnt_tests::archive::digest(&before), rcnt_tests::archive::digest(&after));
    let lengths = (before.len(), after.len());
    files[manifest] = (format!("blobs/sha256/{}", &names.1[7..]), after);
    let index = files.iter().position(|(p, _)| p == "index.json").unwrap();
    files[index].1 = repoint(&files[index].1, &names.0, &names.1, lengths);
    world.write("/srv/bad.tar", pack(&files));
    world.rcnt("load -i /srv/bad.tar").fails(1, &["layer"]);
    world.rcnt("images -q").success().prints("");
}

#[test]
fn truncated_archives_are_refused_and_leave_nothing() {
    let world = World::empty();
    let whole = layered().docker_archive("x:1");
    let zipped = Zip::Gzip.apply(&whole);
    let zstd = Zip::Zstd.apply(&whole);
    for (name, bytes) in [("tar", &whole), ("tar.gz", &zipped), ("tar.zst", &zstd)] {
        let file = format!("/srv/cut.{name}");
        world.write(&file, &bytes[..bytes.len() / 2]);
        world.rcnt(["load", "-i", &file]).fails(1, &[]);
    }
    world.write("/srv/root.tar.gz", &zipped[..zipped.len() / 2]);
    world.rcnt("import /srv/root.tar.gz root:1").fails(1, &[]);
    world.rcnt("images -q").success().prints("");
}

#[test]
fn what_is_not_an_image_is_named_as_such() {
    let world = World::empty();
    world.rcnt("load -i /srv/nosuch.tar").fails(1, &["/srv/nosuch.tar", "no such file"]);
    world.write("/srv/text", "this is no archive\n".repeat(100));
    world.rcnt("load -i /srv/text").fails(1, &["/srv/text"]);
    world.write("/srv/empty", "");
    world.rcnt("load -i /srv/empty").fails(1, &["/srv/empty"]);
    world.write("/srv/tar", Layer::new().file("hello", 0o644, "x").tar());
    world.rcnt("load -i /srv/tar").fails(1, &["/srv/tar"]);
    world.write("/srv/names.tar", layered().docker_archive("Not A Name"));
    world.rcnt("load -i /srv/names.tar").fails(1, &["Not A Name"]);
    world.rcnt("import /srv/tar UPPER:1").fails(1, &["UPPER"]);
}

#[test]
fn an_unknown_image_is_named_and_the_exit_code_is_dockers() {
    let world = World::empty();
    world.rcnt("run --pull=never --rm nosuch:1 true").fails(125, &["nosuch:1"]);
    world.rcnt("rmi nosuch:1").fails(1, &["nosuch:1"]);
    world.rcnt("run --rm :bad true").fails(125, &[":bad"]);
}

#[test]
fn an_unreachable_registry_and_an_unknown_tag_are_told_apart() {
    let world = World::empty();
    world.rcnt("pull 127.0.0.1:5999/app:1").fails(1, &["127.0.0.1:5999", "refused"]);
    world.rcnt("run --rm 127.0.0.1:5999/app:1 true").fails(125, &["127.0.0.1:5999", "refused"]);
    let registry = Registry::start(&world);
    registry.push_archive(&busybox(), "app:1");
    world.rcnt("pull 127.0.0.1:5000/app:nosuch").fails(1, &["app:nosuch", "not found"]);
    world.rcnt("pull 127.0.0.1:5000/nosuch:1").fails(1, &["nosuch:1", "not found"]);
}

#[test]
fn a_registry_elsewhere_must_speak_tls() {
    let world = World::empty();
    let lan = world.lan();
    let server = lan.job("busybox", "httpd -f -p 5000 -h /var/empty").start();
    let output =
        world.job("rcnt", "pull 192.0.2.20:5000/app:1").limit(Duration::from_secs(20)).run();
    output.fails(1, &["192.0.2.20:5000"]);
    drop(server);
}

#[test]
fn a_full_disk_while_unpacking_is_one_line_and_frees_what_it_took() {
    let world = World::empty();
    world.sh("mkdir -p /srv/data && mount -t tmpfs -o size=6m,mode=700 small /srv/data").success();
    world.rebase();
    world.rcnt("images").success();
    let before = world.ok_sh("df --output=used /srv/data | tail -n1");
    let big = Layer::new().file("big", 0o644, vec![7; 8 << 20]);
    let image = Image::new(&[busybox_layer(), big]);
    world.write("/srv/big.tar", image.docker_archive("big:1"));
    world.rcnt("load -i /srv/big.tar").fails(1, &["disk"]);
    world.write(
        "/srv/big.tar.gz",
        Zip::Gzip.apply(
            &Image::new(&[busybox_layer(), Layer::new().file("z", 0o644, vec![0; 8 << 20])])
                .docker_archive("zeros:1"),
        ),
    );
    world.rcnt("load -i /srv/big.tar.gz").fails(1, &["disk"]);
    world.rcnt("images -q").success().prints("");
    let after = world.ok_sh("df --output=used /srv/data | tail -n1");
    let used = |text: &str| text.trim().parse::<u64>().unwrap();
    assert!(used(&after) <= used(&before) + 200, "KiB used before {before}, after {after}");
    world.load(&Image::new(&[Layer::new().file("small", 0o644, "s")]).docker_archive("small:1"));
}

#[test]
fn rmi_removes_names_then_the_image_and_refuses_one_in_use() {
    let world = World::new();
    world.load(&Image::new(&[busybox_layer()]).docker_archive("second:1"));
    world.ok("run -d --name user --net=none busybox sleep 100");
    // A name goes; the last one holds the image that a container uses.
    world.rcnt("rmi busybox second:1").exits(1).warns("user").has("Untagged: busybox:latest");
    world.rcnt("rm -f user").success();
    world.ok("rmi second:1");
    world.rcnt("images -q").success().prints("");
    let left = world.ok_sh("find /srv/data/images -type f -size +64k");
    assert_eq!(left, "", "no layer stays");
}

#[test]
fn images_lists_name_tag_id_age_and_size() {
    let world = World::new();
    world.rcnt("images").success().has("REPOSITORY").has("TAG").has("IMAGE ID").has("SIZE");
    let id = world.ok("images -q");
    assert_eq!(id.len(), 12, "{id}");
    world.rcnt("images").success().has(&id);
    world.rcnt(["run", "--rm", "--net=none", &id, "echo", "by id"]).success().prints("by id");
    let full = world.ok("images -q --no-trunc");
    assert!(full.starts_with(&format!("sha256:{id}")), "{full}");
}

#[test]
fn concurrent_loads_and_pulls_of_one_image_all_succeed() {
    let world = World::empty();
    let registry = Registry::start(&world);
    registry.push_archive(&layered().docker_archive("x"), "app:1");
    world.write("/srv/image.tar", layered().docker_archive("app:1"));
    let jobs: Vec<_> = (0..8)
        .map(|n| {
            if n % 2 == 0 {
                world.start("load -i /srv/image.tar")
            } else {
                world.start("pull 127.0.0.1:5000/app:1")
            }
        })
        .collect();
    for job in jobs {
        job.wait(Duration::from_secs(60)).success();
    }
    shows_its_layers(&world, "app:1");
    shows_its_layers(&world, "127.0.0.1:5000/app:1");
}

#[test]
fn a_load_killed_at_any_moment_is_repeated_with_success() {
    let world = World::empty();
    world.write("/srv/image.tar", layered().docker_archive("app:1"));
    for n in 0..12 {
        let load = world.start("load -i /srv/image.tar");
        std::thread::sleep(Duration::from_millis(n * 7));
        drop(load);
    }
    world.rcnt("load -i /srv/image.tar").success();
    shows_its_layers(&world, "app:1");
}

#[test]
fn the_configuration_of_the_image_is_what_runs() {
    let world = World::empty();
    let image = Image::new(&[busybox_layer()])
        .with("Entrypoint", json!(["echo", "entry"]))
        .with("Cmd", json!(["command"]))
        .docker_archive("entry:1");
    world.load(&image);
    world.rcnt("run --rm --net=none entry:1").success().prints("entry command");
    world.rcnt("run --rm --net=none entry:1 other words").success().prints("entry other words");
    world.rcnt("run --rm --net=none --entrypoint cat entry:1 /etc/group").success().has("extra");
    let image = Image::new(&[busybox_layer()])
        .with("Env", json!(["PATH=/bin", "COLOUR=green"]))
        .with("User", json!("web:extra"))
        .with("WorkingDir", json!("/home/web"))
        .with("Cmd", json!(["sh", "-c", "echo $COLOUR $(pwd) $(id -u) $(id -g)"]))
        .docker_archive("settings:1");
    world.load(&image);
    world.rcnt("run --rm --net=none settings:1").success().prints("green /home/web 1000 2000");
}

#[test]
fn other_users_cannot_look_into_the_roots_cve_2021_41091() {
    let world = World::new();
    world.ok("run -d --name cc --net=none busybox sleep 100");
    world.sh("stat -c '%a %u' /srv/data /srv/run").success().prints("700 0\n700 0");
}
