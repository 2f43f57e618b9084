//! What a service manager or a caller passes through to a container: open
//! descriptors (`LISTEN_FDS` of sd_listen_fds(3), `--preserve-fds`) and word of
//! its readiness (`NOTIFY_SOCKET` of sd_notify(3)).
//!
//! The command inherits descriptors 3, 4, … under the numbers they have here. The
//! manager's own socket is never seen inside: a socket of ours lies in
//! `/run/notify`, and of what is said there only `READY=` is told further, along
//! with which process the service is.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rcnt_base::sys::child::{Rest, inherit_only, is_open};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode};
use rustix::io::retry_on_intr;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, bind, connect, recv, send, sendmsg, socket_with,
};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::plan::{MountAttributes, MountKind, MountPlan, ProcessPlan};

/// Where the directory with the socket is inside.
const INSIDE: &str = "/run/notify";
const NAME: &str = "notify.sock";

/// Descriptors for the command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passed {
    /// How many, from 3 on.
    pub count: u32,
    /// What the command is told of them.
    pub env: Vec<String>,
}

/// A descriptor that is to be passed on is not there.
#[derive(Debug, thiserror::Error)]
#[error("unable to stat preserved-fd {index} (of {count}): descriptor {number} is not open")]
pub struct NotOpen {
    index: u32,
    count: u32,
    number: u32,
}

/// The descriptors meant for the command: those of socket activation, if
/// `LISTEN_PID` means us, then `preserve` more. Everything we have open is closed
/// in other programs from here on. Call it before anything is opened.
///
/// # Errors
/// [`NotOpen`]
pub fn passed(preserve: u32, activation: bool) -> Result<Passed, NotOpen> {
    let listen = if activation { listen_fds(|name| std::env::var(name).ok()) } else { None };
    let (listening, mut env) = listen.unwrap_or_default();
    let count = listening.saturating_add(preserve);
    if count == 0 {
        return Ok(Passed::default());
    }
    for index in 0..count {
        let number = index.saturating_add(3);
        if !is_open(number) {
            return Err(NotOpen { index, count, number });
        }
    }
    // Hooks and the like get none of them; the command's are told apart later.
    let _ = inherit_only(2, Rest::CloseOnExec);
    env.sort_unstable();
    Ok(Passed { count, env })
}

/// `LISTEN_FDS` and the variables for the command, whose pid is 1.
fn listen_fds(variable: impl Fn(&str) -> Option<String>) -> Option<(u32, Vec<String>)> {
    let own = std::process::id().to_string();
    if variable("LISTEN_PID")? != own {
        return None;
    }
    let count: u32 = variable("LISTEN_FDS")?.parse().ok().filter(|count| *count > 0)?;
    let mut env = vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()];
    env.extend(variable("LISTEN_FDNAMES").map(|names| format!("LISTEN_FDNAMES={names}")));
    Some((count, env))
}

impl Passed {
    /// Makes `process` inherit them.
    pub fn to(self, process: &mut ProcessPlan) {
        process.attributes.passed = self.count;
        set_variables(&mut process.env, self.env);
    }
}

/// Instead of those of the same names.
fn set_variables(env: &mut Vec<String>, new: Vec<String>) {
    let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let names: Vec<String> = new.iter().map(|pair| name(pair)).collect();
    env.retain(|pair| !names.contains(&name(pair)));
    env.extend(new);
}

/// A service manager waits for a word of readiness from the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// The manager's socket.
    manager: PathBuf,
    /// Ours lies in it.
    directory: PathBuf,
}

