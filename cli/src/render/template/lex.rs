//! A template's text → tokens.

use serde_json::{Number, Value};

use super::TemplateError;

/// One token and the line it begins on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    /// What it is.
    pub(super) kind: Kind,
    /// Its line, from 1.
    pub(super) line: usize,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// Text outside actions.
    Text(String),
    /// `{{`.
    Open,
    /// `}}`.
    Close,
    /// A string, number, character, true or false.
    Literal(Value),
    /// `nil`.
    Nil,
    /// A keyword or the name of a function.
    Word(String),
    /// `.a`: one step. Separated from what precedes it by a space or not.
    Field {
        /// Its name.
        name: String,
        /// No space before it: it continues an operand.
        joined: bool,
    },
    /// A dot of its own.
    Dot,
    /// `$x`, or `$` alone (an empty name).
    Variable(String),
    /// `|`
    Pipe,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// `,`
    Comma,
    /// `(`
    OpenParen,
    /// `)`
    CloseParen,
}

/// Splits `text` into tokens.
pub(super) fn lex(text: &str) -> Result<Vec<Token>, TemplateError> {
    let mut lexer = Lexer { rest: text, line: 1, tokens: Vec::new() };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn run(&mut self) -> Result<(), TemplateError> {
        let mut trim = false;
        loop {
            let Some(open) = self.rest.find("{{") else {
                let text = self.take(self.rest.len());
                self.text(text, trim, false);
                return Ok(());
            };
            let text = self.take(open);
            self.take(2);
            // "{{- " trims before; "{{-3}}" is a number (text/template, "Text and spaces").
            let trims =
                self.rest.starts_with('-') && self.rest[1..].starts_with(char::is_whitespace);
            self.text(text, trim, trims);
            if trims {
                self.take(1);
            }
            trim = self.action()?;
        }
    }

    fn text(&mut self, text: &str, trim_start: bool, trim_end: bool) {
        let text = if trim_start { text.trim_start() } else { text };
        let text = if trim_end { text.trim_end() } else { text };
        if !text.is_empty() {
            self.push(Kind::Text(text.to_owned()));
        }
    }

    /// Reads one action up to its `}}`; true if that trims the text after it.
    fn action(&mut self) -> Result<bool, TemplateError> {
        let trimmed = self.rest.trim_start();
        if let Some(comment) = trimmed.strip_prefix("/*") {
            let end = comment.find("*/").ok_or_else(|| self.error("unclosed comment"))?;
            let skipped = self.rest.len() - trimmed.len() + 2 + end + 2;
            self.take(skipped);
            let after = self.rest.trim_start();
            let trims = after.starts_with("-}}");
            if !trims && !after.starts_with("}}") {
                return Err(self.error("comment ends before closing delimiter"));
            }
            self.take(self.rest.len() - after.len() + if trims { 3 } else { 2 });
            return Ok(trims);
        }
        self.push(Kind::Open);
        loop {
            let space = self.rest.len() - self.rest.trim_start().len();
            self.take(space);
            if space > 0 && self.rest.starts_with("-}}") {
                self.take(3);
                self.push(Kind::Close);
                return Ok(true);
            }
            if self.rest.starts_with("}}") {
                self.take(2);
                self.push(Kind::Close);
                return Ok(false);
            }
            self.token(space > 0)?;
        }
    }

    fn token(&mut self, spaced: bool) -> Result<(), TemplateError> {
        let first = self.rest.chars().next().ok_or_else(|| self.error("unclosed action"))?;
        let kind = match first {
            '|' => self.symbol(1, Kind::Pipe),
            ',' => self.symbol(1, Kind::Comma),
            '(' => self.symbol(1, Kind::OpenParen),
            ')' => self.symbol(1, Kind::CloseParen),
            ':' if self.rest.starts_with(":=") => self.symbol(2, Kind::Declare),
            '=' => self.symbol(1, Kind::Assign),
            '"' => Kind::Literal(Value::String(self.quoted('"')?)),
            '\'' => {
                let text = self.quoted('\'')?;
                let mut chars = text.chars();
                match (chars.next(), chars.next()) {
                    (Some(c), None) => Kind::Literal(Value::from(u32::from(c))),
                    _ => return Err(self.error("malformed character constant")),
                }
            }
            '`' => {
                let end = self.rest[1..].find('`');
                let end = end.ok_or_else(|| self.error("unterminated raw quoted string"))?;
                let raw = self.take(end + 2);
                Kind::Literal(Value::String(raw[1..=end].to_owned()))
            }
            '$' => {
                self.take(1);
                Kind::Variable(self.name().to_owned())
            }
            '.' if !self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                self.take(1);
                match self.name() {
                    "" => Kind::Dot,
                    name => Kind::Field { name: name.to_owned(), joined: !spaced },
                }
            }
            c if c.is_ascii_digit() || matches!(c, '+' | '-' | '.') => self.number()?,
            c if c.is_alphabetic() || c == '_' => match self.name() {
                "true" => Kind::Literal(Value::Bool(true)),
                "false" => Kind::Literal(Value::Bool(false)),
                "nil" => Kind::Nil,
                word => Kind::Word(word.to_owned()),
            },
            '}' | '{' => return Err(self.error("unclosed action")),
            c => {
                let text = format!("unexpected {c:?} in command");
                return Err(self.error(&text));
            }
        };
        self.push(kind);
        Ok(())
    }

    fn symbol(&mut self, length: usize, kind: Kind) -> Kind {
        self.take(length);
        kind
    }

    fn name(&mut self) -> &'a str {
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
        self.take(end.unwrap_or(self.rest.len()))
    }

    fn number(&mut self) -> Result<Kind, TemplateError> {
        let end = self.rest.char_indices().skip(1).find(|(at, c)| {
            let exponent =
                matches!(self.rest.as_bytes().get(at.wrapping_sub(1)), Some(b'e' | b'E'));
            !(c.is_ascii_alphanumeric()
                || *c == '.'
                || *c == '_'
                || (exponent && matches!(c, '+' | '-')))
        });
        let typed = self.take(end.map_or(self.rest.len(), |(at, _)| at));
        let text = typed.replace('_', "");
        let bad = || self.error(&format!("bad number syntax: {typed:?}"));
        let unsigned = text.trim_start_matches(['+', '-']);
        let sign = if text.starts_with('-') { "-" } else { "" };
        let radix = |digits: &str, radix| i64::from_str_radix(&format!("{sign}{digits}"), radix);
        let whole = match unsigned.get(..2).map(str::to_ascii_lowercase).as_deref() {
            Some("0x") => radix(&unsigned[2..], 16),
            Some("0o") => radix(&unsigned[2..], 8),
            Some("0b") => radix(&unsigned[2..], 2),
            // A leading zero is octal, as in C.
            Some(two) if two.starts_with('0') && !unsigned.contains(['.', 'e', 'E']) => {
                radix(&unsigned[1..], 8)
            }
            _ => radix(unsigned, 10),
        };
        if let Ok(whole) = whole {
            return Ok(Kind::Literal(Value::from(whole)));
        }
        let float = text.parse::<f64>().ok().and_then(Number::from_f64).ok_or_else(bad)?;
        Ok(Kind::Literal(Value::Number(float)))
    }

    /// A quoted string with Go's escapes, its quotes taken.
    fn quoted(&mut self, quote: char) -> Result<String, TemplateError> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        let unterminated = "unterminated quoted string";
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.take(at + 1);
                    return Ok(text);
                }
                '\n' => break,
                '\\' => {
                    let (_, escape) = chars.next().ok_or_else(|| self.error(unterminated))?;
                    if let Some(first @ 0..=7) = escape.to_digit(8) {
                        let rest: Vec<_> =
                            chars.by_ref().take(2).map(|(_, c)| c.to_digit(8)).collect();
                        let code = rest.into_iter().try_fold(first, |code, d| Some(code * 8 + d?));
                        let code = code.filter(|code| *code < 256).and_then(char::from_u32);
                        text.push(code.ok_or_else(|| self.error("invalid escape in string"))?);
                        continue;
                    }
                    let digits = match escape {
                        'x' => 2,
                        'u' => 4,
                        'U' => 8,
                        _ => 0,
                    };
                    if digits > 0 {
                        let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                        let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                        text.push(code.ok_or_else(|| self.error("invalid escape in string"))?);
                        continue;
                    }
                    text.push(match escape {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        'a' => '\x07',
                        'b' => '\x08',
                        'f' => '\x0c',
                        'v' => '\x0b',
                        '\\' | '"' | '\'' => escape,
                        _ => return Err(self.error("invalid escape in string")),
                    });
                }
                c => text.push(c),
            }
        }
        Err(self.error(unterminated))
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn push(&mut self, kind: Kind) {
        self.tokens.push(Token { kind, line: self.line });
    }

    fn error(&self, what: &str) -> TemplateError {
        TemplateError::Parse { line: self.line, what: what.to_owned() }
    }
}
