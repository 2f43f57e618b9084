//! Sockets that one interface alone leads to.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// From here on the socket takes packets that came in by `interface`, and sends by
/// it, only (SO_BINDTODEVICE in socket(7)).
///
/// # Errors
/// There is no such interface in the socket's namespace.
pub fn bind_to_device(socket: BorrowedFd<'_>, interface: &CStr) -> io::Result<()> {
    let name = interface.to_bytes_with_nul();
    let size = libc::socklen_t::try_from(name.len()).map_err(io::Error::other)?;
    // SAFETY: `socket` is borrowed, so open for the whole call; the kernel reads
    // `size` bytes at `name`, which is exactly that long and lives until then, and
    // keeps no pointer.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast(),
            size,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn a_socket_can_be_bound_to_the_loopback_interface() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        bind_to_device(socket.as_fd(), c"lo").unwrap();
        assert!(bind_to_device(socket.as_fd(), c"no-such-link").is_err());
    }
}
