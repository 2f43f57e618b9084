//! Why a container could not be set up from inside; becomes the
//! [`StartError`] that crosses to the parent.

use std::io;
use std::path::{Path, PathBuf};

use rcnt_base::report::{ExitKind, PlainErrno, StartError};

use super::command::CommandError;
use crate::cgroup::CgroupError;
use crate::users::UserError;

/// What went wrong on the way to exec.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    /// A step that concerns no path.
    #[error("cannot {doing}")]
    Step {
        /// What was tried, continuing "cannot".
        doing: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A step on a path, host's or container's as the words say.
    #[error("cannot {doing} {}", path.display())]
    Path {
        /// What was tried, continuing "cannot".
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Something rcnt does not do although the kernel would.
    #[error("{}: {why}", path.display())]
    Refused {
        /// Inside the container.
        path: PathBuf,
        /// The reason.
        why: &'static str,
    },
    /// A mount of the plan cannot be made.
    #[error("error mounting {source_name:?} to rootfs at {:?}: {doing}", destination.display().to_string())]
    Mount {
        /// What should have been mounted.
        source_name: String,
        /// Inside the container.
        destination: PathBuf,
        /// What was being done.
        doing: String,
        /// Why not, in the words scripts look for.
        #[source]
        source: io::Error,
    },
    /// The working directory cannot be entered.
    #[error("chdir to cwd ({:?}) failed", path.display().to_string())]
    Cwd {
        /// As the plan says.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No such user or group.
    #[error(transparent)]
    User(#[from] UserError),
    /// The cgroup cannot be joined.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The command cannot be run.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A hook of the container's own.
    #[error(transparent)]
    Hook(#[from] crate::hooks::HookError),
    /// What the caller's closure said.
    #[error(transparent)]
    Inside(#[from] StartError),
}

impl InitError {
    /// What crosses the pipe; `stage` is where it happened.
    pub(crate) fn into_start_error(self, stage: &str) -> StartError {
        let kind = match &self {
            InitError::Inside(error) => return error.clone(),
            InitError::Command(error) => error.exit_kind(),
            InitError::Cwd { .. } => ExitKind::NotExecutable,
            _ => ExitKind::Runtime,
        };
        StartError::new(stage, kind, &self)
    }
}

/// The kernel's reason in [`PlainErrno`]'s words; other errors as they are.
pub(crate) fn in_plain_words(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::new(error.kind(), PlainErrno(number)),
        None => error,
    }
}

/// Says what was being tried when a call failed.
pub(crate) trait Doing<T> {
    /// "cannot `doing`: …"
    fn doing(self, doing: impl Into<String>) -> Result<T, InitError>;
    /// "cannot `doing` `path`: …"
    fn on(self, doing: &'static str, path: &Path) -> Result<T, InitError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: impl Into<String>) -> Result<T, InitError> {
        self.map_err(|source| InitError::Step { doing: doing.into(), source: source.into() })
    }

    fn on(self, doing: &'static str, path: &Path) -> Result<T, InitError> {
        let path = path.to_owned();
        self.map_err(|source| InitError::Path { doing, path, source: source.into() })
    }
}
