//! Programs that run at fixed moments of a container's life (runtime-spec
//! config.md, "POSIX-platform Hooks"). Those on the host's side are the caller's
//! to run; the plan holds those that run inside, and where the container waits
//! for the others.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Absolute.
    pub path: PathBuf,
    /// argv, the name included; just `path` when empty.
    #[serde(default)]
    pub args: Vec<String>,
    /// The whole environment; `None` = none, but for `startContainer`'s, which
    /// then have the command's.
    #[serde(default)]
    pub env: Option<Vec<String>>,
    /// Seconds until it is killed; `None` = as long as it likes.
    #[serde(default)]
    pub timeout: Option<u64>,
}

/// The hooks that concern the container's first process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HooksPlan {
    /// With everything mounted, before the root is changed, the first process
    /// waits for [`crate::spawn::Init::hooks_done`].
    pub outside: bool,
    /// Run then, in the container's namespaces but with the host's root.
    pub create_container: Vec<Hook>,
    /// Run inside, right before the command.
    pub start_container: Vec<Hook>,
    /// What they get on stdin, less `status` and `pid` (runtime-spec, "State").
    pub state: Map<String, Value>,
}

impl HooksPlan {
    /// Whether there is nothing to run or to wait for.
    pub fn is_empty(&self) -> bool {
        !self.outside && self.create_container.is_empty() && self.start_container.is_empty()
    }
}
