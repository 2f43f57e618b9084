//! The program: started with one end of a socket pair, asked, answered at each
//! of its notifications, and waited for. A session that is dropped takes CRIU
//! with it: without its client it gives up and undoes what it was at.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::Pid;

use super::launch::{Launch, Process};
use super::message::{self, Features, Kind, Options, Response};
use super::{CriuError, Version, log};

/// The oldest with all that is used unconditionally (its own version by RPC came with it).
const OLDEST: Version = Version(3_00_00);

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
    /// Gone when nothing more will be said; before the process is waited for.
    socket: Option<OwnedFd>,
    process: Process,
    version: Version,
}

impl Session {
    /// Starts `criu` of PATH and asks for its version.
    ///
    /// # Errors
    /// [`CriuError::Missing`], or why it cannot be talked to.
    pub fn start(launch: &Launch<'_>) -> Result<Self, CriuError> {
        let kind = SocketType::SEQPACKET;
        let (ours, its) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
            .map_err(CriuError::run("make a socket for"))?;
        let process = launch.start(&its)?;
        // Or its end would never be noticed.
        drop(its);
        let mut session = Self { socket: Some(ours), process, version: Version(0) };
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

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.process.pid()
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
        let status = self.process.wait()?;
        if status.success() || kind == Kind::PreDump {
            return Ok(());
        }
        let reason = log::first_error(log_file);
        Err(CriuError::Ended { status, reason, log: log_file.to_owned() })
    }

    fn ended(&mut self, log_file: &Path) -> CriuError {
        self.socket = None;
        match self.process.wait() {
            Ok(status) => {
                let reason = log::first_error(log_file);
                CriuError::Ended { status, reason, log: log_file.to_owned() }
            }
            Err(error) => error,
        }
    }

    fn ask(&mut self, request: Vec<u8>) -> Result<Response, CriuError> {
        self.send(&request)?;
        match self.receive()? {
            Some((response, _)) if response.success => Ok(response),
            Some((response, _)) => {
                let source = std::io::Error::other(response.message.unwrap_or_default());
                Err(CriuError::Run { doing: "start", source })
            }
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

fn failure(response: &Response, kind: Kind, log_file: &Path) -> CriuError {
    CriuError::Failed {
        kind: response.word(kind),
        errno: response.errno,
        reason: log::first_error(log_file)
            .or_else(|| log::first_error_in(response.message.as_deref()?)),
        log: log_file.to_owned(),
    }
}
