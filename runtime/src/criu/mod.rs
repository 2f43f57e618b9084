//! Checkpoint and restore through CRIU: the program `criu`, asked by its RPC
//! over a socket pair (`criu swrk`). It is the one program that this library
//! executes, and only when one of the two is asked for.
//!
//! - `wire`      protocol buffers' bytes (pure)
//! - `message`   CRIU's requests and answers as values (pure)
//! - `plan`      a container's plan and facts → [`Options`] (pure)
//! - `facts`     what only the machine or the container can tell
//! - `launch`    the program's process
//! - `session`   the talk with it: asked, answered, ended
//! - `stage`     the root file system as CRIU wants to find it for a restore
//! - `log`       why it failed
//!
//! ```text
//! checkpoint:  facts ─ plan::dump ─ Session::start ─ request ⇄ notifications ─ images
//! restore:     cgroup ─ Stage ─ Session::start, in the cgroup ─ plan::restore ─ request ⇄ notifications ─ processes
//! ```
//!
//! What CRIU sees of our containers is what it sees of anybody's: detached
//! mounts are ordinary ones once they are attached. Binds, masked files and v1
//! cgroup views come from outside, so images hold a name for each only
//! ([`plan`]); a restore says what stands behind the name then.

mod facts;
mod launch;
mod log;
mod message;
pub mod plan;
mod session;
mod stage;
mod wire;

use std::io;
use std::path::{Path, PathBuf};

pub use facts::{DumpFacts, cgroup_roots, stream_names};
pub use launch::{Launch, Place, Streams};
pub use message::{CgroupsMode, Features, Kind, Options};
pub use session::{Event, Session};
pub use stage::Stage;

/// Why a checkpoint or a restore failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CriuError {
    /// The program is not there.
    #[error("cannot run criu: it is not in PATH; checkpoint and restore need it installed")]
    Missing,
    /// It could not be started or talked to.
    #[error("cannot {doing} criu")]
    Run {
        /// "start", "send a request to"…
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is too old.
    #[error("{what} needs at least CRIU {needed}, this is {found}")]
    Old {
        /// The option or the command.
        what: &'static str,
        /// 3.16.0
        needed: Version,
        /// What answered.
        found: Version,
    },
    /// It or the kernel cannot do something that was asked for.
    #[error("CRIU is missing features: {what} (see `criu check --feature {check}`)")]
    Unable {
        /// Its name in CRIU's protocol.
        what: &'static str,
        /// Its name on CRIU's command line.
        check: &'static str,
    },
    /// It said no.
    #[error("criu failed: type {kind} errno {errno}{}; see {}", colon(reason.as_deref()), log.display())]
    Failed {
        /// What it was about.
        kind: &'static str,
        /// 0 when it does not say.
        errno: i32,
        /// Its last words on the matter.
        reason: Option<String>,
        /// Where there are more.
        log: PathBuf,
    },
    /// It ended without an answer.
    #[error("criu ended without an answer: {status}{}; see {}", colon(reason.as_deref()), log.display())]
    Ended {
        /// How.
        status: std::process::ExitStatus,
        /// Its last words.
        reason: Option<String>,
        /// Where there are more.
        log: PathBuf,
    },
    /// Something around it failed.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// "open", "mount"…
        doing: &'static str,
        /// The object.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl CriuError {
    fn io<E: Into<io::Error>>(doing: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source: source.into() }
    }

    fn run<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Run { doing, source: source.into() }
    }
}

fn colon(reason: Option<&str>) -> String {
    reason.map(|reason| format!(": {reason}")).unwrap_or_default()
}

/// 31701 for 3.17.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub i32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0 / 10_000, self.0 / 100 % 100, self.0 % 100)
    }
}
