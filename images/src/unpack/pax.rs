//! PAX extended headers: `length key=value\n` records (pax(1), "pax Header
//! Block"). Pure. Bounded by the caller; anything malformed is refused, since
//! what one program skips another obeys.

use super::sparse::Segment;

/// An extended header or long name larger than this is refused.
pub(crate) const EXTENSION_MAX: u64 = 1 << 20;

/// Seconds since 1970 and nanoseconds, as the kernel wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// What an extended header says about the next entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<Time>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: PaxSparse,
}

/// GNU's three ways of saying "sparse" in PAX.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PaxSparse {
    /// The map is at the head of the data (format 1.0).
    pub(crate) map_in_data: bool,
    /// The map itself (formats 0.0 and 0.1).
    pub(crate) map: Option<Vec<Segment>>,
    /// The file's real size.
    pub(crate) real_size: Option<u64>,
}

impl Pax {
    /// Reads the records; `None` when they are malformed.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut pax = Self::default();
        let (mut minor, mut major, mut offset) = (None, None, None);
        let mut sparse_name = None;
        let mut rest = bytes;
        // Writers pad with NULs at most.
        while !rest.iter().all(|b| *b == 0) {
            let (key, value, next) = record(rest)?;
            rest = next;
            match key {
                b"path" => pax.path = Some(value.to_vec()),
                b"GNU.sparse.name" => sparse_name = Some(value.to_vec()),
                b"linkpath" => pax.link = Some(value.to_vec()),
                // POSIX: an empty value takes back what was said before.
                b"size" => pax.size = optional(value, decimal)?,
                b"uid" => pax.uid = optional(value, decimal)?,
                b"gid" => pax.gid = optional(value, decimal)?,
                b"mtime" => pax.mtime = optional(value, time)?,
                b"GNU.sparse.major" => major = Some(decimal(value)?),
                b"GNU.sparse.minor" => minor = Some(decimal(value)?),
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                    pax.sparse.real_size = Some(decimal(value)?);
                }
                b"GNU.sparse.map" => pax.sparse.map = Some(map_list(value)?),
                b"GNU.sparse.offset" => offset = Some(decimal(value)?),
                b"GNU.sparse.numbytes" => {
                    let segment = Segment { offset: offset.take()?, length: decimal(value)? };
                    pax.sparse.map.get_or_insert_default().push(segment);
                }
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        pax.xattrs.retain(|(known, _)| known != name);
                        pax.xattrs.push((name.to_vec(), value.to_vec()));
                    }
                }
            }
        }
        match (major, minor) {
            (None | Some(0), _) => {}
            (Some(1), Some(0)) => pax.sparse.map_in_data = true,
            _ => return None,
        }
        // `path` is then a made-up one, for programs that know no sparse files.
        pax.path = sparse_name.or(pax.path).filter(|p| !p.is_empty());
        pax.link = pax.link.filter(|p| !p.is_empty());
        Some(pax)
    }

    /// Whether a *global* header says something that programs disagree on
    /// applying to every entry: docker ignores it, GNU tar obeys.
    pub(crate) fn changes_what_is_read(&self) -> bool {
        let Self { path, link, size, uid: _, gid: _, mtime: _, xattrs: _, sparse } = self;
        path.is_some() || link.is_some() || size.is_some() || *sparse != PaxSparse::default()
    }
}

/// The first record: key, value, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|b| *b == b' ')?;
    let length = usize::try_from(decimal(bytes.get(..space)?)?).ok()?;
    let body = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|b| *b == b'=')?;
    let (key, value) = (body.get(..equals)?, body.get(equals + 1..)?);
    // A NUL ends a name for some programs and not for others.
    let binary = key.starts_with(b"SCHILY.xattr.");
    if key.is_empty() || key.contains(&0) || (!binary && value.contains(&0)) {
        return None;
    }
    Some((key, value, bytes.get(length..)?))
}

fn optional<T>(value: &[u8], read: fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
    if value.is_empty() { Some(None) } else { read(value).map(Some) }
}

/// Digits only: no sign, no blank.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, digit| match digit {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// `[-]seconds[.fraction]`; digits after the ninth are cut.
fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |b| *b == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    let mut nanoseconds = 0u32;
    for at in 0..9 {
        let digit = match fraction.get(at) {
            None => 0,
            Some(d @ b'0'..=b'9') => u32::from(d - b'0'),
            Some(_) => return None,
        };
        nanoseconds = nanoseconds * 10 + digit;
    }
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds },
        // The kernel counts nanoseconds upwards from the second before.
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

/// `offset,length,offset,length…`
fn map_list(text: &[u8]) -> Option<Vec<Segment>> {
    let mut map = Vec::new();
    if text.is_empty() {
        return Some(map);
    }
    let mut numbers = text.split(|b| *b == b',');
    while let Some(offset) = numbers.next() {
        map.push(Segment { offset: decimal(offset)?, length: decimal(numbers.next()?)? });
    }
    Some(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `length key=value\n` with the right length.
    fn line(text: &[u8]) -> Vec<u8> {
        let mut length = text.len() + 3;
        while format!("{length} ").len() + text.len() + 1 != length {
            length += 1;
        }
        [format!("{length} ").as_bytes(), text, b"\n"].concat()
    }

    #[test]
    fn records_say_what_the_ustar_header_cannot() {
        let lines: [&[u8]; 4] =
            [b"path=a/b", b"size=12345678", b"mtime=-1.250000", b"SCHILY.xattr.user.a=\0b"];
        let pax = Pax::parse(&lines.map(line).concat()).unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"a/b"[..]));
        assert_eq!(pax.size, Some(12_345_678));
        assert_eq!(pax.mtime, Some(Time { seconds: -2, nanoseconds: 750_000_000 }));
        assert_eq!(pax.xattrs, [(b"user.a".to_vec(), b"\0b".to_vec())]);
    }

    #[test]
    fn malformed_records_are_refused() {
        let broken = [
            &b"12 path=a/b "[..],
            b"99 path=a/b\n",
            b"3 p\n",
            b"0 path=a\n",
            b"x path=a\n",
            b"18446744073709551616 path=a\n",
            b"-9 path=a\n",
        ];
        for bad in broken {
            assert_eq!(Pax::parse(bad), None, "{:?}", String::from_utf8_lossy(bad));
        }
        let wrong: [&[u8]; 10] = [
            b"size=-1",
            b"size=+12",
            b"size=0x1",
            b"size=99999999999999999999999",
            b"path=a\0b",
            b"mtime=1.x",
            b"GNU.sparse.map=0,1,2,3,4",
            b"GNU.sparse.major=2",
            b"=x",
            b"nokey",
        ];
        for bad in wrong {
            assert_eq!(Pax::parse(&line(bad)), None, "{:?}", String::from_utf8_lossy(bad));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Pax::parse(&bytes);
        }

        #[test]
        fn times_keep_their_nanoseconds(s in -1_000_000i64..1_000_000_000, n in 0u32..1_000_000_000) {
            let text = if s < 0 && n > 0 {
                format!("-{}.{:09}", -s - 1, 1_000_000_000 - n)
            } else {
                format!("{s}.{n:09}")
            };
            prop_assert_eq!(time(text.as_bytes()), Some(Time { seconds: s, nanoseconds: n }));
        }
    }
}
