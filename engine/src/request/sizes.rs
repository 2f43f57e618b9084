//! Sizes and processor counts as docker's users type them.

use super::RequestError;

/// Bytes from `512m`, `1.5g`, `64k`, `100b` or `1048576` (docker's units are
/// powers of 1024, either case, with or without a final `b`).
///
/// # Errors
/// Docker's text, naming `flag`.
pub(super) fn bytes(flag: &'static str, text: &str) -> Result<u64, RequestError> {
    let invalid =
        || RequestError::Value { flag, value: text.to_owned(), hint: "a size such as 512m or 2g" };
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let factor: u64 = match unit.trim().trim_end_matches("ib").trim_end_matches('b') {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        "p" => 1 << 50,
        _ => return Err(invalid()),
    };
    let value = number * factor as f64;
    if !value.is_finite() || value < 0.0 || value > i64::MAX as f64 {
        return Err(invalid());
    }
    Ok(value as u64)
}

/// Billionths of a processor from `--cpus 1.5`.
///
/// # Errors
/// Not a positive decimal number, or finer than a billionth.
pub(super) fn nano_cpus(text: &str) -> Result<u64, RequestError> {
    let invalid = || RequestError::Value {
        flag: "--cpus",
        value: text.to_owned(),
        hint: "a number such as 0.5 or 2",
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if text.is_empty()
        || text == "."
        || !all_digits(whole)
        || !all_digits(fraction)
        || fraction.len() > 9
    {
        return Err(invalid());
    }
    let nanos: u64 = format!("{whole}{fraction:0<9}").parse().map_err(|_| invalid())?;
    Ok(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        let cases = [
            ("0", 0),
            ("100b", 100),
            ("4K", 4096),
            ("512m", 512 << 20),
            ("1.5g", 3 << 29),
            ("2gb", 2 << 30),
        ];
        for (text, want) in cases {
            assert_eq!(bytes("--memory", text).unwrap(), want, "{text}");
        }
        for bad in ["", "m", "-1", "1x", "1.2.3m", "9e99", "99999999p"] {
            assert!(bytes("--memory", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn processors_are_exact_to_the_billionth() {
        assert_eq!(nano_cpus("1.5").unwrap(), 1_500_000_000);
        assert_eq!(nano_cpus(".25").unwrap(), 250_000_000);
        assert_eq!(nano_cpus("2").unwrap(), 2_000_000_000);
        for bad in ["", ".", "-1", "a", "1.0000000001", "1,5", "99999999999999999999"] {
            assert!(nano_cpus(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,24}") {
            let _ = bytes("--memory", &text);
            let _ = nano_cpus(&text);
        }
    }
}
