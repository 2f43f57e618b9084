//! A container as plain data: every decision is taken before anything is
//! touched. The engine (from docker-like flags) and `rcnt-oci` (from an OCI
//! bundle) make a [`ContainerPlan`]; [`crate::spawn`] turns it into a process.
//!
//! Nothing here reads files or calls the kernel. Collections are ordered, so
//! equal wishes give equal bytes and `--dry-run` prints something comparable.

mod attributes;
mod devices;
mod hooks;
mod intel_rdt;
mod mounts;
mod net_devices;
mod process;
mod resources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

pub use attributes::*;
pub use devices::*;
pub use hooks::*;
pub use intel_rdt::*;
pub use mounts::*;
pub use net_devices::*;
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
    /// SELinux label of every new file system that can have one (`context=`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_label: Option<String>,
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
    /// Shares of cache and memory bandwidth; for [`crate::intel_rdt`], not for spawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<IntelRdtPlan>,
    /// Network interfaces of the host that become the container's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub net_devices: Vec<NetDevicePlan>,
    /// Programs that run while the container is being made.
    #[serde(default, skip_serializing_if = "HooksPlan::is_empty")]
    pub hooks: HooksPlan,
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
    /// time_namespaces(7)
    Time,
    /// user_namespaces(7)
    User,
    /// uts_namespaces(7)
    Uts,
}

/// The namespaces of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Created by clone3(2).
    pub new: BTreeSet<NamespaceKind>,
    /// Entered by path, `/proc/<pid>/ns/net` of `--net=container:<id>`.
    pub join: BTreeMap<NamespaceKind, PathBuf>,
    /// User ids of a new user namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids of a new user namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
    /// Clocks of a new time namespace that are off the host's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub time_offsets: BTreeMap<Clock, TimeOffset>,
}

impl Namespaces {
    /// Whether the container has one of this kind that is not the caller's.
    pub fn separate(&self, kind: NamespaceKind) -> bool {
        self.new.contains(&kind) || self.join.contains_key(&kind)
    }
}

/// A range of ids inside a user namespace and what they are outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    /// First id inside.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// How many.
    pub size: u32,
}

/// A clock that a time namespace has of its own (time_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// CLOCK_BOOTTIME
    Boottime,
    /// CLOCK_MONOTONIC
    Monotonic,
}

/// How far a clock is ahead of the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeOffset {
    /// Seconds, negative for behind.
    pub seconds: i64,
    /// Nanoseconds on top, below 1,000,000,000.
    pub nanoseconds: u32,
}
