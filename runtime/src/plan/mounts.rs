//! The root file system and what is mounted on it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::IdMapping;

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
    /// And of all that is mounted on it.
    #[serde(default)]
    pub propagation_recursive: bool,
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

/// A change of propagation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropagationChange {
    /// What it becomes.
    pub to: Propagation,
    /// With all mounts below (`rprivate`, `rslave`…).
    pub recursive: bool,
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
    /// Attributes of the mount and, with a recursive bind, of all mounts below it.
    #[serde(default)]
    pub recursive: MountAttributes,
    /// Changes of propagation, in this order. A bind that says nothing is made
    /// private all the way down, as docker does.
    #[serde(default)]
    pub propagation: Vec<PropagationChange>,
    /// A fresh named volume (or podman's `tmpcopyup`): what the image has at
    /// `destination` is copied in first. No effect when it is not empty.
    pub copy_up: bool,
}

impl MountPlan {
    /// `kind` at `destination`, nothing else asked for.
    pub fn new(destination: impl Into<PathBuf>, kind: MountKind) -> Self {
        Self {
            destination: destination.into(),
            kind,
            attributes: MountAttributes::default(),
            recursive: MountAttributes::default(),
            propagation: Vec::new(),
            copy_up: false,
        }
    }
}

/// What a [`MountPlan`] mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A new file system. proc and sysfs are those of the container's own pid
    /// and network namespace.
    Filesystem(FilesystemPlan),
    /// The container's view of the cgroup hierarchies, v1, hybrid or v2 as on the host.
    Cgroup,
    /// A host file, directory, device or socket.
    Bind {
        /// Host path; must exist. Opened before the container's root is entered,
        /// but for one below the root, which may be a mount made before.
        source: PathBuf,
        /// With the mounts below it (`rbind`).
        recursive: bool,
        /// Attributes that are not mentioned are lowered rather than left, as OCI
        /// runtimes do once a bind has any option; those that a user namespace
        /// locks are left.
        #[serde(default)]
        exact: bool,
        /// Owners shown as others than on disk.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id_map: Option<IdMapPlan>,
    },
}

impl MountKind {
    /// A bind that keeps the attributes of its source but for those asked for.
    pub fn bind(source: impl Into<PathBuf>, recursive: bool) -> Self {
        MountKind::Bind { source: source.into(), recursive, exact: false, id_map: None }
    }
}

/// Which owners an id-mapped bind shows (mount_setattr(2), "ID-mapped mounts").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapPlan {
    /// The mapping.
    pub ids: MappedIds,
    /// Of the mounts below as well (`ridmap`).
    pub recursive: bool,
}

/// Where a mapping comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MappedIds {
    /// Written down: from ids on disk (`container`) to ids shown (`host`).
    Ranges {
        /// Users.
        users: Vec<IdMapping>,
        /// Groups.
        groups: Vec<IdMapping>,
    },
    /// Those of an existing user namespace.
    Namespace(PathBuf),
}

/// A new file system (fsopen(2)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesystemPlan {
    /// `proc`, `tmpfs`, `ext4`…
    pub kind: String,
    /// What the mount table shows as its source; the device of a file system on one.
    pub source: String,
    /// Its own options, `size=64m` or a bare word, in this order.
    pub options: Vec<(String, Option<String>)>,
    /// A tmpfs whose root has the mode of the directory it covers, if there is one.
    #[serde(default)]
    pub inherit_mode: bool,
}

impl FilesystemPlan {
    /// File system `kind` without options, its name for a source.
    pub fn new(kind: &str) -> Self {
        Self { kind: kind.to_owned(), source: kind.to_owned(), ..Self::default() }
    }

    /// With option `key=value`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.options.push((key.to_owned(), Some(value.to_string())));
        self
    }

    /// A new devpts instance as every container has one.
    pub fn devpts() -> Self {
        let mut plan = Self::new("devpts");
        plan.options.push(("newinstance".to_owned(), None));
        plan.with("ptmxmode", "0666").with("mode", "0620").with("gid", 5)
    }
}

impl From<FilesystemPlan> for MountKind {
    fn from(plan: FilesystemPlan) -> Self {
        MountKind::Filesystem(plan)
    }
}

/// Attributes of a mount (mount_setattr(2)): raised, lowered, or, where there is
/// nothing, left as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountAttributes {
    /// `ro`, `rw`
    pub readonly: Option<bool>,
    /// `nosuid`, `suid`
    pub nosuid: Option<bool>,
    /// `nodev`, `dev`
    pub nodev: Option<bool>,
    /// `noexec`, `exec`
    pub noexec: Option<bool>,
    /// `nodiratime`, `diratime`
    pub nodiratime: Option<bool>,
    /// `nosymfollow`, `symfollow`
    pub nosymfollow: Option<bool>,
    /// `relatime`, `noatime`, `strictatime`
    pub atime: Option<AccessTime>,
}

/// When reading a file changes its access time (mount(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessTime {
    /// `relatime`: when it is older than the last change, or a day.
    Relative,
    /// `noatime`
    Never,
    /// `strictatime`
    Strict,
}
