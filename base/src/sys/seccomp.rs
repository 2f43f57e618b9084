//! seccomp(2): loading a classic BPF program as the calling thread's system
//! call filter. What the program decides is none of this file's business.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use serde::{Deserialize, Serialize};

/// One classic BPF instruction, `struct sock_filter` of linux/filter.h.
/// Serialised as `[code, jt, jf, k]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u16, u8, u8, u32)", into = "(u16, u8, u8, u32)")]
#[repr(C)]
pub struct SockFilter {
    /// Operation.
    pub code: u16,
    /// Instructions skipped when the comparison holds.
    pub jt: u8,
    /// Instructions skipped when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

impl From<(u16, u8, u8, u32)> for SockFilter {
    fn from((code, jt, jf, k): (u16, u8, u8, u32)) -> Self {
        Self { code, jt, jf, k }
    }
}

impl From<SockFilter> for (u16, u8, u8, u32) {
    fn from(SockFilter { code, jt, jf, k }: SockFilter) -> Self {
        (code, jt, jf, k)
    }
}

/// `struct sock_fprog` of linux/filter.h.
#[repr(C)]
struct Program {
    len: u16,
    filter: *const SockFilter,
}

/// Flags of `SECCOMP_SET_MODE_FILTER` (seccomp(2)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FilterFlags {
    /// Log every action but ALLOW (`SECCOMP_FILTER_FLAG_LOG`).
    pub log: bool,
    /// Leave speculative store bypass alone (`SECCOMP_FILTER_FLAG_SPEC_ALLOW`).
    pub spec_allow: bool,
    /// Return a descriptor for `SECCOMP_RET_USER_NOTIF` (`SECCOMP_FILTER_FLAG_NEW_LISTENER`).
    pub listener: bool,
    /// A notified call waits only for fatal signals (`SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`);
    /// with `listener` only, Linux 5.19.
    pub wait_killable: bool,
}

impl FilterFlags {
    /// As seccomp(2) takes them.
    pub fn bits(self) -> libc::c_ulong {
        // libc has no name yet for the last one (linux/seccomp.h: 1 << 5).
        const WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;
        [
            (self.log, libc::SECCOMP_FILTER_FLAG_LOG),
            (self.spec_allow, libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW),
            (self.listener, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER),
            (self.wait_killable, WAIT_KILLABLE_RECV),
        ]
        .iter()
        .fold(0, |bits, (on, bit)| if *on { bits | bit } else { bits })
    }
}

/// Loads `filter` into the calling thread, for good. The thread needs
/// `no_new_privs` or CAP_SYS_ADMIN in its user namespace. `Some` is the
/// notification descriptor, close-on-exec, when `flags.listener` asked for it.
///
/// # Errors
/// The kernel's reason: EACCES without the right, EINVAL for a program it does
/// not accept (longer than 4096 instructions, a jump past its end).
pub fn set_filter(filter: &[SockFilter], flags: FilterFlags) -> io::Result<Option<OwnedFd>> {
    let len =
        u16::try_from(filter.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = Program { len, filter: filter.as_ptr() };
    // SAFETY: the kernel copies the program during the call: `program` is a local
    // and `filter` a borrowed slice of exactly `len` `repr(C)` sock_filters, both
    // alive until it returns. No memory of ours is written.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags.bits(),
            &raw const program,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if !flags.listener {
        return Ok(None);
    }
    let fd = i32::try_from(result).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: with NEW_LISTENER a non-negative result is a descriptor the kernel
    // has just made for us (seccomp(2), "Return value"); nobody else owns it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_is_four_numbers_in_json() {
        let instruction = SockFilter { code: 0x15, jt: 1, jf: 2, k: 0xc000_003e };
        let json = serde_json::to_string(&instruction).unwrap();
        assert_eq!(json, "[21,1,2,3221225534]");
        assert_eq!(serde_json::from_str::<SockFilter>(&json).unwrap(), instruction);
    }

    #[test]
    fn a_program_the_kernel_cannot_take_is_refused() {
        let bad = [SockFilter { code: 0xffff, jt: 0, jf: 0, k: 0 }];
        let error = set_filter(&bad, FilterFlags::default()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        let long = vec![SockFilter { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 }; 70_000];
        assert!(set_filter(&long, FilterFlags::default()).is_err());
    }
}
