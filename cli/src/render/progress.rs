//! What a pull or an unpacking shows: bars on a terminal, docker's plain lines
//! elsewhere, nothing with `-q`.

use std::io::{self, IsTerminal};

use rcnt_engine::images::progress::{Plain, Progress, Silent, Terminal};

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// `pull` and `load`: it is what they are asked for.
    Stdout,
    /// `run` and `create`: stdout is the container's.
    Stderr,
}

/// The progress for `place`.
pub(crate) fn watch(place: Place, quiet: bool) -> Box<dyn Progress> {
    if quiet {
        return Box::new(Silent);
    }
    match place {
        Place::Stdout if io::stdout().is_terminal() => Box::new(Terminal::new(io::stdout())),
        Place::Stderr if io::stderr().is_terminal() => Box::new(Terminal::new(io::stderr())),
        Place::Stdout => Box::new(Plain::new(io::stdout())),
        Place::Stderr => Box::new(Plain::new(io::stderr())),
    }
}
