//! Many IPv4 datagrams with one system call: recvmmsg(2) and sendmmsg(2). Who takes
//! in together what has come, and answers it together, takes turns with the other
//! side once for all of it.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The most that one call takes or sends.
pub const MOST: usize = 16;

/// Bytes of a datagram that are received; of a longer one, the first ones.
pub const LONGEST: usize = 1232;

/// One datagram that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received<'a> {
    /// What it says, at most [`LONGEST`] bytes.
    pub bytes: &'a [u8],
    /// Who sent it.
    pub from: SocketAddrV4,
    /// It was longer.
    pub cut: bool,
}

/// Where [`MOST`] datagrams are received. Its 20 KiB are touched as far as datagrams
/// fill it; meant for the stack.
pub struct Room {
    pieces: [MaybeUninit<[u8; LONGEST]>; MOST],
    /// Of the datagrams that are in it: length, sender, whether it was longer.
    heads: [(usize, SocketAddrV4, bool); MOST],
    many: usize,
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries((0..self.many).map(|n| self.get(n))).finish()
    }
}

impl Default for Room {
    fn default() -> Self {
        let nobody = (0, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), false);
        Self { pieces: [MaybeUninit::uninit(); MOST], heads: [nobody; MOST], many: 0 }
    }
}

impl Room {
    /// The `n`th datagram in it.
    pub fn get(&self, n: usize) -> Option<Received<'_>> {
        let (length, from, cut) = *self.heads.get(..self.many)?.get(n)?;
        let piece: *const u8 = self.pieces.get(n)?.as_ptr().cast();
        // SAFETY: `many`, `heads` and `pieces` are private to this file; `receive` counts a
        // datagram only after the kernel has written it to its piece, and notes as its
        // length what was written (recvmmsg(2): msg_len), at most the piece's length. So
        // the first `length` bytes are inside the piece and initialised, and while the
        // returned borrow of `self` lives nobody writes there.
        let bytes = unsafe { std::slice::from_raw_parts(piece, length.min(LONGEST)) };
        Some(Received { bytes, from, cut })
    }

    /// Receives what is there, at most [`MOST`] datagrams, without waiting, in place of
    /// what it held. Returns how many.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.many = 0;
        let mut envelopes = Envelopes::new();
        for (n, piece) in self.pieces.iter_mut().enumerate() {
            envelopes.address(n, piece.as_mut_ptr().cast(), LONGEST)?;
        }
        let count = libc::c_uint::try_from(MOST).map_err(io::Error::other)?;
        // SAFETY: the headers point to names and parts in `envelopes`, which is not moved
        // until the call is over, and those to the pieces of `self`, exclusively borrowed,
        // each with its true length. The kernel keeps none of the pointers, and with a
        // null timeout reads no other memory.
        let got = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                envelopes.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        let Envelopes { names, headers, .. } = &envelopes;
        for ((head, header), name) in self.heads.iter_mut().zip(headers).zip(names).take(got) {
            let length = usize::try_from(header.msg_len).map_err(io::Error::other)?;
            let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            let from = SocketAddrV4::new(address, u16::from_be(name.sin_port));
            *head = (length, from, header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0);
        }
        self.many = got;
        Ok(got)
    }
}

/// One datagram to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// Its bytes in the buffer.
    pub bytes: Range<usize>,
    /// Who gets it.
    pub to: SocketAddrV4,
}

/// What the kernel reads and writes beside the datagrams themselves.
struct Envelopes {
    names: [libc::sockaddr_in; MOST],
    parts: [libc::iovec; MOST],
    headers: [libc::mmsghdr; MOST],
}

impl Envelopes {
    fn new() -> Self {
        // SAFETY: all three are plain C data, arrays of integers and raw pointers,
        // for which all zero is a valid value: empty names, parts and messages.
        unsafe { std::mem::zeroed() }
    }

    /// Has message `n` be about these bytes, and about the `n`th name.
    fn address(&mut self, n: usize, bytes: *mut u8, length: usize) -> io::Result<()> {
        let none = || io::Error::from(io::ErrorKind::InvalidInput);
        let part = self.parts.get_mut(n).ok_or_else(none)?;
        *part = libc::iovec { iov_base: bytes.cast(), iov_len: length };
        let name = self.names.get_mut(n).ok_or_else(none)?;
        let header = &mut self.headers.get_mut(n).ok_or_else(none)?.msg_hdr;
        header.msg_iov = part;
        header.msg_iovlen = 1;
        header.msg_name = (&raw mut *name).cast();
        header.msg_namelen =
            libc::socklen_t::try_from(size_of::<libc::sockaddr_in>()).map_err(io::Error::other)?;
        Ok(())
    }
}

