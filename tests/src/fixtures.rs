//! The images tests run. `busybox` is a real busybox-static; `probe` adds a
//! program that answers who called; `web` serves a page; `debian_nginx` is a
//! Debian (or Ubuntu) made by debootstrap.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};
use serde_json::json;

use crate::archive::{Image, Layer};
use crate::world::beside_the_tests;

/// The page that `web` serves.
pub const PAGE: &str = "hello from busybox\n";

/// The root file system of `busybox`, and of most tests.
pub fn busybox_layer() -> Layer {
    static LAYER: OnceLock<Layer> = OnceLock::new();
    LAYER.get_or_init(make_busybox_layer).clone()
}

fn make_busybox_layer() -> Layer {
    let program = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists());
    let program = program.expect("busybox-static is installed (scripts/setup test)");
    let list = Command::new(program).arg("--list").output().unwrap();
    let mut layer = Layer::new()
        .dir("bin", 0o755)
        .dir("etc", 0o755)
        .dir("root", 0o700)
        .dir("home", 0o755)
        .dir("tmp", 0o1777)
        .dir("usr", 0o755)
        .dir("usr/bin", 0o755)
        .dir("var", 0o755)
        .dir("var/empty", 0o755)
        .dir("www", 0o755)
        .file("bin/busybox", 0o755, fs::read(program).unwrap())
        .file("etc/passwd", 0o644, PASSWD)
        .file("etc/group", 0o644, GROUP)
        .file("etc/not-executable", 0o644, "#!/bin/sh\n")
        .file("www/index.html", 0o644, PAGE)
        .owner(1000, 1000)
        .dir("home/web", 0o755)
        .owner(0, 0);
    for applet in BufReader::new(&list.stdout[..]).lines().map_while(Result::ok) {
        if applet != "busybox" {
            layer = layer.symlink(&format!("bin/{applet}"), "busybox");
        }
    }
    layer
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    daemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
    web:x:1000:1000:Web:/home/web:/bin/sh\n";
const GROUP: &str =
    "root:x:0:\ndaemon:x:1:\nweb:x:1000:\nextra:x:2000:web\nother:x:2001:daemon,web\n";

/// `busybox`, which runs `sh`, as a docker-archive.
pub fn busybox() -> Vec<u8> {
    static ARCHIVE: OnceLock<Vec<u8>> = OnceLock::new();
    ARCHIVE.get_or_init(|| Image::new(&[busybox_layer()]).docker_archive("busybox")).clone()
}

/// `web`, which serves [`PAGE`] on port 80.
pub fn web() -> Vec<u8> {
    let httpd = json!(["httpd", "-f", "-p", "80", "-h", "/www"]);
    Image::new(&[busybox_layer()])
        .with("Cmd", httpd)
        .with("ExposedPorts", json!({ "80/tcp": {} }))
        .docker_archive("web")
}

/// `probe`: busybox and `/bin/probe`, which `serve`s and `ask`s over TCP and UDP.
pub fn probe() -> Vec<u8> {
    static ARCHIVE: OnceLock<Vec<u8>> = OnceLock::new();
    ARCHIVE
        .get_or_init(|| {
            let path = beside_the_tests("rcnt-probe");
            let program = fs::read(&path).unwrap_or_else(|e| {
                panic!("{}: {e}; run `cargo build -p rcnt-tests`", path.display())
            });
            let layer = Layer::new().dir("bin", 0o755).file("bin/probe", 0o755, program);
            Image::new(&[busybox_layer(), layer])
                .with("Cmd", json!(["probe", "serve", "tcp", "80"]))
                .with("ExposedPorts", json!({ "80/tcp": {}, "53/udp": {} }))
                .docker_archive("probe")
        })
        .clone()
}

/// Where slow fixtures are kept between runs.
fn cache() -> PathBuf {
    let dir = std::env::var_os("RCNT_TEST_CACHE")
        .map_or_else(|| PathBuf::from("/var/cache/rcnt-tests"), PathBuf::from);
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// A Debian root file system with nginx and bash, as a docker-archive file named
/// `debian-nginx`. Made by debootstrap once and kept in the cache directory; the first
/// time takes a minute or two and a Debian mirror.
pub fn debian_nginx() -> PathBuf {
    let dir = cache();
    let archive = dir.join("debian-nginx-1.tar");
    // Test binaries are processes of their own: the second one waits here.
    let lock = File::create(dir.join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    if archive.exists() {
        return archive;
    }
    let root = dir.join("debian-nginx.root");
    let rootfs = dir.join("debian-nginx.rootfs.tar");
    let (suite, mirror, components) = distribution();
    eprintln!("making {} with debootstrap ({suite} from {mirror}); once", archive.display());
    // A mount namespace of its own: debootstrap mounts /proc below the new root.
    run(Command::new("unshare").args(["--mount", "--propagation", "private", "sh", "-ec"]).arg(
        format!(
            "rm -rf '{root}'; debootstrap --variant=minbase --include=nginx,bash \
             --components={components} {suite} '{root}' {mirror}
             rm -rf '{root}'/var/cache/apt/* '{root}'/var/lib/apt/lists/* '{root}'/usr/share/doc/*
             tar --numeric-owner --one-file-system --sort=name -C '{root}' -cf '{rootfs}' .
             rm -rf '{root}'",
            root = root.display(),
            rootfs = rootfs.display()
        ),
    ));
    let image = Image::new(&[Layer::from_tar(fs::read(&rootfs).unwrap())])
        .with("Entrypoint", json!(["nginx"]))
        .with("Cmd", json!(["-g", "daemon off;"]))
        .with("StopSignal", json!("SIGQUIT"))
        .with("ExposedPorts", json!({ "80/tcp": {} }));
    let temporary = dir.join("debian-nginx.tmp");
    fs::write(&temporary, image.docker_archive("debian-nginx")).unwrap();
    fs::rename(&temporary, &archive).unwrap();
    fs::remove_file(&rootfs).unwrap();
    archive
}

/// Suite, mirror and components to bootstrap: this machine's own distribution,
/// whose signing keys it has.
fn distribution() -> (String, String, &'static str) {
    let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        let line = os.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
        line.map(|v| v.trim_matches('"').to_owned()).unwrap_or_default()
    };
    let suite = field("VERSION_CODENAME");
    match (field("ID").as_str(), suite.as_str()) {
        ("ubuntu", _) => (suite, "http://archive.ubuntu.com/ubuntu".to_owned(), "main,universe"),
        ("debian", "") | (_, "") => {
            ("bookworm".into(), "http://deb.debian.org/debian".into(), "main")
        }
        ("debian", _) => (suite, "http://deb.debian.org/debian".to_owned(), "main"),
        _ => ("bookworm".to_owned(), "http://deb.debian.org/debian".to_owned(), "main"),
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Makes `path` executable.
pub fn executable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
