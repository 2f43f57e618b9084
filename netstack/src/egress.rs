//! `--egress-allow`: what a container may open connections to. Pure: the rules as
//! typed, and what they mean for addresses (`spans`) and for names.

mod spans;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub(crate) use self::spans::{Span, disjoint};
use crate::cidr::{IpNet, Ipv4Net, Ipv6Net};
use crate::ports::Protocol;

/// Everything that a container may open connections to; nothing, when it is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EgressList {
    rules: Vec<EgressRule>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EgressRule {
    /// Where to.
    pub target: Target,
    /// Which ports; `None`: every protocol with all its ports.
    pub ports: Option<Ports>,
}

/// Where a rule leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Addresses.
    Block(IpNet),
    /// A name, in small letters: whatever addresses it has.
    Name(String),
    /// Every name below this one: `*.example.org`.
    Below(String),
}

/// Ports of one protocol, the first and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ports {
    /// Transport protocol.
    pub protocol: Protocol,
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

/// Why a text is no rule, with the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid egress rule {text:?}: {why}")]
pub struct EgressError {
    text: String,
    why: &'static str,
}

const FORMS: &str = "expected CIDR, IP[:PORT], NAME[:PORT], with /tcp, /udp or /sctp, or none";
const PORTS: &str = "a port is a number from 1 to 65535, a range two of them in order";

impl EgressList {
    /// What these texts say, each a rule or several with commas between; `none` alone
    /// is the empty list.
    ///
    /// # Errors
    /// The first that is no rule.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, EgressError> {
        let words: Vec<&str> = texts.iter().flat_map(|text| text.as_ref().split(',')).collect();
        if words == ["none"] {
            return Ok(Self::default());
        }
        let mut rules: Vec<EgressRule> = Vec::new();
        for word in words {
            if word == "none" {
                let why = "it allows nothing and stands alone";
                return Err(EgressError { text: word.to_owned(), why });
            }
            let rule = word.parse()?;
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        Ok(Self { rules })
    }

    /// The rules as texts, `none` of the empty list.
    pub fn words(&self) -> Vec<String> {
        match self.rules.as_slice() {
            [] => vec!["none".to_owned()],
            rules => rules.iter().map(ToString::to_string).collect(),
        }
    }

    /// The same with the addresses of names that are known beforehand (`--add-host`).
    #[must_use]
    pub fn with_hosts<'a>(&self, hosts: impl Iterator<Item = (&'a str, IpAddr)>) -> Self {
        let mut rules = self.rules.clone();
        for (name, address) in hosts {
            let name = name.to_ascii_lowercase();
            for rule in self.rules.iter().filter(|rule| rule.names(&name)) {
                let target = Target::Block(block(address));
                rules.push(EgressRule { target, ports: rule.ports });
            }
        }
        Self { rules }
    }

    /// Whether a name (small letters, no last dot) is on the list.
    pub fn has_name(&self, name: &str) -> bool {
        self.rules.iter().any(|rule| rule.names(name))
    }

    /// What may be reached at the addresses of a name: `None` for everything.
    pub(crate) fn services_of(&self, name: &str) -> Vec<Option<(Protocol, u16)>> {
        let rules = self.rules.iter().filter(|rule| rule.names(name));
        let mut services = Vec::new();
        for rule in rules {
            // Of a name there is one port; see `FromStr`.
            services.push(rule.ports.map(|ports| (ports.protocol, ports.first)));
        }
        if services.contains(&None) { vec![None] } else { services }
    }

    /// The addresses with what may be reached at them.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (IpNet, Option<Ports>)> {
        self.rules.iter().filter_map(|rule| match rule.target {
            Target::Block(block) => Some((block, rule.ports)),
            Target::Name(_) | Target::Below(_) => None,
        })
    }
}

impl EgressRule {
    fn names(&self, name: &str) -> bool {
        match &self.target {
            Target::Block(_) => false,
            Target::Name(own) => own == name,
            Target::Below(domain) => {
                name.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
        }
    }
}

impl FromStr for EgressRule {
    type Err = EgressError;

