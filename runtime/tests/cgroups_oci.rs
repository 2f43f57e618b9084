//! What OCI bundles ask of cgroups, in the real kernel: every resource, update,
//! figures and events, places that are not ours. The same on v1, hybrid and v2.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test, though not `cfg(test)`
#![allow(clippy::disallowed_methods)] // files of cgroups are written in place

mod group;
mod single_threaded;

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use group::{Group, has};
use rcnt_runtime::cgroup::events::{Event, watch};
use rcnt_runtime::cgroup::{
    self, CgroupError, LayoutKind, freeze, is_frozen, kill_all, layout, metrics, open_for, open_of,
    pids, remove, thaw,
};
use rcnt_runtime::plan::{
    CgroupPlan, DeviceNumber, Dialect, JoinPlan, Resources, Throttle, ThrottleKind,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;
use single_threaded::{start, wait};

fn main() -> ExitCode {
    println!("{:?} layout", layout().unwrap().kind());
    single_threaded::main(&[
        ("every_resource_is_in_its_file", resources_are_written),
        ("an_update_changes_what_it_names_and_nothing_else", update_changes),
        ("memory_and_swap_are_raised_and_lowered_together", memory_updates),
        ("a_refused_update_changes_nothing", update_is_whole),
        ("a_limit_below_the_usage_is_refused", below_usage),
        ("a_cgroup_in_use_is_refused_and_left_alone", in_use),
        ("a_frozen_cgroup_is_refused_and_left_alone", frozen),
        ("a_failed_creation_takes_its_parents_along", parents_go),
        ("a_path_can_begin_at_another_cgroup", based),
        ("figures_are_those_of_the_processes", figures),
        ("lack_of_memory_and_the_end_are_told", events),
        ("a_further_process_joins_sub_cgroups", sub_cgroups),
        ("v2_hands_every_controller_down", controllers),
        ("v2_cgroups_that_take_no_process_have_a_substitute", busy),
    ])
}

fn is_v2(group: &Group) -> bool {
    group.layout.kind() == LayoutKind::V2
}

fn json() -> Resources {
    Resources { dialect: Dialect::Json, ..Resources::default() }
}

/// The first words of the first of these files.
fn first(group: &Group, names: &[&str]) -> String {
    let text = group.file(names).unwrap_or_else(|| panic!("none of {names:?}"));
    text.lines().next().unwrap_or_default().to_owned()
}

/// A whole block device that the machine has.
fn block_device() -> Option<DeviceNumber> {
    let entries = fs::read_dir("/sys/block").ok()?;
    let numbers =
        entries.flatten().filter_map(|entry| fs::read_to_string(entry.path().join("dev")).ok());
    let mut numbers: Vec<_> = numbers
        .filter_map(|text| {
            let (major, minor) = text.trim().split_once(':')?;
            Some(DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? })
        })
        .collect();
    // Loop and RAM disks come and go.
    numbers.retain(|number| ![1, 7].contains(&number.major));
    numbers.sort();
    numbers.first().copied()
}

fn resources_are_written() {
    let group = Group::new("resources");
    let v2 = is_v2(&group);
    let mut resources = Resources {
        memory: Some(64 << 20),
        memory_reservation: Some(32 << 20),
        cpu_quota: Some(50_000),
        cpu_period: Some(200_000),
        cpu_burst: Some(10_000),
        pids_limit: Some(0),
        ..json()
    };
    let device = block_device().filter(|_| has(&group.layout, "blkio") || has(&group.layout, "io"));
    if let Some(device) = device {
        let kinds = [
            (ThrottleKind::ReadBps, 1 << 20),
            (ThrottleKind::WriteBps, 2 << 20),
            (ThrottleKind::ReadIops, 300),
            (ThrottleKind::WriteIops, 400),
        ];
        let rate = |(kind, rate)| Throttle { device, kind, rate };
        resources.blkio_throttles = kinds.map(rate).into();
    }
    if !v2 {
        resources.memory_swappiness = Some(7);
        resources.memory_kernel_tcp = Some(1 << 24);
    }
    let handles = group.create(resources).unwrap();
    drop(handles);
    assert_eq!(first(&group, &["memory.max", "memory.limit_in_bytes"]), "67108864");
    assert_eq!(first(&group, &["pids.max"]), "1");
    assert_eq!(first(&group, &["cpu.max.burst", "cpu.cfs_burst_us"]), "10000");
    let quota = first(&group, &["cpu.max", "cpu.cfs_quota_us"]);
    assert_eq!(quota.split(' ').next(), Some("50000"));
    if !v2 {
        assert_eq!(first(&group, &["memory.swappiness"]), "7");
        assert_eq!(first(&group, &["memory.kmem.tcp.limit_in_bytes"]), "16777216");
    }
    let Some(device) = device else { return println!("  no block device to limit") };
    if v2 {
        let line = format!("{device} rbps=1048576 wbps=2097152 riops=300 wiops=400");
        assert_eq!(first(&group, &["io.max"]), line);
    } else {
        assert_eq!(first(&group, &["blkio.throttle.read_bps_device"]), format!("{device} 1048576"));
        assert_eq!(first(&group, &["blkio.throttle.write_iops_device"]), format!("{device} 400"));
    }
}

