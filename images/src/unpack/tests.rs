//! Archives built by hand, byte by byte: what a friendly writer never writes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use tempfile::TempDir;

use super::pax::Time;
use super::*;

/// A tar being written.
#[derive(Clone, Default)]
struct Tape(Vec<u8>);

/// One header's fields; what is not set is what `tar` would write.
#[derive(Clone)]
struct H {
    name: Vec<u8>,
    link: Vec<u8>,
    flag: u8,
    mode: u64,
    uid: u64,
    gid: u64,
    size: Vec<u8>,
    mtime: u64,
    device: (u64, u64),
}

fn h(flag: u8, name: &str) -> H {
    let mode = if flag == b'5' { 0o755 } else { 0o644 };
    H {
        name: name.into(),
        link: Vec::new(),
        flag,
        mode,
        uid: 0,
        gid: 0,
        size: b"00000000000\0".to_vec(),
        mtime: 1_600_000_000,
        device: (0, 0),
    }
}

impl H {
    fn link(mut self, to: &str) -> Self {
        self.link = to.into();
        self
    }
    fn mode(mut self, mode: u64) -> Self {
        self.mode = mode;
        self
    }
    fn owner(mut self, uid: u64, gid: u64) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }
    fn size(mut self, size: u64) -> Self {
        self.size = format!("{size:011o}\0").into();
        self
    }
    fn block(&self) -> [u8; 512] {
        let mut block = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, format!("{:07o}\0", self.mode).as_bytes());
        put(108, format!("{:07o}\0", self.uid).as_bytes());
        put(116, format!("{:07o}\0", self.gid).as_bytes());
        put(124, &self.size);
        put(136, format!("{:011o}\0", self.mtime).as_bytes());
        put(148, b"        ");
        put(156, &[self.flag]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}\0", self.device.0).as_bytes());
        put(337, format!("{:07o}\0", self.device.1).as_bytes());
        seal(block)
    }
}

