//! `process.scheduler`, `.ioPriority`, `.execCPUAffinity`, `linux.memoryPolicy`
//! and `.personality`.
//!
//! The words of the refusals are those of runc, which scripts look for.

use std::collections::BTreeSet;

use super::config::{
    IoPriority as Priority, Linux, MemoryPolicy as Policy, Personality, Scheduler,
};
use super::{OciError, refuse};
use crate::plan::{IoPriority, MemoryPolicy, Scheduling};

/// `SCHED_*` (linux/sched.h), in the order of their numbers.
const POLICIES: [&str; 7] = [
    "SCHED_OTHER",
    "SCHED_FIFO",
    "SCHED_RR",
    "SCHED_BATCH",
    "SCHED_ISO",
    "SCHED_IDLE",
    "SCHED_DEADLINE",
];

/// `SCHED_FLAG_*` (linux/sched.h), in the order of their bits.
const SCHED_FLAGS: [&str; 7] = [
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
];

/// `IOPRIO_CLASS_*` (linux/ioprio.h), from 1 on.
const CLASSES: [&str; 3] = ["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"];

/// `MPOL_*` (linux/mempolicy.h), in the order of their numbers.
pub(super) const MODES: [&str; 7] = [
    "MPOL_DEFAULT",
    "MPOL_PREFERRED",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

/// `MPOL_F_*` (linux/mempolicy.h).
pub(super) const MODE_FLAGS: [(&str, i32); 3] = [
    ("MPOL_F_NUMA_BALANCING", libc::MPOL_F_NUMA_BALANCING),
    ("MPOL_F_RELATIVE_NODES", libc::MPOL_F_RELATIVE_NODES),
    ("MPOL_F_STATIC_NODES", libc::MPOL_F_STATIC_NODES),
];

/// More processors than any kernel has (NR_CPUS).
const MOST_PROCESSORS: u16 = 8192;
/// More nodes than any kernel has (MAX_NUMNODES).
const MOST_NODES: u16 = 1024;

pub(super) fn scheduling(given: &Scheduler) -> Result<Scheduling, OciError> {
    let at = |field: &str| format!("process.scheduler.{field}");
    let Scheduler { policy, nice, priority, flags, runtime, deadline, period } = given;
    if policy.is_empty() {
        return refuse(at("policy"), "scheduler policy is required");
    }
    let Some(number) = POLICIES.iter().position(|known| known == policy) else {
        return refuse(at("policy"), format!("invalid scheduler policy: {policy}"));
    };
    let is = |names: &[&str]| names.contains(&policy.as_str());
    if is(&["SCHED_OTHER", "SCHED_BATCH"]) && !(-20..=19).contains(nice) {
        let problem = format!("invalid scheduler.nice: {nice} when scheduler.policy is {policy}");
        return refuse(at("nice"), problem);
    }
    if *priority != 0 && !is(&["SCHED_FIFO", "SCHED_RR"]) {
        let problem = "scheduler.priority can only be specified for SchedFIFO or SchedRR policy";
        return refuse(at("priority"), problem);
    }
    if (*runtime, *deadline, *period) != (0, 0, 0) && !is(&["SCHED_DEADLINE"]) {
        let problem =
            "scheduler runtime/deadline/period can only be specified for SchedDeadline policy";
        return refuse(at("runtime"), problem);
    }
    let Ok(priority) = u32::try_from(*priority) else {
        return refuse(at("priority"), format!("{priority} is below 0"));
    };
    let mut bits = 0;
    for (index, flag) in flags.iter().enumerate() {
        match SCHED_FLAGS.iter().position(|known| known == flag) {
            Some(bit) => bits |= 1 << bit,
            None => {
                let problem = format!("invalid scheduler flag: {flag}");
                return refuse(at(&format!("flags[{index}]")), problem);
            }
        }
    }
    Ok(Scheduling {
        policy: u32::try_from(number).unwrap_or_default(),
        flags: bits,
        nice: *nice,
        priority,
        runtime: *runtime,
        deadline: *deadline,
        period: *period,
    })
}

pub(super) fn io_priority(given: &Priority) -> Result<IoPriority, OciError> {
    let level = u8::try_from(given.priority).ok().filter(|level| *level <= 7);
    let Some(level) = level else {
        let problem = format!("invalid ioPriority.Priority: {}", given.priority);
        return refuse("process.ioPriority.priority", problem);
    };
    let class = (1u8..).zip(CLASSES).find(|(_, known)| *known == given.class);
    let Some((class, _)) = class else {
        let problem = format!("invalid ioPriority.Class: {:?}", given.class);
        return refuse("process.ioPriority.class", problem);
    };
    Ok(IoPriority { class, level })
}

/// `linux.memoryPolicy`
pub(super) fn memory_policy(linux: &Linux) -> Result<Option<MemoryPolicy>, OciError> {
    let Some(Policy { mode, nodes, flags }) = linux.memory_policy() else { return Ok(None) };
    let at = |field: &str| format!("linux.memoryPolicy.{field}");
    let Some(number) = (0i32..).zip(MODES).find(|(_, known)| known == mode).map(|(n, _)| n) else {
        return refuse(at("mode"), format!("invalid memory policy mode {mode:?}"));
    };
    let nodes = match list(nodes, MOST_NODES) {
        Ok(nodes) => nodes,
        Err(why) => {
            return refuse(at("nodes"), format!("invalid memory policy nodes {nodes:?}: {why}"));
        }
    };
    let mut bits = 0;
    for (index, flag) in flags.iter().enumerate() {
        match MODE_FLAGS.iter().find(|(known, _)| known == flag) {
            Some((_, bit)) => bits |= bit,
            None => {
                let problem = format!("invalid memory policy flag {flag:?}");
                return refuse(at(&format!("flags[{index}]")), problem);
            }
        }
    }
    match (mode.as_str(), nodes.len()) {
        ("MPOL_DEFAULT" | "MPOL_LOCAL", count @ 1..) => {
            let problem = format!("memory policy mode requires 0 nodes but got {count}");
            refuse(at("nodes"), problem)
        }
        ("MPOL_DEFAULT" | "MPOL_LOCAL" | "MPOL_PREFERRED", _) | (_, 1..) => {
            Ok(Some(MemoryPolicy { mode: number | bits, nodes }))
        }
        _ => refuse(at("nodes"), "memory policy mode requires at least one node but got 0"),
    }
}

/// `linux.personality` (personality(2)).
pub(super) fn personality(linux: &Linux) -> Result<Option<u32>, OciError> {
    const PER_LINUX: u32 = 0;
    const PER_LINUX32: u32 = 8;
    let Some(Personality { domain, flags }) = linux.personality() else { return Ok(None) };
    if let Some(flag) = flags.first() {
        let problem = format!("{flag:?} is not a flag: none is defined");
        return refuse("linux.personality.flags[0]", problem);
    }
    match domain.as_str() {
        "LINUX" => Ok(Some(PER_LINUX)),
        "LINUX32" => Ok(Some(PER_LINUX32)),
        _ => refuse(
            "linux.personality.domain",
            format!("invalid personality domain {domain:?}: LINUX or LINUX32"),
        ),
    }
}

/// One half of `process.execCPUAffinity`; empty says nothing.
pub(super) fn processors(field: &str, text: &str) -> Result<Option<BTreeSet<u16>>, OciError> {
    match list(text, MOST_PROCESSORS) {
        Ok(set) if set.is_empty() => Ok(None),
        Ok(set) => Ok(Some(set)),
        Err(why) => refuse(
            format!("process.execCPUAffinity.{field}"),
            format!("bad CPU affinity {text:?}: {why}"),
        ),
    }
}

/// "0-3,7" (cpuset(7), "List format"), each number below `limit`.
fn list(text: &str, limit: u16) -> Result<BTreeSet<u16>, String> {
    let mut set = BTreeSet::new();
    let number = |text: &str| {
        let number = text.trim().parse::<u16>().ok().filter(|number| *number < limit);
        number.ok_or_else(|| format!("{text:?} is not a number below {limit}"))
    };
    for part in text.split(',').filter(|_| !text.trim().is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("{part:?} ends before it begins"));
        }
        set.extend(first..=last);
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text<T: std::fmt::Debug>(result: Result<T, OciError>) -> String {
        result.unwrap_err().to_string()
    }

    fn linux(json: serde_json::Value) -> Linux {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn schedulers_have_policies_flags_and_what_belongs_to_them() {
        let batch = Scheduler { policy: "SCHED_BATCH".into(), nice: 19, ..Default::default() };
        let plan = scheduling(&batch).unwrap();
        assert_eq!((plan.policy, plan.nice), (3, 19));
        let deadline = Scheduler {
            policy: "SCHED_DEADLINE".into(),
            flags: vec!["SCHED_FLAG_RESET_ON_FORK".into(), "SCHED_FLAG_DL_OVERRUN".into()],
            runtime: 1,
            deadline: 2,
            period: 3,
            ..Default::default()
        };
        let plan = scheduling(&deadline).unwrap();
        assert_eq!((plan.policy, plan.flags, plan.period), (6, 0b101, 3));

        let wrong = |change: fn(&mut Scheduler)| {
            let mut given = batch.clone();
            change(&mut given);
            text(scheduling(&given))
        };
        assert!(wrong(|s| s.policy.clear()).contains("scheduler policy is required"));
        assert!(wrong(|s| s.policy = "FAST".into()).contains("scheduler.policy: invalid"));
        assert!(wrong(|s| s.nice = 20).contains("invalid scheduler.nice: 20"));
        assert!(wrong(|s| s.priority = 1).contains("can only be specified for SchedFIFO"));
        assert!(wrong(|s| s.period = 1).contains("can only be specified for SchedDeadline"));
        assert!(wrong(|s| s.flags = vec!["X".into()]).contains("scheduler.flags[0]: invalid"));
    }

    #[test]
    fn io_priorities_have_a_class_and_one_of_eight_levels() {
        let plan = |class: &str, priority| {
            io_priority(&Priority { class: class.into(), priority }).map(|p| (p.class, p.level))
        };
        assert_eq!(plan("IOPRIO_CLASS_BE", 4).unwrap(), (2, 4));
        assert_eq!(plan("IOPRIO_CLASS_IDLE", 0).unwrap(), (3, 0));
        assert!(text(plan("IOPRIO_CLASS_BE", 8)).contains("invalid ioPriority.Priority: 8"));
        assert!(text(plan("IOPRIO_CLASS_BE", -1)).contains("invalid ioPriority.Priority: -1"));
        assert!(text(plan("", 0)).contains("invalid ioPriority.Class: \"\""));
    }

    #[test]
    fn memory_policies_fit_their_nodes() {
        let plan = |json| memory_policy(&linux(serde_json::json!({"memoryPolicy": json})));
        let bind = serde_json::json!(
            {"mode": "MPOL_BIND", "nodes": "0-1,3", "flags": ["MPOL_F_STATIC_NODES"]});
        let expected = MemoryPolicy { mode: 2 | 1 << 15, nodes: [0, 1, 3].into() };
        assert_eq!(plan(bind).unwrap(), Some(expected));
        let default = serde_json::json!({"mode": "MPOL_DEFAULT"});
        assert_eq!(plan(default).unwrap().unwrap().nodes.len(), 0);
        for (json, words) in [
            (serde_json::json!({}), "invalid memory policy mode \"\""),
            (serde_json::json!({"mode": "INTERLEAVE"}), "invalid memory policy mode"),
            (
                serde_json::json!({"mode": "MPOL_LOCAL", "flags": ["x"]}),
                "linux.memoryPolicy.flags[0]: invalid memory policy flag \"x\"",
            ),
            (
                serde_json::json!({"mode": "MPOL_DEFAULT", "nodes": "0-7"}),
                "mode requires 0 nodes but got 8",
            ),
            (
                serde_json::json!({"mode": "MPOL_BIND", "nodes": "0-9876543210"}),
                "invalid memory policy node",
            ),
            (serde_json::json!({"mode": "MPOL_BIND"}), "at least one node"),
        ] {
            assert!(text(plan(json.clone())).contains(words), "{json}");
        }
    }

    #[test]
    fn personalities_are_two_and_have_no_flags() {
        let plan = |json| personality(&linux(serde_json::json!({"personality": json})));
        assert_eq!(plan(serde_json::json!({"domain": "LINUX32"})).unwrap(), Some(8));
        assert_eq!(plan(serde_json::json!({"domain": "LINUX", "flags": []})).unwrap(), Some(0));
        assert!(text(plan(serde_json::json!({}))).contains("invalid personality domain"));
        let flag = serde_json::json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]});
        assert!(text(plan(flag)).contains("linux.personality.flags[0]"));
    }

    #[test]
    fn lists_are_numbers_and_ranges() {
        assert_eq!(list("", 8), Ok([].into()));
        assert_eq!(list("0-2,7, 5", 8), Ok([0, 1, 2, 5, 7].into()));
        for bad in ["a", "1-", "-1", "2-1", "8", "1,,2", "1-2-3"] {
            assert!(list(bad, 8).is_err(), "{bad}");
        }
        assert!(text(processors("final", "x")).contains("process.execCPUAffinity.final"));
    }

    proptest! {
        #[test]
        fn any_list_is_read_or_refused(text in "[0-9,\\- a]{0,24}") {
            if let Ok(set) = list(&text, MOST_PROCESSORS) {
                prop_assert!(set.iter().all(|number| *number < MOST_PROCESSORS));
            }
        }
    }
}
