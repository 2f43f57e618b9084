//! TCP sockets that are bound but neither listen nor connect: `/proc/net/tcp`
//! does not show them, sock_diag(7) does since Linux 6.8 (TCP_BOUND_INACTIVE).
//! Another rcnt instance holds its ports with just such sockets.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// linux/sock_diag.h
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// linux/netlink.h: NLM_F_REQUEST | NLM_F_DUMP.
const REQUEST_DUMP: u16 = 0x301;
/// include/net/tcp_states.h, as a bit.
const BOUND_INACTIVE: u32 = 1 << 13;
const TCP: u8 = 6;
/// Size of a netlink header, and offset of the inode in the `inet_diag_msg` behind it.
const HEADER: usize = 16;
const INODE: usize = 68;

/// Inodes of the sockets bound to TCP `port`; none on older kernels, or when the kernel will not
/// say.
pub(super) fn bound_inactive(port: u16) -> Vec<u64> {
    let families = [AddressFamily::INET, AddressFamily::INET6];
    families.iter().flat_map(|family| ask(*family, port).unwrap_or_default()).collect()
}

fn ask(family: AddressFamily, port: u16) -> Result<Vec<u64>, Errno> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    send(&socket, &request(family, port), SendFlags::empty())?;
    let mut inodes = Vec::new();
    // The kernel dumps inside send and recv: whatever there is comes without waiting.
    while let Some(buffer) = receive(&socket)? {
        if !collect(&buffer, &mut inodes) {
            break;
        }
    }
    Ok(inodes)
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2` (linux/inet_diag.h).
fn request(family: AddressFamily, port: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(72);
    bytes.extend(72u32.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST_DUMP.to_ne_bytes());
    // Sequence and sender: one question per socket needs neither.
    bytes.extend([0; 8]);
    bytes.extend([u8::try_from(family.as_raw()).unwrap_or(0), TCP, 0, 0]);
    bytes.extend(BOUND_INACTIVE.to_ne_bytes());
    bytes.extend(port.to_be_bytes());
    bytes.resize(72, 0);
    bytes
}

fn receive(socket: &OwnedFd) -> Result<Option<Vec<u8>>, Errno> {
    let mut buffer = vec![0; 32 * 1024];
    match recv(socket, &mut buffer, RecvFlags::DONTWAIT) {
        Ok((length, _)) => {
            buffer.truncate(length);
            Ok(Some(buffer))
        }
        Err(Errno::AGAIN) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Takes the inodes out of a datagram; `false` at the end of the dump.
fn collect(mut bytes: &[u8], inodes: &mut Vec<u64>) -> bool {
    while let Some(header) = bytes.first_chunk::<HEADER>() {
        let [a, b, c, d, e, f, ..] = *header;
        let length = usize::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or(0);
        let Some(message) = bytes.get(HEADER..length) else { return false };
        if u16::from_ne_bytes([e, f]) != SOCK_DIAG_BY_FAMILY {
            return false;
        }
        let inode = message.get(INODE..).and_then(|rest| rest.first_chunk::<4>());
        inodes.extend(inode.map(|i| u64::from(u32::from_ne_bytes(*i))));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_datagram_panics(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            len in 0u32..200,
        ) {
            if let Some(first) = bytes.first_chunk_mut::<4>() {
                *first = len.to_ne_bytes();
            }
            collect(&bytes, &mut Vec::new());
        }
    }
}