fn seal(mut block: [u8; 512]) -> [u8; 512] {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

impl Tape {
    fn add(mut self, header: H) -> Self {
        self.0.extend(header.block());
        self
    }
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
    fn data(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }
    fn file(self, name: &str, content: &[u8]) -> Self {
        self.add(h(b'0', name).size(content.len() as u64)).data(content)
    }
    fn dir(self, name: &str) -> Self {
        self.add(h(b'5', name))
    }
    fn symlink(self, name: &str, to: &str) -> Self {
        self.add(h(b'2', name).link(to))
    }
    fn hard_link(self, name: &str, to: &str) -> Self {
        self.add(h(b'1', name).link(to))
    }
    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        self.extended(b'x', records)
    }
    fn extended(self, flag: u8, records: &[(&str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let text = [key.as_bytes(), b"=", value].concat();
            let mut length = text.len() + 3;
            while length.to_string().len() + 1 + text.len() + 1 != length {
                length += 1;
            }
            body.extend([format!("{length} ").as_bytes(), &text, b"\n"].concat());
        }
        self.add(h(flag, "PaxHeaders/x").size(body.len() as u64)).data(&body)
    }
    fn long(self, flag: u8, name: &str) -> Self {
        let body = [name.as_bytes(), b"\0"].concat();
        self.add(h(flag, "././@LongLink").size(body.len() as u64)).data(&body)
    }
    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

/// A directory to unpack into, with something beside it that must not change.
struct World {
    top: TempDir,
}

impl World {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir(top.path().join("layer")).unwrap();
        fs::create_dir(top.path().join("outside")).unwrap();
        fs::File::create(top.path().join("outside/canary")).unwrap().write_all(b"alive").unwrap();
        Self { top }
    }
    fn layer(&self) -> PathBuf {
        self.top.path().join("layer")
    }
    fn at(&self, name: &str) -> PathBuf {
        self.layer().join(name)
    }
    fn outside(&self) -> PathBuf {
        self.top.path().join("outside")
    }
    fn unpack(&self, archive: &[u8]) -> Result<Unpacked, UnpackError> {
        let result = unpack(archive, &self.layer(), None);
        let canary = self.outside().join("canary");
        assert_eq!(fs::read(&canary).unwrap(), b"alive");
        assert_eq!(fs::read_dir(self.outside()).unwrap().count(), 1);
        let meta = fs::metadata(&canary).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o7777, meta.nlink()), (0, 0o644, 1));
        result
    }
    fn stat(&self, name: &str) -> fs::Metadata {
        fs::symlink_metadata(self.at(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
    fn xattr(&self, name: &str, key: &str) -> Option<Vec<u8>> {
        let mut value = [0u8; 256];
        let n = rustix::fs::lgetxattr(self.at(name), key, &mut value).ok()?;
        Some(value[..n].to_vec())
    }
    fn is_whiteout(&self, name: &str) -> bool {
        let meta = self.stat(name);
        meta.file_type().is_char_device() && meta.rdev() == 0
    }
    fn is_opaque(&self, name: &str) -> bool {
        self.xattr(name, "trusted.overlay.opaque").as_deref() == Some(b"y")
    }
}

fn good(tape: Tape) -> World {
    let world = World::new();
    world.unpack(&tape.end()).unwrap();
    world
}

fn refused(tape: Tape) -> String {
    let world = World::new();
    let error = world.unpack(&tape.end()).unwrap_err();
    rcnt_base::report::chain(&error)
}

// What a layer may hold

#[test]
fn every_kind_of_file_is_made_with_all_it_has() {
    let world = good(
        Tape::default()
            .add(h(b'5', "./").mode(0o700).owner(3, 4))
            .dir("d")
            .add(h(b'0', "d/setuid").mode(0o4755).owner(1000, 1001).size(3))
            .data(b"abc")
            .hard_link("d/hard", "d/setuid")
            .symlink("d/link", "/absolute/../target")
            .add(H { device: (1, 3), ..h(b'3', "d/null").mode(0o666) })
            .add(H { device: (7, 0), ..h(b'4', "d/loop0").mode(0o660).owner(0, 6) })
            .add(h(b'6', "d/fifo").mode(0o622))
            .add(h(b'5', "d/sticky").mode(0o1777)),
    );
    let meta = world.stat("d/setuid");
    assert_eq!(
        (meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.nlink()),
        (0o4755, 1000, 1001, 2)
    );
    assert_eq!((meta.mtime(), world.read("d/hard").as_str()), (1_600_000_000, "abc"));
    assert_eq!(fs::read_link(world.at("d/link")).unwrap(), Path::new("/absolute/../target"));
    assert_eq!(world.stat("d/link").mtime(), 1_600_000_000);
    let null = world.stat("d/null");
    assert_eq!((null.rdev(), null.mode() & 0o7777), (rustix::fs::makedev(1, 3), 0o666));
    assert!(world.stat("d/loop0").file_type().is_block_device());
    assert!(world.stat("d/fifo").file_type().is_fifo());
    assert_eq!(world.stat("d/sticky").mode() & 0o7777, 0o1777);
    let root = world.stat("");
    assert_eq!((root.mode() & 0o7777, root.uid(), root.gid()), (0o700, 3, 4));
    // Set although files were made in it afterwards.
    assert_eq!((world.stat("d").mtime(), root.mtime()), (1_600_000_000, 1_600_000_000));
}

#[test]
fn pax_gives_nanoseconds_long_names_large_ids_and_attributes() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let world = good(
        Tape::default()
            .pax(&[
                ("path", long.as_bytes()),
                ("mtime", b"1234567890.123456789"),
                ("uid", b"4000000000"),
                ("SCHILY.xattr.user.note", b"a\0b"),
                ("SCHILY.xattr.security.capability", &capability),
                ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
                ("SCHILY.xattr.security.selinux", b"x"),
            ])
            .file("short", b"hi")
            .pax(&[("mtime", b"-1.5")])
            .dir("old")
            .pax(&[("linkpath", "t".repeat(300).as_bytes())])
            .symlink("sym", "cut"),
    );
    let meta = world.stat(&long);
    assert_eq!(
        (meta.mtime(), meta.mtime_nsec(), meta.uid()),
        (1_234_567_890, 123_456_789, 4_000_000_000)
    );
    assert_eq!(world.xattr(&long, "security.capability").as_deref(), Some(&capability[..]));
    assert_eq!(world.xattr(&long, "trusted.overlay.redirect"), None);
    if let Some(value) = world.xattr(&long, "user.note") {
        assert_eq!(value, b"a\0b");
    }
    let old = world.stat("old");
    // File systems differ in how far back their times go.
    assert!(old.mtime() == -2 && old.mtime_nsec() == 500_000_000 || old.mtime() == 0);
    assert_eq!(fs::read_link(world.at("sym")).unwrap().as_os_str().len(), 300);
}

#[test]
fn gnu_long_names_and_links_are_read() {
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(150));
    let world = good(
        Tape::default()
            .long(b'L', &long)
            .file("cut", b"x")
            .long(b'K', &long)
            .long(b'L', "hard")
            .hard_link("cut", "cut"),
    );
    assert_eq!(world.read(&long), "x");
    assert_eq!(world.stat("hard").nlink(), 2);
}

