//! Whom to ask: the servers of the host's resolv.conf, followed when the file
//! changes, or those that `--dns` names; the ones that lately said nothing last.

use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::net::{self, AddressFamily, SocketFlags, SocketType};

use super::inside::ADDRESS;
use super::zone::Stamp;
use crate::names::{HostServer, host_servers};

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
    hosts: Vec<HostServer>,
    silent: Vec<(SocketAddr, Instant)>,
}

impl Servers {
    /// `given`, asked from `inside` or from the host, or, when there are none, those in
    /// `file`, the host's resolv.conf.
    pub(super) fn new(given: &[IpAddr], inside: bool, file: PathBuf) -> Self {
        // What listens on the container's own loopback is there alone.
        let server = |ip: &IpAddr| Server {
            address: (*ip, PORT).into(),
            inside: inside || ip.is_loopback(),
        };
        // From inside, our own address is ourselves.
        let others = given.iter().filter(|ip| ip.to_canonical() != IpAddr::V4(ADDRESS));
        let given = others.take(MOST).map(server);
        Self { given: given.collect(), file, read: None, hosts: Vec::new(), silent: Vec::new() }
    }

    /// In the order in which they are to be asked now.
    pub(super) fn in_order(&mut self, now: Instant) -> Vec<Server> {
        self.silent.retain(|(_, since)| now.saturating_duration_since(*since) < SILENT);
        let all = if self.given.is_empty() {
            self.follow();
            let server = |address| Server { address, inside: false };
            self.hosts.iter().filter_map(address).take(MOST).map(server).collect()
        } else {
            self.given.clone()
        };
        if self.silent.is_empty() {
            return all;
        }
        let is_silent = |server: &Server| self.silent.iter().any(|(a, _)| *a == server.address);
        let (last, first): (Vec<Server>, Vec<Server>) = all.into_iter().partition(is_silent);
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
            self.hosts = host_servers(&String::from_utf8_lossy(&text));
        }
    }
}

/// Where the host finds a server; `None` while it has no such interface, whose number
/// may be another one the next time it is there.
fn address(server: &HostServer) -> Option<SocketAddr> {
    match (server.address, &server.zone) {
        (IpAddr::V6(ip), Some(zone)) => {
            let interface = zone.parse().ok().or_else(|| interface(zone))?;
            Some(SocketAddrV6::new(ip, PORT, 0, interface).into())
        }
        (ip, _) => Some((ip, PORT).into()),
    }
}

/// The number of an interface of the host's (netdevice(7)).
fn interface(name: &str) -> Option<u32> {
    let kind = (AddressFamily::INET6, SocketType::DGRAM, SocketFlags::CLOEXEC);
    let any = net::socket_with(kind.0, kind.1, kind.2, None).ok()?;
    net::netdevice::name_to_index(&any, name).ok()
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
        let mut servers = Servers::new(&[], true, file.clone());
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
    fn a_zone_is_an_interface_of_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("resolv.conf");
        let text = "nameserver fe80::1%nosuch0\nnameserver fe80::2%lo\nnameserver fe80::3%7\n\
                    nameserver 192.0.2.1\nnameserver 192.0.2.2\n";
        write_atomic(&file, text.as_bytes(), Durability::Volatile).unwrap();
        let mut servers = Servers::new(&[], true, file);
        let all: Vec<_> =
            servers.in_order(Instant::now()).iter().map(|s| s.address.to_string()).collect();
        assert_eq!(all, ["[fe80::2%1]:53", "[fe80::3%7]:53", "192.0.2.1:53"]);
    }

    #[test]
    fn given_servers_are_asked_from_inside_but_never_ourselves() {
        let given = ["127.0.0.11", "::ffff:127.0.0.11", "192.0.2.9"].map(|ip| ip.parse().unwrap());
        let mut servers = Servers::new(&given, true, "/nowhere".into());
        let all = servers.in_order(Instant::now());
        assert_eq!(all.len(), 1);
        assert!(all[0].inside && all[0].address.to_string() == "192.0.2.9:53");
        let given = ["127.0.0.1".parse().unwrap(), "192.0.2.9".parse().unwrap()];
        let mut servers = Servers::new(&given, false, "/nowhere".into());
        let inside: Vec<bool> =
            servers.in_order(Instant::now()).iter().map(|server| server.inside).collect();
        assert_eq!(inside, [true, false]);
    }

    #[test]
    fn who_said_nothing_is_asked_last_for_a_while() {
        let given: Vec<IpAddr> =
            ["192.0.2.1", "192.0.2.2"].iter().map(|ip| ip.parse().unwrap()).collect();
        let mut servers = Servers::new(&given, true, "/nowhere".into());
        let (first, now) = (SocketAddr::new(given[0], 53), Instant::now());
        servers.was_silent(first, now);
        assert_eq!(ips(&mut servers, now), ["192.0.2.2", "192.0.2.1"]);
        assert_eq!(ips(&mut servers, now + SILENT), ["192.0.2.1", "192.0.2.2"]);
        servers.was_silent(first, now);
        servers.has_answered(first);
        assert_eq!(ips(&mut servers, now), ["192.0.2.1", "192.0.2.2"]);
    }
}
