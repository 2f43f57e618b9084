//! The root file system and what is mounted on it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the root file system comes from and where it is put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootfsPlan {
    /// Its content.
    pub source: RootfsSource,
    /// An existing, empty host directory (for [`RootfsSource::Directory`] it may
    /// be the directory itself). Only the container's mount namespace sees
    /// anything on it.
    pub mountpoint: PathBuf,
    /// `--read-only`. Mounts on top decide for themselves.
    pub readonly: bool,
    /// Propagation of the root mount, `private` unless an OCI bundle says otherwise.
    pub propagation: Propagation,
    /// The root is moved and entered with chroot(2): for a host whose own root
    /// is an initramfs, which pivot_root(2) cannot leave. Less safe.
    #[serde(default)]
    pub no_pivot: bool,
}

/// Content of a root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootfsSource {
    /// overlayfs over an image's layers.
    Overlay {
        /// Layer directories, topmost first; at least one.
        lower: Vec<PathBuf>,
        /// The container's own changes.
        upper: PathBuf,
        /// overlayfs' work directory, on the same file system as `upper`.
        work: PathBuf,
    },
    /// A plain directory.
    Directory(PathBuf),
}

/// How mount events travel (mount_namespaces(7), "Shared subtrees").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// Neither way.
    #[default]
    Private,
    /// From the host into the container.
    Slave,
    /// Both ways.
    Shared,
    /// Private, and cannot be bind-mounted.
    Unbindable,
}

/// One mount. `destination` is a path inside the container; it is created when
/// missing and always resolved below the root, following symlinks there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPlan {
    /// Absolute, as the container sees it.
    pub destination: PathBuf,
    /// What is mounted.
    pub kind: MountKind,
    /// Attributes of the mount.
    pub attributes: MountAttributes,
    /// A fresh named volume (or podman's `tmpcopyup`): what the image has at
    /// `destination` is copied in first. No effect when it is not empty.
    pub copy_up: bool,
}

/// What a [`MountPlan`] mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// procfs of the container's pid namespace; only at `/proc`.
    Proc,
    /// sysfs of the container's network namespace; only at `/sys`.
    Sysfs,
    /// A fresh tmpfs.
    Tmpfs {
        /// Bytes; the kernel's default (half the memory) when absent.
        size: Option<u64>,
        /// Mode of its root directory, 0o1777 when absent.
        mode: Option<u32>,
        /// Owner of its root directory.
        uid: Option<u32>,
        /// Group of its root directory.
        gid: Option<u32>,
        /// Most inodes.
        inodes: Option<u64>,
    },
    /// A new devpts instance, `ptmxmode=0666,mode=0620,gid=5`.
    Devpts,
    /// POSIX message queues of the container's IPC namespace.
    Mqueue,
    /// The container's view of the cgroup hierarchies, v1, hybrid or v2 as on the host.
    Cgroup,
    /// A host file, directory, device or socket.
    Bind {
        /// Host path; must exist. Opened before the container's root is entered.
        source: PathBuf,
        /// With the mounts below it (`rbind`).
        recursive: bool,
        /// Propagation of the bind, docker's default `rprivate`.
        propagation: Propagation,
    },
}

/// Attributes of a mount (mount_setattr(2)). Only what is `true` is changed on a bind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountAttributes {
    /// `ro`
    pub readonly: bool,
    /// `nosuid`
    pub nosuid: bool,
    /// `nodev`
    pub nodev: bool,
    /// `noexec`
    pub noexec: bool,
    /// `noatime`
    pub noatime: bool,
    /// `nodiratime`
    pub nodiratime: bool,
    /// `nosymfollow`
    pub nosymfollow: bool,
    /// Apply to the mounts below as well (a recursive bind made `ro` all the way down).
    pub recursive: bool,
}
