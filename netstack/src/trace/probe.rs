//! The packet that is sent, how to know it again, and what comes of sending it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect,
    getsockname, ipproto, recv, send, socket_with, sockopt,
};
use serde::Serialize;

use super::Sought;
use crate::capture::packet::{IpPacket, Transport};

/// What the probe and its answer have in common, before and after translation: the
/// source port, or an echo's identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) sought: Sought,
    pub(super) four: bool,
    pub(super) number: u16,
}

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

impl Mark {
    /// IANA's number of the protocol.
    pub(super) fn protocol(&self) -> &'static [u8] {
        match (self.sought, self.four) {
            (Sought::Tcp(_), _) => &[6],
            (Sought::Udp(_), _) => &[17],
            (Sought::Echo, true) => &[1],
            (Sought::Echo, false) => &[58],
        }
    }

    /// Where in the transport header the number is, of the probe or of the answer.
    pub(super) fn offsets(&self) -> &'static [u32] {
        if self.sought == Sought::Echo { &[4] } else { &[0, 2] }
    }

    /// Whether the packet is the answer (`true`) or the probe (`false`); `None` for others.
    pub(super) fn is_answer(&self, packet: &IpPacket) -> Option<bool> {
        match (self.sought, &packet.transport) {
            (Sought::Tcp(_), Transport::Tcp { ports, flags, .. }) => {
                let begins = flags & (SYN | ACK | RST) == SYN;
                let answers = flags & RST != 0 || flags & (SYN | ACK) == SYN | ACK;
                match (ports.0 == self.number, ports.1 == self.number) {
                    (true, _) if begins => Some(false),
                    (_, true) if answers => Some(true),
                    _ => None,
                }
            }
            (Sought::Udp(_), Transport::Udp { ports, .. }) => {
                match (ports.0 == self.number, ports.1 == self.number) {
                    (true, _) => Some(false),
                    (_, true) => Some(true),
                    _ => None,
                }
            }
            (Sought::Echo, Transport::Icmp { kind, echo, .. }) if echo.0 == self.number => {
                match (self.four, kind.0) {
                    (true, 8) | (false, 128) => Some(false),
                    (true, 0) | (false, 129) => Some(true),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// What the sender heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer {
    /// A connection, an answer, an echo.
    Positive,
    /// RST, or ICMP "port unreachable".
    Refused,
    /// The kernel would not send it: an errno.
    NotSent(i32),
    /// ICMP, or nobody who answers ARP: an errno.
    Unreachable(i32),
    /// Nothing yet.
    Silence,
}

/// The sender's socket, in the namespace where it was made.
#[derive(Debug)]
pub(super) struct Probe {
    socket: OwnedFd,
    pub(super) mark: Mark,
    to: SocketAddr,
    /// What connect(2) or send(2) said at once.
    failed: Option<Errno>,
}

impl Probe {
    /// A socket, its number taken; nothing is sent yet.
    pub(super) fn prepare(to: IpAddr, sought: Sought) -> io::Result<Self> {
        let (family, any): (_, IpAddr) = match to {
            IpAddr::V4(_) => (AddressFamily::INET, Ipv4Addr::UNSPECIFIED.into()),
            IpAddr::V6(_) => (AddressFamily::INET6, Ipv6Addr::UNSPECIFIED.into()),
        };
        let (kind, protocol): (_, Option<Protocol>) = match (sought, to) {
            (Sought::Tcp(_), _) => (SocketType::STREAM, None),
            (Sought::Udp(_), _) => (SocketType::DGRAM, None),
            (Sought::Echo, IpAddr::V4(_)) => (SocketType::RAW, Some(ipproto::ICMP)),
            (Sought::Echo, IpAddr::V6(_)) => (SocketType::RAW, Some(ipproto::ICMPV6)),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, kind, flags, protocol)?;
        let (number, port) = match sought {
            // Hardly another's: half of the process' number and a constant.
            Sought::Echo => (u16::try_from(std::process::id() & 0x7fff).unwrap_or(0) | 0x8000, 0),
            Sought::Tcp(port) | Sought::Udp(port) => {
                bind(&socket, &SocketAddr::new(any, 0))?;
                let bound: SocketAddr = getsockname(&socket)?.try_into()?;
                (bound.port(), port)
            }
        };
        let mark = Mark { sought, four: to.is_ipv4(), number };
        Ok(Self { socket, mark, to: SocketAddr::new(to, port), failed: None })
    }

    /// Sends it.
    pub(super) fn fire(&mut self) {
        let sent = match connect(&self.socket, &self.to) {
            Err(Errno::INPROGRESS) => Ok(()),
            Ok(()) if matches!(self.mark.sought, Sought::Tcp(_)) => Ok(()),
            Ok(()) => send(&self.socket, &self.payload(), SendFlags::empty()).map(|_| ()),
            Err(error) => Err(error),
        };
        self.failed = sent.err();
        // A connection that comes about is reset, not lingered over.
        let _ = sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
    }

    fn payload(&self) -> Vec<u8> {
        match self.mark.sought {
            // RFC 792 and RFC 4443; the kernel fills in ICMPv6's checksum.
            Sought::Echo => {
                let kind = if self.mark.four { 8 } else { 128 };
                let [a, b] = self.mark.number.to_be_bytes();
                let mut echo = [kind, 0, 0, 0, a, b, 0, 1];
                if self.mark.four {
                    let words = [u16::from(kind) << 8, self.mark.number, 1];
                    let sum: u32 = words.iter().map(|w| u32::from(*w)).sum();
                    let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or(0);
                    let [high, low] = (!sum).to_be_bytes();
                    (echo[2], echo[3]) = (high, low);
                }
                echo.to_vec()
            }
            _ => b"rcnt network trace".to_vec(),
        }
    }

    /// What has come of it.
    pub(super) fn answer(&self) -> Answer {
        if let Some(error) = self.failed {
            return match error {
                Errno::CONNREFUSED => Answer::Refused,
                error => Answer::NotSent(error.raw_os_error()),
            };
        }
        match sockopt::socket_error(&self.socket) {
            Ok(Err(Errno::CONNREFUSED)) => return Answer::Refused,
            Ok(Err(error)) => return Answer::Unreachable(error.raw_os_error()),
            _ => {}
        }
        match self.mark.sought {
            Sought::Tcp(_) if self.is_connected() => Answer::Positive,
            Sought::Udp(_) => {
                match recv(&self.socket, &mut [0_u8; 1500], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                    Ok(_) => Answer::Positive,
                    Err(Errno::CONNREFUSED) => Answer::Refused,
                    Err(_) => Answer::Silence,
                }
            }
            // An echo's answer is seen on the wire.
            _ => Answer::Silence,
        }
    }

    fn is_connected(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::OUT)];
        let ready = poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0);
        ready && rustix::net::getpeername(&self.socket).is_ok()
    }

    /// The source address that was chosen for it.
    pub(super) fn source(&self) -> Option<SocketAddr> {
        getsockname(&self.socket).ok()?.try_into().ok()
    }
}
