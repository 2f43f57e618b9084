//! `linux.resources` as it is read (runtime-spec 1.3, config-linux.md, "Control
//! groups"), also what `update` is given. `null` stands for an absent field.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::or_default;

/// `linux.resources`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LinuxResources {
    /// Device rules, in order.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceAccess>,
    /// Memory and swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// CPU time and CPU sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<Pids>,
    /// Block devices.
    #[serde(rename = "blockIO", skip_serializing_if = "Option::is_none")]
    pub block_io: Option<BlockIo>,
    /// Huge pages.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub hugepage_limits: Vec<HugepageLimit>,
    /// Packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// RDMA devices.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub rdma: BTreeMap<String, Rdma>,
    /// v2 files.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub unified: BTreeMap<String, String>,
}

/// `linux.resources.devices[]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceAccess {
    /// Allow, or deny.
    pub allow: bool,
    /// `a`, `b` or `c`; empty = `a`.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// Major number; -1 = any.
    pub major: Option<i64>,
    /// Minor number; -1 = any.
    pub minor: Option<i64>,
    /// Letters of `rwm`.
    #[serde(deserialize_with = "or_default")]
    pub access: String,
}

/// `linux.resources.memory`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// Bytes, -1 = unlimited.
    pub limit: Option<i64>,
    /// Bytes.
    pub reservation: Option<i64>,
    /// Bytes of memory and swap, -1 = unlimited.
    pub swap: Option<i64>,
    /// Without meaning since Linux 5.4.
    pub kernel: Option<i64>,
    /// Without meaning since Linux 5.4.
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: Option<i64>,
    /// 0 to 100.
    pub swappiness: Option<u64>,
    /// v1 only.
    #[serde(rename = "disableOOMKiller")]
    pub disable_oom_killer: Option<bool>,
    /// Always so since Linux 5.11.
    pub use_hierarchy: Option<bool>,
    /// Refuse a limit below what is in use.
    pub check_before_update: Option<bool>,
}

/// `linux.resources.cpu`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cpu {
    /// v1 units.
    pub shares: Option<u64>,
    /// Microseconds.
    pub quota: Option<i64>,
    /// Microseconds.
    pub burst: Option<u64>,
    /// Microseconds.
    pub period: Option<u64>,
    /// Microseconds.
    pub realtime_runtime: Option<i64>,
    /// Microseconds.
    pub realtime_period: Option<u64>,
    /// "0-3,7"
    #[serde(deserialize_with = "or_default")]
    pub cpus: String,
    /// "0-3,7"
    #[serde(deserialize_with = "or_default")]
    pub mems: String,
    /// 0 or 1.
    pub idle: Option<i64>,
}

/// `linux.resources.pids`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pids {
    /// -1 = unlimited; 0 is a limit.
    pub limit: Option<i64>,
}

/// `linux.resources.blockIO`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockIo {
    /// 10 to 1000.
    pub weight: Option<u16>,
    /// 10 to 1000.
    pub leaf_weight: Option<u16>,
    /// Of single devices.
    #[serde(deserialize_with = "or_default")]
    pub weight_device: Vec<WeightOf>,
    /// Bytes per second.
    #[serde(deserialize_with = "or_default")]
    pub throttle_read_bps_device: Vec<RateOf>,
    /// Bytes per second.
    #[serde(deserialize_with = "or_default")]
    pub throttle_write_bps_device: Vec<RateOf>,
    /// Operations per second.
    #[serde(rename = "throttleReadIOPSDevice", deserialize_with = "or_default")]
    pub throttle_read_iops_device: Vec<RateOf>,
    /// Operations per second.
    #[serde(rename = "throttleWriteIOPSDevice", deserialize_with = "or_default")]
    pub throttle_write_iops_device: Vec<RateOf>,
}

/// `linux.resources.blockIO.weightDevice[]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WeightOf {
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// 10 to 1000.
    pub weight: Option<u16>,
    /// 10 to 1000.
    pub leaf_weight: Option<u16>,
}

/// `linux.resources.blockIO.throttleReadBpsDevice[]` and its kin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RateOf {
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Per second.
    pub rate: u64,
}

/// `linux.resources.hugepageLimits[]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HugepageLimit {
    /// "2MB". Go's JSON reads `pagesize` alike, and some write it.
    #[serde(alias = "pagesize", deserialize_with = "or_default")]
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}

/// `linux.resources.network`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// For tc(8).
    #[serde(rename = "classID")]
    pub class_id: Option<u32>,
    /// By interface.
    #[serde(deserialize_with = "or_default")]
    pub priorities: Vec<Priority>,
}

/// `linux.resources.network.priorities[]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Priority {
    /// The interface.
    pub name: String,
    /// Its priority.
    pub priority: u32,
}

/// `linux.resources.rdma[]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rdma {
    /// HCA handles.
    pub hca_handles: Option<u32>,
    /// HCA objects.
    pub hca_objects: Option<u32>,
}
