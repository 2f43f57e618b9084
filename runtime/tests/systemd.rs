//! Cgroups that systemd makes. Where it runs (scripts/test-vm boots one), for real.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test, though not `cfg(test)`
#![allow(clippy::disallowed_methods)] // systemctl is asked

mod single_threaded;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rcnt_runtime::cgroup::devices::default_device_rules;
use rcnt_runtime::cgroup::{self, CgroupError, kill_all, layout};
use rcnt_runtime::plan::{CgroupPlan, Dialect, Resources, UnitPlan, UnitValue};
use single_threaded::{start, wait};

fn main() -> ExitCode {
    if Path::new("/run/systemd/system").is_dir() {
        single_threaded::main(&[
            ("a_scope_has_its_limits_and_goes", scope),
            ("a_unit_is_updated_with_its_files", updated),
            ("what_systemd_refuses_leaves_nothing", refused),
        ])
    } else {
        println!("systemd is not process 1 here: only its absence is tested");
        single_threaded::main(&[("without_systemd_it_says_so", absent)])
    }
}

fn plan(name: &str, resources: Resources) -> CgroupPlan {
    let unit = format!("rcnt-test-{}-{name}.scope", std::process::id());
    let slice = "rcntvm-test.slice".to_owned();
    CgroupPlan {
        path: Path::new("rcntvm.slice/rcntvm-test.slice").join(&unit),
        unit: Some(UnitPlan {
            name: unit,
            slice,
            description: "a test".into(),
            properties: [("TimeoutStopUSec".to_owned(), UnitValue::Uint64(3_000_000))].into(),
        }),
        all_controllers: true,
        resources: Resources { dialect: Dialect::Json, ..resources },
        ..CgroupPlan::default()
    }
}

fn show(plan: &CgroupPlan, property: &str) -> String {
    let unit = &plan.unit.as_ref().unwrap().name;
    let output = Command::new("systemctl").args(["show", "-P", property, unit]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn file(plan: &CgroupPlan, name: &str) -> String {
    let dir = layout().unwrap().unified_dir(&plan.path).unwrap();
    fs::read_to_string(dir.join(name)).unwrap().trim().to_owned()
}

fn scope() {
    let resources = Resources {
        memory: Some(64 << 20),
        cpu_quota: Some(50_000),
        cpu_shares: Some(1024),
        pids_limit: Some(17),
        cpuset_cpus: Some("0".into()),
        devices: default_device_rules(),
        ..Resources::default()
    };
    let layout = layout().unwrap();
    let plan = plan("scope", resources);
    let handles = cgroup::create(&layout, &plan).unwrap();
    let pid = start(handles.clone_into_fd(), || {
        handles.join_self().unwrap();
        // As the runtime's child does: its copy of the placeholder's pipe goes.
        rcnt_base::sys::child::close_all_but(3, &[]).unwrap();
        std::thread::sleep(Duration::from_secs(60));
        0
    });
    // The placeholder ends when the child has closed its copy: not before it joined.
    drop(handles);
    let inside = fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero())).unwrap();
    assert_eq!(inside.trim(), format!("0::/{}", plan.path.display()));
    assert_eq!(cgroup::pids(&layout, &plan.path).unwrap(), [pid.as_raw_nonzero().get()]);
    assert_eq!(
        (file(&plan, "memory.max"), file(&plan, "pids.max")),
        ("67108864".into(), "17".into())
    );
    assert_eq!(
        (file(&plan, "cpu.max"), file(&plan, "cpuset.cpus")),
        ("50000 100000".into(), "0".into())
    );
    let shown = [
        "ActiveState",
        "Slice",
        "Delegate",
        "MemoryMax",
        "TasksMax",
        "CPUQuotaPerSecUSec",
        "AllowedCPUs",
        "DevicePolicy",
        "TimeoutStopUSec",
    ];
    let shown = shown.map(|property| show(&plan, property));
    assert_eq!(
        shown,
        ["active", "rcntvm-test.slice", "yes", "67108864", "17", "500ms", "0", "strict", "3s"]
    );
    kill_all(&layout, &plan.path).unwrap();
    wait(pid);
    cgroup::destroy(&layout, &plan).unwrap();
    cgroup::destroy(&layout, &plan).unwrap();
    assert!(!layout.unified_dir(&plan.path).unwrap().exists());
    assert_eq!(show(&plan, "LoadState"), "not-found");
}

fn updated() {
    let layout = layout().unwrap();
    let mut plan = plan("update", Resources { pids_limit: Some(17), ..Resources::default() });
    let handles = cgroup::create(&layout, &plan).unwrap();
    let asked = Resources {
        dialect: Dialect::Json,
        memory: Some(32 << 20),
        pids_limit: Some(-1),
        cpu_shares: Some(3333),
        ..Resources::default()
    };
    plan.resources = cgroup::update(&layout, &plan, &asked).unwrap();
    assert_eq!(
        (file(&plan, "memory.max"), file(&plan, "pids.max")),
        ("33554432".into(), "max".into())
    );
    assert_eq!(
        (show(&plan, "MemoryMax"), show(&plan, "TasksMax")),
        ("33554432".into(), "infinity".into())
    );
    assert_eq!(show(&plan, "CPUWeight"), file(&plan, "cpu.weight"));
    // A second container must not get the first one's cgroup.
    let error = cgroup::create(&layout, &plan).unwrap_err();
    assert!(matches!(error, CgroupError::NotEmpty { .. }), "{error}");
    assert_eq!(show(&plan, "ActiveState"), "active");
    drop(handles);
    cgroup::destroy(&layout, &plan).unwrap();
}

fn refused() {
    let layout = layout().unwrap();
    let mut plan = plan("refused", Resources::default());
    let unit = plan.unit.as_mut().unwrap();
    unit.properties.insert("NoSuchProperty".into(), UnitValue::Bool(true));
    let text = cgroup::create(&layout, &plan).unwrap_err().to_string();
    assert!(text.contains("systemd refuses StartTransientUnit"), "{text}");
    assert!(!layout.unified_dir(&plan.path).unwrap().exists());
    assert_eq!(show(&plan, "LoadState"), "not-found");
}

fn absent() {
    let layout = layout().unwrap();
    let plan = plan("absent", Resources::default());
    let text = cgroup::create(&layout, &plan).unwrap_err().to_string();
    assert!(text.contains("systemd is not running"), "{text}");
    assert!(layout.directories(&plan.path).iter().all(|dir| !dir.exists()));
}
