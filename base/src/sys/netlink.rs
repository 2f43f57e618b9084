//! A netlink(7) socket with the options that make the kernel explain itself.
//! rustix opens the socket; the SOL_NETLINK options are set here.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::netlink;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

/// Which kernel subsystem answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes: rtnetlink(7).
    Route,
    /// nf_tables and conntrack.
    Netfilter,
}

/// Opens a netlink socket of the calling thread's network namespace,
/// close-on-exec, with extended acks (the kernel's own words and the position of
/// the fault), acks that do not repeat the request, and strict checking of dump
/// requests (without it old kernels ignore their filters).
///
/// # Errors
/// The kernel's reason: EPERM, EMFILE, EPROTONOSUPPORT (family not built in).
pub fn open(family: Family) -> io::Result<OwnedFd> {
    let protocol: Option<Protocol> = match family {
        Family::Route => None, // NETLINK_ROUTE is 0
        Family::Netfilter => Some(netlink::NETFILTER),
    };
    let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK, libc::NETLINK_GET_STRICT_CHK] {
        set_flag(&fd, option)?;
    }
    Ok(fd)
}

fn set_flag(fd: &OwnedFd, option: libc::c_int) -> io::Result<()> {
    let one: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&one)).map_err(io::Error::other)?;
    // SAFETY: `fd` is borrowed, so open for the whole call; the kernel reads
    // `size` bytes at `&one`, a live local of exactly that size, and keeps no
    // pointer to it after setsockopt(2) returns.
    let done = unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const one).cast(), size)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
