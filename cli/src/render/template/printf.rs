//! Go's fmt: `%v` of a value and the verbs of printf (pkg.go.dev/fmt).

use serde_json::Value;

/// The widest field a template may ask for.
const MAX_WIDTH: usize = 1024;

/// `%v`: what `{{.}}` prints.
pub(crate) fn display(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => match n.as_f64() {
            Some(float) if n.is_f64() => shortest(float),
            _ => n.to_string(),
        },
        Value::String(s) => s.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(display).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let mut items: Vec<_> = map.iter().collect();
            items.sort_by_key(|(key, _)| *key);
            let items: Vec<_> =
                items.into_iter().map(|(key, item)| format!("{key}:{}", display(item))).collect();
            format!("map[{}]", items.join(" "))
        }
    }
}

/// `%g` of a float, with as few digits as tell it from its neighbours: an
/// exponent below 1e-4 and from 1e+06 on (Go's strconv, 'g', shortest).
fn shortest(float: f64) -> String {
    let scientific = format!("{float:e}");
    let exponent = scientific.split_once('e').and_then(|(_, e)| e.parse::<i32>().ok());
    match exponent {
        Some(exponent) if !(-4..6).contains(&exponent) => go_exponent(&scientific),
        _ => float.to_string(),
    }
}

/// Rust writes 1.5e3, Go 1.5e+03.
fn go_exponent(scientific: &str) -> String {
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific.to_owned();
    };
    let (sign, size) = match exponent.strip_prefix('-') {
        Some(size) => ('-', size),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{size:0>2}")
}

/// What stands between `%` and the verb.
#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// fmt.Sprintf.
pub(super) fn printf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut values = values.iter();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let spec = spec(&mut chars, &mut values);
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match values.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => out.push_str(&verb_text(verb, value, &spec)),
            },
        }
    }
    let extra: Vec<_> = values.map(|v| format!("{}={}", kind(v), display(v))).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn spec<'a>(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    values: &mut impl Iterator<Item = &'a Value>,
) -> Spec {
    let mut spec = Spec::default();
    while let Some(flag) = chars.next_if(|c| "-+# 0".contains(*c)) {
        match flag {
            '-' => spec.minus = true,
            '+' => spec.plus = true,
            '#' => spec.sharp = true,
            ' ' => spec.space = true,
            _ => spec.zero = true,
        }
    }
    let mut number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
        if chars.next_if_eq(&'*').is_some() {
            let given = values.next().and_then(Value::as_u64).unwrap_or(0);
            return usize::try_from(given).unwrap_or(MAX_WIDTH).min(MAX_WIDTH);
        }
        let mut number = 0usize;
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            let digit = digit.to_digit(10).unwrap_or(0) as usize;
            number = number.saturating_mul(10).saturating_add(digit).min(MAX_WIDTH);
        }
        number
    };
    spec.width = number(chars);
    if chars.next_if_eq(&'.').is_some() {
        spec.precision = Some(number(chars));
    }
    spec
}

fn verb_text(verb: char, value: &Value, spec: &Spec) -> String {
    let bad = || match value {
        Value::Null => format!("%!{verb}(<nil>)"),
        _ => format!("%!{verb}({}={})", kind(value), display(value)),
    };
    let text = match (verb, value) {
        ('v', Value::String(s)) if spec.sharp => quoted(s),
        ('v', _) => display(value),
        ('T', _) => kind(value).to_owned(),
        ('t', Value::Bool(b)) => b.to_string(),
        ('s', Value::String(s)) => match spec.precision {
            Some(length) => s.chars().take(length).collect(),
            None => s.clone(),
        },
        // Lists of strings print their elements by the verb.
        ('s' | 'q', Value::Array(items)) => {
            let plain = Spec::default();
            let items: Vec<_> = items.iter().map(|item| verb_text(verb, item, &plain)).collect();
            format!("[{}]", items.join(" "))
        }
        ('q', Value::String(s)) if spec.sharp && !s.contains('`') => format!("`{s}`"),
        ('q', Value::String(s)) => quoted(s),
        ('x' | 'X', Value::String(s)) => {
            let hex = |b| if verb == 'x' { format!("{b:02x}") } else { format!("{b:02X}") };
            let bytes: Vec<_> = s.bytes().map(hex).collect();
            bytes.join(if spec.space { " " } else { "" })
        }
        (_, Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => match integer(verb, whole, spec) {
                Some(text) => text,
                None => return bad(),
            },
            (None, Some(float)) => match float_text(verb, float, spec) {
                Some(text) => text,
                None => return bad(),
            },
            _ => return bad(),
        },
        _ => return bad(),
    };
    pad(text, spec, value.is_number())
}

fn integer(verb: char, whole: i64, spec: &Spec) -> Option<String> {
    let size = whole.unsigned_abs();
    let sharp = |prefix| if spec.sharp { prefix } else { "" };
    let digits = match verb {
        'd' => size.to_string(),
        'b' => format!("{size:b}"),
        'o' => format!("{}{size:o}", sharp("0")),
        'x' => format!("{}{size:x}", sharp("0x")),
        'X' => format!("{}{size:X}", sharp("0X")),
        'c' => return u32::try_from(whole).ok().and_then(char::from_u32).map(String::from),
        'U' => return Some(format!("U+{whole:04X}")),
        _ => return None,
    };
    let digits = match spec.precision {
        Some(least) => format!("{}{digits}", "0".repeat(least.saturating_sub(digits.len()))),
        None => digits,
    };
    Some(match (whole < 0, spec.plus, spec.space) {
        (true, ..) => format!("-{digits}"),
        (_, true, _) => format!("+{digits}"),
        (_, _, true) => format!(" {digits}"),
        _ => digits,
    })
}

fn float_text(verb: char, float: f64, spec: &Spec) -> Option<String> {
    let text = match verb {
        'f' | 'F' => format!("{float:.*}", spec.precision.unwrap_or(6)),
        'e' => go_exponent(&format!("{float:.*e}", spec.precision.unwrap_or(6))),
        'g' | 'v' => shortest(float),
        _ => return None,
    };
    Some(if spec.plus && float >= 0.0 { format!("+{text}") } else { text })
}

fn pad(text: String, spec: &Spec, number: bool) -> String {
    let missing = spec.width.saturating_sub(text.chars().count());
    if missing == 0 {
        text
    } else if spec.minus {
        text + &" ".repeat(missing)
    } else if spec.zero && number {
        let (sign, digits) = match text.strip_prefix(['-', '+']) {
            Some(digits) => (&text[..1], digits),
            None => ("", text.as_str()),
        };
        format!("{sign}{}{digits}", "0".repeat(missing))
    } else {
        " ".repeat(missing) + &text
    }
}

/// strconv.Quote.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\x0b' => out.push_str("\\v"),
            c if u32::from(c) < 0x20 || c == '\x7f' => {
                out.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