impl Notify {
    /// For a container whose state is kept in `state`; `None` when `NOTIFY_SOCKET`
    /// does not say that anybody waits.
    pub fn from_environment(state: &Path) -> Option<Self> {
        let manager = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())?;
        Some(Self { manager: manager.into(), directory: state.join("notify") })
    }

    /// What the container sees of it. [`Notify::prepare`] makes what is mounted.
    pub fn add_to(&self, mounts: &mut Vec<MountPlan>, process: &mut ProcessPlan) {
        let mut mount = MountPlan::new(INSIDE, MountKind::bind(&self.directory, false));
        let yes = Some(true);
        mount.attributes = MountAttributes {
            readonly: yes,
            nosuid: yes,
            nodev: yes,
            noexec: yes,
            ..MountAttributes::default()
        };
        mounts.push(mount);
        set_variables(&mut process.env, vec![format!("NOTIFY_SOCKET={INSIDE}/{NAME}")]);
    }

    /// Makes the directory that the container has mounted; the socket comes later.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn prepare(&self) -> io::Result<()> {
        Ok(rustix::fs::mkdir(&self.directory, Mode::from_raw_mode(0o755))?)
    }

    /// Opens the socket inside; `None` for a container that was created without.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn listen(&self) -> io::Result<Option<Listening>> {
        if !self.directory.exists() {
            return Ok(None);
        }
        let path = self.directory.join(NAME);
        let socket = datagram()?;
        bind(&socket, &SocketAddrUnix::new(path.as_path())?)?;
        // Whoever the command runs as may speak.
        rustix::fs::chmodat(CWD, &path, Mode::from_raw_mode(0o777), rustix::fs::AtFlags::empty())?;
        Ok(Some(Listening { socket, manager: self.manager.clone() }))
    }
}

/// The container's side of a [`Notify`].
#[derive(Debug)]
pub struct Listening {
    socket: OwnedFd,
    manager: PathBuf,
}

impl Listening {
    /// Blocks until the container is ready or `container` (a pidfd) has ended;
    /// tells the manager, `main` being the service's process, and waits until it
    /// has taken notice.
    ///
    /// # Errors
    /// The manager cannot be told.
    pub fn relay(self, container: BorrowedFd<'_>, main: i32) -> io::Result<()> {
        let manager = datagram()?;
        let path = self.manager.as_os_str().as_bytes();
        let address = match path.strip_prefix(b"@") {
            Some(name) => SocketAddrUnix::new_abstract_name(name)?,
            None => SocketAddrUnix::new(path)?,
        };
        connect(&manager, &address)?;
        let Some(ready) = self.wait_ready(container)? else { return Ok(()) };
        send(&manager, format!("{ready}\n").as_bytes(), SendFlags::NOSIGNAL)?;
        send(&manager, format!("MAINPID={main}\n").as_bytes(), SendFlags::NOSIGNAL)?;
        barrier(&manager)
    }

    fn wait_ready(&self, container: BorrowedFd<'_>) -> io::Result<Option<String>> {
        loop {
            let mut fds = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::from_borrowed_fd(container, PollFlags::IN),
            ];
            retry_on_intr(|| poll(&mut fds, None))?;
            let [heard, ended] = fds.map(|fd| !fd.revents().is_empty());
            if heard {
                let mut text = [0u8; 4096];
                let (_, got) = recv(&self.socket, &mut text[..], RecvFlags::TRUNC)?;
                if let Some(ready) = ready_line(text.get(..got.min(4096)).unwrap_or_default()) {
                    return Ok(Some(ready));
                }
            } else if ended {
                return Ok(None);
            }
        }
    }
}

/// The line of a message (sd_notify(3)) that says so.
fn ready_line(message: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(message);
    text.lines().find(|line| line.starts_with("READY=")).map(str::to_owned)
}

/// Waits until the manager has read all that was sent: it closes the pipe that
/// comes with the message then (sd_notify_barrier(3)). One that does not know of
/// this keeps us for half a minute at most.
fn barrier(manager: &OwnedFd) -> io::Result<()> {
    const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [theirs.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for one descriptor"));
    }
    sendmsg(manager, &[IoSlice::new(b"BARRIER=1")], &mut control, SendFlags::NOSIGNAL)?;
    drop(theirs);
    let mut fds = [PollFd::new(&ours, PollFlags::IN)];
    if retry_on_intr(|| poll(&mut fds, Some(&PATIENCE)))? == 0 {
        log::warn!("no answer from the service manager for 30 seconds, going on");
    }
    Ok(())
}

