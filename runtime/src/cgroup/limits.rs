//! Limits as file writes: pure, from [`Resources`] to a list of (directory,
//! file, text). [`super::create()`] performs them in order.
//!
//! What the user asked for by name must be met, so a missing controller or file
//! is an error that names both. What docker adds by itself (twice the memory as
//! swap limit) is skipped where the kernel cannot count it.

use std::path::{Path, PathBuf};

use super::layout::Layout;
use crate::plan::Resources;

/// One file of one cgroup directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileWrite {
    /// The hierarchy's mount point.
    pub mountpoint: PathBuf,
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
        /// The flag.
        wish: &'static str,
        /// The controller.
        controller: &'static str,
    },
    /// v2 has nothing like it.
    #[error("cannot apply {wish}: cgroup v2 has no such setting")]
    NotOnV2 {
        /// The flag.
        wish: &'static str,
    },
    /// docker's rule.
    #[error("--memory-swap {swap} is less than --memory {memory}: it counts both together")]
    SwapBelowMemory {
        /// Bytes.
        memory: u64,
        /// Bytes.
        swap: i64,
    },
    /// docker's rule.
    #[error("--memory-swap needs --memory as well")]
    SwapAlone,
}

/// Where a controller is.
enum Place<'a> {
    V1(&'a Path),
    V2(&'a Path),
}

struct Planner<'a> {
    layout: &'a Layout,
    writes: Vec<FileWrite>,
}

/// The writes that put `resources` into force (devices are not among them).
///
/// # Errors
/// [`LimitError`]
pub fn plan_writes(layout: &Layout, resources: &Resources) -> Result<Vec<FileWrite>, LimitError> {
    let mut planner = Planner { layout, writes: Vec::new() };
    planner.memory(resources)?;
    planner.cpu(resources)?;
    planner.cpuset(resources)?;
    planner.pids(resources)?;
    planner.blkio(resources)?;
    planner.hugetlb(resources)?;
    Ok(planner.writes)
}

/// The v2 controllers `resources` needs switched on in the parents.
pub fn wanted_controllers(resources: &Resources) -> Vec<&'static str> {
    let r = resources;
    let cpu = r.cpu_quota.is_some() || r.cpu_period.is_some() || r.cpu_shares.is_some();
    let memory = r.memory.is_some() || r.memory_swap.is_some() || r.memory_reservation.is_some();
    let cpuset = r.cpuset_cpus.is_some() || r.cpuset_mems.is_some();
    [
        ("cpu", cpu),
        ("cpuset", cpuset),
        ("hugetlb", !r.hugetlb.is_empty()),
        ("io", r.blkio_weight.is_some()),
        ("memory", memory),
        ("pids", r.pids_limit.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, wanted)| wanted.then_some(name))
    .collect()
}

