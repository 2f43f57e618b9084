//! The root file system as CRIU wants to find it for a restore: a mount of its
//! own, with a mount point for everything the container had mounted on it.
//!
//! It is made in a mount namespace of its own, which ends with CRIU: whatever
//! happens, nothing is left mounted on the host.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rcnt_base::sys::child::unshare_namespaces;
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::CriuError;
use crate::init::{Links, Root, attach, clean, clone_path};
use crate::plan::{ContainerPlan, MountKind, MountPlan};

/// The calling process while it is in that namespace: from [`Stage::enter`]
/// until this is dropped. CRIU is started in between.
#[derive(Debug)]
pub struct Stage {
    namespace: OwnedFd,
    directory: OwnedFd,
}

impl Stage {
    /// Enters a new mount namespace and puts the root file system of `plan` on
    /// the empty directory `at`. The caller must be single-threaded, and use no
    /// relative path until this is dropped.
    ///
    /// # Errors
    /// The path and what could not be done with it.
    pub fn enter(plan: &ContainerPlan, at: &Path) -> Result<Self, CriuError> {
        let own = Path::new("/proc/self/ns/mnt");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let namespace = open(own, flags, Mode::empty()).map_err(CriuError::io("open", own))?;
        let here = Path::new(".");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(here, flags, Mode::empty()).map_err(CriuError::io("open", here))?;
        unshare_namespaces(UnshareFlags::NEWNS).map_err(CriuError::io("leave", own))?;
        let stage = Self { namespace, directory };
        let all = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", all)
            .map_err(CriuError::io("make private what is below", "/".as_ref()))?;
        let rootfs = &plan.rootfs.mountpoint;
        mount_root(rootfs, at)?;
        make_mount_points(at, &plan.mounts)?;
        // Once more, without what was mounted to make them.
        unmount(at, UnmountFlags::DETACH).map_err(CriuError::io("unmount", at))?;
        mount_root(rootfs, at)?;
        Ok(stage)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // It cannot fail for a process that has come from there.
        let _ = move_into_link_name_space(
            rustix::fd::AsFd::as_fd(&self.namespace),
            Some(LinkNameSpaceType::Mount),
        );
        let _ = rustix::process::fchdir(&self.directory);
    }
}

fn mount_root(rootfs: &Path, at: &Path) -> Result<(), CriuError> {
    let tree = clone_path(rootfs, true).map_err(CriuError::io("open root directory", rootfs))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = open(at, flags, Mode::empty()).map_err(CriuError::io("open", at))?;
    attach(&tree, &target).map_err(CriuError::io("mount the root file system on", at))
}

/// As a start makes them. Binds are mounted meanwhile, since others may lie in them.
fn make_mount_points(at: &Path, mounts: &[MountPlan]) -> Result<(), CriuError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = Root::new(open(at, flags, Mode::empty()).map_err(CriuError::io("open", at))?);
    for mount in mounts {
        let destination = clean(&mount.destination);
        if is_made_by_criu(&destination, mount, mounts) {
            continue;
        }
        make_mount_point(&root, mount, &destination)?;
    }
    Ok(())
}

/// What lies on a file system that is restored with its content.
fn is_made_by_criu(destination: &Path, mount: &MountPlan, all: &[MountPlan]) -> bool {
    let inside = |other: &MountPlan| {
        let above = clean(&other.destination);
        destination != above && destination.starts_with(above)
    };
    let whole = |other: &&MountPlan| !matches!(other.kind, MountKind::Bind { .. });
    mount.kind == MountKind::Cgroup || all.iter().filter(whole).any(inside)
}

fn make_mount_point(root: &Root, mount: &MountPlan, destination: &Path) -> Result<(), CriuError> {
    let made = |path: PathBuf| move |error| CriuError::io("create mount point", &path)(error);
    let MountKind::Bind { source, .. } = &mount.kind else {
        return root
            .ensure_dir(destination, Links::Follow)
            .map(drop)
            .map_err(made(destination.to_owned()));
    };
    let tree = clone_path(source, true).map_err(CriuError::io("open bind source", source))?;
    let is_dir =
        fstat(&tree).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory);
    let target = match is_dir {
        true => root.ensure_dir(destination, Links::Follow),
        false => root.ensure_file(destination, Links::Follow),
    }
    .map_err(made(destination.to_owned()))?;
    attach(&tree, &target).map_err(CriuError::io("mount on", destination))
}
