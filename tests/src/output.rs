//! What a command printed and how it ended, with assertions that show all of
//! it when they do not hold.

use std::fmt;
use std::time::Duration;

/// The end of a command.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command as a shell user would type it.
    pub command: String,
    /// Exit code; 128 + n after signal n, as a shell says it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Wall time.
    pub took: Duration,
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}", self.command)?;
        writeln!(f, "exit code {} after {:.0?}", self.code, self.took)?;
        writeln!(f, "--- stdout ---\n{}", shorten(&self.stdout))?;
        write!(f, "--- stderr ---\n{}--------------", shorten(&self.stderr))
    }
}

/// Enough to see what happened, never a screenful of strace.
fn shorten(text: &str) -> String {
    const MOST: usize = 4000;
    if text.len() <= MOST {
        return text.to_owned();
    }
    let tail: String = text.chars().skip(text.chars().count().saturating_sub(MOST)).collect();
    format!("[… {} bytes cut]\n{tail}", text.len() - tail.len())
}

impl Output {
    /// It exited with 0.
    #[track_caller]
    pub fn success(self) -> Self {
        self.exits(0)
    }

    /// It exited with `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(self.code == code, "expected exit code {code}\n{self}");
        self
    }

    /// However it ended, it ended.
    pub fn exits_any(self) -> Self {
        self
    }

    /// It failed as rcnt should: that exit code, one line on standard error that
    /// starts with `rcnt:` (a hint line may follow), with all of `words` in it.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) -> Self {
        let this = self.exits(code);
        let lines: Vec<&str> = this.stderr.lines().collect();
        let one = lines.len() == 1 || (lines.len() == 2 && lines[1].starts_with("hint: "));
        assert!(
            one && lines[0].starts_with("rcnt: "),
            "expected one line \"rcnt: …\" on stderr\n{this}"
        );
        for word in words {
            let found = this.stderr.to_lowercase().contains(&word.to_lowercase());
            assert!(found, "expected {word:?} in the error\n{this}");
        }
        this
    }

    /// Standard output is `text`, but for the last newline.
    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        let (got, wanted) = (self.stdout.trim_end_matches('\n'), text.trim_end_matches('\n'));
        assert!(got == wanted, "expected stdout {wanted:?}\n{self}");
        self
    }

    /// Standard output contains `text`.
    #[track_caller]
    pub fn has(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "expected {text:?} in stdout\n{self}");
        self
    }

    /// Standard output does not contain `text`.
    #[track_caller]
    pub fn has_not(self, text: &str) -> Self {
        assert!(!self.stdout.contains(text), "unexpected {text:?} in stdout\n{self}");
        self
    }

    /// Standard error contains `text`, in any case of letters.
    #[track_caller]
    pub fn warns(self, text: &str) -> Self {
        let found = self.stderr.to_lowercase().contains(&text.to_lowercase());
        assert!(found, "expected {text:?} on stderr\n{self}");
        self
    }

    /// Standard error is empty.
    #[track_caller]
    pub fn quiet(self) -> Self {
        assert!(self.stderr.is_empty(), "expected nothing on stderr\n{self}");
        self
    }

    /// It took less than `limit`.
    #[track_caller]
    pub fn within(self, limit: Duration) -> Self {
        assert!(self.took < limit, "expected to take less than {limit:?}\n{self}");
        self
    }

    /// Standard output without white space at its ends.
    pub fn text(&self) -> String {
        self.stdout.trim().to_owned()
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("stdout is not JSON: {error}\n{self}"),
        }
    }
}