/// Updates as the state file would: what came out is what is old next time.
fn update(group: &Group, plan: &mut CgroupPlan, asked: Resources) -> Result<(), CgroupError> {
    plan.resources = cgroup::update(&group.layout, plan, &asked)?;
    Ok(())
}

fn update_changes() {
    let group = Group::new("update");
    let resources = Resources {
        cpu_quota: Some(500_000),
        cpu_period: Some(1_000_000),
        pids_limit: Some(20),
        ..json()
    };
    let mut plan = group.plan(resources);
    cgroup::create(&group.layout, &plan).unwrap();
    let quota = |quota: &str, period: &str| {
        if is_v2(&group) {
            let quota = if quota == "-1" { "max" } else { quota };
            assert_eq!(first(&group, &["cpu.max"]), format!("{quota} {period}"));
        } else {
            assert_eq!(first(&group, &["cpu.cfs_quota_us"]), quota);
            assert_eq!(first(&group, &["cpu.cfs_period_us"]), period);
        }
    };
    quota("500000", "1000000");
    update(&group, &mut plan, Resources { cpu_period: Some(900_000), ..json() }).unwrap();
    quota("500000", "900000");
    update(&group, &mut plan, Resources { cpu_quota: Some(600_000), ..json() }).unwrap();
    quota("600000", "900000");
    update(&group, &mut plan, Resources { cpu_quota: Some(-1), ..json() }).unwrap();
    quota("-1", "900000");
    assert_eq!(first(&group, &["pids.max"]), "20");
    update(&group, &mut plan, Resources { pids_limit: Some(-1), ..json() }).unwrap();
    assert_eq!(first(&group, &["pids.max"]), "max");
    update(&group, &mut plan, Resources { pids_limit: Some(5), cpu_idle: Some(1), ..json() })
        .unwrap();
    assert_eq!(
        (first(&group, &["pids.max"]), first(&group, &["cpu.idle"])),
        ("5".into(), "1".into())
    );
    quota("-1", "900000");
    assert_eq!(plan.resources.pids_limit, Some(5));
}

fn memory_updates() {
    const MIB: i64 = 1 << 20;
    let group = Group::new("memory-update");
    let mut plan = group.plan(Resources { memory: Some(32 * MIB), ..json() });
    cgroup::create(&group.layout, &plan).unwrap();
    let swap_file = ["memory.swap.max", "memory.memsw.limit_in_bytes"];
    if group.file(&swap_file).is_none() {
        return println!("  skipped: swap is not counted here");
    }
    for (memory, swap) in [(30, 50), (60, 80), (20, 30), (100, 100)] {
        let asked =
            Resources { memory: Some(memory * MIB), memory_swap: Some(swap * MIB), ..json() };
        update(&group, &mut plan, asked).unwrap();
        let limit = first(&group, &["memory.max", "memory.limit_in_bytes"]);
        assert_eq!(limit, (memory * MIB).to_string());
        let swap = if is_v2(&group) { swap - memory } else { swap };
        assert_eq!(first(&group, &swap_file), (swap * MIB).to_string());
    }
    update(&group, &mut plan, Resources { memory: Some(-1), ..json() }).unwrap();
    for file in [&["memory.max", "memory.limit_in_bytes"], &swap_file] {
        let text = first(&group, file);
        assert!(text == "max" || text.parse::<u64>().unwrap() > 1 << 60, "{text}");
    }
}

