//! `lo` of a network namespace, which the kernel leaves down (rtnetlink(7)).

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rcnt_base::sys::netlink::{Family, open};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// linux/rtnetlink.h, linux/netlink.h, linux/if.h
const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST_ACK: u16 = 1 | 4;
const IFF_UP: u32 = 1;
/// Always the first interface of a namespace.
const LO: i32 = 1;

/// Brings it up in the caller's network namespace.
///
/// # Errors
/// The kernel's reason.
pub fn up() -> io::Result<()> {
    let socket = open(Family::Route)?;
    rustix::io::write(&socket, &request())?;
    let mut answer = [0u8; 512];
    let length = rustix::io::read(&socket, &mut answer[..])?;
    outcome(answer.get(..length).unwrap_or_default())
}

/// Brings it up in the network namespace of process `pid`, which the calling
/// thread enters meanwhile.
///
/// # Errors
/// The process is gone, or the kernel's reason.
pub fn up_in(pid: i32) -> io::Result<()> {
    let netns = |path: PathBuf| openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let home = netns("/proc/thread-self/ns/net".into())?;
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(netns(format!("/proc/{pid}/ns/net").into())?.as_fd(), kind)?;
    let done = up();
    move_into_link_name_space(home.as_fd(), kind)?;
    done
}

/// One header, one struct ifinfomsg: flags are 1, and only that bit is meant.
fn request() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    bytes.extend(32u32.to_ne_bytes());
    bytes.extend(RTM_NEWLINK.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    bytes.extend([0; 8 + 4]); // sequence, port; family, padding, type
    bytes.extend(LO.to_ne_bytes());
    bytes.extend(IFF_UP.to_ne_bytes());
    bytes.extend(IFF_UP.to_ne_bytes());
    bytes
}

/// An error message follows the header; no error is 0.
fn outcome(answer: &[u8]) -> io::Result<()> {
    let error = answer.get(16..20).and_then(|bytes| bytes.try_into().ok());
    match error.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(-errno)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_namespace_has_it_up_afterwards() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let flags = || std::fs::read_to_string("/proc/thread-self/net/if_inet6");
        // Of this thread only: each test has its own.
        let net = rustix::thread::UnshareFlags::NEWNET;
        rcnt_base::sys::child::unshare_namespaces(net).unwrap();
        assert_eq!(flags().unwrap_or_default(), "");
        up().unwrap();
        assert!(flags().unwrap_or_default().contains("lo"));
    }

    #[test]
    fn the_kernels_reason_is_passed_on() {
        let mut answer = vec![0u8; 16];
        assert!(outcome(&answer).is_err());
        answer.extend((-1i32).to_ne_bytes());
        assert_eq!(outcome(&answer).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
