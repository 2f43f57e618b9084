//! Configurations that nobody meant: random changes of one that uses everything.
//! None makes the planner panic, and one that is refused has done nothing.
//!
//! The second half needs root and busybox-static, else it is skipped (unless
//! RCNT_TESTS_MUST_WORK is set).
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

mod bundle;

use std::path::{Path, PathBuf};

use bundle::{Bundle, text};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rcnt_runtime::oci::{CgroupDriver, Container, Spec, exec_plan, outside_hooks, parse, plan};
use rcnt_runtime::plan::ContainerPlan;
use serde_json::{Value, json};

/// The default configuration with something in every other section there is.
fn everything() -> Value {
    let mut config = rcnt_runtime::oci::spec::default_config();
    let hook = json!([{"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 3}]);
    let names = ["prestart", "createRuntime", "createContainer", "startContainer", "poststop"];
    config["hooks"] = names.into_iter().map(|name| (name.to_owned(), hook.clone())).collect();
    config["annotations"] = json!({"a": "b", "org.systemd.property.TimeoutStopUSec": "uint64 1"});
    config["domainname"] = "d".into();
    config["mounts"].as_array_mut().unwrap().push(json!({
        "destination": "/m", "type": "bind", "source": "/etc", "options": ["rbind", "rro", "rslave"],
        "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
        "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}]
    }));
    let process = &mut config["process"];
    process["user"] = json!({"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3, 4]});
    process["oomScoreAdj"] = 10.into();
    process["apparmorProfile"] = "unconfined".into();
    process["consoleSize"] = json!({"height": 1, "width": 2});
    process["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5, "flags": []});
    process["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 4});
    process["execCPUAffinity"] = json!({"initial": "0", "final": "0-1"});
    let linux = &mut config["linux"];
    linux["cgroupsPath"] = "/a/b".into();
    linux["rootfsPropagation"] = "rslave".into();
    linux["personality"] = json!({"domain": "LINUX"});
    linux["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.shmmax": "1"});
    linux["devices"] = json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229,
        "fileMode": 438, "uid": 0, "gid": 0}]);
    linux["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0"});
    linux["timeOffsets"] = json!({"monotonic": {"secs": 1, "nanosecs": 2}});
    for namespace in ["user", "time"] {
        linux["namespaces"].as_array_mut().unwrap().push(json!({"type": namespace}));
    }
    linux["uidMappings"] = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    linux["gidMappings"] = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    linux["netDevices"] = json!({"eth7": {"name": "eth0"}});
    linux["resources"] = json!({
        "memory": {"limit": 1 << 28, "reservation": 1 << 27, "swap": 1 << 28, "swappiness": 3},
        "cpu": {"shares": 10, "quota": 10000, "period": 20000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 10}, "unified": {"memory.high": "max"},
        "blockIO": {"weight": 10, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}], "rdma": {"mlx": {"hcaHandles": 1}},
        "network": {"classID": 1, "priorities": [{"name": "lo", "priority": 1}]},
        "devices": [{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"}]
    });
    linux["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [{"names": ["chown", "write"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
            "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}]}]
    });
    config
}

/// What is done to one place of the configuration.
#[derive(Debug, Clone)]
enum Change {
    Replace(Value),
    /// With the entry before it, if it is one of a list.
    Repeat(usize),
    Remove,
    /// A key nobody knows.
    Rename,
    /// By what is somewhere else.
    CopyOf(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let long = "x".repeat(5000);
    let values = vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(u32::MAX),
        json!(1e300),
        json!(0.5),
        json!(""),
        json!("\0"),
        json!("/"),
        json!(".."),
        json!("/../../etc"),
        json!("a/../../b"),
        json!("\u{202e}\u{1F980}"),
        json!("0-18446744073709551615"),
        json!("%s%n$(id)"),
        json!("-1"),
        json!("a:b:c"),
        json!("machine.slice:a:b"),
        json!("/proc/self/ns/net"),
        json!("size=9e99"),
        json!("SCMP_ACT_NOTIFY"),
        json!("host"),
        json!(long),
        json!([]),
        json!({}),
        json!([[[[{}]]]]),
        json!({"": ""}),
        json!(["bind", "ro", "rshared", "idmap"]),
        json!({"type": "user", "path": "/proc/self/ns/user"}),
    ];
    prop_oneof![
        6 => select(values).prop_map(Change::Replace),
        2 => "\\PC{0,12}".prop_map(|text| Change::Replace(text.into())),
        2 => any::<i64>().prop_map(|number| Change::Replace(number.into())),
        1 => (1..40_usize).prop_map(Change::Repeat),
        2 => Just(Change::Remove),
        1 => Just(Change::Rename),
        2 => any::<Index>().prop_map(Change::CopyOf),
    ]
}

/// JSON pointers of everything in `value` but the whole.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            let escaped = |key: &String| key.replace('~', "~0").replace('/', "~1");
            map.iter().map(|(key, value)| (escaped(key), value)).collect()
        }
        Value::Array(list) => list.iter().enumerate().map(|(n, v)| (n.to_string(), v)).collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        let at = format!("{at}/{key}");
        places(child, &at, found);
        found.push(at);
    }
}

