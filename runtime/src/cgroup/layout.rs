//! Which cgroup hierarchies this machine has, and where: classic v1, hybrid
//! (v1 controllers beside a v2 tree) or pure v2.
//!
//! [`Layout::parse`] is pure; [`read`] gives it /proc/self/mountinfo. Paths of a
//! plan are put below each *mount point*, not below the caller's own cgroup: a
//! container must outlive the login session that started it, and v2 forbids
//! children beside processes (cgroups(7), "no internal processes"). Only where a
//! plan says so by [`CgroupPlan::bases`] they begin further down.
//!
//! [`CgroupPlan::bases`]: crate::plan::CgroupPlan::bases

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// v1 controllers as they appear in mount options (cgroups(7), "Cgroups version 1 controllers").
const CONTROLLERS: [&str; 14] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
    "rdma",
];

/// One mounted v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// `cpu`, `cpuacct`, or `name=systemd`.
    pub controllers: BTreeSet<String>,
    /// Where plan paths begin, below the mount point; empty = right there.
    #[serde(default)]
    pub base: PathBuf,
}

impl Hierarchy {
    /// The directory of a plan's path.
    pub fn dir(&self, path: &Path) -> PathBuf {
        self.mountpoint.join(&self.base).join(path)
    }
}

/// The three ways a machine's cgroups are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayoutKind {
    /// v1 hierarchies only.
    V1,
    /// v1 hierarchies beside a v2 tree.
    Hybrid,
    /// The v2 tree only.
    V2,
}

/// The cgroup hierarchies of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// v1 hierarchies in mount order; each set of controllers once.
    pub v1: Vec<Hierarchy>,
    /// Where the v2 tree is mounted.
    pub unified: Option<PathBuf>,
    /// Where plan paths begin in it, as in [`Hierarchy::base`].
    #[serde(default)]
    pub unified_base: PathBuf,
}

/// Why the cgroup hierarchies of this machine cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// mountinfo cannot be read.
    #[error("cannot read /proc/self/mountinfo")]
    Read(#[source] std::io::Error),
    /// Nothing to put a container into.
    #[error("no cgroup file system is mounted; a host without systemd may need cgroupfs-mount")]
    None,
}

/// Where machines have their cgroups (file-hierarchy(7)).
const USUAL: &str = "/sys/fs/cgroup";

/// statfs(2)'s f_type of cgroup v2 (linux/magic.h).
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

/// Reads the layout of the caller's mount namespace.
///
/// # Errors
/// [`LayoutError`]
pub fn read() -> Result<Layout, LayoutError> {
    // A systemd host: one call instead of a text with a line per mount.
    let root = rustix::fs::statfs(USUAL);
    if root.is_ok_and(|fs| u64::try_from(fs.f_type) == Ok(CGROUP2_SUPER_MAGIC)) {
        return Ok(Layout { unified: Some(USUAL.into()), ..Layout::default() });
    }
    let text = std::fs::read("/proc/self/mountinfo").map_err(LayoutError::Read)?;
    let layout = Layout::parse(&text);
    if layout.v1.is_empty() && layout.unified.is_none() {
        return Err(LayoutError::None);
    }
    Ok(layout)
}

impl Layout {
    /// Finds the hierarchies in a mountinfo text (proc_pid_mountinfo(5)). Lines
    /// that do not parse are somebody else's problem and skipped.
    pub fn parse(mountinfo: &[u8]) -> Self {
        let mut layout = Layout::default();
        for line in mountinfo.split(|b| *b == b'\n') {
            match parse_line(line) {
                Some(Mount::V2(path)) => keep_better(&mut layout.unified, path),
                Some(Mount::V1(hierarchy)) => layout.add(hierarchy),
                None => {}
            }
        }
        // v1 hierarchies that some program mounts elsewhere on a v2 host (a VPN its
        // net_cls) are its own and make no hybrid of it.
        if layout.unified.as_deref() == Some(Path::new(USUAL)) {
            layout.v1.clear();
        }
        layout
    }

