//! Addresses, ports, ranges, as they are written in a filter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::FilterError;

/// `10`, `192.168`: the bytes that are there count.
pub(super) fn partial(text: &str) -> Option<(IpAddr, u8)> {
    let mut octets = [0; 4];
    let mut count = 0;
    for part in text.split('.') {
        *octets.get_mut(count)? = part.parse().ok()?;
        count += 1;
    }
    Some((octets.into(), u8::try_from(count * 8).ok()?))
}

/// The address without its last bits.
pub(in super::super) fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(a) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix)).unwrap_or(0);
            Ipv4Addr::from(u32::from(a) & mask).into()
        }
        IpAddr::V6(a) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix)).unwrap_or(0);
            Ipv6Addr::from(u128::from(a) & mask).into()
        }
    }
}

/// The services people name (services(5)); a filter shall mean the same everywhere.
const SERVICES: [(&str, u16); 12] = [
    ("ssh", 22),
    ("smtp", 25),
    ("domain", 53),
    ("http", 80),
    ("ntp", 123),
    ("imap", 143),
    ("snmp", 161),
    ("ldap", 389),
    ("https", 443),
    ("mysql", 3306),
    ("postgresql", 5432),
    ("redis", 6379),
];

pub(super) fn parse_port(word: &str) -> Result<u16, FilterError> {
    let service = SERVICES.iter().find(|(name, _)| *name == word).map(|(_, port)| *port);
    service
        .or_else(|| word.parse().ok())
        .ok_or_else(|| FilterError::Value { word: word.to_owned(), what: "a port" })
}

pub(super) fn parse_range(word: &str) -> Result<(u16, u16), FilterError> {
    let wrong = || FilterError::Value { word: word.to_owned(), what: "a range of ports" };
    let (first, last) = word.split_once('-').ok_or_else(wrong)?;
    let port = |text| parse_port(text).map_err(|_| wrong());
    let range = (port(first)?, port(last)?);
    if range.0 <= range.1 { Ok(range) } else { Err(wrong()) }
}
