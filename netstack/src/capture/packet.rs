//! One frame → what it is ([`Packet`]), and that as the line people read. Frames
//! are strangers' bytes: every length is checked. Pure.

mod dns;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::plan::Mac;

/// A frame, as far as it is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// IPv4 or IPv6.
    Ip(IpPacket),
    /// A question or an answer of ARP.
    Arp {
        /// 1 asks, 2 answers.
        operation: u16,
        /// Who says so.
        sender: (Mac, Ipv4Addr),
        /// Who is asked for, or told.
        target: Ipv4Addr,
    },
    /// Anything else, by its EtherType.
    Other(u16),
    /// Cut short or broken.
    Malformed,
}

/// A packet with addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpPacket {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes to.
    pub destination: IpAddr,
    /// What it carries.
    pub transport: Transport,
    /// Bytes of that, headers of the transport not counted.
    pub length: usize,
}

/// What an IP packet carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// RFC 9293.
    Tcp {
        /// Source and destination.
        ports: (u16, u16),
        /// Sequence number.
        sequence: u32,
        /// What the other side is told to have arrived.
        acknowledged: u32,
        /// CWR ECE URG ACK PSH RST SYN FIN, from the highest bit.
        flags: u8,
    },
    /// RFC 768.
    Udp {
        /// Source and destination.
        ports: (u16, u16),
        /// What it says, if it is a name server's or to one.
        dns: Option<String>,
    },
    /// RFC 792, RFC 4443.
    Icmp {
        /// Type and code.
        kind: (u8, u8),
        /// Identifier and sequence number of an echo.
        echo: (u16, u16),
        /// The packet that an error is about.
        about: Option<Box<IpPacket>>,
    },
    /// Not the first piece of a packet: where it belongs, bytes.
    Fragment(u8, u16),
    /// Any other, by IANA's number.
    Other(u8),
}

/// TCP's flags as people call them, in the order in which they are told.
const FLAGS: [(u8, &str); 8] = [
    (0x02, "SYN"),
    (0x01, "FIN"),
    (0x04, "RST"),
    (0x08, "PSH"),
    (0x10, "ACK"),
    (0x20, "URG"),
    (0x40, "ECE"),
    (0x80, "CWR"),
];

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const VLAN: u16 = 0x8100;
const IPV6: u16 = 0x86dd;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;
/// Headers of IPv6 that stand before the payload, and one that makes a fragment (RFC 8200).
const IPV6_OPTIONS: [u8; 3] = [0, 43, 60];
const IPV6_FRAGMENT: u8 = 44;

fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    take(bytes, at).map(u16::from_be_bytes)
}

impl Packet {
    /// Reads an Ethernet frame.
    pub fn read(frame: &[u8]) -> Self {
        let mut at = 12;
        // A tag that is still in the frame, or two.
        while number(frame, at) == Some(VLAN) {
            at += 4;
        }
        let rest = frame.get(at + 2..).unwrap_or_default();
        let read = match number(frame, at) {
            Some(IPV4 | IPV6) => IpPacket::read(rest).map(Self::Ip),
            Some(ARP) => arp(rest),
            Some(other) => Some(Self::Other(other)),
            None => None,
        };
        read.unwrap_or(Self::Malformed)
    }
}

/// RFC 826, for IPv4 over Ethernet.
fn arp(bytes: &[u8]) -> Option<Packet> {
    Some(Packet::Arp {
        operation: number(bytes, 6)?,
        sender: (Mac(take(bytes, 8)?), take::<4>(bytes, 14)?.into()),
        target: take::<4>(bytes, 24)?.into(),
    })
}