#[test]
fn sparse_files_keep_their_holes_in_every_format() {
    // Old GNU: two pieces in the header, one in an extension block.
    let mut block = h(b'S', "old").size(1536).block();
    block[257..265].copy_from_slice(b"ustar  \0");
    let pair = |o: u64, l: u64| format!("{o:011o}\0{l:011o}\0");
    let four: String =
        [(0, 512), (1 << 20, 512), (2 << 20, 0), (3 << 20, 0)].map(|(o, l)| pair(o, l)).concat();
    block[386..482].copy_from_slice(four.as_bytes());
    block[482] = 1;
    block[483..495].copy_from_slice(format!("{:011o}\0", 8 << 20).as_bytes());
    let mut more = [0u8; 512];
    more[..24].copy_from_slice(pair(4 << 20, 512).as_bytes());
    let data = [[b'a'; 512], [b'b'; 512], [b'c'; 512]].concat();
    let map = "3\n0\n512\n1048576\n512\n4194304\n512\n";
    let with_map = [map.as_bytes(), &vec![0; 512 - map.len()], &data].concat();
    let size = b"8388608";
    let world = good(
        Tape::default()
            .raw(&seal(block))
            .raw(&more)
            .data(&data)
            .pax(&[
                ("GNU.sparse.size", size),
                ("GNU.sparse.numblocks", b"3"),
                ("GNU.sparse.offset", b"0"),
                ("GNU.sparse.numbytes", b"512"),
                ("GNU.sparse.offset", b"1048576"),
                ("GNU.sparse.numbytes", b"512"),
                ("GNU.sparse.offset", b"4194304"),
                ("GNU.sparse.numbytes", b"512"),
            ])
            .file("v00", &data)
            .pax(&[
                ("GNU.sparse.name", b"v01"),
                ("GNU.sparse.size", size),
                ("GNU.sparse.map", b"0,512,1048576,512,4194304,512"),
            ])
            .file("made/up", &data)
            .pax(&[
                ("GNU.sparse.name", b"v10"),
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.realsize", size),
            ])
            .file("GNUSparseFile.0/v10", &with_map)
            .file("after", b"still in step"),
    );
    for name in ["old", "v00", "v01", "v10"] {
        let bytes = fs::read(world.at(name)).unwrap();
        assert_eq!(bytes.len(), 8 << 20, "{name}");
        assert_eq!(
            (bytes[0], bytes[1 << 20], bytes[4 << 20], bytes[5 << 20]),
            (b'a', b'b', b'c', 0),
            "{name}"
        );
        assert!(world.stat(name).blocks() * 512 < 1 << 20, "{name} has no holes");
    }
    assert_eq!(world.read("after"), "still in step");
}

#[test]
fn the_last_of_two_entries_wins_whatever_they_are() {
    let world = good(
        Tape::default()
            .file("a", b"one")
            .file("a", b"two")
            .dir("b")
            .file("b/inside", b"x")
            .file("b", b"now a file")
            .file("c", b"x")
            .dir("c")
            .file("c/inside", b"y")
            .symlink("d", "a")
            .file("d", b"no longer a link")
            .dir("e")
            .file("e/kept", b"k")
            .add(h(b'5', "e").mode(0o700))
            .file("f", b"x")
            .hard_link("g", "f")
            .file("f", b"new")
            .hard_link("g", "g"),
    );
    assert_eq!((world.read("a"), world.read("b")), ("two".into(), "now a file".into()));
    assert_eq!((world.read("c/inside"), world.read("d")), ("y".into(), "no longer a link".into()));
    assert_eq!((world.stat("e").mode() & 0o777, world.read("e/kept")), (0o700, "k".into()));
    assert_eq!((world.read("f"), world.read("g")), ("new".into(), "x".into()));
}

