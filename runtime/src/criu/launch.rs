//! CRIU's process: found in PATH, cloned into the cgroup and namespaces in which
//! what it restores is to be, executed, reaped.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

use rcnt_base::sys::child::{
    Cloned, clone3, execve, exit_now, join_session_keyring, reset_signals, unshare_namespaces,
};
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat, open};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::thread::UnshareFlags;

use super::{CriuError, message};
use crate::cgroup::JoinHandles;

/// What CRIU has as its own three streams, and with them what it restores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// `/dev/null`
    Null,
    /// The caller's.
    Own,
}

/// Where CRIU is when it restores.
#[derive(Debug)]
pub struct Place<'a> {
    /// In this cgroup.
    pub cgroup: &'a JoinHandles,
    /// Which is the root of a new cgroup namespace.
    pub cgroup_namespace: bool,
}

/// How CRIU is started.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Its streams.
    pub streams: Streams,
    /// Descriptors that keep their numbers in it.
    pub inherited: &'a [OwnedFd],
    /// For a restore.
    pub place: Option<Place<'a>>,
}

impl Launch<'_> {
    /// Starts `criu swrk` on `socket`. What goes wrong in the clone is told through that.
    pub(super) fn start(&self, socket: &OwnedFd) -> Result<Process, CriuError> {
        let program = find(std::env::var_os("PATH").as_deref()).ok_or(CriuError::Missing)?;
        let text = |text: OsString| CString::new(text.into_vec());
        let number = socket.as_raw_fd().to_string();
        let args = [program.clone().into_os_string(), "swrk".into(), number.into()];
        let args: Vec<CString> = args.into_iter().flat_map(text).collect();
        let both = |(mut name, value): (OsString, OsString)| {
            name.push("=");
            name.push(value);
            name
        };
        let env: Vec<CString> = std::env::vars_os().map(both).flat_map(text).collect();
        let into = self.place.as_ref().and_then(|place| place.cgroup.clone_into_fd());
        match clone3(UnshareFlags::empty(), into).map_err(CriuError::run("start"))? {
            Cloned::Parent { pid, .. } => Ok(Process { pid, reaped: false }),
            Cloned::Child => {
                let Err(error) = self.become_criu(socket, &args, &env);
                // Nobody else is told, and the parent is waiting for an answer.
                let _ = rustix::io::write(socket, &message::refusal(&error.to_string()));
                exit_now(1)
            }
        }
    }

    fn become_criu(
        &self,
        socket: &OwnedFd,
        args: &[CString],
        env: &[CString],
    ) -> io::Result<Infallible> {
        if let Some(place) = &self.place {
            place.cgroup.join_self().map_err(io::Error::other)?;
            if place.cgroup_namespace {
                unshare_namespaces(UnshareFlags::NEWCGROUP)?;
            }
            // What is restored has none of the caller's keys. A kernel without
            // keys has nothing to hide; too many keyrings are CRIU's to live with.
            let _ = join_session_keyring(None);
        }
        if self.streams == Streams::Null {
            let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
            rustix::stdio::dup2_stdin(&null)?;
            rustix::stdio::dup2_stdout(&null)?;
            rustix::stdio::dup2_stderr(&null)?;
        }
        for fd in self.inherited.iter().chain([socket]) {
            fcntl_setfd(fd.as_fd(), FdFlags::empty())?;
        }
        reset_signals()?;
        match args.first() {
            Some(program) => Err(execve(program, args, env)),
            None => Err(Errno::INVAL.into()),
        }
    }
}

/// The first `criu` of `path` that may be executed.
fn find(path: Option<&OsStr>) -> Option<PathBuf> {
    let path = path.filter(|path| !path.is_empty()).unwrap_or(OsStr::from_bytes(USUAL_PATH));
    let runs = |file: &PathBuf| {
        file.is_file() && accessat(CWD, file, Access::EXEC_OK, AtFlags::empty()).is_ok()
    };
    std::env::split_paths(path).map(|dir| dir.join("criu")).find(runs)
}

/// Where the caller has said nothing.
const USUAL_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A child to be reaped.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    reaped: bool,
}

impl Process {
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self) -> Result<ExitStatus, CriuError> {
        let waited = rustix::io::retry_on_intr(|| waitpid(Some(self.pid), WaitOptions::empty()));
        self.reaped = true;
        let status = waited.map_err(CriuError::run("wait for"))?.map_or(0, |(_, s)| s.as_raw());
        Ok(ExitStatus::from_raw(status))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            // It ends, because nobody talks to it any more.
            let _ = self.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_a_file_that_may_be_executed_is_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let made = |name: &str| {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
            dir.path().join(name)
        };
        let (a, b) = (made("a"), made("b"));
        std::fs::create_dir(a.join("criu")).unwrap();
        let path = std::env::join_paths([&a, &b]).unwrap();
        assert_eq!(find(Some(&path)), None);
        std::fs::File::create(b.join("criu")).unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(b.join("criu"), mode).unwrap();
        assert_eq!(find(Some(&path)), Some(b.join("criu")));
    }
}
