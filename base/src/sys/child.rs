//! The way of a process from clone3(2) to execve(2): being born into
//! namespaces, shedding what it inherited, becoming another program.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// Which side of [`clone3`] this is.
#[derive(Debug)]
pub enum Cloned {
    /// The caller.
    Parent {
        /// The child, in the caller's pid namespace.
        pid: Pid,
        /// Readable when the child has exited; close-on-exec.
        pidfd: OwnedFd,
    },
    /// The new process, with a copy of everything.
    Child,
}

/// Forks into new namespaces (clone3(2)), optionally straight into a v2 cgroup.
/// The child is a copy, as with fork(2): no memory is shared.
///
/// # Errors
/// "not single-threaded" or the kernel's reason.
pub fn clone3(namespaces: UnshareFlags, into_cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    clone_as(u64::from(namespaces.bits()), into_cgroup)
}

/// [`clone3`] with the caller's parent as the parent of the new process
/// (CLONE_PARENT): it is reaped there, and outlives its maker.
///
/// # Errors
/// As [`clone3`].
pub fn clone3_sibling(namespaces: UnshareFlags) -> io::Result<Cloned> {
    clone_as(u64::from(namespaces.bits()) | libc::CLONE_PARENT as u64, None)
}

fn clone_as(flags: u64, into_cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    // A task directory has one link more than its two own for each thread:
    // cheaper to ask for than a listing. A container may have no procfs to ask;
    // there, this is a child of an earlier clone3 and has one thread.
    let threads = std::fs::metadata("/proc/self/task").map_or(1, |m| m.nlink().saturating_sub(2));
    if threads != 1 {
        return Err(io::Error::other(format!("clone with {threads} threads running")));
    }
    let mut pidfd: libc::c_int = -1;
    let sibling = flags & libc::CLONE_PARENT as u64 != 0;
    let mut flags = flags | libc::CLONE_PIDFD as u64;
    let mut cgroup = 0;
    if let Some(fd) = into_cgroup {
        flags |= CLONE_INTO_CGROUP;
        cgroup = u64::try_from(fd.as_raw_fd()).unwrap_or(u64::MAX);
    }
    let args = libc::clone_args {
        flags,
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        // clone(2): a sibling has the exit signal of its maker, and says none.
        exit_signal: if sibling { 0 } else { libc::SIGCHLD as u64 },
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup,
    };
    // SAFETY: without CLONE_VM the child gets its own copy of this address space
    // and, `stack` being 0, of this stack: it returns here like the child of
    // fork(). glibc's fork bookkeeping is bypassed, which matters only for locks
    // held by other threads (there are none, checked above) and for glibc's
    // cached thread id (used by raise() and robust mutexes; the child uses
    // neither before it executes or exits). `args` and `pidfd` outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: with CLONE_PIDFD the kernel stored a new descriptor, which
            // nobody else knows, before returning to the parent.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            Ok(Cloned::Parent { pid: pid.ok_or(io::ErrorKind::InvalidData)?, pidfd })
        }
    }
}

/// linux/sched.h; libc has it as a wider constant on some targets only.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Leaves namespaces for new ones (unshare(2)). Only namespaces: sharing of
/// descriptors and the like is not this function's business.
///
/// # Errors
/// EINVAL for anything but namespace flags, else the kernel's reason.
pub fn unshare_namespaces(flags: UnshareFlags) -> io::Result<()> {
    let namespaces = UnshareFlags::NEWCGROUP
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWTIME
        | UnshareFlags::NEWUSER
        | UnshareFlags::NEWUTS;
    if !namespaces.contains(flags) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: the danger of unshare is CLONE_FILES, which gives descriptors a new
    // meaning behind other threads' backs; only namespace flags get here.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    Ok(())
}

/// Every signal back to its default action, none blocked: what a command
/// expects to start with (Rust ignores SIGPIPE, supervisors block signals).
///
/// # Errors
/// The kernel's reason for the mask; signals that cannot be changed are skipped.
pub fn reset_signals() -> io::Result<()> {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is always a valid disposition and runs no code of ours;
        // for SIGKILL, SIGSTOP and glibc's own two the call just answers EINVAL.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    super::signals::set_blocked(&[]).map(drop)
}

