//! CPU time, CPU sets and the number of processes.

use super::{LimitError, Place, Planner, wish};
use crate::plan::Resources;

/// What v1 accepts as shares; it moves others in between without a word (sched-design-CFS.rst).
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

/// The kernel's default period, both versions.
const PERIOD: u64 = 100_000;

impl Planner<'_> {
    pub(super) fn cpu(&mut self, r: &Resources) -> Result<(), LimitError> {
        // Before the weight: an idle cgroup has none.
        if let Some(idle) = r.cpu_idle {
            let wish = self.name(wish::IDLE);
            match self.place(wish, "cpu")? {
                Place::V1(at) | Place::V2(at) => self.write(wish, &at, "cpu.idle", idle),
            }
        }
        if let Some(shares) = r.cpu_shares.filter(|shares| *shares != 0) {
            self.shares(shares)?;
        }
        self.bandwidth(r)?;
        let realtime = [
            (wish::RT_PERIOD, "cpu.rt_period_us", r.cpu_rt_period.map(|n| n.to_string())),
            (wish::RT_RUNTIME, "cpu.rt_runtime_us", r.cpu_rt_runtime.map(|n| n.to_string())),
        ];
        for (wish, file, value) in realtime {
            if let Some(value) = value {
                self.v1_only(wish, "cpu", file, value)?;
            }
        }
        Ok(())
    }

    fn shares(&mut self, shares: u64) -> Result<(), LimitError> {
        let wish = self.name(wish::SHARES);
        match self.place(wish, "cpu")? {
            Place::V1(_) if shares < *SHARES.start() => {
                return Err(LimitError::Shares { wish, end: "minimum", allowed: *SHARES.start() });
            }
            Place::V1(_) if shares > *SHARES.end() => {
                return Err(LimitError::Shares { wish, end: "maximum", allowed: *SHARES.end() });
            }
            Place::V1(at) => self.write(wish, &at, "cpu.shares", shares),
            Place::V2(at) => self.write(wish, &at, "cpu.weight", weight_of_shares(shares)),
        }
        Ok(())
    }

    /// Quota, period and burst are checked against each other: whoever writes these
    /// tries the refused ones again.
    fn bandwidth(&mut self, r: &Resources) -> Result<(), LimitError> {
        let (quota_wish, period_wish) = (self.name(wish::QUOTA), self.name(wish::PERIOD));
        if let Some(burst) = r.cpu_burst {
            let wish = self.name(wish::BURST);
            let (at, file) = match self.place(wish, "cpu")? {
                Place::V1(at) => (at, "cpu.cfs_burst_us"),
                Place::V2(at) => (at, "cpu.max.burst"),
            };
            // Linux before 5.14 has no burst, which is what 0 asks for.
            let choice = (file.to_owned(), burst.to_string());
            self.push((burst != 0).then_some(wish), &at, vec![choice]);
        }
        if r.cpu_quota.is_none() && r.cpu_period.is_none() {
            return Ok(());
        }
        let wish = if r.cpu_quota.is_some() { quota_wish } else { period_wish };
        match self.place(wish, "cpu")? {
            Place::V1(at) => {
                if let Some(period) = r.cpu_period {
                    self.write(period_wish, &at, "cpu.cfs_period_us", period);
                }
                if let Some(quota) = r.cpu_quota {
                    self.write(quota_wish, &at, "cpu.cfs_quota_us", quota.max(-1));
                }
            }
            Place::V2(at) => {
                let quota = r.cpu_quota.filter(|quota| *quota > 0);
                let quota = quota.map_or("max".to_owned(), |quota| quota.to_string());
                let period = r.cpu_period.unwrap_or(PERIOD);
                self.write(wish, &at, "cpu.max", format!("{quota} {period}"));
            }
        }
        Ok(())
    }

    pub(super) fn cpuset(&mut self, r: &Resources) -> Result<(), LimitError> {
        let wishes = [
            (wish::CPUS, "cpuset.cpus", &r.cpuset_cpus),
            (wish::MEMS, "cpuset.mems", &r.cpuset_mems),
        ];
        for (wish, file, list) in wishes {
            if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
                let wish = self.name(wish);
                match self.place(wish, "cpuset")? {
                    Place::V1(at) | Place::V2(at) => self.write(wish, &at, file, list),
                }
            }
        }
        Ok(())
    }

    pub(super) fn pids(&mut self, r: &Resources) -> Result<(), LimitError> {
        let Some(limit) = r.pids_limit else { return Ok(()) };
        let value = if limit < 0 { "max".to_owned() } else { limit.max(1).to_string() };
        let wish = self.name(wish::PIDS);
        match self.place(wish, "pids")? {
            Place::V1(at) | Place::V2(at) => self.write(wish, &at, "pids.max", value),
        }
        Ok(())
    }
}

/// v1 shares (2–262144, default 1024) as a v2 weight (1–10000, default 100). The
/// quadratic in the logarithm that runc and crun use since 2025: it meets both
/// ends and the default, which the older straight line put at 39.
pub(in crate::cgroup) fn weight_of_shares(shares: u64) -> u64 {
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
