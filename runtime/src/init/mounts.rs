//! The mounts of the plan, one by one, on the container's root. Bind sources
//! are cloned while the host's paths still mean something ([`open_sources`]);
//! everything else happens inside, by descriptor.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rcnt_base::sys::mount::{Attributes, set_attributes};
use rustix::fs::{FileType, PROC_SUPER_MAGIC, fstat, fstatfs};
use rustix::mount::MountAttrFlags;

use super::cgroupfs;
use super::copy_up::copy_up;
use super::error::{Doing, InitError};
use super::fsapi::{Setting, attach, attribute_flags, clone_path, filesystem, propagation_flag};
use super::root::{Links, Root, clean};
use crate::plan::{MountAttributes, MountKind, MountPlan};

/// What of the host a mount needs: the clone of a bind's source.
pub(crate) type Source = Option<OwnedFd>;

/// Clones the sources of all binds, in the order of `mounts`. A clone keeps its
/// place in the source's peer group, so `rshared` still reaches the host after
/// everything else was made private.
pub(crate) fn open_sources(mounts: &[MountPlan]) -> Result<Vec<Source>, InitError> {
    let open = |mount: &MountPlan| match &mount.kind {
        MountKind::Bind { source, recursive, .. } => {
            clone_path(source, *recursive).on("open bind source", source).map(Some)
        }
        _ => Ok(None),
    };
    mounts.iter().map(open).collect()
}

/// Mounts one after the other; `sources` are from [`open_sources`] of the same list.
/// Returns the devpts instance mounted at `/dev/pts`, if any.
pub(crate) fn apply(
    root: &Root,
    mounts: &[MountPlan],
    sources: Vec<Source>,
    cgroups: &cgroupfs::View,
) -> Result<Option<OwnedFd>, InitError> {
    let mut devpts = None;
    for (plan, source) in mounts.iter().zip(sources) {
        let mounted = apply_one(root, plan, source, cgroups)?;
        if plan.kind == MountKind::Devpts && clean(&plan.destination) == Path::new("/dev/pts") {
            devpts = mounted;
        }
    }
    Ok(devpts)
}

/// Paths whose meaning the container's safety depends on: no symlink may stand
/// for them or lead to them (CVE-2019-19921, CVE-2026-41579).
fn links_for(destination: &Path) -> Links {
    let special = ["/proc", "/sys", "/dev"].iter().any(|dir| destination.starts_with(dir));
    if special { Links::Refuse } else { Links::Follow }
}

fn apply_one(
    root: &Root,
    plan: &MountPlan,
    source: Source,
    cgroups: &cgroupfs::View,
) -> Result<Option<OwnedFd>, InitError> {
    let destination = clean(&plan.destination);
    let links = links_for(&destination);
    if plan.kind == MountKind::Cgroup {
        let target = directory(root, &destination, links)?;
        cgroupfs::mount(cgroups, &target, &destination, plan.attributes)?;
        return Ok(None);
    }
    let is_bind = source.is_some();
    let mount = match source {
        Some(tree) => tree,
        None => filesystem_of(&plan.kind, plan.attributes)
            .on("make the file system for", &destination)?,
    };
    let target = if is_directory(&mount) {
        directory(root, &destination, links)?
    } else {
        let target = root.ensure_file(&destination, links);
        refuse_loop(target, &destination, "create mount point")?
    };
    refuse_on_procfs(&mount, &target, &destination)?;
    if plan.copy_up && is_directory(&mount) {
        copy_up(&target, &mount).on("copy the image's content to the volume at", &destination)?;
    }
    if is_bind {
        set_bind_attributes(&mount, plan).on("set the attributes of", &destination)?;
    }
    attach(&mount, &target).on("mount", &destination)?;
    Ok(Some(mount))
}

fn directory(root: &Root, destination: &Path, links: Links) -> Result<OwnedFd, InitError> {
    refuse_loop(root.ensure_dir(destination, links), destination, "create mount point")
}

