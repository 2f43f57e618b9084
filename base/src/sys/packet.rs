//! packet(7) sockets: whole frames of a network namespace, filtered in the
//! kernel by a classic BPF program. What to look for is none of this file's
//! business.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socket_with};

use super::seccomp::SockFilter;

/// Frames taken by one recvmmsg(2).
const BATCH: usize = 32;
/// Bytes for the control messages of one frame: a time stamp and a `tpacket_auxdata`.
const CONTROL: usize = 128;

/// One frame as the kernel handed it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The interface's number in its namespace.
    pub interface: u32,
    /// PACKET_HOST, _BROADCAST, _MULTICAST, _OTHERHOST, _OUTGOING (linux/if_packet.h).
    pub direction: u8,
    /// ARPHRD_… of the interface (linux/if_arp.h): 1 Ethernet, 772 loopback.
    pub hardware: u16,
    /// Since 1970.
    pub time: Duration,
    /// Bytes it had on the wire.
    pub length: usize,
    /// A VLAN tag that the kernel has taken out of the frame: identifier and priority, protocol.
    pub vlan: Option<(u16, u16)>,
    /// The frame from its link-layer header on, cut to the snapshot length.
    pub bytes: &'a [u8],
}

/// What the kernel has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that passed the filter, dropped ones included.
    pub received: u64,
    /// Frames that came while the socket's buffer was full.
    pub dropped: u64,
}

/// A packet(7) socket of the namespace in which it was opened.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    snapshot: usize,
    buffer: Vec<u8>,
    control: Vec<u64>,
    counters: Counters,
}

impl PacketSocket {
    /// A socket for the frames of `interface` (0: of all) that `filter` lets pass. The
    /// filter is there before the first frame: a socket of protocol 0 gets nothing
    /// until it is bound (packet(7)).
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW, EINVAL for a program the kernel does not take, ENODEV.
    pub fn open(interface: u32, filter: &[SockFilter], snapshot: usize) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
        set_number(&fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        set_number(&fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
        if !filter.is_empty() {
            attach_filter(&fd, filter)?;
        }
        bind(&fd, interface)?;
        let (buffer, control) = (vec![0; BATCH * snapshot], vec![0; BATCH * CONTROL / 8]);
        Ok(Self { fd, snapshot, buffer, control, counters: Counters::default() })
    }

    /// How much may wait to be read; beyond net.core.rmem_max with CAP_NET_ADMIN.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn set_buffer(&self, bytes: usize) -> io::Result<()> {
        Ok(rustix::net::sockopt::set_socket_recv_buffer_size_force(&self.fd, bytes)?)
    }

