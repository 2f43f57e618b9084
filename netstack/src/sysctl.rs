//! Kernel settings below /proc/sys, through a descriptor of a procfs that is
//! known to be one (CVE-2025-52881: a path may have been redirected).
//!
//! `/proc/sys/net` shows the network namespace of whoever looks up the name, so one
//! descriptor serves the host and, after fork, the inside of a container.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, openat};

/// `/proc/sys` of a checked procfs.
#[derive(Debug)]
pub struct ProcSys(OwnedFd);

impl ProcSys {
    /// Opens `/proc/sys` of the caller's mount namespace.
    ///
    /// # Errors
    /// It cannot be opened, or is no procfs.
    pub fn open() -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = openat(CWD, "/proc/sys", flags, Mode::empty())?;
        if fstatfs(&fd)?.f_type != PROC_SUPER_MAGIC {
            return Err(io::Error::other("/proc/sys is not the kernel's"));
        }
        Ok(Self(fd))
    }

    fn open_setting(&self, name: &str, flags: OFlags) -> io::Result<std::fs::File> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(openat(&self.0, name, flags, Mode::empty())?.into())
    }

    /// The value of `name` (`net/ipv4/ip_forward`), without its newline.
    ///
    /// # Errors
    /// The kernel's reason, `NotFound` when there is no such setting.
    pub(crate) fn read(&self, name: &str) -> io::Result<String> {
        let mut bytes = [0; 64];
        let length = self.open_setting(name, OFlags::RDONLY)?.read(&mut bytes)?;
        let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default());
        Ok(text.trim_end().to_owned())
    }

    /// Sets `name`.
    ///
    /// # Errors
    /// The kernel's reason, `NotFound` when there is no such setting.
    pub(crate) fn write(&self, name: &str, value: &str) -> io::Result<()> {
        self.open_setting(name, OFlags::WRONLY)?.write_all(value.as_bytes())
    }

    /// [`Self::write`] for settings of IPv6, which a kernel may lack altogether.
    ///
    /// # Errors
    /// The kernel's reason, except `NotFound`.
    pub(crate) fn write_if_there(&self, name: &str, value: &str) -> io::Result<()> {
        match self.write(name, value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
}
