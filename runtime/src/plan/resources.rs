//! The control group: its place, limits and device rules.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::DeviceKind;

/// The control group: `path` below each hierarchy's mount point, and limits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CgroupPlan {
    /// Relative, `rcnt/<id>`.
    pub path: PathBuf,
    /// Limits and device rules.
    pub resources: Resources,
}

/// Limits, in the units of docker's flags. `None` = not limited, nothing written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// `--memory`, bytes.
    pub memory: Option<u64>,
    /// `--memory-swap`, bytes of memory *plus* swap; -1 = unlimited swap.
    pub memory_swap: Option<i64>,
    /// `--memory-reservation`, bytes.
    pub memory_reservation: Option<u64>,
    /// `--memory-swappiness`, 0–100.
    pub memory_swappiness: Option<u64>,
    /// `--oom-kill-disable`
    pub oom_kill_disable: bool,
    /// `--cpu-quota`, microseconds per period.
    pub cpu_quota: Option<i64>,
    /// `--cpu-period`, microseconds.
    pub cpu_period: Option<u64>,
    /// `--cpu-shares`, cgroup v1 units (2–262144).
    pub cpu_shares: Option<u64>,
    /// `--cpuset-cpus`, "0-3,5".
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`
    pub cpuset_mems: Option<String>,
    /// `--pids-limit`; -1 = unlimited.
    pub pids_limit: Option<i64>,
    /// `--blkio-weight`, 10–1000.
    pub blkio_weight: Option<u16>,
    /// Huge page limits: page size as the kernel writes it ("2MB") → bytes (OCI bundles).
    pub hugetlb: BTreeMap<String, u64>,
    /// Access to device numbers, evaluated in order, last match wins. Empty =
    /// no restriction (`--privileged`).
    pub devices: Vec<DeviceRule>,
}

/// One line of the device cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Allow, or deny.
    pub allow: bool,
    /// Kind of device.
    pub kind: DeviceKind,
    /// Major number, any when absent.
    pub major: Option<u32>,
    /// Minor number, any when absent.
    pub minor: Option<u32>,
    /// Letters of `rwm`.
    pub access: String,
}
