//! What a pull or an unpacking shows: bars on a terminal, docker's plain lines
//! elsewhere, nothing with `-q`.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rcnt_engine::images::progress::{Plain, Progress, Silent, Terminal};

/// `pull` and `load`: progress is what they are asked for, so it is on stdout.
pub(crate) fn on_stdout(quiet: bool) -> Box<dyn Progress> {
    match io::stdout().is_terminal() {
        _ if quiet => Box::new(Silent),
        true => Box::new(Terminal::new(io::stdout())),
        false => Box::new(Plain::new(io::stdout())),
    }
}

/// `run` and `create`: stdout is the container's, so it is on stderr.
pub(crate) fn on_stderr(quiet: bool) -> Held {
    Held::new(match io::stderr().is_terminal() {
        _ if quiet => Box::new(Silent),
        true => return Held::open(Box::new(Terminal::new(io::stderr()))),
        false => Box::new(Plain::new(io::stderr())),
    })
}

/// Keeps announcements ("Unable to find image…") back until something really
/// comes: in a log, a pull that fails is then one line, its error.
pub(crate) struct Held {
    shown: Box<dyn Progress>,
    /// `None` once nothing is held back any more.
    lines: Mutex<Option<Vec<String>>>,
}

impl Held {
    fn new(shown: Box<dyn Progress>) -> Self {
        Self { shown, lines: Mutex::new(Some(Vec::new())) }
    }

    fn open(shown: Box<dyn Progress>) -> Self {
        Self { shown, lines: Mutex::new(None) }
    }

    fn lines(&self) -> MutexGuard<'_, Option<Vec<String>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what was held back, and everything from now on.
    pub(crate) fn release(&self) {
        for line in self.lines().take().into_iter().flatten() {
            self.shown.line(&line);
        }
    }
}

impl Progress for Held {
    fn start(&self, id: &str, what: &str, total: Option<u64>) {
        self.release();
        self.shown.start(id, what, total);
    }

    fn advance(&self, id: &str, done: u64) {
        self.shown.advance(id, done);
    }

    fn finish(&self, id: &str, message: &str) {
        self.release();
        self.shown.finish(id, message);
    }

    fn line(&self, text: &str) {
        match &mut *self.lines() {
            Some(held) => held.push(text.to_owned()),
            None => self.shown.line(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct Shown(Arc<Mutex<Vec<String>>>);

    impl Progress for Shown {
        fn start(&self, id: &str, what: &str, _: Option<u64>) {
            self.0.lock().unwrap().push(format!("{id} {what}"));
        }
        fn advance(&self, _: &str, _: u64) {}
        fn finish(&self, _: &str, _: &str) {}
        fn line(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }

    #[test]
    fn announcements_wait_for_what_they_announce() {
        let shown = Arc::new(Mutex::new(Vec::new()));
        let held = Held::new(Box::new(Shown(Arc::clone(&shown))));
        held.line("Unable to find image");
        assert!(shown.lock().unwrap().is_empty());
        held.start("layer", "Downloading", None);
        held.line("Status: new");
        assert_eq!(
            *shown.lock().unwrap(),
            ["Unable to find image", "layer Downloading", "Status: new"]
        );
    }
}
