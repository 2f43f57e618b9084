//! One DNS question over the network: UDP first, TCP when the answer is cut.
//!
//! The wire format is `simple-dns`'s; this file owns the sockets, the time and
//! the checks that an answer is the answer to *our* question (RFC 5452, 9.1):
//! it comes from the asked server (connected socket), with our random id and
//! our question in it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

/// The most a UDP answer without EDNS may hold is 512 bytes (RFC 1035, 4.2.1);
/// some servers send more all the same.
const UDP_MAX: usize = 4096;
/// More wrong datagrams than this in one exchange is an attack, not an accident.
const STRAY_MAX: usize = 64;

/// What a server said about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The addresses, perhaps none (the name exists without this kind).
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
}

/// Asks `server` for the IPv4 and IPv6 addresses of `name`, within `patience`.
///
/// # Errors
/// No usable answer from this server: the next one may have it.
pub(super) fn ask(server: SocketAddr, name: &str, patience: Duration) -> io::Result<Answer> {
    let until = Instant::now() + patience;
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // The kernel picks the source port at random; connect(2) keeps others' datagrams out.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    let mut questions = Vec::new();
    for kind in [TYPE::A, TYPE::AAAA] {
        let question = Asked::new(name, kind)?;
        socket.send(&question.bytes)?;
        questions.push(question);
    }
    let mut addresses = Vec::new();
    let mut missing = 0;
    let mut buffer = [0u8; UDP_MAX];
    let mut strays = 0;
    while !questions.is_empty() {
        socket.set_read_timeout(Some(left(until)?))?;
        let length = socket.recv(&mut buffer)?;
        let message = buffer.get(..length).unwrap_or_default();
        let Some(at) = questions.iter().position(|q| q.is_answered_by(message)) else {
            strays += 1;
            if strays > STRAY_MAX {
                return Err(io::Error::other("too many answers to other questions"));
            }
            continue;
        };
        let question = questions.swap_remove(at);
        let answer = match question.read(message)? {
            Some(answer) => answer,
            None => question.over_tcp(server, until)?,
        };
        match answer {
            Answer::Addresses(found) => addresses.extend(found),
            Answer::NoSuchName => missing += 1,
        }
    }
    // A server that knows no AAAA of an existing name may wrongly say "no such name".
    if missing > 0 && addresses.is_empty() {
        return Ok(Answer::NoSuchName);
    }
    Ok(Answer::Addresses(addresses))
}

fn left(until: Instant) -> io::Result<Duration> {
    match until.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

fn bad(e: &simple_dns::SimpleDnsError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e.to_string())
}

struct Asked<'a> {
    id: u16,
    question: Question<'a>,
    bytes: Vec<u8>,
}

impl<'a> Asked<'a> {
    fn new(name: &'a str, kind: TYPE) -> io::Result<Self> {
        let mut id = [0u8; 2];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
        let id = u16::from_ne_bytes(id);
        let name = Name::new(name).map_err(|e| bad(&e))?;
        let question = Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false);
        let mut packet = Packet::new_query(id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        packet.questions.push(question.clone());
        let bytes = packet.build_bytes_vec().map_err(|e| bad(&e))?;
        Ok(Self { id, question, bytes })
    }

    fn is_answered_by(&self, message: &[u8]) -> bool {
        let Ok(packet) = Packet::parse(message) else { return false };
        let same = |q: &Question<'_>| {
            q.qtype == self.question.qtype
                && q.qname.to_string().eq_ignore_ascii_case(&self.question.qname.to_string())
        };
        packet.id() == self.id
            && packet.has_flags(PacketFlag::RESPONSE)
            && matches!(packet.questions.as_slice(), [q] if same(q))
    }

    /// `None`: the answer is cut and must be asked for over TCP.
    fn read(&self, message: &[u8]) -> io::Result<Option<Answer>> {
        let packet = Packet::parse(message).map_err(|e| bad(&e))?;
        if packet.has_flags(PacketFlag::TRUNCATION) {
            return Ok(None);
        }
        match packet.rcode() {
            RCODE::NoError => {}
            RCODE::NameError => return Ok(Some(Answer::NoSuchName)),
            code => return Err(io::Error::other(format!("the name server said {code:?}"))),
        }
        let addresses = packet.answers.iter().filter_map(|record| match &record.rdata {
            RData::A(a) => Some(IpAddr::from(Ipv4Addr::from(a.address))),
            RData::AAAA(a) => Some(IpAddr::from(Ipv6Addr::from(a.address))),
            _ => None,
        });
        Ok(Some(Answer::Addresses(addresses.collect())))
    }

    /// RFC 7766: two bytes of length, then the message.
    fn over_tcp(&self, server: SocketAddr, until: Instant) -> io::Result<Answer> {
        let mut stream = TcpStream::connect_timeout(&server, left(until)?)?;
        stream.set_write_timeout(Some(left(until)?))?;
        let length = u16::try_from(self.bytes.len()).map_err(io::Error::other)?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(&self.bytes);
        stream.write_all(&framed)?;
        let mut length = [0u8; 2];
        read_until(&mut stream, &mut length, until)?;
        let mut message = vec![0u8; usize::from(u16::from_be_bytes(length))];
        read_until(&mut stream, &mut message, until)?;
        if !self.is_answered_by(&message) {
            return Err(io::Error::other("the name server answered another question"));
        }
        self.read(&message)?.ok_or_else(|| io::Error::other("the name server cut its TCP answer"))
    }
}

