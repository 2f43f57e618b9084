//! [`Filter`] → classic BPF for Ethernet frames, to run in the kernel
//! (Documentation/networking/filter.rst).
//!
//! Each test is written with the places where to go on when it holds and when it
//! does not; all of them lie ahead, as the kernel demands. Distances over 255
//! instructions take jumps of their own, see [`Assembly::settle`].

use std::net::IpAddr;

use rcnt_base::sys::seccomp::SockFilter;

use super::{Direction, Filter, Protocol, Test};

mod bytes;
mod jumps;

/// The kernel takes no more (BPF_MAXINSNS).
const LIMIT: usize = 4096;

// linux/bpf_common.h: class, size, mode; operation, source.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_WORD_AFTER_X: u16 = 0x40;
const LOAD_HALF_AFTER_X: u16 = 0x48;
const LOAD_BYTE_AFTER_X: u16 = 0x50;
const LOAD_LENGTH: u16 = 0x80;
/// X = 4 * (low four bits of the byte at k): the length of an IPv4 header.
const LOAD_X_HEADER: u16 = 0xb1;
const AND: u16 = 0x54;
const ALWAYS: u16 = 0x05;
const EQUAL: u16 = 0x15;
const GREATER: u16 = 0x25;
const GREATER_EQUAL: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

// linux/filter.h: what the kernel knows of a packet besides its bytes.
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
const HARDWARE_TYPE: u32 = 0xffff_f000 + 28;
const PACKET_OUTGOING: u32 = 4;
const ARPHRD_ETHER: u32 = 1;
const ARPHRD_LOOPBACK: u32 = 772;

// Offsets in an Ethernet frame.
const ETHERTYPE: u32 = 12;
const IP4: u32 = 14;
const IP4_FRAGMENT: u32 = 20;
const IP4_PROTOCOL: u32 = 23;
const IP6_NEXT: u32 = 20;
const IP6_PAYLOAD: u32 = 54;
/// Source and destination address.
const IP4_ADDRESSES: (u32, u32) = (26, 30);
const IP6_ADDRESSES: (u32, u32) = (22, 38);
const ARP_ADDRESSES: (u32, u32) = (28, 38);

const IPV4: u32 = 0x0800;
const ARP: u32 = 0x0806;
const IPV6: u32 = 0x86dd;

/// A filter that no program of the kernel's size can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the filter is too long for the kernel")]
pub struct TooLong;

/// Where to go on: when a test holds, and when it does not.
type Ways = (Place, Place);

/// A place to jump to, not known yet.
type Place = usize;

/// The program for a socket that sees frames of several interfaces: only those
/// with Ethernet headers; of the loopback's, which are seen going out and coming in,
/// those coming in; then `filter`. Cuts packets to `snapshot` bytes.
pub(crate) fn program(filter: &Filter, snapshot: u32) -> Result<Vec<SockFilter>, TooLong> {
    let mut assembly = Assembly::default();
    let [yes, no, body, loopback, ethernet] = assembly.places();
    assembly.add(LOAD_WORD, HARDWARE_TYPE);
    assembly.jump(EQUAL, ARPHRD_LOOPBACK, (loopback, ethernet));
    assembly.place(loopback);
    assembly.add(LOAD_WORD, PACKET_TYPE);
    assembly.jump(EQUAL, PACKET_OUTGOING, (no, body));
    assembly.place(ethernet);
    assembly.jump(EQUAL, ARPHRD_ETHER, (body, no));
    assembly.place(body);
    assembly.filter(filter, (yes, no));
    assembly.finish((yes, no), snapshot)
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Plain(u16, u32),
    Jump { code: u16, k: u32, ways: Ways, far: bool },
}

/// A program in the making.
#[derive(Debug, Default)]
struct Assembly {
    steps: Vec<Step>,
    /// For each place the number of the step it stands before.
    places: Vec<usize>,
}

impl Assembly {
    fn places<const N: usize>(&mut self) -> [Place; N] {
        let first = self.places.len();
        self.places.resize(first + N, usize::MAX);
        std::array::from_fn(|n| first + n)
    }

    fn place(&mut self, place: Place) {
        if let Some(at) = self.places.get_mut(place) {
            *at = self.steps.len();
        }
    }

    fn add(&mut self, code: u16, k: u32) {
        self.steps.push(Step::Plain(code, k));
    }

    fn jump(&mut self, code: u16, k: u32, ways: Ways) {
        self.steps.push(Step::Jump { code, k, ways, far: false });
    }

