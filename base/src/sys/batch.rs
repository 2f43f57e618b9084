//! Many IPv4 datagrams with one system call: recvmmsg(2) and sendmmsg(2). Who takes
//! in together what has come, and answers it together, takes turns with the other
//! side once for all of it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The most that one call takes or sends.
pub const MOST: usize = 16;

/// One datagram that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes of it that are in its part of the buffer.
    pub length: usize,
    /// Who sent it.
    pub from: SocketAddrV4,
    /// It was longer.
    pub cut: bool,
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

/// Receives what is there, at most [`MOST`] datagrams and as many as `found` has
/// places, without waiting: the `n`th into the `n`th piece of `buffer`, each `size`
/// bytes long. Returns how many.
///
/// # Errors
/// `WouldBlock` when there is none.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    size: usize,
    found: &mut [Option<Received>],
) -> io::Result<usize> {
    let mut envelopes = Envelopes::new();
    let pieces = buffer.chunks_exact_mut(size.max(1)).take(found.len().min(MOST));
    let mut many = 0;
    for (n, piece) in pieces.enumerate() {
        envelopes.address(n, piece.as_mut_ptr(), piece.len())?;
        many = n + 1;
    }
    let count = libc::c_uint::try_from(many).map_err(io::Error::other)?;
    // SAFETY: the first `count` headers point to names and parts in `envelopes`, which
    // is not moved until the call is over, and those to distinct pieces of the caller's
    // buffer, exclusively borrowed, each with its true length. The kernel keeps none
    // of the pointers, and with a null timeout reads no other memory.
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
    for ((place, header), name) in found.iter_mut().zip(headers).zip(names).take(got) {
        let length = usize::try_from(header.msg_len).map_err(io::Error::other)?;
        let cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
        let from = SocketAddrV4::new(address, u16::from_be(name.sin_port));
        // The kernel says an IPv4 socket's names are IPv4; anything else is nobody's.
        let is_ipv4 = i32::from(name.sin_family) == libc::AF_INET;
        *place = is_ipv4.then_some(Received { length, from, cut });
    }
    Ok(got)
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
    // SAFETY: as for recvmmsg above; sendmmsg(2) only reads the names, parts and bytes
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
        let buffer = b"onetwothree";
        let parcels =
            [(0..3), (3..6), (6..11), (11..11)].map(|bytes| Parcel { bytes, to: address(&two) });
        assert_eq!(send(one.as_fd(), buffer, &parcels).unwrap(), 4);
        let mut pieces = [0u8; 4 * 8];
        let mut found = [None; 3];
        assert_eq!(receive(two.as_fd(), &mut pieces, 4, &mut found).unwrap(), 3);
        let texts: Vec<_> = found
            .iter()
            .flatten()
            .zip(pieces.chunks(4))
            .map(|(got, piece)| (got.from, &piece[..got.length], got.cut))
            .collect();
        let from = address(&one);
        assert_eq!(
            texts,
            [(from, &b"one"[..], false), (from, b"two", false), (from, b"thre", true)]
        );
        assert_eq!(receive(two.as_fd(), &mut pieces, 4, &mut found).unwrap(), 1);
        assert_eq!(found[0].unwrap().length, 0);
        let nothing = receive(two.as_fd(), &mut pieces, 4, &mut found).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
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
