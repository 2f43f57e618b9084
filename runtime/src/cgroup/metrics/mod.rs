//! Everything the kernel counts of a cgroup, in the JSON that runc's `events`
//! prints: what containerd, cAdvisor and others read. What a machine does not
//! count is left at zero or empty.

mod v1;
mod v2;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::layout::Layout;
use super::{CgroupError, checked};

/// One reading.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Metrics {
    /// CPU time.
    pub cpu: Cpu,
    /// CPU sets (v1).
    pub cpuset: CpuSet,
    /// Memory and swap.
    pub memory: Memory,
    /// Processes and threads.
    pub pids: Pids,
    /// Block devices.
    pub blkio: Blkio,
    /// Huge pages by size, "2MB".
    pub hugetlb: BTreeMap<String, HugePages>,
}

/// CPU time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// Time used.
    #[serde(skip_serializing_if = "is_default")]
    pub usage: CpuUsage,
    /// Time withheld.
    #[serde(skip_serializing_if = "is_default")]
    pub throttling: Throttling,
    /// Waiting for CPUs (v2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// CPU time used, nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CpuUsage {
    /// Altogether.
    #[serde(skip_serializing_if = "is_default")]
    pub total: u64,
    /// On each CPU (v1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// On each CPU in the kernel (v1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// On each CPU outside of it (v1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// Outside of it.
    pub user: u64,
}

/// What a quota did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods with something to run.
    #[serde(skip_serializing_if = "is_default")]
    pub periods: u64,
    /// Those in which the quota was used up.
    #[serde(skip_serializing_if = "is_default")]
    pub throttled_periods: u64,
    /// Nanoseconds waited.
    #[serde(skip_serializing_if = "is_default")]
    pub throttled_time: u64,
}

/// v1's cpuset files.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)] // cpuset(7) tells of each
pub struct CpuSet {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Memory and swap, bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Memory {
    /// Page cache.
    #[serde(skip_serializing_if = "is_default")]
    pub cache: u64,
    /// Memory alone.
    #[serde(skip_serializing_if = "is_default")]
    pub usage: MemoryEntry,
    /// Memory and swap together.
    #[serde(skip_serializing_if = "is_default")]
    pub swap: MemoryEntry,
    /// The kernel's (v1).
    #[serde(skip_serializing_if = "is_default")]
    pub kernel: MemoryEntry,
    /// TCP buffers (v1).
    #[serde(rename = "kernelTCP", skip_serializing_if = "is_default")]
    pub kernel_tcp: MemoryEntry,
    /// memory.stat
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// Waiting for memory (v2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// One kind of memory, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct MemoryEntry {
    /// The limit; `u64::MAX` or v1's highest number when there is none.
    pub limit: u64,
    /// In use.
    #[serde(skip_serializing_if = "is_default")]
    pub usage: u64,
    /// The highest so far.
    #[serde(skip_serializing_if = "is_default")]
    pub max: u64,
    /// How often the limit was met.
    pub failcnt: u64,
}

/// Processes and threads.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pids {
    /// Now.
    #[serde(skip_serializing_if = "is_default")]
    pub current: u64,
    /// The limit, 0 = none.
    #[serde(skip_serializing_if = "is_default")]
    pub limit: u64,
}

/// Block devices, with everything below the cgroup.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // cgroup-v1/blkio-controller.rst tells of each
pub struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    /// Waiting for devices (v2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// One figure of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BlkioEntry {
    /// Major number.
    #[serde(skip_serializing_if = "is_default")]
    pub major: u64,
    /// Minor number.
    #[serde(skip_serializing_if = "is_default")]
    pub minor: u64,
    /// "Read", "Write"…
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    /// Bytes, operations or nanoseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub value: u64,
}

/// Huge pages of one size, bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct HugePages {
    /// In use.
    #[serde(skip_serializing_if = "is_default")]
    pub usage: u64,
    /// The highest so far (v1).
    #[serde(skip_serializing_if = "is_default")]
    pub max: u64,
    /// How often the limit was met.
    pub failcnt: u64,
}

/// Pressure stall information (Documentation/accounting/psi.rst).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// Some tasks waited.
    #[serde(skip_serializing_if = "is_default")]
    pub some: Stall,
    /// All did.
    #[serde(skip_serializing_if = "is_default")]
    pub full: Stall,
}

