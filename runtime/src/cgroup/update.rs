//! Other limits for a cgroup in use: only what is asked for changes, and all of it
//! or nothing.

use std::fs;
use std::path::Path;

use super::layout::{Layout, LayoutKind};
use super::limits::plan_writes;
use super::write::{current, write_all};
use super::{CgroupError, checked, systemd};
use crate::plan::{CgroupPlan, Resources, Throttle, WeightDevice};

/// Puts `asked` into force on the cgroup of `plan` and gives the limits that are
/// in force then, to be kept as the plan's. Device rules are not touched.
///
/// # Errors
/// [`CgroupError`]; what had been written is put back.
pub fn update(
    layout: &Layout,
    plan: &CgroupPlan,
    asked: &Resources,
) -> Result<Resources, CgroupError> {
    let path = checked(&plan.path)?;
    let change = completed(&plan.resources, asked);
    let writes = plan_writes(layout, &change)?;
    if asked.memory_check_before_update && layout.kind() == LayoutKind::V2 {
        refuse_below_usage(layout, path, &change)?;
    }
    if let Some(unit) = &plan.unit {
        systemd::update(layout, unit, &change)?;
    }
    let before = current(&writes, path);
    if let Err(error) = write_all(&writes, path) {
        // The first error is the one worth telling.
        if let Some(unit) = &plan.unit {
            let _ = systemd::update(layout, unit, &plan.resources);
        }
        let _ = write_all(&before, path);
        return Err(error);
    }
    Ok(merged(&plan.resources, asked))
}

/// `asked` with what cannot be written without its other half.
fn completed(old: &Resources, asked: &Resources) -> Resources {
    let mut change = asked.clone();
    if asked.cpu_quota.is_some() || asked.cpu_period.is_some() {
        change.cpu_quota = asked.cpu_quota.or(old.cpu_quota);
        change.cpu_period = asked.cpu_period.or(old.cpu_period);
    }
    match (asked.memory, asked.memory_swap) {
        // Swap counts memory as well.
        (None, Some(_)) => change.memory = old.memory,
        (Some(memory), None) if memory > 0 => change.memory_swap = old.memory_swap,
        _ => {}
    }
    change.devices = Vec::new();
    change
}

/// A limit below what is used would have the container's processes killed.
fn refuse_below_usage(layout: &Layout, path: &Path, r: &Resources) -> Result<(), CgroupError> {
    let Some(dir) = layout.unified_dir(path) else { return Ok(()) };
    let usage = fs::read_to_string(dir.join("memory.current")).ok();
    let Some(usage) = usage.and_then(|text| text.trim().parse::<u64>().ok()) else {
        return Ok(());
    };
    for (what, limit) in [("memory+swap", r.memory_swap), ("memory", r.memory)] {
        if let Some(limit) = limit.filter(|n| u64::try_from(*n).is_ok_and(|n| n <= usage)) {
            return Err(CgroupError::BelowUsage { what, limit, usage });
        }
    }
    Ok(())
}

