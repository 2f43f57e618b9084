//! `root` and `mounts`.

use std::path::Path;

use oci_spec::runtime::Mount;

use super::config::{Linux, Spec};
use super::{OciError, options, refuse};
use crate::plan::{MountKind, MountPlan, Propagation, RootfsPlan, RootfsSource};

pub(super) fn rootfs(bundle: &Path, spec: &Spec, linux: &Linux) -> Result<RootfsPlan, OciError> {
    let root = spec.root().as_ref().ok_or(OciError::Missing("root"))?;
    let path = bundle.join(root.path());
    let propagation = match linux.rootfs_propagation().as_deref().unwrap_or("private") {
        "" | "private" | "rprivate" => Propagation::Private,
        "slave" | "rslave" => Propagation::Slave,
        "shared" | "rshared" => Propagation::Shared,
        "unbindable" | "runbindable" => Propagation::Unbindable,
        other => {
            return refuse("linux.rootfsPropagation", format!("{other:?} is not a propagation"));
        }
    };
    Ok(RootfsPlan {
        source: RootfsSource::Directory(path.clone()),
        mountpoint: path,
        readonly: root.readonly().unwrap_or(false),
        propagation,
        no_pivot: false,
    })
}

pub(super) fn mount_plan(bundle: &Path, mount: &Mount) -> Result<MountPlan, OciError> {
    let words = mount.options().as_deref().unwrap_or_default();
    let parsed = options::parse(words);
    if let Some(word) = parsed.data.iter().find(|word| word.starts_with("idmap")) {
        return refuse("mounts", format!("option {word:?} is not supported"));
    }
    let source = mount.source().clone().unwrap_or_default();
    let kind = match mount.typ().as_deref().unwrap_or("none") {
        _ if parsed.bind.is_some() => MountKind::Bind {
            source: bundle.join(source),
            recursive: parsed.bind == Some(options::Depth::Recursive),
            propagation: parsed.propagation.unwrap_or_default(),
        },
        "bind" => MountKind::Bind {
            source: bundle.join(source),
            recursive: false,
            propagation: parsed.propagation.unwrap_or_default(),
        },
        "proc" => MountKind::Proc,
        "sysfs" => MountKind::Sysfs,
        "devpts" => MountKind::Devpts,
        "mqueue" => MountKind::Mqueue,
        "cgroup" | "cgroup2" => MountKind::Cgroup,
        "tmpfs" => options::tmpfs(&parsed.data).or_else(|word| refuse("mounts", word))?,
        other => return refuse("mounts", format!("a mount of type {other:?} is not supported")),
    };
    Ok(MountPlan {
        destination: mount.destination().clone(),
        kind,
        attributes: parsed.attributes,
        copy_up: parsed.copy_up,
    })
}
