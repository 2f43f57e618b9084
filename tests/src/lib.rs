//! The end-to-end harness: the real `rcnt` binary on a real kernel, in a
//! machine made for one test.
//!
//! - [`World`]    a "host" with its own network, mount and pid namespaces, its
//!   own data and exec root, an uplink to a LAN peer; dropping it checks that
//!   nothing was left behind
//! - [`Space`]    the namespaces themselves; runs closures and commands inside
//! - [`Job`], [`Output`]  one command, and what came out of it, with assertions
//! - [`Terminal`] a pseudo-terminal to type into and read from
//! - [`archive`]  layers and image files in docker's and OCI's formats
//! - [`fixtures`] the images tests run; [`Registry`] a real registry to pull them from
//! - [`Client`] podman, dockerd or containerd on such a host, running our `rcnt-oci`
//! - [`leaks`]    what must be gone at the end
//!
//! Nothing here changes the machine's own network, mounts, sysctls or cgroups
//! (one cgroup per world is made by rcnt itself and removed again). Needs root.
//! `RCNT_BINARY` names the binary under test (`RCNT_OCI_BINARY` the runtime); `RCNT_TEST_KEEP=1` keeps a failed
//! test's world alive and prints how to look around in it.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    reason = "a test harness reports by panicking, and observes with programs rcnt itself never runs"
)]

pub mod archive;
pub mod fixtures;
pub mod http;
pub mod leaks;

mod client;
mod job;
mod lan;
mod output;
mod registry;
mod space;
mod terminal;
mod world;

pub use client::{Client, Kind, RUNTIME, Shared};
pub use job::{Args, Job, Running};
pub use lan::Lan;
pub use output::Output;
pub use registry::Registry;
pub use space::Space;
pub use terminal::Terminal;
pub use world::{World, eventually};