fn update_is_whole() {
    let group = Group::new("whole");
    let mut plan = group.plan(Resources { pids_limit: Some(20), memory: Some(64 << 20), ..json() });
    cgroup::create(&group.layout, &plan).unwrap();
    // Shorter than the kernel's millisecond, whatever the quota.
    let asked =
        Resources { memory: Some(32 << 20), pids_limit: Some(7), cpu_period: Some(10), ..json() };
    let error = update(&group, &mut plan, asked).unwrap_err().to_string();
    assert!(
        error.contains("linux.resources.cpu.period") && error.contains("failed to write"),
        "{error}"
    );
    assert_eq!(first(&group, &["pids.max"]), "20");
    assert_eq!(first(&group, &["memory.max", "memory.limit_in_bytes"]), "67108864");
}

/// A process that says it is there and stays.
fn idle(group: &Group, resources: Resources) -> Pid {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let pid = group.start(resources, || {
        let touched = vec![1u8; 8 << 20];
        rustix::io::write(&writer, b".").unwrap();
        std::thread::sleep(Duration::from_secs(60));
        touched[0]
    });
    reader.read_exact(&mut [0]).unwrap();
    pid
}

fn end(group: &Group, pid: Pid) {
    kill_all(&group.layout, &group.path).unwrap();
    wait(pid);
}

fn below_usage() {
    let group = Group::new("below");
    let mut plan = group.plan(json());
    let pid = idle(&group, json());
    let asked = Resources { memory: Some(4096), memory_check_before_update: true, ..json() };
    let text = update(&group, &mut plan, asked).unwrap_err().to_string();
    let expected = if is_v2(&group) {
        "rejecting memory limit 4096"
    } else {
        "unable to set memory limit to 4096"
    };
    assert!(text.contains(expected) && text.contains("usage"), "{text}");
    assert!(pids(&group.layout, &group.path).unwrap().contains(&pid.as_raw_nonzero().get()));
    end(&group, pid);
}

fn in_use() {
    let group = Group::new("used");
    let pid = idle(&group, json());
    let error = group.create(Resources { pids_limit: Some(3), ..json() }).unwrap_err();
    assert!(matches!(error, CgroupError::NotEmpty { count: 1, .. }), "{error}");
    assert!(error.to_string().contains("container's cgroup is not empty"));
    assert_ne!(first(&group, &["pids.max"]), "3");
    end(&group, pid);
    group.create(json()).unwrap();
}

fn frozen() {
    let group = Group::new("frozen");
    let own = match group.layout.v1_of("freezer") {
        Some(freezer) => freezer.dir(&group.path),
        None => group.layout.unified_dir(&group.path).unwrap(),
    };
    fs::create_dir_all(&own).unwrap();
    freeze(&group.layout, &group.path).unwrap();
    let error = group.create(json()).unwrap_err().to_string();
    assert!(error.contains("container's cgroup unexpectedly frozen"), "{error}");
    let left: Vec<_> =
        group.layout.directories(&group.path).into_iter().filter(|d| d.exists()).collect();
    assert_eq!(left, [own]);
    assert!(is_frozen(&group.layout, &group.path));
    thaw(&group.layout, &group.path).unwrap();
    group.create(json()).unwrap();
}

fn parents_go() {
    let group = Group::new("deep/deeper/deepest");
    let resources = Resources { hugetlb: [("3kB".to_owned(), 1)].into(), ..json() };
    let text = group.create(resources).unwrap_err().to_string();
    assert!(text.contains("linux.resources.hugepageLimits"), "{text}");
    let above = group.path.parent().unwrap();
    assert!(group.layout.directories(above).iter().all(|dir| !dir.exists()));
}

