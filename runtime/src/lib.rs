//! (being written)
#![forbid(unsafe_code)]
pub mod capabilities;
pub mod cgroup;
pub mod seccomp;
pub mod security;
pub mod users;
pub mod plan;
