//! The netlink wire format (RFC 3549, netlink(7)): structs to bytes and back, and
//! [`Socket`], one conversation with the kernel. What the messages are about is
//! the callers' own: links and firewalls are netstack's, a container's network
//! devices are runtime's.
//!
//! Everything read here comes from the kernel, but is treated as a stranger's:
//! each length is checked, nothing panics, unknown attributes are skipped.

pub mod abi;
mod socket;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use socket::{Answers, Refusal, Socket, refusal};

/// Bytes of `struct nlmsghdr` and of `struct nlattr`.
const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;

/// Netlink aligns messages and attributes to four bytes.
const fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

/// What does not fit into a netlink message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("netlink attribute or message over the format's limit")]
pub struct TooLong;

/// Bytes that are no well-formed netlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed netlink message")]
pub struct Malformed;

/// Requests for one sendmsg(2), each with a sequence number of its own.
#[derive(Debug, Default)]
pub struct Requests {
    bytes: Vec<u8>,
    next: u32,
    last: usize,
    too_long: bool,
}

impl Requests {
    /// Appends one message: `fixed` is the family's own header (padded here), `body`
    /// writes the attributes. Returns the message's sequence number.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        body: impl FnOnce(&mut Attributes<'_>),
    ) -> u32 {
        let start = self.bytes.len();
        let sequence = self.next;
        self.next = self.next.wrapping_add(1);
        self.last = start;
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(fixed);
        pad(&mut self.bytes);
        body(&mut Attributes { bytes: &mut self.bytes, too_long: &mut self.too_long });
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        if let Some(field) = self.bytes.get_mut(start..start + 4) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        sequence
    }

    /// The message added last shall be acknowledged when it went well, too.
    pub fn acknowledge_last(&mut self) {
        if let Some(flags) = self.bytes.get_mut(self.last + 6..self.last + 8) {
            let asked = read_u16(flags, 0).unwrap_or_default() | abi::NLM_F_ACK;
            flags.copy_from_slice(&asked.to_ne_bytes());
        }
    }

    /// The number of messages so far.
    pub fn count(&self) -> u32 {
        self.next
    }

    /// The bytes to send.
    ///
    /// # Errors
    /// An attribute did not fit.
    pub fn bytes(&self) -> Result<&[u8], TooLong> {
        if self.too_long { Err(TooLong) } else { Ok(&self.bytes) }
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(aligned(bytes.len()), 0);
}

/// Writes the attributes of one message or of one nested attribute.
#[derive(Debug)]
pub struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
    too_long: &'a mut bool,
}

impl Attributes<'_> {
    fn length(&mut self, start: usize) {
        match u16::try_from(self.bytes.len() - start) {
            Ok(length) => {
                if let Some(field) = self.bytes.get_mut(start..start + 2) {
                    field.copy_from_slice(&length.to_ne_bytes());
                }
            }
            Err(_) => *self.too_long = true,
        }
        pad(self.bytes);
    }

    /// An attribute with these bytes.
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.length(start);
    }

    /// One byte.
    pub fn u8(&mut self, kind: u16, value: u8) {
        self.put(kind, &[value]);
    }

    /// Four bytes in the machine's order.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// Big-endian, as everything of nf_tables.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// Big-endian, as ports are.
    pub fn be16(&mut self, kind: u16, value: u16) {
        self.put(kind, &value.to_be_bytes());
    }

    /// Text with the NUL byte that the kernel expects.
    pub fn text(&mut self, kind: u16, value: &str) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.length(start);
    }

    /// An attribute made of attributes.
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Attributes<'_>)) {
        self.nest_with(kind | abi::NLA_F_NESTED, &[], body);
    }

    /// [`Self::nest`] with a fixed header before the inner attributes, and without the flag
    /// (rtnetlink's VETH_INFO_PEER is checked strictly).
    pub fn nest_with(&mut self, kind: u16, fixed: &[u8], body: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(fixed);
        body(&mut Attributes { bytes: self.bytes, too_long: self.too_long });
        self.length(start);
    }

    /// An address, 4 or 16 bytes.
    pub fn address(&mut self, kind: u16, address: IpAddr) {
        match address {
            IpAddr::V4(a) => self.put(kind, &a.octets()),
            IpAddr::V6(a) => self.put(kind, &a.octets()),
        }
    }
}

/// One received message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is: NLMSG_… or the family's own numbers.
    pub kind: u16,
    /// NLM_F_…
    pub flags: u16,
    /// The number of the request it answers.
    pub sequence: u32,
    /// What follows `struct nlmsghdr`.
    pub payload: &'a [u8],
}

/// The messages of one datagram, ending after the first malformed one.
pub fn messages(bytes: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Malformed>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let message = split_message(rest);
        rest = message.map_or(&[], |(_, rest)| rest);
        Some(message.map(|(message, _)| message).ok_or(Malformed))
    })
}

fn split_message(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let length = usize::try_from(read_u32(bytes, 0)?).ok()?;
    let message = Message {
        kind: read_u16(bytes, 4)?,
        flags: read_u16(bytes, 6)?,
        sequence: read_u32(bytes, 8)?,
        payload: bytes.get(HEADER..length)?,
    };
    Some((message, bytes.get(aligned(length)..).unwrap_or(&[])))
}

