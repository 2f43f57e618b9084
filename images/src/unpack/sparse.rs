//! Sparse maps: where a file's stored bytes go. Pure, and checked as a whole
//! before anything is written.

use super::header::number;
use super::pax::decimal;

/// More pieces than this are refused: 4 MiB of map.
pub(crate) const SEGMENTS_MAX: usize = 1 << 18;
/// A file that claims to be larger is refused, holes or not: the largest
/// offset ext4 can store with 4 KiB blocks.
pub(crate) const FILE_MAX: u64 = 16 << 40;

/// `length` stored bytes belong at `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// A checked map: ascending, apart, inside the file, as long as the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SparseMap {
    pub(crate) segments: Vec<Segment>,
    pub(crate) real_size: u64,
}

impl SparseMap {
    /// `None` when the map contradicts itself or the `stored` bytes.
    pub(crate) fn checked(segments: Vec<Segment>, real_size: u64, stored: u64) -> Option<Self> {
        if segments.len() > SEGMENTS_MAX || real_size > FILE_MAX {
            return None;
        }
        let (mut end, mut total) = (0u64, 0u64);
        for segment in &segments {
            if segment.offset < end {
                return None;
            }
            end = segment.offset.checked_add(segment.length)?;
            total = total.checked_add(segment.length)?;
        }
        (end <= real_size && total == stored).then_some(Self { segments, real_size })
    }
}

/// GNU's pairs of 12-byte numbers; an empty pair ends them.
pub(crate) fn gnu_pairs(field: &[u8], into: &mut Vec<Segment>) -> Option<()> {
    for pair in field.as_chunks::<24>().0 {
        let (offset, length) = pair.split_at(12);
        if offset.first() == Some(&0) && length.first() == Some(&0) {
            return Some(());
        }
        into.push(Segment {
            offset: u64::try_from(number(offset)?).ok()?,
            length: u64::try_from(number(length)?).ok()?,
        });
    }
    Some(())
}

/// Format 1.0: decimal lines at the head of the data. Fed block by block.
#[derive(Debug, Default)]
pub(crate) struct MapLines {
    numbers: Vec<u64>,
    line: Vec<u8>,
    wanted: Option<usize>,
}

impl MapLines {
    /// Takes one block; `Some(true)` when the map is complete (the rest of the
    /// block is padding), `None` when it is malformed.
    pub(crate) fn feed(&mut self, block: &[u8]) -> Option<bool> {
        for byte in block {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > 20 {
                    return None;
                }
                continue;
            }
            let number = decimal(&self.line)?;
            self.line.clear();
            match self.wanted {
                None => {
                    let pairs = usize::try_from(number).ok().filter(|n| *n <= SEGMENTS_MAX)?;
                    self.wanted = Some(pairs * 2);
                }
                Some(_) => self.numbers.push(number),
            }
            if self.wanted == Some(self.numbers.len()) {
                return Some(true);
            }
        }
        Some(false)
    }

    pub(crate) fn segments(&self) -> Vec<Segment> {
        let pairs = self.numbers.as_chunks::<2>().0;
        pairs.iter().map(|[offset, length]| Segment { offset: *offset, length: *length }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(list: &[(u64, u64)]) -> Vec<Segment> {
        list.iter().map(|(offset, length)| Segment { offset: *offset, length: *length }).collect()
    }

    #[test]
    fn a_map_must_fit_its_file_and_its_data() {
        let ok = |list: &[(u64, u64)], real, stored| {
            SparseMap::checked(segments(list), real, stored).is_some()
        };
        assert!(ok(&[(0, 5), (10, 5)], 20, 10));
        assert!(ok(&[], 1 << 40, 0));
        assert!(!ok(&[(10, 5), (0, 5)], 20, 10), "descending");
        assert!(!ok(&[(0, 6), (5, 5)], 20, 11), "overlapping");
        assert!(!ok(&[(0, 5)], 4, 5), "beyond the end");
        assert!(!ok(&[(0, 5)], 20, 6), "data left over");
        assert!(!ok(&[(u64::MAX, 5)], u64::MAX, 5), "overflow");
        assert!(!ok(&[], FILE_MAX + 1, 0), "too large");
    }

    #[test]
    fn map_lines_are_read_across_blocks() {
        let mut lines = MapLines::default();
        assert_eq!(lines.feed(b"2\n0\n51"), Some(false));
        assert_eq!(lines.feed(b"2\n1024\n1\n\0\0\0"), Some(true));
        assert_eq!(lines.segments(), segments(&[(0, 512), (1024, 1)]));
        assert_eq!(MapLines::default().feed(b"99999999999\n"), None);
        assert_eq!(MapLines::default().feed(&[b'1'; 30]), None);
        assert_eq!(MapLines::default().feed(b"-1\n"), None);
    }
}
