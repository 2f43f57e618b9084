//! From an error chain to what the user reads: one line, perhaps a hint, and
//! docker's exit code. Errors are returned, never also logged; this is printed
//! once, by the binary.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// docker's exit codes for `run` and `exec` (docker-run(1), "Exit status").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitKind {
    /// 1: any other command failed.
    General,
    /// 125: rcnt itself failed before the container's command ran.
    Runtime,
    /// 126: the command was found but cannot be invoked.
    NotExecutable,
    /// 127: the command cannot be found.
    NotFound,
}

impl ExitKind {
    /// The process exit code.
    pub fn code(self) -> u8 {
        match self {
            ExitKind::General => 1,
            ExitKind::Runtime => 125,
            ExitKind::NotExecutable => 126,
            ExitKind::NotFound => 127,
        }
    }
}

/// An error that happened in a forked child before exec, sent to the parent
/// over the error pipe as JSON. Success is the pipe closing on exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartError {
    /// The step that failed, for `--debug`: "mount", "network", "exec"…
    pub stage: String,
    /// The whole chain, already joined: "what was tried: cause".
    pub message: String,
    /// What the exit code says.
    pub kind: ExitKind,
    /// The kernel's reason as a number, where it was one.
    #[serde(default)]
    pub errno: Option<i32>,
}

impl StartError {
    /// Flattens `error` and its sources into something that can cross a pipe.
    pub fn new(stage: &str, kind: ExitKind, error: &(dyn Error + 'static)) -> Self {
        Self { stage: stage.to_owned(), message: chain(error), kind, errno: errno(error) }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for StartError {}

/// The first number of the kernel's in an error and its sources.
fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(link) = next {
        if let Some(error) = link.downcast_ref::<std::io::Error>() {
            // One that wraps another error tells that one's sources only.
            match error.get_ref() {
                Some(inner) => return self::errno(inner),
                None => return error.raw_os_error(),
            }
        }
        if let Some(errno) = link.downcast_ref::<rustix::io::Errno>() {
            return Some(errno.raw_os_error());
        }
        if let Some(PlainErrno(number)) = link.downcast_ref::<PlainErrno>() {
            return Some(*number);
        }
        next = link.source();
    }
    None
}

/// A kernel's reason as other runtimes put it: "operation not permitted", without
/// Rust's capital and number, which scripts do not expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainErrno(pub i32);

impl fmt::Display for PlainErrno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        let words = text.split(" (os error").next().unwrap_or(&text);
        let mut letters = words.chars();
        letters.next().map_or(Ok(()), |first| write!(f, "{}", first.to_lowercase()))?;
        f.write_str(letters.as_str())
    }
}

impl Error for PlainErrno {}

/// "what: cause: deeper cause", each link's own words once. A link whose text
/// its parent already ends with is not repeated. Control characters (names and
/// kernel texts may carry them) become spaces: the report is one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let link = cause.to_string();
        if !text.ends_with(&link) {
            text.push_str(": ");
            text.push_str(&link);
        }
        next = cause.source();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot publish 8080/tcp")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_chain_is_one_line_with_each_link_once() {
        let error = Outer(std::io::Error::other("port is\ntaken"));
        assert_eq!(chain(&error), "cannot publish 8080/tcp: port is taken");
    }

    #[test]
    fn plain_words_keep_their_number() {
        let number = rustix::io::Errno::PERM.raw_os_error();
        let error = Outer(std::io::Error::other(PlainErrno(number)));
        let sent = StartError::new("mount", ExitKind::Runtime, &error);
        assert_eq!(sent.message, "cannot publish 8080/tcp: operation not permitted");
        assert_eq!(sent.errno, Some(number));
    }

    #[test]
    fn a_start_error_survives_the_pipe() {
        let error = Outer(rustix::io::Errno::NOSYS.into());
        let sent = StartError::new("exec", ExitKind::NotFound, &error);
        assert_eq!(sent.errno, Some(rustix::io::Errno::NOSYS.raw_os_error()));
        let json = serde_json::to_vec(&sent).unwrap();
        let got: StartError = serde_json::from_slice(&json).unwrap();
        assert_eq!((got.kind.code(), got), (127, sent));
    }
}