impl<'a> Planner<'a> {
    fn place(&self, wish: &'static str, controller: &'static str) -> Result<Place<'a>, LimitError> {
        if let Some(hierarchy) = self.layout.v1_of(controller) {
            return Ok(Place::V1(&hierarchy.mountpoint));
        }
        match &self.layout.unified {
            // Whether the v2 root offers it is found out by the write itself.
            Some(root) => Ok(Place::V2(root)),
            None => Err(LimitError::NoController { wish, controller }),
        }
    }

    fn write(&mut self, wish: &'static str, at: &Path, file: &str, value: impl ToString) {
        self.push(Some(wish), at, vec![(file.to_owned(), value.to_string())]);
    }

    fn push(&mut self, wish: Option<&'static str>, at: &Path, choices: Vec<(String, String)>) {
        self.writes.push(FileWrite { mountpoint: at.to_owned(), choices, wish });
    }

    fn memory(&mut self, r: &Resources) -> Result<(), LimitError> {
        if let Some(memory) = r.memory {
            match self.place("--memory", "memory")? {
                Place::V1(at) => self.write("--memory", at, "memory.limit_in_bytes", memory),
                Place::V2(at) => self.write("--memory", at, "memory.max", memory),
            }
        }
        self.swap(r)?;
        if let Some(bytes) = r.memory_reservation {
            let wish = "--memory-reservation";
            match self.place(wish, "memory")? {
                Place::V1(at) => self.write(wish, at, "memory.soft_limit_in_bytes", bytes),
                Place::V2(at) => self.write(wish, at, "memory.low", bytes),
            }
        }
        if let Some(percent) = r.memory_swappiness {
            self.v1_only("--memory-swappiness", "memory.swappiness", percent)?;
        }
        if r.oom_kill_disable {
            self.v1_only("--oom-kill-disable", "memory.oom_control", 1)?;
        }
        Ok(())
    }

    fn v1_only(
        &mut self,
        wish: &'static str,
        file: &str,
        value: impl ToString,
    ) -> Result<(), LimitError> {
        match self.place(wish, "memory")? {
            Place::V1(at) => self.write(wish, at, file, value),
            Place::V2(_) => return Err(LimitError::NotOnV2 { wish }),
        }
        Ok(())
    }

    /// docker counts memory and swap together, and gives as much swap as memory
    /// when nothing is said; v2 counts swap alone.
    fn swap(&mut self, r: &Resources) -> Result<(), LimitError> {
        let (memory, total, wish) = match (r.memory, r.memory_swap) {
            (None, None | Some(-1)) => return Ok(()),
            (None, Some(_)) => return Err(LimitError::SwapAlone),
            (Some(memory), None | Some(0)) => {
                (memory, i64::try_from(memory.saturating_mul(2)).unwrap_or(-1), None)
            }
            (Some(memory), Some(total)) => (memory, total, Some("--memory-swap")),
        };
        let alone = u64::try_from(total).ok().map(|total| total.checked_sub(memory));
        if alone == Some(None) {
            return Err(LimitError::SwapBelowMemory { memory, swap: total });
        }
        match self.place("--memory-swap", "memory")? {
            Place::V1(at) => {
                let choice = ("memory.memsw.limit_in_bytes".to_owned(), total.to_string());
                self.push(wish, at, vec![choice]);
            }
            Place::V2(at) => {
                let value = alone.flatten().map_or("max".to_owned(), |bytes| bytes.to_string());
                self.push(wish, at, vec![("memory.swap.max".to_owned(), value)]);
            }
        }
        Ok(())
    }

    fn cpu(&mut self, r: &Resources) -> Result<(), LimitError> {
        if r.cpu_quota.is_some() || r.cpu_period.is_some() {
            let wish = "--cpus";
            match self.place(wish, "cpu")? {
                Place::V1(at) => {
                    // The period first: a quota is checked against it.
                    if let Some(period) = r.cpu_period {
                        self.write(wish, at, "cpu.cfs_period_us", period);
                    }
                    if let Some(quota) = r.cpu_quota {
                        self.write(wish, at, "cpu.cfs_quota_us", quota);
                    }
                }
                Place::V2(at) => {
                    let quota = r.cpu_quota.filter(|quota| *quota > 0);
                    let quota = quota.map_or("max".to_owned(), |quota| quota.to_string());
                    let period = r.cpu_period.unwrap_or(100_000);
                    self.write(wish, at, "cpu.max", format!("{quota} {period}"));
                }
            }
        }
        if let Some(shares) = r.cpu_shares.filter(|shares| *shares != 0) {
            let wish = "--cpu-shares";
            match self.place(wish, "cpu")? {
                Place::V1(at) => self.write(wish, at, "cpu.shares", shares),
                Place::V2(at) => self.write(wish, at, "cpu.weight", weight_of_shares(shares)),
            }
        }
        Ok(())
    }

    fn cpuset(&mut self, r: &Resources) -> Result<(), LimitError> {
        let wishes = [
            ("--cpuset-cpus", "cpuset.cpus", &r.cpuset_cpus),
            ("--cpuset-mems", "cpuset.mems", &r.cpuset_mems),
        ];
        for (wish, file, list) in wishes {
            if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
                match self.place(wish, "cpuset")? {
                    Place::V1(at) | Place::V2(at) => self.write(wish, at, file, list),
                }
            }
        }
        Ok(())
    }

    fn pids(&mut self, r: &Resources) -> Result<(), LimitError> {
        let Some(limit) = r.pids_limit else { return Ok(()) };
        let value = if limit > 0 { limit.to_string() } else { "max".to_owned() };
        match self.place("--pids-limit", "pids")? {
            Place::V1(at) | Place::V2(at) => self.write("--pids-limit", at, "pids.max", value),
        }
        Ok(())
    }

    fn blkio(&mut self, r: &Resources) -> Result<(), LimitError> {
        let Some(weight) = r.blkio_weight.filter(|weight| *weight != 0) else { return Ok(()) };
        let wish = "--blkio-weight";
        match self.place(wish, "blkio")? {
            Place::V1(at) => {
                let files = ["blkio.weight", "blkio.bfq.weight"];
                let choice = |file: &str| (file.to_owned(), weight.to_string());
                self.push(Some(wish), at, files.map(choice).into());
            }
            Place::V2(at) => {
                // bfq keeps v1's scale up to 1000; io.weight goes from 1 to 10000.
                let scaled = 1 + u64::from(weight.saturating_sub(10)) * 9999 / 990;
                let bfq = ("io.bfq.weight".to_owned(), weight.to_string());
                let plain = ("io.weight".to_owned(), scaled.to_string());
                self.push(Some(wish), at, vec![bfq, plain]);
            }
        }
        Ok(())
    }

    fn hugetlb(&mut self, r: &Resources) -> Result<(), LimitError> {
        for (size, bytes) in &r.hugetlb {
            let wish = "the huge page limit";
            match self.place(wish, "hugetlb")? {
                Place::V1(at) => {
                    self.write(wish, at, &format!("hugetlb.{size}.limit_in_bytes"), bytes);
                }
                Place::V2(at) => self.write(wish, at, &format!("hugetlb.{size}.max"), bytes),
            }
        }
        Ok(())
    }
}

