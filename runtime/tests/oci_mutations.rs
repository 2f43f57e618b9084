//! Configurations that nobody would write: whatever is in one, planning ends with
//! a plan or with one line, never with a panic.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use proptest::prelude::*;
use rcnt_runtime::oci::{self, CgroupDriver, Spec, spec};
use serde_json::{Value, json};

/// What stands in a field instead.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "/",
            "..",
            "/../..",
            "\0",
            "a:b:c",
            "4294967296",
            "user",
            "cgroup",
            "bind",
            "rro",
            "size=9e99",
            "RLIMIT_NOFILE",
            "CAP_SYS_ADMIN",
            "SCMP_ACT_NOTIFY",
            "0-99999",
            "/proc/self/ns/net",
            "net.core.somaxconn",
            "machine.slice:a:b",
        ])
        .prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let key = prop::sample::select(vec![
            "type",
            "path",
            "options",
            "destination",
            "source",
            "limit",
            "uid",
            "hostID",
            "size",
            "containerID",
            "names",
            "action",
            "args",
            "value",
            "major",
            "minor",
            "access",
            "x",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..4)
                .prop_map(|map| map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

/// Everything a configuration can have, so that there is something to spoil.
fn rich() -> Value {
    let mut config = spec::config_for(true);
    let extra = json!({
        "annotations": {"org.systemd.property.TimeoutStopUSec": "uint64 1"},
        "domainname": "d",
        "hooks": {"poststop": [{"path": "/bin/true", "args": ["true"], "timeout": 1}]}
    });
    let linux = json!({
        "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
        "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
        "sysctl": {"net.core.somaxconn": "1"},
        "cgroupsPath": "/a/b",
        "rootfsPropagation": "rslave",
        "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438}],
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{
                "names": ["read"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]
            }]
        },
        "personality": {"domain": "LINUX"},
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0"},
        "timeOffsets": {"monotonic": {"secs": 1, "nanosecs": 2}},
        "resources": {
            "memory": {"limit": 1, "swap": 2}, "pids": {"limit": 1},
            "cpu": {"shares": 2, "quota": 1000, "period": 1000, "cpus": "0", "mems": "0"},
            "blockIO": {"weight": 10, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
            "network": {"classID": 1, "priorities": [{"name": "lo", "priority": 1}]},
            "rdma": {"mlx": {"hcaHandles": 1}}, "unified": {"memory.high": "1"},
            "devices": [{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}]
        }
    });
    let process = json!({
        "oomScoreAdj": 1, "apparmorProfile": "unconfined", "consoleSize": {"height": 1, "width": 2},
        "scheduler": {"policy": "SCHED_BATCH", "nice": 1},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 1},
        "execCPUAffinity": {"initial": "0", "final": "0"}
    });
    let mut merge = |pointer: &str, with: Value| {
        let into = config.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
        into.extend(with.as_object().unwrap().clone());
    };
    merge("", extra);
    merge("/linux", linux);
    merge("/process", process);
    config
}

/// All places of a configuration, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                places(inner, &format!("{at}/{key}"), found);
            }
        }
        Value::Array(list) => {
            list.iter()
                .enumerate()
                .for_each(|(i, inner)| places(inner, &format!("{at}/{i}"), found));
        }
        _ => {}
    }
}

fn planned(text: &str, driver: CgroupDriver) -> Result<(), String> {
    let bundle = Path::new("/nosuch/bundle");
    let said = |error: oci::OciError| rcnt_base::report::chain(&error);
    let spec: Spec = oci::parse(&bundle.join("config.json"), text.as_bytes()).map_err(said)?;
    oci::plan("c1", bundle, &spec, driver).map(drop).map_err(said)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_configuration_makes_the_planner_panic(
        spoils in prop::collection::vec((any::<prop::sample::Index>(), value()), 1..4),
        systemd in any::<bool>(),
    ) {
        let mut config = rich();
        for (place, value) in spoils {
            let mut all = Vec::new();
            places(&config, "", &mut all);
            let place: &String = place.get(&all);
            *config.pointer_mut(place).unwrap() = value;
        }
        let driver = if systemd { CgroupDriver::Systemd } else { CgroupDriver::Files };
        if let Err(text) = planned(&config.to_string(), driver) {
            prop_assert!(text.lines().count() == 1, "{}", text);
        }
    }

    #[test]
    fn text_that_is_no_configuration_is_refused(text in "\\PC*") {
        prop_assert!(planned(&text, CgroupDriver::Files).is_err());
    }
}