impl IpPacket {
    /// Reads a packet from its IP header on.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => Self::read4(bytes),
            6 => Self::read6(bytes),
            _ => None,
        }
    }

    fn read4(bytes: &[u8]) -> Option<Self> {
        let header = usize::from(bytes.first()? & 15) * 4;
        let total = usize::from(number(bytes, 2)?);
        let (source, destination) = (take::<4>(bytes, 12)?, take::<4>(bytes, 16)?);
        let fragment = number(bytes, 6)? & 0x1fff;
        let protocol = *bytes.get(9)?;
        // What is cut off the frame still counts; zero is a packet before it was cut by the device.
        let rest = bytes.get(header..)?;
        let length = if total == 0 { rest.len() } else { total.checked_sub(header)? };
        let rest = rest.get(..length.min(rest.len()))?;
        let whole = if fragment == 0 {
            transport(protocol, rest)
        } else {
            Some((Transport::Fragment(protocol, fragment * 8), 0))
        };
        let (transport, own) = whole.unwrap_or((Transport::Other(protocol), 0));
        let length = length.saturating_sub(own);
        Some(Self { source: source.into(), destination: destination.into(), transport, length })
    }

    fn read6(bytes: &[u8]) -> Option<Self> {
        let (source, destination) = (take::<16>(bytes, 8)?, take::<16>(bytes, 24)?);
        let payload = usize::from(number(bytes, 4)?);
        let (mut next, mut at) = (*bytes.get(6)?, 40);
        let mut fragment = None;
        loop {
            if IPV6_OPTIONS.contains(&next) {
                let words = usize::from(*bytes.get(at + 1)?);
                (next, at) = (*bytes.get(at)?, at + 8 + words * 8);
            } else if next == IPV6_FRAGMENT {
                fragment = Some(number(bytes, at + 2)? & 0xfff8).filter(|offset| *offset > 0);
                (next, at) = (*bytes.get(at)?, at + 8);
            } else {
                break;
            }
        }
        let rest = bytes.get(at..)?;
        let length = (payload + 40).saturating_sub(at);
        let rest = rest.get(..length.min(rest.len()))?;
        let whole = match fragment {
            Some(offset) => Some((Transport::Fragment(next, offset), 0)),
            None => transport(next, rest),
        };
        let (transport, own) = whole.unwrap_or((Transport::Other(next), 0));
        let length = length.saturating_sub(own);
        Some(Self { source: source.into(), destination: destination.into(), transport, length })
    }

    /// Where from and to, with ports where there are any.
    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        let (from, to) = match self.transport {
            Transport::Tcp { ports, .. } | Transport::Udp { ports, .. } => ports,
            _ => (0, 0),
        };
        (SocketAddr::new(self.source, from), SocketAddr::new(self.destination, to))
    }
}

/// What is carried, and how long its own header is.
fn transport(protocol: u8, bytes: &[u8]) -> Option<(Transport, usize)> {
    let ports = || Some((number(bytes, 0)?, number(bytes, 2)?));
    match protocol {
        TCP => {
            let tcp = Transport::Tcp {
                ports: ports()?,
                sequence: u32::from_be_bytes(take(bytes, 4)?),
                acknowledged: u32::from_be_bytes(take(bytes, 8)?),
                flags: *bytes.get(13)?,
            };
            Some((tcp, usize::from(bytes.get(12)? >> 4) * 4))
        }
        UDP => {
            let ports = ports()?;
            let names = [53, 5353].into_iter().any(|port| ports.0 == port || ports.1 == port);
            let dns = bytes.get(8..).filter(|_| names).and_then(dns::describe);
            Some((Transport::Udp { ports, dns }, 8))
        }
        ICMP | ICMP6 => {
            let kind = (*bytes.first()?, *bytes.get(1)?);
            let echo = (number(bytes, 4).unwrap_or(0), number(bytes, 6).unwrap_or(0));
            let error = match protocol {
                ICMP => matches!(kind.0, 3 | 4 | 5 | 11 | 12),
                _ => kind.0 < 128,
            };
            // An error carries the beginning of the packet it is about; only that, no
            // error within an error, so this goes no deeper.
            let about = bytes.get(8..).filter(|_| error && !nested_error(bytes));
            let about = about.and_then(IpPacket::read).map(Box::new);
            Some((Transport::Icmp { kind, echo, about }, 8))
        }
        _ => None,
    }
}

/// Whether the packet inside an ICMP error is ICMP itself: not looked into.
fn nested_error(bytes: &[u8]) -> bool {
    let protocol = match bytes.get(8).map(|b| b >> 4) {
        Some(4) => bytes.get(8 + 9),
        _ => bytes.get(8 + 6),
    };
    protocol.is_none_or(|p| !matches!(*p, TCP | UDP))
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(packet) => {
                let family = if packet.source.is_ipv4() { "IP" } else { "IP6" };
                write!(f, "{family} {packet}")
            }
            Self::Arp { operation: 1, sender: (_, sender), target } if sender == target => {
                write!(f, "ARP {sender} announces itself")
            }
            Self::Arp { operation: 1, sender: (_, sender), target } => {
                write!(f, "ARP who has {target}? tell {sender}")
            }
            Self::Arp { sender: (mac, address), .. } => write!(f, "ARP {address} is at {mac}"),
            Self::Other(kind) => write!(f, "ethertype 0x{kind:04x}"),
            Self::Malformed => f.write_str("cut short or malformed"),
        }
    }
}

