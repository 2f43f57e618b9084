//! What a cgroup has used, in the same units whichever version counts it. A
//! figure the machine does not count is absent, never an error.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::{CgroupError, checked};

/// One reading.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// CPU time, nanoseconds.
    pub cpu_total: Option<u64>,
    /// CPU time in user mode, nanoseconds.
    pub cpu_user: Option<u64>,
    /// CPU time in the kernel, nanoseconds.
    pub cpu_system: Option<u64>,
    /// Periods in which the quota was used up.
    pub cpu_throttled_periods: Option<u64>,
    /// Memory in use, bytes, page cache included.
    pub memory_usage: Option<u64>,
    /// Page cache that can be dropped at once, bytes; docker subtracts it from the usage.
    pub memory_inactive_file: Option<u64>,
    /// The highest usage so far, bytes (v2: Linux 5.19).
    pub memory_peak: Option<u64>,
    /// The limit, bytes; absent = none.
    pub memory_limit: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Most processes and threads; absent = no limit.
    pub pids_limit: Option<u64>,
    /// Bytes read from block devices.
    pub io_read: Option<u64>,
    /// Bytes written to block devices.
    pub io_written: Option<u64>,
}

/// Reads the figures of a cgroup.
///
/// # Errors
/// Only a bad path.
pub fn read(layout: &Layout, path: &Path) -> Result<Stats, CgroupError> {
    let path = checked(path)?;
    let mut stats = Stats::default();
    if let Some(dir) = layout.unified_dir(path) {
        read_v2(&dir, &mut stats);
    }
    // Where a controller is on v1 its figures are there; cpu.stat of a hybrid
    // host's v2 tree counts as well, and v1 only adds what it lacks.
    for hierarchy in &layout.v1 {
        let dir = hierarchy.dir(path);
        for controller in &hierarchy.controllers {
            read_v1(controller, &dir, &mut stats);
        }
    }
    Ok(stats)
}

fn read_v2(dir: &Path, stats: &mut Stats) {
    if let Some(text) = text(dir, "cpu.stat") {
        let nanoseconds = |key| field(&text, key).map(|micros| micros.saturating_mul(1000));
        stats.cpu_total = nanoseconds("usage_usec");
        stats.cpu_user = nanoseconds("user_usec");
        stats.cpu_system = nanoseconds("system_usec");
        stats.cpu_throttled_periods = field(&text, "nr_throttled");
    }
    stats.memory_usage = number(dir, "memory.current");
    stats.memory_peak = number(dir, "memory.peak");
    stats.memory_limit = number(dir, "memory.max");
    stats.memory_inactive_file = text(dir, "memory.stat").and_then(|t| field(&t, "inactive_file"));
    stats.pids = number(dir, "pids.current");
    stats.pids_limit = number(dir, "pids.max");
    if let Some(text) = text(dir, "io.stat") {
        (stats.io_read, stats.io_written) =
            (sum_keyed(&text, "rbytes="), sum_keyed(&text, "wbytes="));
    }
}

fn read_v1(controller: &str, dir: &Path, stats: &mut Stats) {
    match controller {
        "cpuacct" => {
            stats.cpu_total = number(dir, "cpuacct.usage").or(stats.cpu_total);
            stats.cpu_user = number(dir, "cpuacct.usage_user").or(stats.cpu_user);
            stats.cpu_system = number(dir, "cpuacct.usage_sys").or(stats.cpu_system);
        }
        "cpu" => {
            let throttled = text(dir, "cpu.stat").and_then(|t| field(&t, "nr_throttled"));
            stats.cpu_throttled_periods = throttled;
        }
        "memory" => {
            stats.memory_usage = number(dir, "memory.usage_in_bytes");
            stats.memory_peak = number(dir, "memory.max_usage_in_bytes");
            // "No limit" is the highest page-aligned number here, not "max".
            let limit = number(dir, "memory.limit_in_bytes");
            stats.memory_limit = limit.filter(|bytes| *bytes < 1 << 62);
            stats.memory_inactive_file =
                text(dir, "memory.stat").and_then(|t| field(&t, "total_inactive_file"));
        }
        "pids" => {
            stats.pids = number(dir, "pids.current");
            stats.pids_limit = number(dir, "pids.max");
        }
        "blkio" => {
            if let Some(text) = text(dir, "blkio.throttle.io_service_bytes_recursive") {
                stats.io_read = sum_after(&text, " Read ");
                stats.io_written = sum_after(&text, " Write ");
            }
        }
        _ => {}
    }
}

fn text(dir: &Path, file: &str) -> Option<String> {
    fs::read_to_string(dir.join(file)).ok()
}

/// A file that holds one number; "max" and a missing file are `None`.
fn number(dir: &Path, file: &str) -> Option<u64> {
    text(dir, file)?.trim().parse().ok()
}

/// The number after `key` in a "flat keyed" file (cgroup-v2.rst).
pub(super) fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Sums `key=number` over all lines of a "nested keyed" file.
fn sum_keyed(text: &str, key: &str) -> Option<u64> {
    let values = text.split_ascii_whitespace().filter_map(|word| word.strip_prefix(key));
    Some(values.filter_map(|value| value.parse::<u64>().ok()).fold(0, u64::saturating_add))
}

/// Sums the numbers after `word`: `8:0 Read 4096`.
fn sum_after(text: &str, word: &str) -> Option<u64> {
    let values = text.lines().filter_map(|line| line.split_once(word));
    let values = values.filter_map(|(_, value)| value.trim().parse::<u64>().ok());
    Some(values.fold(0, u64::saturating_add))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(field(text, "oom_kill"), Some(3));
        assert_eq!(field(text, "oom"), None);
        assert_eq!(field("oom_kill x\n", "oom_kill"), None);
    }

    #[test]
    fn io_is_summed_over_devices() {
        let v2 = "8:0 rbytes=10 wbytes=5 rios=1\n8:16 rbytes=32 wbytes=0\n";
        assert_eq!(sum_keyed(v2, "rbytes="), Some(42));
        let v1 = "8:0 Read 10\n8:0 Write 5\n8:16 Read 1\nTotal 16\n";
        assert_eq!((sum_after(v1, " Read "), sum_after(v1, " Write ")), (Some(11), Some(5)));
    }
}