/// ELOOP where links are refused deserves its own words.
fn refuse_loop(
    result: std::io::Result<OwnedFd>,
    path: &Path,
    doing: &'static str,
) -> Result<OwnedFd, InitError> {
    match result {
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            let why = "is or lies behind a symbolic link, which is not allowed there";
            Err(InitError::Refused { path: path.to_owned(), why })
        }
        other => other.on(doing, path),
    }
}

/// Whether the root of a mount is a directory.
fn is_directory(mount: impl AsFd) -> bool {
    fstat(mount).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory)
}

fn is_procfs(handle: impl AsFd) -> bool {
    fstatfs(handle).is_ok_and(|s| s.f_type == PROC_SUPER_MAGIC)
}

/// Single files that lxcfs and the like may put over procfs' own.
const PROC_FILES: [&str; 9] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/net/dev",
];

/// Nothing but procfs may be `/proc`, and nothing may cover parts of it that
/// say who a process is (CVE-2019-16884: a volume there fakes the files
/// through which security labels are set). Judged by what the target really is,
/// so that a path through a symlink gains nothing.
fn refuse_on_procfs(
    mount: &OwnedFd,
    target: &OwnedFd,
    destination: &Path,
) -> Result<(), InitError> {
    let covers = destination == Path::new("/proc") || is_procfs(target);
    let known = PROC_FILES.iter().any(|file| destination == Path::new(file));
    if covers && !known && !is_procfs(mount) {
        let why = "nothing may be mounted on or in /proc";
        return Err(InitError::Refused { path: destination.to_owned(), why });
    }
    Ok(())
}

/// Propagation goes as deep as the bind, attributes only as deep as asked for.
fn set_bind_attributes(mount: &OwnedFd, plan: &MountPlan) -> std::io::Result<()> {
    let MountKind::Bind { recursive, propagation, .. } = plan.kind else { return Ok(()) };
    let change = Attributes {
        propagation: propagation_flag(propagation),
        recursive,
        ..Attributes::default()
    };
    set_attributes(mount, &change)?;
    let set = attribute_flags(plan.attributes);
    if set.is_empty() {
        return Ok(());
    }
    let clear = if plan.attributes.noatime {
        MountAttrFlags::MOUNT_ATTR__ATIME
    } else {
        MountAttrFlags::empty()
    };
    let recursive = recursive && plan.attributes.recursive;
    set_attributes(mount, &Attributes { set, clear, recursive, ..Attributes::default() })
}

fn filesystem_of(kind: &MountKind, attributes: MountAttributes) -> std::io::Result<OwnedFd> {
    let flags = attribute_flags(attributes);
    match kind {
        MountKind::Proc => filesystem("proc", "proc", &[], flags),
        MountKind::Sysfs => filesystem("sysfs", "sysfs", &[], flags),
        MountKind::Mqueue => filesystem("mqueue", "mqueue", &[], flags),
        MountKind::Devpts => {
            let settings = [
                Setting::Flag("newinstance"),
                Setting::Value("ptmxmode", "0666"),
                Setting::Value("mode", "0620"),
                Setting::Value("gid", "5"),
            ];
            filesystem("devpts", "devpts", &settings, flags)
        }
        MountKind::Tmpfs { size, mode, uid, gid, inodes } => {
            let values = [
                ("size", size.map(|n| n.to_string())),
                ("mode", Some(format!("{:o}", mode.unwrap_or(0o1777)))),
                ("uid", uid.map(|n| n.to_string())),
                ("gid", gid.map(|n| n.to_string())),
                ("nr_inodes", inodes.map(|n| n.to_string())),
            ];
            let settings: Vec<Setting<'_>> = values
                .iter()
                .filter_map(|(key, value)| value.as_deref().map(|v| Setting::Value(key, v)))
                .collect();
            filesystem("tmpfs", "tmpfs", &settings, flags)
        }
        MountKind::Cgroup | MountKind::Bind { .. } => Err(rustix::io::Errno::INVAL.into()),
    }
}