fn datagram() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_passed_to_whom_they_are_meant_for() {
        let own = std::process::id().to_string();
        let env = |pid: &str, count: &str| {
            let all = [("LISTEN_PID", pid), ("LISTEN_FDS", count), ("LISTEN_FDNAMES", "a:b")];
            let all = all.map(|(name, value)| (name.to_owned(), value.to_owned()));
            listen_fds(|name| all.iter().find(|(known, _)| known == name).map(|(_, v)| v.clone()))
        };
        let (count, told) = env(&own, "2").unwrap();
        assert_eq!((count, told.len()), (2, 3));
        assert!(told.contains(&"LISTEN_PID=1".into()) && told.contains(&"LISTEN_FDS=2".into()));
        assert!(told.contains(&"LISTEN_FDNAMES=a:b".into()));
        assert_eq!(env("1", "2"), None);
        assert_eq!(env(&own, "0"), None);
        assert_eq!(env(&own, "-1"), None);
    }

    #[test]
    fn what_is_told_replaces_what_the_configuration_says() {
        let env = vec!["A=1".into(), "LISTEN_FDS=9".into()];
        let mut process = ProcessPlan { env, ..ProcessPlan::default() };
        Passed { count: 1, env: vec!["LISTEN_FDS=1".into()] }.to(&mut process);
        assert_eq!(process.env, ["A=1", "LISTEN_FDS=1"]);
        assert_eq!(process.attributes.passed, 1);
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_named() {
        let text = passed(1_000_000, false).unwrap_err().to_string();
        assert!(text.contains("unable to stat preserved-fd"), "{text}");
        assert_eq!(passed(0, false).unwrap(), Passed::default());
    }

    #[test]
    fn readiness_is_one_line_of_several() {
        assert_eq!(ready_line(b"STATUS=x\nREADY=1\n").as_deref(), Some("READY=1"));
        assert_eq!(ready_line(b"STATUS=READY=1"), None);
        assert_eq!(ready_line(&[0xff, b'\n']), None);
    }

    /// Sends as a container would, and hears what the manager is told.
    #[test]
    fn the_manager_hears_of_the_readiness_and_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let manager = dir.path().join("manager");
        let ear = datagram().unwrap();
        bind(&ear, &SocketAddrUnix::new(&manager).unwrap()).unwrap();
        let notify = Notify { manager, directory: dir.path().join("notify") };
        assert!(notify.listen().unwrap().is_none());
        notify.prepare().unwrap();
        let listening = notify.listen().unwrap().unwrap();
        let inside = datagram().unwrap();
        let path = notify.directory.join(NAME);
        connect(&inside, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        for text in ["STATUS=starting", "X=1\nREADY=1"] {
            send(&inside, text.as_bytes(), SendFlags::empty()).unwrap();
        }
        let (running, _end) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let relay = std::thread::spawn(move || listening.relay(running.as_fd(), 42));
        let mut heard = Vec::new();
        for _ in 0..3 {
            let mut text = [0u8; 64];
            // The pipe that comes with the barrier is closed by not being received.
            let (_, got) = recv(&ear, &mut text[..], RecvFlags::empty()).unwrap();
            heard.push(String::from_utf8_lossy(&text[..got]).into_owned());
        }
        assert_eq!(heard, ["READY=1\n", "MAINPID=42\n", "BARRIER=1"]);
        relay.join().unwrap().unwrap();
    }

    #[test]
    fn a_container_that_ends_unready_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let manager = dir.path().join("manager");
        let ear = datagram().unwrap();
        bind(&ear, &SocketAddrUnix::new(&manager).unwrap()).unwrap();
        let notify = Notify { manager, directory: dir.path().join("notify") };
        notify.prepare().unwrap();
        let listening = notify.listen().unwrap().unwrap();
        let (ended, end) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        drop(end);
        listening.relay(ended.as_fd(), 1).unwrap();
    }
}
