//! The mounts of a container, in the order they are made.

use std::path::{Path, PathBuf};

use rcnt_runtime::plan::{MountAttributes, MountKind, MountPlan, Propagation};

use super::Inputs;
use crate::request::{MountRequest, MountSource, RunRequest};

/// What comes from the host, with every path decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Volume data directories, and whether a fresh one takes the image's content.
    pub volumes: Vec<VolumeSource>,
    /// The files laid over `/etc/resolv.conf`, `/etc/hostname` and `/etc/hosts`.
    pub etc: Vec<(PathBuf, PathBuf)>,
}

/// One volume, found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSource {
    /// On the host.
    pub data: PathBuf,
    /// In the container.
    pub destination: PathBuf,
    /// See `Sources::volumes`.
    pub copy: bool,
    /// Whether the container may not write to it.
    pub read_only: bool,
}

const NOTHING_SPECIAL: MountAttributes = MountAttributes {
    readonly: false,
    nosuid: true,
    nodev: true,
    noexec: true,
    noatime: false,
    nodiratime: false,
    nosymfollow: false,
    recursive: false,
};

/// Docker's standard mounts, then the user's by destination, then `/etc` files.
pub(super) fn all(request: &RunRequest, inputs: &Inputs<'_>, own_network: bool) -> Vec<MountPlan> {
    let mut asked: Vec<MountPlan> = request.mounts.iter().filter_map(from_request).collect();
    asked.extend(inputs.sources.volumes.iter().map(from_volume));
    // The /etc files lie beneath a user's mount on the same path, as docker's do.
    for (source, destination) in &inputs.sources.etc {
        if !asked.iter().any(|m| m.destination == *destination) {
            asked.push(bind(source, destination, false));
        }
    }
    asked.sort_by(|a, b| a.destination.cmp(&b.destination));
    together(standard(request, own_network), asked)
}

/// A user's mount on a standard path replaces it, a directory of the host's on
/// `/dev` all that is standard below it.
fn together(mut standard: Vec<MountPlan>, asked: Vec<MountPlan>) -> Vec<MountPlan> {
    let host_dev = host_dev(&asked);
    standard.retain(|m| {
        let covered = asked.iter().any(|a| a.destination == m.destination);
        let in_host_dev = host_dev && m.destination.starts_with("/dev");
        !covered && !in_host_dev
    });
    standard.extend(asked);
    standard
}

/// Whether `/dev` is a directory of the host's, a volume included: what is made
/// in it stays in it, or is the host's own (`-v /dev:/dev`).
pub(super) fn host_dev(mounts: &[MountPlan]) -> bool {
    mounts
        .iter()
        .any(|m| m.destination == Path::new("/dev") && matches!(m.kind, MountKind::Bind { .. }))
}

fn standard(request: &RunRequest, own_network: bool) -> Vec<MountPlan> {
    let mount = |destination: &str, kind, attributes| MountPlan {
        destination: destination.into(),
        kind,
        attributes,
        copy_up: false,
    };
    let tmpfs = |size, mode| MountKind::Tmpfs {
        size: Some(size),
        mode: Some(mode),
        uid: None,
        gid: None,
        inodes: None,
    };
    let readonly = MountAttributes { readonly: !request.privileged, ..NOTHING_SPECIAL };
    // With the host's network namespace sysfs shows the host's devices: read-only.
    let sysfs = MountAttributes { readonly: !request.privileged || !own_network, ..readonly };
    let dev = MountAttributes { nosuid: true, ..MountAttributes::default() };
    let pts = MountAttributes { nosuid: true, noexec: true, ..MountAttributes::default() };
    vec![
        mount("/proc", MountKind::Proc, NOTHING_SPECIAL),
        mount("/dev", tmpfs(64 << 20, 0o755), dev),
        mount("/dev/pts", MountKind::Devpts, pts),
        mount("/sys", MountKind::Sysfs, sysfs),
        mount("/sys/fs/cgroup", MountKind::Cgroup, readonly),
        mount("/dev/mqueue", MountKind::Mqueue, NOTHING_SPECIAL),
        mount("/dev/shm", tmpfs(request.shm_size, 0o1777), NOTHING_SPECIAL),
    ]
}

