//! Datagrams with the address they were sent to, which only recvmsg(2) with
//! `IPV6_PKTINFO` tells, and answers from that address (RFC 3542, section 6):
//! a host has many addresses, and a client takes answers from the asked one only.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Where a datagram was sent: address and interface number. IPv4 addresses are
/// mapped (`::ffff:192.0.2.1`).
pub type Destination = (Ipv6Addr, u32);

/// What was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Bytes of it that are in the buffer.
    pub length: usize,
    /// Who sent it.
    pub from: SocketAddrV6,
    /// Where to.
    pub to: Destination,
}

/// Room for one control message with a `struct in6_pktinfo` (40 bytes), aligned.
type Control = [u64; 8];

/// Makes an IPv6 datagram socket tell where datagrams were sent to.
///
/// # Errors
/// It is no IPv6 socket.
pub fn tell_destinations(socket: BorrowedFd<'_>) -> io::Result<()> {
    let one: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&one)).map_err(io::Error::other)?;
    // SAFETY: `socket` is borrowed, so open for the whole call; the kernel reads
    // `size` bytes at `&one`, a live local of that size, and keeps no pointer.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_RECVPKTINFO,
            (&raw const one).cast(),
            size,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Receives one datagram without waiting.
///
/// # Errors
/// `WouldBlock` when there is none; what an earlier answer ran into.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut name = MaybeUninit::<libc::sockaddr_in6>::zeroed();
    let mut control: Control = [0; 8];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut message = header(&mut part, &mut control);
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = length_of::<libc::sockaddr_in6>()?;
    // SAFETY: every pointer of `message` is to a live local or to the caller's
    // buffer, exclusively borrowed, each with its true length; the kernel keeps
    // none of them after recvmsg(2).
    let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let length = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: all bit patterns are a sockaddr_in6, and it was zeroed before the call.
    let name = unsafe { name.assume_init() };
    let to = destination(&message)
        .ok_or_else(|| io::Error::other("a datagram without its destination"))?;
    let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
    let from = SocketAddrV6::new(address, u16::from_be(name.sin6_port), 0, name.sin6_scope_id);
    Ok(Datagram { length, from, to })
}

/// Sends a datagram from one of this host's addresses, without waiting.
///
/// # Errors
/// The kernel's reason.
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    from: Destination,
    to: SocketAddrV6,
) -> io::Result<()> {
    let mut name = libc::sockaddr_in6 {
        sin6_family: u16::try_from(libc::AF_INET6).map_err(io::Error::other)?,
        sin6_port: to.port().to_be(),
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: to.ip().octets() },
        sin6_scope_id: to.scope_id(),
    };
    let mut control: Control = [0; 8];
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut message = header(&mut part, &mut control);
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = length_of::<libc::sockaddr_in6>()?;
    // The interface only where the address says too little without it.
    let interface = if from.0.is_unicast_link_local() { from.1 } else { 0 };
    let info = libc::in6_pktinfo {
        ipi6_addr: libc::in6_addr { s6_addr: from.0.octets() },
        ipi6_ifindex: interface,
    };
    let size = u32::try_from(size_of_val(&info)).map_err(io::Error::other)?;
    // SAFETY: `control` is 64 bytes, aligned for cmsghdr, and CMSG_SPACE of an
    // in6_pktinfo is 40: header and data written here are inside it, and
    // `message` points to it with its length.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(&raw const message);
        (*first).cmsg_level = libc::IPPROTO_IPV6;
        (*first).cmsg_type = libc::IPV6_PKTINFO;
        (*first).cmsg_len = libc::CMSG_LEN(size) as _;
        libc::CMSG_DATA(first).cast::<libc::in6_pktinfo>().write_unaligned(info);
        message.msg_controllen = libc::CMSG_SPACE(size) as _;
    }
    // SAFETY: as for recvmsg above; sendmsg(2) only reads what they point to.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT) };
    if sent >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A message header without a name.
fn header(part: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: msghdr is plain C data; all zero is an empty one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(control) as _;
    message
}

fn length_of<T>() -> io::Result<libc::socklen_t> {
    libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)
}

/// The `IPV6_PKTINFO` of a received message.
fn destination(message: &libc::msghdr) -> Option<Destination> {
    // SAFETY: recvmsg(2) has filled in `message`, whose control buffer is alive in
    // our caller and as long as msg_controllen says; CMSG_FIRSTHDR checks that a
    // whole header is there, and the length is compared before the data is read.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(message).as_ref()?;
        let size = u32::try_from(size_of::<libc::in6_pktinfo>()).ok()?;
        let whole = first.cmsg_len >= libc::CMSG_LEN(size) as _;
        if first.cmsg_level != libc::IPPROTO_IPV6 || first.cmsg_type != libc::IPV6_PKTINFO || !whole
        {
            return None;
        }
        let info = libc::CMSG_DATA(first).cast::<libc::in6_pktinfo>().read_unaligned();
        Some((Ipv6Addr::from(info.ipi6_addr.s6_addr), info.ipi6_ifindex))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn answers_come_from_the_address_that_was_asked() {
        let Ok(server) = UdpSocket::bind("[::]:0") else { return };
        tell_destinations(server.as_fd()).unwrap();
        let port = server.local_addr().unwrap().port();
        let client = UdpSocket::bind("[::]:0").unwrap();
        // IPv4 in IPv6's clothes has a choice of addresses on every host.
        for asked in ["[::1]", "[::ffff:127.0.0.3]"] {
            let asked = format!("{asked}:{port}");
            client.send_to(b"hello", &asked).unwrap();
            let mut buffer = [0; 64];
            let got = loop {
                match receive(server.as_fd(), &mut buffer) {
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                    got => break got.unwrap(),
                }
            };
            assert_eq!(&buffer[..got.length], b"hello");
            send(server.as_fd(), b"there", got.to, got.from).unwrap();
            let (_, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!(from.to_string(), asked);
        }
        let empty = receive(server.as_fd(), &mut [0; 8]).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
    }
}