/// The attributes in `bytes` as (type without flags, value), ending after the first malformed one.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8]), Malformed>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let attribute = split_attribute(rest);
        rest = attribute.map_or(&[], |(_, rest)| rest);
        Some(attribute.map(|(attribute, _)| attribute).ok_or(Malformed))
    })
}

type Attribute<'a> = (u16, &'a [u8]);

fn split_attribute(bytes: &[u8]) -> Option<(Attribute<'_>, &[u8])> {
    let length = usize::from(read_u16(bytes, 0)?);
    let kind = read_u16(bytes, 2)? & abi::NLA_TYPE_MASK;
    let value = bytes.get(ATTRIBUTE_HEADER..length)?;
    Some(((kind, value), bytes.get(aligned(length)..).unwrap_or(&[])))
}

/// The value of the first attribute of this type.
pub fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).filter_map(Result::ok).find(|(kind, _)| *kind == wanted).map(|(_, v)| v)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.get(..N)?.try_into().ok()
}

/// Two bytes at this place, in the machine's order.
pub fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_ne_bytes)
}

/// Four bytes at this place, in the machine's order.
pub fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_ne_bytes)
}

/// The first four bytes, big-endian.
pub fn read_be32(bytes: &[u8]) -> Option<u32> {
    array(bytes, 0).map(u32::from_be_bytes)
}

/// Text up to its NUL byte; other than UTF-8 becomes U+FFFD.
pub fn read_text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or(bytes)).into_owned()
}

/// An address of 4 or 16 bytes.
pub fn read_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => array::<4>(bytes, 0).map(|a| Ipv4Addr::from(a).into()),
        16 => array::<16>(bytes, 0).map(|a| Ipv6Addr::from(a).into()),
        _ => None,
    }
}

/// The answer to one request: `struct nlmsgerr` with its extended ack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// 0, or the errno as a positive number.
    pub errno: i32,
    /// The kernel's own words (NLMSGERR_ATTR_MSG).
    pub words: Option<String>,
}

impl Ack {
    /// Reads NLMSG_ERROR, or NLMSG_DONE which carries the result of a dump in the same place.
    ///
    /// # Errors
    /// It is too short.
    pub fn decode(message: &Message<'_>) -> Result<Self, Malformed> {
        let code = array(message.payload, 0).map(i32::from_ne_bytes).ok_or(Malformed)?;
        // An error repeats the request's header, and with it the whole request unless CAPPED.
        let skip = match message.kind {
            abi::NLMSG_DONE => 4,
            _ if message.flags & abi::NLM_F_CAPPED != 0 => 4 + HEADER,
            _ => {
                let echoed = read_u32(message.payload, 4).ok_or(Malformed)?;
                4 + aligned(usize::try_from(echoed).map_err(|_| Malformed)?)
            }
        };
        let words = (message.flags & abi::NLM_F_ACK_TLVS != 0)
            .then(|| {
                message.payload.get(skip..).and_then(|tlvs| find(tlvs, abi::NLMSGERR_ATTR_MSG))
            })
            .flatten()
            .map(read_text);
        Ok(Self { errno: code.checked_neg().unwrap_or(0), words })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn attributes_written_are_attributes_read(
            wanted in proptest::collection::vec((1u16..0x3fff, proptest::collection::vec(any::<u8>(), 0..40)), 0..12)
        ) {
            let mut requests = Requests::default();
            requests.message(7, 5, &[1, 2, 3], |a| {
                for (kind, value) in &wanted {
                    a.put(*kind, value);
                }
            });
            let sequence = requests.message(8, 0, &[], |_| {});
            let bytes = requests.bytes().unwrap();
            let got: Vec<_> = messages(bytes).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(got.len(), 2);
            prop_assert_eq!((got[0].kind, got[0].flags, got[1].sequence), (7, 5, sequence));
            let read: Vec<_> = attributes(&got[0].payload[4..])
                .map(|a| a.map(|(k, v)| (k, v.to_vec()))).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(read, wanted);
        }

        #[test]
        fn hostile_bytes_never_panic_and_always_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes).flatten() {
                let _ = Ack::decode(&message);
                let _ = attributes(message.payload).count();
            }
            prop_assert!(attributes(&bytes).count() <= 51);
        }
    }

    #[test]
    fn an_attribute_over_64_kib_is_an_error_not_a_short_length() {
        let mut requests = Requests::default();
        requests.message(1, 0, &[], |a| a.put(1, &vec![0; 70_000]));
        assert_eq!(requests.bytes(), Err(TooLong));
    }

    #[test]
    fn the_kernels_words_are_found_behind_the_echoed_request() {
        let mut requests = Requests::default();
        let mut payload = (-17i32).to_ne_bytes().to_vec();
        payload.extend_from_slice(&24u32.to_ne_bytes());
        payload.extend_from_slice(&[0; 20]);
        requests.message(abi::NLMSG_ERROR, abi::NLM_F_ACK_TLVS, &payload, |a| {
            a.text(abi::NLMSGERR_ATTR_MSG, "no such thing")
        });
        let bytes = requests.bytes().unwrap();
        let message = messages(bytes).next().unwrap().unwrap();
        let ack = Ack::decode(&message).unwrap();
        assert_eq!(ack, Ack { errno: 17, words: Some("no such thing".into()) });
    }
}
