//! Limits as file writes: pure, from [`Resources`] to a list of (directory,
//! file, text). [`super::create()`] and [`super::update()`] perform them in order.
//!
//! What the user asked for by name must be met, so a missing controller or file
//! is an error that names both. What docker adds by itself (twice the memory as
//! swap limit) is skipped where the kernel cannot count it.

mod cpu;
mod io;
mod memory;
mod wish;

use std::path::{Path, PathBuf};

use wish::Wish;

pub(super) use cpu::weight_of_shares;

use super::layout::Layout;
use crate::plan::{Dialect, Resources};

/// One file of one cgroup directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileWrite {
    /// The directory below which the plan's path lies.
    pub base: PathBuf,
    /// File and text, in order of preference: the first file that exists is
    /// written (kernels and I/O schedulers differ).
    pub choices: Vec<(String, String)>,
    /// The wish behind it, for the error; `None` = skip silently where the file is missing.
    pub wish: Option<&'static str>,
}

/// Why limits cannot be turned into writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// No hierarchy has the controller.
    #[error("cannot apply {wish}: this machine has no {controller} cgroup controller")]
    NoController {
        /// The flag or JSON path.
        wish: &'static str,
        /// The controller.
        controller: &'static str,
    },
    /// v2 has nothing like it.
    #[error("cannot apply {wish}: cgroup v2 has no such setting")]
    NotOnV2 {
        /// The flag or JSON path.
        wish: &'static str,
    },
    /// v2's files are not there.
    #[error(
        "cannot apply {wish}: invalid configuration: this machine's cgroups are v1, where limits have no unified form"
    )]
    UnifiedOnV1 {
        /// The JSON path.
        wish: &'static str,
    },
    /// docker's rule.
    #[error(
        "{wish} {swap} is less than the memory limit {memory}: it counts both together (memory+swap limit should be >= memory limit)"
    )]
    SwapBelowMemory {
        /// The flag or JSON path.
        wish: &'static str,
        /// Bytes.
        memory: i64,
        /// Bytes.
        swap: i64,
    },
    /// docker's rule.
    #[error("{wish} needs a memory limit as well (unable to set swap limit without memory limit)")]
    SwapAlone {
        /// The flag or JSON path.
        wish: &'static str,
    },
    /// v1 would quietly take the nearest.
    #[error("cannot apply {wish}: the {end} allowed cpu-shares is {allowed}")]
    Shares {
        /// The flag or JSON path.
        wish: &'static str,
        /// "minimum" or "maximum".
        end: &'static str,
        /// What would do.
        allowed: u64,
    },
}

/// Where a controller is: the directory that plan paths are put below.
enum Place {
    V1(PathBuf),
    V2(PathBuf),
}

struct Planner<'a> {
    layout: &'a Layout,
    dialect: Dialect,
    writes: Vec<FileWrite>,
}

/// The writes that put `resources` into force (devices are not among them).
/// Some depend on others: one that is refused with EINVAL may do after the rest.
///
/// # Errors
/// [`LimitError`]
pub fn plan_writes(layout: &Layout, resources: &Resources) -> Result<Vec<FileWrite>, LimitError> {
    let mut planner = Planner { layout, dialect: resources.dialect, writes: Vec::new() };
    planner.memory(resources)?;
    planner.cpu(resources)?;
    planner.cpuset(resources)?;
    planner.pids(resources)?;
    planner.block_io(resources)?;
    planner.hugetlb(resources)?;
    planner.network(resources)?;
    planner.rdma(resources)?;
    planner.unified(resources)?;
    Ok(planner.writes)
}