    fn from_str(text: &str) -> Result<Self, EgressError> {
        let bad = |why| EgressError { text: text.to_owned(), why };
        let (rest, protocol) = match text.rsplit_once('/') {
            // A prefix length is a number.
            Some((rest, word)) if word.bytes().any(|b| b.is_ascii_alphabetic()) => {
                let known = word.parse::<Protocol>();
                (rest, Some(known.map_err(|_| bad("the protocol is tcp, udp or sctp"))?))
            }
            _ => (text, None),
        };
        let (host, port) = halves(rest).ok_or_else(|| bad(FORMS))?;
        let ports = match (port, protocol) {
            (Some(port), protocol) => {
                let (first, last) = range(port).ok_or_else(|| bad(PORTS))?;
                Some(Ports { protocol: protocol.unwrap_or(Protocol::Tcp), first, last })
            }
            (None, Some(_)) => return Err(bad("a protocol goes with a port")),
            (None, None) => None,
        };
        let target = target(host).map_err(bad)?;
        let named = !matches!(target, Target::Block(_));
        if named && ports.is_some_and(|ports| ports.first != ports.last) {
            return Err(bad("a name has one port, a range of ports goes with an address"));
        }
        Ok(Self { target, ports })
    }
}

/// The host and, if there is one, the port.
fn halves(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        // Only an IPv6 address needs them.
        host.contains(':').then_some(())?;
        return match rest {
            "" => Some((host, None)),
            rest => Some((host, Some(rest.strip_prefix(':')?))),
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => Some((host, Some(port))),
        _ => Some((text, None)),
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u16>().ok().filter(|port| plain && *port != 0)
    };
    match text.split_once('-') {
        Some((first, last)) => Some((number(first)?, number(last)?)).filter(|(a, b)| a <= b),
        None => number(text).map(|port| (port, port)),
    }
}

fn block(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(v4) => Ipv4Net::new(v4, 32).unwrap_or(Ipv4Net::ANY).into(),
        IpAddr::V6(v6) => Ipv6Net::new(v6, 128).unwrap_or(Ipv6Net::ANY).into(),
    }
}

fn target(host: &str) -> Result<Target, &'static str> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(Target::Block(block(address)));
    }
    if host.contains(['/', ':']) {
        let v4 = host.parse::<Ipv4Net>().map(IpNet::V4);
        let block = v4.or_else(|_| host.parse::<Ipv6Net>().map(IpNet::V6));
        let block =
            block.map_err(|_| "not an address block such as 10.0.0.0/8 or 2001:db8::/32")?;
        return match block.truncated() == block {
            true => Ok(Target::Block(block)),
            false => Err("the address is not the block's first one"),
        };
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    match name.strip_prefix("*.") {
        Some(domain) => name_of(domain).map(Target::Below),
        None => name_of(&name).map(Target::Name),
    }
}

/// RFC 1035, section 2.3.4; underscores are in use.
fn name_of(name: &str) -> Result<String, &'static str> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(FORMS);
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    // No top level domain is a number (RFC 3696, section 2): a mistyped address.
    if last.bytes().all(|b| b.is_ascii_digit()) {
        Err("not an address")
    } else {
        Ok(name.to_owned())
    }
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match &self.target {
            Target::Block(block) if *block == self::block(block.addr()) => block.addr().to_string(),
            Target::Block(IpNet::V4(block)) => block.to_string(),
            Target::Block(IpNet::V6(block)) => block.to_string(),
            Target::Name(name) => name.clone(),
            Target::Below(domain) => format!("*.{domain}"),
        };
        let Some(Ports { protocol, first, last }) = self.ports else { return f.write_str(&host) };
        match host.contains(':') {
            true => write!(f, "[{host}]:{first}")?,
            false => write!(f, "{host}:{first}")?,
        }
        if first != last {
            write!(f, "-{last}")?;
        }
        write!(f, "/{protocol}")
    }
}

