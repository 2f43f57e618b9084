//! Values → what people and scripts read. Everything here is pure text but
//! [`out`], the one way to stdout.
//!
//! - [`table`]    columns as docker aligns them
//! - [`human`]    "2 minutes ago", "1.24MB"
//! - [`time`]     docker's times, in and out
//! - [`filter`]   `--filter key=value`
//! - [`listing`]  `--format` over rows: table, json, templates
//! - [`template`] Go templates
//! - [`progress`] bars while pulling and unpacking

pub(crate) mod filter;
pub(crate) mod human;
pub(crate) mod listing;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod time;

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

/// Writes to stdout and flushes. (std's own buffer would keep a line back, and
/// `print!` would panic when the reader is gone.)
///
/// # Errors
/// The kernel's reason.
pub(crate) fn out(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// [`out`] for text with ANSI styles, which stay only where they are wanted: on
/// a terminal, unless NO_COLOR says otherwise.
///
/// # Errors
/// The kernel's reason.
pub(crate) fn out_styled(text: &str) -> io::Result<()> {
    let mut stdout = anstream::AutoStream::auto(io::stdout());
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// JSON as `inspect` prints it: four spaces, as docker.
pub(crate) fn pretty(value: &Value) -> String {
    let mut bytes = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, indent);
    // A `Value` has no keys or numbers that JSON cannot hold.
    let _ = value.serialize(&mut serializer);
    String::from_utf8(bytes).unwrap_or_default()
}

/// The first `width` characters, the last of them `…` if some are missing
/// (docker's formatter.Ellipsis).
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_by_four() {
        let value = serde_json::json!([{"Id": "a", "Empty": [], "None": {}}]);
        let text = "[\n    {\n        \"Empty\": [],\n        \"Id\": \"a\",\n        \"None\": {}\n    }\n]";
        // The order of keys is that of the document, whichever serde_json keeps.
        assert_eq!(pretty(&value).len(), text.len());
        assert!(pretty(&value).starts_with("[\n    {\n        \""));
    }

    #[test]
    fn ellipsis_counts_characters() {
        assert_eq!(ellipsis("/docker-entrypoint.sh", 20), "/docker-entrypoint.…");
        assert_eq!(ellipsis("12345678901234567890", 20), "12345678901234567890");
        assert_eq!(ellipsis("äöü", 2), "ä…");
    }
}
