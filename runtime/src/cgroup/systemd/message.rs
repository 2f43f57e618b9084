//! D-Bus messages as bytes (D-Bus specification, "Marshaling (Wire Format)" and
//! "Message Format"): the little of it that talking to systemd takes. Pure.

use crate::plan::UnitValue;

/// More than any answer of systemd's; whoever claims more is not it.
pub(super) const LONGEST: usize = 1 << 20;

/// The fixed part of a header, up to and with the length of its fields.
pub(super) const PREFIX: usize = 16;

const HEADER_PATH: u8 = 1;
const HEADER_INTERFACE: u8 = 2;
const HEADER_MEMBER: u8 = 3;
const HEADER_ERROR_NAME: u8 = 4;
const HEADER_REPLY_SERIAL: u8 = 5;
const HEADER_DESTINATION: u8 = 6;
const HEADER_SIGNATURE: u8 = 8;

/// Values one after the other, with their signature.
#[derive(Debug, Default)]
pub(super) struct Body {
    signature: String,
    bytes: Vec<u8>,
}

fn align(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn put_u32(bytes: &mut Vec<u8>, value: u32) {
    align(bytes, 4);
    bytes.extend(value.to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    // Longer texts than u32 counts are refused when the message is sent.
    put_u32(bytes, text.len() as u32);
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

fn put_signature(bytes: &mut Vec<u8>, signature: &str) {
    bytes.push(signature.len() as u8);
    bytes.extend(signature.as_bytes());
    bytes.push(0);
}

/// An array: its length in bytes does not count the gap before the first item.
fn put_array(bytes: &mut Vec<u8>, item_alignment: usize, items: impl FnOnce(&mut Vec<u8>)) {
    put_u32(bytes, 0);
    let length_at = bytes.len() - 4;
    align(bytes, item_alignment);
    let start = bytes.len();
    items(bytes);
    let length = ((bytes.len() - start) as u32).to_le_bytes();
    if let Some(slot) = bytes.get_mut(length_at..length_at + 4) {
        slot.copy_from_slice(&length);
    }
}

fn alignment(kind: char) -> usize {
    match kind {
        'y' => 1,
        'n' | 'q' => 2,
        'x' | 't' | 'd' => 8,
        _ => 4,
    }
}

fn signature(value: &UnitValue) -> String {
    match value {
        UnitValue::Bool(_) => "b",
        UnitValue::Byte(_) => "y",
        UnitValue::Int16(_) => "n",
        UnitValue::Uint16(_) => "q",
        UnitValue::Int32(_) => "i",
        UnitValue::Uint32(_) => "u",
        UnitValue::Int64(_) => "x",
        UnitValue::Uint64(_) => "t",
        UnitValue::Double(_) => "d",
        UnitValue::String(_) => "s",
        UnitValue::Pairs(_) => "a(ss)",
        UnitValue::Array(kind, _) => return format!("a{kind}"),
    }
    .to_owned()
}

fn put_value(bytes: &mut Vec<u8>, value: &UnitValue) {
    let mut put = |to: usize, raw: &[u8]| {
        align(bytes, to);
        bytes.extend(raw);
    };
    match value {
        UnitValue::Bool(value) => put_u32(bytes, u32::from(*value)),
        UnitValue::Byte(value) => put(1, &[*value]),
        UnitValue::Int16(value) => put(2, &value.to_le_bytes()),
        UnitValue::Uint16(value) => put(2, &value.to_le_bytes()),
        UnitValue::Int32(value) => put(4, &value.to_le_bytes()),
        UnitValue::Uint32(value) => put(4, &value.to_le_bytes()),
        UnitValue::Int64(value) => put(8, &value.to_le_bytes()),
        UnitValue::Uint64(value) => put(8, &value.to_le_bytes()),
        UnitValue::Double(value) => put(8, &value.to_le_bytes()),
        UnitValue::String(text) => put_text(bytes, text),
        UnitValue::Array(kind, items) => put_array(bytes, alignment(*kind), |bytes| {
            items.iter().for_each(|item| put_value(bytes, item));
        }),
        UnitValue::Pairs(pairs) => put_array(bytes, 8, |bytes| {
            for (first, second) in pairs {
                align(bytes, 8);
                put_text(bytes, first);
                put_text(bytes, second);
            }
        }),
    }
}

fn put_variant(bytes: &mut Vec<u8>, value: &UnitValue) {
    put_signature(bytes, &signature(value));
    put_value(bytes, value);
}

impl Body {
    pub(super) fn text(mut self, text: &str) -> Self {
        self.signature.push('s');
        put_text(&mut self.bytes, text);
        self
    }

    pub(super) fn boolean(mut self, value: bool) -> Self {
        self.signature.push('b');
        put_u32(&mut self.bytes, u32::from(value));
        self
    }

    /// `a(sv)`
    pub(super) fn properties(mut self, properties: &[(String, UnitValue)]) -> Self {
        self.signature.push_str("a(sv)");
        put_array(&mut self.bytes, 8, |bytes| {
            for (name, value) in properties {
                align(bytes, 8);
                put_text(bytes, name);
                put_variant(bytes, value);
            }
        });
        self
    }

    /// `a(sa(sv))`, empty: StartTransientUnit's further units.
    pub(super) fn no_units(mut self) -> Self {
        self.signature.push_str("a(sa(sv))");
        put_array(&mut self.bytes, 8, |_| {});
        self
    }
}

/// Whom a call is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) destination: &'static str,
    pub(super) path: &'static str,
    pub(super) interface: &'static str,
}

/// A method call as it goes over the wire.
pub(super) fn call(serial: u32, target: Target, member: &str, body: &Body) -> Vec<u8> {
    // little-endian, METHOD_CALL, no flags, version 1
    let mut bytes = vec![b'l', 1, 0, 1];
    put_u32(&mut bytes, body.bytes.len() as u32);
    put_u32(&mut bytes, serial);
    put_array(&mut bytes, 8, |bytes| {
        let fields = [
            (HEADER_PATH, "o", target.path),
            (HEADER_INTERFACE, "s", target.interface),
            (HEADER_MEMBER, "s", member),
            (HEADER_DESTINATION, "s", target.destination),
        ];
        for (code, kind, text) in fields {
            align(bytes, 8);
            bytes.push(code);
            put_signature(bytes, kind);
            put_text(bytes, text);
        }
        if !body.signature.is_empty() {
            align(bytes, 8);
            bytes.push(HEADER_SIGNATURE);
            put_signature(bytes, "g");
            put_signature(bytes, &body.signature);
        }
    });
    align(&mut bytes, 8);
    bytes.extend(&body.bytes);
    bytes
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Reply,
    Error,
    Signal,
    /// A kind of later days; to be passed over.
    Other,
}

/// A message that came in.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) reply_to: Option<u32>,
    pub(super) error_name: String,
    pub(super) member: String,
    big: bool,
    body: Vec<u8>,
}

/// Reads values in order; `None` = the bytes are not what they should be.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big: bool,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.align(4);
        let raw = self.take(4)?.try_into().ok()?;
        Some(if self.big { u32::from_be_bytes(raw) } else { u32::from_le_bytes(raw) })
    }

    /// A string or an object path.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()? as usize;
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        self.take(1)?;
        Some(text)
    }

    fn signature(&mut self) -> Option<&'a str> {
        let length = usize::from(*self.take(1)?.first()?);
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        self.take(1)?;
        Some(text)
    }
}

