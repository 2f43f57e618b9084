//! A client of OCI registries (Distribution specification 1.1), blocking, for
//! pulling: manifests and blobs.
//!
//! ```text
//! client ─┬─ auth ── challenge, credentials     who we are, and to whom we say so
//!         └─ http ── url, lookup ── dns         bounded GETs, our own name look-up
//! ```
//!
//! Registries on this machine (127.0.0.0/8, ::1, localhost) and those listed in
//! [`Options::insecure_registries`] are asked over HTTPS with any certificate,
//! then over plain HTTP, as docker does; all others over verified HTTPS only.
//! Never used by a start path: this crate's store is what `run` reads.

mod auth;
mod challenge;
mod client;
mod credentials;
mod dns;
mod error;
mod http;
mod lookup;
mod stream;
mod url;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use client::{Client, FetchedManifest, Repository};
pub use credentials::CredentialsError;
pub use error::{RegistryError, Said};
pub use stream::BlobStream;

/// Who we say we are.
const USER_AGENT: &str = concat!("rcnt/", env!("CARGO_PKG_VERSION"));

/// How registries are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `host`, `host:port`, an address or a `network/bits`: registries that may
    /// be talked to without a trusted certificate, or in plain HTTP.
    pub insecure_registries: Vec<String>,
    /// Hosts of token services that may be told a registry's password although
    /// they are not in the registry's own domain.
    pub trusted_realms: Vec<String>,
    /// docker's config.json; `None` for `$DOCKER_CONFIG/config.json` or
    /// `~/.docker/config.json`.
    pub docker_config: Option<PathBuf>,
    /// The longest a connection (TLS included) may take to stand.
    pub connect_timeout: Duration,
    /// The longest a registry may stay silent in the middle of something.
    pub idle_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            insecure_registries: Vec::new(),
            trusted_realms: Vec::new(),
            docker_config: None,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
        }
    }
}

impl Options {
    fn is_listed_insecure(&self, host: &str, port: u16) -> bool {
        self.insecure_registries.iter().any(|listed| match listed.split_once('/') {
            Some((network, bits)) => match (network.parse(), bits.parse(), lookup::literal(host)) {
                (Ok(network), Ok(bits), Some(ip)) => contains(network, bits, ip),
                _ => false,
            },
            None => {
                listed.eq_ignore_ascii_case(host)
                    || listed.eq_ignore_ascii_case(&format!("{host}:{port}"))
            }
        })
    }

    /// Whether `registry` (`host[:port]`) may be asked in plain HTTP.
    fn allows_plain(&self, registry: &str) -> bool {
        let host = url::host_of(registry);
        let port = registry.get(host.len() + 1..).and_then(|p| p.parse().ok());
        url::is_loopback(host)
            || match port {
                Some(port) => self.is_listed_insecure(host, port),
                None => self.is_listed_insecure(host, 443) || self.is_listed_insecure(host, 80),
            }
    }
}

fn contains(network: IpAddr, bits: u32, ip: IpAddr) -> bool {
    let (a, b, width) = match (network, ip) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    bits <= width && (a ^ b).checked_shr(width - bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_needs_loopback_or_the_list() {
        let options = Options {
            insecure_registries: [
                "reg.test:5000",
                "any.test",
                "10.1.0.0/16",
                "fd00::/8",
                "0.0.0.0/33",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..Options::default()
        };
        for yes in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:1",
            "[::1]:5000",
            "reg.test:5000",
            "any.test:7",
            "any.test",
            "10.1.2.3:5000",
            "[fd12::1]:5000",
        ] {
            assert!(options.allows_plain(yes), "{yes}");
        }
        for no in [
            "reg.test",
            "reg.test:5001",
            "10.2.0.1",
            "docker.io",
            "[2001:db8::1]",
            "localhost.x.test",
        ] {
            assert!(!options.allows_plain(no), "{no}");
        }
    }
}
