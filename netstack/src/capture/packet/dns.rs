//! What a DNS message (RFC 1035) is about, in a few words: `A? example.com`,
//! `example.com A 192.0.2.1`.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{number, take};

/// A name's compressed parts that are followed, and its length in the end.
const JUMPS: u32 = 16;
const NAME: usize = 255;

/// Answers that are told.
const ANSWERS: u16 = 4;

/// `None` for what is no DNS message.
pub(super) fn describe(bytes: &[u8]) -> Option<String> {
    let flags = number(bytes, 2)?;
    let (questions, answers) = (number(bytes, 4)?, number(bytes, 6)?);
    if questions != 1 {
        return None;
    }
    let (name, mut at) = name(bytes, 12)?;
    let asked = kind(number(bytes, at)?);
    at += 4;
    if flags & 0x8000 == 0 {
        return Some(format!("{asked}? {name}"));
    }
    match flags & 15 {
        0 => {}
        2 => return Some(format!("{name} {asked} SERVFAIL")),
        3 => return Some(format!("{name} {asked} NXDOMAIN")),
        5 => return Some(format!("{name} {asked} REFUSED")),
        code => return Some(format!("{name} {asked} error {code}")),
    }
    let mut told = Vec::new();
    for _ in 0..answers.min(ANSWERS) {
        let Some((text, next)) = answer(bytes, at) else { break };
        told.push(text);
        at = next;
    }
    if told.is_empty() {
        told.push("no answer".to_owned());
    }
    if answers > ANSWERS {
        told.push("…".to_owned());
    }
    Some(format!("{name} {asked} {}", told.join(", ")))
}

/// One resource record's data, and where the next begins.
fn answer(bytes: &[u8], at: usize) -> Option<(String, usize)> {
    let (_, at) = name(bytes, at)?;
    let record = number(bytes, at)?;
    let length = usize::from(number(bytes, at + 8)?);
    let data = at + 10;
    let text = match (record, length) {
        (1, 4) => Ipv4Addr::from(take::<4>(bytes, data)?).to_string(),
        (28, 16) => Ipv6Addr::from(take::<16>(bytes, data)?).to_string(),
        (2 | 5 | 12, _) => name(bytes, data)?.0,
        _ => kind(record),
    };
    Some((text, data + length))
}

fn kind(number: u16) -> String {
    let known = match number {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        12 => "PTR",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        65 => "HTTPS",
        255 => "ANY",
        _ => return format!("TYPE{number}"),
    };
    known.to_owned()
}

/// A name, and where what follows it begins. Pointers only ever lead back, and only
/// so many (RFC 1035, 4.1.4, leaves both to the reader).
fn name(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut at, mut end, mut jumps) = (start, None, 0);
    let mut text = String::new();
    loop {
        let length = usize::from(*bytes.get(at)?);
        match length {
            0 => break,
            1..=63 => {
                let label = bytes.get(at + 1..at + 1 + length)?;
                if !text.is_empty() {
                    text.push('.');
                }
                // What is printed to a terminal shall not steer it.
                text.extend(
                    label.iter().map(|b| if b.is_ascii_graphic() { char::from(*b) } else { '?' }),
                );
                at += 1 + length;
            }
            192.. => {
                end = end.or(Some(at + 2));
                let target = usize::from(number(bytes, at)? & 0x3fff);
                jumps += 1;
                if target >= at || jumps > JUMPS {
                    return None;
                }
                at = target;
            }
            _ => return None,
        }
        if text.len() > NAME {
            return None;
        }
    }
    if text.is_empty() {
        text.push('.');
    }
    Some((text, end.unwrap_or(at + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A message about `a.b`, with these flags and answers.
    fn message(flags: u16, answers: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34];
        bytes.extend(flags.to_be_bytes());
        bytes.extend([0, 1, 0, u8::try_from(answers.len()).unwrap(), 0, 0, 0, 0]);
        bytes.extend([1, b'a', 1, b'b', 0, 0, 1, 0, 1]);
        bytes.extend(answers.concat());
        bytes
    }

    fn record(kind: u8, data: &[u8]) -> Vec<u8> {
        let length = u8::try_from(data.len()).unwrap();
        [&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 9, 0, length], data].concat()
    }

    #[test]
    fn questions_and_answers_are_told() {
        assert_eq!(describe(&message(0x0100, &[])).unwrap(), "A? a.b");
        let answers = [record(1, &[192, 0, 2, 1]), record(5, &[1, b'c', 0xc0, 14])];
        assert_eq!(describe(&message(0x8180, &answers)).unwrap(), "a.b A 192.0.2.1, c.b");
        assert_eq!(describe(&message(0x8183, &[])).unwrap(), "a.b A NXDOMAIN");
        assert_eq!(describe(&message(0x8180, &[])).unwrap(), "a.b A no answer");
        // A name that points to itself.
        let mut loops = message(0x0100, &[]);
        loops.truncate(12);
        loops.extend([0xc0, 12, 0, 1, 0, 1]);
        assert_eq!(describe(&loops), None);
    }

    proptest! {
        #[test]
        fn hostile_messages_never_panic(rest in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = describe(&rest);
            let _ = describe(&[&[0, 0, 0x80, 0, 0, 1, 0, 9, 0, 0, 0, 0], rest.as_slice()].concat());
        }
    }
}
