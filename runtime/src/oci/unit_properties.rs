//! `org.systemd.property.*` annotations: properties of the container's systemd
//! unit, with values in GVariant's text format (GLib documentation, "GVariant
//! Text Format"): `true`, `'text'`, `uint64 5`, `['a', 'b']`.
//!
//! Whoever lets strangers write annotations lets them tell systemd what to do
//! (CVE-2024-3154): `features` says so (potentiallyUnsafeConfigAnnotations), and
//! which processes the unit has and where it is nobody but us says.

use std::collections::BTreeMap;

use super::{OciError, refuse};
use crate::plan::UnitValue;

const PREFIX: &str = "org.systemd.property.";

/// What the container and `linux.cgroupsPath` say already. Another one's process
/// in the unit would be ended with the container.
const OURS: [&str; 3] = ["PIDs", "PIDFDs", "Slice"];

/// The properties asked for.
pub(super) fn properties(
    annotations: Option<&BTreeMap<String, String>>,
) -> Result<BTreeMap<String, UnitValue>, OciError> {
    let mut found = BTreeMap::new();
    for (key, text) in annotations.into_iter().flatten() {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        let path = format!("annotations[{key:?}]");
        if name.len() < 3 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
            return refuse(path, format!("{name:?} is no name of a unit's property"));
        }
        if OURS.contains(&name) {
            return refuse(path, "it is not an annotation's to say: remove it".to_owned());
        }
        let Some(value) = parse(text) else {
            let problem = format!("{text:?} is no value like true, 5, uint64 5 or 'text'");
            return refuse(path, problem);
        };
        match in_microseconds(name, &value) {
            None => found.insert(name.to_owned(), value),
            Some((name, Some(value))) => found.insert(name, value),
            Some((_, None)) => return refuse(path, format!("{text:?} is no number of seconds")),
        };
    }
    Ok(found)
}

/// `TimeoutStopSec` is in unit files only; on the bus it is `TimeoutStopUSec`.
fn in_microseconds(name: &str, value: &UnitValue) -> Option<(String, Option<UnitValue>)> {
    const MICRO: u64 = 1_000_000;
    let stem = name.strip_suffix("Sec")?;
    stem.ends_with(|c: char| c.is_ascii_lowercase()).then_some(())?;
    let whole = |n: i128| u64::try_from(n).ok().and_then(|n| n.checked_mul(MICRO));
    let micros = match *value {
        UnitValue::Byte(n) => whole(n.into()),
        UnitValue::Int16(n) => whole(n.into()),
        UnitValue::Uint16(n) => whole(n.into()),
        UnitValue::Int32(n) => whole(n.into()),
        UnitValue::Uint32(n) => whole(n.into()),
        UnitValue::Int64(n) => whole(n.into()),
        UnitValue::Uint64(n) => whole(n.into()),
        UnitValue::Double(n) if (0.0..1e12).contains(&n) => Some((n * 1e6) as u64),
        _ => None,
    };
    Some((format!("{stem}USec"), micros.map(UnitValue::Uint64)))
}

fn parse(text: &str) -> Option<UnitValue> {
    let (value, rest) = value(text.trim_start(), None)?;
    rest.trim().is_empty().then_some(value)
}

/// One value at the beginning of `text`, and what follows it.
fn value(text: &str, kind: Option<char>) -> Option<(UnitValue, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        return array(rest, kind);
    }
    if let Some(rest) = text.strip_prefix('@') {
        let (signature, rest) = rest.split_once(' ')?;
        let mut letters = signature.trim_start_matches('a').chars();
        let kind = letters.next().filter(|_| letters.next().is_none())?;
        return value(rest.trim_start(), Some(kind));
    }
    if text.starts_with(['\'', '"']) {
        let (string, rest) = string(text)?;
        return matches!(kind, None | Some('s')).then_some((UnitValue::String(string), rest));
    }
    let end = text.find(|c: char| c == ',' || c == ']' || c.is_whitespace()).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    match keyword(word) {
        Some(kind) => value(rest.trim_start(), Some(kind)),
        None => Some((literal(word, kind)?, rest)),
    }
}

fn keyword(word: &str) -> Option<char> {
    const KEYWORDS: [(&str, char); 10] = [
        ("boolean", 'b'),
        ("byte", 'y'),
        ("int16", 'n'),
        ("uint16", 'q'),
        ("int32", 'i'),
        ("uint32", 'u'),
        ("int64", 'x'),
        ("uint64", 't'),
        ("double", 'd'),
        ("string", 's'),
    ];
    KEYWORDS.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind)
}

fn array(text: &str, kind: Option<char>) -> Option<(UnitValue, &str)> {
    let mut items = Vec::new();
    let mut of = kind;
    let mut rest = text.trim_start();
    while !rest.starts_with(']') {
        let (item, after) = value(rest, of)?;
        // No property that can be set so is an array of arrays.
        let letter = letter(&item)?;
        if of.replace(letter).is_some_and(|first| first != letter) {
            return None;
        }
        items.push(item);
        let after = after.trim_start();
        rest = after.strip_prefix(',').or(after.starts_with(']').then_some(after))?.trim_start();
    }
    Some((UnitValue::Array(of?, items), rest.strip_prefix(']')?))
}