fn bind(source: &Path, destination: &Path, read_only: bool) -> MountPlan {
    MountPlan {
        destination: destination.to_owned(),
        kind: MountKind::Bind {
            source: source.to_owned(),
            recursive: true,
            propagation: Propagation::Private,
        },
        attributes: MountAttributes {
            readonly: read_only,
            recursive: read_only,
            ..MountAttributes::default()
        },
        copy_up: false,
    }
}

fn from_volume(volume: &VolumeSource) -> MountPlan {
    MountPlan { copy_up: volume.copy, ..bind(&volume.data, &volume.destination, volume.read_only) }
}

/// Volumes have been resolved to [`VolumeSource`]s.
fn from_request(request: &MountRequest) -> Option<MountPlan> {
    match &request.source {
        MountSource::Volume { .. } => None,
        MountSource::Bind { path, recursive, .. } => {
            let base = bind(path, &request.destination, request.read_only);
            Some(MountPlan {
                kind: MountKind::Bind {
                    source: path.clone(),
                    recursive: *recursive,
                    propagation: propagation(request.propagation.as_deref()),
                },
                ..base
            })
        }
        MountSource::Tmpfs { size, mode, flags } => {
            Some(tmpfs(&request.destination, *size, *mode, flags, request.read_only))
        }
    }
}

fn propagation(word: Option<&str>) -> Propagation {
    match word.map(|w| w.trim_start_matches('r')) {
        Some("shared") => Propagation::Shared,
        Some("slave") => Propagation::Slave,
        _ => Propagation::Private,
    }
}

fn tmpfs(
    destination: &Path,
    size: Option<u64>,
    mode: Option<u32>,
    flags: &[String],
    read_only: bool,
) -> MountPlan {
    let number = |key: &str| {
        flags.iter().find_map(|f| f.strip_prefix(key)).and_then(|value| value.parse().ok())
    };
    let has = |flag: &str| flags.iter().any(|f| f == flag);
    MountPlan {
        destination: destination.to_owned(),
        kind: MountKind::Tmpfs {
            size,
            mode,
            uid: number("uid="),
            gid: number("gid="),
            inodes: number("nr_inodes=").map(u64::from),
        },
        // docker's defaults, each of which a flag takes back.
        attributes: MountAttributes {
            readonly: read_only,
            nosuid: !has("suid"),
            nodev: !has("dev"),
            noexec: !has("exec"),
            ..MountAttributes::default()
        },
        copy_up: false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::devices;
    use super::*;
    use crate::request::{RunArgs, build};

    fn request() -> RunRequest {
        let args = RunArgs { image: "web".into(), ..RunArgs::default() };
        build(&args, &|_| None).unwrap()
    }

    fn paths(mounts: &[MountPlan]) -> Vec<&str> {
        mounts.iter().filter_map(|m| m.destination.to_str()).collect()
    }

    #[test]
    fn in_a_dev_of_the_hosts_nothing_is_made() {
        let request = request();
        let asked = || vec![bind(Path::new("/srv/x"), Path::new("/dev"), false)];
        let mounts = together(standard(&request, true), asked());
        assert_eq!(paths(&mounts), ["/proc", "/sys", "/sys/fs/cgroup", "/dev"]);
        let plan = devices::all(true, &[], &mounts);
        assert!(plan.nodes.is_empty() && plan.symlinks.is_empty());
    }

    #[test]
    fn any_other_mount_replaces_only_what_it_covers() {
        let request = request();
        let at = |path: &str| bind(Path::new("/srv/x"), Path::new(path), false);
        let mounts = together(standard(&request, true), vec![at("/dev/shm"), at("/devices")]);
        let all = paths(&mounts);
        assert_eq!(all.iter().filter(|p| **p == "/dev/shm").count(), 1);
        assert!(all.contains(&"/dev/pts") && all.contains(&"/devices"));
        assert_eq!(devices::all(false, &[], &mounts).nodes.len(), 6);
        // A tmpfs is the container's own, with all that belongs into it.
        let own = tmpfs(Path::new("/dev"), None, None, &[], false);
        let mounts = together(standard(&request, true), vec![own]);
        assert!(paths(&mounts).contains(&"/dev/pts"));
        assert_eq!(devices::all(false, &[], &mounts).symlinks.len(), 6);
    }
}