#[test]
fn whiteouts_become_what_overlayfs_understands() {
    let world = good(
        Tape::default()
            .file("etc/.wh.gone", b"")
            .dir("var/cache")
            .file("var/cache/.wh..wh..opq", b"")
            .file("var/cache/new", b"n")
            .file(".wh..wh.plnk", b"")
            .dir(".wh..wh.aufs")
            // In one layer a whiteout speaks of the layers below only.
            .file("before", b"kept")
            .file(".wh.before", b"")
            .file(".wh.after", b"")
            .file("after", b"kept")
            .dir("dir")
            .file("dir/f", b"kept")
            .file(".wh.dir", b"")
            .file(".wh.again", b"")
            .dir("again")
            .file("again/f", b"kept")
            .file(".wh.implied", b"")
            .file("implied/f", b"kept")
            .file(".wh.twice", b"")
            .file(".wh.twice", b""),
    );
    assert!(world.is_whiteout("etc/gone") && world.is_whiteout("twice"));
    assert!(world.is_opaque("var/cache"));
    for kept in ["before", "after", "dir/f", "again/f", "implied/f"] {
        assert_eq!(world.read(kept), "kept", "{kept}");
    }
    assert!(world.is_opaque("dir") && world.is_opaque("again") && world.is_opaque("implied"));
    let names: Vec<_> =
        fs::read_dir(world.layer()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!names.iter().any(|n| n.as_bytes().starts_with(b".wh.")), "{names:?}");
}

#[test]
fn missing_parents_are_made_and_links_of_the_layer_lead_inside_it() {
    let world = good(
        Tape::default()
            .file("a/b/c", b"deep")
            .dir("usr/lib")
            .symlink("lib", "usr/lib")
            .file("lib/x", b"through")
            .symlink("abs", "/usr/lib")
            .file("abs/y", b"absolute"),
    );
    assert_eq!(world.stat("a/b").mode() & 0o777, 0o755);
    assert_eq!(
        (world.read("usr/lib/x"), world.read("usr/lib/y")),
        ("through".into(), "absolute".into())
    );
}

// What a hostile layer tries

#[test]
fn names_that_leave_the_layer_are_refused() {
    for name in ["../evil", "a/../../evil", "/../evil", "..", "a/../../outside/canary"] {
        let error = refused(Tape::default().file(name, b"x"));
        assert!(error.contains("leads outside the layer"), "{name}: {error}");
        let error = refused(Tape::default().file("f", b"x").hard_link("l", name));
        assert!(error.contains("leads outside the layer"), "{name}: {error}");
    }
    let world = good(Tape::default().file("/etc/passwd", b"contained").file("a/../b", b"lexical"));
    assert_eq!((world.read("etc/passwd"), world.read("b")), ("contained".into(), "lexical".into()));
}

#[test]
fn symlinks_cannot_carry_an_entry_out() {
    let outside = "../outside";
    // Followed within the layer, `..` at its root is its root: nothing there.
    for link in [outside, "../../../../../../tmp", "/proc/self/root", "/"] {
        let world = World::new();
        let absolute = world.outside();
        for target in [link, absolute.to_str().unwrap()] {
            let tape = Tape::default().symlink("out", target).file("out/canary", b"dead").end();
            let _ = world.unpack(&tape);
            let tape = Tape::default()
                .symlink("d", ".")
                .symlink("d/e", target)
                .file("d/e/canary", b"dead");
            let _ = World::new().unpack(&tape.end());
        }
    }
    // The last component is replaced, never followed.
    let world = World::new();
    let canary = world.outside().join("canary");
    let canary = canary.to_str().unwrap();
    let tape = Tape::default().symlink("f", canary).file("f", b"dead");
    world.unpack(&tape.end()).unwrap();
    assert_eq!(world.read("f"), "dead");
}

#[test]
fn metadata_is_never_applied_through_a_symlink() {
    let world = World::new();
    let canary = world.outside().join("canary");
    let outside = world.outside();
    let tape = Tape::default()
        .symlink("f", canary.to_str().unwrap())
        .add(h(b'2', "f").link(canary.to_str().unwrap()).mode(0o4777).owner(5, 5))
        // A directory entry on a symlink replaces it (RUSTSEC-2026-0067).
        .symlink("d", outside.to_str().unwrap())
        .add(h(b'5', "d").mode(0o4777).owner(5, 5))
        // A directory replaced by a link after it was noted.
        .add(h(b'5', "late").mode(0o4777).owner(5, 5))
        .symlink("late", outside.to_str().unwrap())
        .hard_link("h", "f")
        .add(h(b'6', "f").mode(0o4777));
    world.unpack(&tape.end()).unwrap();
    let meta = fs::metadata(&outside).unwrap();
    assert_eq!(meta.uid(), 0);
    assert!(world.stat("d").is_dir());
    assert!(world.stat("late").is_symlink() && world.stat("h").is_symlink());
}

