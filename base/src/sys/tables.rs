//! The rules of iptables-legacy, which no netlink tells: two options of getsockopt(2)
//! on a raw socket (linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h).
//! What the bytes mean is none of this file's business.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto, socket_with};

/// `IPT_SO_GET_INFO`, `IPT_SO_GET_ENTRIES`; IPv6's are the same.
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;
/// `struct ipt_getinfo`: the name; valid hooks; where each of five begins, and where its
/// policy is; the number of entries and their size.
const INFO: usize = 84;
const HOOKS: usize = 36;
const POLICIES: usize = 56;
const SIZE: usize = 80;
/// `struct ipt_get_entries` before the entries: the name, their size, and padding.
const ENTRIES: usize = 40;
const NAME: usize = 32;
/// More than any table has: a changed ABI must not make us ask for gigabytes.
const LIMIT: usize = 256 << 20;

/// A table as the kernel holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyTable {
    /// Where each of netfilter's five hooks begins; those it has not are out of range.
    pub hooks: [u32; 5],
    /// Where each hook's policy is.
    pub policies: [u32; 5],
    /// The entries, in the machine's own layout.
    pub entries: Vec<u8>,
}

/// Reads a table of iptables-legacy in the calling thread's network namespace. Asking
/// for one that nobody uses makes it: look into `ip_tables_names` below /proc/net first.
///
/// # Errors
/// The kernel's reason; `WouldBlock` when the table changes between its size and itself.
pub fn read(ipv6: bool, table: &str) -> io::Result<LegacyTable> {
    let family = if ipv6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let raw: Option<Protocol> = Some(ipproto::RAW);
    let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, raw)?;
    let level = if ipv6 { libc::IPPROTO_IPV6 } else { libc::IPPROTO_IP };
    let mut info = named(table, INFO);
    ask(socket.as_fd(), level, GET_INFO, &mut info)?;
    let size = usize::try_from(word(&info, SIZE)).unwrap_or(usize::MAX);
    if size > LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a table of an absurd size"));
    }
    let mut answer = named(table, ENTRIES + size);
    let length = word(&info, SIZE).to_ne_bytes();
    answer.iter_mut().skip(NAME).zip(length).for_each(|(to, from)| *to = from);
    ask(socket.as_fd(), level, GET_ENTRIES, &mut answer)?;
    Ok(LegacyTable {
        hooks: [0, 1, 2, 3, 4].map(|n| word(&info, HOOKS + n * 4)),
        policies: [0, 1, 2, 3, 4].map(|n| word(&info, POLICIES + n * 4)),
        entries: answer.split_off(ENTRIES),
    })
}

/// Zeros that begin with a name.
fn named(table: &str, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    let name = table.bytes().take(NAME - 1);
    bytes.iter_mut().zip(name).for_each(|(to, from)| *to = from);
    bytes
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.copied().map_or(0, u32::from_ne_bytes)
}

fn ask(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &mut [u8],
) -> io::Result<()> {
    let mut size = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: `socket` is borrowed, so open for the whole call. The kernel reads and
    // writes at most `size` bytes at `value`, a live slice of plain bytes of that length
    // which nobody else has while it is borrowed mutably, and the size it wrote to
    // `size`, a live local; it keeps neither pointer.
    let done = unsafe {
        let pointer = value.as_mut_ptr().cast();
        libc::getsockopt(socket.as_raw_fd(), level, option, pointer, &raw mut size)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
