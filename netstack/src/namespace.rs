//! Visits to another network namespace: what is opened there stays there.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// The calling thread's network namespace, held open.
///
/// # Errors
/// The kernel's reason.
pub fn here() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(openat(CWD, "/proc/thread-self/ns/net", flags, Mode::empty())?)
}

/// A network namespace of its own, that lives as long as something in it is open.
///
/// # Errors
/// The kernel's reason.
pub fn fresh() -> io::Result<OwnedFd> {
    let home = here()?;
    #[expect(
        deprecated,
        reason = "CLONE_NEWNET, unlike CLONE_FILES, cannot invalidate a descriptor"
    )]
    rustix::thread::unshare(UnshareFlags::NEWNET)?;
    let made = here();
    move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network))?;
    made
}

/// Does `work` in `netns` and returns to where the thread was (setns(2)).
///
/// # Errors
/// The kernel's reason, or `work`'s.
pub fn visit<T>(netns: BorrowedFd<'_>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let kind = Some(LinkNameSpaceType::Network);
    let home = here()?;
    move_into_link_name_space(netns, kind)?;
    let done = work();
    move_into_link_name_space(home.as_fd(), kind)?;
    done
}
