//! Which step the child is at: named in its errors, and timed for `--debug`,
//! where the parent, who still has a stderr, logs the times.

use std::time::Instant;

/// The step under way and, when anybody wants to know, how long each took.
#[derive(Debug)]
pub(crate) struct Stage {
    name: &'static str,
    since: Option<Instant>,
    /// "rootfs 0.310 ms, mounts 0.940 ms, …"
    times: String,
}

impl Stage {
    /// The first step. Free but for a load when debug logging is off.
    pub(crate) fn new() -> Self {
        let timed = log::max_level() >= log::LevelFilter::Debug;
        Self { name: "start", since: timed.then(Instant::now), times: String::new() }
    }

    /// The next step begins.
    pub(crate) fn enter(&mut self, name: &'static str) {
        if let Some(since) = &mut self.since {
            let separator = if self.times.is_empty() { "" } else { ", " };
            let ms = since.elapsed().as_secs_f64() * 1e3;
            self.times.push_str(&format!("{separator}{} {ms:.3} ms", self.name));
            *since = Instant::now();
        }
        self.name = name;
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// What the steps before this one took; empty unless debug logging is on.
    pub(crate) fn times(&self) -> &str {
        &self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_named_and_costs_nothing_when_nobody_asks() {
        let mut stage = Stage::new();
        assert_eq!(stage.name(), "start");
        stage.enter("mounts");
        assert_eq!((stage.name(), stage.times()), ("mounts", ""));
    }
}