    /// Goes on at the next step when the frame is of this type, else at `no`.
    fn only(&mut self, ethertype: u32, no: Place) {
        let [next] = self.places();
        self.add(LOAD_HALF, ETHERTYPE);
        self.jump(EQUAL, ethertype, (next, no));
        self.place(next);
    }

    fn filter(&mut self, filter: &Filter, (yes, no): Ways) {
        match filter {
            Filter::All => self.jump(GREATER_EQUAL, 0, (yes, no)),
            Filter::Test(test) => self.test(test, (yes, no)),
            Filter::Not(inner) => self.filter(inner, (no, yes)),
            Filter::And(left, right) => {
                let [next] = self.places();
                self.filter(left, (next, no));
                self.place(next);
                self.filter(right, (yes, no));
            }
            Filter::Or(left, right) => {
                let [next] = self.places();
                self.filter(left, (yes, next));
                self.place(next);
                self.filter(right, (yes, no));
            }
        }
    }

    fn test(&mut self, test: &Test, (yes, no): Ways) {
        match *test {
            Test::Protocol(protocol) => self.protocol(protocol, (yes, no)),
            Test::Net { family, direction, address, prefix } => match address {
                IpAddr::V4(_) => self.net4(family, direction, &words(address, prefix), (yes, no)),
                IpAddr::V6(_) => {
                    self.only(IPV6, no);
                    self.addresses(direction, IP6_ADDRESSES, &words(address, prefix), (yes, no));
                }
            },
            Test::Port { transport, direction, first, last } => {
                self.port(transport, direction, (first.into(), last.into()), (yes, no));
            }
            Test::Ether { direction, mac } => self.ether(direction, mac.0, (yes, no)),
            Test::Vlan(tag) => self.vlan(tag, (yes, no)),
            Test::Bytes(ref comparison) => self.bytes(comparison, (yes, no)),
            Test::Less(bytes) => {
                self.add(LOAD_LENGTH, 0);
                self.jump(GREATER, bytes, (no, yes));
            }
            Test::Greater(bytes) => {
                self.add(LOAD_LENGTH, 0);
                self.jump(GREATER_EQUAL, bytes, (yes, no));
            }
        }
    }

    fn protocol(&mut self, protocol: Protocol, ways: Ways) {
        let (four, six) = match protocol {
            Protocol::Ip => return self.ethertype(IPV4, ways),
            Protocol::Ip6 => return self.ethertype(IPV6, ways),
            Protocol::Arp => return self.ethertype(ARP, ways),
            transport => numbers(transport),
        };
        let [not_six] = self.places();
        self.only(IPV6, not_six);
        self.header_byte(IP6_NEXT, six, ways);
        self.place(not_six);
        self.only(IPV4, ways.1);
        self.header_byte(IP4_PROTOCOL, four, ways);
    }

    fn ethertype(&mut self, wanted: u32, ways: Ways) {
        self.add(LOAD_HALF, ETHERTYPE);
        self.jump(EQUAL, wanted, ways);
    }

    /// Whether the byte is one of these.
    fn header_byte(&mut self, at: u32, wanted: &[u32], (yes, no): Ways) {
        self.add(LOAD_BYTE, at);
        for number in wanted {
            let [next] = self.places();
            self.jump(EQUAL, *number, (yes, next));
            self.place(next);
        }
        self.jump(GREATER_EQUAL, 0, (no, no));
    }

    /// In IPv4 packets and ARP.
    fn net4(
        &mut self,
        family: Option<Protocol>,
        direction: Direction,
        words: &[(u32, u32)],
        (yes, no): Ways,
    ) {
        let [not_ip] = self.places();
        if family != Some(Protocol::Arp) {
            self.only(IPV4, not_ip);
            self.addresses(direction, IP4_ADDRESSES, words, (yes, no));
        }
        self.place(not_ip);
        match family {
            Some(Protocol::Ip) => self.jump(GREATER_EQUAL, 0, (no, no)),
            _ => {
                self.only(ARP, no);
                self.addresses(direction, ARP_ADDRESSES, words, (yes, no));
            }
        }
    }

    fn addresses(&mut self, direction: Direction, at: (u32, u32), w: &[(u32, u32)], ways: Ways) {
        self.ends(direction, ways, |assembly, source, ways| {
            assembly.words(if source { at.0 } else { at.1 }, w, ways);
        });
    }