#[test]
fn hard_links_reach_only_into_the_layer() {
    let world = World::new();
    let canary = world.outside().join("canary");
    let canary = canary.to_str().unwrap();
    let error = world.unpack(&Tape::default().hard_link("l", canary).end()).unwrap_err();
    assert!(rcnt_base::report::chain(&error).contains("No such file"), "{error}");
    // Through a symlink of the layer: to the link itself, or inside.
    let world = World::new();
    let tape = Tape::default().symlink("s", canary).hard_link("l", "s").file("l", b"dead");
    world.unpack(&tape.end()).unwrap();
    let outside = world.outside();
    let tape = Tape::default().symlink("o", outside.to_str().unwrap()).hard_link("m", "o/canary");
    let error = World::new().unpack(&tape.end()).unwrap_err();
    assert!(rcnt_base::report::chain(&error).contains("No such file"), "{error}");
    assert!(refused(Tape::default().hard_link("l", "nothing")).contains("No such file"));
    assert!(refused(Tape::default().hard_link("l", "/")).contains("the layer's root"));
    let to_gone = Tape::default().file(".wh.x", b"").hard_link("l", "x");
    assert!(refused(to_gone).contains("removed file"));
    // Data that a hard link claims to have is not data (POSIX: its target's size).
    let tape =
        Tape::default().file("a", b"x").add(h(b'1', "b").link("a").size(512)).file("c", b"in step");
    assert_eq!(good(tape).read("c"), "in step");
}

#[test]
fn whiteouts_of_nothing_or_of_the_outside_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh.."] {
        assert!(refused(Tape::default().file(name, b"")).contains("whiteout of nothing"), "{name}");
    }
    let error = refused(Tape::default().file("../.wh.outside", b""));
    assert!(error.contains("leads outside"), "{error}");
    let world = World::new();
    let outside = world.outside();
    let tape = Tape::default()
        .symlink("o", outside.to_str().unwrap())
        .file("o/.wh.canary", b"")
        .file("o/.wh..wh..opq", b"");
    let _ = world.unpack(&tape.end());
}

#[test]
fn the_root_cannot_be_replaced() {
    for flag in *b"0236" {
        let error = refused(Tape::default().add(h(flag, ".").link("/tmp")));
        assert!(error.contains("replace the layer's root"), "{error}");
    }
    let below_a_file = Tape::default().file("f", b"x").file("f/g", b"y");
    assert!(refused(below_a_file).contains("Not a directory"));
}