impl TryFrom<String> for EgressRule {
    type Error = EgressError;
    fn try_from(text: String) -> Result<Self, EgressError> {
        text.parse()
    }
}

impl From<EgressRule> for String {
    fn from(rule: EgressRule) -> String {
        rule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_is_read_and_told_in_full() {
        for (text, told) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1/32:443", "192.0.2.1:443/tcp"),
            ("192.0.2.1:53/udp", "192.0.2.1:53/udp"),
            ("10.0.0.0/8:8000-8100", "10.0.0.0/8:8000-8100/tcp"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443/tcp"),
            ("[2001:db8::/32]:1-2/SCTP", "[2001:db8::/32]:1-2/sctp"),
            ("[::1]", "::1"),
            ("::/0", "::/0"),
            ("Example.ORG.", "example.org"),
            ("example.org:443", "example.org:443/tcp"),
            ("*.example.org:53/udp", "*.example.org:53/udp"),
            ("_dns.my-host", "_dns.my-host"),
        ] {
            let rule: EgressRule = text.parse().unwrap();
            assert_eq!(rule.to_string(), told, "{text}");
        }
    }

    #[test]
    fn what_is_no_rule_says_why_in_one_line() {
        for (text, why) in [
            ("", "expected CIDR"),
            ("300.1.1.1", "not an address"),
            ("10.0.0.0/33", "not an address block"),
            ("10.0.0.1/8", "not the block's first"),
            ("10.0.0.0/8/udp", "goes with a port"),
            ("10.0.0.1:0", "a number from 1"),
            ("10.0.0.1:90-80", "in order"),
            ("10.0.0.1:+80", "a number from 1"),
            ("10.0.0.1:80/icmp", "tcp, udp or sctp"),
            ("[10.0.0.1]:80", "expected CIDR"),
            ("[::1]80", "expected CIDR"),
            ("example.org:80-90", "a name has one port"),
            ("*", "expected CIDR"),
            ("a.*.org", "expected CIDR"),
            ("a b", "expected CIDR"),
            ("https://example.org", "the protocol is"),
        ] {
            let error = text.parse::<EgressRule>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid egress rule {text:?}: ")), "{error}");
            assert!(error.contains(why), "{error}");
        }
        let error = EgressList::parse(&["none,10.0.0.1"]).unwrap_err();
        assert!(error.to_string().contains("stands alone"), "{error}");
    }

    #[test]
    fn names_and_what_is_below_them() {
        let list =
            EgressList::parse(&["a.test:80,*.b.test:443", "b.test", "10.0.0.1", "a.test:81"])
                .unwrap();
        for name in ["a.test", "x.b.test", "x.y.b.test", "b.test"] {
            assert!(list.has_name(name), "{name}");
        }
        for name in ["x.a.test", "xb.test", ".b.test.", "test", "10.0.0.1"] {
            assert!(!list.has_name(name), "{name}");
        }
        let tcp = |port| Some((Protocol::Tcp, port));
        assert_eq!(list.services_of("a.test"), [tcp(80), tcp(81)]);
        assert_eq!(list.services_of("b.test"), [None]);
        let known = [("A.test", [192, 0, 2, 7].into()), ("c.test", [192, 0, 2, 8].into())];
        let all = list.with_hosts(known.into_iter());
        assert_eq!(all.words()[5..], ["192.0.2.7:80/tcp", "192.0.2.7:81/tcp"]);
        assert_eq!(EgressList::parse(&["none"]).unwrap(), EgressList::default());
    }

    proptest! {
        #[test]
        fn no_text_panics_and_a_rule_told_is_the_rule_read(
            text in "\\PC{0,40}|[0-9a-f:./\\[\\]*-]{0,40}|[a-z0-9.*-]{1,20}(:[0-9-]{1,6})?(/udp)?"
        ) {
            if let Ok(rule) = text.parse::<EgressRule>() {
                prop_assert_eq!(rule.to_string().parse(), Ok(rule));
            }
            let _ = EgressList::parse(&[text]);
        }
    }
}