/// Sends any signal number to a process (kill(2)); rustix's type knows named ones only.
///
/// # Errors
/// The kernel's reason.
pub fn kill(pid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: kill touches no memory; a bad number answers EINVAL.
    match unsafe { libc::kill(pid.as_raw_nonzero().get(), signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends any signal number to the process of a pidfd (pidfd_send_signal(2)).
///
/// # Errors
/// The kernel's reason: ESRCH when it has ended, EINVAL for a number that is none.
pub fn signal_pidfd(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed and asks for what kill(2) would send; no
    // other memory is involved, and the descriptor is borrowed for the call.
    let sent =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, 0) };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What [`inherit_only`] does to the descriptors above the last one kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Closed by execve(2), usable until then.
    CloseOnExec,
    /// Closed now. Every `OwnedFd` for one of them must have been forgotten or be
    /// about to die with the process.
    Close,
}

/// Lets only descriptors 0 to `last` through (close_range(2)).
///
/// # Errors
/// The kernel's reason; ENOSYS before Linux 5.11.
pub fn inherit_only(last: u32, rest: Rest) -> io::Result<()> {
    close_range(last + 1, libc::c_uint::MAX, rest)
}

/// Whether the descriptor of this number is open (fcntl(2), F_GETFD).
pub fn is_open(number: u32) -> bool {
    let Ok(number) = libc::c_int::try_from(number) else { return false };
    // SAFETY: F_GETFD reads a flag; a number that is no descriptor answers EBADF.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// Lets descriptors 3 to `3 + count - 1` stay open over execve(2).
///
/// # Errors
/// EBADF: one of them is not open.
pub fn keep_on_exec(count: u32) -> io::Result<()> {
    for number in 3..3 + count {
        let number = libc::c_int::try_from(number).map_err(io::Error::other)?;
        // SAFETY: F_SETFD changes a flag of the descriptor table and no memory.
        if unsafe { libc::fcntl(number, libc::F_SETFD, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Closes every descriptor from `first` on (3 or above) but `kept`
/// (close_range(2)): what a clone does with its parent's before it goes where
/// somebody else could see them. The contract of [`Rest::Close`] holds for each
/// one closed.
///
/// # Errors
/// The kernel's reason; ENOSYS before Linux 5.9.
pub fn close_all_but(first: u32, kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<u32> =
        kept.iter().filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok()).collect();
    kept.sort_unstable();
    let mut first = first;
    for number in kept {
        if number > first {
            close_range(first, number - 1, Rest::Close)?;
        }
        first = first.max(number + 1);
    }
    close_range(first, libc::c_uint::MAX, Rest::Close)
}

fn close_range(first: u32, last: u32, rest: Rest) -> io::Result<()> {
    let flags = match rest {
        Rest::CloseOnExec => libc::CLOSE_RANGE_CLOEXEC,
        Rest::Close => 0,
    };
    // SAFETY: no memory is involved. Closing a descriptor some OwnedFd still
    // names makes that value stale; `Rest::Close` documents that its caller, a
    // process that from here on uses only what it kept, never drops one.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The session keyring `name`, made when there is none that may be searched, or
/// a fresh one without a name; empty when fresh, so that the caller's keys stay
/// with the caller (keyctl(2), KEYCTL_JOIN_SESSION_KEYRING). Its serial number.
///
/// # Errors
/// The kernel's reason: ENOSYS without key support, EDQUOT when the user has too many.
pub fn join_session_keyring(name: Option<&CStr>) -> io::Result<i32> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    let name = name.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: a null name asks for an anonymous keyring; any other is a C string
    // borrowed for the call, which copies it.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Who may do what with the key of this serial number (keyctl_setperm(3)).
///
/// # Errors
/// The kernel's reason: EACCES for somebody else's key.
pub fn set_key_permissions(key: i32, permissions: u32) -> io::Result<()> {
    const KEYCTL_SETPERM: libc::c_int = 5;
    // SAFETY: numbers only; a key that does not exist answers ENOKEY.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, key, permissions) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The null-terminated array of pointers execve(2) wants.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Becomes `path` (execve(2)); returns only to say why not.
pub fn execve(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end in null and point to C strings borrowed for the
    // whole call; on success nothing of this process is left to be wrong.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Becomes the program behind `file` (execveat(2), AT_EMPTY_PATH); returns only
/// to say why not.
pub fn execve_fd(file: impl AsFd, argv: &[CString], env: &[CString]) -> io::Error {
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: as for execve; the path is a constant empty C string.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Ends this process at once, running no destructors and no exit handlers: in
/// a clone they belong to the parent (_exit(2)).
pub fn exit_now(code: u8) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(i32::from(code)) }
}
