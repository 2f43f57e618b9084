//! One 512-byte tar header, as POSIX ustar, GNU and star write it
//! (pax(1) "ustar Interchange Format"; GNU tar's tar.h). Pure, and strict where
//! programs differ: a number that two of them would read differently is refused.

/// A tar archive is made of these.
pub(crate) const BLOCK: usize = 512;
/// One of them.
pub(crate) type Block = [u8; BLOCK];

/// Who wrote the header decides what its tail means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Before POSIX: no tail.
    V7,
    /// `prefix` lengthens the name.
    Ustar,
    /// As ustar, but a shorter prefix, then times.
    Star,
    /// The tail holds a sparse map.
    Gnu,
}

/// The fields of a header, each read on demand.
pub(crate) struct Header<'a>(&'a Block);

impl<'a> Header<'a> {
    /// Checks the sum. `None`: not a header.
    pub(crate) fn checked(block: &'a Block) -> Option<Self> {
        let stored = number(block.get(148..156)?)?;
        let outside = |at: &usize| !(148..156).contains(at);
        let unsigned =
            |(at, byte): (usize, &u8)| i64::from(if outside(&at) { *byte } else { b' ' });
        // Some old programs summed signed bytes.
        let signed = |(at, byte): (usize, &u8)| {
            if outside(&at) { i64::from(byte.cast_signed()) } else { i64::from(b' ') }
        };
        let matches = stored == block.iter().enumerate().map(unsigned).sum::<i64>()
            || stored == block.iter().enumerate().map(signed).sum::<i64>();
        matches.then_some(Self(block))
    }

    fn field(&self, at: usize, len: usize) -> &'a [u8] {
        self.0.get(at..at + len).unwrap_or_default()
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match (self.field(257, 8), self.field(508, 4)) {
            (b"ustar\x0000", b"tar\0") => Dialect::Star,
            (b"ustar\x0000", _) => Dialect::Ustar,
            (b"ustar  \0", _) => Dialect::Gnu,
            _ => Dialect::V7,
        }
    }

    pub(crate) fn type_flag(&self) -> u8 {
        self.field(156, 1).first().copied().unwrap_or_default()
    }

    /// `prefix/name`, or just the name.
    pub(crate) fn path(&self) -> Vec<u8> {
        let name = text(self.field(0, 100));
        let prefix = match self.dialect() {
            Dialect::Ustar => text(self.field(345, 155)),
            Dialect::Star => text(self.field(345, 131)),
            Dialect::V7 | Dialect::Gnu => b"",
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(crate) fn link(&self) -> Vec<u8> {
        text(self.field(157, 100)).to_vec()
    }

    pub(crate) fn mode(&self) -> Option<i64> {
        number(self.field(100, 8))
    }

    pub(crate) fn uid(&self) -> Option<i64> {
        number(self.field(108, 8))
    }

    pub(crate) fn gid(&self) -> Option<i64> {
        number(self.field(116, 8))
    }

    pub(crate) fn size(&self) -> Option<u64> {
        number(self.field(124, 12)).and_then(|n| u64::try_from(n).ok())
    }

    pub(crate) fn mtime(&self) -> Option<i64> {
        number(self.field(136, 12))
    }

    /// Major and minor.
    pub(crate) fn device(&self) -> Option<(u32, u32)> {
        let part = |at| number(self.field(at, 8)).and_then(|n| u32::try_from(n).ok());
        Some((part(329)?, part(337)?))
    }

    /// GNU's sparse map: four pairs, "more follow", and the file's real size.
    pub(crate) fn gnu_sparse(&self) -> (&'a [u8], bool, Option<u64>) {
        let real = number(self.field(483, 12)).and_then(|n| u64::try_from(n).ok());
        (self.field(386, 96), self.field(482, 1) != [0], real)
    }
}

/// Up to the first NUL.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// Octal text, or GNU's base 256 when the first bit is set; empty is 0. After
/// the digits only blanks and NULs may follow.
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    if field.first().is_some_and(|b| b & 0x80 != 0) {
        return base256(field);
    }
    let start = field.iter().position(|b| *b != b' ').unwrap_or(field.len());
    let digits = field.get(start..)?;
    let end = digits.iter().position(|b| matches!(b, 0 | b' ')).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if rest.iter().any(|b| !matches!(b, 0 | b' ')) {
        return None;
    }
    digits.iter().try_fold(0i64, |sum, digit| match digit {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// Two's complement; the marker bit is not part of the number.
fn base256(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    let negative = first & 0x40 != 0;
    let head = if negative { i128::from(*first) - 0x100 } else { i128::from(first & 0x3f) };
    let value = rest.iter().try_fold(head, |sum, byte| {
        // Twelve bytes at most: fits.
        sum.checked_mul(256)?.checked_add(i128::from(*byte))
    })?;
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"77777777777\0"), Some(0o77_777_777_777));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]), Some(-2));
    }

    #[test]
    fn numbers_that_programs_read_differently_are_refused() {
        for bad in
            [&b"0000 17\0"[..], b"12\x0034\0\0\0", b"0x10\0\0\0\0", b"-1\0\0\0\0\0\0", b"8\0\0\0"]
        {
            assert_eq!(number(bad), None, "{bad:?}");
        }
        // More than 64 bits: some would drop the upper ones.
        assert_eq!(number(&[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    proptest! {
        #[test]
        fn any_block_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), BLOCK)) {
            let block: Block = bytes.try_into().unwrap();
            if let Some(h) = Header::checked(&block) {
                let _ = (h.path(), h.link(), h.size(), h.mode(), h.device(), h.gnu_sparse());
            }
        }

        #[test]
        fn octal_round_trips(n in 0i64..0o77_777_777_777) {
            let text = format!("{n:011o}\0");
            prop_assert_eq!(number(text.as_bytes()), Some(n));
        }
    }
}
