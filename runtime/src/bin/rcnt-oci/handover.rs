//! What a caller gets of a new process besides its exit code: the terminal's
//! master, a pidfd, the pid in a file. Sockets are connected before anything is
//! made, so that a wrong path costs nothing.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rcnt_base::files::{Durability, write_atomic_mode};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, sendmsg, socket_with,
};
use rustix::process::Pid;

use crate::Error;

/// As the options of `create`, `run` and `exec` say.
#[derive(Debug, Default)]
pub(crate) struct Wishes<'a> {
    /// `--console-socket`
    pub(crate) console_socket: Option<&'a Path>,
    /// `--pidfd-socket`
    pub(crate) pidfd_socket: Option<&'a Path>,
    /// `--pid-file`
    pub(crate) pid_file: Option<&'a Path>,
    /// Whether we will be gone while the process runs.
    pub(crate) detach: bool,
}

/// Ready to hand over.
#[derive(Debug)]
pub(crate) struct Handover {
    console: Option<OwnedFd>,
    pidfd: Option<OwnedFd>,
    pid_file: Option<PathBuf>,
}

impl Handover {
    /// Checks that what is wished for fits together and connects the sockets.
    ///
    /// # Errors
    /// A terminal that nobody would hold, a socket without one, or one nobody listens on.
    pub(crate) fn prepare(wishes: &Wishes<'_>, terminal: bool) -> Result<Self, Error> {
        check_terminal(wishes, terminal).map_err(|text| Error::Refused(text.to_owned()))?;
        let open = |path: Option<&Path>| path.map(connect_to).transpose();
        Ok(Self {
            console: open(wishes.console_socket)?,
            pidfd: open(wishes.pidfd_socket)?,
            pid_file: wishes.pid_file.map(Path::to_owned),
        })
    }

    /// Whether a terminal's master would stay with us.
    pub(crate) fn keeps_terminal(&self) -> bool {
        self.console.is_none()
    }

    /// Hands over; the terminal's master comes back when it stays with us.
    ///
    /// # Errors
    /// A socket's other end has gone, or the file cannot be written.
    pub(crate) fn deliver(
        &self,
        pid: Pid,
        pidfd: BorrowedFd<'_>,
        master: Option<OwnedFd>,
    ) -> Result<Option<OwnedFd>, Error> {
        let kept = match master {
            Some(master) => self.send_terminal(master)?,
            None => None,
        };
        if let Some(socket) = &self.pidfd {
            send(socket, b"pidfd", pidfd).map_err(Error::io("send the pidfd"))?;
        }
        self.write_pid(pid.as_raw_nonzero().get())?;
        Ok(kept)
    }

    /// The master, unless there is a socket to send it to.
    ///
    /// # Errors
    /// The socket's other end has gone.
    pub(crate) fn send_terminal(&self, master: OwnedFd) -> Result<Option<OwnedFd>, Error> {
        let Some(socket) = &self.console else { return Ok(Some(master)) };
        send(socket, b"/dev/ptmx", master.as_fd()).map_err(Error::io("send the terminal"))?;
        Ok(None)
    }

    /// Writes the pid file, if one is wished for.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write_pid(&self, pid: i32) -> Result<(), Error> {
        let Some(path) = &self.pid_file else { return Ok(()) };
        write_atomic_mode(path, pid.to_string().as_bytes(), 0o644, Durability::Volatile)
            .map_err(Error::io("write the pid file"))
    }
}

/// runc's rules, in its words.
fn check_terminal(wishes: &Wishes<'_>, terminal: bool) -> Result<(), &'static str> {
    match (wishes.detach, terminal, wishes.console_socket.is_some()) {
        (true, true, false) => {
            Err("cannot allocate tty if rcnt-oci will detach without setting console socket")
        }
        (false, _, true) | (_, false, true) => {
            Err("cannot use console socket if rcnt-oci will not detach or allocate tty")
        }
        _ => Ok(()),
    }
}

fn connect_to(path: &Path) -> Result<OwnedFd, Error> {
    let connected = (|| {
        let flags = SocketFlags::CLOEXEC;
        let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&stream, &SocketAddrUnix::new(path)?)?;
        Ok(stream)
    })();
    connected.map_err(|source: io::Error| Error::Socket { path: path.to_owned(), source })
}

/// A descriptor with a name, as runc's receivers want it (unix(7), SCM_RIGHTS).
fn send(socket: &OwnedFd, name: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(socket, &[IoSlice::new(name)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_needs_somebody_who_holds_it() {
        let check = |detach, terminal, socket: bool| {
            let console_socket = socket.then_some(Path::new("/s"));
            let wishes = Wishes { console_socket, detach, ..Wishes::default() };
            check_terminal(&wishes, terminal)
        };
        assert!(check(true, true, true).is_ok() && check(false, true, false).is_ok());
        assert!(check(true, false, false).is_ok() && check(false, false, false).is_ok());
        assert!(check(true, true, false).unwrap_err().starts_with("cannot allocate tty if"));
        for (detach, terminal) in [(false, true), (false, false), (true, false)] {
            let text = check(detach, terminal, true).unwrap_err();
            assert!(text.starts_with("cannot use console socket if"), "{text}");
        }
    }
}