    fn port(
        &mut self,
        transport: Option<Protocol>,
        direction: Direction,
        range: (u32, u32),
        (yes, no): Ways,
    ) {
        let [not_six, ports6, whole, ports4] = self.places();
        self.only(IPV6, not_six);
        self.header_byte(IP6_NEXT, transports(transport), (ports6, no));
        self.place(ports6);
        self.ends(direction, (yes, no), |assembly, source, ways| {
            assembly.add(LOAD_HALF, IP6_PAYLOAD + if source { 0 } else { 2 });
            assembly.range(range, ways);
        });
        self.place(not_six);
        self.only(IPV4, no);
        self.header_byte(IP4_PROTOCOL, transports(transport), (whole, no));
        self.place(whole);
        // Later fragments have no ports.
        self.add(LOAD_HALF, IP4_FRAGMENT);
        self.jump(ANY_BIT, 0x1fff, (no, ports4));
        self.place(ports4);
        self.add(LOAD_X_HEADER, IP4);
        self.ends(direction, (yes, no), |assembly, source, ways| {
            assembly.add(LOAD_HALF_AFTER_X, IP4 + if source { 0 } else { 2 });
            assembly.range(range, ways);
        });
    }

    fn range(&mut self, (first, last): (u32, u32), (yes, no): Ways) {
        let [next] = self.places();
        self.jump(GREATER_EQUAL, first, (next, no));
        self.place(next);
        self.jump(GREATER, last, (no, yes));
    }

    /// `test` of one end or both; it is told whether the source is meant.
    fn ends(
        &mut self,
        direction: Direction,
        (yes, no): Ways,
        test: impl Fn(&mut Self, bool, Ways),
    ) {
        let [next] = self.places();
        let first = match direction {
            Direction::Source => return test(self, true, (yes, no)),
            Direction::Destination => return test(self, false, (yes, no)),
            Direction::Either => (yes, next),
            Direction::Both => (next, no),
        };
        test(self, true, first);
        self.place(next);
        test(self, false, (yes, no));
    }

    /// Compares words of the packet, each with (value, mask).
    fn words(&mut self, start: u32, words: &[(u32, u32)], (yes, no): Ways) {
        for (at, (value, mask)) in (start..).step_by(4).zip(words) {
            let [next] = self.places();
            self.add(LOAD_WORD, at);
            self.add(AND, *mask);
            self.jump(EQUAL, *value, (next, no));
            self.place(next);
        }
        self.jump(GREATER_EQUAL, 0, (yes, yes));
    }
}

/// IANA's numbers over IPv4 and over IPv6; none for what is no transport.
fn numbers(protocol: Protocol) -> (&'static [u32], &'static [u32]) {
    match protocol {
        Protocol::Ip | Protocol::Ip6 | Protocol::Arp => (&[], &[]),
        Protocol::Icmp => (&[1], &[]),
        Protocol::Icmp6 => (&[], &[58]),
        Protocol::Tcp | Protocol::Udp | Protocol::Sctp => {
            let numbers = transports(Some(protocol));
            (numbers, numbers)
        }
    }
}

/// IANA's numbers.
fn transports(protocol: Option<Protocol>) -> &'static [u32] {
    match protocol {
        Some(Protocol::Tcp) => &[6],
        Some(Protocol::Udp) => &[17],
        Some(_) => &[132],
        None => &[6, 17, 132],
    }
}

