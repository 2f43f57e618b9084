//! `linux.resources`, for `create` and for `update`.

use super::resources_config::{
    BlockIo, Cpu, DeviceAccess, HugepageLimit, LinuxResources, Memory, Network, RateOf,
};
use super::{OciError, refuse};
use crate::cgroup::devices::default_device_rules;
use crate::plan::{
    DeviceKind, DeviceNumber, DeviceRule, Dialect, RdmaLimit, Resources, Throttle, ThrottleKind,
    WeightDevice,
};

/// The JSON path of a part.
fn at(part: &str) -> String {
    format!("linux.resources.{part}")
}

/// What a bundle asks for, device rules included.
pub(super) fn resources(given: Option<&LinuxResources>) -> Result<Resources, OciError> {
    let devices = device_rules(given.map(|given| given.devices.as_slice()).unwrap_or_default())?;
    let limits = given.map(limits).transpose()?.unwrap_or_else(nothing);
    Ok(Resources { devices, ..limits })
}

fn nothing() -> Resources {
    Resources { dialect: Dialect::Json, ..Resources::default() }
}

/// `linux.resources` without its device rules; also what `update` is given.
/// Zero means "not said" wherever the specification has a number and no null,
/// but for `pids.limit`.
///
/// # Errors
/// [`OciError::Field`], naming the field.
pub fn limits(given: &LinuxResources) -> Result<Resources, OciError> {
    let mut plan = nothing();
    if let Some(memory) = &given.memory {
        set_memory(&mut plan, memory)?;
    }
    if let Some(cpu) = &given.cpu {
        set_cpu(&mut plan, cpu)?;
    }
    plan.pids_limit = given.pids.as_ref().and_then(|pids| pids.limit);
    if let Some(io) = &given.block_io {
        set_block_io(&mut plan, io)?;
    }
    for (index, limit) in given.hugepage_limits.iter().enumerate() {
        plan.hugetlb.insert(page_size(index, limit)?, limit.limit);
    }
    if let Some(network) = &given.network {
        set_network(&mut plan, network)?;
    }
    for (device, limit) in &given.rdma {
        if !is_word(device) {
            return refuse(at("rdma"), format!("{device:?} is not the name of a device"));
        }
        let limit = RdmaLimit { handles: limit.hca_handles, objects: limit.hca_objects };
        plan.rdma.insert(device.clone(), limit);
    }
    for (file, value) in &given.unified {
        check_unified(file)?;
        plan.unified.insert(file.clone(), value.clone());
    }
    Ok(plan)
}

fn set_memory(plan: &mut Resources, memory: &Memory) -> Result<(), OciError> {
    let bytes = |name: &str, value: Option<i64>| match value {
        None | Some(0) => Ok(None),
        Some(n) if n < -1 => {
            refuse(at(&format!("memory.{name}")), format!("{n} is neither bytes nor -1"))
        }
        some => Ok(some),
    };
    plan.memory = bytes("limit", memory.limit)?;
    plan.memory_swap = bytes("swap", memory.swap)?;
    plan.memory_reservation = bytes("reservation", memory.reservation)?;
    if let (Some(limit @ 1..), Some(swap @ 1..)) = (plan.memory, plan.memory_swap)
        && swap < limit
    {
        let problem = format!(
            "memory+swap limit should be >= memory limit, {swap} is less than {limit}: swap counts both"
        );
        return refuse(at("memory.swap"), problem);
    }
    // -1 in an unsigned field is how some callers say "not set".
    plan.memory_swappiness = memory.swappiness.filter(|n| *n != u64::MAX);
    if let Some(percent) = plan.memory_swappiness.filter(|n| *n > 100) {
        let problem = format!("invalid memory swappiness value: {percent} (valid range is 0-100)");
        return refuse(at("memory.swappiness"), problem);
    }
    plan.memory_kernel_tcp = bytes("kernelTCP", memory.kernel_tcp)?;
    if memory.kernel.is_some() {
        log::debug!("the kernel memory limit is ignored: Linux has none since 5.4");
    }
    plan.oom_kill_disable = memory.disable_oom_killer.unwrap_or(false);
    plan.memory_check_before_update = memory.check_before_update.unwrap_or(false);
    Ok(())
}

