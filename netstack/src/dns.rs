//! The resolver of a container on user-defined networks, at 127.0.0.11 inside the
//! container's own network namespace; its supervisor runs it.
//!
//! ```text
//!   command ──udp/tcp──► 127.0.0.11:53 ──► message ──► answer ◄── zone ◄── watch ◄── members
//!   (inside)                (lo)   inside     serve      │ not ours
//!                                                        └──► upstream ──► host's servers, from the host
//!                                                                     └──► --dns servers, from inside
//! ```
//!
//! - `message`, `answer`, `zone`: the decisions, pure
//! - `post`: datagrams in and out, many at a time
//! - `inside`: the sockets, and what makes port 53 lead to them
//! - `learn`: what answers open for a container with an egress list
//! - `watch`: the zone is read again when a network's members change
//! - `servers`: whom to ask, and in which order; `upstream`: one forwarded question
//! - `probe`: asks as a client would, for `network check`
//! - `stream`: clients that ask over TCP; `serve`: the one loop over all of it
//!
//! Nobody outside the namespace is ever answered: the sockets take packets from
//! `lo` alone.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use rcnt_base::ids::{ContainerId, Name};
use serde::{Deserialize, Serialize};

mod answer;
mod dice;
mod inside;
mod learn;
mod message;
mod post;
mod probe;
mod serve;
mod servers;
mod stream;
mod token;
mod upstream;
mod watch;
mod zone;

pub use inside::ADDRESS;
pub use learn::Listed;
pub use probe::answers;
pub use serve::Resolver;

/// What a container's resolver answers from and whom it asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesPlan {
    /// Where [`crate::members`] are.
    pub exec_root: PathBuf,
    /// Whose resolver this is.
    pub container: ContainerId,
    /// Its networks with names, in the order in which they are asked.
    pub networks: Vec<Name>,
    /// Whether questions may leave the container: not when all it is on is internal
    /// (CVE-2024-29018: a question for `secret.example.com` is a way out, too).
    pub forwards: bool,
    /// `--dns`, asked from inside the container; when empty, the host's own servers,
    /// asked from the host.
    pub servers: Vec<IpAddr>,
    /// The search domains of its resolv.conf.
    pub search: Vec<String>,
    /// `ndots` of its resolv.conf: with more than 0 a resolver inside puts the search
    /// domains behind a name before it asks for the name.
    pub ndots: u32,
    /// What it may open connections to, if it may not to everything: then only the host
    /// asks, and only about names on the list.
    #[serde(default)]
    pub listed: Option<Listed>,
}

/// Why a container has no resolver.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for DNS queries on 127.0.0.11 inside {container}")]
pub struct NamesError {
    /// The container's short id.
    pub container: String,
    /// The kernel's reason.
    pub source: io::Error,
}
