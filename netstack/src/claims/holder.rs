//! Who holds what we wanted: a container, found in its claim file, or another
//! program, found through `/proc/net` and the descriptors of all processes.
//! Only read when something is taken, so it may be slow.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use rcnt_base::ids::ContainerId;

use super::diag;
use super::ledger::{self, Entry};
use crate::ports::Protocol;

/// Who has an address or a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A container of this instance.
    Container {
        /// Its id.
        id: ContainerId,
        /// Its name when it took the claim.
        name: String,
    },
    /// A program on the host.
    Process {
        /// As in `/proc/<pid>/comm`.
        program: String,
        /// Its number.
        pid: u32,
    },
    /// Nobody any more: the kernel keeps the port of an outgoing connection for a minute.
    Closing,
    /// It cannot be told: a process of another user or namespace, or one that does not listen.
    Unknown,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Container { id, name } if name.is_empty() => {
                write!(f, "container {}", id.short())
            }
            Holder::Container { name, .. } => write!(f, "container {name}"),
            Holder::Process { program, pid } => write!(f, "{program} (pid {pid})"),
            Holder::Closing => f.write_str("a connection that is still closing"),
            Holder::Unknown => f.write_str("another process"),
        }
    }
}

impl From<Entry> for Holder {
    fn from(entry: Entry) -> Self {
        let Entry { schema: _, owner, name, pid: _, start: _ } = entry;
        Holder::Container { id: owner, name }
    }
}

impl Holder {
    /// Who made this claim file.
    pub(crate) fn of(claim: &Path) -> Self {
        Entry::read(claim).map_or(Holder::Unknown, Into::into)
    }

    /// Who keeps `ip`:`port` from being bound.
    pub(super) fn of_port(exec_root: &Path, protocol: Protocol, ip: IpAddr, port: u16) -> Self {
        let claims = ledger::claims_of_port(exec_root, protocol, port);
        let in_the_way = |(claimed, path): &(IpAddr, PathBuf)| {
            meet(*claimed, ip).then(|| Entry::read(path).ok()).flatten()
        };
        if let Some(entry) = claims.iter().find_map(in_the_way) {
            return entry.into();
        }
        let mut closing = false;
        let silent =
            if protocol == Protocol::Tcp { diag::bound_inactive(port) } else { Vec::new() };
        let silent = silent.into_iter().map(|inode| Socket::Open { inode });
        for socket in sockets_on(protocol, ip, port).into_iter().chain(silent) {
            match socket {
                Socket::Open { inode } => {
                    if let Some((pid, program)) = process_with(inode) {
                        return Holder::Process { program, pid };
                    }
                }
                Socket::Closing => closing = true,
            }
        }
        if closing { Holder::Closing } else { Holder::Unknown }
    }
}

/// A socket bound to the port in question.
#[derive(Debug, PartialEq, Eq)]
enum Socket {
    Open { inode: u64 },
    Closing,
}

fn sockets_on(protocol: Protocol, ip: IpAddr, port: u16) -> Vec<Socket> {
    let tables: &[&str] = match protocol {
        Protocol::Tcp => &["tcp", "tcp6"],
        Protocol::Udp => &["udp", "udp6"],
        // No address in a form worth parsing; SCTP servers are rare.
        Protocol::Sctp => &[],
    };
    let mut found: Vec<Socket> = Vec::new();
    for table in tables {
        let text = std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        found.extend(text.lines().skip(1).filter_map(|line| parse_line(line, ip, port)));
    }
    found
}

/// One line of `/proc/net/tcp` and its kin (`proc_pid_net(5)`), if it is in the way of `ip`:`port`.
fn parse_line(line: &str, ip: IpAddr, port: u16) -> Option<Socket> {
    const TIME_WAIT: &str = "06";
    let mut fields = line.split_ascii_whitespace();
    let (address, hex_port) = fields.nth(1)?.split_once(':')?;
    if u16::from_str_radix(hex_port, 16).ok()? != port {
        return None;
    }
    let bound = parse_address(address)?;
    if !meet(bound, ip) {
        return None;
    }
    let state = fields.nth(1)?;
    if state == TIME_WAIT {
        return Some(Socket::Closing);
    }
    let inode = fields.nth(5)?.parse().ok()?;
    (inode != 0).then_some(Socket::Open { inode })
}

/// Whether sockets on both addresses may be in each other's way; `::` may be of both families.
fn meet(a: IpAddr, b: IpAddr) -> bool {
    let covers =
        |any: IpAddr, one: IpAddr| any.is_unspecified() && (any.is_ipv6() || one.is_ipv4());
    a == b || covers(a, b) || covers(b, a)
}

/// Addresses are printed as 32-bit words in the machine's own byte order.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let mut bytes = [0u8; 16];
    let words = hex.len() / 8;
    if !hex.is_ascii() || !hex.len().is_multiple_of(8) || !(words == 1 || words == 4) {
        return None;
    }
    for (n, chunk) in bytes.chunks_exact_mut(4).take(words).enumerate() {
        let word = u32::from_str_radix(hex.get(n * 8..n * 8 + 8)?, 16).ok()?;
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    let [a, b, c, d, ..] = bytes;
    if words == 1 {
        Some(Ipv4Addr::new(a, b, c, d).into())
    } else {
        Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
    }
}

/// The process that has socket `inode` open.
fn process_with(inode: u64) -> Option<(u32, String)> {
    let link = format!("socket:[{inode}]");
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(fds) = std::fs::read_dir(entry.path().join("fd")) else { continue };
        let holds = |fd: std::fs::DirEntry| {
            std::fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == link.as_str())
        };
        if fds.flatten().any(holds) {
            let program = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some((pid, program.trim_end().to_owned()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINE: &str = "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 \
                        00000000     0        0 4711 1 0000000000000000 100 0 0 10 0";

    #[test]
    #[cfg(target_endian = "little")]
    fn a_listener_on_localhost_is_in_the_way_of_every_address() {
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        let open = Some(Socket::Open { inode: 4711 });
        for address in ["127.0.0.1", "0.0.0.0", "::"] {
            assert_eq!(parse_line(LINE, ip(address), 8080), open, "{address}");
        }
        for address in ["127.0.0.2", "::1"] {
            assert_eq!(parse_line(LINE, ip(address), 8080), None, "{address}");
        }
        assert_eq!(parse_line(LINE, ip("127.0.0.1"), 8081), None);
        let closing = LINE.replace(" 0A ", " 06 ");
        assert_eq!(parse_line(&closing, ip("0.0.0.0"), 8080), Some(Socket::Closing));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_are_read_word_by_word() {
        let text = |hex| parse_address(hex).map(|a| a.to_string());
        assert_eq!(text("0200A8C0").as_deref(), Some("192.168.0.2"));
        assert_eq!(text("B80D0120000000000000000001000000").as_deref(), Some("2001:db8::1"));
        assert_eq!(text("0000000000000000FFFF00000100007F").as_deref(), Some("127.0.0.1"));
        assert_eq!(text("0100"), None);
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "\\PC{0,120}", hex in "[0-9A-F: ]{0,120}") {
            for text in [line, hex] {
                let _ = parse_line(&text, Ipv4Addr::UNSPECIFIED.into(), 80);
            }
        }
    }
}
