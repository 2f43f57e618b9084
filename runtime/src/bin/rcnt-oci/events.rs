//! `events`: what a container uses, time and again, and when it runs out of memory.

use std::path::Path;
use std::time::{Duration, Instant};

use rcnt_runtime::cgroup::events::{Event, watch};
use rcnt_runtime::cgroup::metrics::{self, Metrics};
use rcnt_runtime::cgroup::{self, Layout};
use rcnt_runtime::intel_rdt::Stats;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use serde::Serialize;

use crate::args::EventsArgs;
use crate::state::{Directory, Saved, Status};
use crate::{Error, print, shares};

/// One line, in the order in which scripts expect the fields.
#[derive(Debug, Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
}

#[derive(Debug, Serialize)]
struct Data {
    #[serde(flatten)]
    metrics: Metrics,
    /// Always there in runc's, and empty without Intel RDT.
    intel_rdt: Stats,
    /// runc knows of those it has made itself: none, for bundles.
    network_interfaces: Option<()>,
}

/// Prints events until the container is deleted, or with `--stats` one reading.
pub(crate) fn events(root: &Path, args: &EventsArgs) -> Result<u8, Error> {
    let directory = Directory::of(root, &args.id)?;
    let interval = duration(&args.interval).ok_or_else(|| {
        Error::Refused(format!("invalid value {:?} for --interval: 5s, 100ms…", args.interval))
    })?;
    if interval.is_zero() {
        return Err(Error::Refused("duration interval must be greater than 0".into()));
    }
    let saved = directory.load()?;
    if directory.status(&saved) == Status::Stopped {
        return Err(Error::Refused(format!("container with id {} is not running", saved.id)));
    }
    let layout = cgroup::layout_of(&saved.cgroup)?;
    if args.stats {
        return print_stats(&layout, &saved);
    }
    follow(&directory, &saved, &layout, interval)
}

fn follow(
    directory: &Directory,
    saved: &Saved,
    layout: &Layout,
    interval: Duration,
) -> Result<u8, Error> {
    let mut watch = watch(layout, &saved.cgroup.path)?;
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        let mut fds = [PollFd::new(&watch, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, timeout.as_ref()))
            .map_err(Error::errno("wait for events"))?;
        for event in watch.read().map_err(Error::io("read events"))? {
            match event {
                Event::OutOfMemory => print_line("oom", saved, None)?,
                Event::Gone => return Ok(0),
            };
        }
        if Instant::now() >= next {
            // However the news of its end may have been lost.
            if !directory.exists() {
                return Ok(0);
            }
            print_stats(layout, saved)?;
            next += interval;
        }
    }
}

fn print_stats(layout: &Layout, saved: &Saved) -> Result<u8, Error> {
    let metrics = metrics::read(layout, &saved.cgroup.path)?;
    print_line(
        "stats",
        saved,
        Some(Data { metrics, intel_rdt: shares::reading(saved)?, network_interfaces: None }),
    )
}

fn print_line(kind: &'static str, saved: &Saved, data: Option<Data>) -> Result<u8, Error> {
    let line = Line { kind, id: &saved.id, data };
    print(&format!("{}\n", serde_json::to_string(&line).map_err(Error::json)?))
}

/// Go's durations: `1m30s`, `100ms`, `1.5h`.
fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters)?;
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * factor;
        rest = tail;
    }
    // An hour of years is no interval that anybody waits for.
    Duration::try_from_secs_f64(seconds).ok().filter(|_| !text.is_empty() && seconds < 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let all = ["5s", "100ms", "1m30s", "1.5h", "0"].map(|text| duration(text).unwrap());
        assert_eq!(all.map(|it| it.as_millis()), [5000, 100, 90_000, 5_400_000, 0]);
        for bad in ["", "5", "s", "5x", "-5s", "1..2s", "é", "99999999999h"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_line_begins_with_its_type() {
        let line = Line { kind: "oom", id: "c", data: None };
        assert_eq!(serde_json::to_string(&line).unwrap(), "{\"type\":\"oom\",\"id\":\"c\"}");
        let data = Data {
            metrics: Metrics::default(),
            intel_rdt: Stats::default(),
            network_interfaces: None,
        };
        let text =
            serde_json::to_string(&Line { kind: "stats", id: "c", data: Some(data) }).unwrap();
        assert!(text.starts_with("{\"type\":\"stats\",\"id\":\"c\",\"data\":{\"cpu\":"), "{text}");
        assert!(text.ends_with("\"intel_rdt\":{},\"network_interfaces\":null}}"), "{text}");
    }
}
