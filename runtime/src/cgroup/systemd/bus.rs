//! A connection to systemd: over the system bus, or over its private socket where
//! there is no bus. Synchronous, with a deadline for everything.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::SystemdError;
use super::message::{self, Body, Kind, Message, PREFIX, Target};
use crate::plan::UnitValue;

/// How long systemd may take for one request, its job included.
const PATIENCE: Duration = Duration::from_secs(30);

const MANAGER: Target = Target {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};

const BUS: Target = Target {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};

/// The socket of the system bus (dbus-daemon(1)) and systemd's own.
const BUS_SOCKET: &str = "/run/dbus/system_bus_socket";
const PRIVATE_SOCKET: &str = "/run/systemd/private";

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    serial: u32,
    deadline: Instant,
    /// What came while something else was awaited.
    signals: Vec<Message>,
}

/// Where to knock: what the environment says, else the usual places.
fn addresses() -> Vec<(PathBuf, bool)> {
    let given = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_default();
    let path = given.split(';').find_map(|address| {
        let keys = address.strip_prefix("unix:")?;
        keys.split(',').find_map(|pair| pair.strip_prefix("path="))
    });
    match path {
        Some(path) => vec![(path.into(), true)],
        None => vec![(BUS_SOCKET.into(), true), (PRIVATE_SOCKET.into(), false)],
    }
}

impl Connection {
    /// Connects and says hello.
    pub(super) fn open() -> Result<Self, SystemdError> {
        let mut first = None;
        for (path, bus) in addresses() {
            match Self::open_at(&path, bus) {
                Ok(connection) => return Ok(connection),
                Err(error) => drop(first.get_or_insert((path, error))),
            }
        }
        let named = std::env::var_os("DBUS_SYSTEM_BUS_ADDRESS").is_some();
        match first.filter(|_| named || Path::new("/run/systemd/system").is_dir()) {
            Some((path, source)) => Err(SystemdError::Connect { path, source }),
            None => Err(SystemdError::NotRunning),
        }
    }

    fn open_at(path: &Path, bus: bool) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        let deadline = Instant::now() + PATIENCE;
        let mut connection = Self { stream, serial: 0, deadline, signals: Vec::new() };
        connection.authenticate()?;
        if bus {
            connection.request(BUS, "Hello", &Body::default()).map_err(io::Error::other)?;
            let rule =
                "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
            let rule = Body::default().text(rule);
            connection.request(BUS, "AddMatch", &rule).map_err(io::Error::other)?;
        }
        Ok(connection)
    }

    /// SASL EXTERNAL: the kernel tells the other side who we are (D-Bus
    /// specification, "Authentication Protocol").
    fn authenticate(&mut self) -> io::Result<()> {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let hex: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
        self.stream.write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        let mut line = Vec::new();
        // Byte by byte: what follows the line is not ours to read yet.
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.fill(&mut byte)?;
            line.extend(byte);
            if line.len() > 512 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        if !line.starts_with(b"OK ") {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        self.stream.write_all(b"BEGIN\r\n")
    }

    /// Signals about jobs are only sent to those who ask for them.
    pub(super) fn subscribe(&mut self) -> Result<(), SystemdError> {
        self.manager("Subscribe", &Body::default()).map(drop)
    }

    /// Calls systemd's manager and waits for the answer.
    pub(super) fn manager(&mut self, member: &str, body: &Body) -> Result<Message, SystemdError> {
        self.request(MANAGER, member, body)
    }

    fn request(
        &mut self,
        target: Target,
        member: &str,
        body: &Body,
    ) -> Result<Message, SystemdError> {
        self.deadline = Instant::now() + PATIENCE;
        self.serial += 1;
        let bytes = message::call(self.serial, target, member, body);
        let failed = |source| SystemdError::Talk { what: member.to_owned(), source };
        self.stream.write_all(&bytes).map_err(failed)?;
        loop {
            let message = self.receive().map_err(failed)?;
            match message.kind {
                Kind::Signal => self.signals.push(message),
                Kind::Reply if message.reply_to == Some(self.serial) => return Ok(message),
                Kind::Error if message.reply_to == Some(self.serial) => {
                    let text = message.reader().text().unwrap_or_default().to_owned();
                    let name = message.error_name;
                    return Err(SystemdError::Refused { what: member.to_owned(), name, text });
                }
                _ => {}
            }
        }
    }

    /// Waits for the end of `job`; how it ended: "done", "failed"…
    pub(super) fn wait_job(&mut self, job: &str) -> io::Result<String> {
        self.deadline = Instant::now() + PATIENCE;
        loop {
            let message = match self.signals.pop() {
                Some(signal) => signal,
                None => self.receive()?,
            };
            if message.kind != Kind::Signal || message.member != "JobRemoved" {
                continue;
            }
            // JobRemoved(u id, o job, s unit, s result)
            let mut reader = message.reader();
            let _ = reader.u32();
            if reader.text() == Some(job) {
                let _ = reader.text();
                return Ok(reader.text().unwrap_or_default().to_owned());
            }
        }
    }

    fn receive(&mut self) -> io::Result<Message> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let mut bytes = vec![0; PREFIX];
        self.fill(&mut bytes)?;
        let prefix = bytes.as_slice().try_into().map_err(|_| invalid())?;
        let (header, body) = message::lengths(prefix).ok_or_else(invalid)?;
        bytes.resize(header + body, 0);
        self.fill(bytes.get_mut(PREFIX..).unwrap_or_default())?;
        message::parse(&bytes).ok_or_else(invalid)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(rest) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The arguments of StartTransientUnit(s name, s mode, a(sv) properties, a(sa(sv)) aux).
pub(super) fn transient_unit(name: &str, properties: &[(String, UnitValue)]) -> Body {
    Body::default().text(name).text("replace").properties(properties).no_units()
}
