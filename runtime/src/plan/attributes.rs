//! What a command has besides its rights: when, where and as what it runs.

use std::collections::BTreeSet;

pub use rcnt_base::sys::scheduling::Scheduling;
use serde::{Deserialize, Serialize};

/// Attributes that only OCI configurations ask for; the default leaves all as
/// they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    /// sched_setattr(2)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<Scheduling>,
    /// The container's cgroup has processors of its own: what to say when the
    /// scheduling is refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cpuset: bool,
    /// ioprio_set(2)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_priority: Option<IoPriority>,
    /// set_mempolicy(2)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_policy: Option<MemoryPolicy>,
    /// personality(2)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personality: Option<u32>,
    /// Processors when the command begins.
    pub processors: Processors,
    /// Processors of a further process until it is in the container's cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entering: Option<BTreeSet<u16>>,
    /// SELinux label from exec on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selinux_label: Option<String>,
    /// The session keyring.
    pub keyring: Keyring,
    /// How many descriptors from 3 on it inherits of the caller's.
    pub passed: u32,
}

/// Where the command may run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Processors {
    /// Where the caller may.
    #[default]
    Inherited,
    /// Everywhere the cgroup allows.
    All,
    /// On these.
    Only(BTreeSet<u16>),
}

/// Class and level (ioprio_set(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoPriority {
    /// `IOPRIO_CLASS_*`
    pub class: u8,
    /// 0 (highest) to 7.
    pub level: u8,
}

/// From where memory is taken (set_mempolicy(2)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPolicy {
    /// `MPOL_*` with `MPOL_F_*`.
    pub mode: i32,
    /// NUMA nodes.
    pub nodes: BTreeSet<u16>,
}

/// Which session keyring the command has (keyrings(7)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keyring {
    /// A new one without a name.
    #[default]
    Anonymous,
    /// The one of this name, made when it is not there: a container's processes
    /// share theirs.
    Named {
        /// `_ses.<id>`
        name: String,
        /// May others than its owner search it? In a user namespace the owner of
        /// the keyring and the command's user are not the same.
        for_others: bool,
    },
    /// The caller's.
    Inherited,
}