fn set_cpu(plan: &mut Resources, cpu: &Cpu) -> Result<(), OciError> {
    plan.cpu_shares = cpu.shares.filter(|n| *n > 0);
    plan.cpu_quota = cpu.quota.filter(|n| *n != 0);
    plan.cpu_period = cpu.period.filter(|n| *n > 0);
    plan.cpu_burst = cpu.burst;
    plan.cpu_rt_runtime = cpu.realtime_runtime.filter(|n| *n != 0);
    plan.cpu_rt_period = cpu.realtime_period.filter(|n| *n > 0);
    plan.cpu_idle = cpu.idle;
    if let Some(idle) = plan.cpu_idle.filter(|idle| !matches!(idle, 0 | 1)) {
        return refuse(at("cpu.idle"), format!("{idle} is neither 0 nor 1"));
    }
    plan.cpuset_cpus = cpu_list("cpus", &cpu.cpus)?;
    plan.cpuset_mems = cpu_list("mems", &cpu.mems)?;
    Ok(())
}

/// The kernel's list format, "0-3,5" or "0-30:1/2" (cpuset(7), "List format").
fn cpu_list(name: &str, list: &str) -> Result<Option<String>, OciError> {
    if list.is_empty() {
        return Ok(None);
    }
    if list.bytes().all(|b| b.is_ascii_digit() || b" ,-:/".contains(&b)) {
        return Ok(Some(list.to_owned()));
    }
    refuse(at(&format!("cpu.{name}")), format!("{list:?} is no list of numbers like \"0-3,5\""))
}

fn weight(path: &str, value: Option<u16>) -> Result<Option<u16>, OciError> {
    match value {
        None | Some(0) => Ok(None),
        Some(n @ 10..=1000) => Ok(Some(n)),
        Some(n) => refuse(at(path), format!("{n} is not a weight from 10 to 1000")),
    }
}

fn device(path: &str, major: i64, minor: i64) -> Result<DeviceNumber, OciError> {
    match (u32::try_from(major), u32::try_from(minor)) {
        (Ok(major), Ok(minor)) => Ok(DeviceNumber { major, minor }),
        _ => refuse(at(path), format!("{major}:{minor} is not a device number")),
    }
}

fn set_block_io(plan: &mut Resources, io: &BlockIo) -> Result<(), OciError> {
    plan.blkio_weight = weight("blockIO.weight", io.weight)?;
    plan.blkio_leaf_weight = weight("blockIO.leafWeight", io.leaf_weight)?;
    for (index, of) in io.weight_device.iter().enumerate() {
        let path = format!("blockIO.weightDevice[{index}]");
        plan.blkio_weight_devices.push(WeightDevice {
            device: device(&path, of.major, of.minor)?,
            weight: weight(&format!("{path}.weight"), of.weight)?,
            leaf_weight: weight(&format!("{path}.leafWeight"), of.leaf_weight)?,
        });
    }
    let lists: [(&str, ThrottleKind, &[RateOf]); 4] = [
        ("throttleReadBpsDevice", ThrottleKind::ReadBps, &io.throttle_read_bps_device),
        ("throttleWriteBpsDevice", ThrottleKind::WriteBps, &io.throttle_write_bps_device),
        ("throttleReadIOPSDevice", ThrottleKind::ReadIops, &io.throttle_read_iops_device),
        ("throttleWriteIOPSDevice", ThrottleKind::WriteIops, &io.throttle_write_iops_device),
    ];
    for (name, kind, list) in lists {
        for (index, of) in list.iter().enumerate() {
            let path = format!("blockIO.{name}[{index}]");
            let device = device(&path, of.major, of.minor)?;
            plan.blkio_throttles.push(Throttle { device, kind, rate: of.rate });
        }
    }
    Ok(())
}