fn apply(config: &mut Value, at: Index, change: &Change) {
    let mut all = Vec::new();
    places(config, "", &mut all);
    let Some(pointer) = (!all.is_empty()).then(|| at.get(&all)) else { return };
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let other = match change {
        Change::CopyOf(other) => config.pointer(other.get::<String>(&all)).cloned(),
        _ => None,
    };
    let key = key.replace("~1", "/").replace("~0", "~");
    match (change, config.pointer_mut(parent).unwrap()) {
        (Change::Remove, Value::Object(map)) => drop(map.remove(&key)),
        (Change::Remove, Value::Array(list)) => drop(list.remove(key.parse().unwrap())),
        (Change::Rename, Value::Object(map)) => {
            let value = map.remove(&key).unwrap();
            map.insert(format!("{key}x"), value);
        }
        (Change::Repeat(times), Value::Array(list)) => {
            let value = list[key.parse::<usize>().unwrap()].clone();
            list.extend(std::iter::repeat_n(value, *times));
        }
        (Change::Replace(value), _) => *config.pointer_mut(pointer).unwrap() = value.clone(),
        (Change::CopyOf(_), _) => *config.pointer_mut(pointer).unwrap() = other.unwrap(),
        _ => {}
    }
}

fn changed(base: Value, changes: &[(Index, Change)]) -> Value {
    let mut config = base;
    changes.iter().for_each(|(at, change)| apply(&mut config, *at, change));
    config
}

fn changes() -> impl Strategy<Value = Vec<(Index, Change)>> {
    proptest::collection::vec((any::<Index>(), change()), 1..5)
}

/// Both plans of a configuration, as `create` and `exec` make them.
fn planned(config: &Value, driver: CgroupDriver) -> Result<ContainerPlan, String> {
    let bundle = Path::new("/nowhere/bundle");
    let spec: Spec = parse(&bundle.join("config.json"), config.to_string().as_bytes())
        .map_err(|error| error.to_string())?;
    let _ = outside_hooks(&spec);
    if let Some(process) = spec.process() {
        let _ = exec_plan(Container { id: "x", bundle, spec: &spec }, process);
    }
    plan("x", bundle, &spec, driver).map_err(|error| error.to_string())
}

/// Whether it says where in the configuration something is wrong.
fn names_its_place(error: &str) -> bool {
    let whole = ["the configuration has no ", "/nowhere/bundle/config.json is not an OCI"];
    let place = error.strip_prefix("config.json: ").and_then(|rest| rest.split_once(": "));
    place.is_some_and(|(place, _)| !place.contains(' ') || place.contains('"'))
        || whole.iter().any(|start| error.starts_with(start))
        || error.starts_with("seccomp")
}

#[test]
fn everything_can_be_planned() {
    let plan = planned(&everything(), CgroupDriver::Files);
    assert!(plan.is_ok(), "{plan:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_configuration_makes_the_planner_panic(changes in changes(), systemd in any::<bool>()) {
        let driver = if systemd { CgroupDriver::Systemd } else { CgroupDriver::Files };
        let config = changed(everything(), &changes);
        match planned(&config, driver) {
            Ok(plan) => {
                let clean = |path: &Path| path.is_absolute()
                    && !path.components().any(|part| part.as_os_str() == "..");
                prop_assert!(plan.mounts.iter().all(|mount| clean(&mount.destination)));
                prop_assert!(plan.masked_paths.iter().all(|path| path.is_absolute()));
                let up = plan.cgroup.path.components().any(|part| part.as_os_str() == "..");
                prop_assert!(!up, "{:?}", plan.cgroup.path);
                // Everything after this is told to another process in this form.
                let text = serde_json::to_string(&plan).unwrap();
                prop_assert_eq!(serde_json::from_str::<ContainerPlan>(&text).unwrap(), plan);
            }
            Err(error) => {
                prop_assert!(error.len() < 16_384 && error.lines().count() == 1, "{}", error);
                prop_assert!(names_its_place(&error), "{}", error);
            }
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(at in any::<Index>(), cut in any::<bool>(), byte: u8) {
        let mut text = everything().to_string().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        if cut {
            text.truncate(at);
        }
        let _ = parse::<Spec>(Path::new("/x/config.json"), &text);
    }
}

/// Every file below `root`, with what is in it.
fn listing(root: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() && !path.is_symlink() {
            true => found.extend(listing(&path)),
            false => found.push((path.clone(), std::fs::read(&path).ok())),
        }
        found.push((path, None));
    }
    found.sort();
    found
}

#[test]
fn what_is_refused_has_done_nothing() {
    let Some(bundle) = Bundle::new("true") else { return };
    let id = bundle.id("hostile");
    let config_file = bundle.path("config.json");
    let mut base: Value = serde_json::from_slice(&std::fs::read(&config_file).unwrap()).unwrap();
    for key in ["hooks", "annotations"] {
        base[key] = everything()[key].clone();
    }
    for key in ["resources", "seccomp", "devices", "sysctl"] {
        base["linux"][key] = everything()["linux"][key].clone();
    }
    let before = listing(&bundle.path("rootfs"));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(60));
    let done = runner.run(&changes(), |changes| {
        let config = changed(base.clone(), &changes);
        std::fs::write(&config_file, config.to_string()).unwrap();
        let spec = parse::<Spec>(&config_file, config.to_string().as_bytes());
        let planned =
            spec.and_then(|spec| plan(&id, &bundle.path(""), &spec, CgroupDriver::Files).map(drop));
        // What is accepted would do whatever it says.
        prop_assume!(planned.is_err());
        let output = bundle.oci(&["create", &id]);
        prop_assert_eq!(output.status.code(), Some(1), "{:?}", output);
        let lines: Vec<&str> = text(&output.stderr).lines().collect();
        let last = lines.last().copied().unwrap_or_default();
        prop_assert!(last.starts_with("rcnt-oci: ") && lines.len() < 8, "{:?}", output);
        prop_assert!(listing(&bundle.path("rootfs")) == before);
        let state = std::fs::read_dir(bundle.path("state"));
        prop_assert!(state.is_err() || state.unwrap().next().is_none());
        bundle.nothing_is_left(&id);
        Ok(())
    });
    done.unwrap();
}

