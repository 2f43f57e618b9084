//! Where one rcnt instance keeps its files. Two instances with different roots
//! share nothing: [`Roots::instance`] tells their host-wide objects apart.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The two directory trees of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// Survives reboots: images, container configurations, volumes, logs. Default `/var/lib/rcnt`.
    pub data: PathBuf,
    /// Gone at reboot, like the kernel objects it describes. Default `/run/rcnt`.
    pub exec: PathBuf,
}

/// `--data-root` when neither flag nor environment says otherwise.
pub const DEFAULT_DATA_ROOT: &str = "/var/lib/rcnt";
/// `--exec-root` when neither flag nor environment says otherwise.
pub const DEFAULT_EXEC_ROOT: &str = "/run/rcnt";
/// `--config` when neither flag nor environment says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/rcnt/config.toml";

impl Roots {
    /// Creates both trees, closed to other users: they must not reach setuid
    /// files below the data root (CVE-2021-41091, CVE-2021-41103). A root that is
    /// open is closed, unless it is somebody else's or holds something else.
    ///
    /// # Errors
    /// The path that cannot be used, with the reason.
    pub fn create(&self) -> io::Result<()> {
        create_closed(&self.data)?;
        create_closed(&self.exec)
    }

    /// A short tag for objects that live outside the roots (nftables table,
    /// cgroup): empty for the default instance, else 8 hex digits of a hash of
    /// the exec root, so that instances never touch each other's.
    pub fn instance(&self) -> String {
        if self.exec == Path::new(DEFAULT_EXEC_ROOT) {
            return String::new();
        }
        format!("{:08x}", fnv1a(self.exec.as_os_str().as_encoded_bytes()))
    }
}

fn create_closed(root: &Path) -> io::Result<()> {
    let cannot = |what: &'static str| {
        move |e: io::Error| {
            io::Error::new(e.kind(), format!("cannot {what} {}: {e}", root.display()))
        }
    };
    let found = match std::fs::metadata(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // Parents too: whoever may not enter them may not enter the root.
            let mut maker = std::fs::DirBuilder::new();
            maker.recursive(true).mode(0o700).create(root).map_err(cannot("create"))?;
            std::fs::metadata(root)
        }
        found => found,
    };
    let found = found.map_err(cannot("look at"))?;
    let refused = |why: String| {
        let text = format!("cannot use {}: {why}", root.display());
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    };
    if !found.is_dir() {
        return refused("it is not a directory".to_owned());
    }
    let us = rustix::process::geteuid().as_raw();
    if found.uid() != us {
        return refused(format!("it belongs to user {}, not to {us}", found.uid()));
    }
    if found.mode() & 0o077 == 0 {
        return Ok(());
    }
    if !is_ours(root).map_err(cannot("read"))? {
        let why = "other users may enter it, and it holds files that are not rcnt's";
        return refused(why.to_owned());
    }
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o700)).map_err(cannot("close"))
}

/// Whether nothing but rcnt's files is in a directory: closing `/srv` or `/tmp`,
/// given by mistake, would hurt others.
fn is_ours(root: &Path) -> io::Result<bool> {
    const OURS: [&str; 8] = [
        "claims.lock",
        "containers",
        "images",
        "names",
        "networks",
        "ports",
        "volumes",
        // What mkfs leaves at the top of a disk of our own.
        "lost+found",
    ];
    for entry in std::fs::read_dir(root)? {
        let name = entry?.file_name();
        if !OURS.iter().any(|ours| name == **ours) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// FNV-1a, 32 bits: stable across builds, unlike std's hasher.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, b| (hash ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_differ_by_exec_root() {
        let roots = |exec: &str| Roots { data: "/d".into(), exec: exec.into() };
        assert_eq!(roots("/run/rcnt").instance(), "");
        assert_ne!(roots("/tmp/a").instance(), roots("/tmp/b").instance());
        assert_eq!(roots("/tmp/a").instance(), roots("/tmp/a").instance());
    }

    fn roots(dir: &Path) -> Roots {
        Roots { data: dir.join("new/data"), exec: dir.join("exec") }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn roots_are_closed_to_others_cve_2021_41091() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(dir.path());
        roots.create().unwrap();
        assert_eq!((mode(&roots.data), mode(&roots.exec)), (0o700, 0o700));
        // Empty, a disk of our own, a root of before: closed again.
        for inside in ["", "lost+found", "names"] {
            std::fs::create_dir_all(roots.data.join(inside)).unwrap();
            for open in [0o711, 0o755, 0o1777, 0o710] {
                set_mode(&roots.data, open);
                roots.create().unwrap();
                assert_eq!(mode(&roots.data), 0o700, "{open:o}");
            }
        }
    }

    #[test]
    fn what_others_use_is_refused_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(dir.path());
        std::fs::create_dir_all(roots.data.join("home")).unwrap();
        set_mode(&roots.data, 0o1777);
        let refused = || roots.create().unwrap_err().to_string();
        let text = refused();
        assert!(text.contains("new/data: other users may enter it"), "{text}");
        assert_eq!(mode(&roots.data), 0o1777);
        set_mode(&roots.data, 0o700);
        roots.create().unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&roots.data, Some(1000), None).unwrap();
            let text = refused();
            assert!(text.contains("new/data: it belongs to user 1000, not to 0"), "{text}");
        }
        std::fs::remove_dir_all(dir.path().join("new")).unwrap();
        std::fs::create_dir(dir.path().join("new")).unwrap();
        std::fs::File::create(&roots.data).unwrap();
        assert!(refused().contains("it is not a directory"));
    }
}
