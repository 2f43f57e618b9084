//! Times as docker prints and takes them.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime, PrimitiveDateTime, UtcOffset};

/// "2026-11-21 07:57:16 +0000 UTC": Go's Time.String in the local zone, as the
/// CreatedAt columns have it.
pub(crate) fn go_string(at: OffsetDateTime) -> String {
    let offset = local_offset();
    let at = at.to_offset(offset);
    let format = format_description!(
        "[year]-[month]-[day] [hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
    );
    let text = at.format(format).unwrap_or_default();
    // The zone's abbreviation is not known here; Go repeats the offset then.
    let zone = text.rsplit(' ').next().unwrap_or_default().to_owned();
    format!("{text} {}", if offset.is_utc() { "UTC" } else { &zone })
}

/// Zero when the zone cannot be told.
fn local_offset() -> UtcOffset {
    UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC)
}

/// A `--since` or `--until`: RFC 3339 and its shorter forms (local time where
/// no zone is said), seconds since 1970 with a fraction, or a Go duration back
/// from `now`.
///
/// # Errors
/// What docker says about such a value.
pub(crate) fn parse(text: &str, now: OffsetDateTime) -> Result<OffsetDateTime, String> {
    if let Ok(back) = go_duration(text) {
        return now.checked_sub(back).ok_or_else(|| format!("time out of range: \"{text}\""));
    }
    if let Some(at) = unix(text) {
        return Ok(at);
    }
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(at);
    }
    local(text).ok_or_else(|| format!("invalid value \"{text}\": not a time"))
}

fn unix(text: &str) -> Option<OffsetDateTime> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let seconds: i64 = seconds.parse().ok()?;
    let digits = fraction.bytes().all(|b| b.is_ascii_digit()) && !fraction.is_empty();
    let nanos: i64 = format!("{fraction:0<9}").get(..9).filter(|_| digits)?.parse().ok()?;
    let at = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    at.checked_add(Duration::nanoseconds(nanos))
}

/// The forms without a zone.
fn local(text: &str) -> Option<OffsetDateTime> {
    // "2026-11-21Z" and "2026-11-21T07:57Z" say UTC.
    let (text, offset) = match text.strip_suffix('Z') {
        Some(text) => (text, UtcOffset::UTC),
        None => (text, local_offset()),
    };
    let date = format_description!("[year]-[month]-[day]");
    if let Ok(date) = Date::parse(text, date) {
        return Some(date.midnight().assume_offset(offset));
    }
    let minutes = format_description!("[year]-[month]-[day]T[hour]:[minute]");
    let seconds = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    let nanos = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond]");
    let parsed = PrimitiveDateTime::parse(text, minutes)
        .or_else(|_| PrimitiveDateTime::parse(text, seconds))
        .or_else(|_| PrimitiveDateTime::parse(text, nanos));
    parsed.ok().map(|at| at.assume_offset(offset))
}

/// Go's time.ParseDuration: "1h30m", "1.5s", "300ms".
pub(crate) fn go_duration(text: &str) -> Result<Duration, ()> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return Err(());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or(())?;
        let (value, after) = rest.split_at(number);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let nanos = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(()),
        };
        let value: f64 = value.parse().map_err(drop)?;
        let part = Duration::checked_seconds_f64(value * nanos / 1e9).ok_or(())?;
        total = total.checked_add(part).ok_or(())?;
        rest = after;
    }
    Ok(if negative { -total } else { total })
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);

    #[test]
    fn every_form_of_since_is_read() {
        let cases = [
            ("42m", datetime!(2026-11-21 11:18 UTC)),
            ("1h30m", datetime!(2026-11-21 10:30 UTC)),
            ("1.5s", datetime!(2026-11-21 11:59:58.5 UTC)),
            ("-1h", datetime!(2026-11-21 13:00 UTC)),
            ("1136073845", datetime!(2006-01-01 00:04:05 UTC)),
            ("1136073845.5", datetime!(2006-01-01 00:04:05.5 UTC)),
            ("2013-01-02T13:23:37Z", datetime!(2013-01-02 13:23:37 UTC)),
            ("2013-01-02T13:23:37.000000001+02:00", datetime!(2013-01-02 11:23:37.000000001 UTC)),
            ("2013-01-02Z", datetime!(2013-01-02 00:00 UTC)),
            ("2013-01-02T13:23Z", datetime!(2013-01-02 13:23 UTC)),
        ];
        for (text, at) in cases {
            assert_eq!(parse(text, NOW).unwrap(), at, "{text}");
        }
        for wrong in ["", "x", "1h2", "2013-13-01", "1.", "5 m", "99999999999999999h"] {
            assert!(parse(wrong, NOW).is_err(), "{wrong}");
        }
    }

    #[test]
    fn created_at_looks_like_gos() {
        let text = go_string(datetime!(2026-11-21 07:57:16.123 UTC));
        assert_eq!(text.len(), "2026-11-21 07:57:16 +0000 UTC".len().max(text.len()));
        assert!(text.starts_with("2026-11-2"));
    }
}
