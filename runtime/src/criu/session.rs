//! The program: started with one end of a socket pair, asked, answered at each
//! of its notifications, and waited for. A session that is dropped takes CRIU
//! with it: without its client it gives up and undoes what it was at.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::message::{self, Features, Kind, Options, Response};
use super::{CriuError, Version, log};
use crate::cgroup::Layout;

/// The oldest with all that is used unconditionally (its own version by RPC came with it).
const OLDEST: Version = Version(3_00_00);

/// What CRIU has as its own three streams, and with them what it restores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// `/dev/null`
    Null,
    /// The caller's.
    Own,
}

/// A moment at which CRIU waits for its client.
#[derive(Debug)]
pub enum Event {
    /// The images are complete.
    PostDump,
    /// The namespaces are there; `pid` is in them, nothing else yet.
    SetupNamespaces {
        /// The container's first process to be.
        pid: i32,
    },
    /// The processes are complete, and about to go on.
    PostRestore {
        /// The container's first process.
        pid: i32,
    },
    /// A terminal whose other end was outside has been made anew.
    Terminal(OwnedFd),
    /// Lazy pages can be asked for.
    StatusReady,
}

impl Event {
    fn of(script: &str, pid: i32, fd: Option<OwnedFd>) -> Option<Self> {
        match (script, fd) {
            ("post-dump", _) => Some(Event::PostDump),
            ("setup-namespaces", _) => Some(Event::SetupNamespaces { pid }),
            ("post-restore", _) => Some(Event::PostRestore { pid }),
            ("orphan-pts-master", Some(fd)) => Some(Event::Terminal(fd)),
            ("status-ready", _) => Some(Event::StatusReady),
            _ => None,
        }
    }
}

/// A running CRIU that waits for a request.
#[derive(Debug)]
pub struct Session {
    child: Child,
    /// Gone when nothing more will be said.
    socket: Option<OwnedFd>,
    version: Version,
}

