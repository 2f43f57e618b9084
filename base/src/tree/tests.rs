#![allow(clippy::disallowed_methods, reason = "tests that need a process of their own")]

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use rustix::fs::mkdirat;
use rustix::process::{Resource, Rlimit, setrlimit};

use super::*;

/// Set in the process that is a test's own.
const ALONE: &str = "RCNT_TEST_ALONE";

/// Runs the test `name` again in a process of its own, started by `prefix`.
/// False when we are that process.
fn repeated_alone(prefix: &[&str], name: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return false;
    }
    let me = std::env::current_exe().unwrap();
    let words: Vec<&str> = prefix.iter().copied().chain([me.to_str().unwrap()]).collect();
    let output = Command::new(words[0])
        .args(&words[1..])
        .args(["--exact", &format!("tree::tests::{name}"), "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
    true
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A chain of `levels` directories, deeper than any path can name, with a file
/// and a link at each level.
fn deep(top: &Path, levels: usize) {
    fs::create_dir(top).unwrap();
    let mut at = openat(CWD, top, DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..levels {
        mkdirat(&at, "d", Mode::RWXU).unwrap();
        openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
        rustix::fs::symlinkat("d", &at, "link").unwrap();
        at = openat(&at, "d", DIRECTORY, Mode::empty()).unwrap();
    }
}

#[test]
fn depth_takes_no_descriptors() {
    if repeated_alone(&[], "depth_takes_no_descriptors") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    // Enough for the levels we keep open; and fewer than those.
    for descriptors in [64, 16] {
        deep(&top, 5_000);
        let limit = Some(descriptors);
        setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).unwrap();
        remove(&top).unwrap();
        assert!(!top.exists());
    }
}

#[test]
fn a_hundred_thousand_names_in_one_directory_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    fs::create_dir_all(top.join("wide")).unwrap();
    for n in 0..100_000 {
        File::create(top.join(format!("wide/{n}"))).unwrap();
    }
    remove(&top).unwrap();
    assert!(!top.exists());
}

#[test]
fn links_are_removed_and_never_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (top, outside) = (dir.path().join("top"), dir.path().join("outside"));
    fs::create_dir_all(top.join("a/.lifted.1/x")).unwrap();
    fs::create_dir_all(outside.join("kept")).unwrap();
    symlink(&outside, top.join("a/out")).unwrap();
    symlink("../outside", top.join("out")).unwrap();
    remove(&top).unwrap();
    assert!(!top.exists());
    symlink(&outside, &top).unwrap();
    remove(&top).unwrap();
    assert!(!top.is_symlink() && outside.join("kept").exists());
}

#[test]
fn names_like_those_of_lifted_directories_are_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    deep(&top, 100);
    fs::create_dir_all(top.join(".lifted.1/.lifted.2")).unwrap();
    File::create(top.join(".lifted.2")).unwrap();
    remove(&top).unwrap();
    assert!(!top.exists());
}

#[test]
fn what_is_gone_is_fine_and_a_file_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    remove(&dir.path().join("nosuch")).unwrap();
    remove(&dir.path().join("nosuch/below")).unwrap();
    let file = dir.path().join("file");
    File::create(&file).unwrap();
    remove(&file).unwrap();
    assert!(!file.exists());
    for path in ["/", "..", "."] {
        assert_eq!(remove(Path::new(path)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn names_may_vanish_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..10 {
        let top = dir.path().join("top");
        deep(&top, 60);
        for n in 0..50 {
            fs::create_dir_all(top.join(format!("{n}/a/b"))).unwrap();
            File::create(top.join(format!("{n}/a/file"))).unwrap();
        }
        std::thread::scope(|scope| {
            let removers: Vec<_> = (0..4).map(|_| scope.spawn(|| remove(&top))).collect();
            for remover in removers {
                remover.join().unwrap().unwrap();
            }
        });
        assert!(!top.exists());
    }
}

#[test]
fn directories_without_permissions_are_no_obstacle_to_root() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    fs::create_dir_all(top.join("closed/below")).unwrap();
    for closed in ["closed/below", "closed", ""] {
        fs::set_permissions(top.join(closed), fs::Permissions::from_mode(0o000)).unwrap();
    }
    if is_root() {
        remove(&top).unwrap();
        assert!(!top.exists());
    }
}

#[test]
fn a_mount_is_not_entered() {
    let alone = ["unshare", "--mount", "--propagation", "private"];
    if !is_root() || repeated_alone(&alone, "a_mount_is_not_entered") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (top, outside) = (dir.path().join("top"), dir.path().join("outside"));
    fs::create_dir_all(top.join("a/mounted")).unwrap();
    fs::create_dir_all(outside.join("kept")).unwrap();
    rustix::mount::mount_bind(&outside, top.join("a/mounted")).unwrap();
    let error = remove(&top).unwrap_err().to_string();
    assert!(error.contains("mounted: ") && error.contains("something is mounted there"), "{error}");
    let error = remove(&top.join("a/mounted")).unwrap_err().to_string();
    assert!(error.contains("something is mounted there"), "{error}");
    assert!(outside.join("kept").exists());
    rustix::mount::unmount(top.join("a/mounted"), rustix::mount::UnmountFlags::DETACH).unwrap();
    remove(&top).unwrap();
}

#[test]
fn what_is_immutable_is_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    fs::create_dir_all(top.join("frozen/below")).unwrap();
    File::create(top.join("stone")).unwrap();
    let chattr = |mark: &str, name: &str| {
        let done = Command::new("chattr").arg(mark).arg(top.join(name)).output();
        done.is_ok_and(|output| output.status.success())
    };
    // Not every file system has the attribute.
    for (mark, name, named) in
        [("i", "stone", "stone"), ("i", "frozen", "frozen"), ("a", "frozen", "frozen")]
    {
        if !chattr(&format!("+{mark}"), name) {
            return;
        }
        let refused = remove(&top);
        assert!(chattr(&format!("-{mark}"), name));
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let text = error.to_string();
        assert!(text.starts_with(&format!("{named}: ")) && text.contains("immutable"), "{text}");
    }
    remove(&top).unwrap();
}