/// v1 shares (2–262144, default 1024) as a v2 weight (1–10000, default 100). The
/// quadratic in the logarithm that runc and crun use since 2025: it meets both
/// ends and the default, which the older straight line put at 39.
fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            // At most 18 bits: exact in f64.
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v1() -> Layout {
        let lines = ["memory", "cpu,cpuacct", "cpuset", "pids", "blkio"]
            .map(|c| format!("1 2 0:3 / /sys/fs/cgroup/{c} rw - cgroup none rw,{c}\n"));
        Layout::parse(lines.concat().as_bytes())
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
    fn memory_gets_as_much_swap_again_by_default() {
        let r = Resources { memory: Some(100), ..Resources::default() };
        assert_eq!(
            shown(&v1(), &r),
            ["memory.limit_in_bytes=100", "?memory.memsw.limit_in_bytes=200"]
        );
        assert_eq!(shown(&v2(), &r), ["memory.max=100", "?memory.swap.max=100"]);
    }

    #[test]
    fn swap_is_counted_with_memory_on_v1_and_alone_on_v2() {
        let with =
            |memory_swap| Resources { memory: Some(100), memory_swap, ..Resources::default() };
        assert_eq!(shown(&v1(), &with(Some(150)))[1], "memory.memsw.limit_in_bytes=150");
        assert_eq!(shown(&v2(), &with(Some(150)))[1], "memory.swap.max=50");
        assert_eq!(shown(&v1(), &with(Some(-1)))[1], "memory.memsw.limit_in_bytes=-1");
        assert_eq!(shown(&v2(), &with(Some(-1)))[1], "memory.swap.max=max");
        assert_eq!(shown(&v2(), &with(Some(100)))[1], "memory.swap.max=0");
        assert_eq!(
            plan_writes(&v1(), &with(Some(99))).unwrap_err().to_string(),
            "--memory-swap 99 is less than --memory 100: it counts both together"
        );
        let alone = Resources { memory_swap: Some(5), ..Resources::default() };
        assert_eq!(plan_writes(&v1(), &alone), Err(LimitError::SwapAlone));
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
            ["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=150000", "cpu.shares=1024"]
        );
        assert_eq!(shown(&v2(), &r), ["cpu.max=150000 100000", "cpu.weight=100"]);
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