/// How long the message is that begins with these [`PREFIX`] bytes: header with
/// padding, and body. `None` = it is no message, or too long a one.
pub(super) fn lengths(prefix: &[u8; PREFIX]) -> Option<(usize, usize)> {
    let big = match prefix[0] {
        b'l' => false,
        b'B' => true,
        _ => return None,
    };
    let mut reader = Reader { bytes: prefix, at: 4, big };
    let body = reader.u32()? as usize;
    reader.u32()?;
    let fields = reader.u32()? as usize;
    (body <= LONGEST && fields <= LONGEST).then_some(())?;
    Some(((PREFIX + fields).next_multiple_of(8), body))
}

/// A whole message.
pub(super) fn parse(bytes: &[u8]) -> Option<Message> {
    let prefix: &[u8; PREFIX] = bytes.get(..PREFIX)?.try_into().ok()?;
    let (header, body) = lengths(prefix)?;
    let big = prefix[0] == b'B';
    let kind = match prefix[1] {
        1 => Kind::Call,
        2 => Kind::Reply,
        3 => Kind::Error,
        4 => Kind::Signal,
        _ => Kind::Other,
    };
    let body = bytes.get(header..header.checked_add(body)?)?.to_vec();
    let (reply_to, error_name, member) = (None, String::new(), String::new());
    let mut message = Message { kind, reply_to, error_name, member, big, body };
    let mut reader = Reader { bytes, at: PREFIX - 4, big };
    let fields_end = PREFIX + reader.u32()? as usize;
    while reader.at < fields_end {
        reader.align(8);
        let code = *reader.take(1)?.first()?;
        match reader.signature()? {
            "s" | "o" => {
                let text = reader.text()?.to_owned();
                match code {
                    HEADER_ERROR_NAME => message.error_name = text,
                    HEADER_MEMBER => message.member = text,
                    _ => {}
                }
            }
            "g" => drop(reader.signature()?),
            "u" => {
                let number = reader.u32()?;
                if code == HEADER_REPLY_SERIAL {
                    message.reply_to = Some(number);
                }
            }
            _ => return None,
        }
    }
    Some(message)
}

