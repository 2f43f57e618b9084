//! `/dev`: what is there, and what the device cgroup allows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rcnt_runtime::plan::{DeviceKind, DeviceNode, DeviceRule, DevicesPlan, MountPlan, NodeKind};

use super::mounts;

/// Name, major, minor of the nodes every container has
/// (kernel: Documentation/admin-guide/devices.txt).
const NODES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// What is made in `/dev`: nothing when it is a directory of the host's.
pub(super) fn all(privileged: bool, host: &[DeviceNode], mounts: &[MountPlan]) -> DevicesPlan {
    if mounts::host_dev(mounts) {
        return DevicesPlan::default();
    }
    DevicesPlan { nodes: nodes(privileged, host), symlinks: symlinks(), bind: false }
}

/// The nodes to make; the host's come along for `--privileged`.
fn nodes(privileged: bool, host: &[DeviceNode]) -> Vec<DeviceNode> {
    let mut nodes: Vec<DeviceNode> = NODES
        .iter()
        .map(|(path, major, minor)| DeviceNode {
            path: PathBuf::from(path),
            kind: NodeKind::Char,
            major: *major,
            minor: *minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        })
        .collect();
    if privileged {
        let own = |node: &&DeviceNode| {
            node.path != Path::new("/dev/ptmx")
                && !NODES.iter().any(|(path, ..)| node.path == Path::new(path))
        };
        nodes.extend(host.iter().filter(own).cloned());
    }
    nodes
}

/// The symbolic links every `/dev` has.
fn symlinks() -> BTreeMap<PathBuf, PathBuf> {
    [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/core", "/proc/kcore"),
        ("/dev/ptmx", "pts/ptmx"),
    ]
    .into_iter()
    .map(|(link, target)| (link.into(), target.into()))
    .collect()
}

/// Docker's device rules: nothing, but making nodes, and using the usual ones.
pub(super) fn rules() -> Vec<DeviceRule> {
    let rule = |allow, kind, major, minor, access: &str| DeviceRule {
        allow,
        kind,
        major,
        minor,
        access: access.to_owned(),
    };
    let mut rules = vec![
        rule(false, DeviceKind::All, None, None, "rwm"),
        rule(true, DeviceKind::Char, None, None, "m"),
        rule(true, DeviceKind::Block, None, None, "m"),
    ];
    let character = |major, minor| rule(true, DeviceKind::Char, Some(major), minor, "rwm");
    rules.extend(NODES.iter().map(|(_, major, minor)| character(*major, Some(*minor))));
    // /dev/console, /dev/ptmx and the ptys of /dev/pts.
    rules.extend([character(5, Some(1)), character(5, Some(2)), character(136, None)]);
    rules
}
