//! A container as plain data: every decision is taken before anything is
//! touched. The engine (from docker-like flags) and `rcnt-oci` (from an OCI
//! bundle) make a [`ContainerPlan`]; [`crate::spawn`] turns it into a process.
//!
//! Nothing here reads files or calls the kernel. Collections are ordered, so
//! equal wishes give equal bytes and `--dry-run` prints something comparable.

mod devices;
mod mounts;
mod process;
mod resources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

pub use devices::*;
pub use mounts::*;
pub use process::*;
pub use resources::*;
use serde::{Deserialize, Serialize};

/// One container: what [`crate::spawn::spawn`] needs and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerPlan {
    /// Which namespaces are new, which belong to somebody else. What is in
    /// neither is shared with the caller (`--net=host`).
    pub namespaces: Namespaces,
    /// sethostname(2); needs a new UTS namespace.
    pub hostname: Option<String>,
    /// setdomainname(2); needs a new UTS namespace.
    pub domainname: Option<String>,
    /// The root file system.
    pub rootfs: RootfsPlan,
    /// Mounted in this order on top of the root file system.
    pub mounts: Vec<MountPlan>,
    /// Device nodes and `/dev` symlinks, made after the mounts.
    pub devices: DevicesPlan,
    /// Made unreadable: files by `/dev/null`, directories by an empty tmpfs. Absent ones are skipped.
    pub masked_paths: Vec<PathBuf>,
    /// Remounted read-only. Absent ones are skipped.
    pub readonly_paths: Vec<PathBuf>,
    /// Dotted name → value, written through a private procfs. The planner has
    /// checked that each belongs to a namespace of the container's own.
    pub sysctls: BTreeMap<String, String>,
    /// The control group and its limits.
    pub cgroup: CgroupPlan,
    /// The command.
    pub process: ProcessPlan,
    /// `--init`: pid 1 stays ours, forwards signals, reaps, and exits with the command's code.
    pub use_init: bool,
}

/// A kind of namespace (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// cgroup_namespaces(7)
    Cgroup,
    /// ipc_namespaces(7)
    Ipc,
    /// mount_namespaces(7)
    Mount,
    /// network_namespaces(7)
    Network,
    /// pid_namespaces(7)
    Pid,
    /// uts_namespaces(7)
    Uts,
}

/// The namespaces of a container. A mount namespace is always new.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Created by clone3(2).
    pub new: BTreeSet<NamespaceKind>,
    /// Entered by path, `/proc/<pid>/ns/net` of `--net=container:<id>`.
    pub join: BTreeMap<NamespaceKind, PathBuf>,
}