    /// Hands the frames that wait, at most a batch, to `each`; how many there were. Does
    /// not block.
    ///
    /// # Errors
    /// The kernel's reason, or `each`'s.
    pub fn read(
        &mut self,
        mut each: impl FnMut(&Frame<'_>) -> io::Result<()>,
    ) -> io::Result<usize> {
        let mut addresses = [EMPTY_ADDRESS; BATCH];
        let lengths = self.receive(&mut addresses)?;
        for (n, (length, control_length)) in lengths.iter().enumerate() {
            let start = n * self.snapshot;
            let end = start + (*length).min(self.snapshot);
            let control: Vec<u8> = words(&self.control, n, *control_length);
            let notes = Notes::read(&control);
            let (Some(address), Some(bytes)) = (addresses.get(n), self.buffer.get(start..end))
            else {
                continue;
            };
            each(&Frame {
                interface: address.sll_ifindex.cast_unsigned(),
                direction: address.sll_pkttype,
                hardware: address.sll_hatype,
                time: notes.time,
                length: notes.length.unwrap_or(*length),
                vlan: notes.vlan,
                bytes,
            })?;
        }
        Ok(lengths.len())
    }

    /// Length and control length of each frame received.
    fn receive(
        &mut self,
        addresses: &mut [libc::sockaddr_ll; BATCH],
    ) -> io::Result<Vec<(usize, usize)>> {
        let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        let spaces = self.buffer.chunks_exact_mut(self.snapshot);
        for (vector, space) in vectors.iter_mut().zip(spaces) {
            *vector = libc::iovec { iov_base: space.as_mut_ptr().cast(), iov_len: space.len() };
        }
        // SAFETY: mmsghdr is plain integers and pointers, for which zero is a value.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        let controls = self.control.chunks_exact_mut(CONTROL / 8);
        let parts = vectors.iter_mut().zip(addresses.iter_mut()).zip(controls);
        for (header, ((vector, address), control)) in headers.iter_mut().zip(parts) {
            let header = &mut header.msg_hdr;
            header.msg_name = std::ptr::from_mut(address).cast();
            header.msg_namelen = ADDRESS_LENGTH;
            header.msg_iov = std::ptr::from_mut(vector);
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
        }
        let (count, flags) = (BATCH as libc::c_uint, libc::MSG_DONTWAIT | libc::MSG_TRUNC);
        // SAFETY: each header points to a vector, an address and control space of its
        // own, all of the lengths given, exclusively borrowed above and alive until
        // after the call; the vectors point to disjoint parts of `self.buffer`. The
        // kernel keeps none of these pointers.
        let got = unsafe {
            let fd = self.fd.as_raw_fd();
            libc::recvmmsg(fd, headers.as_mut_ptr(), count, flags as _, std::ptr::null_mut())
        };
        let Ok(got) = usize::try_from(got) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(Vec::new()),
                // Told once when an interface went down; there may be others.
                _ if error.raw_os_error() == Some(libc::ENETDOWN) => Ok(Vec::new()),
                _ => Err(error),
            };
        };
        #[allow(clippy::unnecessary_cast, reason = "msg_controllen is socklen_t with musl")]
        let lengths = |h: &libc::mmsghdr| (h.msg_len as usize, h.msg_hdr.msg_controllen as usize);
        Ok(headers.iter().take(got).map(lengths).collect())
    }

    /// What was counted since it was opened.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn counters(&mut self) -> io::Result<Counters> {
        let mut now = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut size = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `size` bytes to `now`, a live local of that
        // size and of plain integers, and the size it wrote to `size`.
        let done = unsafe {
            let value = (&raw mut now).cast();
            let (level, name) = (libc::SOL_PACKET, libc::PACKET_STATISTICS);
            libc::getsockopt(self.fd.as_raw_fd(), level, name, value, &raw mut size)
        };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        // Reading sets the kernel's counters to zero.
        self.counters.received += u64::from(now.tp_packets);
        self.counters.dropped += u64::from(now.tp_drops);
        Ok(self.counters)
    }

    /// Sends a frame out of the interface that the socket is bound to.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.fd, frame, SendFlags::empty())?;
        Ok(())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

const EMPTY_ADDRESS: libc::sockaddr_ll = libc::sockaddr_ll {
    sll_family: 0,
    sll_protocol: 0,
    sll_ifindex: 0,
    sll_hatype: 0,
    sll_pkttype: 0,
    sll_halen: 0,
    sll_addr: [0; 8],
};
const ADDRESS_LENGTH: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

/// `struct sock_fprog` of linux/filter.h.
#[repr(C)]
struct Program {
    len: u16,
    filter: *const SockFilter,
}

/// Only what `filter` lets pass reaches the socket from now on.
pub(crate) fn attach_filter(fd: &OwnedFd, filter: &[SockFilter]) -> io::Result<()> {
    let too_long = |_| io::Error::from_raw_os_error(libc::EINVAL);
    let program =
        Program { len: u16::try_from(filter.len()).map_err(too_long)?, filter: filter.as_ptr() };
    let size = size_of::<Program>() as libc::socklen_t;
    // SAFETY: the kernel copies the program during the call: `program` is a live local
    // of `size` bytes, `filter` a borrowed slice of exactly `len` `repr(C)` instructions.
    let done = unsafe {
        let value = (&raw const program).cast();
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, value, size)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set_number(fd: &OwnedFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let size = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the kernel reads `size` bytes at `value`, a live local of that size.
    let done =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), size) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn bind(fd: &OwnedFd, interface: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: interface.cast_signed(),
        ..EMPTY_ADDRESS
    };
    // SAFETY: the kernel reads ADDRESS_LENGTH bytes at `address`, a live local of that size.
    let done = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), ADDRESS_LENGTH) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The first `length` bytes of the `n`th control space.
fn words(control: &[u64], n: usize, length: usize) -> Vec<u8> {
    let space = control.chunks_exact(CONTROL / 8).nth(n).unwrap_or_default();
    let mut bytes: Vec<u8> = space.iter().flat_map(|word| word.to_ne_bytes()).collect();
    bytes.truncate(length);
    bytes
}

