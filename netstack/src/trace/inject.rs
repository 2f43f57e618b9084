//! A probe "from the LAN": a frame that arrives at an interface of the host as if
//! its wire had brought it.
//!
//! ```text
//! scratch namespace         host
//! packet(7) ─► probe ══════ rcntp<pid> ─(BPF: redirect to ingress)─► eth0
//! ```
//!
//! The scratch namespace lives as long as our socket in it; with it go the veth
//! pair, the program and its hook, even after kill -9.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use rcnt_base::sys::bpf::{self, BpfInstruction};
use rcnt_base::sys::netlink::Family;
use rcnt_base::sys::packet::PacketSocket;
use rcnt_base::sys::seccomp::SockFilter;
use rustix::io::Errno;

use super::Sought;
use super::probe::{Answer, Mark};
use crate::facts;
use crate::namespace::{fresh, visit};
use crate::plan::Mac;
use crate::socket::Socket;
use crate::wire::link::{LinkKind, LinkRequest, read_state};
use crate::wire::{Requests, abi};

/// The source of our frames: locally administered.
const NEIGHBOUR: Mac = Mac([0x02, 0x72, 0x63, 0x6e, 0x74, 0x01]);
const SEQUENCE: u32 = 0x7263_6e74;
/// How often and how far apart a link is asked for before it is taken as it is.
const LINK_ATTEMPTS: u32 = 200;
const LINK_PAUSE: Duration = Duration::from_millis(1);

/// A probe ready to arrive.
#[derive(Debug)]
pub(super) struct Injection {
    pub(super) mark: Mark,
    pub(super) from: SocketAddr,
    pub(super) failed: Answer,
    to: SocketAddr,
    gate: Mac,
    wire: PacketSocket,
}

impl Injection {
    /// Makes the wire, to the interface of this number and name.
    pub(super) fn prepare(
        (from, to): (IpAddr, IpAddr),
        sought: Sought,
        (link, name): (u32, &str),
        host: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        let links = facts::read_links()?;
        let gate = links.iter().find(|l| l.index == link).and_then(|l| l.mac);
        let gate = gate.ok_or_else(|| {
            io::Error::other(format!("{name} has no link-layer address a frame could come to"))
        })?;
        let number = 49_152 + u16::try_from(std::process::id() % 16_384).unwrap_or(0);
        let wire = connect(link, host)?;
        let mark = Mark { sought, four: to.is_ipv4(), number };
        let port = match sought {
            Sought::Tcp(port) | Sought::Udp(port) => port,
            Sought::Echo => 0,
        };
        let own = if sought == Sought::Echo { 0 } else { number };
        let (from, to) = (SocketAddr::new(from, own), SocketAddr::new(to, port));
        Ok(Self { mark, from, failed: Answer::Silence, to, gate, wire })
    }

    /// Lets it arrive.
    pub(super) fn fire(&mut self) {
        if let Err(error) = self.wire.send(&self.frame(0x02, SEQUENCE)) {
            self.failed = Answer::NotSent(error.raw_os_error().unwrap_or(0));
        }
    }

    /// The whole frame; the flags and the number are TCP's.
    fn frame(&self, flags: u8, sequence: u32) -> Vec<u8> {
        let (ports, number) = ((self.from.port(), self.to.port()), self.mark.number.to_be_bytes());
        let ends = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
        let (protocol, at, mut body) = match self.mark.sought {
            Sought::Tcp(_) => {
                let rest = [&[0; 4], &[0x50, flags, 0xfa, 0xf0], &[0; 4][..]].concat();
                (6, 16, [ends, sequence.to_be_bytes().to_vec(), rest].concat())
            }
            Sought::Udp(_) => (17, 6, [&ends[..], &[0, 26, 0, 0], b"rcnt network trace"].concat()),
            Sought::Echo if self.mark.four => {
                (1, 2, [&[8, 0, 0, 0], &number[..], &[0, 1]].concat())
            }
            Sought::Echo => (58, 2, [&[128, 0, 0, 0], &number[..], &[0, 1]].concat()),
        };
        let pseudo = match (self.from.ip(), self.to.ip()) {
            // ICMP's covers no addresses.
            _ if protocol == 1 => Vec::new(),
            (from, to) => {
                let length = u16::try_from(body.len()).unwrap_or(0).to_be_bytes();
                [octets(from), octets(to), vec![0, protocol], length.to_vec()].concat()
            }
        };
        let sum = checksum(&[pseudo, body.clone()].concat());
        if let Some(field) = body.get_mut(at..at + 2) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
        let packet = packet(self.from.ip(), self.to.ip(), protocol, &body);
        let kind: [u8; 2] = if self.mark.four { [0x08, 0x00] } else { [0x86, 0xdd] };
        [&self.gate.0[..], &NEIGHBOUR.0, &kind, &packet].concat()
    }
}

