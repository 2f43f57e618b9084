//! Durations and sizes as docker words them (its go-units package).

use std::time::Duration;

/// "About a minute", "3 hours": docker's HumanDuration.
pub(crate) fn duration(span: Duration) -> String {
    const MINUTE: u64 = 60;
    let seconds = span.as_secs();
    let minutes = seconds / MINUTE;
    // Go rounds hours, and divides the rounded hours further.
    let hours = (span.as_secs_f64() / 3600.0 + 0.5) as u64;
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (s, ..) if s < MINUTE => format!("{s} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, m, _) if m < 60 => format!("{m} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, h) if h < 48 => format!("{h} hours"),
        (_, _, h) if h < 24 * 7 * 2 => format!("{} days", h / 24),
        (_, _, h) if h < 24 * 30 * 2 => format!("{} weeks", h / 24 / 7),
        (_, _, h) if h < 24 * 365 * 2 => format!("{} months", h / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// "1.24MB": three digits, powers of 1000 (docker's HumanSizeWithPrecision 3).
pub(crate) fn size(bytes: u64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 3)
}

/// "1.944GiB": four digits, powers of 1024 (docker's BytesSize).
pub(crate) fn binary_size(bytes: u64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], 4)
}

fn scaled(bytes: u64, base: f64, units: &[&str], digits: usize) -> String {
    let mut size = bytes as f64;
    let mut units = units.iter().peekable();
    let mut unit = units.next().copied().unwrap_or("B");
    // Rounded first: docker prints 999,999 bytes as "1e+03kB", we as "1MB".
    while rounded(size, digits) >= base {
        let Some(next) = units.next() else { break };
        unit = next;
        size /= base;
    }
    format!("{}{unit}", significant(size, digits))
}

/// `size` to this many significant digits.
fn rounded(size: f64, digits: usize) -> f64 {
    significant(size, digits).parse().unwrap_or(size)
}

/// Go's `%.Ng` for what needs no exponent.
fn significant(size: f64, digits: usize) -> String {
    let whole = format!("{:.0}", size.trunc()).len();
    let text = format!("{size:.*}", digits.saturating_sub(whole));
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_dockers_words() {
        let cases = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (59 * 60, "59 minutes"),
            (60 * 60, "About an hour"),
            (89 * 60, "About an hour"),
            (90 * 60, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (13 * 86400, "13 days"),
            (14 * 86400, "2 weeks"),
            (59 * 86400, "8 weeks"),
            (60 * 86400, "2 months"),
            (729 * 86400, "24 months"),
            (730 * 86400, "2 years"),
        ];
        for (seconds, words) in cases {
            assert_eq!(duration(Duration::from_secs(seconds)), words, "{seconds}");
        }
    }

    #[test]
    fn sizes_have_three_digits() {
        let cases = [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.23kB"),
            (4_261_550, "4.26MB"),
            (13_300_000, "13.3MB"),
            (187_654_321, "188MB"),
            (999_999, "1MB"),
            (2_000_000_000, "2GB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text, "{bytes}");
        }
        assert_eq!(binary_size(25_280_000_000), "23.54GiB");
        assert_eq!(binary_size(1023), "1023B");
    }
}
