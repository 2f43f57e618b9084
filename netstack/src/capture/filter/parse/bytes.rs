//! `tcp[13] & 2 != 0`: what is compared, bits of it, how, and with what number.

use super::super::bytes::{Comparison, Load, Relation};
use super::super::{Filter, Protocol, Test};
use super::{FilterError, Parser};

/// pcap-filter(7)'s names of offsets.
const OFFSETS: [(&str, u32); 5] =
    [("tcpflags", 13), ("icmptype", 0), ("icmpcode", 1), ("icmp6type", 0), ("icmp6code", 1)];

/// Its names of numbers: TCP's flags, and the commoner types of ICMP and ICMPv6.
const NUMBERS: [(&str, u32); 26] = [
    ("tcp-fin", 1),
    ("tcp-syn", 2),
    ("tcp-rst", 4),
    ("tcp-push", 8),
    ("tcp-ack", 16),
    ("tcp-urg", 32),
    ("tcp-ece", 64),
    ("tcp-cwr", 128),
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-sourcequench", 4),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-timxceed", 11),
    ("icmp-paramprob", 12),
    ("icmp-tstamp", 13),
    ("icmp6-destinationrunreach", 1),
    ("icmp6-packettoobig", 2),
    ("icmp6-timeexceeded", 3),
    ("icmp6-parameterproblem", 4),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
    ("icmp6-routersolicit", 133),
    ("icmp6-routeradvert", 134),
    ("icmp6-neighborsolicit", 135),
    ("icmp6-neighboradvert", 136),
];

impl Parser<'_> {
    /// Whether the word after this one is an offset.
    pub(super) fn has_offset(&self) -> bool {
        self.ahead(1).is_some_and(|word| word.starts_with('['))
    }

    pub(super) fn comparison(&mut self) -> Result<Filter, FilterError> {
        let load = self.load()?;
        let mask = match self.peek() {
            Some("&") => {
                self.at += 1;
                Some(self.number()?)
            }
            _ => None,
        };
        let relation = match self.peek() {
            Some("==") => Some(Relation::Equal),
            sign => Relation::ALL.into_iter().find(|relation| Some(relation.word()) == sign),
        };
        let expected = "a comparison (= != < <= > >=)";
        let relation = relation.ok_or_else(|| self.missing(expected))?;
        self.at += 1;
        let value = self.number()?;
        Ok(Filter::Test(Test::Bytes(Comparison { load, mask, relation, value })))
    }

    fn load(&mut self) -> Result<Load, FilterError> {
        let word = self.peek().unwrap_or_default();
        self.at += 1;
        if word == "len" {
            return Ok(Load::Length);
        }
        let of = match word {
            "ether" => None,
            word => {
                let of = Protocol::ALL.into_iter().find(|protocol| protocol.word() == word);
                Some(of.ok_or_else(|| FilterError::NoBytes(word.to_owned()))?)
            }
        };
        let offset = self.peek().unwrap_or_default();
        self.at += 1;
        let Some(inner) = offset.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
            return Err(self.missing("']'"));
        };
        let what = "an offset: say [FIRST] or [FIRST:BYTES], with 1, 2 or 4 bytes";
        let wrong = || FilterError::Value { word: offset.to_owned(), what };
        let (first, size) = inner.split_once(':').unwrap_or((inner, "1"));
        let size = size.trim().parse().ok().filter(|size| matches!(size, 1 | 2 | 4));
        let size = size.ok_or_else(wrong)?;
        // No header is longer than a frame.
        let first = named(first.trim(), &OFFSETS).filter(|first| *first < 65_536);
        Ok(Load::Bytes { of, offset: first.ok_or_else(wrong)?, size })
    }

    /// `0x12`, `tcp-syn`, `tcp-syn|tcp-ack`, all of it in brackets or not.
    fn number(&mut self) -> Result<u32, FilterError> {
        let brackets = self.peek() == Some("(");
        self.at += usize::from(brackets);
        let mut number = self.one_number()?;
        while self.peek() == Some("|") {
            self.at += 1;
            number |= self.one_number()?;
        }
        if brackets && self.peek() != Some(")") {
            return Err(self.missing("')'"));
        }
        self.at += usize::from(brackets);
        Ok(number)
    }

    fn one_number(&mut self) -> Result<u32, FilterError> {
        let Some(word) = self.peek() else { return Err(self.missing("a number")) };
        let what = "a number, nor the name of one";
        let number = named(word, &NUMBERS)
            .ok_or_else(|| FilterError::Value { word: word.to_owned(), what })?;
        self.at += 1;
        Ok(number)
    }
}

/// A decimal or hexadecimal number, or a name of one.
fn named(word: &str, names: &[(&str, u32)]) -> Option<u32> {
    let name = names.iter().find(|(name, _)| *name == word).map(|(_, number)| *number);
    let hexadecimal = || word.strip_prefix("0x").and_then(|hex| u32::from_str_radix(hex, 16).ok());
    name.or_else(hexadecimal).or_else(|| word.parse().ok())
}
