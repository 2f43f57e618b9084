//! What every rcnt crate stands on: checked names, whole-file writes and
//! locks, the one-line error report, and the only `unsafe` code of the project.
//!
//! - [`ids`]    names and digests: parsed once, valid ever after
//! - [`roots`]  where an rcnt instance keeps its files
//! - [`files`]  atomic writes, locks, JSON state files
//! - [`tree`]   removing a directory tree that a stranger shaped
//! - [`netlink`] messages to the kernel and its answers, as bytes
//! - [`report`] error chain → one line, hint and exit code; [`report::StartError`] crosses fork
//! - [`trace`]  the log of steps and their times under `--debug`
//! - [`sys`]    system calls that neither std nor rustix wraps
//!
//! base knows nothing of containers, networks or images.

pub mod files;
pub mod ids;
pub mod netlink;
pub mod report;
pub mod roots;
pub mod sys;
pub mod trace;
pub mod tree;
