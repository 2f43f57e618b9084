//! System call filters: docker's JSON profiles, our default one, and their
//! compilation to the kernel's classic BPF.
//!
//! ```text
//! profile file ── Profile::resolve ─┐
//!                                   ├─ RuleSet ── compile ── SeccompProgram ── install
//! default table ── default::rules ──┘  (what it means)        (what the kernel runs)
//! ```
//!
//! All but [`install`] is pure; a program can be kept in a plan, printed and compared.

mod arch;
mod calls;
mod compile;
mod default;
pub(crate) mod listener;
mod profile;
mod rules;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;

use rcnt_base::sys::seccomp::{FilterFlags, set_filter};

pub use arch::Arch;
pub use profile::{ActionName, Profile};
pub use rules::{Action, Comparison, Operator, Rule, RuleSet};

use crate::plan::SeccompProgram;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// Not a profile.
    #[error("decoding seccomp profile failed")]
    Json(#[source] serde_json::Error),
    /// Two spellings of one thing.
    #[error("both '{0}' and '{1}' are specified in the seccomp profile, use one of them")]
    Both(&'static str, &'static str),
    /// What happens to calls without a rule must be said.
    #[error("the seccomp profile has no defaultAction")]
    NoDefault,
    /// The kernel cuts it off silently; we say so.
    #[error("errnoRet {0} in the seccomp profile is above 4095")]
    Errno(u32),
    /// Calls have six arguments.
    #[error("argument index {0} in the seccomp profile is above 5")]
    Argument(u32),
    /// Not "major.minor".
    #[error("invalid kernel version \"{0}\" in the seccomp profile")]
    Kernel(String),
    /// The kernel's limit.
    #[error("the seccomp profile compiles to {0} instructions, the kernel takes 4096")]
    TooLong(usize),
    /// Built for something else.
    #[error("no system call table for this architecture: use --security-opt seccomp=unconfined")]
    Architecture,
}

/// What decides which conditional rules of a profile apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// The container's bounding set, `1 << CAP_x`.
    pub capabilities: u64,
    /// Major and minor version of the kernel.
    pub kernel: (u32, u32),
    /// The native architecture.
    pub arch: Arch,
}

impl Conditions {
    /// For a container with these capabilities on this machine (uname(2)).
    ///
    /// # Errors
    /// [`SeccompError::Architecture`], or a kernel that does not tell its version.
    pub fn here(capabilities: u64) -> Result<Self, SeccompError> {
        let arch = Arch::NATIVE.ok_or(SeccompError::Architecture)?;
        let uname = rustix::system::uname();
        let kernel = profile::parse_kernel(&uname.release().to_string_lossy())?;
        Ok(Self { capabilities, kernel, arch })
    }
}

/// The default filter for a container with these capabilities on this kernel.
///
/// # Errors
/// [`SeccompError::TooLong`] only, which a test excludes for every capability set.
pub fn default_program(conditions: Conditions) -> Result<SeccompProgram, SeccompError> {
    // What runc asks for when a profile names no flags: filters must not slow
    // down every memory access of the container (Linux < 5.16).
    let flags = FilterFlags { spec_allow: true, ..FilterFlags::default() };
    let filter = compile::compile(&default::rules(&conditions))?;
    Ok(SeccompProgram { filter, flags, listener: None })
}

/// Compiles a docker profile file's text (`--security-opt seccomp=FILE`). `None`
/// is docker's reading of a profile without default action and rules: no filter.
///
/// # Errors
/// [`SeccompError`]
pub fn compile_json(
    text: &[u8],
    conditions: Conditions,
) -> Result<Option<SeccompProgram>, SeccompError> {
    let profile: Profile = serde_json::from_slice(text).map_err(SeccompError::Json)?;
    if !profile.filters() {
        return Ok(None);
    }
    compile_profile(&profile, conditions).map(Some)
}

/// Compiles a profile.
///
/// # Errors
/// [`SeccompError`]
pub fn compile_profile(
    profile: &Profile,
    conditions: Conditions,
) -> Result<SeccompProgram, SeccompError> {
    let filter = compile::compile(&profile.resolve(&conditions)?)?;
    Ok(SeccompProgram { filter, flags: profile.filter_flags(), listener: None })
}

/// Loads the filter into the calling thread, for good. Needs no_new_privs or
/// CAP_SYS_ADMIN. `Some` is the listener's descriptor, if the flags ask for one.
///
/// # Errors
/// The kernel's reason.
pub fn install(program: &SeccompProgram) -> io::Result<Option<OwnedFd>> {
    set_filter(&program.filter, program.flags)
}
