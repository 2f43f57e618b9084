//! Kernel settings are written through a procfs of our own that is mounted
//! nowhere: no container mount, symlink or race can make the write land
//! elsewhere (CVE-2025-52881).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::{Errno, retry_on_intr};
use rustix::mount::MountAttrFlags;
use rustix::process::Pid;

use super::error::{Doing, InitError};
use super::fsapi::filesystem;

/// A detached procfs of the calling process's pid namespace.
#[derive(Debug)]
pub(crate) struct Procfs(OwnedFd);

impl Procfs {
    /// Mounts one.
    pub(crate) fn new() -> Result<Self, InitError> {
        filesystem("proc", "proc", &[], MountAttrFlags::empty())
            .map(Self)
            .doing("mount a private procfs")
    }

    /// Opens a file by its plain path, which may contain no link of any kind.
    pub(crate) fn open(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        Ok(openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    }

    /// Opens the FIFO that `handle` (O_PATH) is on for writing, which waits for a
    /// reader, and writes one byte. The one use of a magic link, on purpose.
    pub(crate) fn signal_fifo(&self, handle: &OwnedFd) -> io::Result<()> {
        let path = format!("self/fd/{}", handle.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let fifo = retry_on_intr(|| openat(&self.0, path.as_str(), flags, Mode::empty()))?;
        rustix::io::write(&fifo, b"0")?;
        Ok(())
    }

    /// The user namespace process `pid` is in. Another magic link, of a child of ours.
    pub(crate) fn user_namespace(&self, pid: Pid) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(openat(&self.0, format!("{pid}/ns/user"), flags, Mode::empty())?)
    }

    /// Writes `value` in one write(2), as procfs wants it.
    pub(crate) fn write(&self, path: &str, value: &str) -> io::Result<()> {
        let file = self.open(path, OFlags::WRONLY | OFlags::NOFOLLOW)?;
        let written = rustix::io::write(&file, value.as_bytes())?;
        if written == value.len() { Ok(()) } else { Err(Errno::IO.into()) }
    }
}

/// Sets the caller's own oom_score_adj (proc_pid_oom_score_adj(5)).
pub(crate) fn set_oom_score(procfs: &Procfs, score: i32) -> Result<(), InitError> {
    let path = format!("{}/oom_score_adj", rustix::process::getpid());
    procfs.write(&path, &score.to_string()).doing(format!("set oom_score_adj to {score}"))
}

/// Writes every sysctl of the plan.
pub(crate) fn set_sysctls(
    procfs: &Procfs,
    sysctls: &BTreeMap<String, String>,
) -> Result<(), InitError> {
    for (name, value) in sysctls {
        let doing = || format!("set sysctl {name} to {value:?}");
        let path = sysctl_path(name).ok_or(Errno::INVAL).doing(doing())?;
        procfs.write(&path, value).doing(doing())?;
    }
    Ok(())
}

/// `net.ipv4.ip_forward` → `sys/net/ipv4/ip_forward`. When the first separator
/// is a slash, slashes separate and dots stand for themselves (sysctl(8)):
/// interface names may contain them.
fn sysctl_path(name: &str) -> Option<String> {
    let slashes_first = name.find(['.', '/']).is_some_and(|at| name[at..].starts_with('/'));
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    let path: String =
        if slashes_first { name.to_owned() } else { name.chars().map(swap).collect() };
    let plain = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    plain.then(|| format!("sys/{path}"))
}

#[cfg(test)]
mod tests {
    use super::sysctl_path;

    #[test]
    fn sysctl_names_become_paths_below_sys() {
        let path = |name| sysctl_path(name).unwrap_or_default();
        assert_eq!(path("net.ipv4.ip_forward"), "sys/net/ipv4/ip_forward");
        assert_eq!(path("net.ipv4.conf.eth0/1.forwarding"), "sys/net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(path("net/ipv4/conf/eth0.1/forwarding"), "sys/net/ipv4/conf/eth0.1/forwarding");
        for bad in ["", "net..x", "net/../../x", "./x", "/net", "net."] {
            assert_eq!(sysctl_path(bad), None, "{bad}");
        }
    }
}