/// `old` with everything that `asked` says instead.
pub fn merged(old: &Resources, asked: &Resources) -> Resources {
    // No "..": whoever adds a field decides here what an update of it is.
    let Resources {
        dialect,
        memory,
        memory_swap,
        swap_like_memory,
        memory_reservation,
        memory_kernel_tcp,
        memory_swappiness,
        oom_kill_disable,
        memory_check_before_update: _,
        cpu_quota,
        cpu_period,
        cpu_burst,
        cpu_shares,
        cpu_rt_runtime,
        cpu_rt_period,
        cpu_idle,
        cpuset_cpus,
        cpuset_mems,
        pids_limit,
        blkio_weight,
        blkio_leaf_weight,
        blkio_weight_devices,
        blkio_throttles,
        hugetlb,
        network_class,
        network_priorities,
        rdma,
        unified,
        devices: _,
    } = asked.clone();
    let lifted = memory == Some(-1) && memory_swap.is_none();
    let mut new = old.clone();
    new.dialect = dialect;
    new.memory = memory.or(old.memory);
    new.memory_swap = if lifted { Some(-1) } else { memory_swap.or(old.memory_swap) };
    new.swap_like_memory |= swap_like_memory;
    new.memory_reservation = memory_reservation.or(old.memory_reservation);
    new.memory_kernel_tcp = memory_kernel_tcp.or(old.memory_kernel_tcp);
    new.memory_swappiness = memory_swappiness.or(old.memory_swappiness);
    new.oom_kill_disable |= oom_kill_disable;
    new.cpu_quota = cpu_quota.or(old.cpu_quota);
    new.cpu_period = cpu_period.or(old.cpu_period);
    new.cpu_burst = cpu_burst.or(old.cpu_burst);
    new.cpu_shares = cpu_shares.or(old.cpu_shares);
    new.cpu_rt_runtime = cpu_rt_runtime.or(old.cpu_rt_runtime);
    new.cpu_rt_period = cpu_rt_period.or(old.cpu_rt_period);
    new.cpu_idle = cpu_idle.or(old.cpu_idle);
    new.cpuset_cpus = cpuset_cpus.or(new.cpuset_cpus);
    new.cpuset_mems = cpuset_mems.or(new.cpuset_mems);
    new.pids_limit = pids_limit.or(old.pids_limit);
    new.blkio_weight = blkio_weight.or(old.blkio_weight);
    new.blkio_leaf_weight = blkio_leaf_weight.or(old.blkio_leaf_weight);
    blkio_weight_devices.into_iter().for_each(|of| put_weight(&mut new.blkio_weight_devices, of));
    blkio_throttles.into_iter().for_each(|of| put_throttle(&mut new.blkio_throttles, of));
    new.hugetlb.extend(hugetlb);
    new.network_class = network_class.or(old.network_class);
    new.network_priorities.extend(network_priorities);
    new.rdma.extend(rdma);
    new.unified.extend(unified);
    new
}

fn put_weight(list: &mut Vec<WeightDevice>, new: WeightDevice) {
    match list.iter_mut().rev().find(|old| old.device == new.device) {
        Some(old) => {
            old.weight = new.weight.or(old.weight);
            old.leaf_weight = new.leaf_weight.or(old.leaf_weight);
        }
        None => list.push(new),
    }
}

fn put_throttle(list: &mut Vec<Throttle>, new: Throttle) {
    match list.iter_mut().rev().find(|old| (old.device, old.kind) == (new.device, new.kind)) {
        Some(old) => *old = new,
        None => list.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{DeviceNumber, ThrottleKind};

    #[test]
    fn halves_are_completed_and_nothing_else_is_written_again() {
        let old = Resources {
            memory: Some(100),
            memory_swap: Some(150),
            cpu_quota: Some(5),
            cpu_period: Some(10),
            pids_limit: Some(7),
            ..Resources::default()
        };
        let asked = Resources { cpu_period: Some(20), ..Resources::default() };
        let change = completed(&old, &asked);
        assert_eq!((change.cpu_quota, change.cpu_period), (Some(5), Some(20)));
        assert_eq!((change.memory, change.pids_limit), (None, None));
        let asked = Resources { memory_swap: Some(-1), ..Resources::default() };
        assert_eq!(completed(&old, &asked).memory, Some(100));
        let asked = Resources { memory: Some(90), ..Resources::default() };
        assert_eq!(completed(&old, &asked).memory_swap, Some(150));
        let lifted = Resources { memory: Some(-1), ..Resources::default() };
        assert_eq!(completed(&old, &lifted).memory_swap, None);
        let new = merged(&old, &lifted);
        assert_eq!((new.memory, new.memory_swap, new.pids_limit), (Some(-1), Some(-1), Some(7)));
    }

    #[test]
    fn rates_of_a_device_replace_each_other() {
        let rate =
            |kind, rate| Throttle { device: DeviceNumber { major: 8, minor: 0 }, kind, rate };
        let of = |list: &[Throttle]| Resources {
            blkio_throttles: list.to_vec(),
            ..Resources::default()
        };
        let (read, write) = (ThrottleKind::ReadBps, ThrottleKind::WriteBps);
        let new = merged(&of(&[rate(read, 1)]), &of(&[rate(write, 2), rate(read, 3)]));
        assert_eq!(new.blkio_throttles, [rate(read, 3), rate(write, 2)]);
    }
}
