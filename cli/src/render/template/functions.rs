//! The functions a template may call: Go's own and docker's
//! (docs.docker.com/engine/cli/formatting).

use std::cmp::Ordering;

use serde_json::Value;

use super::printf::{display, printf};

const NAMES: &[&str] = &[
    "and", "or", "not", "len", "index", "slice", "print", "printf", "println", "html", "js",
    "urlquery", "eq", "ne", "lt", "le", "gt", "ge", "json", "split", "join", "title", "lower",
    "upper", "pad", "truncate",
];

/// Whether there is such a function.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Go's truth: not the zero value, not empty.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    }
}

/// Calls the function `name`. In a table's header row docker's functions give
/// back what they get.
pub(super) fn call(name: &str, arguments: Vec<Value>, headers: bool) -> Result<Value, String> {
    let docker = ["json", "split", "join", "title", "lower", "upper", "pad", "truncate"];
    if headers && docker.contains(&name) {
        return arguments.into_iter().next().ok_or_else(|| "missing argument".to_owned());
    }
    let args = arguments.as_slice();
    match (name, args) {
        ("not", [value]) => Ok(Value::Bool(!truth(value))),
        ("len", [value]) => length(value),
        ("index", [value, keys @ ..]) => index(value, keys),
        ("slice", [value, bounds @ ..]) => slice(value, bounds),
        ("print", values) => Ok(Value::String(spaced(values))),
        ("println", values) => {
            let texts: Vec<_> = values.iter().map(display).collect();
            Ok(Value::String(texts.join(" ") + "\n"))
        }
        ("printf", [Value::String(format), values @ ..]) => {
            Ok(Value::String(printf(format, values)))
        }
        ("html" | "js" | "urlquery", values) => Ok(Value::String(escape(name, &spaced(values)))),
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            for other in others {
                if equal(first, other)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        ("ne", [a, b]) => Ok(Value::Bool(!equal(a, b)?)),
        ("lt", [a, b]) => Ok(Value::Bool(compare(a, b)? == Ordering::Less)),
        ("le", [a, b]) => Ok(Value::Bool(compare(a, b)? != Ordering::Greater)),
        ("gt", [a, b]) => Ok(Value::Bool(compare(a, b)? == Ordering::Greater)),
        ("ge", [a, b]) => Ok(Value::Bool(compare(a, b)? != Ordering::Less)),
        ("json", [value]) => {
            serde_json::to_string(value).map(Value::String).map_err(|e| e.to_string())
        }
        ("split", [text, separator]) => {
            let (text, separator) = (string(text)?, string(separator)?);
            Ok(text.split(separator).map(Value::from).collect())
        }
        ("join", [list, separator]) => join(list, string(separator)?),
        ("title", [text]) => Ok(Value::String(title(string(text)?))),
        ("lower", [text]) => Ok(Value::String(string(text)?.to_lowercase())),
        ("upper", [text]) => Ok(Value::String(string(text)?.to_uppercase())),
        ("pad", [text, before, after]) => {
            let text = string(text)?;
            if text.is_empty() {
                return Ok(Value::String(String::new()));
            }
            let spaces = |n| whole(n).map(|n| " ".repeat(n.min(1024)));
            Ok(Value::String(format!("{}{text}{}", spaces(before)?, spaces(after)?)))
        }
        ("truncate", [text, length]) => {
            let length = whole(length)?;
            Ok(Value::String(string(text)?.chars().take(length).collect()))
        }
        _ => Err(format!("wrong number or kind of args for {name}: got {}", args.len())),
    }
}

fn string(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("expected string; got {}", display(value)))
}

fn whole(value: &Value) -> Result<usize, String> {
    let number = value.as_u64().and_then(|n| usize::try_from(n).ok());
    number.ok_or_else(|| format!("cannot index with {}", display(value)))
}

