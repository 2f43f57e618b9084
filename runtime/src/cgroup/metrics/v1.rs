//! The files of v1 controllers (Documentation/admin-guide/cgroup-v1/).

use std::path::Path;

use super::{Blkio, BlkioEntry, HugePages, MemoryEntry, Metrics, keyed, number, text};

/// cpuacct.stat counts in ticks of USER_HZ, which is 100 everywhere.
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

pub(super) fn read(controller: &str, dir: &Path, sizes: &[String], metrics: &mut Metrics) {
    match controller {
        "cpu" => throttling(dir, metrics),
        "cpuacct" => usage(dir, metrics),
        "cpuset" => cpuset(dir, metrics),
        "memory" => memory(dir, metrics),
        "pids" => {
            metrics.pids.current = number(dir, "pids.current").unwrap_or(0);
            metrics.pids.limit = number(dir, "pids.max").filter(|n| *n != u64::MAX).unwrap_or(0);
        }
        "blkio" => blkio(dir, &mut metrics.blkio),
        "hugetlb" => hugetlb(dir, sizes, metrics),
        _ => {}
    }
}

fn throttling(dir: &Path, metrics: &mut Metrics) {
    let Some(stat) = text(dir, "cpu.stat").map(|text| keyed(&text)) else { return };
    let of = |key: &str| stat.get(key).copied().unwrap_or(0);
    let throttling = &mut metrics.cpu.throttling;
    throttling.periods = of("nr_periods");
    throttling.throttled_periods = of("nr_throttled");
    throttling.throttled_time = of("throttled_time");
}

fn usage(dir: &Path, metrics: &mut Metrics) {
    let usage = &mut metrics.cpu.usage;
    usage.total = number(dir, "cpuacct.usage").unwrap_or(usage.total);
    if let Some(stat) = text(dir, "cpuacct.stat").map(|text| keyed(&text)) {
        let of = |key: &str| stat.get(key).map_or(0, |n| n.saturating_mul(NANOSECONDS_PER_TICK));
        (usage.user, usage.kernel) = (of("user"), of("system"));
    }
    let percpu = text(dir, "cpuacct.usage_percpu").unwrap_or_default();
    usage.percpu = percpu.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
    // cpu user system, under a line that says so
    for line in text(dir, "cpuacct.usage_all").unwrap_or_default().lines().skip(1) {
        let mut fields = line.split(' ').skip(1).map_while(|n| n.parse().ok());
        if let (Some(user), Some(kernel)) = (fields.next(), fields.next()) {
            usage.percpu_user.push(user);
            usage.percpu_kernel.push(kernel);
        }
    }
}

fn cpuset(dir: &Path, metrics: &mut Metrics) {
    let list = |name: &str| numbers(&text(dir, &format!("cpuset.{name}")).unwrap_or_default());
    let flag = |name: &str| number(dir, &format!("cpuset.{name}")).unwrap_or(0);
    let set = &mut metrics.cpuset;
    set.cpus = list("cpus");
    set.mems = list("mems");
    set.cpu_exclusive = flag("cpu_exclusive");
    set.mem_hardwall = flag("mem_hardwall");
    set.mem_exclusive = flag("mem_exclusive");
    set.memory_migrate = flag("memory_migrate");
    set.memory_spread_page = flag("memory_spread_page");
    set.memory_spread_slab = flag("memory_spread_slab");
    set.memory_pressure = flag("memory_pressure");
    set.sched_load_balance = flag("sched_load_balance");
    let level = text(dir, "cpuset.sched_relax_domain_level");
    set.sched_relax_domain_level = level.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
}