/// Sends the first [`MOST`] parcels, without waiting. Returns how many were sent.
///
/// # Errors
/// Why the first of them could not be sent.
pub fn send(socket: BorrowedFd<'_>, buffer: &[u8], parcels: &[Parcel]) -> io::Result<usize> {
    let mut envelopes = Envelopes::new();
    let family = libc::sa_family_t::try_from(libc::AF_INET).map_err(io::Error::other)?;
    let mut many = 0;
    for (n, Parcel { bytes, to }) in parcels.iter().take(MOST).enumerate() {
        let bytes = buffer.get(bytes.clone()).unwrap_or_default();
        envelopes.address(n, bytes.as_ptr().cast_mut(), bytes.len())?;
        if let Some(name) = envelopes.names.get_mut(n) {
            name.sin_family = family;
            name.sin_port = to.port().to_be();
            name.sin_addr.s_addr = u32::from(*to.ip()).to_be();
        }
        many = n + 1;
    }
    let count = libc::c_uint::try_from(many).map_err(io::Error::other)?;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: as for recvmmsg(2) above; sendmmsg(2) only reads the names, parts and bytes
    // (the pointers to the bytes are mutable in C's type alone), and writes msg_len
    // into the headers.
    let sent =
        unsafe { libc::sendmmsg(socket.as_raw_fd(), envelopes.headers.as_mut_ptr(), count, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    fn pair() -> (UdpSocket, UdpSocket) {
        (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap())
    }

    fn address(socket: &UdpSocket) -> SocketAddrV4 {
        match socket.local_addr().unwrap() {
            std::net::SocketAddr::V4(address) => address,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn what_is_sent_at_once_is_received_at_once() {
        let (one, two) = pair();
        let buffer = [vec![1; 1232], vec![2; 1233], vec![3]].concat();
        let parcels = [(0..1232), (1232..2465), (2465..2466), (0..0)]
            .map(|bytes| Parcel { bytes, to: address(&two) });
        assert_eq!(send(one.as_fd(), &buffer, &parcels).unwrap(), 4);
        let mut room = Room::default();
        assert_eq!(room.get(0), None);
        assert_eq!(room.receive(two.as_fd()).unwrap(), 4);
        let from = address(&one);
        let received = |bytes, cut| Some(Received { bytes, from, cut });
        assert_eq!(room.get(0), received(&[1; 1232], false));
        assert_eq!(room.get(1), received(&[2; 1232], true));
        assert_eq!(room.get(2), received(&[3], false));
        assert_eq!(room.get(3), received(&[], false));
        assert_eq!(room.get(4), None);
        assert!(format!("{room:?}").contains("[3]"));
        let nothing = room.receive(two.as_fd()).unwrap_err();
        assert_eq!((nothing.kind(), room.get(0)), (io::ErrorKind::WouldBlock, None));
    }

    #[test]
    fn more_than_there_is_room_for_is_left_for_the_next_time() {
        let (one, two) = pair();
        for n in 0..20u8 {
            one.send_to(&[n], two.local_addr().unwrap()).unwrap();
        }
        let mut room = Room::default();
        assert_eq!(room.receive(two.as_fd()).unwrap(), MOST);
        assert_eq!(room.get(15).unwrap().bytes, [15]);
        assert_eq!(room.receive(two.as_fd()).unwrap(), 4);
        assert_eq!((room.get(0).unwrap().bytes, room.get(4)), (&[16][..], None));
    }

    #[test]
    fn the_first_that_cannot_be_sent_is_the_error() {
        let (one, two) = pair();
        let good = Parcel { bytes: 0..1, to: address(&two) };
        // Broadcast without SO_BROADCAST (socket(7)).
        let bad = Parcel { bytes: 0..1, to: "255.255.255.255:9".parse().unwrap() };
        assert_eq!(send(one.as_fd(), b"x", &[good.clone(), bad.clone()]).unwrap(), 1);
        let refused = send(one.as_fd(), b"x", &[bad, good]).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(send(one.as_fd(), b"x", &[]).unwrap(), 0);
    }
}
