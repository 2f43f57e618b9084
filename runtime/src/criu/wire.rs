//! The protocol buffers wire format, as much of it as CRIU's messages use: a
//! field is a number, a type and a value; numbers are varints, texts and nested
//! messages are bytes with their length in front. Pure.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

/// A message being written; fields in the order they are added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

impl Writer {
    /// A number; also an enumeration's value. Negative ones take ten bytes, as
    /// `int32` wants them.
    pub(super) fn number(&mut self, field: u32, value: impl Into<i64>) {
        self.varint(u64::from(field) << 3 | VARINT);
        self.varint(value.into().cast_unsigned());
    }

    /// A yes, where no is what a missing field says.
    pub(super) fn flag(&mut self, field: u32, value: bool) {
        if value {
            self.number(field, 1);
        }
    }

    /// A text or bytes.
    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.varint(u64::from(field) << 3 | BYTES);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// A message in the message.
    pub(super) fn message(&mut self, field: u32, inner: Writer) {
        self.bytes(field, &inner.bytes);
    }

    /// What is sent.
    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A varint, or one of the fixed widths, as unsigned.
    Number(u64),
    /// A text, bytes or a message.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// As `int32`, which has been extended to 64 bits; zero for bytes.
    pub(super) fn int(self) -> i32 {
        match self {
            Value::Number(number) => number as u32 as i32,
            Value::Bytes(_) => 0,
        }
    }

    /// Empty for a number.
    pub(super) fn bytes(self) -> &'a [u8] {
        match self {
            Value::Number(_) => &[],
            Value::Bytes(bytes) => bytes,
        }
    }

    /// Whatever is no UTF-8 replaced.
    pub(super) fn text(self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }
}

/// The fields of a message in order, until the end or the first thing that is
/// none: what follows that is lost, as it would have no meaning.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let tag = self.varint()?;
        let little_endian =
            |bytes: &[u8]| bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
        let value = match tag & 7 {
            VARINT => Value::Number(self.varint()?),
            BYTES => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            FIXED64 => Value::Number(little_endian(self.take(8)?)),
            FIXED32 => Value::Number(little_endian(self.take(4)?)),
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The examples of the specification of the format.
    #[test]
    fn numbers_and_texts_are_written_as_specified() {
        let mut message = Writer::default();
        message.number(1, 150);
        message.bytes(2, b"testing");
        assert_eq!(message.clone().finish(), b"\x08\x96\x01\x12\x07testing");
        let mut outer = Writer::default();
        outer.flag(1, false);
        outer.message(3, message);
        assert_eq!(outer.finish(), b"\x1a\x0c\x08\x96\x01\x12\x07testing");
        let mut negative = Writer::default();
        negative.number(1, -2);
        assert_eq!(negative.finish(), b"\x08\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    }

    #[test]
    fn a_message_cut_short_ends_there() {
        assert_eq!(Fields::of(b"\x08\x96\x01\x12\x07test").count(), 1);
        assert_eq!(Fields::of(&[0xff; 20]).count(), 0);
        let fixed: Vec<_> = Fields::of(b"\x0d\x02\0\0\0\x11\x03\0\0\0\0\0\0\0").collect();
        assert_eq!(fixed, [(1, Value::Number(2)), (2, Value::Number(3))]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Fields::of(&bytes).count();
        }

        #[test]
        fn what_is_written_is_read(field in 1u32..5000, n in any::<i32>(), text in ".{0,40}") {
            let mut writer = Writer::default();
            writer.number(field, n);
            writer.bytes(field + 1, text.as_bytes());
            let bytes = writer.finish();
            let read: Vec<_> = Fields::of(&bytes).collect();
            prop_assert_eq!(read.len(), 2);
            prop_assert_eq!((read[0].0, read[0].1.int()), (u64::from(field), n));
            prop_assert_eq!((read[1].0, read[1].1.text()), (u64::from(field) + 1, text));
        }
    }
}
