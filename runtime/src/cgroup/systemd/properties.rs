//! What a unit is told: limits in systemd's words (systemd.resource-control(5),
//! org.freedesktop.systemd1(5)). Pure.

use super::{SystemdError, property};
use crate::plan::{DeviceKind, DeviceRule, Resources, UnitPlan, UnitValue};

type Properties = Vec<(String, UnitValue)>;

/// "infinity"
const INFINITY: u64 = u64::MAX;

/// The kernel's default CPU period, microseconds.
const PERIOD: u64 = 100_000;

/// What makes the unit what it is; `pid` is its first process.
pub fn of_unit(unit: &UnitPlan, v2: bool, pid: u32) -> Properties {
    let text = |text: &str| UnitValue::String(text.to_owned());
    let yes = UnitValue::Bool(true);
    let mut list = vec![property("Description", text(&unit.description))];
    if unit.name.ends_with(".slice") {
        list.push(property("Wants", UnitValue::Array('s', vec![text(&unit.slice)])));
    } else {
        list.push(property("Slice", text(&unit.slice)));
        list.push(property("Delegate", yes.clone()));
    }
    list.push(property("PIDs", UnitValue::Array('u', vec![UnitValue::Uint32(pid)])));
    let io = if v2 { "IOAccounting" } else { "BlockIOAccounting" };
    for accounting in ["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"] {
        list.push(property(accounting, yes.clone()));
    }
    list.push(property("DefaultDependencies", UnitValue::Bool(false)));
    list.extend(unit.properties.iter().map(|(name, value)| (name.clone(), value.clone())));
    list
}

/// Limits and device rules of a new unit.
///
/// # Errors
/// [`SystemdError::Property`]
pub fn of_resources(r: &Resources, v2: bool) -> Result<Properties, SystemdError> {
    let mut list = of_devices(&r.devices);
    list.extend(of_limits(r, v2)?);
    // Only a new unit takes it (systemd 253); the file is written in any case.
    match r.unified.get("memory.oom.group").map(|value| value.trim()) {
        Some("0") => list.push(property("OOMPolicy", UnitValue::String("continue".into()))),
        Some("1") => list.push(property("OOMPolicy", UnitValue::String("kill".into()))),
        _ => {}
    }
    Ok(list)
}

/// Limits only.
///
/// # Errors
/// [`SystemdError::Property`]
pub fn of_limits(r: &Resources, v2: bool) -> Result<Properties, SystemdError> {
    let mut list = Vec::new();
    let mut number = |name: &str, value: u64| list.push(property(name, UnitValue::Uint64(value)));
    // -1 is all ones: systemd's infinity.
    let bytes = |n: i64| u64::try_from(n).unwrap_or(INFINITY);
    if let Some(memory) = r.memory {
        number(if v2 { "MemoryMax" } else { "MemoryLimit" }, bytes(memory));
    }
    if v2 {
        if let Some(reservation) = r.memory_reservation {
            number("MemoryLow", bytes(reservation));
        }
        match (r.memory, r.memory_swap) {
            (Some(-1), None) | (_, Some(-1)) => number("MemorySwapMax", INFINITY),
            (Some(memory), Some(total)) => number("MemorySwapMax", bytes(total - memory.max(0))),
            _ => {}
        }
        match (r.cpu_idle, r.cpu_shares) {
            // systemd 252: the weight "idle".
            (Some(1), _) => number("CPUWeight", 0),
            (_, Some(shares)) => {
                number("CPUWeight", crate::cgroup::limits::weight_of_shares(shares));
            }
            _ => {}
        }
    } else {
        if let Some(shares) = r.cpu_shares {
            number("CPUShares", shares);
        }
        if let Some(weight) = r.blkio_weight {
            number("BlockIOWeight", weight.into());
        }
    }
    if let Some(limit) = r.pids_limit {
        number("TasksMax", if limit < 0 { INFINITY } else { bytes(limit.max(1)) });
    }
    list.extend(quota(r.cpu_quota, r.cpu_period));
    for (name, wish, text) in [
        ("AllowedCPUs", "cpu.cpus", &r.cpuset_cpus),
        ("AllowedMemoryNodes", "cpu.mems", &r.cpuset_mems),
    ] {
        if let Some(text) = text {
            list.push(property(name, mask(wish, text)?));
        }
    }
    of_unified(r, &mut list)?;
    Ok(list)
}

