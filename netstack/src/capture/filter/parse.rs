//! Words ([`words`]) → [`Filter`]. As with tcpdump, `not` binds closest, `and` and `or` bind
//! alike and from left to right, and a bare value takes the words said before the
//! last one: `port 80 or 443`.

use std::net::{IpAddr, Ipv4Addr};

use super::{Direction, Filter, Names, Protocol, Test, bits};
use crate::plan::Mac;

mod bytes;
mod error;
mod values;
mod words;

pub use error::FilterError;
pub(super) use values::masked;
use values::{parse_port, parse_range, partial};
use words::split;

/// Brackets within brackets.
const DEPTH: u32 = 200;

/// What a value is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Host,
    Net,
    Port,
    PortRange,
}

impl Kind {
    /// The word before it, and what that word wants.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Host => ("host", "an address"),
            Self::Net => ("net", "a network"),
            Self::Port => ("port", "a port"),
            Self::PortRange => ("portrange", "a range of ports"),
        }
    }

    fn of(word: &str) -> Option<Self> {
        let all = [Self::Host, Self::Net, Self::Port, Self::PortRange];
        all.into_iter().find(|kind| kind.words().0 == word)
    }
}

/// The words before a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Qualifiers {
    protocol: Option<Protocol>,
    direction: Direction,
    kind: Kind,
}

impl Filter {
    /// Reads a filter; no words at all want every packet. `names` is what `host`
    /// knows besides addresses.
    ///
    /// # Errors
    /// The word that is wrong.
    pub fn parse(text: &str, names: &Names) -> Result<Self, FilterError> {
        let words = split(text);
        if words.is_empty() {
            return Ok(Self::All);
        }
        let mut parser = Parser { words: &words, at: 0, names, last: None };
        let filter = parser.expression(0)?;
        match parser.peek() {
            None => Ok(filter),
            Some(word) => Err(FilterError::Word(word.to_owned())),
        }
    }
}