#[test]
fn sizes_that_are_none_are_refused() {
    let with = |size: &[u8]| Tape::default().add(H { size: size.to_vec(), ..h(b'0', "f") });
    for size in [
        &b"-0000000001\0"[..],
        b"7x\0\0\0\0\0\0\0\0\0\0",
        b"12\x0034\0\0\0\0\0\0\0",
        &[0xff; 12],
        &[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x80, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert!(refused(with(size)).contains("archive is damaged"), "{size:?}");
    }
    for size in
        [&b"-1"[..], b"+1", b"18446744073709551615", b"99999999999999999999", b"0x10", b"1 "]
    {
        let error = refused(Tape::default().pax(&[("size", size)]).file("f", b""));
        assert!(error.contains("archive is damaged"), "{size:?}: {error}");
    }
    // Larger than any disk: refused before a byte is written.
    let error = refused(Tape::default().pax(&[("size", b"4611686018427387904")]).file("f", b""));
    assert!(error.contains("free on the disk"), "{error}");
}

#[test]
fn a_pax_size_belongs_to_the_file_and_to_nothing_between() {
    // RUSTSEC-2025-0111: a reader that takes the header's size, or gives the PAX
    // size to the long-name header between, sees the smuggled entry.
    let smuggled = Tape::default().file("smuggled", b"evil").0;
    let tape = Tape::default()
        .pax(&[("size", smuggled.len().to_string().as_bytes())])
        .add(h(b'0', "outer").size(0))
        .data(&smuggled)
        .pax(&[("size", smuggled.len().to_string().as_bytes())])
        .long(b'L', "named")
        .add(h(b'0', "cut").size(0))
        .data(&smuggled);
    let world = good(tape);
    assert_eq!(world.stat("outer").len(), smuggled.len() as u64);
    assert_eq!(world.stat("named").len(), smuggled.len() as u64);
    assert!(!world.at("smuggled").exists());
}

#[test]
fn what_programs_read_differently_is_refused() {
    let data_behind = |flag| Tape::default().add(h(flag, "d").link("x").size(512)).data(&[0; 512]);
    for flag in *b"23456" {
        assert!(refused(data_behind(flag)).contains("data behind an entry"), "{}", flag as char);
    }
    let twice = Tape::default().pax(&[("path", b"a")]).pax(&[("path", b"b")]).file("c", b"");
    assert!(refused(twice).contains("two extended headers"));
    let long_twice = Tape::default().long(b'L', "a").long(b'L', "b").file("c", b"");
    assert!(refused(long_twice).contains("two extended headers"));
    for key in ["path", "size", "linkpath"] {
        let global = Tape::default().extended(b'g', &[(key, b"1")]).file("c", b"x");
        assert!(refused(global).contains("global header"), "{key}");
    }
    good(Tape::default().extended(b'g', &[("comment", b"git's")]).file("c", b"x"));
    let gap = Tape::default().file("a", b"x").raw(&[0; 512]).file("b", b"x");
    assert!(refused(gap).contains("end marker in the middle"));
    assert!(refused(Tape::default().add(h(b'M', "x"))).contains("unknown type"));
    let nul = Tape::default().pax(&[("path", b"good\0evil")]).file("x", b"");
    assert!(refused(nul).contains("malformed extended header"));
    assert!(refused(Tape::default().raw(&[7; 512])).contains("no tar header"));
    let dangling = Tape::default().pax(&[("path", b"a")]).0;
    assert!(matches!(World::new().unpack(&dangling), Err(UnpackError::Truncated)));
}

#[test]
fn ids_that_are_none_are_refused() {
    for id in [&b"4294967295"[..], b"4294967296", b"-1"] {
        for key in ["uid", "gid"] {
            let error = refused(Tape::default().pax(&[(key, id)]).file("f", b""));
            assert!(error.contains("archive is damaged"), "{key} {id:?}: {error}");
        }
    }
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    let v01 = |map: &[u8], size: &[u8]| {
        Tape::default()
            .pax(&[("GNU.sparse.map", map), ("GNU.sparse.size", size)])
            .file("f", &[1; 512])
    };
    for (map, size) in [
        ("0,512", "100"),
        ("512,512,0,0", "9999"),
        ("0,513", "1000"),
        ("0,511", "1000"),
        ("0,256,128,256", "1000"),
        ("18446744073709551615,512", "18446744073709551615"),
        // A hole of an exbibyte.
        ("0,512", "1152921504606846976"),
    ] {
        let error = refused(v01(map.as_bytes(), size.as_bytes()));
        assert!(error.contains("sparse map"), "{map}: {error}");
    }
    let lines = Tape::default()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"5"),
        ])
        .file("f", &[b'1'; 512]);
    assert!(refused(lines).contains("sparse map"));
}

#[test]
fn extended_headers_are_bounded() {
    for flag in *b"xgLK" {
        let huge = Tape::default().add(h(flag, "x").size(2 << 30));
        assert!(refused(huge).contains("more than 1 MiB"), "{}", flag as char);
    }
}

#[test]
fn bombs_end_early() {
    let world = World::new();
    // A gibibyte of zeros is 32 KiB of zstd.
    let mut zstd = zstd::Encoder::new(Vec::new(), 1).unwrap();
    zstd.write_all(&h(b'0', "zeros").size(1 << 30).block()).unwrap();
    for _ in 0..1024 {
        zstd.write_all(&[0; 1 << 20]).unwrap();
    }
    let bomb = zstd.finish().unwrap();
    assert!(bomb.len() < 1 << 17);
    let error = world.unpack(&bomb).unwrap_err();
    assert!(matches!(error, UnpackError::Bomb { .. } | UnpackError::TooLarge { .. }), "{error}");
    assert!(fs::metadata(world.at("zeros")).map_or(0, |m| m.len()) <= 257 << 20);
    // gzip cannot expand further than the bound, and a small archive may be all zeros.
    let tape = Tape::default().file("zeros", &vec![0; 16 << 20]).end();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&tape).unwrap();
    World::new().unpack(&gzip.finish().unwrap()).unwrap();
}

