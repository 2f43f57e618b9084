//! What the host is and allows, read once per command, as plain data.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rcnt_runtime::capabilities;
use rcnt_runtime::plan::{DeviceNode, NodeKind};

/// The host, as far as a container's plan depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// Capabilities (bits) that can be passed on.
    pub bounding: u64,
    /// nodename of uname(2), for `--net=host`.
    pub hostname: String,
}

impl HostFacts {
    /// Reads them.
    ///
    /// # Errors
    /// /proc is not mounted.
    pub fn read() -> io::Result<Self> {
        let uname = rustix::system::uname();
        Ok(Self {
            bounding: capabilities::caller_bounding()?,
            hostname: uname.nodename().to_string_lossy().into_owned(),
        })
    }
}

/// The host's device nodes, for `--privileged`. What belongs to a mount of its
/// own inside (`/dev/pts`, `/dev/shm`, `/dev/mqueue`) is left out.
pub(crate) fn device_nodes() -> Vec<DeviceNode> {
    let mut nodes = Vec::new();
    collect(Path::new("/dev"), 0, &mut nodes);
    nodes
}

fn collect(dir: &Path, depth: u8, nodes: &mut Vec<DeviceNode>) {
    const OWN: [&str; 8] =
        ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"];
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        let name = entry.file_name();
        if depth == 0 && OWN.iter().any(|own| name == *own) {
            continue;
        }
        let kind = metadata.file_type();
        if kind.is_dir() && depth < 4 {
            collect(&entry.path(), depth + 1, nodes);
        } else if kind.is_char_device() || kind.is_block_device() {
            let number = metadata.rdev();
            nodes.push(DeviceNode {
                path: entry.path(),
                kind: if kind.is_char_device() { NodeKind::Char } else { NodeKind::Block },
                major: rustix::fs::major(number),
                minor: rustix::fs::minor(number),
                mode: metadata.mode() & 0o7777,
                uid: metadata.uid(),
                gid: metadata.gid(),
            });
        }
    }
}