impl Drop for Injection {
    /// What was half opened is not left to time out.
    fn drop(&mut self) {
        if matches!(self.mark.sought, Sought::Tcp(_)) {
            let _ = self.wire.send(&self.frame(0x04, SEQUENCE.wrapping_add(1)));
        }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// An IP header and what follows.
fn packet(from: IpAddr, to: IpAddr, protocol: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(0);
    let addresses = [octets(from), octets(to)].concat();
    if from.is_ipv6() {
        let [high, low] = length.to_be_bytes();
        return [&[0x60, 0, 0, 0, high, low, protocol, 64], &addresses[..], body].concat();
    }
    let [high, low] = (length + 20).to_be_bytes();
    let mut header =
        [&[0x45, 0, high, low, 0, 0, 0x40, 0, 64, protocol, 0, 0], &addresses[..]].concat();
    let sum = checksum(&header).to_be_bytes();
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&sum);
    }
    [header, body.to_vec()].concat()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// The interface that injected frames come from, for a moment.
pub(super) fn wire_name() -> String {
    format!("rcntp{}", std::process::id())
}

/// The veth pair, its program, and a socket on the far end.
fn connect(link: u32, host: BorrowedFd<'_>) -> io::Result<PacketSocket> {
    let (near, far) = (wire_name(), "probe");
    let scratch = fresh()?;
    let mut outside = visit(scratch.as_fd(), || Socket::open(Family::Route))?;
    let peer = LinkRequest {
        name: Some(&near),
        netns_fd: Some(host.as_raw_fd()),
        ..LinkRequest::default()
    };
    let pair = LinkRequest {
        name: Some(far),
        up: true,
        kind: Some(LinkKind::Veth(Box::new(peer))),
        ..LinkRequest::default()
    };
    done(&mut outside, |requests| pair.create(requests))?;
    let mut inside = Socket::open(Family::Route)?;
    let index = inside.interface_index(&near)?.ok_or(Errno::NODEV)?;
    let program = bpf::load_classifier(&redirect(link))?;
    done(&mut inside, |requests| class_action(requests, index))?;
    done(&mut inside, |requests| classifier(requests, index, program.as_raw_fd()))?;
    let up = LinkRequest { index, up: true, ..LinkRequest::default() };
    done(&mut inside, |requests| up.change(requests))?;
    let question = LinkRequest { name: Some(far), ..LinkRequest::default() };
    for _ in 0..LINK_ATTEMPTS {
        let mut requests = Requests::default();
        question.get(&mut requests);
        let mut operational = false;
        outside.exchange(&requests, |message| {
            operational = read_state(message).operational;
            Ok(())
        })?;
        if operational {
            break;
        }
        std::thread::sleep(LINK_PAUSE);
    }
    let index = outside.interface_index(far)?.ok_or(Errno::NODEV)?;
    // It only sends: nothing passes.
    let deaf = [SockFilter { code: 0x06, jt: 0, jf: 0, k: 0 }];
    visit(scratch.as_fd(), || PacketSocket::open(index, &deaf, 64))
}

fn done(socket: &mut Socket, request: impl FnOnce(&mut Requests) -> u32) -> io::Result<()> {
    let mut requests = Requests::default();
    let sequence = request(&mut requests);
    socket.exchange(&requests, |_| Ok(()))?.check(sequence, &[])
}

/// `struct tcmsg`: family, interface, handle, parent, info.
fn traffic(interface: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    [0, interface, handle, parent, info].iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// The hook for programs at an interface (tc-bpf(8)).
fn class_action(requests: &mut Requests, interface: u32) -> u32 {
    let flags = abi::NLM_F_REQUEST | abi::NLM_F_ACK | abi::NLM_F_CREATE | abi::NLM_F_EXCL;
    let header = traffic(interface, abi::TC_H_CLSACT_HANDLE, abi::TC_H_CLSACT, 0);
    requests.message(abi::RTM_NEWQDISC, flags, &header, |a| a.text(abi::TCA_KIND, "clsact"))
}

/// The program at the hook, for whatever comes in.
fn classifier(requests: &mut Requests, interface: u32, program: i32) -> u32 {
    let flags = abi::NLM_F_REQUEST | abi::NLM_F_ACK | abi::NLM_F_CREATE | abi::NLM_F_EXCL;
    // Priority 1, every protocol (ETH_P_ALL in network order).
    let info = 1 << 16 | u32::from(3_u16.to_be());
    let header = traffic(interface, 0, abi::TC_H_INGRESS, info);
    requests.message(abi::RTM_NEWTFILTER, flags, &header, |a| {
        a.text(abi::TCA_KIND, "bpf");
        a.nest(abi::TCA_OPTIONS, |a| {
            a.put(abi::TCA_BPF_FD, &program.to_ne_bytes());
            a.text(abi::TCA_BPF_NAME, "rcnt-trace");
            a.u32(abi::TCA_BPF_FLAGS, abi::TCA_BPF_FLAG_ACT_DIRECT);
        });
    })
}

/// `return bpf_redirect(link, BPF_F_INGRESS)` (bpf-helpers(7)).
fn redirect(link: u32) -> [BpfInstruction; 4] {
    let instruction =
        |code, registers, immediate| BpfInstruction { code, registers, offset: 0, immediate };
    [
        instruction(0xb7, 1, link.cast_signed()),
        instruction(0xb7, 2, 1),
        instruction(0x85, 0, 23),
        instruction(0x95, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_rfc() {
        // RFC 1071, section 3: the sum is ddf2, its complement 220d.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0x220d);
        assert_eq!(checksum(&[0xff]), 0x00ff);
    }
}
