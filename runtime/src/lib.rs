//! From a [`plan::ContainerPlan`] to a running process, and into a running one.
//!
//! - [`plan`]   a container as plain data, decided before anything is touched
//! - [`oci`]    OCI bundles: `config.json` → plan
//! - [`spawn`]  the parent's side: cgroup, clone3, pipes, "started or why not"
//! - `init`     the child's side: one straight list of steps from clone to exec
//! - [`exec`]   one more process in a running container
//! - [`hooks`]  programs run on the way
//! - [`intel_rdt`]  shares of cache and memory bandwidth
//! - [`net_devices`]  interfaces of the host that become the container's
//! - [`criu`]   checkpoint and restore, by the program of that name
//! - [`cgroup`], [`loopback`], [`seccomp`], [`capabilities`], [`users`], [`security`]  one kind of fact or effect each
//!
//! # As a library
//!
//! What `rcnt-oci run` does is a few calls; the engine makes the same with a plan
//! of its own (`examples/run_bundle.rs` is the whole program):
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::os::fd::AsFd;
//! use rcnt_runtime::oci::{self, CgroupDriver};
//! use rcnt_runtime::spawn::{ChildIo, spawn};
//!
//! let bundle = std::path::Path::new("/bundle");
//! let plan = oci::plan("one", bundle, &oci::read(bundle)?, CgroupDriver::Files)?;
//! let io = ChildIo::Pipes {
//!     stdin: None,
//!     stdout: std::io::stdout().as_fd().try_clone_to_owned()?,
//!     stderr: std::io::stderr().as_fd().try_clone_to_owned()?,
//! };
//! let mut init = spawn(&plan, io, &mut || Ok(()))?;
//! init.network_ready()?;
//! init.wait_started()?;
//! # Ok(())
//! # }
//! ```
//!
//! Knows nothing of images, networks or names on disk; the engine's closure
//! configures the network from inside. Everything before exec is synchronous
//! and single-threaded.
#![forbid(unsafe_code)]

pub mod activation;
mod birth;
pub mod capabilities;
pub mod cgroup;
mod channel;
pub mod criu;
pub mod exec;
pub mod hooks;
mod init;
pub mod intel_rdt;
pub mod loopback;
pub mod net_devices;
pub mod oci;
pub mod plan;
pub mod seccomp;
pub mod security;
pub mod shared_mounts;
pub mod spawn;
pub mod users;