/// How much of the time was waited.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stall {
    /// Percent of the last 10 seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last five minutes.
    pub avg300: f64,
    /// Microseconds altogether.
    pub total: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads the figures of a cgroup.
///
/// # Errors
/// Only a bad path.
pub fn read(layout: &Layout, path: &Path) -> Result<Metrics, CgroupError> {
    let path = checked(path)?;
    let mut metrics = Metrics::default();
    let sizes = page_sizes();
    if let Some(dir) = layout.unified_dir(path) {
        v2::read(&dir, &sizes, &mut metrics);
    }
    for hierarchy in &layout.v1 {
        let dir = hierarchy.dir(path);
        for controller in &hierarchy.controllers {
            v1::read(controller, &dir, &sizes, &mut metrics);
        }
    }
    Ok(metrics)
}

/// The sizes of huge pages there are, as cgroup files name them: "2MB".
fn page_sizes() -> Vec<String> {
    let entries = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| size_name(entry.file_name().to_str()?));
    let mut sizes: Vec<String> = sizes.collect();
    sizes.sort_unstable();
    sizes
}

/// `hugepages-2048kB` → `2MB`
fn size_name(entry: &str) -> Option<String> {
    let kilobytes: u64 =
        entry.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok().filter(|n| *n > 0)?;
    Some(match kilobytes {
        n if n % (1 << 20) == 0 => format!("{}GB", n >> 20),
        n if n % (1 << 10) == 0 => format!("{}MB", n >> 10),
        n => format!("{n}KB"),
    })
}

fn text(dir: &Path, file: &str) -> Option<String> {
    fs::read_to_string(dir.join(file)).ok()
}

/// A file that holds one number, or "max".
fn number(dir: &Path, file: &str) -> Option<u64> {
    one(text(dir, file)?.trim())
}

fn one(word: &str) -> Option<u64> {
    if word == "max" { Some(u64::MAX) } else { word.parse().ok() }
}

/// A "flat keyed" file (cgroup-v2.rst).
fn keyed(text: &str) -> BTreeMap<String, u64> {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(key, value)| Some((key.to_owned(), one(value.trim())?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_counted_is_little_to_say() {
        let json = serde_json::to_value(Metrics::default()).unwrap();
        let expected = serde_json::json!({
            "cpu": {},
            "cpuset": {
                "cpu_exclusive": 0, "mem_hardwall": 0, "mem_exclusive": 0, "memory_migrate": 0,
                "memory_spread_page": 0, "memory_spread_slab": 0, "memory_pressure": 0,
                "sched_load_balance": 0, "sched_relax_domain_level": 0
            },
            "memory": {}, "pids": {}, "blkio": {}, "hugetlb": {}
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn names_are_runcs() {
        let entry = MemoryEntry { limit: 1, usage: 2, max: 3, failcnt: 4 };
        let metrics = Metrics {
            cpu: Cpu {
                usage: CpuUsage { percpu_kernel: vec![1], ..CpuUsage::default() },
                throttling: Throttling { throttled_periods: 1, ..Throttling::default() },
                psi: Some(Pressure::default()),
            },
            memory: Memory { kernel_tcp: entry, ..Memory::default() },
            blkio: Blkio { io_queued_recursive: vec![BlkioEntry::default()], ..Blkio::default() },
            ..Metrics::default()
        };
        let json = serde_json::to_value(&metrics).unwrap();
        assert_eq!(
            json["cpu"]["usage"],
            serde_json::json!({"percpu_kernel": [1], "kernel": 0, "user": 0})
        );
        assert_eq!(json["cpu"]["throttling"], serde_json::json!({"throttledPeriods": 1}));
        assert_eq!(json["cpu"]["psi"], serde_json::json!({}));
        assert_eq!(json["memory"]["kernelTCP"]["failcnt"], 4);
        assert_eq!(json["blkio"]["ioQueueRecursive"], serde_json::json!([{}]));
    }

    #[test]
    fn page_sizes_are_named_as_files_are() {
        for (entry, name) in
            [("2048", "2MB"), ("1048576", "1GB"), ("64", "64KB"), ("32768", "32MB")]
        {
            assert_eq!(size_name(&format!("hugepages-{entry}kB")).as_deref(), Some(name));
        }
        assert_eq!(size_name("x"), None);
    }
}
