//! The control group: its place, limits and device rules.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::DeviceKind;

/// The control group: where it is, who makes it, and limits. What an OCI state
/// file keeps of it until the container is deleted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CgroupPlan {
    /// Relative, `rcnt/<id>`; below the root of each hierarchy, or below what
    /// `bases` says of it.
    pub path: PathBuf,
    /// Where `path` begins, by hierarchy: any of its v1 controllers, or "" for the v2
    /// tree → a directory below its mount point. Not named: its root.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bases: BTreeMap<String, PathBuf>,
    /// The systemd unit whose cgroup it is. `None`: made by mkdir.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitPlan>,
    /// Hand down every v2 controller there is, not only those needed: what runs
    /// inside may make cgroups of its own.
    #[serde(default)]
    pub all_controllers: bool,
    /// The user it is handed over to on v2: what runs inside may make cgroups of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
    /// Limits and device rules.
    pub resources: Resources,
}

/// Which cgroup one more process joins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JoinPlan {
    /// [`CgroupPlan::path`]; empty when the container has none.
    pub path: PathBuf,
    /// [`CgroupPlan::bases`]
    pub bases: BTreeMap<String, PathBuf>,
    /// `exec --cgroup`: v1 controller → a cgroup below the container's; "" is the
    /// one of all hierarchies, and of v2.
    pub sub: BTreeMap<String, PathBuf>,
    /// The container's first process: where it is serves where the container's v2
    /// cgroup has gone or takes no process any more.
    pub init: Option<i32>,
}

impl From<&CgroupPlan> for JoinPlan {
    fn from(plan: &CgroupPlan) -> Self {
        Self { path: plan.path.clone(), bases: plan.bases.clone(), ..Self::default() }
    }
}

impl From<PathBuf> for JoinPlan {
    fn from(path: PathBuf) -> Self {
        Self { path, ..Self::default() }
    }
}

/// A transient systemd unit, a scope or a slice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UnitPlan {
    /// `prefix-name.scope` or `name.slice`.
    pub name: String,
    /// The slice it is in, `system.slice`.
    pub slice: String,
    /// For `systemctl status`.
    pub description: String,
    /// Further properties, in the words of the bundle's annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, UnitValue>,
}

/// The value of a unit's property (D-Bus specification, "Type system").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitValue {
    /// `b`
    Bool(bool),
    /// `y`
    Byte(u8),
    /// `n`
    Int16(i16),
    /// `q`
    Uint16(u16),
    /// `i`
    Int32(i32),
    /// `u`
    Uint32(u32),
    /// `x`
    Int64(i64),
    /// `t`
    Uint64(u64),
    /// `d`
    Double(f64),
    /// `s`
    String(String),
    /// An array of values of one type: its signature, and the values.
    Array(char, Vec<UnitValue>),
    /// `a(ss)`, `DeviceAllow`.
    Pairs(Vec<(String, String)>),
}

/// Who wrote the limits down: what an error calls them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// docker's command line: `--memory`.
    #[default]
    Flags,
    /// An OCI configuration: `linux.resources.memory.limit`.
    Json,
}

/// Limits, in the units of docker's flags and of runtime-spec's `linux.resources`.
/// `None` or empty = not limited, nothing written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// What errors call the settings.
    pub dialect: Dialect,
    /// `--memory`, bytes; -1 = unlimited.
    pub memory: Option<i64>,
    /// `--memory-swap`, bytes of memory *plus* swap; -1 = unlimited swap.
    pub memory_swap: Option<i64>,
    /// docker's default: as much swap as memory, where the kernel can count it.
    pub swap_like_memory: bool,
    /// `--memory-reservation`, bytes; -1 = none.
    pub memory_reservation: Option<i64>,
    /// Bytes of TCP buffers; -1 = unlimited. v1 only.
    pub memory_kernel_tcp: Option<i64>,
    /// `--memory-swappiness`, 0–100.
    pub memory_swappiness: Option<u64>,
    /// `--oom-kill-disable`
    pub oom_kill_disable: bool,
    /// Refuse a memory limit that is below what is in use (v2; v1 always does).
    pub memory_check_before_update: bool,
    /// `--cpu-quota`, microseconds per period; negative = unlimited.
    pub cpu_quota: Option<i64>,
    /// `--cpu-period`, microseconds.
    pub cpu_period: Option<u64>,
    /// Microseconds that may be saved up from earlier periods.
    pub cpu_burst: Option<u64>,
    /// `--cpu-shares`, cgroup v1 units (2–262144).
    pub cpu_shares: Option<u64>,
    /// `--cpu-rt-runtime`, microseconds of real-time tasks per period (v1).
    pub cpu_rt_runtime: Option<i64>,
    /// `--cpu-rt-period`, microseconds (v1).
    pub cpu_rt_period: Option<u64>,
    /// 1: run only when nobody else wants to (SCHED_IDLE).
    pub cpu_idle: Option<i64>,
    /// `--cpuset-cpus`, "0-3,5".
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`
    pub cpuset_mems: Option<String>,
    /// `--pids-limit`; negative = unlimited, 0 counts as 1 (systemd knows no 0).
    pub pids_limit: Option<i64>,
    /// `--blkio-weight`, 10–1000.
    pub blkio_weight: Option<u16>,
    /// The weight of the cgroup's own processes beside its children (v1, old kernels).
    pub blkio_leaf_weight: Option<u16>,
    /// Weights of single devices.
    pub blkio_weight_devices: Vec<WeightDevice>,
    /// Rates of single devices.
    pub blkio_throttles: Vec<Throttle>,
    /// Huge page limits: page size as the kernel writes it ("2MB") → bytes (OCI bundles).
    pub hugetlb: BTreeMap<String, u64>,
    /// The class of its packets for tc(8) (v1).
    pub network_class: Option<u32>,
    /// Priorities of its packets by interface (v1).
    pub network_priorities: BTreeMap<String, u32>,
    /// RDMA devices → what may be held of them.
    pub rdma: BTreeMap<String, RdmaLimit>,
    /// v2 files → values, written last.
    pub unified: BTreeMap<String, String>,
    /// Access to device numbers, evaluated in order, last match wins. Empty =
    /// no restriction (`--privileged`).
    pub devices: Vec<DeviceRule>,
}

/// The number of a block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeviceNumber {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl std::fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// Weights of one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightDevice {
    /// Which.
    pub device: DeviceNumber,
    /// 10–1000.
    pub weight: Option<u16>,
    /// As [`Resources::blkio_leaf_weight`].
    pub leaf_weight: Option<u16>,
}

/// One rate of one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// Which.
    pub device: DeviceNumber,
    /// What is counted.
    pub kind: ThrottleKind,
    /// Bytes or operations per second.
    pub rate: u64,
}

/// What a [`Throttle`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThrottleKind {
    /// Bytes read.
    ReadBps,
    /// Bytes written.
    WriteBps,
    /// Reads.
    ReadIops,
    /// Writes.
    WriteIops,
}

/// What may be held of an RDMA device; `None` = any number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RdmaLimit {
    /// HCA handles.
    pub handles: Option<u32>,
    /// HCA objects.
    pub objects: Option<u32>,
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
