//! Why a command failed.

use std::io;
use std::path::PathBuf;

use rcnt_base::report::{ExitKind, StartError};
use rcnt_runtime::activation::NotOpen;
use rcnt_runtime::cgroup::{CgroupError, LayoutError};
use rcnt_runtime::criu::CriuError;
use rcnt_runtime::hooks::HookError;
use rcnt_runtime::intel_rdt::IntelRdtError;
use rcnt_runtime::oci;
use rcnt_runtime::spawn::SpawnError;

use crate::state;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Bundle(#[from] oci::OciError),
    #[error(transparent)]
    State(#[from] state::StateError),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error(transparent)]
    Start(StartError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    IntelRdt(#[from] IntelRdtError),
    #[error(transparent)]
    NotOpen(#[from] NotOpen),
    #[error(transparent)]
    Criu(#[from] CriuError),
    #[error("cannot {doing}")]
    Io {
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot {doing} {}", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot connect to socket {}", path.display())]
    Socket {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    Refused(String),
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        Error::Start(error)
    }
}

impl Error {
    /// For `map_err`: what was being tried.
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Error::Io { doing, source }
    }

    /// [`Error::io`] for a bare errno.
    pub(crate) fn errno(doing: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Error::Io { doing, source: errno.into() }
    }

    /// What went wrong inside, introduced as runc does: scripts compare it.
    pub(crate) fn while_starting(command: &'static str) -> impl FnOnce(Self) -> Self {
        move |error| match error {
            Error::Start(mut error) if error.kind == ExitKind::Runtime => {
                error.message = format!(
                    "runc {command} failed: unable to start container process: error during \
                     container init: {}",
                    error.message
                );
                Error::Start(error)
            }
            other => other,
        }
    }

    /// For what could not be written as JSON.
    pub(crate) fn json(error: serde_json::Error) -> Self {
        Error::Io { doing: "write JSON", source: error.into() }
    }
}