/// systemd keeps CPU time per second, in whole percents: rounded up, so that the
/// cgroup's own value, written afterwards, fits in.
fn quota(quota: Option<i64>, period: Option<u64>) -> Properties {
    const PERCENT: u64 = 10_000;
    let mut list = Vec::new();
    if let Some(period) = period {
        list.push(property("CPUQuotaPeriodUSec", UnitValue::Uint64(period)));
    }
    if quota.is_some() || period.is_some() {
        let quota = quota.and_then(|quota| u64::try_from(quota).ok()).filter(|quota| *quota > 0);
        let share = quota.map_or(INFINITY, |quota| {
            let per_second = quota.saturating_mul(1_000_000) / period.unwrap_or(PERIOD).max(1);
            per_second.div_ceil(PERCENT).saturating_mul(PERCENT)
        });
        list.push(property("CPUQuotaPerSecUSec", UnitValue::Uint64(share)));
    }
    list
}

/// A list of CPUs as bytes of bits, the first CPU lowest.
fn mask(wish: &str, text: &str) -> Result<UnitValue, SystemdError> {
    let wrong = || SystemdError::Property {
        wish: format!("linux.resources.{wish}"),
        problem: format!("{text:?} is no list of numbers like \"0-3,5\""),
    };
    let mut bytes: Vec<u8> = Vec::new();
    for range in text.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
        let (first, last) = (number(first)?, number(last)?);
        // More CPUs than Linux can have (NR_CPUS).
        if first > last || last >= 1 << 16 {
            return Err(wrong());
        }
        bytes.resize(bytes.len().max(last / 8 + 1), 0);
        for bit in first..=last {
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
    }
    if bytes.is_empty() {
        return Err(wrong());
    }
    Ok(UnitValue::Array('y', bytes.into_iter().map(UnitValue::Byte).collect()))
}

/// v2 files that systemd has a word for; the others are only written.
fn of_unified(r: &Resources, list: &mut Properties) -> Result<(), SystemdError> {
    let mut set = |name: &str, value| {
        list.retain(|(known, _)| known != name);
        list.push(property(name, value));
    };
    for (file, value) in &r.unified {
        let value = value.trim();
        let wrong = || SystemdError::Property {
            wish: format!("linux.resources.unified[{file:?}]"),
            problem: format!("{value:?} is no value of it"),
        };
        let number = |text: &str| match text {
            "max" => Ok(INFINITY),
            text => text.parse::<u64>().map_err(|_| wrong()),
        };
        let name = match file.as_str() {
            "cpu.idle" if value == "1" => {
                set("CPUWeight", UnitValue::Uint64(0));
                continue;
            }
            "cpu.max" => {
                let mut words = value.split_ascii_whitespace();
                let limit = number(words.next().unwrap_or_default())?;
                let period = words.next().map(number).transpose()?.unwrap_or(PERIOD);
                for (name, value) in quota(i64::try_from(limit).ok(), Some(period)) {
                    set(&name, value);
                }
                continue;
            }
            "cpuset.cpus" => {
                set("AllowedCPUs", mask(&format!("unified[{file:?}]"), value)?);
                continue;
            }
            "cpuset.mems" => {
                set("AllowedMemoryNodes", mask(&format!("unified[{file:?}]"), value)?);
                continue;
            }
            "cpu.weight" if r.unified.get("cpu.idle").is_some_and(|idle| idle.trim() == "1") => {
                log::warn!(
                    "unable to apply both cpu.weight and cpu.idle to systemd, ignoring cpu.weight"
                );
                continue;
            }
            "cpu.weight" => "CPUWeight",
            "memory.high" => "MemoryHigh",
            "memory.low" => "MemoryLow",
            "memory.max" => "MemoryMax",
            "memory.min" => "MemoryMin",
            "memory.swap.max" => "MemorySwapMax",
            "pids.max" => {
                set("TasksMax", UnitValue::Uint64(number(value)?.max(1)));
                continue;
            }
            _ => continue,
        };
        set(name, UnitValue::Uint64(number(value)?));
    }
    Ok(())
}