/// The v2 controllers `resources` needs switched on in the parents.
pub fn wanted_controllers(resources: &Resources) -> Vec<&str> {
    let r = resources;
    let cpu = r.cpu_quota.is_some() || r.cpu_period.is_some() || r.cpu_shares.is_some();
    let cpu = cpu || r.cpu_idle.is_some() || r.cpu_burst.is_some();
    let io = r.blkio_weight.is_some() || !r.blkio_throttles.is_empty();
    let memory = r.memory.is_some() || r.memory_swap.is_some() || r.memory_reservation.is_some();
    let wanted = [
        ("cpu", cpu),
        ("cpuset", r.cpuset_cpus.is_some() || r.cpuset_mems.is_some()),
        ("hugetlb", !r.hugetlb.is_empty()),
        ("io", io || !r.blkio_weight_devices.is_empty()),
        ("memory", memory),
        ("pids", r.pids_limit.is_some()),
        ("rdma", !r.rdma.is_empty()),
    ];
    let mut names: Vec<&str> =
        wanted.into_iter().filter_map(|(name, wanted)| wanted.then_some(name)).collect();
    let by_file = r.unified.keys().filter_map(|file| Some(file.split_once('.')?.0));
    for name in by_file.filter(|name| *name != "cgroup") {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

impl Planner<'_> {
    fn name(&self, wish: Wish) -> &'static str {
        wish.of(self.dialect)
    }

    fn place(&self, wish: &'static str, controller: &'static str) -> Result<Place, LimitError> {
        let here = Path::new("");
        if let Some(hierarchy) = self.layout.v1_of(controller) {
            return Ok(Place::V1(hierarchy.dir(here)));
        }
        match self.layout.unified_dir(here) {
            // Whether the v2 root offers it is found out by the write itself.
            Some(root) => Ok(Place::V2(root)),
            None => Err(LimitError::NoController { wish, controller }),
        }
    }

    fn write(&mut self, wish: &'static str, at: &Path, file: &str, value: impl ToString) {
        self.push(Some(wish), at, vec![(file.to_owned(), value.to_string())]);
    }

    fn push(&mut self, wish: Option<&'static str>, at: &Path, choices: Vec<(String, String)>) {
        self.writes.push(FileWrite { base: at.to_owned(), choices, wish });
    }

    fn v1_only(
        &mut self,
        wish: Wish,
        controller: &'static str,
        file: &str,
        value: impl ToString,
    ) -> Result<(), LimitError> {
        let wish = self.name(wish);
        match self.place(wish, controller)? {
            Place::V1(at) => self.write(wish, &at, file, value),
            Place::V2(_) => return Err(LimitError::NotOnV2 { wish }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V1: &str = "\
1 2 0:3 / /sys/fs/cgroup/memory rw - cgroup none rw,memory
1 2 0:3 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup none rw,cpu,cpuacct
1 2 0:3 / /sys/fs/cgroup/cpuset rw - cgroup none rw,cpuset
1 2 0:3 / /sys/fs/cgroup/pids rw - cgroup none rw,pids
1 2 0:3 / /sys/fs/cgroup/blkio rw - cgroup none rw,blkio
";

    fn v1() -> Layout {
        Layout::parse(V1.as_bytes())
    }

    fn v2() -> Layout {
        Layout::parse(b"1 2 0:3 / /sys/fs/cgroup rw - cgroup2 none rw\n")
    }

    /// `controller dir/file=value`, one per write.
    fn shown(layout: &Layout, resources: &Resources) -> Vec<String> {
        let writes = plan_writes(layout, resources).unwrap();
        let show = |w: &FileWrite| {
            let (file, value) = &w.choices[0];
            format!("{}{file}={value}", if w.wish.is_some() { "" } else { "?" })
        };
        writes.iter().map(show).collect()
    }

    #[test]
    fn memory_gets_as_much_swap_again_only_when_asked() {
        let docker =
            Resources { memory: Some(100), swap_like_memory: true, ..Resources::default() };
        assert_eq!(
            shown(&v1(), &docker),
            ["memory.limit_in_bytes=100", "?memory.memsw.limit_in_bytes=200"]
        );
        assert_eq!(shown(&v2(), &docker), ["memory.max=100", "?memory.swap.max=100"]);
        let oci = Resources { memory: Some(100), ..Resources::default() };
        assert_eq!(shown(&v2(), &oci), ["memory.max=100"]);
    }

    #[test]
    fn swap_is_counted_with_memory_on_v1_and_alone_on_v2() {
        let with =
            |memory_swap| Resources { memory: Some(100), memory_swap, ..Resources::default() };
        assert_eq!(shown(&v1(), &with(Some(150)))[1], "memory.memsw.limit_in_bytes=150");
        assert_eq!(shown(&v2(), &with(Some(150)))[1], "memory.swap.max=50");
        assert_eq!(shown(&v1(), &with(Some(-1)))[1], "memory.memsw.limit_in_bytes=-1");
        assert_eq!(shown(&v2(), &with(Some(-1)))[1], "?memory.swap.max=max");
        assert_eq!(shown(&v2(), &with(Some(100)))[1], "?memory.swap.max=0");
        let text = plan_writes(&v2(), &with(Some(99))).unwrap_err().to_string();
        assert!(text.starts_with("--memory-swap 99 is less than the memory limit 100"), "{text}");
        let alone = Resources { memory_swap: Some(5), ..Resources::default() };
        assert_eq!(
            plan_writes(&v2(), &alone),
            Err(LimitError::SwapAlone { wish: "--memory-swap" })
        );
        assert_eq!(shown(&v1(), &alone), ["memory.memsw.limit_in_bytes=5"]);
    }

    #[test]
    fn unlimited_memory_lifts_swap_as_well() {
        let r =
            Resources { memory: Some(-1), memory_reservation: Some(-1), ..Resources::default() };
        assert_eq!(
            shown(&v1(), &r),
            [
                "memory.limit_in_bytes=-1",
                "?memory.memsw.limit_in_bytes=-1",
                "memory.soft_limit_in_bytes=-1"
            ]
        );
        assert_eq!(shown(&v2(), &r), ["memory.max=max", "?memory.swap.max=max", "memory.low=max"]);
    }

    #[test]
    fn what_only_one_version_has_is_refused_on_the_other() {
        let json = || Resources { dialect: Dialect::Json, ..Resources::default() };
        let refused =
            |layout: &Layout, r: &Resources| plan_writes(layout, r).unwrap_err().to_string();
        let r = Resources { cpu_rt_runtime: Some(1), ..json() };
        assert_eq!(
            refused(&v2(), &r),
            "cannot apply linux.resources.cpu.realtimeRuntime: cgroup v2 has no such setting"
        );
        let r = Resources { network_class: Some(1), ..json() };
        assert_eq!(
            refused(&Layout::default(), &r),
            "cannot apply linux.resources.network.classID: this machine has no net_cls cgroup controller"
        );
        let r = Resources { unified: [("pids.max".into(), "1".into())].into(), ..json() };
        let text = refused(&v1(), &r);
        assert!(text.contains("linux.resources.unified: invalid configuration"), "{text}");
        let r = Resources { cpu_shares: Some(1), ..json() };
        assert!(refused(&v1(), &r).ends_with("the minimum allowed cpu-shares is 2"));
        assert_eq!(shown(&v2(), &r), ["cpu.weight=1"]);
    }

    #[test]
    fn every_part_has_its_file() {
        use crate::plan::{DeviceNumber, RdmaLimit, Throttle, ThrottleKind, WeightDevice};
        let device = DeviceNumber { major: 8, minor: 16 };
        let r = Resources {
            cpu_idle: Some(1),
            cpu_burst: Some(5),
            blkio_weight_devices: vec![WeightDevice {
                device,
                weight: Some(10),
                leaf_weight: None,
            }],
            blkio_throttles: vec![
                Throttle { device, kind: ThrottleKind::ReadBps, rate: 7 },
                Throttle { device, kind: ThrottleKind::WriteIops, rate: 0 },
            ],
            hugetlb: [("2MB".to_owned(), 4096)].into(),
            rdma: [("mlx5".to_owned(), RdmaLimit { handles: Some(3), objects: None })].into(),
            ..Resources::default()
        };
        let whole =
            format!("{}1 2 0:3 / /sys/fs/cgroup/x rw - cgroup none rw,hugetlb,rdma,net_prio\n", V1);
        let whole = Layout::parse(whole.as_bytes());
        assert_eq!(
            shown(&whole, &r),
            [
                "cpu.idle=1",
                "cpu.cfs_burst_us=5",
                "blkio.weight_device=8:16 10",
                "blkio.throttle.read_bps_device=8:16 7",
                "blkio.throttle.write_iops_device=8:16 0",
                "hugetlb.2MB.limit_in_bytes=4096",
                "?hugetlb.2MB.rsvd.limit_in_bytes=4096",
                "rdma.max=mlx5 hca_handle=3 hca_object=max"
            ]
        );
        assert_eq!(
            shown(&v2(), &r),
            [
                "cpu.idle=1",
                "cpu.max.burst=5",
                "io.bfq.weight=8:16 10",
                "io.max=8:16 rbps=7",
                "io.max=8:16 wiops=max",
                "hugetlb.2MB.max=4096",
                "?hugetlb.2MB.rsvd.max=4096",
                "rdma.max=mlx5 hca_handle=3 hca_object=max"
            ]
        );
        assert_eq!(wanted_controllers(&r), ["cpu", "hugetlb", "io", "rdma"]);
        let r = Resources { network_priorities: [("lo".into(), 5)].into(), ..Resources::default() };
        assert_eq!(shown(&whole, &r), ["net_prio.ifpriomap=lo 5"]);
    }

    #[test]
    fn v2_files_are_written_last_line_by_line() {
        let unified = [("memory.min", "5"), ("io.max", "8:0 rbps=1\n8:16 rbps=2\n")];
        let unified = unified.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let r = Resources { memory: Some(9), unified, ..Resources::default() };
        assert_eq!(
            shown(&v2(), &r),
            ["memory.max=9", "io.max=8:0 rbps=1", "io.max=8:16 rbps=2", "memory.min=5"]
        );
        assert_eq!(wanted_controllers(&r), ["memory", "io"]);
    }

    #[test]
    fn cpu_limits_are_translated() {
        let r = Resources {
            cpu_quota: Some(150_000),
            cpu_period: Some(100_000),
            cpu_shares: Some(1024),
            ..Resources::default()
        };
        assert_eq!(
            shown(&v1(), &r),
            ["cpu.shares=1024", "cpu.cfs_period_us=100000", "cpu.cfs_quota_us=150000"]
        );
        assert_eq!(shown(&v2(), &r), ["cpu.weight=100", "cpu.max=150000 100000"]);
        let unlimited = Resources { cpu_quota: Some(-1), ..Resources::default() };
        assert_eq!(shown(&v2(), &unlimited), ["cpu.max=max 100000"]);
    }

    #[test]
    fn the_rest_is_written_where_each_version_keeps_it() {
        let r = Resources {
            cpuset_cpus: Some("0".into()),
            pids_limit: Some(-1),
            blkio_weight: Some(10),
            memory_reservation: Some(7),
            ..Resources::default()
        };
        assert_eq!(
            shown(&v1(), &r),
            ["memory.soft_limit_in_bytes=7", "cpuset.cpus=0", "pids.max=max", "blkio.weight=10"]
        );
        let writes = plan_writes(&v2(), &r).unwrap();
        let io = &writes.last().unwrap().choices;
        assert_eq!(io[0], ("io.bfq.weight".into(), "10".into()));
        assert_eq!(io[1], ("io.weight".into(), "1".into()));
    }

    #[test]
    fn what_cannot_be_met_is_named() {
        let empty = Layout::default();
        let r = Resources { pids_limit: Some(5), ..Resources::default() };
        assert_eq!(
            plan_writes(&empty, &r).unwrap_err().to_string(),
            "cannot apply --pids-limit: this machine has no pids cgroup controller"
        );
        let r = Resources { oom_kill_disable: true, ..Resources::default() };
        assert_eq!(
            plan_writes(&v2(), &r).unwrap_err(),
            LimitError::NotOnV2 { wish: "--oom-kill-disable" }
        );
    }

    #[test]
    fn no_limits_mean_no_writes() {
        for layout in [v1(), v2()] {
            assert_eq!(plan_writes(&layout, &Resources::default()), Ok(vec![]));
        }
        assert!(wanted_controllers(&Resources::default()).is_empty());
    }

    proptest! {
        #[test]
        fn weights_rise_with_shares_and_stay_in_range(a in 1u64..300_000, b in 1u64..300_000) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(weight_of_shares(low) <= weight_of_shares(high));
            prop_assert!((1..=10_000).contains(&weight_of_shares(a)));
        }
    }
}
