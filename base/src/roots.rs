//! Where one rcnt instance keeps its files. Two instances with different roots
//! share nothing: [`Roots::instance`] tells their host-wide objects apart.

use std::io;
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
    /// Creates both trees, closed to other users (CVE-2021-41091: other users
    /// must not reach setuid files below the data root).
    ///
    /// # Errors
    /// The path that could not be created, with the kernel's reason.
    pub fn create(&self) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        for root in [&self.data, &self.exec] {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(|e| {
                io::Error::new(e.kind(), format!("cannot create {}: {e}", root.display()))
            })?;
        }
        Ok(())
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
}
