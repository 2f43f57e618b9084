//! `--bandwidth`: how fast bits may come into a container and go out of it. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bits per second; `None` is as fast as it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// To the container.
    #[serde(rename = "in", default)]
    pub into: Option<u64>,
    /// From it.
    #[serde(default)]
    pub out: Option<u64>,
}

/// Not a bandwidth.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not IN/OUT, with rates such as 500kbit, 10mbit, 1.5gbit")]
pub struct BandwidthError;

/// Under this a single packet takes seconds.
const LEAST: f64 = 8_000.0;
/// The kernel counts bytes per second in 32 bits.
const MOST: f64 = 32e9;

impl FromStr for Bandwidth {
    type Err = BandwidthError;

    /// `10mbit/5mbit` in and out, `10mbit` each, `10mbit/` and `/5mbit` one of them.
    fn from_str(text: &str) -> Result<Self, BandwidthError> {
        let side = |text: &str| match text {
            "" => Ok(None),
            text => rate(text).map(Some),
        };
        let (into, out) = match text.split_once('/') {
            Some((into, out)) => (side(into)?, side(out)?),
            None => (side(text)?, side(text)?),
        };
        if into.is_none() && out.is_none() { Err(BandwidthError) } else { Ok(Self { into, out }) }
    }
}

/// tc(8)'s units, those in bits.
const UNITS: [(&str, f64); 4] = [("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3), ("bit", 1.0)];

fn rate(text: &str) -> Result<u64, BandwidthError> {
    let text = text.to_ascii_lowercase();
    let parts = UNITS.iter().find_map(|(unit, times)| Some((text.strip_suffix(unit)?, times)));
    let (number, times) = parts.ok_or(BandwidthError)?;
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let bits = number.parse::<f64>().ok().filter(|_| plain).ok_or(BandwidthError)? * times;
    if !(LEAST..=MOST).contains(&bits) {
        return Err(BandwidthError);
    }
    #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "within 32e9")]
    Ok(bits.round() as u64)
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |rate: Option<u64>| rate.map(|bits| format!("{bits}bit")).unwrap_or_default();
        write!(f, "{}/{}", side(self.into), side(self.out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bandwidths_are_read_and_bad_ones_refused() {
        for (text, into, out) in [
            ("10mbit/5mbit", Some(10_000_000), Some(5_000_000)),
            ("1.5Gbit", Some(1_500_000_000), Some(1_500_000_000)),
            ("500kbit/", Some(500_000), None),
            ("/64000bit", None, Some(64_000)),
        ] {
            assert_eq!(text.parse(), Ok(Bandwidth { into, out }), "{text}");
        }
        for bad in [
            "",
            "/",
            "10",
            "10m",
            "-1mbit",
            "1bit",
            "40gbit",
            "infmbit",
            "1e3mbit",
            "1mbit/2mbit/3mbit",
        ] {
            assert_eq!(bad.parse::<Bandwidth>(), Err(BandwidthError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_bandwidth_printed_parses_to_itself(
            into in proptest::option::of(8_000u64..32_000_000_000), out in 8_000u64..32_000_000_000
        ) {
            let bandwidth = Bandwidth { into, out: Some(out) };
            prop_assert_eq!(bandwidth.to_string().parse(), Ok(bandwidth));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            let _ = text.parse::<Bandwidth>();
        }
    }
}
