//! From a [`plan::ContainerPlan`] to a running process, and into a running one.
//!
//! - [`plan`]   a container as plain data, decided before anything is touched
//! - [`oci`]    OCI bundles: `config.json` → plan
//! - [`spawn`]  the parent's side: cgroup, clone3, pipes, "started or why not"
//! - `init`     the child's side: one straight list of steps from clone to exec
//! - [`exec`]   one more process in a running container
//! - [`hooks`]  programs run on the way
//! - [`criu`]   checkpoint and restore, by the program of that name
//! - [`cgroup`], [`loopback`], [`seccomp`], [`capabilities`], [`users`], [`security`]  one kind of fact or effect each
//!
//! Knows nothing of images, networks or names on disk; the engine's closure
//! configures the network from inside. Everything before exec is synchronous
//! and single-threaded.
#![forbid(unsafe_code)]

mod birth;
pub mod capabilities;
pub mod cgroup;
mod channel;
pub mod criu;
pub mod exec;
pub mod hooks;
mod init;
pub mod loopback;
pub mod oci;
pub mod plan;
pub mod seccomp;
pub mod security;
pub mod shared_mounts;
pub mod spawn;
pub mod users;
