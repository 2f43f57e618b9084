//! The files of the v2 tree (Documentation/admin-guide/cgroup-v2.rst).

use std::path::Path;

use super::{BlkioEntry, HugePages, MemoryEntry, Metrics, Pressure, Stall, keyed, number, text};

pub(super) fn read(dir: &Path, sizes: &[String], metrics: &mut Metrics) {
    cpu(dir, metrics);
    memory(dir, metrics);
    pids(dir, metrics);
    let stat = text(dir, "io.stat").unwrap_or_default();
    stat.lines().for_each(|line| io_line(line, metrics));
    hugetlb(dir, sizes, metrics);
    metrics.cpu.psi = pressure(dir, "cpu.pressure");
    metrics.memory.psi = pressure(dir, "memory.pressure");
    metrics.blkio.psi = pressure(dir, "io.pressure");
}

fn cpu(dir: &Path, metrics: &mut Metrics) {
    let Some(stat) = text(dir, "cpu.stat").map(|text| keyed(&text)) else { return };
    let of = |key: &str| stat.get(key).copied().unwrap_or(0);
    let nanoseconds = |key: &str| of(key).saturating_mul(1000);
    let cpu = &mut metrics.cpu;
    cpu.usage.total = nanoseconds("usage_usec");
    cpu.usage.user = nanoseconds("user_usec");
    cpu.usage.kernel = nanoseconds("system_usec");
    cpu.throttling.periods = of("nr_periods");
    cpu.throttling.throttled_periods = of("nr_throttled");
    cpu.throttling.throttled_time = nanoseconds("throttled_usec");
}

fn memory(dir: &Path, metrics: &mut Metrics) {
    let entry = |kind: &str| {
        let of = |file: &str| number(dir, &format!("memory.{kind}{file}")).unwrap_or(0);
        MemoryEntry { limit: of("max"), usage: of("current"), max: of("peak"), failcnt: 0 }
    };
    let memory = &mut metrics.memory;
    let Some(stat) = text(dir, "memory.stat") else { return };
    memory.raw = keyed(&stat);
    memory.cache = memory.raw.get("file").copied().unwrap_or(0);
    memory.usage = entry("");
    // Readers expect v1's sum of memory and swap; its highest value nobody knows.
    let swap = entry("swap.");
    memory.swap = MemoryEntry {
        limit: swap.limit.saturating_add(if swap.limit == u64::MAX {
            0
        } else {
            memory.usage.limit
        }),
        usage: swap.usage.saturating_add(memory.usage.usage),
        max: 0,
        failcnt: 0,
    };
}

fn pids(dir: &Path, metrics: &mut Metrics) {
    match number(dir, "pids.current") {
        Some(current) => {
            metrics.pids.current = current;
            metrics.pids.limit = number(dir, "pids.max").filter(|n| *n != u64::MAX).unwrap_or(0);
        }
        // The controller is off.
        None => {
            let procs = text(dir, "cgroup.procs").or_else(|| text(dir, "cgroup.threads"));
            metrics.pids.current = procs.map_or(0, |text| text.lines().count() as u64);
        }
    }
}

/// `8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353`, in v1's two tables.
fn io_line(line: &str, metrics: &mut Metrics) {
    let mut words = line.split_ascii_whitespace();
    let Some((major, minor)) = words.next().and_then(|word| word.split_once(':')) else { return };
    let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { return };
    let blkio = &mut metrics.blkio;
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        let (op, table) = match key {
            "rbytes" => ("Read", &mut blkio.io_service_bytes_recursive),
            "wbytes" => ("Write", &mut blkio.io_service_bytes_recursive),
            "rios" => ("Read", &mut blkio.io_serviced_recursive),
            "wios" => ("Write", &mut blkio.io_serviced_recursive),
            _ => continue,
        };
        if let Ok(value) = value.parse() {
            table.push(BlkioEntry { major, minor, op: op.to_owned(), value });
        }
    }
}

fn hugetlb(dir: &Path, sizes: &[String], metrics: &mut Metrics) {
    for size in sizes {
        let of = |kind: &str| number(dir, &format!("hugetlb.{size}{kind}.current"));
        let Some(usage) = of(".rsvd").or_else(|| of("")) else { continue };
        let events = text(dir, &format!("hugetlb.{size}.events")).unwrap_or_default();
        let failcnt = keyed(&events).get("max").copied().unwrap_or(0);
        metrics.hugetlb.insert(size.clone(), HugePages { usage, max: 0, failcnt });
    }
}

/// `None` where the kernel does not count it, or only with psi=1 (EOPNOTSUPP).
fn pressure(dir: &Path, file: &str) -> Option<Pressure> {
    Some(parse_pressure(&text(dir, file)?))
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`
fn parse_pressure(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let stall = match words.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        *stall = parse_stall(words);
    }
    pressure
}

fn parse_stall<'a>(words: impl Iterator<Item = &'a str>) -> Stall {
    let mut stall = Stall::default();
    let percent = |value: &str| value.parse().ok().filter(|n: &f64| n.is_finite()).unwrap_or(0.0);
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        match key {
            "avg10" => stall.avg10 = percent(value),
            "avg60" => stall.avg60 = percent(value),
            "avg300" => stall.avg300 = percent(value),
            "total" => stall.total = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    stall
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // files of a test's own
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_become_figures() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            (
                "cpu.stat",
                "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 1\nnr_throttled 1\nthrottled_usec 9\n",
            ),
            (
                "cpu.pressure",
                "some avg10=1.50 avg60=0.00 avg300=0.00 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.25 total=3\n",
            ),
            ("memory.stat", "anon 5\nfile 77\n"),
            ("memory.current", "100\n"),
            ("memory.max", "1000\n"),
            ("memory.peak", "200\n"),
            ("memory.swap.current", "10\n"),
            ("memory.swap.max", "max\n"),
            ("cgroup.procs", "1\n2\n"),
            ("io.stat", "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0\n"),
            ("hugetlb.2MB.current", "6\n"),
            ("hugetlb.2MB.events", "max 2\n"),
        ];
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let mut metrics = Metrics::default();
        read(dir.path(), &["2MB".to_owned()], &mut metrics);
        assert_eq!((metrics.cpu.usage.total, metrics.cpu.throttling.throttled_time), (5000, 9000));
        let psi = metrics.cpu.psi.as_ref().unwrap();
        assert_eq!((psi.some.avg10, psi.some.total, psi.full.avg300), (1.5, 7, 0.25));
        assert_eq!(metrics.memory.psi, None);
        let MemoryEntry { limit, usage, max, .. } = metrics.memory.usage;
        assert_eq!((limit, usage, max, metrics.memory.cache), (1000, 100, 200, 77));
        assert_eq!((metrics.memory.swap.usage, metrics.memory.swap.limit), (110, u64::MAX));
        assert_eq!(metrics.pids.current, 2);
        let ops: Vec<_> =
            metrics.blkio.io_serviced_recursive.iter().map(|e| (e.op.as_str(), e.value)).collect();
        assert_eq!(ops, [("Read", 3), ("Write", 4)]);
        assert_eq!((metrics.hugetlb["2MB"].usage, metrics.hugetlb["2MB"].failcnt), (6, 2));
    }
}