fn based() {
    let below = Group::new("base");
    below.create(json()).unwrap();
    let names = below.layout.v1.iter().filter_map(|h| h.controllers.first().cloned());
    let bases = names.chain([String::new()]).map(|name| (name, below.path.clone())).collect();
    let layout = below.layout.clone().based(&bases);
    let plan = CgroupPlan { path: "inner".into(), bases, ..CgroupPlan::default() };
    let handles = cgroup::create(&layout, &plan).unwrap();
    let pid = start(handles.clone_into_fd(), || {
        handles.join_self().unwrap();
        let text = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = format!("/{}/inner", below.path.display());
        let elsewhere = text.lines().filter(|line| !line.ends_with(&own) && !line.ends_with(":/"));
        u8::from(elsewhere.count() > 0)
    });
    assert_eq!(wait(pid), 0);
    remove(&layout, &plan.path).unwrap();
    assert!(below.layout.directories(&below.path).iter().all(|dir| dir.exists()));
}

fn figures() {
    let group = Group::new("figures");
    let pid = idle(&group, Resources { memory: Some(256 << 20), pids_limit: Some(9), ..json() });
    let read = metrics::read(&group.layout, &group.path).unwrap();
    end(&group, pid);
    assert_eq!((read.pids.current, read.pids.limit), (1, 9));
    assert!(read.cpu.usage.total > 0, "{:?}", read.cpu);
    assert!(
        read.memory.usage.usage >= 8 << 20 && read.memory.usage.limit == 256 << 20,
        "{:?}",
        read.memory
    );
    assert!(!read.memory.raw.is_empty());
    let json = serde_json::to_value(&read).unwrap();
    assert_eq!(json["pids"]["limit"], 9);
    if is_v2(&group) {
        assert!(
            json["memory"]["swap"]["usage"].as_u64() >= json["memory"]["usage"]["usage"].as_u64()
        );
    } else {
        assert!(!read.cpuset.cpus.is_empty() && !read.cpu.usage.percpu.is_empty());
    }
}

/// What happens within two seconds.
fn next(watch: &mut cgroup::events::Watch) -> Vec<Event> {
    let two = Timespec { tv_sec: 2, tv_nsec: 0 };
    poll(&mut [PollFd::new(&watch.as_fd(), PollFlags::IN)], Some(&two)).unwrap();
    watch.read().unwrap()
}

fn events() {
    let group = Group::new("events");
    let resources = Resources { memory: Some(16 << 20), memory_swap: Some(16 << 20), ..json() };
    let handles = group.create(resources).unwrap();
    let mut watch = watch(&group.layout, &group.path).unwrap();
    assert_eq!(watch.read().unwrap(), []);
    let pid = start(handles.clone_into_fd(), || {
        handles.join_self().unwrap();
        let hoard: Vec<_> = (0..64).map(|_| vec![1u8; 1 << 20]).collect();
        std::hint::black_box(&hoard).len() as u8
    });
    drop(handles);
    // v2 tells of every reclaim; the kill comes after some of them.
    let mut told = Vec::new();
    for _ in 0..200 {
        if told.contains(&Event::OutOfMemory) {
            break;
        }
        told.extend(next(&mut watch));
    }
    assert!(told.contains(&Event::OutOfMemory), "{told:?}");
    wait(pid);
    remove(&group.layout, &group.path).unwrap();
    for _ in 0..5 {
        if told.contains(&Event::Gone) {
            return;
        }
        told.extend(next(&mut watch));
    }
    panic!("nobody told the end");
}