struct Parser<'a> {
    words: &'a [&'a str],
    at: usize,
    names: &'a Names,
    /// What the last value was qualified with.
    last: Option<Qualifiers>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.ahead(0)
    }

    fn ahead(&self, more: usize) -> Option<&'a str> {
        self.words.get(self.at + more).copied()
    }

    fn missing(&self, expected: &'static str) -> FilterError {
        FilterError::Missing { expected, before: self.peek().unwrap_or_default().to_owned() }
    }

    fn expression(&mut self, depth: u32) -> Result<Filter, FilterError> {
        let mut left = self.term(depth)?;
        loop {
            let join = match self.peek() {
                Some("and" | "&&") => Filter::and,
                Some("or" | "||") => Filter::or,
                _ => return Ok(left),
            };
            self.at += 1;
            left = join(left, self.term(depth)?);
        }
    }

    fn term(&mut self, depth: u32) -> Result<Filter, FilterError> {
        if depth > DEPTH {
            return Err(FilterError::TooDeep);
        }
        match self.peek() {
            Some("not" | "!") => {
                self.at += 1;
                Ok(Filter::Not(Box::new(self.term(depth + 1)?)))
            }
            Some("(") => {
                self.at += 1;
                let inner = self.expression(depth + 1)?;
                if self.peek() != Some(")") {
                    return Err(self.missing("')'"));
                }
                self.at += 1;
                Ok(inner)
            }
            Some("less" | "greater") => self.length(),
            Some("vlan") => self.vlan(),
            Some("len") => self.comparison(),
            Some("ether") if !self.has_offset() => self.ether(),
            Some(_) if self.has_offset() => self.comparison(),
            _ => self.primitive(),
        }
    }

    fn primitive(&mut self) -> Result<Filter, FilterError> {
        let Some(first) = self.peek() else {
            return Err(self.missing("something to look for"));
        };
        let protocol = Protocol::ALL.into_iter().find(|p| p.word() == first);
        self.at += usize::from(protocol.is_some());
        let direction = self.direction();
        let kind = self.peek().and_then(Kind::of);
        self.at += usize::from(kind.is_some());
        match (protocol, direction, kind, self.last) {
            (Some(protocol), None, None, _) if self.ends_here() => {
                Ok(Filter::Test(Test::Protocol(protocol)))
            }
            // `tcp prot 80`: rather a misspelt keyword than the address of a host.
            (Some(protocol), None, None, _) if !protocol.has_addresses() => {
                Err(FilterError::Word(self.peek().unwrap_or_default().to_owned()))
            }
            // A value alone: as the last one.
            (None, None, None, Some(last)) => self.value(last),
            (protocol, direction, kind, _) => self.value(Qualifiers {
                protocol,
                direction: direction.unwrap_or_default(),
                kind: kind.unwrap_or(Kind::Host),
            }),
        }
    }

    /// Whether no value can follow.
    fn ends_here(&self) -> bool {
        matches!(self.peek(), None | Some(")" | "and" | "&&" | "or" | "||"))
    }

    fn length(&mut self) -> Result<Filter, FilterError> {
        let test = if self.peek() == Some("greater") { Test::Greater } else { Test::Less };
        self.at += 1;
        let Some(word) = self.peek() else { return Err(self.missing("a number of bytes")) };
        let wrong = |_| FilterError::Value { word: word.to_owned(), what: "a number of bytes" };
        let bytes = word.parse().map_err(wrong)?;
        self.at += 1;
        Ok(Filter::Test(test(bytes)))
    }

    /// `vlan`, `vlan 50`.
    fn vlan(&mut self) -> Result<Filter, FilterError> {
        self.at += 1;
        let Some(word) = self.peek().filter(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        else {
            return Ok(Filter::Test(Test::Vlan(None)));
        };
        self.at += 1;
        // 802.1Q: twelve bits.
        let tag = word.parse().ok().filter(|tag| *tag < 4096);
        let what = "a VLAN, which is a number from 0 to 4095";
        let tag = tag.ok_or_else(|| FilterError::Value { word: word.to_owned(), what })?;
        Ok(Filter::Test(Test::Vlan(Some(tag))))
    }

    /// `ether host 02:42:0a:00:00:02`, `ether src …`.
    fn ether(&mut self) -> Result<Filter, FilterError> {
        self.at += 1;
        let direction = self.direction().unwrap_or_default();
        self.at += usize::from(self.peek() == Some("host"));
        let what = "an Ethernet address";
        if self.ends_here() {
            return Err(self.missing(what));
        }
        let word = self.peek().unwrap_or_default();
        self.at += 1;
        let mac = word.parse::<Mac>();
        let mac = mac.map_err(|_| FilterError::Value { word: word.to_owned(), what })?;
        Ok(Filter::Test(Test::Ether { direction, mac }))
    }

    /// `src`, `dst`, `src or dst`, `src and dst`.
    fn direction(&mut self) -> Option<Direction> {
        let (first, other) = match self.peek()? {
            "src" => (Direction::Source, "dst"),
            "dst" => (Direction::Destination, "src"),
            _ => return None,
        };
        let joined = self.ahead(2) == Some(other);
        let (direction, words) = match self.ahead(1) {
            Some("or" | "||") if joined => (Direction::Either, 3),
            Some("and" | "&&") if joined => (Direction::Both, 3),
            _ => (first, 1),
        };
        self.at += words;
        Some(direction)
    }

    fn value(&mut self, qualifiers: Qualifiers) -> Result<Filter, FilterError> {
        let Qualifiers { protocol, direction, kind } = qualifiers;
        let fits = |p: Protocol| match kind {
            Kind::Host | Kind::Net => p.has_addresses(),
            Kind::Port | Kind::PortRange => p.has_ports(),
        };
        if let Some(protocol) = protocol.filter(|p| !fits(*p)) {
            let (protocol, kind) = (protocol.word(), kind.words().0);
            return Err(FilterError::Qualifier { protocol, kind });
        }
        if self.ends_here() {
            return Err(self.missing(kind.words().1));
        }
        let word = self.peek().unwrap_or_default();
        self.at += 1;
        let port = |(first, last)| Test::Port { transport: protocol, direction, first, last };
        let filter = match kind {
            Kind::Host => self.host(word, protocol, direction)?,
            Kind::Net => {
                let (address, prefix) = self.net(word)?;
                net(protocol, direction, address, prefix)?
            }
            Kind::Port => Filter::Test(port(parse_port(word).map(|p| (p, p))?)),
            Kind::PortRange => Filter::Test(port(parse_range(word)?)),
        };
        self.last = Some(qualifiers);
        Ok(filter)
    }

    /// An address, or a name with all of its addresses that fit.
    fn host(
        &self,
        word: &str,
        family: Option<Protocol>,
        direction: Direction,
    ) -> Result<Filter, FilterError> {
        if let Ok(address) = word.parse::<IpAddr>() {
            return net(family, direction, address, bits(address));
        }
        let addresses = self.names.get(word).into_iter().flatten();
        let tests = addresses.filter_map(|a| net(family, direction, *a, bits(*a)).ok());
        let said = self.at.checked_sub(2).and_then(|n| self.words.get(n));
        let unknown = || match said {
            Some(&("host" | "src" | "dst")) => FilterError::Value {
                word: word.to_owned(),
                what: "an address, nor the name of a running container",
            },
            // Rather a misspelt keyword.
            _ => FilterError::Word(word.to_owned()),
        };
        tests.reduce(Filter::or).ok_or_else(unknown)
    }

    /// `10.0.0.0/8`, `10.0.0.0 mask 255.0.0.0`, `10`, `192.168`, `fd00::/8`.
    fn net(&mut self, word: &str) -> Result<(IpAddr, u8), FilterError> {
        let wrong = || FilterError::Value { word: word.to_owned(), what: "a network" };
        let (text, length) = match word.split_once('/') {
            Some((text, length)) => (text, Some(length.parse::<u8>().map_err(|_| wrong())?)),
            None => (word, None),
        };
        let (address, whole) = match text.parse::<IpAddr>() {
            Ok(address) => (address, bits(address)),
            Err(_) => partial(text).ok_or_else(wrong)?,
        };
        let prefix = match length {
            None if self.peek() == Some("mask") => self.mask()?,
            length => length.unwrap_or(whole),
        };
        if prefix > bits(address) {
            return Err(wrong());
        }
        if masked(address, prefix) != address {
            let what = "a network: it has bits set outside its prefix";
            return Err(FilterError::Value { word: word.to_owned(), what });
        }
        Ok((address, prefix))
    }

    fn mask(&mut self) -> Result<u8, FilterError> {
        self.at += 1;
        let Some(word) = self.peek() else { return Err(self.missing("a mask")) };
        self.at += 1;
        let mask = word.parse::<Ipv4Addr>().map(u32::from).ok();
        mask.filter(|m| m.leading_ones() + m.trailing_zeros() >= 32)
            .and_then(|m| u8::try_from(m.leading_ones()).ok())
            .ok_or_else(|| FilterError::Value { word: word.to_owned(), what: "a mask" })
    }
}