#[test]
fn truncated_archives_say_so_wherever_they_end() {
    let tape = Tape::default()
        .dir("d")
        .file("d/f", &[7; 3000])
        .pax(&[("mtime", b"1.5")])
        .file("g", &[8; 100])
        .end();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tape).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(&tape[..], 1).unwrap();
    for whole in [&gzip, &zstd] {
        World::new().unpack(whole).unwrap();
        for cut in [whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            let error = World::new().unpack(&whole[..cut]).unwrap_err();
            assert!(matches!(error, UnpackError::Truncated), "{cut}: {error}");
        }
    }
    for cut in [100, 512 + 100, 1024 + 600, 512 * 9 + 100] {
        let error = World::new().unpack(&tape[..cut]).unwrap_err();
        assert!(matches!(error, UnpackError::Truncated), "{cut}: {error}");
    }
}

#[test]
fn compression_is_told_by_content_and_concatenated_members_are_one_stream() {
    let tape = Tape::default().file("f", b"content").end();
    let plain = World::new().unpack(&tape).unwrap();
    let (first, second) = tape.split_at(700);
    let gzip = |part: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(part).unwrap();
        gzip.finish().unwrap()
    };
    let two = [gzip(first), gzip(second)].concat();
    let unpacked = World::new().unpack(&two).unwrap();
    assert_eq!(
        (unpacked.diff_id.clone(), unpacked.compression),
        (plain.diff_id.clone(), Compression::Gzip)
    );
    let skippable = [
        &[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4][..],
        &zstd::encode_all(first, 1).unwrap(),
        &zstd::encode_all(second, 1).unwrap(),
    ]
    .concat();
    let unpacked = World::new().unpack(&skippable).unwrap();
    assert_eq!((unpacked.diff_id, unpacked.compression), (plain.diff_id, Compression::Zstd));
    let error = World::new().unpack(b"\xfd7zXZ\0rest").unwrap_err();
    assert!(error.to_string().contains("compressed with xz"), "{error}");
    assert!(World::new().unpack(&[&gzip(&tape)[..], b"garbage"].concat()).is_err());
}

#[test]
fn a_stored_digest_stands_in_for_hashing_only_when_nothing_is_compressed() {
    let tape = Tape::default().file("f", b"content").end();
    let claimed = rcnt_base::ids::Digest::from_sha256([1; 32]);
    let world = World::new();
    assert_eq!(unpack(&tape[..], &world.layer(), Some(&claimed)).unwrap().diff_id, claimed);
    let world = World::new();
    let packed = zstd::encode_all(&tape[..], 1).unwrap();
    let real = unpack(&packed[..], &world.layer(), Some(&claimed)).unwrap().diff_id;
    assert_ne!(real, claimed);
}

// The same archive for others

/// What a tree holds, for comparison: type, mode, owner, time, content or target.
fn describe(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(root.join(&dir)).unwrap() {
            let path = dir.join(entry.unwrap().file_name());
            let full = root.join(&path);
            let meta = fs::symlink_metadata(&full).unwrap();
            let mut text = format!(
                "{:o} {}:{} {}.{:09}",
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.mtime(),
                meta.mtime_nsec()
            );
            if meta.is_file() {
                text += &format!(" {} {:?}", meta.nlink(), fs::read(&full).unwrap());
            } else if meta.is_symlink() {
                text += &format!(" {:?}", fs::read_link(&full).unwrap());
            } else if meta.is_dir() {
                todo.push(path.clone());
            }
            found.insert(path, text);
        }
    }
    found
}

/// What GNU tar makes of it; `None` when it refuses.
#[allow(clippy::disallowed_methods, reason = "the reference to compare with")]
fn gnu_tar(archive: &[u8]) -> Option<BTreeMap<PathBuf, String>> {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new("tar")
        .args(["--extract", "--same-permissions", "--numeric-owner", "--file=-", "-C"])
        .arg(dir.path())
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("GNU tar is needed for this test");
    // It may stop reading early.
    let _ = child.stdin.take().unwrap().write_all(archive);
    let ok = child.wait().unwrap().success();
    ok.then(|| describe(dir.path()))
}

