//! Cgroups in the real kernel, below `rcnt-test-<pid>/`, whatever layout the
//! machine has. The same binary runs on v1, hybrid and v2 machines.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test, though not `cfg(test)`

mod group;
mod single_threaded;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use group::{Group, has};
use rcnt_runtime::cgroup::devices::default_device_rules;
use rcnt_runtime::cgroup::{
    self, CgroupError, Layout, LayoutKind, freeze, kill_all, layout, oom_killed, open, pids,
    remove, stats, thaw,
};
use rcnt_runtime::plan::{CgroupPlan, Resources};
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use rustix::process::{Signal, kill_process};
use rustix::thread::UnshareFlags;
use single_threaded::{start, wait};

fn main() -> ExitCode {
    let found = layout().unwrap();
    println!("{:?} layout", found.kind());
    single_threaded::main(&[
        ("a_process_is_in_its_cgroup_everywhere_and_nothing_stays", born_and_removed),
        ("limits_are_in_the_files", limits_are_written),
        ("memory_is_limited_and_the_kill_is_known", memory_is_limited),
        ("processes_are_limited", pids_are_limited),
        ("cpus_are_limited_and_counted", cpu_is_limited),
        ("devices_are_limited", || devices_are_limited(&layout().unwrap())),
        ("devices_are_limited_by_the_v2_program", devices_on_v2),
        ("pause_stops_and_goes_on", pause),
        ("kill_reaches_nested_cgroups_and_forks", kill_is_complete),
        ("a_limit_that_cannot_be_met_leaves_nothing", impossible_limit),
        ("a_cgroup_of_busy_processes_is_not_removed", busy_is_told),
        ("inside_a_container_limits_are_refused_and_the_rest_works", inside_a_container),
        ("creating_joining_removing_is_cheap", cheap),
        ("the_parents_are_gone_in_the_end", no_parents_left),
    ])
}

fn born_and_removed() {
    let group = Group::new("born");
    let shown = format!("/{}", group.path.display());
    let code = group.run(Resources::default(), || {
        let text = fs::read_to_string("/proc/self/cgroup").unwrap();
        // A hierarchy nobody has mounted keeps its processes at the root.
        let elsewhere: Vec<&str> = text.lines().filter(|line| !line.ends_with(&shown)).collect();
        let mounted = elsewhere.iter().filter(|line| !line.ends_with(":/")).count();
        assert_eq!(mounted, 0, "{elsewhere:?}");
        let inside = text.lines().count() - elsewhere.len();
        u8::try_from(inside).unwrap()
    });
    assert_eq!(code as usize, group.layout.directories(&group.path).len());
    assert_eq!(pids(&group.layout, &group.path).unwrap(), Vec::<i32>::new());
    remove(&group.layout, &group.path).unwrap();
    remove(&group.layout, &group.path).unwrap();
    assert!(!oom_killed(&group.layout, &group.path).unwrap());
    kill_all(&group.layout, &group.path).unwrap();
    assert!(open(&group.layout, &group.path).is_err());
}