    /// The same hierarchies with plan paths beginning at `bases`
    /// ([`CgroupPlan::bases`](crate::plan::CgroupPlan::bases)).
    #[must_use]
    pub fn based(mut self, bases: &BTreeMap<String, PathBuf>) -> Self {
        if bases.is_empty() {
            return self;
        }
        for hierarchy in &mut self.v1 {
            let base = hierarchy.controllers.iter().find_map(|name| bases.get(name));
            hierarchy.base = base.cloned().unwrap_or_default();
        }
        self.unified_base = bases.get("").cloned().unwrap_or_default();
        self
    }

    /// Which of the three arrangements this is.
    pub fn kind(&self) -> LayoutKind {
        match (self.v1.is_empty(), self.unified.is_some()) {
            (true, _) => LayoutKind::V2,
            (false, true) => LayoutKind::Hybrid,
            (false, false) => LayoutKind::V1,
        }
    }

    /// The v1 hierarchy of `controller`.
    pub fn v1_of(&self, controller: &str) -> Option<&Hierarchy> {
        self.v1.iter().find(|h| h.controllers.contains(controller))
    }

    /// The directory of a plan's path in the v2 tree.
    pub fn unified_dir(&self, path: &Path) -> Option<PathBuf> {
        Some(self.unified.as_ref()?.join(&self.unified_base).join(path))
    }

    /// `path` in every hierarchy, v1 first.
    pub fn directories(&self, path: &Path) -> Vec<PathBuf> {
        self.v1.iter().map(|h| h.dir(path)).chain(self.unified_dir(path)).collect()
    }

    /// The same hierarchy may be mounted more than once (chroots, containers'
    /// binds); the one below /sys/fs/cgroup is the machine's own.
    fn add(&mut self, new: Hierarchy) {
        match self.v1.iter_mut().find(|old| !old.controllers.is_disjoint(&new.controllers)) {
            None => self.v1.push(new),
            Some(old) if usual(&new.mountpoint) && !usual(&old.mountpoint) => *old = new,
            Some(_) => {}
        }
    }
}

fn keep_better(slot: &mut Option<PathBuf>, new: PathBuf) {
    if slot.as_ref().is_none_or(|old| usual(&new) && !usual(old)) {
        *slot = Some(new);
    }
}

fn usual(mountpoint: &Path) -> bool {
    mountpoint.starts_with(USUAL)
}

enum Mount {
    V1(Hierarchy),
    V2(PathBuf),
}

/// `31 23 0:28 / /mount/point rw,relatime shared:1 - cgroup source rw,cpu,cpuacct`
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let mountpoint = PathBuf::from(unescape(fields.nth(4)?));
    // After the mount options come optional fields, then a lone hyphen.
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = rest.next()?;
    match kind {
        b"cgroup2" => Some(Mount::V2(mountpoint)),
        b"cgroup" => {
            let options = std::str::from_utf8(rest.nth(1)?).ok()?;
            let ours = |word: &&str| CONTROLLERS.contains(word) || word.starts_with("name=");
            let controllers: BTreeSet<String> =
                options.split(',').filter(ours).map(str::to_owned).collect();
            let known = !controllers.is_empty();
            known.then_some(Mount::V1(Hierarchy { mountpoint, controllers, base: PathBuf::new() }))
        }
        _ => None,
    }
}