fn sub_cgroups() {
    let group = Group::new("sub");
    group.create(json()).unwrap();
    for dir in group.layout.directories(&group.path) {
        fs::create_dir(dir.join("inner")).unwrap();
    }
    if let Some(cpuset) = group.layout.v1_of("cpuset") {
        let dir = cpuset.dir(&group.path);
        for name in ["cpuset.cpus", "cpuset.mems"] {
            fs::write(dir.join("inner").join(name), fs::read(dir.join(name)).unwrap()).unwrap();
        }
    }
    let plan = |sub: &[(&str, &str)]| {
        let sub = sub.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
        JoinPlan { sub, ..JoinPlan::from(group.path.clone()) }
    };
    let refused =
        |sub: &[(&str, &str)]| open_for(&group.layout, &plan(sub)).unwrap_err().to_string();
    assert!(refused(&[("", "..")]).contains("bad sub cgroup path"));
    assert!(refused(&[("whaaat", "/")]).contains("unknown controller"));
    assert!(refused(&[("", "none")]).contains(" adding pid "));
    for (sub, end) in [("inner", "/inner"), ("/", "")] {
        let handles = open_for(&group.layout, &plan(&[("", sub)])).unwrap();
        let own = format!("/{}{end}", group.path.display());
        let pid = start(handles.clone_into_fd(), || {
            handles.join_self().unwrap();
            let text = fs::read_to_string("/proc/self/cgroup").unwrap();
            let elsewhere =
                text.lines().filter(|line| !line.ends_with(&own) && !line.ends_with(":/"));
            u8::from(elsewhere.count() > 0)
        });
        assert_eq!(wait(pid), 0, "{sub}");
    }
    if group.layout.v1_of("memory").is_some() {
        let handles = open_for(&group.layout, &plan(&[("memory", "inner")])).unwrap();
        let pid = start(handles.clone_into_fd(), || {
            handles.join_self().unwrap();
            let text = fs::read_to_string("/proc/self/cgroup").unwrap();
            let inner = text.lines().filter(|line| line.ends_with("/inner")).count();
            u8::from(inner != 1)
        });
        assert_eq!(wait(pid), 0);
    }
    // Deleting takes along what its processes have made.
    remove(&group.layout, &group.path).unwrap();
    assert!(group.layout.directories(&group.path).iter().all(|dir| !dir.exists()));
}

fn controllers() {
    let group = Group::new("controllers");
    if !is_v2(&group) {
        return println!("  skipped: pure v2 only");
    }
    let plan = CgroupPlan { all_controllers: true, ..group.plan(json()) };
    cgroup::create(&group.layout, &plan).unwrap();
    let root = fs::read_to_string(Path::new("/sys/fs/cgroup/cgroup.controllers")).unwrap();
    assert_eq!(first(&group, &["cgroup.controllers"]), root.trim());
    let plan = CgroupPlan { owner: Some(12345), ..plan };
    cgroup::create(&group.layout, &plan).unwrap();
    let dir = group.layout.unified_dir(&group.path).unwrap();
    let owner =
        |file: &str| std::os::unix::fs::MetadataExt::uid(&fs::metadata(dir.join(file)).unwrap());
    assert_eq!((owner(""), owner("cgroup.procs"), owner("memory.max")), (12345, 12345, 0));
    let unified = [("memory.high", "20971520"), ("pids.max", "99"), ("cpu.weight", "42")];
    let unified = unified.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    cgroup::update(&group.layout, &plan, &Resources { unified, ..json() }).unwrap();
    assert_eq!(first(&group, &["memory.high"]), "20971520");
    assert_eq!(
        (first(&group, &["pids.max"]), first(&group, &["cpu.weight"])),
        ("99".into(), "42".into())
    );
    let unified = [("memory.none".to_owned(), "1".to_owned())].into();
    let text = cgroup::update(&group.layout, &plan, &Resources { unified, ..json() }).unwrap_err();
    assert!(text.to_string().contains("linux.resources.unified"), "{text}");
}

fn busy() {
    let group = Group::new("busy");
    if !is_v2(&group) {
        return println!("  skipped: pure v2 only");
    }
    let dir = group.layout.unified_dir(&group.path).unwrap();
    group.create(json()).unwrap();
    fs::create_dir(dir.join("own")).unwrap();
    fs::write(dir.join("cgroup.subtree_control"), "+memory").unwrap();
    let sub = [(String::new(), "own".into())].into();
    let inner = JoinPlan { sub, ..JoinPlan::from(group.path.clone()) };
    let handles = open_for(&group.layout, &inner).unwrap();
    let pid = start(handles.clone_into_fd(), || {
        std::thread::sleep(Duration::from_secs(60));
        0
    });
    let whole = open_for(&group.layout, &JoinPlan::from(group.path.clone())).unwrap();
    let none = rustix::thread::UnshareFlags::empty();
    let refused = rcnt_base::sys::child::clone3(none, whole.clone_into_fd()).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EBUSY));
    let other = open_of(&group.layout, pid.as_raw_nonzero().get()).unwrap();
    let beside = start(other.clone_into_fd(), || {
        let text = fs::read_to_string("/proc/self/cgroup").unwrap();
        u8::from(!text.trim().ends_with("/own"))
    });
    assert_eq!(wait(beside), 0);
    end(&group, pid);
}