/// The words of an address that count, each with its mask.
fn words(address: IpAddr, prefix: u8) -> Vec<(u32, u32)> {
    let bytes = match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    let words = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_be_bytes(*word));
    let masks = (0..u32::from(prefix)).step_by(32).map(|from| {
        let kept = (u32::from(prefix) - from).min(32);
        u32::MAX.checked_shl(32 - kept).unwrap_or(0)
    });
    words.zip(masks).map(|(word, mask)| (word & mask, mask)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Names;
    use super::super::bytes::{Comparison, Load, Relation};
    use super::super::parse::masked;
    use super::super::tests::{any_address, any_filter};
    use super::*;
    use crate::plan::Mac;
    use proptest::prelude::*;

    /// What the kernel does with a program (net/core/filter.c), by the book.
    fn run(program: &[SockFilter], packet: &[u8]) -> u32 {
        let (mut a, mut x, mut at) = (0u32, 0u32, 0usize);
        let load = |offset: u32, bytes: usize| -> Option<u32> {
            let part = packet.get(usize::try_from(offset).ok()?..)?.get(..bytes)?;
            Some(part.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
        };
        loop {
            let SockFilter { code, jt, jf, k } = program[at];
            at += 1;
            let loaded = match code {
                LOAD_WORD if k == HARDWARE_TYPE => Some(ARPHRD_ETHER),
                LOAD_WORD if k == PACKET_TYPE => Some(0),
                LOAD_WORD if k == bytes::HAS_TAKEN_TAG => Some(0),
                LOAD_WORD => load(k, 4),
                LOAD_HALF => load(k, 2),
                LOAD_BYTE => load(k, 1),
                LOAD_WORD_AFTER_X => load(x + k, 4),
                LOAD_HALF_AFTER_X => load(x + k, 2),
                LOAD_BYTE_AFTER_X => load(x + k, 1),
                LOAD_LENGTH => u32::try_from(packet.len()).ok(),
                AND => Some(a & k),
                LOAD_X_HEADER => {
                    x = 4 * (load(k, 1).unwrap() & 15);
                    continue;
                }
                ALWAYS => {
                    at += usize::try_from(k).unwrap();
                    continue;
                }
                RETURN => return k,
                _ => {
                    let holds = match code {
                        EQUAL => a == k,
                        GREATER => a > k,
                        GREATER_EQUAL => a >= k,
                        ANY_BIT => a & k != 0,
                        _ => panic!("no such instruction: {code:#x}"),
                    };
                    at += usize::from(if holds { jt } else { jf });
                    continue;
                }
            };
            match loaded {
                Some(value) => a = value,
                None => return 0,
            }
        }
    }

    /// A packet as it is meant.
    #[derive(Debug, Clone)]
    struct Meant {
        arp: bool,
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        ports: (u16, u16),
        options: u8,
        fragment: u16,
    }

    impl Meant {
        fn bytes(&self) -> Vec<u8> {
            let mut bytes = vec![2; 12];
            let ports = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
            match (self.source, self.destination) {
                (IpAddr::V4(s), IpAddr::V4(d)) if self.arp => {
                    bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 2, 2, 2, 2, 2]);
                    bytes.extend(s.octets());
                    bytes.extend([0; 6]);
                    bytes.extend(d.octets());
                }
                (IpAddr::V4(s), IpAddr::V4(d)) => {
                    bytes.extend([8, 0, 0x45 + self.options, 0, 0, 60, 0, 0]);
                    bytes.extend(self.fragment.to_be_bytes());
                    bytes.extend([64, self.protocol, 0, 0]);
                    bytes.extend(s.octets());
                    bytes.extend(d.octets());
                    bytes.extend(vec![1; usize::from(self.options) * 4]);
                    bytes.extend(ports);
                }
                (IpAddr::V6(s), IpAddr::V6(d)) => {
                    bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, self.protocol, 64]);
                    bytes.extend(s.octets());
                    bytes.extend(d.octets());
                    bytes.extend(ports);
                }
                _ => unreachable!(),
            }
            bytes.resize(bytes.len().max(80) + 20, 0);
            bytes
        }

        fn is(&self, filter: &Filter) -> bool {
            match filter {
                Filter::All => true,
                Filter::Not(inner) => !self.is(inner),
                Filter::And(a, b) => self.is(a) && self.is(b),
                Filter::Or(a, b) => self.is(a) || self.is(b),
                Filter::Test(test) => self.passes(test),
            }
        }

        fn passes(&self, test: &Test) -> bool {
            let (four, ip) = (self.source.is_ipv4(), !self.arp);
            let ends = |direction, test: &dyn Fn(bool) -> bool| match direction {
                Direction::Source => test(true),
                Direction::Destination => test(false),
                Direction::Either => test(true) || test(false),
                Direction::Both => test(true) && test(false),
            };
            let has = |protocol| transports(protocol).contains(&u32::from(self.protocol)) && ip;
            match *test {
                Test::Protocol(protocol) => match protocol {
                    Protocol::Arp => self.arp,
                    Protocol::Ip => four && ip,
                    Protocol::Ip6 => !four,
                    Protocol::Icmp => four && ip && self.protocol == 1,
                    Protocol::Icmp6 => !four && self.protocol == 58,
                    other => has(Some(other)),
                },
                Test::Net { family, direction, address, prefix } => {
                    let fits = match family {
                        Some(Protocol::Arp) => self.arp,
                        Some(_) => ip,
                        None => true,
                    };
                    let within = |source| {
                        let end = if source { self.source } else { self.destination };
                        end.is_ipv4() == address.is_ipv4() && masked(end, prefix) == address
                    };
                    fits && ends(direction, &within)
                }
                Test::Port { transport, direction, first, last } => {
                    let whole = !four || self.fragment & 0x1fff == 0;
                    let within = |source| {
                        (first..=last).contains(&if source { self.ports.0 } else { self.ports.1 })
                    };
                    has(transport) && whole && ends(direction, &within)
                }
                Test::Ether { direction, mac } => {
                    // Both ends of every packet are the same.
                    let own = |_| mac == Mac([2; 6]);
                    ends(direction, &own)
                }
                Test::Vlan(_) => false,
                Test::Bytes(comparison) => self.compares(&comparison),
                Test::Less(bytes) => self.bytes().len() <= usize::try_from(bytes).unwrap(),
                Test::Greater(bytes) => self.bytes().len() >= usize::try_from(bytes).unwrap(),
            }
        }
    }

    impl Meant {
        /// Where the header begins, if the packet has it.
        fn header(&self, of: Option<Protocol>) -> Option<usize> {
            let four = self.source.is_ipv4();
            let whole = !four || self.fragment & 0x1fff == 0;
            let transport = if four { 34 + usize::from(self.options) * 4 } else { 54 };
            let has = |protocol| self.passes(&Test::Protocol(protocol));
            match of {
                None => Some(0),
                Some(of @ (Protocol::Ip | Protocol::Ip6 | Protocol::Arp)) => has(of).then_some(14),
                Some(of) => (has(of) && whole).then_some(transport),
            }
        }

        fn compares(&self, comparison: &Comparison) -> bool {
            let Comparison { load, mask, relation, value } = *comparison;
            let bytes = self.bytes();
            let loaded = match load {
                Load::Length => u32::try_from(bytes.len()).unwrap(),
                Load::Bytes { of, offset, size } => {
                    let Some(start) = self.header(of) else { return false };
                    let start = start + usize::try_from(offset).unwrap();
                    let bytes = &bytes[start..start + usize::from(size)];
                    bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
                }
            };
            let loaded = loaded & mask.unwrap_or(u32::MAX);
            match relation {
                Relation::Equal => loaded == value,
                Relation::NotEqual => loaded != value,
                Relation::Less => loaded < value,
                Relation::LessEqual => loaded <= value,
                Relation::Greater => loaded > value,
                Relation::GreaterEqual => loaded >= value,
            }
        }
    }

    fn any_packet() -> impl Strategy<Value = Meant> {
        let protocols = prop_oneof![Just(6u8), Just(17), Just(132), Just(1), Just(58), Just(47)];
        let fragments = prop_oneof![4 => Just(0u16), 1 => Just(0x2000), 1 => Just(0x2005)];
        let ports = (1u16..8, 1u16..8);
        (any::<bool>(), any_address(), any_address(), protocols, ports, 0u8..11, fragments)
            .prop_filter_map(
                "one family",
                |(arp, source, destination, protocol, ports, options, fragment)| {
                    let arp = arp && source.is_ipv4();
                    let meant =
                        Meant { arp, source, destination, protocol, ports, options, fragment };
                    (source.is_ipv4() == destination.is_ipv4()).then_some(meant)
                },
            )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_program_finds_what_the_filter_means(filter in any_filter(), packet in any_packet()) {
            let program = program(&filter, 77).unwrap();
            let wanted = if packet.is(&filter) { 77 } else { 0 };
            prop_assert_eq!(run(&program, &packet.bytes()), wanted);
        }
    }

    #[test]
    fn a_long_filter_takes_far_jumps_and_too_long_a_one_is_refused() {
        let ports = |count: usize| {
            let all: Vec<String> = (1..=count).map(|n| format!("port {n}")).collect();
            Filter::parse(&all.join(" or "), &Names::new()).unwrap()
        };
        let program = super::program(&ports(100), 1).unwrap();
        assert!(program.iter().any(|i| i.code == ALWAYS && i.k > 255));
        let mut packet = Meant {
            arp: false,
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
            protocol: 6,
            ports: (4000, 100),
            options: 0,
            fragment: 0,
        };
        assert_eq!(run(&program, &packet.bytes()), 1);
        packet.ports.1 = 101;
        assert_eq!(run(&program, &packet.bytes()), 0);
        assert_eq!(super::program(&ports(2000), 1), Err(TooLong));
    }
}
