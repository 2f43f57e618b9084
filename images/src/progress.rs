//! How a long job tells what it is doing, without knowing who watches.
//!
//! A job reports *items* (a layer, named by its short id) that start, advance
//! and finish, and free *lines*. Whoever watches decides how that looks:
//! [`Silent`] shows nothing, [`Plain`] prints docker's lines for logs and
//! pipes, [`Terminal`] draws bars. Every implementation is shared by the
//! download threads.

mod terminal;

use std::io::Write;
use std::sync::Mutex;

pub use terminal::Terminal;

/// Watches a job. Items are named by `id`; calls for one item come in order,
/// calls for different items from different threads.
pub trait Progress: Send + Sync {
    /// The item `id` begins (or begins its next stage) `what`, e.g.
    /// "Downloading"; `total` bytes if known.
    fn start(&self, id: &str, what: &str, total: Option<u64>);
    /// The item's current stage has now done `done` bytes in all.
    fn advance(&self, id: &str, done: u64);
    /// The item's last word, e.g. "Pull complete" or "Already exists".
    fn finish(&self, id: &str, message: &str);
    /// A line of its own, e.g. "Digest: sha256:…".
    fn line(&self, text: &str);
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _: &str, _: &str, _: Option<u64>) {}
    fn advance(&self, _: &str, _: u64) {}
    fn finish(&self, _: &str, _: &str) {}
    fn line(&self, _: &str) {}
}

/// Prints what docker prints when its output is no terminal: one line for each
/// end of an item, none for its bytes.
#[derive(Debug)]
pub struct Plain<W: Write + Send>(Mutex<W>);

impl<W: Write + Send> Plain<W> {
    /// Lines go to `out`.
    pub fn new(out: W) -> Self {
        Self(Mutex::new(out))
    }

    fn print(&self, text: &str) {
        // A watcher that panicked or went away must not stop the job.
        let mut out = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = out.write_all(format!("{text}\n").as_bytes());
        let _ = out.flush();
    }
}

impl<W: Write + Send> Progress for Plain<W> {
    fn start(&self, id: &str, what: &str, _: Option<u64>) {
        // docker announces an item once and stays quiet about its later stages.
        if what == "Pulling fs layer" {
            self.print(&format!("{id}: {what}"));
        }
    }
    fn advance(&self, _: &str, _: u64) {}
    fn finish(&self, id: &str, message: &str) {
        self.print(&format!("{id}: {message}"));
    }
    fn line(&self, text: &str) {
        self.print(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_prints_the_ends_of_items_and_the_lines() {
        let mut out = Vec::new();
        let plain = Plain::new(&mut out);
        plain.start("a3ed95caeb02", "Pulling fs layer", None);
        plain.start("a3ed95caeb02", "Downloading", Some(10));
        plain.advance("a3ed95caeb02", 10);
        plain.finish("a3ed95caeb02", "Pull complete");
        plain.line("Digest: sha256:00");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "a3ed95caeb02: Pulling fs layer\na3ed95caeb02: Pull complete\nDigest: sha256:00\n"
        );
    }
}