/// Undoes the kernel's `\ooo` for blank, tab, newline and backslash.
pub(crate) fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn a_hybrid_host_is_told_from_its_mounts() {
        let layout = Layout::parse(HYBRID.as_bytes());
        assert_eq!(layout.kind(), LayoutKind::Hybrid);
        assert_eq!(layout.v1.len(), 3);
        let cpu = layout.v1_of("cpuacct").unwrap();
        assert_eq!(cpu.mountpoint, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(layout.v1_of("cpu"), Some(cpu));
        assert_eq!(layout.v1_of("pids"), None);
        assert!(layout.v1_of("name=systemd").is_some());
        assert_eq!(
            layout.directories(Path::new("a/b")).last().unwrap(),
            Path::new("/sys/fs/cgroup/unified/a/b")
        );
    }

    #[test]
    fn paths_begin_where_the_plan_says() {
        let bases = [("cpuacct", "a/b"), ("", "user.slice")];
        let bases = bases.map(|(name, base)| (name.to_owned(), PathBuf::from(base))).into();
        let layout = Layout::parse(HYBRID.as_bytes()).based(&bases);
        let path = Path::new("x");
        let shown = |p: PathBuf| p.display().to_string();
        assert_eq!(
            shown(layout.v1_of("cpu").unwrap().dir(path)),
            "/sys/fs/cgroup/cpu,cpuacct/a/b/x"
        );
        assert_eq!(shown(layout.v1_of("memory").unwrap().dir(path)), "/sys/fs/cgroup/memory/x");
        let unified = layout.directories(path).pop().unwrap();
        assert_eq!(shown(unified), "/sys/fs/cgroup/unified/user.slice/x");
        assert_eq!(Layout::parse(b"").unified_dir(path), None);
    }

    #[test]
    fn a_systemd_host_is_pure_v2_and_a_classic_one_pure_v1() {
        let v2 = "26 22 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(Layout::parse(v2.as_bytes()).kind(), LayoutKind::V2);
        let v1 = "26 22 0:23 / /cg rw - cgroup cgroup rw,memory\n";
        assert_eq!(Layout::parse(v1.as_bytes()).kind(), LayoutKind::V1);
    }

    #[test]
    fn a_programs_own_v1_hierarchy_makes_no_hybrid_of_a_v2_host() {
        let text = "1 2 0:3 / /sys/fs/cgroup rw - cgroup2 none rw\n\
                    1 2 0:4 / /opt/vpn/net_cls rw - cgroup none rw,net_cls\n";
        assert_eq!(Layout::parse(text.as_bytes()).kind(), LayoutKind::V2);
    }

    #[test]
    fn a_second_mount_of_a_hierarchy_does_not_count_twice() {
        let text = "1 2 0:3 / /srv/jail/cg rw - cgroup2 none rw\n\
                    1 2 0:4 / /srv/jail/mem rw - cgroup none rw,memory\n\
                    1 2 0:3 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n\
                    1 2 0:4 / /sys/fs/cgroup/memory rw - cgroup none rw,memory\n\
                    1 2 0:4 / /late rw - cgroup none rw,memory\n";
        let layout = Layout::parse(text.as_bytes());
        assert_eq!(layout.v1.len(), 1);
        assert_eq!(layout.v1[0].mountpoint, Path::new("/sys/fs/cgroup/memory"));
        assert_eq!(layout.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn escapes_in_mount_points_are_undone() {
        let line = "1 2 0:3 / /a\\040b\\134c rw - cgroup2 none rw\n";
        let layout = Layout::parse(line.as_bytes());
        assert_eq!(layout.unified.as_deref(), Some(Path::new("/a b\\c")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Layout::parse(&bytes);
        }

        #[test]
        fn foreign_lines_change_nothing(noise in "[^\n]{0,60}", at in 0usize..5) {
            prop_assume!(!noise.contains("cgroup"));
            let mut lines: Vec<&str> = HYBRID.lines().collect();
            lines.insert(at, &noise);
            prop_assert_eq!(
                Layout::parse(lines.join("\n").as_bytes()),
                Layout::parse(HYBRID.as_bytes())
            );
        }

        #[test]
        fn every_path_survives_its_escaping(name in "/[a-z \\\\\t]{1,12}") {
            let escaped: String = name.chars().map(|c| match c {
                ' ' => "\\040".into(), '\t' => "\\011".into(), '\\' => "\\134".into(),
                c => c.to_string(),
            }).collect();
            let line = format!("1 2 0:3 / {escaped} rw - cgroup2 none rw");
            prop_assert_eq!(Layout::parse(line.as_bytes()).unified, Some(PathBuf::from(name)));
        }
    }
}