/// Sizes are written as the kernel names its files: "64KB", "2MB", "1GB".
fn page_size(index: usize, limit: &HugepageLimit) -> Result<String, OciError> {
    let size = &limit.page_size;
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
    let plain = |n: &str| !n.starts_with('0') && n.bytes().all(|b| b.is_ascii_digit());
    if number.is_some_and(|n| !n.is_empty() && plain(n)) {
        return Ok(size.clone());
    }
    let path = at(&format!("hugepageLimits[{index}].pageSize"));
    refuse(path, format!("{size:?} is no page size like \"2MB\" or \"64KB\""))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')
}

fn set_network(plan: &mut Resources, network: &Network) -> Result<(), OciError> {
    plan.network_class = network.class_id.filter(|id| *id != 0);
    for (index, priority) in network.priorities.iter().enumerate() {
        if !is_word(&priority.name) {
            let path = at(&format!("network.priorities[{index}].name"));
            return refuse(path, format!("{:?} is no interface name", priority.name));
        }
        plan.network_priorities.insert(priority.name.clone(), priority.priority);
    }
    Ok(())
}

fn check_unified(file: &str) -> Result<(), OciError> {
    let path = at(&format!("unified[{file:?}]"));
    if file.contains('/') {
        let problem = format!("unified resource {file:?} must be a file name (no slashes)");
        return refuse(path, problem);
    }
    if file.split_once('.').is_none_or(|(controller, _)| controller.is_empty()) {
        let problem = format!("unified resource {file:?} must be in the form CONTROLLER.PARAMETER");
        return refuse(path, problem);
    }
    Ok(())
}

/// The bundle's rules from the last one about everything on (nothing before it
/// counts; without one all is denied at first), then what every container
/// needs. None when the bundle ends up allowing everything.
fn device_rules(given: &[DeviceAccess]) -> Result<Vec<DeviceRule>, OciError> {
    let (mut rules, needed): (Vec<_>, Vec<_>) =
        default_device_rules().into_iter().partition(|rule| !rule.allow);
    for (index, rule) in given.iter().enumerate() {
        let rule = device_rule(index, rule)?;
        if rule.kind == DeviceKind::All {
            rules.clear();
        }
        rules.push(rule);
    }
    if rules.iter().all(|rule| rule.allow) {
        return Ok(Vec::new());
    }
    rules.extend(needed);
    // /dev/net/tun, which callers of runc have come to rely on.
    let (kind, access) = (DeviceKind::Char, "rwm".to_owned());
    rules.push(DeviceRule { allow: true, kind, major: Some(10), minor: Some(200), access });
    Ok(rules)
}

