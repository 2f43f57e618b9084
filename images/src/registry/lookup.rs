//! Host name → addresses without the C library's name service.
//!
//! rcnt is a static binary, and glibc's getaddrinfo(3) loads NSS plugins at run
//! time, which a static binary cannot rely on. So: IP literals, `localhost`
//! (RFC 6761, 6.3), `/etc/hosts`, then the DNS servers of `/etc/resolv.conf`
//! (resolv.conf(5): `nameserver`, `search`/`domain`, `ndots`, `timeout`,
//! `attempts`). systemd-resolved's stub is an ordinary server there. Not
//! promised: mDNS, LDAP and other nsswitch.conf(5) sources.

use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::dns::{self, Answer};

/// The most of either file that is read.
const FILE_MAX: u64 = 1 << 20;
/// resolv.conf(5): MAXNS.
const SERVERS_MAX: usize = 3;
/// The most search domains tried; glibc has had no limit since 2.26, a bound costs nobody anything.
const SEARCH_MAX: usize = 8;
/// The longest a look-up may take in all.
const PATIENCE: Duration = Duration::from_secs(20);
/// ureq keeps no more than this.
const ADDRESSES_MAX: usize = 16;

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    #[error("no such host name: {0}")]
    NoSuchName(String),
    #[error("no name server answered for {name} ({servers})")]
    NoAnswer {
        name: String,
        servers: String,
        #[source]
        source: io::Error,
    },
}

/// The host's own name sources.
#[derive(Debug, Clone)]
pub(super) struct HostNames {
    hosts: PathBuf,
    resolv_conf: PathBuf,
}

impl Default for HostNames {
    fn default() -> Self {
        Self { hosts: "/etc/hosts".into(), resolv_conf: "/etc/resolv.conf".into() }
    }
}

impl Resolver for HostNames {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        _: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default_port);
        let patience = timeout.not_zero().map_or(PATIENCE, |limit| (*limit).min(PATIENCE));
        let found = self
            .addresses(host, Instant::now() + patience)
            .map_err(|e| ureq::Error::Other(Box::new(e)))?;
        let mut result = self.empty();
        for ip in found.into_iter().take(ADDRESSES_MAX) {
            result.push(SocketAddr::new(ip, port));
        }
        Ok(result)
    }
}

impl HostNames {
    /// At least one address of `host`, best first.
    fn addresses(&self, host: &str, until: Instant) -> Result<Vec<IpAddr>, LookupError> {
        if let Some(ip) = literal(host) {
            return Ok(vec![ip]);
        }
        let listed = in_hosts(&read_bounded(&self.hosts), host);
        if !listed.is_empty() {
            return Ok(by_reach(listed));
        }
        if is_localhost(host) {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let conf = ResolvConf::parse(&read_bounded(&self.resolv_conf));
        conf.resolve(host, until).map(by_reach)
    }
}

/// An address, or an IPv6 address in brackets.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// `localhost` and all below it mean this machine, whoever is asked.
pub(super) fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

fn read_bounded(path: &Path) -> String {
    let mut text = Vec::new();
    // An absent or unreadable file says nothing: the next source is asked.
    let _ = std::fs::File::open(path).and_then(|f| f.take(FILE_MAX).read_to_end(&mut text));
    String::from_utf8_lossy(&text).into_owned()
}

/// hosts(5): address, name, aliases.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(ip) = words.next().and_then(|w| w.parse::<IpAddr>().ok()) else { continue };
        if words.any(|name| name.eq_ignore_ascii_case(host)) && !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

/// Reachable addresses first, IPv4 before IPv6: the client tries one after the
/// other, and a broken IPv6 path is commoner than a broken IPv4 one. connect(2)
/// on a UDP socket sends nothing; it fails when there is no route.
fn by_reach(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let routed = |ip: &IpAddr| {
        let any: SocketAddr = match ip {
            IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        UdpSocket::bind(any).and_then(|s| s.connect((*ip, 9))).is_ok()
    };
    addresses.sort_by_cached_key(|ip| (!routed(ip), ip.is_ipv6()));
    addresses
}

/// What we use of resolv.conf(5).
#[derive(Debug, Clone, PartialEq, Eq)]
struct ResolvConf {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
    timeout: Duration,
    attempts: u32,
}

impl ResolvConf {
    fn parse(text: &str) -> Self {
        let mut conf = Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in text.lines().filter(|l| !l.starts_with(['#', ';'])) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") if conf.servers.len() < SERVERS_MAX => {
                    conf.servers.extend(words.next().and_then(server));
                }
                Some("search" | "domain") => {
                    conf.search = words.take(SEARCH_MAX).map(str::to_owned).collect();
                }
                Some("options") => words.for_each(|option| conf.option(option)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers.push((Ipv4Addr::LOCALHOST, 53).into());
        }
        conf
    }

    fn option(&mut self, option: &str) {
        let Some((key, Ok(value))) = option.split_once(':').map(|(k, v)| (k, v.parse::<u8>()))
        else {
            return;
        };
        match key {
            "ndots" => self.ndots = usize::from(value.min(15)),
            "timeout" => self.timeout = Duration::from_secs(u64::from(value.clamp(1, 30))),
            "attempts" => self.attempts = u32::from(value.clamp(1, 5)),
            _ => {}
        }
    }

    /// The names to ask for, in order: the search rule of resolv.conf(5).
    fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(absolute) = host.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let below = |domain: &String| format!("{host}.{}", domain.trim_matches('.'));
        let searched = self.search.iter().filter(|d| !d.trim_matches('.').is_empty()).map(below);
        if host.matches('.').count() >= self.ndots {
            std::iter::once(host.to_owned()).chain(searched).collect()
        } else {
            searched.chain(std::iter::once(host.to_owned())).collect()
        }
    }