impl fmt::Display for IpPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = self.ends();
        let (source, destination, length) = (self.source, self.destination, self.length);
        match &self.transport {
            Transport::Tcp { flags, .. } => {
                write!(f, "{from} > {to} TCP {} length {length}", flag_names(*flags))
            }
            Transport::Udp { dns: Some(dns), .. } => {
                write!(f, "{from} > {to} UDP DNS {dns} length {length}")
            }
            Transport::Udp { dns: None, .. } => write!(f, "{from} > {to} UDP length {length}"),
            Transport::Icmp { kind, echo, about } => {
                write!(f, "{source} > {destination} {}", icmp(source, *kind, *echo))?;
                match about {
                    Some(about) => {
                        let (from, to) = about.ends();
                        write!(f, " for {from} > {to}")
                    }
                    None => write!(f, " length {length}"),
                }
            }
            Transport::Fragment(protocol, offset) => {
                let name = protocol_name(*protocol);
                write!(f, "{source} > {destination} {name} fragment at {offset} length {length}")
            }
            Transport::Other(protocol) => {
                write!(f, "{source} > {destination} {} length {length}", protocol_name(*protocol))
            }
        }
    }
}

fn flag_names(flags: u8) -> String {
    let set = FLAGS.iter().filter(|(bit, _)| flags & bit != 0);
    let names: Vec<&str> = set.map(|(_, name)| *name).collect();
    if names.is_empty() { "no flags".to_owned() } else { names.join(",") }
}

fn protocol_name(number: u8) -> String {
    match number {
        2 => "IGMP".to_owned(),
        TCP => "TCP".to_owned(),
        UDP => "UDP".to_owned(),
        47 => "GRE".to_owned(),
        50 => "ESP".to_owned(),
        132 => "SCTP".to_owned(),
        other => format!("protocol {other}"),
    }
}