impl Message {
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0, big: self.big }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TARGET: Target = Target { destination: "a.b", path: "/a", interface: "a.b.C" };

    #[test]
    fn a_call_is_as_the_specification_lays_it_out() {
        let bytes = call(7, TARGET, "Go", &Body::default().text("hé").boolean(true));
        let expected: Vec<u8> = [
            &b"l\x01\x00\x01\x0c\0\0\0\x07\0\0\0\x48\0\0\0"[..],
            b"\x01\x01o\0\x02\0\0\0/a\0\0\0\0\0\0",
            b"\x02\x01s\0\x05\0\0\0a.b.C\0\0\0",
            b"\x03\x01s\0\x02\0\0\0Go\0\0\0\0\0\0",
            b"\x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0",
            b"\x08\x01g\0\x02sb\0",
            b"\x03\0\0\0h\xc3\xa9\0\x01\0\0\0",
        ]
        .concat();
        assert_eq!(bytes, expected);
        let message = parse(&bytes).unwrap();
        assert_eq!((message.kind, message.member.as_str()), (Kind::Call, "Go"));
        let mut reader = message.reader();
        assert_eq!((reader.text(), reader.u32()), (Some("hé"), Some(1)));
        assert_eq!(reader.u32(), None);
    }

    #[test]
    fn properties_are_aligned_by_their_types() {
        let of = |value: UnitValue| {
            let body = Body::default().properties(&[("A".to_owned(), value)]);
            assert_eq!(body.signature, "a(sv)");
            body.bytes
        };
        // Length, a gap to 8, "A", the variant's signature, the value.
        assert_eq!(
            of(UnitValue::Uint64(5)),
            b"\x10\0\0\0\0\0\0\0\x01\0\0\0A\0\x01t\0\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0"[..]
                .to_vec()
                .tap_length(24)
        );
        assert_eq!(
            of(UnitValue::Bool(true)),
            b"\x10\0\0\0\0\0\0\0\x01\0\0\0A\0\x01b\0\0\0\0\x01\0\0\0"[..].to_vec().tap_length(16)
        );
        let bytes = UnitValue::Array('y', vec![UnitValue::Byte(3)]);
        assert_eq!(
            of(bytes),
            b"\0\0\0\0\0\0\0\0\x01\0\0\0A\0\x02ay\0\0\0\x01\0\0\0\x03"[..].to_vec().tap_length(17)
        );
    }

    trait TapLength {
        fn tap_length(self, length: u8) -> Self;
    }

    impl TapLength for Vec<u8> {
        fn tap_length(mut self, length: u8) -> Self {
            self[0] = length;
            self
        }
    }

    #[test]
    fn an_endless_message_is_none() {
        let mut prefix = [0; PREFIX];
        prefix[0] = b'l';
        prefix[7] = 0xff;
        assert_eq!(lengths(&prefix), None);
        prefix[7] = 0;
        assert_eq!(lengths(&prefix), Some((PREFIX, 0)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..120), big in any::<bool>()) {
            if let Some(first) = bytes.first_mut() {
                *first = if big { b'B' } else { b'l' };
            }
            if bytes.len() > 16 {
                bytes[5..8].fill(0);
                bytes[13..16].fill(0);
            }
            if let Some(message) = parse(&bytes) {
                let mut reader = message.reader();
                while reader.text().is_some() {}
            }
        }

        #[test]
        fn texts_survive(texts in prop::collection::vec("[a-zé]{0,9}", 0..5)) {
            let body = texts.iter().fold(Body::default(), |body, text| body.text(text));
            let message = parse(&call(1, TARGET, "M", &body)).unwrap();
            let mut reader = message.reader();
            for text in &texts {
                prop_assert_eq!(reader.text(), Some(text.as_str()));
            }
        }
    }
}