/// `read_exact` with a deadline for the whole: a server that drips a byte a
/// second holds nobody up (CVE-2024-8418's kind).
fn read_until(stream: &mut TcpStream, buffer: &mut [u8], until: Instant) -> io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(rest)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => filled += n,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::{A, AAAA};
    use std::net::TcpListener;

    const PATIENCE: Duration = Duration::from_secs(3);

    /// Answers like a name server: 192.0.2.1 and 2001:db8::1 for `exists.test`.
    fn reply(query: &[u8], cut: bool) -> Vec<u8> {
        let query = Packet::parse(query).unwrap();
        let question = query.questions[0].clone();
        let mut packet = Packet::new_reply(query.id());
        let name = question.qname.clone();
        packet.questions.push(question.clone());
        if cut {
            packet.set_flags(PacketFlag::TRUNCATION);
        } else if name.to_string() == "exists.test" {
            let rdata = match question.qtype {
                QTYPE::TYPE(TYPE::A) => RData::A(A { address: Ipv4Addr::new(192, 0, 2, 1).into() }),
                _ => {
                    RData::AAAA(AAAA { address: "2001:db8::1".parse::<Ipv6Addr>().unwrap().into() })
                }
            };
            packet.answers.push(ResourceRecord::new(name, CLASS::IN, 60, rdata));
        } else {
            *packet.rcode_mut() = RCODE::NameError;
        }
        packet.build_bytes_vec().unwrap()
    }

    fn server(cut: bool, noise: bool) -> SocketAddr {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(addr).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0u8; 512];
            while let Ok((n, from)) = udp.recv_from(&mut buffer) {
                if noise {
                    let mut forged = reply(&buffer[..n], false);
                    forged[0] ^= 0xff;
                    udp.send_to(&forged, from).unwrap();
                    udp.send_to(b"junk", from).unwrap();
                }
                udp.send_to(&reply(&buffer[..n], cut), from).unwrap();
            }
        });
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let mut length = [0u8; 2];
                stream.read_exact(&mut length).unwrap();
                let mut query = vec![0u8; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut query).unwrap();
                let answer = reply(&query, false);
                stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes()).unwrap();
                stream.write_all(&answer).unwrap();
            }
        });
        addr
    }

    fn sorted(answer: Answer) -> Vec<String> {
        let Answer::Addresses(mut found) = answer else { panic!("no such name") };
        found.sort();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn both_families_come_over_udp_and_forged_answers_are_ignored() {
        let answer = ask(server(false, true), "exists.test", PATIENCE).unwrap();
        assert_eq!(sorted(answer), ["192.0.2.1", "2001:db8::1"]);
    }

    #[test]
    fn a_cut_answer_is_asked_for_again_over_tcp() {
        let answer = ask(server(true, false), "exists.test", PATIENCE).unwrap();
        assert_eq!(sorted(answer), ["192.0.2.1", "2001:db8::1"]);
    }

    #[test]
    fn a_missing_name_is_told_apart_from_a_silent_server() {
        let answer = ask(server(false, false), "missing.test", PATIENCE).unwrap();
        assert_eq!(answer, Answer::NoSuchName);
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let begun = Instant::now();
        let patience = Duration::from_millis(200);
        assert!(ask(silent.local_addr().unwrap(), "exists.test", patience).is_err());
        assert!(begun.elapsed() < Duration::from_secs(2));
    }

    proptest::proptest! {
        #[test]
        fn no_message_makes_us_panic(message in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
            let asked = Asked::new("exists.test", TYPE::A).unwrap();
            let _ = (asked.is_answered_by(&message), asked.read(&message));
        }
    }
}
