//! `linux.cgroupsPath` and `linux.resources`.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDeviceType, LinuxResources};

use super::config::Linux;
use super::{OciError, refuse};
use crate::cgroup::devices::default_device_rules;
use crate::plan::{DeviceKind, DeviceRule, Resources};

/// Below each hierarchy's mount point. systemd's `slice:prefix:name` form needs
/// systemd to be told, which rcnt does not do.
pub(super) fn cgroup_path(id: &str, linux: &Linux) -> Result<PathBuf, OciError> {
    let Some(path) = linux.cgroups_path() else { return Ok(Path::new("rcnt-oci").join(id)) };
    if path.to_string_lossy().contains(':') {
        return refuse("linux.cgroupsPath", format!("{} is for systemd", path.display()));
    }
    let plain = relative(path);
    if plain.as_os_str().is_empty() { Ok(Path::new("rcnt-oci").join(id)) } else { Ok(plain) }
}

/// `path` without its leading slash and without dot components.
fn relative(path: &Path) -> PathBuf {
    use std::path::Component;
    let normal = |c| if let Component::Normal(name) = c { Some(name) } else { None };
    path.components().filter_map(normal).collect()
}

pub(super) fn resources(given: Option<&LinuxResources>) -> Result<Resources, OciError> {
    let Some(given) = given else {
        return Ok(Resources { devices: default_device_rules(), ..Resources::default() });
    };
    if given.unified().as_ref().is_some_and(|map| !map.is_empty()) {
        return refuse("linux.resources.unified", "not supported");
    }
    let mut plan = Resources::default();
    if let Some(memory) = given.memory() {
        // Negative means unlimited, which is what nothing means.
        plan.memory = memory.limit().and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
        plan.memory_swap = memory.swap().filter(|n| *n != 0 && plan.memory.is_some());
        plan.memory_reservation =
            memory.reservation().and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
        plan.memory_swappiness = memory.swappiness();
        plan.oom_kill_disable = memory.disable_oom_killer().unwrap_or(false);
    }
    if let Some(cpu) = given.cpu() {
        plan.cpu_quota = cpu.quota().filter(|n| *n > 0);
        plan.cpu_period = cpu.period().filter(|n| *n > 0);
        plan.cpu_shares = cpu.shares().filter(|n| *n > 0);
        let some = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
        plan.cpuset_cpus = some(cpu.cpus());
        plan.cpuset_mems = some(cpu.mems());
    }
    plan.pids_limit = given.pids().as_ref().map(|pids| pids.limit()).filter(|n| *n != 0);
    plan.blkio_weight = given.block_io().as_ref().and_then(|io| io.weight()).filter(|n| *n > 0);
    plan.devices = device_rules(given);
    Ok(plan)
}

/// Deny all, the bundle's rules in order, then what every container needs; no
/// rules when the bundle ends up allowing everything.
fn device_rules(given: &LinuxResources) -> Vec<DeviceRule> {
    let kind = |typ: Option<LinuxDeviceType>| match typ {
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => DeviceKind::Char,
        Some(LinuxDeviceType::B) => DeviceKind::Block,
        _ => DeviceKind::All,
    };
    let number = |n: Option<i64>| n.and_then(|n| u32::try_from(n).ok());
    let rules = given.devices().iter().flatten().map(|rule| DeviceRule {
        allow: rule.allow(),
        kind: kind(rule.typ()),
        major: number(rule.major()),
        minor: number(rule.minor()),
        access: rule.access().clone().filter(|a| !a.is_empty()).unwrap_or_else(|| "rwm".into()),
    });
    let rules: Vec<DeviceRule> = rules.collect();
    let everything = rules.last().is_some_and(|rule| {
        rule.allow && rule.kind == DeviceKind::All && (rule.major, rule.minor) == (None, None)
    });
    if everything {
        return Vec::new();
    }
    let (deny, allow): (Vec<_>, Vec<_>) =
        default_device_rules().into_iter().partition(|rule| !rule.allow);
    deny.into_iter().chain(rules).chain(allow).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_paths_stay_below_the_mount_point() {
        assert_eq!(relative(Path::new("/a/../../b/./c")), Path::new("a/b/c"));
    }
}
