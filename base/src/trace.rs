//! The log of steps and their times. Off by default: a step that is not logged
//! costs one atomic load. Lines go to stderr so that stdout stays the command's.

use std::io::Write;
use std::sync::OnceLock;
use std::time::Instant;

static START: OnceLock<Instant> = OnceLock::new();

struct StderrLog;

impl log::Log for StderrLog {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        // Only our own crates: a library's chatter is not a step of ours.
        if !self.enabled(record.metadata()) || !record.target().starts_with("rcnt") {
            return;
        }
        if record.level() == log::Level::Warn && log::max_level() == log::LevelFilter::Warn {
            // Nobody asked for a log: this is for the user, as errors are.
            let line = format!("rcnt: warning: {}\n", record.args());
            let _ = std::io::stderr().write_all(line.as_bytes());
            return;
        }
        let ms = START.get().map_or(0.0, |t| t.elapsed().as_secs_f64() * 1e3);
        let line = format!(
            "{:<5} {ms:9.3} ms [{}] {}\n",
            record.level(),
            std::process::id(),
            record.args()
        );
        // Nothing sensible can be done when stderr is gone.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Starts the clock and installs the logger at `level`.
pub fn init(level: log::LevelFilter) {
    START.get_or_init(Instant::now);
    if log::set_logger(&StderrLog).is_ok() {
        log::set_max_level(level);
    }
}

/// Logs `what` with the time it took when dropped, at debug level.
/// `let _step = Step::new("mount rootfs");`
#[derive(Debug)]
pub struct Step {
    what: &'static str,
    since: Option<Instant>,
}

impl Step {
    /// Starts timing `what`; free when debug logging is off.
    pub fn new(what: &'static str) -> Self {
        let on = log::max_level() >= log::LevelFilter::Debug;
        Self { what, since: on.then(Instant::now) }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(since) = self.since {
            log::debug!("{} took {:.3} ms", self.what, since.elapsed().as_secs_f64() * 1e3);
        }
    }
}