impl Session {
    /// Starts `criu` of PATH and asks for its version. `inherited` keep their
    /// numbers in it.
    ///
    /// # Errors
    /// [`CriuError::Missing`], or why it cannot be talked to.
    // The one program that is executed here, because the user has asked for it.
    #[allow(clippy::disallowed_methods)]
    pub fn start(streams: Streams, inherited: &[OwnedFd]) -> Result<Self, CriuError> {
        let kind = SocketType::SEQPACKET;
        let (ours, its) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
            .map_err(CriuError::run("make a socket for"))?;
        let stdio = || if streams == Streams::Own { Stdio::inherit() } else { Stdio::null() };
        let mut command = Command::new("criu");
        command.arg("swrk").arg(its.as_raw_fd().to_string());
        command.stdin(stdio()).stdout(stdio()).stderr(stdio());
        pass_on(inherited.iter().chain([&its]), FdFlags::empty())?;
        let child = command.spawn();
        pass_on(inherited.iter().chain([&its]), FdFlags::CLOEXEC)?;
        let child = child.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => CriuError::Missing,
            _ => CriuError::Run { doing: "start", source: error },
        })?;
        // Or its end would never be noticed.
        drop(its);
        let mut session = Self { child, socket: Some(ours), version: Version(0) };
        let answer = session.ask(message::ask_version())?;
        session.version = Version(answer.version.unwrap_or_default());
        ::log::debug!("criu {} answers", session.version);
        session.require("this command", OLDEST)?;
        Ok(session)
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Fails unless it is at least `needed`, for `what`.
    ///
    /// # Errors
    /// [`CriuError::Old`]
    pub fn require(&self, what: &'static str, needed: Version) -> Result<(), CriuError> {
        if self.version >= needed {
            return Ok(());
        }
        Err(CriuError::Old { what, needed, found: self.version })
    }

    /// What it can do on this kernel.
    ///
    /// # Errors
    /// It cannot be talked to.
    pub fn features(&mut self) -> Result<Features, CriuError> {
        Ok(self.ask(message::ask_features())?.features.unwrap_or_default())
    }

    /// Puts it into the cgroup `path` of every hierarchy, in which what it
    /// restores is then born.
    ///
    /// # Errors
    /// The file that cannot be written.
    pub fn enter_cgroup(&self, layout: &Layout, path: &Path) -> Result<(), CriuError> {
        for dir in layout.directories(path) {
            let file = dir.join("cgroup.procs");
            rustix::fs::open(&file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                .and_then(|fd| rustix::io::write(fd, self.child.id().to_string().as_bytes()))
                .map_err(CriuError::io("write", &file))?;
        }
        Ok(())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it do `kind`; `on` is called at each [`Event`], and its failure ends
    /// the whole. `directory` is where the log is.
    ///
    /// # Errors
    /// What CRIU says, or what `on` does.
    pub fn run<E: From<CriuError>>(
        mut self,
        kind: Kind,
        options: &Options,
        directory: &Path,
        on: &mut dyn FnMut(Event) -> Result<(), E>,
    ) -> Result<(), E> {
        ::log::debug!("criu {}: {options:?}", kind.word());
        let log_file = directory.join(options.log_file);
        self.send(&message::request(kind, options))?;
        loop {
            let Some((response, fd)) = self.receive()? else {
                return Err(self.ended(&log_file).into());
            };
            if !response.success {
                return Err(failure(&response, kind, &log_file).into());
            }
            let Some((script, pid)) = &response.notify else { break };
            ::log::debug!("criu: {script} {pid}");
            if let Some(event) = Event::of(script, *pid, fd) {
                on(event)?;
            }
            self.send(&message::go_on())?;
        }
        Ok(self.finish(kind, &log_file)?)
    }

    /// Waits for its end. After a pre-dump it would go on with the next, and
    /// takes the end of the conversation for an error.
    fn finish(mut self, kind: Kind, log_file: &Path) -> Result<(), CriuError> {
        self.socket = None;
        let status = self.child.wait().map_err(CriuError::run("wait for"))?;
        if status.success() || kind == Kind::PreDump {
            return Ok(());
        }
        let reason = log::first_error(log_file);
        Err(CriuError::Ended { status, reason, log: log_file.to_owned() })
    }

    fn ended(&mut self, log_file: &Path) -> CriuError {
        self.socket = None;
        match self.child.wait() {
            Ok(status) => {
                let reason = log::first_error(log_file);
                CriuError::Ended { status, reason, log: log_file.to_owned() }
            }
            Err(source) => CriuError::Run { doing: "wait for", source },
        }
    }

    fn ask(&mut self, request: Vec<u8>) -> Result<Response, CriuError> {
        self.send(&request)?;
        match self.receive()? {
            Some((response, _)) => Ok(response),
            None => Err(self.ended(Path::new("its own output"))),
        }
    }

    fn send(&self, message: &[u8]) -> Result<(), CriuError> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let mut control = SendAncillaryBuffer::default();
        sendmsg(socket, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)
            .map(drop)
            .map_err(CriuError::run("send a request to"))
    }

    /// One message, with its descriptor if it brings one; `None` at the end.
    fn receive(&self) -> Result<Option<(Response, Option<OwnedFd>)>, CriuError> {
        let Some(socket) = &self.socket else { return Ok(None) };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffer = vec![0u8; LARGEST];
        let received = rustix::io::retry_on_intr(|| {
            let parts = &mut [IoSliceMut::new(&mut buffer)];
            recvmsg(socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC)
        });
        let length = match received {
            Err(rustix::io::Errno::CONNRESET) => 0,
            other => other.map_err(CriuError::run("hear from"))?.bytes,
        };
        if length == 0 {
            return Ok(None);
        }
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let bytes = buffer.get(..length).unwrap_or_default();
        Ok(Some((Response::read(bytes), fd)))
    }
}

/// Room for any of its messages: they hold a script's name or an error's text.
const LARGEST: usize = 40 << 10;

impl Drop for Session {
    fn drop(&mut self) {
        self.socket = None;
        // Already waited for, or it ends because nobody talks to it any more.
        let _ = self.child.wait();
    }
}

fn pass_on<'a>(fds: impl Iterator<Item = &'a OwnedFd>, flags: FdFlags) -> Result<(), CriuError> {
    for fd in fds {
        fcntl_setfd(fd.as_fd(), flags).map_err(CriuError::run("pass a descriptor to"))?;
    }
    Ok(())
}

fn failure(response: &Response, kind: Kind, log_file: &Path) -> CriuError {
    CriuError::Failed {
        kind: response.word(kind),
        errno: response.errno,
        reason: log::first_error(log_file).or_else(|| response.message.clone()),
        log: log_file.to_owned(),
    }
}