fn length(value: &Value) -> Result<Value, String> {
    Ok(Value::from(match value {
        Value::String(s) => s.len(),
        Value::Array(a) => a.len(),
        Value::Object(o) => o.len(),
        // What is null in JSON is an empty list or map in docker's Go types.
        Value::Null => 0,
        other => return Err(format!("len of {}", display(other))),
    }))
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut value = value;
    for key in keys {
        value = match (value, key) {
            (Value::Object(map), Value::String(key)) => match map.get(key) {
                Some(value) => value,
                // The zero value of what such a map holds: nothing.
                None => return Ok(Value::String(String::new())),
            },
            (Value::Array(items), key) => {
                let n = whole(key)?;
                items.get(n).ok_or_else(|| format!("index out of range: {n}"))?
            }
            (Value::String(text), key) => {
                let n = whole(key)?;
                let byte = text.as_bytes().get(n);
                return byte
                    .map(|b| Value::from(*b))
                    .ok_or_else(|| format!("index out of range: {n}"));
            }
            (Value::Null, _) => return Err("index of untyped nil".to_owned()),
            (other, _) => return Err(format!("can't index item of {}", display(other))),
        };
    }
    Ok(value.clone())
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    let bounds = bounds.iter().map(whole).collect::<Result<Vec<_>, _>>()?;
    let from = bounds.first().copied().unwrap_or(0);
    let out_of_range = || {
        let bounds: Vec<_> = bounds.iter().map(ToString::to_string).collect();
        format!("index out of range: {}", bounds.join(":"))
    };
    match value {
        Value::String(text) => {
            let to = bounds.get(1).copied().unwrap_or(text.len());
            text.get(from..to).map(Value::from).ok_or_else(out_of_range)
        }
        Value::Array(items) => {
            let to = bounds.get(1).copied().unwrap_or(items.len());
            items.get(from..to).map(|part| Value::Array(part.to_vec())).ok_or_else(out_of_range)
        }
        other => Err(format!("can't slice item of {}", display(other))),
    }
}

/// fmt.Sprint: a space between two values of which neither is a string.
fn spaced(values: &[Value]) -> String {
    let mut text = String::new();
    for (n, value) in values.iter().enumerate() {
        let before = n.checked_sub(1).and_then(|n| values.get(n));
        if before.is_some_and(|before| !before.is_string() && !value.is_string()) {
            text.push(' ');
        }
        text.push_str(&display(value));
    }
    text
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => Ok(compare(a, b)? == Ordering::Equal),
        (Value::Null, _) | (_, Value::Null) => Ok(a == b),
        _ if std::mem::discriminant(a) != std::mem::discriminant(b) => Err(incompatible()),
        _ => Ok(a == b),
    }
}

fn incompatible() -> String {
    "incompatible types for comparison".to_owned()
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, String> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => Ok(x.cmp(&y)),
            _ => {
                let (x, y) = (x.as_f64().unwrap_or(0.0), y.as_f64().unwrap_or(0.0));
                x.partial_cmp(&y).ok_or_else(incompatible)
            }
        },
        _ => Err(incompatible()),
    }
}

fn join(list: &Value, separator: &str) -> Result<Value, String> {
    let texts = match list {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().map(display).collect::<Vec<_>>(),
        other => return Err(format!("expected []string; got {}", display(other))),
    };
    Ok(Value::String(texts.join(separator)))
}

/// Go's deprecated strings.Title: the first letter of each word.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut start = true;
    for c in text.chars() {
        if start {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        start = match c.is_ascii() {
            true => !(c.is_ascii_alphanumeric() || c == '_'),
            false => c.is_whitespace(),
        };
    }
    out
}

fn escape(how: &str, text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match (how, c) {
            ("html", '"') => out.push_str("&#34;"),
            ("html", '\'') => out.push_str("&#39;"),
            ("html", '&') => out.push_str("&amp;"),
            ("html", '<') => out.push_str("&lt;"),
            ("html", '>') => out.push_str("&gt;"),
            ("js", '\\' | '\'' | '"') => out.extend(['\\', c]),
            ("js", '<' | '>' | '&' | '=') => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            ("js", c) if u32::from(c) < 0x20 => {
                out.push_str(&format!("\\u{:04X}", u32::from(c)));
            }
            ("urlquery", ' ') => out.push('+'),
            ("urlquery", c) if !(c.is_ascii_alphanumeric() || "-_.~".contains(c)) => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    out.push_str(&format!("%{byte:02X}"));
                }
            }
            (_, c) => out.push(c),
        }
    }
    out
}