fn limits_are_written() {
    let group = Group::new("limits");
    let mut resources = Resources {
        memory: Some(64 << 20),
        swap_like_memory: true,
        memory_reservation: Some(32 << 20),
        cpu_quota: Some(50_000),
        cpu_period: Some(100_000),
        cpu_shares: Some(512),
        pids_limit: Some(17),
        cpuset_cpus: Some("0".into()),
        cpuset_mems: Some("0".into()),
        ..Resources::default()
    };
    if !has(&group.layout, "cpuset") {
        (resources.cpuset_cpus, resources.cpuset_mems) = (None, None);
    }
    let expected = [
        (&["memory.max", "memory.limit_in_bytes"][..], "67108864"),
        (&["memory.low", "memory.soft_limit_in_bytes"], "33554432"),
        (&["cpu.max", "cpu.cfs_quota_us"], "50000"),
        (&["pids.max"], "17"),
        (
            &["cpu.weight", "cpu.shares"],
            if group.layout.kind() == LayoutKind::V2 { "59" } else { "512" },
        ),
    ];
    let cpus = resources.cpuset_cpus.is_some();
    group.create(resources).unwrap();
    for (files, value) in expected {
        let text = group.file(files).unwrap_or_else(|| panic!("no {files:?}"));
        assert_eq!(text.split(' ').next().unwrap(), value, "{files:?}");
    }
    if cpus {
        assert_eq!(group.file(&["cpuset.cpus"]).unwrap(), "0");
    }
    // 64 MiB of memory and as much swap again: with both on v1, alone on v2.
    if let Some(swap) = group.file(&["memory.swap.max", "memory.memsw.limit_in_bytes"]) {
        let bytes = if group.layout.kind() == LayoutKind::V2 { 64 << 20 } else { 128 << 20 };
        assert_eq!(swap, bytes.to_string());
    }
    let read = stats::read(&group.layout, &group.path).unwrap();
    assert_eq!((read.memory_limit, read.pids_limit), (Some(64 << 20), Some(17)));
    assert_eq!(read.pids, Some(0));
}

fn memory_is_limited() {
    let group = Group::new("memory");
    let resources =
        Resources { memory: Some(16 << 20), memory_swap: Some(16 << 20), ..Resources::default() };
    let code = group.run(resources, || {
        let mut hoard = Vec::new();
        for _ in 0..64 {
            hoard.push(vec![1u8; 1 << 20]);
        }
        std::hint::black_box(&hoard).len() as u8
    });
    assert_eq!(code, 256 + Signal::KILL.as_raw(), "64 MiB fit into 16");
    assert!(oom_killed(&group.layout, &group.path).unwrap());
    let other = Group::new("frugal");
    assert_eq!(other.run(Resources::default(), || 0), 0);
    assert!(!oom_killed(&other.layout, &other.path).unwrap());
}

fn pids_are_limited() {
    let group = Group::new("pids");
    let resources = Resources { pids_limit: Some(2), ..Resources::default() };
    let code = group.run(resources, || {
        let first = start(None, || {
            std::thread::sleep(Duration::from_secs(5));
            0
        });
        let second = rcnt_base::sys::child::clone3(UnshareFlags::empty(), None).err();
        kill_process(first, Signal::KILL).unwrap();
        u8::from(second.and_then(|e| e.raw_os_error()) != Some(libc::EAGAIN))
    });
    assert_eq!(code, 0);
}

fn cpu_is_limited() {
    let group = Group::new("cpu");
    let resources =
        Resources { cpu_quota: Some(10_000), cpu_period: Some(100_000), ..Resources::default() };
    let pid = group.start(resources, || {
        loop {
            std::hint::spin_loop();
        }
    });
    std::thread::sleep(Duration::from_millis(600));
    let read = stats::read(&group.layout, &group.path).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    wait(pid);
    let used = Duration::from_nanos(read.cpu_total.unwrap());
    println!("  a tenth of a CPU: {used:?} of 600 ms, {:?}", read.cpu_throttled_periods);
    assert!(used > Duration::from_millis(20) && used < Duration::from_millis(200));
    assert!(read.cpu_throttled_periods.unwrap() > 0);
}

/// Makes /dev/kmsg (1:11) and /dev/null's double, and tries to open them.
fn try_devices() -> u8 {
    let dir = tempfile::tempdir().unwrap();
    let opens = |name: &str, minor: u32| {
        let path = dir.path().join(name);
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, &path, FileType::CharacterDevice, mode, makedev(1, minor)).unwrap();
        rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).is_ok()
    };
    u8::from(opens("null", 3)) | u8::from(opens("kmsg", 11)) << 1
}