fn net(
    family: Option<Protocol>,
    direction: Direction,
    address: IpAddr,
    prefix: u8,
) -> Result<Filter, FilterError> {
    match family {
        Some(protocol) if (protocol == Protocol::Ip6) != address.is_ipv6() => {
            Err(FilterError::Family { protocol: protocol.word(), address })
        }
        family => Ok(Filter::Test(Test::Net { family, direction, address, prefix })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        let db = vec![[10, 0, 0, 5].into(), "fd00::5".parse().unwrap()];
        let names = Names::from([("db".into(), db)]);
        Filter::parse(text, &names).map(|f| f.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn filters_mean_what_tcpdump_says() {
        for (text, wanted) in [
            ("", ""),
            ("tcp", "tcp"),
            ("10.0.0.1", "host 10.0.0.1"),
            ("src 10.0.0.1", "src host 10.0.0.1"),
            ("port 80 or 443", "(port 80) or (port 443)"),
            ("tcp dst port http or https", "(tcp dst port 80) or (tcp dst port 443)"),
            ("host 10.0.0.1 and 10.0.0.2", "(host 10.0.0.1) and (host 10.0.0.2)"),
            // From left to right, both alike.
            ("arp or icmp and ip", "((arp) or (icmp)) and (ip)"),
            ("arp or (icmp and ip)", "(arp) or ((icmp) and (ip))"),
            ("not arp and tcp", "(not (arp)) and (tcp)"),
            ("!arp&&tcp", "(not (arp)) and (tcp)"),
            ("src or dst port 53", "port 53"),
            ("src and dst net 10", "src and dst net 10.0.0.0/8"),
            ("net 192.168", "net 192.168.0.0/16"),
            ("net 10.1.0.0 mask 255.255.0.0", "net 10.1.0.0/16"),
            ("net 0.0.0.0 mask 0.0.0.0", "net 0.0.0.0/0"),
            ("net 10.1.2.3", "host 10.1.2.3"),
            ("src 10.0.0.1 or dst 10.0.0.2", "(src host 10.0.0.1) or (dst host 10.0.0.2)"),
            ("udp portrange 5000-5010", "udp portrange 5000-5010"),
            ("host db", "(host 10.0.0.5) or (host fd00::5)"),
            ("db", "(host 10.0.0.5) or (host fd00::5)"),
            ("ip6 host db", "ip6 host fd00::5"),
            ("arp host 10.0.0.1", "arp host 10.0.0.1"),
            ("greater 100", "greater 100"),
            ("ether host 02:42:0A:00:00:02", "ether host 02:42:0a:00:00:02"),
            ("ether src 02:42:0a:00:00:02", "ether src host 02:42:0a:00:00:02"),
            ("vlan and vlan 50", "(vlan) and (vlan 50)"),
            ("tcp[13]&2!=0", "tcp[13:1] & 0x2 != 0"),
            ("tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "tcp[13:1] & 0x3 != 0"),
            ("tcp [ tcpflags ] == tcp-syn | tcp-ack", "tcp[13:1] = 18"),
            ("ip[6:2] & 0x1fff = 0 and not arp", "(ip[6:2] & 0x1fff = 0) and (not (arp))"),
            ("icmp[icmptype] = icmp-echo", "icmp[0:1] = 8"),
            ("ether[0] & 1 = 0", "ether[0:1] & 0x1 = 0"),
            ("(tcp[2:2] > 1023)", "tcp[2:2] > 1023"),
            ("len <= 60", "len <= 60"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn errors_name_the_word() {
        for (text, wanted) in [
            ("prt 80", "'prt' is not understood in a filter"),
            ("tcp prot 80", "'prot' is not understood in a filter"),
            ("tcp port", "a port is missing at the end"),
            ("port and tcp", "a port is missing before 'and'"),
            ("port 80 80", "'80' is not understood in a filter"),
            ("port eighty", "'eighty' is not a port"),
            ("port 65536", "'65536' is not a port"),
            ("portrange 10-5", "'10-5' is not a range of ports"),
            ("(tcp", "')' is missing at the end"),
            ("tcp)", "')' is not understood in a filter"),
            ("tcp and", "something to look for is missing at the end"),
            ("net 10.0.0.1/8", "'10.0.0.1/8' is not a network: it has bits set outside its prefix"),
            ("net 10.0.0.0/33", "'10.0.0.0/33' is not a network"),
            ("tcp host 10.0.0.1", "'tcp' cannot stand before 'host': say 'tcp and host …'"),
            ("ip port 80", "'ip' cannot stand before 'port': say 'ip and port …'"),
            ("ip6 host 10.0.0.1", "10.0.0.1 is not an address of 'ip6'"),
            ("host web", "'web' is not an address, nor the name of a running container"),
            ("less much", "'much' is not a number of bytes"),
            ("ether host 10.0.0.1", "'10.0.0.1' is not an Ethernet address"),
            ("ether", "an Ethernet address is missing at the end"),
            ("vlan 4096", "'4096' is not a VLAN, which is a number from 0 to 4095"),
            ("tcp[13] & 2", "a comparison (= != < <= > >=) is missing at the end"),
            ("tcp[13] = syn", "'syn' is not a number, nor the name of one"),
            ("tcp[13] &", "a number is missing at the end"),
            ("tcp[13] & (1|2 = 3", "')' is missing before '='"),
            (
                "tcp[13:3] = 1",
                "'[13:3]' is not an offset: say [FIRST] or [FIRST:BYTES], with 1, 2 or 4 bytes",
            ),
            (
                "ip[tcp[12]] = 1",
                "'[tcp[12]' is not an offset: say [FIRST] or [FIRST:BYTES], with 1, 2 or 4 bytes",
            ),
            (
                "host[1] = 1",
                "'host' has no bytes to look at: say ether, ip, ip6, arp, tcp, udp, sctp, icmp or icmp6",
            ),
            ("tcp[13", "']' is missing at the end"),
            ("tcp & udp", "'&' is not understood in a filter"),
        ] {
            assert_eq!(parse(text), Err(wanted.to_owned()), "{text}");
        }
        for sign in ["(", "!"] {
            assert_eq!(parse(&sign.repeat(9999)), Err(FilterError::TooDeep.to_string()));
        }
    }
}