/// `0-3,5` → each of them.
fn numbers(list: &str) -> Vec<u16> {
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

fn memory(dir: &Path, metrics: &mut Metrics) {
    let memory = &mut metrics.memory;
    memory.raw = text(dir, "memory.stat").map(|text| keyed(&text)).unwrap_or_default();
    memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
    let entry = |kind: &str| {
        let of = |file: &str| number(dir, &format!("memory.{kind}{file}")).unwrap_or(0);
        MemoryEntry {
            limit: of("limit_in_bytes"),
            usage: of("usage_in_bytes"),
            max: of("max_usage_in_bytes"),
            failcnt: of("failcnt"),
        }
    };
    memory.usage = entry("");
    memory.swap = entry("memsw.");
    memory.kernel = entry("kmem.");
    memory.kernel_tcp = entry("kmem.tcp.");
}

/// The scheduler that counts most is asked first; throttling counts everything.
fn blkio(dir: &Path, blkio: &mut Blkio) {
    for prefix in ["blkio.bfq.", "blkio."] {
        let of = |name: &str| entries(dir, &format!("{prefix}{name}_recursive"));
        blkio.sectors_recursive = of("sectors");
        blkio.io_service_time_recursive = of("io_service_time");
        blkio.io_wait_time_recursive = of("io_wait_time");
        blkio.io_merged_recursive = of("io_merged");
        blkio.io_queued_recursive = of("io_queued");
        blkio.io_time_recursive = of("time");
        blkio.io_serviced_recursive = of("io_serviced");
        blkio.io_service_bytes_recursive = of("io_service_bytes");
        if !blkio.io_serviced_recursive.is_empty() {
            return;
        }
    }
    for end in ["_recursive", ""] {
        blkio.io_serviced_recursive = entries(dir, &format!("blkio.throttle.io_serviced{end}"));
        blkio.io_service_bytes_recursive =
            entries(dir, &format!("blkio.throttle.io_service_bytes{end}"));
        if !blkio.io_serviced_recursive.is_empty() {
            return;
        }
    }
}

fn entries(dir: &Path, file: &str) -> Vec<BlkioEntry> {
    text(dir, file).unwrap_or_default().lines().filter_map(entry).collect()
}

/// `8:0 Read 1282048`, or `8:0 6792`; "Total 5" is for all devices and none of them.
fn entry(line: &str) -> Option<BlkioEntry> {
    let mut words = line.split_ascii_whitespace();
    let (major, minor) = words.next()?.split_once(':')?;
    let (second, third) = (words.next()?, words.next());
    let (op, value) = third.map_or(("", second), |value| (second, value));
    Some(BlkioEntry {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        op: op.to_owned(),
        value: value.parse().ok()?,
    })
}

fn hugetlb(dir: &Path, sizes: &[String], metrics: &mut Metrics) {
    for size in sizes {
        // Reservations, where they are counted (Linux 5.7).
        for kind in [".rsvd", ""] {
            let of = |file: &str| number(dir, &format!("hugetlb.{size}{kind}.{file}"));
            let Some(usage) = of("usage_in_bytes") else { continue };
            let max = of("max_usage_in_bytes").unwrap_or(0);
            let failcnt = of("failcnt").unwrap_or(0);
            metrics.hugetlb.insert(size.clone(), HugePages { usage, max, failcnt });
            break;
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // files of a test's own
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    #[test]
    fn lists_are_unfolded() {
        assert_eq!(numbers("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(numbers("\n"), Vec::<u16>::new());
    }

    #[test]
    fn devices_are_counted_one_by_one() {
        let of = |op: &str, value| BlkioEntry { major: 8, minor: 16, op: op.into(), value };
        assert_eq!(entry("8:16 Read 5"), Some(of("Read", 5)));
        assert_eq!(entry("8:16 7"), Some(of("", 7)));
        assert_eq!(entry("Total 7"), None);
    }

    #[test]
    fn files_become_figures() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("cpuacct.usage", "1000\n"),
            ("cpuacct.stat", "user 2\nsystem 3\n"),
            ("cpuacct.usage_percpu", "10 20 \n"),
            ("cpuacct.usage_all", "cpu user system\n0 1 2\n1 3 4\n"),
            ("memory.stat", "cache 77\nrss 5\n"),
            ("memory.usage_in_bytes", "9\n"),
            ("memory.memsw.limit_in_bytes", "11\n"),
            ("blkio.throttle.io_serviced_recursive", "8:0 Read 4\nTotal 4\n"),
            ("blkio.throttle.io_service_bytes_recursive", "8:0 Write 4096\n"),
            ("hugetlb.2MB.usage_in_bytes", "3\n"),
            ("pids.current", "4\n"),
            ("pids.max", "max\n"),
        ];
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let mut metrics = Metrics::default();
        for controller in ["cpuacct", "memory", "blkio", "hugetlb", "pids", "cpu", "cpuset"] {
            read(controller, dir.path(), &["2MB".to_owned()], &mut metrics);
        }
        let usage = &metrics.cpu.usage;
        assert_eq!((usage.total, usage.user, usage.kernel), (1000, 20_000_000, 30_000_000));
        assert_eq!(
            (usage.percpu_user.as_slice(), usage.percpu.as_slice()),
            (&[1, 3][..], &[10, 20][..])
        );
        assert_eq!(
            (metrics.memory.cache, metrics.memory.usage.usage, metrics.memory.swap.limit),
            (77, 9, 11)
        );
        assert_eq!(metrics.blkio.io_serviced_recursive.len(), 1);
        assert_eq!(metrics.blkio.io_service_bytes_recursive[0].value, 4096);
        assert_eq!((metrics.hugetlb["2MB"].usage, metrics.pids.limit), (3, 0));
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_panic(line in "[0-9: a-zA-Z,-]{0,30}") {
            let _ = (entry(&line), keyed(&line));
            // A list as long as it says is no panic but much memory.
            if line.len() < 8 {
                let _ = numbers(&line);
            }
        }
    }
}
