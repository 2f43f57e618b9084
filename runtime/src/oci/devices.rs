//! `linux.devices` and the devices every container has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use super::config::Linux;
use super::{OciError, refuse};
use crate::plan::{DeviceKind, DeviceNode, DevicesPlan};

/// What every OCI container has (runtime-spec, config-linux.md, "Default Devices").
pub(super) fn devices(linux: &Linux) -> Result<DevicesPlan, OciError> {
    let standard = [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8)];
    let standard = standard.into_iter().chain([("urandom", 1, 9), ("tty", 5, 0)]);
    let mut nodes: BTreeMap<PathBuf, DeviceNode> = BTreeMap::new();
    for (name, major, minor) in standard {
        let path = Path::new("/dev").join(name);
        let kind = DeviceKind::Char;
        let node =
            DeviceNode { path: path.clone(), kind, major, minor, mode: 0o666, uid: 0, gid: 0 };
        nodes.insert(path, node);
    }
    for device in linux.devices().iter().flatten() {
        nodes.insert(device.path().clone(), node(device)?);
    }
    let links = [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
        ("/dev/core", "/proc/kcore"),
    ];
    Ok(DevicesPlan {
        nodes: nodes.into_values().collect(),
        symlinks: links.iter().map(|(link, to)| (link.into(), to.into())).collect(),
    })
}

fn node(device: &LinuxDevice) -> Result<DeviceNode, OciError> {
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Char,
        LinuxDeviceType::B => DeviceKind::Block,
        LinuxDeviceType::P | LinuxDeviceType::A => {
            return refuse(
                "linux.devices",
                format!("device {} of that type is not supported", device.path().display()),
            );
        }
    };
    let number = |n: i64| {
        u32::try_from(n).or_else(|_| refuse("linux.devices", format!("{n} is not a device number")))
    };
    Ok(DeviceNode {
        path: device.path().clone(),
        kind,
        major: number(device.major())?,
        minor: number(device.minor())?,
        mode: device.file_mode().unwrap_or(0o666),
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}
