//! `SCMP_ACT_NOTIFY`: how the notification descriptor gets from the process that
//! has loaded the filter to the program that answers for it.
//!
//! ```text
//! child                          parent                        listener
//! loads the filter
//! write(2): "n", its number ───▶ pidfd_getfd(2)
//! read(2)  ◀──────────────────── "s"
//! goes on to execve              connect, sendmsg ───────────▶ state and descriptor
//! ```
//!
//! write(2) is the one call that must work before anybody answers; what else the
//! filter traps waits in the kernel until the listener has the descriptor.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rcnt_base::report::{ExitKind, StartError};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, sendmsg, socket_with,
};
use serde_json::{Value, json};

use crate::oci::spec::OCI_VERSION;
use crate::plan::SeccompListener;

/// The name of the descriptor (runtime-spec, "Container Process State").
const DESCRIPTOR: &str = "seccompFd";

/// Why the listener could not be given its descriptor.
#[derive(Debug, thiserror::Error)]
enum ListenerError {
    /// Nobody is there.
    #[error("failed to connect with seccomp agent specified in the seccomp profile ({path})")]
    Connect {
        /// The socket.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It went away.
    #[error("cannot send the seccomp descriptor to {path}")]
    Send {
        /// The socket.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Which process the filter is on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filtered {
    /// Its pid, as the caller sees it.
    pub(crate) pid: i32,
    /// That of the container's first process.
    pub(crate) first: i32,
    /// The container's state.
    pub(crate) status: &'static str,
}

/// Tells the listener of a process and gives it the descriptor of its filter.
pub(crate) fn hand_over(
    listener: &SeccompListener,
    process: Filtered,
    descriptor: OwnedFd,
) -> Result<(), StartError> {
    let path = listener.path.display().to_string();
    let text = state(listener, process).to_string();
    let socket = open(listener)
        .map_err(|source| ListenerError::Connect { path: path.clone(), source })
        .map_err(|error| StartError::new("seccomp", ExitKind::Runtime, &error))?;
    send(&socket, text.as_bytes(), descriptor)
        .map_err(|source| ListenerError::Send { path, source })
        .map_err(|error| StartError::new("seccomp", ExitKind::Runtime, &error))
}

/// runtime-spec, config-linux.md, "The Container Process State".
fn state(listener: &SeccompListener, process: Filtered) -> Value {
    let mut container = listener.state.clone();
    container.insert("status".into(), process.status.into());
    container.insert("pid".into(), process.first.into());
    let mut state = json!({
        "ociVersion": OCI_VERSION,
        "fds": [DESCRIPTOR],
        "pid": process.pid,
        "state": container,
    });
    if !listener.metadata.is_empty() {
        state["metadata"] = listener.metadata.as_str().into();
    }
    state
}

fn open(listener: &SeccompListener) -> io::Result<OwnedFd> {
    let path = listener.path.as_os_str().as_bytes();
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name)?,
        None => SocketAddrUnix::new(path)?,
    };
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &address)?;
    Ok(socket)
}

/// The descriptor goes with the first byte; a stream may take the rest later.
fn send(socket: &OwnedFd, text: &[u8], descriptor: OwnedFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for one descriptor"));
    }
    let sent = sendmsg(socket, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)?;
    let mut rest = text.get(sent..).unwrap_or_default();
    while !rest.is_empty() {
        let sent = rustix::net::send(socket, rest, SendFlags::NOSIGNAL)?;
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_is_told_what_the_specification_says() {
        let mut listener = SeccompListener { path: "/x".into(), ..Default::default() };
        listener.state.insert("id".into(), "c1".into());
        let process = Filtered { pid: 7, first: 5, status: "running" };
        let told = state(&listener, process);
        assert_eq!(
            told,
            json!({
                "ociVersion": OCI_VERSION, "fds": ["seccompFd"], "pid": 7,
                "state": {"id": "c1", "status": "running", "pid": 5}
            })
        );
        listener.metadata = "m".into();
        assert_eq!(state(&listener, process)["metadata"], "m");
    }

    #[test]
    fn a_listener_that_is_not_there_is_named() {
        let process = Filtered { pid: 7, first: 5, status: "running" };
        for path in ["/no/such.sock", "@no-such-name"] {
            let listener = SeccompListener { path: path.into(), ..Default::default() };
            let descriptor = std::fs::File::open("/dev/null").unwrap().into();
            let error = hand_over(&listener, process, descriptor).unwrap_err().to_string();
            assert!(error.contains("failed to connect with seccomp agent"), "{error}");
            assert!(error.contains(path), "{error}");
        }
    }
}