/// What looks well and cannot be done is noticed late: whatever is there by then
/// goes again.
#[test]
fn what_fails_half_way_leaves_nothing() {
    let Some(bundle) = Bundle::new("true") else { return };
    let id = bundle.id("impossible");
    let config_file = bundle.path("config.json");
    let base: Value = serde_json::from_slice(&std::fs::read(&config_file).unwrap()).unwrap();
    let mount = |mount: Value| json!({"mounts": [mount]});
    let failing = json!([{"path": "/bin/false"}]);
    let network = |path: &str| {
        let types = ["mount", "uts", "pid"].map(|kind| json!({"type": kind}));
        let namespaces = [&types[..], &[json!({"type": "network", "path": path})]].concat();
        json!({"linux": {"namespaces": namespaces}})
    };
    for change in [
        mount(json!({"destination": "/x", "type": "nosuchfs", "source": "none"})),
        mount(
            json!({"destination": "/x", "type": "tmpfs", "source": "t", "options": ["nosuch=1"]}),
        ),
        mount(json!({"destination": "/bin/busybox/x", "type": "tmpfs", "source": "t"})),
        mount(
            json!({"destination": "/x", "type": "bind", "source": "/nosuch", "options": ["bind"]}),
        ),
        json!({"hooks": {"prestart": failing}}),
        json!({"hooks": {"createRuntime": failing}}),
        json!({"hooks": {"createContainer": failing}}),
        json!({"hooks": {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "9"], "timeout": 1}]}}),
        json!({"linux": {"sysctl": {"net.ipv4.ip_forward": "no number"}}}),
        json!({"linux": {"resources": {"cpu": {"cpus": "4000"}}}}),
        json!({"linux": {"resources": {"memory": {"limit": 1}}}}),
        json!({"linux": {"netDevices": {"nosuch": {"name": "eth0"}}}}),
        network("/nosuch"),
        network("/dev/null"),
        json!({"linux": {"devices": [{"path": "/proc/x", "type": "c", "major": 1, "minor": 3}]}}),
        json!({"process": {"cwd": "/bin/busybox"}}),
        json!({"process": {"args": ["/nosuch"]}}),
        json!({"process": {"args": ["/etc"]}}),
    ] {
        let mut config = base.clone();
        merge(&mut config, &change);
        std::fs::write(&config_file, config.to_string()).unwrap();
        let out = std::fs::File::create(bundle.path("out")).unwrap();
        let errors = std::fs::File::create(bundle.path("errors")).unwrap();
        let mut create = bundle.command(&["create", &id]);
        create.stderr(errors);
        let status = create.stdin(std::process::Stdio::null()).stdout(out).status().unwrap();
        assert!(!status.success(), "{change}");
        bundle.nothing_is_left(&id);
        let errors = std::fs::read_to_string(bundle.path("errors")).unwrap();
        let too_little = change["linux"]["resources"]["memory"] == json!({"limit": 1});
        assert_eq!(errors.contains("(memory limit too low?)"), too_little, "{errors}");
    }
}

/// Objects are merged, all else replaced, but what is mounted comes last.
fn merge(config: &mut Value, change: &Value) {
    match (config, change) {
        (Value::Object(map), Value::Object(changes)) => {
            for (key, change) in changes {
                match (map.get_mut(key), change) {
                    (Some(Value::Array(mounts)), Value::Array(more)) if key == "mounts" => {
                        mounts.extend(more.iter().cloned());
                    }
                    (Some(old), change) => merge(old, change),
                    (None, change) => drop(map.insert(key.clone(), change.clone())),
                }
            }
        }
        (config, change) => *config = change.clone(),
    }
}
