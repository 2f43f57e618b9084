//! `linux.devices` and the devices every container has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use super::config::Linux;
use super::{OciError, refuse};
use crate::init::clean;
use crate::plan::{
    DeviceNode, DevicesPlan, MountKind, MountPlan, NamespaceKind, Namespaces, NodeKind,
};

/// The kernel's 12 bits of major and 20 of minor number (linux/kdev_t.h).
const LARGEST: (u32, u32) = (0xfff, 0xf_ffff);

/// Always a link into the container's own devpts.
const PTMX: &str = "/dev/ptmx";

/// What every OCI container has (runtime-spec, config-linux.md, "Default
/// Devices"), and what it asks for. Nothing is made in a `/dev` that is a
/// directory of somebody's.
pub(super) fn devices(
    linux: &Linux,
    mounts: &[MountPlan],
    namespaces: &Namespaces,
) -> Result<DevicesPlan, OciError> {
    let mut nodes = defaults();
    for (index, device) in linux.devices().iter().flatten().enumerate() {
        let at = format!("linux.devices[{index}]");
        if device.path().as_os_str().is_empty() {
            // Meant for the device cgroup alone.
            continue;
        }
        let node = node(&at, device)?;
        let kept = nodes.insert(node.path.clone(), (Some(index), node.clone()));
        if let Some((Some(first), other)) = kept.filter(|(_, other)| !same(other, &node)) {
            let problem =
                format!("{} is another device in linux.devices[{first}]", other.path.display());
            return refuse(format!("{at}.path"), problem);
        }
    }
    if mounts.iter().any(covers_dev) {
        return Ok(DevicesPlan::default());
    }
    nodes.remove(Path::new(PTMX));
    let links = [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        (PTMX, "pts/ptmx"),
        ("/dev/core", "/proc/kcore"),
    ];
    Ok(DevicesPlan {
        nodes: nodes.into_values().map(|(_, node)| node).collect(),
        symlinks: links.iter().map(|(link, to)| (link.into(), to.into())).collect(),
        bind: namespaces.separate(NamespaceKind::User),
    })
}

fn covers_dev(mount: &MountPlan) -> bool {
    mount.destination == Path::new("/dev") && matches!(mount.kind, MountKind::Bind { .. })
}

/// Path → which of `linux.devices` it is, and the node.
fn defaults() -> BTreeMap<PathBuf, (Option<usize>, DeviceNode)> {
    let standard = [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8)];
    let standard = standard.into_iter().chain([("urandom", 1, 9), ("tty", 5, 0)]);
    let node = |(name, major, minor)| {
        let path = Path::new("/dev").join(name);
        let kind = NodeKind::Char;
        let node =
            DeviceNode { path: path.clone(), kind, major, minor, mode: 0o666, uid: 0, gid: 0 };
        (path, (None, node))
    };
    standard.map(node).collect()
}

fn same(one: &DeviceNode, other: &DeviceNode) -> bool {
    (one.kind, one.major, one.minor) == (other.kind, other.major, other.minor)
}

fn node(at: &str, device: &LinuxDevice) -> Result<DeviceNode, OciError> {
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => NodeKind::Char,
        LinuxDeviceType::B => NodeKind::Block,
        LinuxDeviceType::P => NodeKind::Fifo,
        LinuxDeviceType::A => {
            let problem = "\"a\" is not a valid device type for a node: c, b, u or p";
            return refuse(format!("{at}.type"), problem);
        }
    };
    let number = |field: &str, value: i64, largest: u32| {
        let fits = u32::try_from(value).ok().filter(|n| *n <= largest);
        fits.map_or_else(
            || refuse(format!("{at}.{field}"), format!("{value} is not from 0 to {largest}")),
            Ok,
        )
    };
    let (major, minor) = match kind {
        NodeKind::Fifo => (0, 0),
        _ => (
            number("major", device.major(), LARGEST.0)?,
            number("minor", device.minor(), LARGEST.1)?,
        ),
    };
    let path = clean(device.path());
    let special = ["/proc", "/sys"].iter().any(|dir| path.starts_with(dir));
    if special || path == Path::new("/") || path == Path::new("/dev") {
        return refuse(format!("{at}.path"), format!("no device can be at {}", path.display()));
    }
    Ok(DeviceNode {
        path,
        kind,
        major,
        minor,
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn plan(list: Value, mounts: &[MountPlan]) -> Result<DevicesPlan, String> {
        let linux: Linux = serde_json::from_value(json!({"devices": list})).unwrap();
        devices(&linux, mounts, &Namespaces::default()).map_err(|e| e.to_string())
    }

    fn refused(device: Value) -> String {
        plan(json!([device]), &[]).unwrap_err()
    }

    #[test]
    fn the_standard_ones_and_those_asked_for() {
        let list = json!([
            {"path": "/dev/tty", "type": "c", "major": 5, "minor": 0, "fileMode": 0o100_600, "uid": 7},
            {"path": "/dev/pipe", "type": "p"},
            {"path": "dev/x/y", "type": "u", "major": 10, "minor": 0xf_ffff},
            {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2},
            {"path": "", "type": "c", "major": 1, "minor": 1},
        ]);
        let plan = plan(list, &[]).unwrap();
        let found = |path: &str| plan.nodes.iter().find(|node| node.path == Path::new(path));
        let tty = found("/dev/tty").unwrap();
        assert_eq!((plan.nodes.len(), tty.mode, tty.uid), (8, 0o600, 7));
        assert_eq!(found("/dev/pipe").unwrap().kind, NodeKind::Fifo);
        assert!(found("/dev/x/y").is_some() && found(PTMX).is_none() && !plan.bind);
        assert_eq!(plan.symlinks[Path::new(PTMX)], Path::new("pts/ptmx"));
    }

    #[test]
    fn nonsense_is_refused_by_its_path() {
        let device = |path: &str, kind: &str, major: i64, minor: i64| {
            refused(json!({"path": path, "type": kind, "major": major, "minor": minor}))
        };
        assert!(device("/dev/a", "a", 1, 1).contains("linux.devices[0].type"));
        assert!(device("/dev/a", "c", -1, 1).contains("linux.devices[0].major"));
        assert!(device("/dev/a", "c", 1, 0x10_0000).contains("linux.devices[0].minor"));
        for path in ["/", "/dev", "/proc/x", "/dev/../sys/x", "proc"] {
            assert!(device(path, "c", 1, 1).contains("linux.devices[0].path"), "{path}");
        }
        let one = json!({"path": "/dev/a", "type": "c", "major": 1, "minor": 1});
        let other = json!({"path": "/dev//a", "type": "c", "major": 1, "minor": 2});
        let text = plan(json!([one, one, other]), &[]).unwrap_err();
        assert!(text.contains("linux.devices[2].path"), "{text}");
    }

    #[test]
    fn in_somebodys_dev_nothing_is_made() {
        let bind = MountPlan::new("/dev", MountKind::bind("/dev", true));
        assert_eq!(plan(json!([]), &[bind]).unwrap(), DevicesPlan::default());
    }
}