/// The signature of a value that is no container.
fn letter(value: &UnitValue) -> Option<char> {
    Some(match value {
        UnitValue::Bool(_) => 'b',
        UnitValue::Byte(_) => 'y',
        UnitValue::Int16(_) => 'n',
        UnitValue::Uint16(_) => 'q',
        UnitValue::Int32(_) => 'i',
        UnitValue::Uint32(_) => 'u',
        UnitValue::Int64(_) => 'x',
        UnitValue::Uint64(_) => 't',
        UnitValue::Double(_) => 'd',
        UnitValue::String(_) => 's',
        UnitValue::Array(..) | UnitValue::Pairs(_) => return None,
    })
}

fn string(text: &str) -> Option<(String, &str)> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next()?;
    let mut string = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((string, text.get(at + c.len_utf8()..)?)),
            '\\' => string.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            c => string.push(c),
        }
    }
    None
}

fn literal(word: &str, kind: Option<char>) -> Option<UnitValue> {
    match kind {
        None if word == "true" || word == "false" => Some(UnitValue::Bool(word == "true")),
        None if word.contains('.') => literal(word, Some('d')),
        None => literal(word, Some('i')),
        Some('b') => word.parse().ok().map(UnitValue::Bool),
        Some('y') => word.parse().ok().map(UnitValue::Byte),
        Some('n') => word.parse().ok().map(UnitValue::Int16),
        Some('q') => word.parse().ok().map(UnitValue::Uint16),
        Some('i') => word.parse().ok().map(UnitValue::Int32),
        Some('u') => word.parse().ok().map(UnitValue::Uint32),
        Some('x') => word.parse().ok().map(UnitValue::Int64),
        Some('t') => word.parse().ok().map(UnitValue::Uint64),
        Some('d') => word.parse().ok().filter(|n: &f64| n.is_finite()).map(UnitValue::Double),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(name: &str, text: &str) -> Result<BTreeMap<String, UnitValue>, String> {
        let annotations = [(format!("{PREFIX}{name}"), text.to_owned()), ("a".into(), "b".into())];
        properties(Some(&annotations.into())).map_err(|e| e.to_string())
    }

    #[test]
    fn values_have_the_type_their_text_says() {
        let s = |text: &str| UnitValue::String(text.to_owned());
        let cases = [
            ("true", UnitValue::Bool(true)),
            ("5", UnitValue::Int32(5)),
            ("-5", UnitValue::Int32(-5)),
            (" 1.5 ", UnitValue::Double(1.5)),
            ("uint64 5", UnitValue::Uint64(5)),
            ("@t 5", UnitValue::Uint64(5)),
            ("byte 7", UnitValue::Byte(7)),
            ("'a \\'b\\''", s("a 'b'")),
            ("\"x\"", s("x")),
            ("['a', 'b']", UnitValue::Array('s', vec![s("a"), s("b")])),
            ("@as []", UnitValue::Array('s', vec![])),
            ("[byte 1, 2]", UnitValue::Array('y', vec![UnitValue::Byte(1), UnitValue::Byte(2)])),
        ];
        for (text, expected) in &cases {
            assert_eq!(of("Some", text).unwrap()["Some"], *expected, "{text}");
        }
    }

    #[test]
    fn seconds_become_microseconds() {
        assert_eq!(
            of("TimeoutStopSec", "2").unwrap()["TimeoutStopUSec"],
            UnitValue::Uint64(2_000_000)
        );
        assert_eq!(
            of("RuntimeMaxSec", "0.5").unwrap()["RuntimeMaxUSec"],
            UnitValue::Uint64(500_000)
        );
        assert_eq!(of("RuntimeUSec", "5").unwrap()["RuntimeUSec"], UnitValue::Int32(5));
        assert!(of("TimeoutStopSec", "'x'").unwrap_err().contains("is no number of seconds"));
        assert!(of("TimeoutStopSec", "-1").is_err());
    }

    #[test]
    fn what_is_no_value_is_refused_by_its_key() {
        for bad in [
            "",
            "x",
            "'a",
            "[1",
            "5 5",
            "@zz 5",
            "[1, 'a']",
            "uint64 -1",
            "[]",
            "[[1]]",
            "@ ",
            "'a'b",
        ] {
            let text = of("Some", bad).unwrap_err();
            let key = "config.json: annotations[\"org.systemd.property.Some\"]: ";
            assert!(text.starts_with(key), "{bad:?}: {text}");
        }
    }

    #[test]
    fn names_are_plain_words_and_none_that_is_ours() {
        for bad in ["", "Ab", "A b", "A1b", "Exec-Start", "a.b.c", "../x", "Abc\n", "Äbc"] {
            assert!(of(bad, "1").unwrap_err().contains("is no name"), "{bad:?}");
        }
        for ours in OURS {
            assert!(of(ours, "[uint32 1]").unwrap_err().contains("not an annotation's"), "{ours}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_value_or_refused(text in "[@a-z0-9'\"\\[\\], \\\\.-]{0,24}") {
            let _ = of("Some", &text);
        }
    }
}
