//! Whom to ask: the servers of the host's resolv.conf, followed when the file
//! changes, or those that `--dns` names; the ones that lately said nothing last.

use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::inside::ADDRESS;
use super::zone::Stamp;
use crate::names::ResolvConf;

/// Servers that are asked, as in glibc (MAXNS).
const MOST: usize = 3;
/// How long a server that did not answer is asked after the others.
const SILENT: Duration = Duration::from_secs(30);
/// Bytes read of the host's file.
const MAX_FILE: u64 = 64 << 10;
const PORT: u16 = 53;

/// One server, and from where it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// From the container's namespace; otherwise from the host's.
    pub(super) inside: bool,
}

/// The servers to ask.
#[derive(Debug)]
pub(super) struct Servers {
    given: Vec<Server>,
    file: PathBuf,
    read: Option<Stamp>,
    hosts: Vec<Server>,
    silent: Vec<(SocketAddr, Instant)>,
}

impl Servers {
    /// `given` or, when there are none, those in `file`, the host's resolv.conf.
    pub(super) fn new(given: &[IpAddr], file: PathBuf) -> Self {
        let server = |ip: &IpAddr| Server { address: (*ip, PORT).into(), inside: true };
        // From inside, our own address is ourselves.
        let given = given.iter().filter(|ip| **ip != IpAddr::V4(ADDRESS)).take(MOST).map(server);
        Self { given: given.collect(), file, read: None, hosts: Vec::new(), silent: Vec::new() }
    }

    /// In the order in which they are to be asked now.
    pub(super) fn in_order(&mut self, now: Instant) -> Vec<Server> {
        self.silent.retain(|(_, since)| now.saturating_duration_since(*since) < SILENT);
        if self.given.is_empty() {
            self.follow();
        }
        let all = if self.given.is_empty() { &self.hosts } else { &self.given };
        let is_silent = |server: &Server| self.silent.iter().any(|(a, _)| *a == server.address);
        let (last, first): (Vec<Server>, Vec<Server>) = all.iter().copied().partition(is_silent);
        [first, last].concat()
    }

    /// Notes that a server has not answered in time.
    pub(super) fn was_silent(&mut self, address: SocketAddr, now: Instant) {
        self.silent.retain(|(known, _)| *known != address);
        self.silent.push((address, now));
    }

    /// Notes that it has answered.
    pub(super) fn has_answered(&mut self, address: SocketAddr) {
        self.silent.retain(|(known, _)| *known != address);
    }

    /// Reads the file again if it is another one, or another state of it.
    fn follow(&mut self) {
        // Through links: /etc/resolv.conf is one where systemd-resolved runs.
        let Ok(meta) = fs::metadata(&self.file) else {
            self.read = None;
            self.hosts.clear();
            return;
        };
        let nanoseconds = u32::try_from(meta.mtime_nsec()).unwrap_or(0);
        let stamp = Some((meta.ino(), meta.mtime(), nanoseconds));
        if stamp == self.read {
            return;
        }
        let mut text = Vec::new();
        let read = File::open(&self.file).and_then(|f| f.take(MAX_FILE).read_to_end(&mut text));
        if read.is_ok() {
            self.read = stamp;
            let conf = ResolvConf::parse(&String::from_utf8_lossy(&text));
            let server = |ip: IpAddr| Server { address: (ip, PORT).into(), inside: false };
            self.hosts = conf.name_servers.into_iter().take(MOST).map(server).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcnt_base::files::{Durability, write_atomic};

    fn ips(servers: &mut Servers, now: Instant) -> Vec<String> {
        servers.in_order(now).iter().map(|s| s.address.ip().to_string()).collect()
    }

    #[test]
    fn the_hosts_file_is_followed_loopback_servers_included() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("resolv.conf");
        let write =
            |text: &str| write_atomic(&file, text.as_bytes(), Durability::Volatile).unwrap();
        let mut servers = Servers::new(&[], file.clone());
        let now = Instant::now();
        assert!(ips(&mut servers, now).is_empty());
        write("nameserver 127.0.0.53\n");
        assert_eq!(ips(&mut servers, now), ["127.0.0.53"]);
        write(
            "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n",
        );
        assert_eq!(ips(&mut servers, now), ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        assert!(servers.in_order(now).iter().all(|server| !server.inside));
        fs::remove_file(&file).unwrap();
        assert!(ips(&mut servers, now).is_empty());
    }

    #[test]
    fn given_servers_are_asked_from_inside_but_never_ourselves() {
        let given = ["127.0.0.11".parse().unwrap(), "192.0.2.9".parse().unwrap()];
        let mut servers = Servers::new(&given, "/nowhere".into());
        let all = servers.in_order(Instant::now());
        assert_eq!(all.len(), 1);
        assert!(all[0].inside && all[0].address.to_string() == "192.0.2.9:53");
    }

    #[test]
    fn who_said_nothing_is_asked_last_for_a_while() {
        let given: Vec<IpAddr> =
            ["192.0.2.1", "192.0.2.2"].iter().map(|ip| ip.parse().unwrap()).collect();
        let mut servers = Servers::new(&given, "/nowhere".into());
        let (first, now) = (SocketAddr::new(given[0], 53), Instant::now());
        servers.was_silent(first, now);
        assert_eq!(ips(&mut servers, now), ["192.0.2.2", "192.0.2.1"]);
        assert_eq!(ips(&mut servers, now + SILENT), ["192.0.2.1", "192.0.2.2"]);
        servers.was_silent(first, now);
        servers.has_answered(first);
        assert_eq!(ips(&mut servers, now), ["192.0.2.1", "192.0.2.2"]);
    }
}
