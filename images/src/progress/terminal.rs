//! Bars on a terminal. Finished items become lines that scroll away; running
//! ones are redrawn below them, at most ten times a second, never wider than
//! the terminal and never more of them than it has rows.

use std::fmt::Write as _;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Progress;

/// Redrawing more often is work that no eye sees.
const REDRAW: Duration = Duration::from_millis(100);
/// Where the size is unknown.
const SIZE: (usize, usize) = (80, 24);
const BAR: usize = 50;

/// Shows items as bars on the terminal `W`.
#[derive(Debug)]
pub struct Terminal<W: Write + AsFd + Send>(Mutex<Screen<W>>);

#[derive(Debug)]
struct Screen<W> {
    out: W,
    items: Vec<Item>,
    /// Lines below the last scrolled-away one.
    drawn: usize,
    last: Option<Instant>,
}

#[derive(Debug)]
struct Item {
    id: String,
    what: String,
    done: u64,
    total: Option<u64>,
}

impl<W: Write + AsFd + Send> Terminal<W> {
    /// Draws on `out`, which should be a terminal.
    pub fn new(out: W) -> Self {
        Self(Mutex::new(Screen { out, items: Vec::new(), drawn: 0, last: None }))
    }

    fn screen(&self) -> MutexGuard<'_, Screen<W>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write + AsFd + Send> Progress for Terminal<W> {
    fn start(&self, id: &str, what: &str, total: Option<u64>) {
        let mut screen = self.screen();
        let item = Item { id: id.to_owned(), what: what.to_owned(), done: 0, total };
        match screen.items.iter_mut().find(|i| i.id == id) {
            Some(known) => *known = item,
            None => screen.items.push(item),
        }
        screen.draw("");
    }

    fn advance(&self, id: &str, done: u64) {
        let mut screen = self.screen();
        if let Some(item) = screen.items.iter_mut().find(|i| i.id == id) {
            item.done = done;
        }
        if screen.last.is_none_or(|last| last.elapsed() >= REDRAW) {
            screen.draw("");
        }
    }

    fn finish(&self, id: &str, message: &str) {
        let mut screen = self.screen();
        screen.items.retain(|i| i.id != id);
        screen.draw(&format!("{id}: {message}\n"));
    }

    fn line(&self, text: &str) {
        self.screen().draw(&format!("{text}\n"));
    }
}

impl<W: Write + AsFd> Screen<W> {
    /// Replaces the bars by `scrolled` and the bars as they are now, in one write.
    fn draw(&mut self, scrolled: &str) {
        let (columns, rows) = rustix::termios::tcgetwinsize(&self.out)
            .ok()
            .map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)))
            .filter(|(columns, rows)| *columns > 0 && *rows > 1)
            .unwrap_or(SIZE);
        let mut text = match self.drawn {
            0 => String::new(),
            // Up to the first bar, and erase from there down.
            drawn => format!("\x1b[{drawn}A\r\x1b[J"),
        };
        text.push_str(scrolled);
        self.drawn = 0;
        for item in self.items.iter().take(rows - 1) {
            // One column less: a line that fills the last one wraps on some terminals.
            text.extend(item.line().chars().take(columns - 1));
            text.push('\n');
            self.drawn += 1;
        }
        self.last = Some(Instant::now());
        // A terminal that is gone must not stop the job.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

impl Item {
    fn line(&self) -> String {
        let mut line = format!("{}: {}", self.id, self.what);
        match self.total {
            Some(total) if total > 0 => {
                let share = (self.done.min(total) as f64 / total as f64 * BAR as f64) as usize;
                let head = if share < BAR { ">" } else { "" };
                let _ = write!(
                    line,
                    " [{:<BAR$}]  {}/{}",
                    "=".repeat(share) + head,
                    size(self.done),
                    size(total)
                );
            }
            _ if self.done > 0 => {
                let _ = write!(line, " {}", size(self.done));
            }
            _ => {}
        }
        line
    }
}

/// Bytes as docker prints them: decimal units, about four digits.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes as f64, UNITS[0]);
    for next in &UNITS[1..] {
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    let digits = match value {
        v if v < 9.995 && unit != "B" => 2,
        v if v < 99.95 && unit != "B" => 1,
        _ => 0,
    };
    format!("{value:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    fn drawn(job: impl Fn(&Terminal<std::fs::File>)) -> String {
        let mut file = tempfile::tempfile().unwrap();
        let terminal = Terminal::new(file.try_clone().unwrap());
        job(&terminal);
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn finished_items_scroll_away_above_the_running_ones() {
        let text = drawn(|t| {
            t.start("aaa", "Downloading", Some(2_000_000));
            t.start("bbb", "Waiting", None);
            t.finish("aaa", "Pull complete");
        });
        let last = text.rsplit("\x1b[J").next().unwrap();
        assert_eq!(last, "aaa: Pull complete\nbbb: Waiting\n");
        assert!(text.contains("\x1b[2A"), "both bars were erased: {text:?}");
    }

    #[test]
    fn no_line_is_wider_or_higher_than_the_terminal() {
        let text = drawn(|t| {
            for n in 0..100 {
                t.start(&format!("{n:0200}"), "Waiting", None);
            }
        });
        let last = text.rsplit("\x1b[J").next().unwrap();
        assert_eq!(last.lines().count(), SIZE.1 - 1);
        assert!(last.lines().all(|l| l.chars().count() < SIZE.0));
    }

    #[test]
    fn a_bar_shows_its_share_even_of_wrong_totals() {
        let item = |done, total| {
            Item { id: "x".into(), what: "D".into(), done, total: Some(total) }.line()
        };
        assert!(item(0, 100).contains("[>  "));
        assert!(item(50, 100).contains(&format!("[{}>", "=".repeat(25))));
        assert!(item(900, 100).contains(&format!("[{}]", "=".repeat(50))));
        assert_eq!(
            (size(999), size(98_800_000), size(1_000_000)),
            ("999B".into(), "98.8MB".into(), "1.00MB".into())
        );
    }
}
