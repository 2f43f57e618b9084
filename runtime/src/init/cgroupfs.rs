//! `/sys/fs/cgroup` as the container sees it: its own cgroup as the root, laid
//! out as on the host. Clones of the host's mounts, cut at the container's
//! cgroup, serve v1, hybrid and v2 alike; inside a cgroup namespace they show
//! "/" as their root, like a mount made there would.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rcnt_base::sys::mount::{Attributes, set_attributes};
use rustix::fs::{Mode, OFlags, mkdirat, openat, symlinkat};
use rustix::mount::{MountAttrFlags, MountPropagationFlags};

use super::error::{Doing, InitError};
use super::fsapi::{Setting, attach, change_to, clone_path, filesystem};
use crate::cgroup::Layout;
use crate::plan::{ContainerPlan, MountKind, MountPlan, NamespaceKind};

/// One hierarchy, cloned from the host.
#[derive(Debug)]
pub(crate) struct Part {
    /// Its directory under `/sys/fs/cgroup`: "memory", "cpu,cpuacct", "unified".
    name: String,
    /// Controllers that are reached through symlinks because they share it.
    aliases: Vec<String>,
    tree: OwnedFd,
}

/// The hierarchies to show.
#[derive(Debug)]
pub(crate) enum View {
    /// The plan shows none.
    None,
    /// A v2 tree right at the destination.
    Unified(OwnedFd),
    /// A tmpfs with a directory for each.
    Many(Vec<Part>),
}

/// Clones what the mounts will need, while the host's paths can still be named.
pub(crate) fn open_view(plan: &ContainerPlan, layout: &Layout) -> Result<View, InitError> {
    if !plan.mounts.iter().any(|m| m.kind == MountKind::Cgroup) {
        return Ok(View::None);
    }
    let cgroup = plan.cgroup.path.as_path();
    let open = |dir: &Path| clone_path(dir, false).on("open cgroup", dir);
    let unified = layout.unified_dir(cgroup);
    if let (Some(mountpoint), Some(dir), true) = (&layout.unified, &unified, layout.v1.is_empty()) {
        // Without a namespace of its own the container finds itself under the path
        // that /proc/self/cgroup tells, from the top: so it is shown the whole tree.
        let own = plan.namespaces.separate(NamespaceKind::Cgroup);
        return Ok(View::Unified(open(if own { dir } else { mountpoint })?));
    }
    let mut parts = Vec::new();
    for hierarchy in &layout.v1 {
        let controllers: Vec<String> = hierarchy.controllers.iter().cloned().collect();
        let tree = open(&hierarchy.dir(cgroup))?;
        parts.push(part(&hierarchy.mountpoint, controllers, tree));
    }
    if let (Some(mountpoint), Some(dir)) = (&layout.unified, &unified) {
        parts.push(part(mountpoint, Vec::new(), open(dir)?));
    }
    Ok(View::Many(parts))
}

/// Names a hierarchy as the host does.
fn part(mountpoint: &Path, controllers: Vec<String>, tree: OwnedFd) -> Part {
    let name = mountpoint.file_name().unwrap_or(OsStr::new("cgroup"));
    let name = name.to_string_lossy().into_owned();
    let shared = controllers.len() > 1;
    let aliases = controllers.into_iter().filter(|c| shared && *c != name).collect();
    Part { name, aliases, tree }
}

/// Mounts `view` on `target`. Every mount gets the plan's attributes.
pub(crate) fn mount(
    view: &View,
    target: &OwnedFd,
    plan: &MountPlan,
    label: Option<&str>,
) -> Result<(), InitError> {
    let change =
        Attributes { propagation: MountPropagationFlags::PRIVATE, ..change_to(plan.attributes) };
    let destination = &plan.destination;
    match view {
        View::None => Ok(()),
        View::Unified(tree) => {
            set_attributes(tree, &change).on("set the attributes of", destination)?;
            attach(tree, target).on("mount the cgroup on", destination)
        }
        View::Many(parts) => {
            many(parts, target, &change, label).on("mount the cgroups on", destination)
        }
    }
}

fn many(
    parts: &[Part],
    target: &OwnedFd,
    change: &Attributes,
    label: Option<&str>,
) -> std::io::Result<()> {
    let flags = change.set.difference(MountAttrFlags::MOUNT_ATTR_RDONLY);
    let mut settings = vec![Setting::Value("mode", "755")];
    settings.extend(label.map(|label| Setting::Value("context", label)));
    let tmpfs = filesystem("tmpfs", "tmpfs", &settings, flags)?;
    attach(&tmpfs, target)?;
    for Part { name, aliases, tree } in parts {
        mkdirat(&tmpfs, name.as_str(), Mode::from_raw_mode(0o755))?;
        for alias in aliases {
            symlinkat(name.as_str(), &tmpfs, alias.as_str())?;
        }
        set_attributes(tree, change)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        attach(tree, openat(&tmpfs, name.as_str(), flags, Mode::empty())?)?;
    }
    set_attributes(&tmpfs, &Attributes { set: change.set, ..Attributes::default() })
}