/// What the control messages of a frame say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Notes {
    time: Duration,
    length: Option<usize>,
    vlan: Option<(u16, u16)>,
}

impl Notes {
    /// Walks through `struct cmsghdr`s (cmsg(3)): size of a word, then two numbers, then data.
    fn read(control: &[u8]) -> Self {
        let mut notes = Self::default();
        let mut rest = control;
        while let Some((length, after)) = take::<8>(rest, 0).zip(rest.get(16..)) {
            let length = usize::try_from(u64::from_ne_bytes(length)).unwrap_or(usize::MAX);
            let Some(data) = length.checked_sub(16).and_then(|n| after.get(..n)) else { break };
            let number = |at| take::<4>(rest, at).map_or(0, i32::from_ne_bytes);
            match (number(8), number(12)) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => notes.stamp(data),
                (libc::SOL_PACKET, libc::PACKET_AUXDATA) => notes.auxiliary(data),
                _ => {}
            }
            rest = rest.get(length.next_multiple_of(8)..).unwrap_or_default();
        }
        notes
    }

    /// `struct timespec`.
    fn stamp(&mut self, data: &[u8]) {
        let part = |at| take::<8>(data, at).map_or(0, i64::from_ne_bytes);
        let seconds = u64::try_from(part(0)).unwrap_or(0);
        self.time = Duration::new(seconds, u32::try_from(part(8)).unwrap_or(0));
    }

    /// `struct tpacket_auxdata`: status, length, snapshot, mac, net, tag, its protocol.
    fn auxiliary(&mut self, data: &[u8]) {
        let word = |at| take::<4>(data, at).map_or(0, u32::from_ne_bytes);
        let short = |at| take::<2>(data, at).map_or(0, u16::from_ne_bytes);
        self.length = usize::try_from(word(4)).ok();
        if word(0) & libc::TP_STATUS_VLAN_VALID != 0 {
            let told = word(0) & libc::TP_STATUS_VLAN_TPID_VALID != 0;
            self.vlan = Some((short(16), if told { short(18) } else { 0x8100 }));
        }
    }
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_messages_are_read_and_hostile_ones_end_the_walk() {
        let mut control = Vec::new();
        let header = |length: u64, level: i32, kind: i32| {
            [
                length.to_ne_bytes().to_vec(),
                level.to_ne_bytes().to_vec(),
                kind.to_ne_bytes().to_vec(),
            ]
            .concat()
        };
        control.extend(header(32, libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS));
        control.extend(7_i64.to_ne_bytes());
        control.extend(9_i64.to_ne_bytes());
        control.extend(header(36, libc::SOL_PACKET, libc::PACKET_AUXDATA));
        for word in [libc::TP_STATUS_VLAN_VALID, 1500, 96, 0] {
            control.extend(word.to_ne_bytes());
        }
        control.extend([5_u16.to_ne_bytes(), [0; 2]].concat());
        let wanted =
            Notes { time: Duration::new(7, 9), length: Some(1500), vlan: Some((5, 0x8100)) };
        assert_eq!(Notes::read(&control), wanted);
        for end in 0..control.len() {
            Notes::read(&control[..end]);
        }
        assert_eq!(Notes::read(&[0; 64]), Notes::default());
        assert_eq!(Notes::read(&[0xff; 64]), Notes::default());
    }

    #[test]
    fn loopback_frames_pass_the_filter_they_were_opened_with() {
        // ret 0: nothing passes. (Needs CAP_NET_RAW; as root, like every test of ours.)
        let nothing = [SockFilter { code: 6, jt: 0, jf: 0, k: 0 }];
        let (Ok(mut all), Ok(mut none)) =
            (PacketSocket::open(1, &[], 128), PacketSocket::open(1, &nothing, 128))
        else {
            assert!(!rustix::process::geteuid().is_root());
            return;
        };
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = socket.local_addr().unwrap();
        socket.send_to(&[7; 300], to).unwrap();
        let mut seen = false;
        for _ in 0..100 {
            all.read(|frame| {
                seen |= frame.length == 342 && frame.bytes.len() == 128 && frame.hardware == 772;
                Ok(())
            })
            .unwrap();
        }
        assert!(seen);
        assert_eq!(none.read(|_| Ok(())).unwrap(), 0);
        assert!(all.counters().unwrap().received >= 1);
    }
}