fn devices_are_limited(layout: &Layout) {
    let free = Group::of(layout.clone(), "devices-free");
    assert_eq!(free.run(Resources::default(), try_devices), 3, "the test itself may open both");
    let bound = Group::of(layout.clone(), "devices");
    let resources = Resources { devices: default_device_rules(), ..Resources::default() };
    assert_eq!(bound.run(resources, try_devices), 1, "only the null device opens");
}

/// The v2 program works on a hybrid machine's tree too: only pretend that the
/// v1 controller is not there.
fn devices_on_v2() {
    let mut layout = layout().unwrap();
    if layout.unified.is_none() {
        return println!("  skipped: no v2 tree");
    }
    layout.v1.retain(|hierarchy| !hierarchy.controllers.contains("devices"));
    devices_are_limited(&layout);
}

fn pause() {
    let group = Group::new("pause");
    let (mut reader, writer) = std::io::pipe().unwrap();
    let pid = group.start(Resources::default(), || {
        loop {
            rustix::io::write(&writer, b".").unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    drop(writer);
    reader.read_exact(&mut [0]).unwrap();
    freeze(&group.layout, &group.path).unwrap();
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    let mut drain = [0; 4096];
    while reader.read(&mut drain).is_ok() {}
    std::thread::sleep(Duration::from_millis(50));
    assert!(reader.read(&mut drain).is_err(), "it wrote while frozen");
    // A frozen container can be killed as it is.
    thaw(&group.layout, &group.path).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(reader.read(&mut drain).is_ok(), "it goes on");
    freeze(&group.layout, &group.path).unwrap();
    kill_all(&group.layout, &group.path).unwrap();
    assert_eq!(wait(pid), 256 + Signal::KILL.as_raw());
}

fn kill_is_complete() {
    let group = Group::new("kill");
    let resources = Resources { pids_limit: Some(50), ..Resources::default() };
    let handles = group.create(resources).unwrap();
    let mut nested = Vec::new();
    for dir in group.layout.directories(&group.path) {
        fs::create_dir_all(dir.join("inner/most")).unwrap();
        nested.push(dir.join("inner"));
    }
    let pid = start(handles.clone_into_fd(), || {
        handles.join_self().unwrap();
        // Whoever is left goes on forking.
        loop {
            let _ = rcnt_base::sys::child::clone3(UnshareFlags::empty(), None);
            std::thread::sleep(Duration::from_micros(100));
        }
    });
    std::thread::sleep(Duration::from_millis(100));
    assert!(pids(&group.layout, &group.path).unwrap().len() > 10);
    let begin = Instant::now();
    kill_all(&group.layout, &group.path).unwrap();
    println!("  50 forking processes ended in {:?}", begin.elapsed());
    assert_eq!(wait(pid), 256 + Signal::KILL.as_raw());
    remove(&group.layout, &group.path).unwrap();
    assert!(nested.iter().all(|dir| !dir.exists()));
}

fn impossible_limit() {
    let group = Group::new("impossible");
    // No machine has this page size.
    let hugetlb = [("3kB".to_owned(), 4096)].into();
    let wish = Resources { pids_limit: Some(5), hugetlb, ..Resources::default() };
    let error = group.create(wish).unwrap_err().to_string();
    assert!(error.contains("huge page limit") && error.contains("hugetlb"), "{error}");
    for dir in group.layout.directories(&group.path) {
        assert!(!dir.exists(), "{}", dir.display());
    }
    for bad in ["/abs", "a/../b", "", ".", "a/./../.."] {
        let plan = CgroupPlan { path: bad.into(), ..CgroupPlan::default() };
        assert!(matches!(cgroup::create(&group.layout, &plan), Err(CgroupError::Path(_))), "{bad}");
        assert!(remove(&group.layout, Path::new(bad)).is_err(), "{bad}");
    }
}

fn busy_is_told() {
    let group = Group::new("busy");
    let (mut reader, writer) = std::io::pipe().unwrap();
    let pid = group.start(Resources::default(), || {
        rustix::io::write(&writer, b"joined").unwrap();
        std::thread::sleep(Duration::from_secs(30));
        0
    });
    reader.read_exact(&mut [0]).unwrap();
    let error = remove(&group.layout, &group.path).unwrap_err();
    assert!(matches!(error, CgroupError::Io { what: "remove", .. }), "{error}");
    assert!(pids(&group.layout, &group.path).unwrap().contains(&pid.as_raw_nonzero().get()));
    kill_all(&group.layout, &group.path).unwrap();
    wait(pid);
}

/// In a cgroup namespace the root one sees is no real root: with processes in it,
/// controllers cannot be handed down (docker in docker without an own init).
fn inside_a_container() {
    let group = Group::new("outer");
    if group.layout.kind() != LayoutKind::V2 {
        return println!("  skipped: pure v2 only");
    }
    let code = group.run(Resources::default(), || {
        let own = UnshareFlags::NEWCGROUP | UnshareFlags::NEWNS;
        rcnt_base::sys::child::unshare_namespaces(own).unwrap();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).unwrap();
        unmount("/sys/fs/cgroup", UnmountFlags::DETACH).unwrap();
        mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MountFlags::empty(), None).unwrap();
        let inner = Group::of(layout().unwrap(), "inner");
        let wish = Resources { pids_limit: Some(5), ..Resources::default() };
        let error = inner.create(wish).unwrap_err().to_string();
        assert!(error.contains("--pids-limit") && error.contains("pids.max"), "{error}");
        inner.create(Resources::default()).unwrap();
        let devices = Resources { devices: default_device_rules(), ..Resources::default() };
        assert_eq!(inner.run(devices, try_devices), 1);
        0
    });
    assert_eq!(code, 0);
}

fn cheap() {
    let found = layout().unwrap();
    let docker = Resources { devices: default_device_rules(), ..Resources::default() };
    measure("bare", found.clone(), &Resources::default());
    measure("docker's defaults", found.clone(), &docker);
    let mut program = found.clone();
    program.v1.retain(|hierarchy| !hierarchy.controllers.contains("devices"));
    if found.kind() == LayoutKind::Hybrid {
        measure("the same by v2 program", program, &docker);
    }
    let begin = Instant::now();
    (0..100).for_each(|_| drop(layout().unwrap()));
    println!("  reading the layout {:?}", begin.elapsed() / 100);
}

fn no_parents_left() {
    let group = Group::new("last");
    for dir in group.layout.directories(&group.path) {
        assert!(!dir.parent().unwrap().exists(), "{}", dir.display());
    }
}

fn measure(what: &str, layout: Layout, resources: &Resources) {
    const ROUNDS: u32 = 50;
    let group = Group::of(layout, "cost");
    group.create(Resources::default()).unwrap(); // the shared parents
    let mut spent: [Vec<Duration>; 4] = Default::default();
    for round in 0..ROUNDS {
        let path = group.path.with_file_name(round.to_string());
        let plan = CgroupPlan {
            path: path.clone(),
            resources: resources.clone(),
            ..CgroupPlan::default()
        };
        let begin = Instant::now();
        let handles = cgroup::create(&group.layout, &plan).unwrap();
        spent[0].push(begin.elapsed());
        let begin = Instant::now();
        let pid = start(handles.clone_into_fd(), || {
            let begin = Instant::now();
            handles.join_self().unwrap();
            (begin.elapsed().as_micros() / 10).min(250) as u8
        });
        let joined = wait(pid);
        spent[3].push(begin.elapsed());
        spent[1].push(Duration::from_micros(joined as u64 * 10));
        let begin = Instant::now();
        kill_all(&group.layout, &path).unwrap();
        remove(&group.layout, &path).unwrap();
        spent[2].push(begin.elapsed());
    }
    let [create, join, remove, life] = spent.map(median);
    println!(
        "  {what}: create {create:?}, join {join:?}, kill and remove {remove:?}; clone to wait {life:?}"
    );
}

/// The machine's other work shows in the mean, not here.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
