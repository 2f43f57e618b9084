//! The command and the rights it runs with.

use std::path::PathBuf;

pub use rcnt_base::sys::seccomp::{FilterFlags, SockFilter};
use serde::{Deserialize, Serialize};

use super::Attributes;

/// The command and the rights it runs with; also the input of [`crate::exec::exec`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessPlan {
    /// Command and arguments; at least one.
    pub args: Vec<String>,
    /// `NAME=value`. HOME is added from the passwd file when absent.
    pub env: Vec<String>,
    /// Working directory inside the container, created when missing.
    pub cwd: PathBuf,
    /// Whom it runs as.
    pub user: UserPlan,
    /// Exactly these sets, inheritable included.
    pub capabilities: CapabilitySets,
    /// prctl(PR_SET_NO_NEW_PRIVS)
    pub no_new_privileges: bool,
    /// setrlimit(2). Each is an explicit request: one that needs more rights than the caller has fails.
    pub rlimits: Vec<Rlimit>,
    /// The compiled system call filter, loaded last.
    pub seccomp: Option<SeccompProgram>,
    /// AppArmor profile from exec on, "unconfined" included; `None` leaves the caller's.
    #[serde(default)]
    pub apparmor_profile: Option<String>,
    /// `-t`: a pty of the container's own devpts becomes stdio and controlling
    /// terminal; must agree with the [`crate::spawn::ChildIo`] given.
    pub terminal: bool,
    /// `/proc/self/oom_score_adj`
    pub oom_score_adj: Option<i32>,
    /// umask(2), 0o022 when absent.
    pub umask: Option<u32>,
    /// `--group-add`: names or numbers, looked up inside the root file system.
    pub additional_groups: Vec<String>,
    /// When, where and as what it runs.
    #[serde(default)]
    pub attributes: Attributes,
}

impl ProcessPlan {
    /// Who answers for the filter, if anybody.
    pub(crate) fn listener(&self) -> Option<&SeccompListener> {
        self.seccomp.as_ref().and_then(|program| program.listener.as_ref())
    }
}

/// Whom the command runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserPlan {
    /// Numbers, used as they are (OCI bundles).
    Ids {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// Supplementary groups, exactly these plus `additional_groups`.
        groups: Vec<u32>,
    },
    /// docker's `user[:group]` in names or numbers, resolved inside the root
    /// file system. Empty = root.
    Spec(String),
}

impl Default for UserPlan {
    fn default() -> Self {
        UserPlan::Spec(String::new())
    }
}

/// Capability sets as bits, `1 << CAP_x` (capabilities(7)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySets {
    /// What may ever be gained.
    pub bounding: u64,
    /// What is in force after exec.
    pub effective: u64,
    /// What may be put in force.
    pub permitted: u64,
    /// Empty by default: CVE-2022-24769.
    pub inheritable: u64,
    /// Kept across exec by non-root users; empty by default.
    pub ambient: u64,
}

/// One resource limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// docker's name: "nofile", "nproc", "core"…
    pub name: String,
    /// Soft limit; `u64::MAX` = unlimited.
    pub soft: u64,
    /// Hard limit; `u64::MAX` = unlimited.
    pub hard: u64,
}

/// A compiled system call filter, made by [`crate::seccomp`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompProgram {
    /// Classic BPF.
    pub filter: Vec<SockFilter>,
    /// How it is loaded.
    pub flags: FilterFlags,
    /// Who decides what the filter does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<SeccompListener>,
}

/// Who gets the descriptor of `SECCOMP_RET_USER_NOTIF`, and what it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompListener {
    /// Its Unix socket on the host; `@` first means an abstract name.
    pub path: PathBuf,
    /// Passed on as it is.
    pub metadata: String,
    /// The container's state (runtime-spec), but for status and pid.
    pub state: serde_json::Map<String, serde_json::Value>,
}