#[test]
fn gnu_tar_makes_the_same_of_what_we_accept() {
    let data = [5u8; 700];
    let size = |n: usize| n.to_string().into_bytes();
    let smuggled = Tape::default().file("smuggled", b"evil").0;
    let tapes = [
        Tape::default().dir("d").file("d/f", &data).hard_link("d/h", "d/f").symlink("d/s", "f"),
        Tape::default()
            .pax(&[("path", b"by-pax"), ("mtime", b"99.000000007")])
            .file("by-header", b"x"),
        Tape::default()
            .pax(&[("size", &size(700))])
            .add(h(b'0', "f").size(3))
            .data(&data)
            .file("g", b"y"),
        Tape::default()
            .pax(&[("size", &size(smuggled.len()))])
            .add(h(b'0', "f").size(0))
            .data(&smuggled),
        Tape::default()
            .pax(&[("size", &size(smuggled.len()))])
            .long(b'L', "n")
            .add(h(b'0', "f").size(0))
            .data(&smuggled),
        Tape::default().long(b'L', "by-gnu").pax(&[("path", b"by-pax")]).file("by-header", b"x"),
        Tape::default().pax(&[("path", b"by-pax")]).long(b'L', "by-gnu").file("by-header", b"x"),
        Tape::default().pax(&[("uid", b"77"), ("gid", b"88")]).add(h(b'0', "f").owner(5, 6)),
        Tape::default().file("a", b"1").file("a", b"2").symlink("b", "a").file("b", b"3"),
        Tape::default()
            .add(h(b'7', "contiguous").size(2))
            .data(b"ab")
            .add(H { flag: 0, ..h(b'0', "v7dir/") }),
        Tape::default().add(h(b'0', "f").mode(0o6751)).add(h(b'5', "d").mode(0o1770)),
    ];
    for (nth, tape) in tapes.into_iter().enumerate() {
        let archive = tape.end();
        let world = World::new();
        let ours = world.unpack(&archive).map(|_| describe(&world.layer()));
        let theirs = gnu_tar(&archive);
        assert_eq!(Some(ours.unwrap()), theirs, "tape {nth}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the bytes, nothing panics and nothing outside changes.
    #[test]
    fn broken_archives_stay_contained(
        flips in proptest::collection::vec((0usize..4096, any::<u8>()), 1..12),
        fix in any::<bool>(),
    ) {
        let mut archive = Tape::default()
            .dir("d").file("d/f", b"x").pax(&[("path", b"p"), ("size", b"1")]).file("q", b"y")
            .symlink("s", "../outside").hard_link("h", "d/f").end();
        for (at, value) in flips {
            let at = at % archive.len();
            archive[at] = value;
        }
        if fix {
            // With right sums the damage gets past the first check.
            for block in archive.as_chunks_mut::<512>().0 {
                if block[257..262] == *b"ustar" {
                    *block = seal(*block);
                }
            }
        }
        let world = World::new();
        let _ = world.unpack(&archive);
        prop_assert_eq!(fs::read_dir(world.top.path()).unwrap().count(), 2);
    }

    /// Any path: contained, and where GNU tar and we both make a file it is the same.
    #[test]
    fn paths_are_contained(name in "(\\.\\./|\\./|/|[ab]/){0,4}[ab.]{1,2}") {
        let world = World::new();
        let _ = world.unpack(&Tape::default().file(&name, b"x").end());
        prop_assert_eq!(fs::read_dir(world.top.path()).unwrap().count(), 2);
    }

    #[test]
    fn times_owners_and_modes_arrive(
        mode in 0u64..0o10000, uid in 0u64..100_000, seconds in 0i64..4_000_000_000, nanos in 0u32..1_000_000_000,
    ) {
        let time = format!("{seconds}.{nanos:09}");
        let world = good(Tape::default().pax(&[("mtime", time.as_bytes())])
            .add(h(b'0', "f").mode(mode).owner(uid, uid / 2)));
        let meta = world.stat("f");
        prop_assert_eq!(u64::from(meta.mode() & 0o7777), mode);
        prop_assert_eq!((u64::from(meta.uid()), u64::from(meta.gid())), (uid, uid / 2));
        let found = Time { seconds: meta.mtime(), nanoseconds: meta.mtime_nsec() as u32 };
        prop_assert_eq!(found, Time { seconds, nanoseconds: nanos });
    }
}
