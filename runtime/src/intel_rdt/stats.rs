//! What resctrl says about a group, in the JSON that runc's `events` prints.

use std::fs;
use std::path::Path;

use rustix::io::Errno;
use serde::Serialize;

use super::{Group, IntelRdtError, Resctrl};

/// One reading; what the machine does not have is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// The cache that there is to share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<CacheInfo>,
    /// The root group's share of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema_root: String,
    /// The container's share of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema: String,
    /// The bandwidth that there is to share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<BandwidthInfo>,
    /// The root group's share of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema_root: String,
    /// The container's share of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema: String,
    /// All lines of the container's `schemata`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<String>,
    /// Memory traffic, for each level 3 cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbm_stats: Option<Vec<MemoryTraffic>>,
    /// Cache in use, for each level 3 cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmt_stats: Option<Vec<CacheUse>>,
}

/// `info/L3`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CacheInfo {
    /// All bits of a share, hexadecimal.
    pub cbm_mask: String,
    /// The fewest bits of a share.
    pub min_cbm_bits: u64,
    /// How many groups there can be.
    pub num_closids: u64,
}

/// `info/MB`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BandwidthInfo {
    /// The steps of a share, percent.
    pub bandwidth_gran: u64,
    /// Whether the delay grows with the share.
    pub delay_linear: u64,
    /// The smallest share, percent.
    pub min_bandwidth: u64,
    /// How many groups there can be.
    pub num_closids: u64,
}

/// Counted by MBM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MemoryTraffic {
    /// Bytes to and from any memory.
    pub mbm_total_bytes: u64,
    /// Bytes to and from the processor's own memory.
    pub mbm_local_bytes: u64,
}

/// Counted by CMT.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CacheUse {
    /// Bytes.
    pub llc_occupancy: u64,
}

/// Reads what is known of `group`.
///
/// # Errors
/// A file that must be there cannot be read.
pub fn stats(resctrl: &Resctrl, group: &Group) -> Result<Stats, IntelRdtError> {
    let root = lines(resctrl, &resctrl.root)?;
    let own = lines(resctrl, &group.dir)?;
    let mut stats = Stats::default();
    if resctrl.shares_cache() {
        let info = resctrl.root.join("info/L3");
        stats.l3_cache_info = Some(CacheInfo {
            cbm_mask: read(resctrl, &info.join("cbm_mask"))?,
            min_cbm_bits: number(resctrl, &info.join("min_cbm_bits"))?,
            num_closids: number(resctrl, &info.join("num_closids"))?,
        });
        (stats.l3_cache_schema_root, stats.l3_cache_schema) = (of(&root, "L3"), of(&own, "L3"));
    }
    if resctrl.shares_bandwidth() {
        let info = resctrl.root.join("info/MB");
        stats.mem_bw_info = Some(BandwidthInfo {
            bandwidth_gran: number(resctrl, &info.join("bandwidth_gran"))?,
            delay_linear: number(resctrl, &info.join("delay_linear"))?,
            min_bandwidth: number(resctrl, &info.join("min_bandwidth"))?,
            num_closids: number(resctrl, &info.join("num_closids"))?,
        });
        (stats.mem_bw_schema_root, stats.mem_bw_schema) = (of(&root, "MB"), of(&own, "MB"));
    }
    stats.schemata = own;
    counters(resctrl, group, &mut stats)?;
    Ok(stats)
}

/// Those of the container alone if it has a monitoring group, else its group's.
fn counters(resctrl: &Resctrl, group: &Group, stats: &mut Stats) -> Result<(), IntelRdtError> {
    let features = fs::read_to_string(resctrl.root.join("info/L3_MON/mon_features"));
    let features = features.unwrap_or_default();
    let counted = |name: &str| features.lines().any(|line| line == name);
    let traffic = counted("mbm_total_bytes") || counted("mbm_local_bytes");
    let (mut mbm, mut cmt) = (Vec::new(), Vec::new());
    if !traffic && !counted("llc_occupancy") {
        return Ok(());
    }
    let data = group.monitor.as_ref().unwrap_or(&group.dir).join("mon_data");
    let list = fs::read_dir(&data).and_then(|entries| {
        entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()
    });
    let mut caches = list.map_err(|source| {
        resctrl.failed("read", &data, Errno::from_io_error(&source).unwrap_or(Errno::IO))
    })?;
    caches.sort();
    for cache in caches.iter().filter(|path| path.is_dir()) {
        if traffic {
            mbm.push(MemoryTraffic {
                mbm_total_bytes: number(resctrl, &cache.join("mbm_total_bytes"))?,
                mbm_local_bytes: number(resctrl, &cache.join("mbm_local_bytes"))?,
            });
        }
        if counted("llc_occupancy") {
            cmt.push(CacheUse { llc_occupancy: number(resctrl, &cache.join("llc_occupancy"))? });
        }
    }
    stats.mbm_stats = traffic.then_some(mbm);
    stats.cmt_stats = counted("llc_occupancy").then_some(cmt);
    Ok(())
}

fn lines(resctrl: &Resctrl, dir: &Path) -> Result<Vec<String>, IntelRdtError> {
    let text = read(resctrl, &dir.join("schemata"))?;
    Ok(text.lines().map(|line| line.trim().to_owned()).collect())
}

/// The last line about `resource`.
fn of(lines: &[String], resource: &str) -> String {
    lines.iter().rev().find(|line| line.contains(resource)).cloned().unwrap_or_default()
}

fn read(resctrl: &Resctrl, path: &Path) -> Result<String, IntelRdtError> {
    let text = fs::read_to_string(path).map_err(|source| {
        resctrl.failed("read", path, Errno::from_io_error(&source).unwrap_or(Errno::IO))
    })?;
    Ok(text.trim().to_owned())
}

/// 0 where the hardware has no answer yet ("Unavailable").
fn number(resctrl: &Resctrl, path: &Path) -> Result<u64, IntelRdtError> {
    Ok(read(resctrl, path)?.parse().unwrap_or(0))
}
