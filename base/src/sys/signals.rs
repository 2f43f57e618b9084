//! Signals as file descriptors: blocked, then read from a signalfd(2) by the
//! poll loops of the attached command line and of the supervisor.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The mask that [`block`] replaced; give it back with [`restore`].
#[derive(Clone, Copy)]
pub struct SavedMask(libc::sigset_t);

impl std::fmt::Debug for SavedMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SavedMask")
    }
}

/// A set of these signals; numbers the kernel does not know are left out.
fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the whole set it is handed, which lives
    // on this stack frame; only after that is it assumed initialised.
    let mut set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    };
    for signal in signals {
        // SAFETY: `set` is initialised and exclusively ours; sigaddset answers
        // EINVAL for a number out of range and touches nothing then.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    set
}

/// What a signal means, in lower case: "bad system call" (strsignal(3)).
pub fn describe(signal: i32) -> String {
    // SAFETY: strsignal answers any number with a C string that is constant, or
    // the calling thread's own until its next call; it is copied here.
    let text = unsafe {
        let text = libc::strsignal(signal);
        if text.is_null() {
            return format!("signal {signal}");
        }
        std::ffi::CStr::from_ptr(text)
    };
    text.to_string_lossy().to_lowercase()
}

/// Blocks `signals` for this thread, besides those blocked already
/// (pthread_sigmask(3)). Children inherit the mask across fork and exec.
///
/// # Errors
/// The kernel's reason.
pub fn block(signals: &[i32]) -> io::Result<SavedMask> {
    change(libc::SIG_BLOCK, &set_of(signals))
}

/// Blocks nothing but `signals`: for a process that must not inherit its
/// parent's choice.
///
/// # Errors
/// The kernel's reason.
pub fn set_blocked(signals: &[i32]) -> io::Result<SavedMask> {
    change(libc::SIG_SETMASK, &set_of(signals))
}

/// Puts back the mask that [`block`] or [`set_blocked`] replaced.
///
/// # Errors
/// The kernel's reason.
pub fn restore(mask: &SavedMask) -> io::Result<()> {
    change(libc::SIG_SETMASK, &mask.0).map(drop)
}

fn change(how: i32, set: &libc::sigset_t) -> io::Result<SavedMask> {
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both pointers are valid for the call; on success the kernel has
    // filled `old` entirely, and only then is it assumed initialised.
    unsafe {
        match libc::pthread_sigmask(how, set, old.as_mut_ptr()) {
            0 => Ok(SavedMask(old.assume_init())),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// One signal read from a [`SignalFd`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// The signal's number.
    pub signal: i32,
    /// Who sent it; 0 when the kernel did (a key on the terminal).
    pub sender: u32,
}

/// Signals to be read instead of delivered (signalfd(2)); non-blocking and
/// close-on-exec. The signals must be blocked first, see [`block`].
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// A descriptor for these signals.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn new(signals: &[i32]) -> io::Result<Self> {
        let set = set_of(signals);
        // SAFETY: `set` is initialised and outlives the call; -1 asks for a new
        // descriptor, which nobody else knows yet.
        let fd =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made `fd` for us, so we are its only owner.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next pending signal, if any.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn read(&self) -> io::Result<Option<Received>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is ours and `size` bytes long; the kernel writes
        // whole records only (signalfd(2)).
        let got = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if got < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
        }
        // SAFETY: the record is plain integers and was zeroed, so every bit
        // pattern, filled by the kernel or not, is a value.
        let info = unsafe { info.assume_init() };
        let signal = i32::try_from(info.ssi_signo).unwrap_or(0);
        Ok((signal != 0).then_some(Received { signal, sender: info.ssi_pid }))
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// From here until exec, which forgets handlers, each of `signals` ends this
/// process with 128 plus its number, even the first one of a pid namespace: what
/// has no handler does nothing there (pid_namespaces(7)).
///
/// # Errors
/// A number is no signal's, or one that cannot be caught.
pub fn end_on(signals: &[i32]) -> io::Result<()> {
    extern "C" fn end(signal: libc::c_int) {
        // SAFETY: _exit is async-signal-safe (signal-safety(7)) and does not return.
        unsafe { libc::_exit(128 + signal) }
    }
    let handler = end as extern "C" fn(libc::c_int);
    for signal in signals {
        // SAFETY: the handler calls nothing but _exit, so it may interrupt anything;
        // it takes the one argument that handlers installed by signal(2) get.
        if unsafe { libc::signal(*signal, handler as libc::sighandler_t) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Lets `signal` do to this process what it does by default, blocked or not:
/// the way to end "by a signal" after cleaning up. Returns only if the default
/// is to do nothing, or once the process was stopped and continued.
///
/// # Errors
/// The signal's number is not one, or cannot be changed.
pub fn act_by_default(signal: i32) -> io::Result<()> {
    // SAFETY: SIG_DFL is a valid disposition and installs no code of ours; the
    // previous one is not used again.
    if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: raise sends to this thread only; it takes effect when unblocked.
    unsafe { libc::raise(signal) };
    let old = change(libc::SIG_UNBLOCK, &set_of(&[signal]))?;
    restore(&old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_read_not_delivered() {
        // The mask is per thread and tests run each in its own.
        let saved = block(&[libc::SIGUSR2]).unwrap();
        let signals = SignalFd::new(&[libc::SIGUSR2]).unwrap();
        assert_eq!(signals.read().unwrap(), None);
        // SAFETY: SIGUSR2 is blocked in this thread, to which raise sends it.
        unsafe { libc::raise(libc::SIGUSR2) };
        let got = signals.read().unwrap().unwrap();
        assert_eq!((got.signal, got.sender), (libc::SIGUSR2, std::process::id()));
        assert_eq!(signals.read().unwrap(), None);
        restore(&saved).unwrap();
    }

    #[test]
    fn a_signal_ignored_by_default_does_nothing() {
        let saved = block(&[libc::SIGWINCH]).unwrap();
        act_by_default(libc::SIGWINCH).unwrap();
        restore(&saved).unwrap();
    }
}