/// A type and a code in words; those of both versions that are met in practice.
fn icmp(source: IpAddr, kind: (u8, u8), (id, sequence): (u16, u16)) -> String {
    let name = if source.is_ipv4() { "ICMP" } else { "ICMP6" };
    let words = match (source.is_ipv4(), kind.0, kind.1) {
        (true, 8, _) | (false, 128, _) => format!("echo request id {id} seq {sequence}"),
        (true, 0, _) | (false, 129, _) => format!("echo reply id {id} seq {sequence}"),
        (true, 3, 0) | (false, 1, 0) => "network unreachable".to_owned(),
        (true, 3, 1) | (false, 1, 3) => "host unreachable".to_owned(),
        (true, 3, 3) | (false, 1, 4) => "port unreachable".to_owned(),
        (true, 3, 4) | (false, 2, _) => "packet too big".to_owned(),
        (true, 3, 9 | 10 | 13) | (false, 1, 1) => "administratively prohibited".to_owned(),
        (true, 11, _) | (false, 3, _) => "time exceeded".to_owned(),
        (true, 5, _) | (false, 137, _) => "redirect".to_owned(),
        (false, 133, _) => "router solicitation".to_owned(),
        (false, 134, _) => "router advertisement".to_owned(),
        (false, 135, _) => "neighbour solicitation".to_owned(),
        (false, 136, _) => "neighbour advertisement".to_owned(),
        (false, 143, _) => "multicast listener report".to_owned(),
        (_, kind, code) => format!("type {kind} code {code}"),
    };
    format!("{name} {words}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An Ethernet frame from hex digits, spaces aside.
    fn frame(ethertype: &str, hex: &str) -> Vec<u8> {
        let text: String = format!("{}{ethertype}{hex}", "02".repeat(12)).split(' ').collect();
        (0..text.len() / 2)
            .map(|n| u8::from_str_radix(&text[n * 2..n * 2 + 2], 16).unwrap())
            .collect()
    }

    fn line(ethertype: &str, hex: &str) -> String {
        Packet::read(&frame(ethertype, hex)).to_string()
    }

    const A: &str = "0a580002";
    const B: &str = "0a580003";

    fn ip4(protocol: &str, rest: &str) -> String {
        let length = 20 + rest.split(' ').collect::<String>().len() / 2;
        line("0800", &format!("4500{length:04x}00004000 40{protocol}0000 {A}{B} {rest}"))
    }

    #[test]
    fn each_packet_is_one_readable_line() {
        assert_eq!(
            ip4("06", "9c400050 00000001 00000000 5002faf0 0000 0000"),
            "IP 10.88.0.2:40000 > 10.88.0.3:80 TCP SYN length 0"
        );
        assert_eq!(
            ip4("06", "9c400050 00000001 00000000 5018faf0 0000 0000 68656c6c6f"),
            "IP 10.88.0.2:40000 > 10.88.0.3:80 TCP PSH,ACK length 5"
        );
        assert_eq!(
            ip4("11", "9c400051 000c 0000 68656c6c"),
            "IP 10.88.0.2:40000 > 10.88.0.3:81 UDP length 4"
        );
        assert_eq!(
            ip4("01", "0800 0000 0007 0001 68656c6c"),
            "IP 10.88.0.2 > 10.88.0.3 ICMP echo request id 7 seq 1 length 4"
        );
        assert_eq!(
            ip4(
                "01",
                &format!(
                    "0303 0000 0000 0000 4500001c 00004000 4011 0000 {B}{A} 0035 9c40 0008 0000"
                )
            ),
            "IP 10.88.0.2 > 10.88.0.3 ICMP port unreachable for 10.88.0.3:53 > 10.88.0.2:40000"
        );
        assert_eq!(
            ip4(
                "11",
                "9c400035 0029 0000 1234 0100 0001 0000 0000 0000 07 6578616d706c65 03 636f6d 00 001c 0001"
            ),
            "IP 10.88.0.2:40000 > 10.88.0.3:53 UDP DNS AAAA? example.com length 29"
        );
        assert_eq!(ip4("2f", "00"), "IP 10.88.0.2 > 10.88.0.3 GRE length 1");
        assert_eq!(
            line("0806", &format!("00010800060400 01 020202020202 {A} 000000000000 {B}")),
            "ARP who has 10.88.0.3? tell 10.88.0.2"
        );
        assert_eq!(
            line("0806", &format!("00010800060400 02 020202020202 {A} 020202020203 {B}")),
            "ARP 10.88.0.2 is at 02:02:02:02:02:02"
        );
        let (a6, b6) = (format!("fd00{}01", "0".repeat(26)), format!("fd00{}02", "0".repeat(26)));
        assert_eq!(
            line(
                "86dd",
                &format!(
                    "60000000 0014 06 40 {a6}{b6} 9c400050 00000001 00000000 5012faf0 0000 0000"
                )
            ),
            "IP6 [fd00::1]:40000 > [fd00::2]:80 TCP SYN,ACK length 0"
        );
        // Behind a hop-by-hop header.
        assert_eq!(
            line(
                "86dd",
                &format!("60000000 0010 00 40 {a6}{b6} 3a00 050200000000 8700 0000 0000 0000")
            ),
            "IP6 fd00::1 > fd00::2 ICMP6 neighbour solicitation length 0"
        );
        assert_eq!(
            line("0800", &format!("4500001c 000020b9 4011 0000 {A}{B} 0000000000000000")),
            "IP 10.88.0.2 > 10.88.0.3 UDP fragment at 1480 length 8"
        );
        assert_eq!(line("88cc", "00"), "ethertype 0x88cc");
        assert_eq!(line("8100", "0005 0806 0001"), "cut short or malformed");
        assert_eq!(line("0800", "45"), "cut short or malformed");
    }

    proptest! {
        #[test]
        fn hostile_frames_never_panic(
            kind in prop_oneof![Just([8u8, 0]), Just([8, 6]), Just([0x86, 0xdd]), Just([0x81, 0])],
            rest in proptest::collection::vec(any::<u8>(), 0..120)
        ) {
            let frame = [vec![2; 12], kind.to_vec(), rest].concat();
            let _ = Packet::read(&frame).to_string();
        }
    }
}
