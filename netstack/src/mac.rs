//! Link-layer addresses.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A link-layer address, written `02:42:0a:58:00:05`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The stable address of a container: docker's `02:42` and the four bytes of
    /// its IPv4 address. An address used again brings its old MAC along, so
    /// neighbours' ARP caches stay right (moby#36069).
    pub fn from_ipv4(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// For the other end of the container's wire: as locally administered as this
    /// one, and another's.
    pub fn far_end(self) -> Self {
        let [a, rest @ ..] = self.0;
        let [b, c, d, e, f] = rest;
        Self([(a | 0x02) ^ 0x04, b, c, d, e, f])
    }

    /// The IPv6 link-local address that this MAC gives (RFC 4291, appendix A).
    pub fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0.map(u16::from);
        let word = |high: u16, low: u16| (high << 8) | low;
        Ipv6Addr::new(0xfe80, 0, 0, 0, word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A text that is not six bytes in hex, separated by colons.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid MAC address {0:?}")]
pub struct MacError(pub String);

impl FromStr for Mac {
    type Err = MacError;
    fn from_str(text: &str) -> Result<Self, MacError> {
        let bad = || MacError(text.to_owned());
        let mut bytes = [0u8; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(bad)?;
            let hex = part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            *byte = u8::from_str_radix(part, 16).ok().filter(|_| hex).ok_or_else(bad)?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Self(bytes)) }
    }
}

impl TryFrom<String> for Mac {
    type Error = MacError;
    fn try_from(text: String) -> Result<Self, MacError> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_mac_comes_from_the_address() {
        let mac = Mac::from_ipv4(Ipv4Addr::new(10, 88, 0, 5));
        assert_eq!(mac.to_string(), "02:42:0a:58:00:05");
        assert_eq!(mac.link_local().to_string(), "fe80::42:aff:fe58:5");
    }

    #[test]
    fn bad_macs_are_refused() {
        for bad in ["", "02:42", "02:42:0a:58:00:05:06", "02:42:0a:58:00:zz", "+2:42:0a:58:00:05"] {
            assert!(bad.parse::<Mac>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_mac_parses_to_itself(bytes: [u8; 6]) {
            prop_assert_eq!(Mac(bytes).to_string().parse::<Mac>().unwrap(), Mac(bytes));
        }
    }
}
