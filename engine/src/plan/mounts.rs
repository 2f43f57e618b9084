//! The mounts of a container, in the order they are made.

use std::path::{Path, PathBuf};

use rcnt_runtime::plan::{
    FilesystemPlan, MountAttributes, MountKind, MountPlan, Propagation, PropagationChange,
};

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
    readonly: None,
    nosuid: Some(true),
    nodev: Some(true),
    noexec: Some(true),
    nodiratime: None,
    nosymfollow: None,
    atime: None,
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
    let mount = |destination: &str, plan: FilesystemPlan, attributes| MountPlan {
        attributes,
        ..MountPlan::new(destination, plan.into())
    };
    let new = FilesystemPlan::new;
    let tmpfs = |size: u64, mode: &str| new("tmpfs").with("size", size).with("mode", mode);
    let yes = Some(true);
    let readonly =
        |readonly: bool| MountAttributes { readonly: readonly.then_some(true), ..NOTHING_SPECIAL };
    let dev = MountAttributes { nosuid: yes, ..MountAttributes::default() };
    let pts = MountAttributes { nosuid: yes, noexec: yes, ..MountAttributes::default() };
    let cgroup = MountPlan::new("/sys/fs/cgroup", MountKind::Cgroup);
    vec![
        mount("/proc", new("proc"), NOTHING_SPECIAL),
        mount("/dev", tmpfs(64 << 20, "755"), dev),
        mount("/dev/pts", FilesystemPlan::devpts(), pts),
        // With the host's network namespace sysfs shows the host's devices: read-only.
        mount("/sys", new("sysfs"), readonly(!request.privileged || !own_network)),
        MountPlan { attributes: readonly(!request.privileged), ..cgroup },
        mount("/dev/mqueue", new("mqueue"), NOTHING_SPECIAL),
        mount("/dev/shm", tmpfs(request.shm_size, "1777"), NOTHING_SPECIAL),
    ]
}

fn bind(source: &Path, destination: &Path, read_only: bool) -> MountPlan {
    let readonly = read_only.then_some(true);
    MountPlan {
        recursive: MountAttributes { readonly, ..MountAttributes::default() },
        ..MountPlan::new(destination, MountKind::bind(source, true))
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
            let to = propagation(request.propagation.as_deref());
            Some(MountPlan {
                kind: MountKind::bind(path, *recursive),
                propagation: vec![PropagationChange { to, recursive: *recursive }],
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
    let mut plan =
        FilesystemPlan::new("tmpfs").with("mode", format!("{:o}", mode.unwrap_or(0o1777)));
    if let Some(size) = size {
        plan = plan.with("size", size);
    }
    for key in ["uid", "gid", "nr_inodes"] {
        let value = |flag: &String| flag.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
        // Checked when the request was made.
        if let Some(value) = flags.iter().find_map(value) {
            plan = plan.with(key, value);
        }
    }
    let unless = |flag: &str| (!flags.iter().any(|f| f == flag)).then_some(true);
    MountPlan {
        // docker's defaults, each of which a flag takes back.
        attributes: MountAttributes {
            readonly: read_only.then_some(true),
            nosuid: unless("suid"),
            nodev: unless("dev"),
            noexec: unless("exec"),
            ..MountAttributes::default()
        },
        ..MountPlan::new(destination, plan.into())
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
