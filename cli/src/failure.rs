//! How a command ends badly: one line, perhaps a hint, an exit code. Printed
//! once, by `main`; commands with several targets print one per target.

use std::io::{self, Write};

use rcnt_base::report::{ExitKind, chain};
use rcnt_engine::EngineError;

/// What is left to say and the code to exit with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// After `rcnt: `; nothing is printed when it is `None`: all was said.
    line: Option<String>,
    /// After `hint: `.
    hint: Option<String>,
    /// The exit code.
    code: u8,
}

impl Failure {
    /// Exit code 1.
    pub(crate) fn general(line: impl Into<String>) -> Self {
        Self::with(line, ExitKind::General)
    }

    /// Exit code 125: docker's for what fails before the container's command.
    pub(crate) fn runtime(line: impl Into<String>) -> Self {
        Self::with(line, ExitKind::Runtime)
    }

    fn with(line: impl Into<String>, kind: ExitKind) -> Self {
        Self { line: Some(line.into()), hint: None, code: kind.code() }
    }

    /// Nothing more to say.
    pub(crate) fn quiet(code: u8) -> Self {
        Self { line: None, hint: None, code }
    }

    /// With a hint on the second line.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With another line.
    pub(crate) fn worded(mut self, line: String) -> Self {
        self.line = Some(line);
        self
    }

    /// With another exit code.
    pub(crate) fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The code to exit with.
    pub(crate) fn exit_code(&self) -> u8 {
        self.code
    }

    /// The line, for callers that word it themselves.
    pub(crate) fn line(&self) -> Option<&str> {
        self.line.as_deref()
    }

    /// What is printed.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if let Some(line) = &self.line {
            text.push_str(&format!("rcnt: {line}\n"));
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("hint: {hint}\n"));
        }
        text
    }

    /// Prints it to stderr; nothing sensible can be done when that is gone.
    pub(crate) fn print(&self) {
        let _ = io::stderr().write_all(self.text().as_bytes());
    }
}

impl Failure {
    /// An error of the engine that kept a command from running in a container:
    /// docker's exit codes 125–127.
    pub(crate) fn starting(error: EngineError) -> Self {
        let code = error.exit_kind().code();
        Self::from(error).code(code)
    }

    /// Any other error, its chain on one line.
    pub(crate) fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::general(without_numbers(chain(error)))
    }
}

/// Exit code 1, as of every command that starts nothing.
impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let failure = Self::of(&error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Writing to stdout failed. A reader that went away (`rcnt ps | head -1`) has
/// seen enough: that ends the command quietly.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::quiet(0),
            _ => Self::general(format!("cannot write the output: {}", reason(&error))),
        }
    }
}

/// The text without Rust's "(os error 2)": the words before it say the same.
fn without_numbers(mut text: String) -> String {
    while let Some(start) = text.find(" (os error ") {
        let Some(length) = text.get(start..).and_then(|rest| rest.find(')')) else { break };
        text.replace_range(start..=start + length, "");
    }
    text
}

/// The kernel's words without Rust's "(os error 2)", lower-case as docker's.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = without_numbers(chain(error));
    if error.raw_os_error().is_some() { text.to_lowercase() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_and_perhaps_a_hint() {
        let failure = Failure::runtime("no such image: x").hint("pull it");
        assert_eq!(failure.text(), "rcnt: no such image: x\nhint: pull it\n");
        assert_eq!(failure.exit_code(), 125);
        assert_eq!(Failure::quiet(3).text(), "");
    }

    #[test]
    fn error_numbers_are_left_out_wherever_they_stand() {
        let cause = io::Error::from_raw_os_error(111);
        let outer = io::Error::other(format!("cannot reach x: {cause}; giving up"));
        let text = Failure::of(&outer).text();
        assert_eq!(text, "rcnt: cannot reach x: Connection refused; giving up\n");
    }

    #[test]
    fn a_reader_gone_is_no_error() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.text().as_str(), failure.exit_code()), ("", 0));
        let full = Failure::from(io::Error::from_raw_os_error(28));
        assert_eq!(full.text(), "rcnt: cannot write the output: no space left on device\n");
    }
}