/// systemd knows lists of what is allowed, by name. What cannot be said so is left
/// to the rules that are written after it.
fn of_devices(rules: &[DeviceRule]) -> Properties {
    let text = |text: &str| UnitValue::String(text.to_owned());
    let none = property("DeviceAllow", UnitValue::Pairs(Vec::new()));
    let begins_closed = rules.first().is_some_and(|rule| !rule.allow);
    if rules.is_empty() || !begins_closed {
        return vec![none, property("DevicePolicy", text("auto"))];
    }
    // A later "no" takes back what an earlier rule gave.
    let taken_back = |at: usize, rule: &DeviceRule| {
        let later = rules.get(at + 1..).unwrap_or_default();
        later.iter().any(|no| {
            !no.allow && (no.kind, no.major, no.minor) == (rule.kind, rule.major, rule.minor)
        })
    };
    let allowed =
        rules.iter().enumerate().filter(|(at, rule)| rule.allow && !taken_back(*at, rule));
    let pairs = allowed.filter_map(|(_, rule)| {
        let kind = match rule.kind {
            DeviceKind::Char => "char",
            DeviceKind::Block => "block",
            DeviceKind::All => return None,
        };
        let name = match (rule.major, rule.minor) {
            (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
            (Some(major), None) => format!("{kind}-{major}"),
            (None, None) => format!("{kind}-*"),
            (None, Some(_)) => return None,
        };
        Some((name, rule.access.clone()))
    });
    let pairs = UnitValue::Pairs(pairs.collect());
    vec![none, property("DevicePolicy", text("strict")), property("DeviceAllow", pairs)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::devices::default_device_rules;
    use proptest::prelude::*;

    fn shown(list: Properties) -> Vec<String> {
        let show = |value: &UnitValue| match value {
            UnitValue::Uint64(INFINITY) => "infinity".to_owned(),
            UnitValue::Uint64(n) => n.to_string(),
            UnitValue::String(text) => text.clone(),
            UnitValue::Array('y', bytes) => bytes
                .iter()
                .map(|b| if let UnitValue::Byte(b) = b { format!("{b:02x}") } else { "?".into() })
                .collect(),
            other => format!("{other:?}"),
        };
        list.iter().map(|(name, value)| format!("{name}={}", show(value))).collect()
    }

    fn limits(r: &Resources, v2: bool) -> Vec<String> {
        shown(of_limits(r, v2).unwrap())
    }

    #[test]
    fn limits_are_in_the_words_of_each_version() {
        let r = Resources {
            memory: Some(100),
            memory_swap: Some(150),
            memory_reservation: Some(50),
            cpu_shares: Some(1024),
            cpu_quota: Some(50_000),
            cpu_period: Some(200_000),
            pids_limit: Some(0),
            blkio_weight: Some(500),
            cpuset_cpus: Some("0-1, 9".into()),
            ..Resources::default()
        };
        assert_eq!(
            limits(&r, true),
            [
                "MemoryMax=100",
                "MemoryLow=50",
                "MemorySwapMax=50",
                "CPUWeight=100",
                "TasksMax=1",
                "CPUQuotaPeriodUSec=200000",
                "CPUQuotaPerSecUSec=250000",
                "AllowedCPUs=0302"
            ]
        );
        assert_eq!(
            limits(&r, false),
            [
                "MemoryLimit=100",
                "CPUShares=1024",
                "BlockIOWeight=500",
                "TasksMax=1",
                "CPUQuotaPeriodUSec=200000",
                "CPUQuotaPerSecUSec=250000",
                "AllowedCPUs=0302"
            ]
        );
    }

    #[test]
    fn no_limit_is_infinity_and_nothing_is_nothing() {
        let r = Resources {
            memory: Some(-1),
            pids_limit: Some(-1),
            cpu_quota: Some(-1),
            ..Resources::default()
        };
        assert_eq!(
            limits(&r, true),
            [
                "MemoryMax=infinity",
                "MemorySwapMax=infinity",
                "TasksMax=infinity",
                "CPUQuotaPerSecUSec=infinity"
            ]
        );
        assert!(limits(&Resources::default(), true).is_empty());
    }

    #[test]
    fn quotas_are_rounded_up_to_whole_percents() {
        let per_second = |q, p| shown(quota(Some(q), p)).pop().unwrap();
        assert_eq!(per_second(5000, None), "CPUQuotaPerSecUSec=50000");
        assert_eq!(per_second(5001, None), "CPUQuotaPerSecUSec=60000");
        assert_eq!(per_second(1, Some(1_000_000)), "CPUQuotaPerSecUSec=10000");
    }

    #[test]
    fn v2_files_have_the_last_word() {
        let unified = [
            ("memory.max", "42"),
            ("cpu.max", "max"),
            ("cpu.weight", "7"),
            ("pids.max", "0"),
            ("cpuset.mems", "1"),
            ("memory.high", " max\n"),
            ("io.max", "8:0 rbps=1"),
        ];
        let unified = unified.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let r = Resources { memory: Some(100), unified, ..Resources::default() };
        assert_eq!(
            limits(&r, true),
            [
                "CPUQuotaPeriodUSec=100000",
                "CPUQuotaPerSecUSec=infinity",
                "CPUWeight=7",
                "AllowedMemoryNodes=02",
                "MemoryHigh=infinity",
                "MemoryMax=42",
                "TasksMax=1"
            ]
        );
        let r =
            Resources { unified: [("pids.max".into(), "x".into())].into(), ..Resources::default() };
        let text = of_limits(&r, true).unwrap_err().to_string();
        assert!(text.contains("linux.resources.unified[\"pids.max\"]"), "{text}");
    }

    #[test]
    fn devices_are_a_closed_list_or_anything() {
        let list = of_devices(&default_device_rules());
        assert_eq!(shown(list[1..2].to_vec()), ["DevicePolicy=strict"]);
        let UnitValue::Pairs(pairs) = &list[2].1 else { panic!() };
        assert!(pairs.contains(&("char-*".into(), "m".into())));
        assert!(pairs.contains(&("/dev/char/1:3".into(), "rwm".into())));
        assert!(pairs.contains(&("char-136".into(), "rwm".into())));
        assert_eq!(shown(of_devices(&[])).last().unwrap(), "DevicePolicy=auto");
    }

    #[test]
    fn a_scope_is_delegated_and_a_slice_is_wanted() {
        let unit = UnitPlan {
            name: "a-b.scope".into(),
            slice: "a.slice".into(),
            properties: [("CollectMode".to_owned(), UnitValue::String("inactive".into()))].into(),
            ..UnitPlan::default()
        };
        let names: Vec<String> =
            of_unit(&unit, true, 7).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names[1..4], ["Slice", "Delegate", "PIDs"]);
        assert!(
            names.contains(&"IOAccounting".to_owned())
                && names.ends_with(&["CollectMode".to_owned()])
        );
        let slice = UnitPlan { name: "a-b.slice".into(), ..unit };
        assert_eq!(of_unit(&slice, false, 7)[1].0, "Wants");
    }

    proptest! {
        #[test]
        fn masks_have_the_bits_of_their_lists(cpus in prop::collection::btree_set(0usize..100, 1..20)) {
            let text: Vec<String> = cpus.iter().map(ToString::to_string).collect();
            let UnitValue::Array('y', bytes) = mask("x", &text.join(",")).unwrap() else { panic!() };
            let set = |cpu: usize| match bytes.get(cpu / 8) {
                Some(UnitValue::Byte(byte)) => byte >> (cpu % 8) & 1 == 1,
                _ => false,
            };
            for cpu in 0..100 {
                prop_assert_eq!(set(cpu), cpus.contains(&cpu));
            }
        }
    }
}
