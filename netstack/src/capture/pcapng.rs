//! Packets as a file that Wireshark and tcpdump open: pcapng (draft-ietf-opsawg-pcapng),
//! because it keeps the interface's name and the direction of each packet. Pure.

use std::time::Duration;

use rcnt_base::sys::packet::Frame;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
/// By which a reader knows the byte order.
const MAGIC: u32 = 0x1a2b_3c4d;
const LINKTYPE_ETHERNET: u16 = 1;
/// Options: of a section, of an interface, of a packet, of statistics.
const COMMENT: u16 = 1;
const HARDWARE_AND_OS: [u16; 2] = [3, 4];
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;
/// Bytes of an 802.1Q tag, and where it goes.
const TAG: usize = 4;
const TAG_AT: usize = 12;

/// Writes blocks; what is written is for the caller to take away.
#[derive(Debug, Default)]
pub struct Writer {
    /// Whole blocks, in order.
    pub bytes: Vec<u8>,
}

impl Writer {
    /// A block of this type: length before and after, padded to four bytes.
    fn block(&mut self, kind: u32, body: &[u8]) {
        let padding = body.len().next_multiple_of(4) - body.len();
        let length = u32::try_from(body.len() + padding + 12).unwrap_or(u32::MAX);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(body);
        self.bytes.extend(vec![0; padding]);
        self.bytes.extend(length.to_ne_bytes());
    }

    /// The head of the file: whose packets these are.
    pub fn section(&mut self, comment: &str, system: &str) {
        let mut body = MAGIC.to_ne_bytes().to_vec();
        // Version 1.0, length not told.
        body.extend([1u16.to_ne_bytes(), 0u16.to_ne_bytes()].concat());
        body.extend((-1i64).to_ne_bytes());
        option(&mut body, COMMENT, comment.as_bytes());
        option(&mut body, HARDWARE_AND_OS[0], system.as_bytes());
        option(
            &mut body,
            HARDWARE_AND_OS[1],
            concat!("rcnt ", env!("CARGO_PKG_VERSION")).as_bytes(),
        );
        end(&mut body);
        self.block(SECTION, &body);
    }

    /// The next interface; packets refer to it by its place in this order.
    pub fn interface(&mut self, name: &str, snapshot: u32) {
        let mut body = [LINKTYPE_ETHERNET.to_ne_bytes(), [0; 2]].concat();
        body.extend(snapshot.to_ne_bytes());
        option(&mut body, IF_NAME, name.as_bytes());
        // Nanoseconds: ten to the power of minus nine.
        option(&mut body, IF_TSRESOL, &[9]);
        end(&mut body);
        self.block(INTERFACE, &body);
    }

    /// A packet of the `interface`th interface.
    pub fn packet(&mut self, interface: u32, frame: &Frame<'_>, outgoing: bool) {
        let (bytes, length) = tagged(frame);
        let mut body = interface.to_ne_bytes().to_vec();
        body.extend(stamp(frame.time));
        for number in [bytes.len(), length] {
            body.extend(u32::try_from(number).unwrap_or(u32::MAX).to_ne_bytes());
        }
        body.extend(&bytes);
        body.resize(body.len().next_multiple_of(4), 0);
        let direction = if outgoing { 2u32 } else { 1 };
        option(&mut body, EPB_FLAGS, &direction.to_ne_bytes());
        end(&mut body);
        self.block(PACKET, &body);
    }

    /// What was counted over all, told of the first interface.
    pub fn statistics(&mut self, time: Duration, received: u64, dropped: u64) {
        let mut body = 0u32.to_ne_bytes().to_vec();
        body.extend(stamp(time));
        option(&mut body, ISB_IFRECV, &received.to_ne_bytes());
        option(&mut body, ISB_IFDROP, &dropped.to_ne_bytes());
        end(&mut body);
        self.block(STATISTICS, &body);
    }
}

/// The frame with the tag that the kernel had taken out, and its length on the wire.
fn tagged(frame: &Frame<'_>) -> (Vec<u8>, usize) {
    match (frame.vlan, frame.bytes.split_at_checked(TAG_AT)) {
        (Some((tag, protocol)), Some((addresses, rest))) => {
            let tag = [protocol.to_be_bytes(), tag.to_be_bytes()].concat();
            ([addresses, &tag, rest].concat(), frame.length + TAG)
        }
        _ => (frame.bytes.to_vec(), frame.length),
    }
}

/// High word, low word of the nanoseconds.
fn stamp(time: Duration) -> Vec<u8> {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let word = |bits: u64| u32::try_from(bits & 0xffff_ffff).unwrap_or(0).to_ne_bytes();
    [word(nanoseconds >> 32), word(nanoseconds)].concat()
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    // Longer ones are cut: names and comments of ours are not.
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    body.extend(code.to_ne_bytes());
    body.extend(u16::try_from(value.len()).unwrap_or(0).to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The end of the options.
fn end(body: &mut Vec<u8>) {
    body.extend([0; 4]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole_and_a_tag_is_put_back() {
        let mut writer = Writer::default();
        writer.section("packets of web", "Linux");
        writer.interface("eth0", 96);
        let frame = Frame {
            interface: 2,
            direction: 4,
            hardware: 1,
            time: Duration::new(1, 5),
            length: 1500,
            vlan: Some((7, 0x8100)),
            bytes: &[2; 21],
        };
        writer.packet(0, &frame, true);
        writer.statistics(Duration::new(2, 0), 3, 1);
        let (mut rest, mut kinds) = (writer.bytes.as_slice(), Vec::new());
        while !rest.is_empty() {
            let word = |at: usize| u32::from_ne_bytes(rest[at..at + 4].try_into().unwrap());
            let length = usize::try_from(word(4)).unwrap();
            assert!(length % 4 == 0 && word(length - 4) == word(4));
            kinds.push(word(0));
            if word(0) == PACKET {
                assert_eq!((word(12), word(16)), (0, 1_000_000_005));
                assert_eq!((word(20), word(24)), (25, 1504));
                assert_eq!(rest[28 + 12..28 + 18], [0x81, 0, 0, 7, 2, 2]);
            }
            rest = &rest[length..];
        }
        assert_eq!(kinds, [SECTION, INTERFACE, PACKET, STATISTICS]);
    }
}
