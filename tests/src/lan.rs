//! Another machine on the host's network.

use std::io;

use crate::{Args, Job, Output, Space, http};

/// A peer on the LAN at [`Lan::V4`] and [`Lan::V6`]; also the host's gateway,
/// which forwards nothing.
#[derive(Debug)]
pub struct Lan {
    space: Space,
}

impl Lan {
    /// The peer's address.
    pub const V4: &str = "192.0.2.20";
    /// The peer's IPv6 address.
    pub const V6: &str = "2001:db8::20";

    pub(crate) fn new() -> Self {
        Self { space: Space::new("", &[]) }
    }

    /// Its namespaces.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Runs a shell script on the peer.
    #[track_caller]
    pub fn sh(&self, script: &str) -> Output {
        Job::new(&self.space, "sh", ["-c", script]).run()
    }

    /// A command on the peer, to be run.
    pub fn job(&self, program: &str, args: impl Args) -> Job<'_> {
        Job::new(&self.space, program, args)
    }

    /// Fetches a page: "192.0.2.10:8080".
    ///
    /// # Errors
    /// As [`http::get`].
    #[track_caller]
    pub fn fetch(&self, address: &str) -> io::Result<String> {
        self.space.inside_network(|| http::get(address.parse().unwrap(), "/"))
    }

    /// Fetches a page, waiting a moment for its server to start.
    #[track_caller]
    pub fn page(&self, address: &str) -> String {
        http::patiently(address, || self.fetch(address))
    }

    /// Sends `text` over TCP and returns the whole answer.
    ///
    /// # Errors
    /// As [`http::tcp`].
    #[track_caller]
    pub fn tcp(&self, address: &str, text: &str) -> io::Result<String> {
        self.space.inside_network(|| http::tcp(address.parse().unwrap(), text))
    }

    /// Sends a datagram and returns the answer.
    ///
    /// # Errors
    /// As [`http::udp`].
    #[track_caller]
    pub fn udp(&self, address: &str, text: &str) -> io::Result<String> {
        self.space.inside_network(|| http::udp(address.parse().unwrap(), text))
    }
}