fn device_rule(index: usize, rule: &DeviceAccess) -> Result<DeviceRule, OciError> {
    let path = at(&format!("devices[{index}]"));
    let kind = match rule.kind.as_str() {
        "" | "a" => DeviceKind::All,
        "b" => DeviceKind::Block,
        "c" | "u" => DeviceKind::Char,
        other => {
            let problem = format!("invalid cgroup device type {other:?}: use a, b or c");
            return refuse(format!("{path}.type"), problem);
        }
    };
    let given = &rule.access;
    if given.is_empty() {
        let problem = format!("device access at {index} field cannot be empty: use letters of rwm");
        return refuse(format!("{path}.access"), problem);
    }
    // Other letters are read past, as runc does.
    let access: String = "rwm".chars().filter(|letter| given.contains(*letter)).collect();
    if access.is_empty() {
        return refuse(format!("{path}.access"), format!("{given:?} has no letter of rwm"));
    }
    if kind == DeviceKind::All {
        // "a" is every device and every access, whatever stands beside it (cgroup-v1/devices.rst).
        let access = "rwm".to_owned();
        return Ok(DeviceRule { allow: rule.allow, kind, major: None, minor: None, access });
    }
    let number = |name: &str, value: Option<i64>| match value {
        None | Some(-1) => Ok(None),
        Some(n) => match u32::try_from(n) {
            Ok(n) => Ok(Some(n)),
            Err(_) => refuse(format!("{path}.{name}"), format!("{n} is no device number")),
        },
    };
    let (major, minor) = (number("major", rule.major)?, number("minor", rule.minor)?);
    Ok(DeviceRule { allow: rule.allow, kind, major, minor, access })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn planned(value: Value) -> Result<Resources, String> {
        let given: LinuxResources = serde_json::from_value(value).unwrap();
        resources(Some(&given)).map_err(|e| e.to_string())
    }

    fn refused(value: Value) -> String {
        planned(value).unwrap_err()
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_path() {
        let cases = [
            (json!({"memory": {"limit": -2}}), "memory.limit: -2 is neither bytes nor -1"),
            (
                json!({"memory": {"swappiness": 101}}),
                "memory.swappiness: invalid memory swappiness value: 101 (valid range is 0-100)",
            ),
            (
                json!({"memory": {"limit": 10, "swap": 9}}),
                "memory.swap: memory+swap limit should be >= memory limit, 9 is less than 10: swap counts both",
            ),
            (json!({"cpu": {"idle": 2}}), "cpu.idle: 2 is neither 0 nor 1"),
            (json!({"cpu": {"cpus": "a"}}), "cpu.cpus: \"a\" is no list of numbers like \"0-3,5\""),
            (
                json!({"blockIO": {"weight": 9}}),
                "blockIO.weight: 9 is not a weight from 10 to 1000",
            ),
            (
                json!({"blockIO": {"weightDevice": [{"major": 8, "minor": -1}]}}),
                "blockIO.weightDevice[0]: 8:-1 is not a device number",
            ),
            (
                json!({"blockIO": {"throttleReadIOPSDevice": [{"major": -8, "minor": 0, "rate": 1}]}}),
                "blockIO.throttleReadIOPSDevice[0]: -8:0 is not a device number",
            ),
            (
                json!({"hugepageLimits": [{"pageSize": "2M", "limit": 1}]}),
                "hugepageLimits[0].pageSize: \"2M\" is no page size like \"2MB\" or \"64KB\"",
            ),
            (
                json!({"network": {"priorities": [{"name": "a b", "priority": 1}]}}),
                "network.priorities[0].name: \"a b\" is no interface name",
            ),
            (json!({"rdma": {"": {}}}), "rdma: \"\" is not the name of a device"),
            (
                json!({"unified": {"a/b": "1"}}),
                "unified[\"a/b\"]: unified resource \"a/b\" must be a file name (no slashes)",
            ),
            (
                json!({"unified": {"memory": "1"}}),
                "unified[\"memory\"]: unified resource \"memory\" must be in the form CONTROLLER.PARAMETER",
            ),
            (
                json!({"devices": [{"allow": true}]}),
                "devices[0].access: device access at 0 field cannot be empty: use letters of rwm",
            ),
            (
                json!({"devices": [{"allow": true, "access": "x"}]}),
                "devices[0].access: \"x\" has no letter of rwm",
            ),
            (
                json!({"devices": [{"allow": true, "type": "p", "access": "r"}]}),
                "devices[0].type: invalid cgroup device type \"p\": use a, b or c",
            ),
            (
                json!({"devices": [{"allow": true, "type": "c", "major": -2, "access": "r"}]}),
                "devices[0].major: -2 is no device number",
            ),
        ];
        for (value, expected) in cases {
            assert_eq!(refused(value), format!("config.json: linux.resources.{expected}"));
        }
    }

    #[test]
    fn zero_is_not_said_but_for_pids() {
        let zeros = json!({
            "memory": {"limit": 0, "swap": 0, "reservation": 0, "swappiness": 0, "kernelTCP": 0},
            "cpu": {"shares": 0, "quota": 0, "period": 0, "burst": 0, "cpus": "", "realtimeRuntime": 0},
            "pids": {"limit": 0}, "blockIO": {"weight": 0}, "network": {"classID": 0},
        });
        let plan = planned(zeros).unwrap();
        let expected = Resources {
            memory_swappiness: Some(0),
            cpu_burst: Some(0),
            pids_limit: Some(0),
            devices: plan.devices.clone(),
            ..nothing()
        };
        assert_eq!(plan, expected);
    }

    fn shown(value: Value) -> Vec<String> {
        let rules = planned(json!({"devices": value})).unwrap().devices;
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        let show = |r: &DeviceRule| {
            let (sign, kind) = (if r.allow { '+' } else { '-' }, &format!("{:?}", r.kind)[..1]);
            format!("{sign}{kind} {}:{} {}", number(r.major), number(r.minor), r.access)
        };
        rules.iter().map(show).collect()
    }

    #[test]
    fn device_rules_begin_with_the_last_word_on_everything() {
        let all = |allow| json!({"allow": allow, "access": "rwm"});
        let one =
            |allow| json!({"allow": allow, "type": "c", "major": 1, "minor": 11, "access": "rwa"});
        let needed = shown(json!([])).len() - 1;
        assert_eq!(shown(json!([]))[..2], ["-A *:* rwm", "+C *:* m"]);
        assert_eq!(shown(json!([])).last().unwrap(), "+C 10:200 rwm");
        assert_eq!(shown(json!([all(false)])), shown(json!([])));
        assert_eq!(
            shown(json!([one(true), all(false), one(true)]))[..2],
            ["-A *:* rwm", "+C 1:11 rw"]
        );
        assert_eq!(shown(json!([one(true)]))[..2], ["-A *:* rwm", "+C 1:11 rw"]);
        assert_eq!(shown(json!([all(false), all(true)])), Vec::<String>::new());
        let black = shown(json!([all(false), all(true), one(false)]));
        assert_eq!(black[..2], ["+A *:* rwm", "-C 1:11 rw"]);
        assert_eq!(black.len(), needed + 2);
        // A number beside "a" means nothing.
        assert_eq!(
            shown(json!([{"allow": true, "type": "a", "major": 1, "access": "r"}])),
            Vec::<String>::new()
        );
    }

    #[test]
    fn every_part_of_block_io_arrives() {
        let rate = |major: i64| json!([{"major": major, "minor": 0, "rate": 7}]);
        let plan = planned(json!({"blockIO": {
            "weight": 10, "leafWeight": 1000,
            "weightDevice": [{"major": 8, "minor": 1, "weight": 500, "leafWeight": 300}],
            "throttleReadBpsDevice": rate(1), "throttleWriteBpsDevice": rate(2),
            "throttleReadIOPSDevice": rate(3), "throttleWriteIOPSDevice": rate(4),
        }}))
        .unwrap();
        assert_eq!((plan.blkio_weight, plan.blkio_leaf_weight), (Some(10), Some(1000)));
        assert_eq!(plan.blkio_weight_devices[0].device, DeviceNumber { major: 8, minor: 1 });
        let kinds: Vec<_> = plan.blkio_throttles.iter().map(|t| (t.device.major, t.kind)).collect();
        use ThrottleKind::{ReadBps, ReadIops, WriteBps, WriteIops};
        assert_eq!(kinds, [(1, ReadBps), (2, WriteBps), (3, ReadIops), (4, WriteIops)]);
    }

    #[test]
    fn absent_is_not_zero_and_go_spells_carelessly() {
        let read = |resources: Value| planned(resources).unwrap();
        assert_eq!(read(json!({"pids": {}})).pids_limit, None);
        assert_eq!(read(json!({"pids": null, "devices": null})).pids_limit, None);
        assert_eq!(read(json!({"pids": {"limit": 0}})).pids_limit, Some(0));
        let pages = json!({"hugepageLimits": [{"pagesize": "2MB", "limit": 4096}]});
        assert_eq!(read(pages).hugetlb["2MB"], 4096);
    }
}