    fn resolve(&self, host: &str, until: Instant) -> Result<Vec<IpAddr>, LookupError> {
        for name in self.candidates(host) {
            let found = self.ask(&name, until)?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Err(LookupError::NoSuchName(host.to_owned()))
    }

    /// Every server in turn, `attempts` times; the first that answers decides.
    fn ask(&self, name: &str, until: Instant) -> Result<Vec<IpAddr>, LookupError> {
        let mut last = io::Error::from(io::ErrorKind::TimedOut);
        for server in (0..self.attempts).flat_map(|_| &self.servers) {
            let patience = self.timeout.min(until.saturating_duration_since(Instant::now()));
            if patience.is_zero() {
                break;
            }
            match dns::ask(*server, name, patience) {
                Ok(Answer::Addresses(found)) => return Ok(found),
                Ok(Answer::NoSuchName) => return Ok(Vec::new()),
                // A read timeout is EAGAIN, which would tell the user nothing.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    last = io::ErrorKind::TimedOut.into();
                }
                Err(e) => last = e,
            }
        }
        let servers = Servers(&self.servers).to_string();
        Err(LookupError::NoAnswer { name: name.to_owned(), servers, source: last })
    }
}

/// A name server's address; a link-local one may carry `%interface`.
fn server(word: &str) -> Option<SocketAddr> {
    if let Ok(ip) = word.parse::<IpAddr>() {
        return Some((ip, 53).into());
    }
    let (ip, zone) = word.split_once('%')?;
    let ip = ip.parse::<Ipv6Addr>().ok()?;
    let index = std::fs::read_to_string(format!("/sys/class/net/{}/ifindex", checked_zone(zone)?));
    let scope = index.ok()?.trim().parse().ok()?;
    Some(std::net::SocketAddrV6::new(ip, 53, 0, scope).into())
}

fn checked_zone(zone: &str) -> Option<&str> {
    (!zone.is_empty() && zone.len() < 16 && !zone.contains(['/', '.'])).then_some(zone)
}

struct Servers<'a>(&'a [SocketAddr]);

impl fmt::Display for Servers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(|s| s.ip().to_string()).collect();
        f.write_str(&texts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(hosts: &str, resolv_conf: &str) -> (tempfile::TempDir, HostNames) {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), text.as_bytes())
                .unwrap();
            path
        };
        let names = HostNames { hosts: path("h", hosts), resolv_conf: path("r", resolv_conf) };
        (dir, names)
    }

    fn found(names: &HostNames, host: &str) -> Vec<String> {
        let until = Instant::now() + Duration::from_secs(1);
        let found = names.addresses(host, until).unwrap();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn literals_hosts_and_localhost_need_no_server() {
        let (_dir, names) =
            names("127.0.0.9 Reg.test alias # x\n# 1.1.1.1 alias\n::1 reg.test\njunk", "");
        assert_eq!(found(&names, "192.0.2.7"), ["192.0.2.7"]);
        assert_eq!(found(&names, "[2001:db8::1]"), ["2001:db8::1"]);
        assert_eq!(found(&names, "reg.TEST"), ["127.0.0.9", "::1"]);
        assert_eq!(found(&names, "alias."), ["127.0.0.9"]);
        assert_eq!(found(&names, "x.localhost"), ["127.0.0.1", "::1"]);
    }

    #[test]
    fn a_server_that_is_not_there_is_named() {
        let (_dir, names) = names("", "nameserver 127.255.255.254\noptions timeout:1 attempts:1\n");
        let until = Instant::now() + Duration::from_millis(300);
        let error = names.addresses("reg.test", until).unwrap_err();
        assert!(error.to_string().contains("127.255.255.254"), "{error}");
    }

    #[test]
    fn resolv_conf_is_read_as_its_man_page_says() {
        let conf = ResolvConf::parse(
            "# c\nnameserver 10.0.0.1\nnameserver bad\nnameserver ::1\nsearch a.test b.test\n\
             options ndots:2 timeout:200 attempts:0 rotate\n",
        );
        assert_eq!(Servers(&conf.servers).to_string(), "10.0.0.1, ::1");
        assert_eq!((conf.ndots, conf.timeout.as_secs(), conf.attempts), (2, 30, 1));
        assert_eq!(conf.candidates("h.x"), ["h.x.a.test", "h.x.b.test", "h.x"]);
        assert_eq!(conf.candidates("h.x.y"), ["h.x.y", "h.x.y.a.test", "h.x.y.b.test"]);
        assert_eq!(conf.candidates("h."), ["h"]);
        assert_eq!(Servers(&ResolvConf::parse("").servers).to_string(), "127.0.0.1");
    }
}
