//! cgroups that systemd makes: a transient scope per container, so that systemd
//! knows of it and leaves it alone (systemd's "Control Group APIs and Delegation").
//!
//! A scope is made around a process. Ours is a placeholder that ends as soon as
//! the container's first process has joined, which it does as everywhere: what
//! systemd has made is then like a cgroup made by mkdir.
//!
//! - `message`    D-Bus messages ↔ bytes (pure)
//! - `bus`        the connection
//! - [`properties`] resources → properties of a unit (pure)

mod bus;
mod message;
pub mod properties;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rcnt_base::sys::child::{Cloned, clone3, close_all_but, exit_now};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use rustix::thread::UnshareFlags;

use super::layout::{Layout, LayoutKind};
use crate::plan::{Resources, UnitPlan, UnitValue};
use bus::Connection;
use message::Body;

/// Why systemd did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// This machine has another init.
    #[error(
        "systemd is not running on this machine: leave out --systemd-cgroup and give linux.cgroupsPath as a path"
    )]
    NotRunning,
    /// Nobody answers.
    #[error("cannot connect to systemd through {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection broke, or nobody answered in time.
    #[error("cannot talk to systemd ({what})")]
    Talk {
        /// The method.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// systemd says no.
    #[error("systemd refuses {what}: {text} ({name})")]
    Refused {
        /// The method.
        what: String,
        /// The error's name on the bus.
        name: String,
        /// Its text.
        text: String,
    },
    /// The job did not end well.
    #[error("error creating systemd unit `{unit}`: got `{result}`")]
    Job {
        /// The unit.
        unit: String,
        /// systemd's word for it.
        result: String,
    },
    /// A limit has no form that systemd takes.
    #[error("cannot apply {wish} through systemd: {problem}")]
    Property {
        /// The JSON path.
        wish: String,
        /// What is wrong.
        problem: String,
    },
    /// The placeholder cannot be started.
    #[error("cannot start the first process of a systemd unit")]
    Placeholder(#[source] io::Error),
}

impl SystemdError {
    fn is(&self, end: &str) -> bool {
        matches!(self, Self::Refused { name, .. } if name.ends_with(end))
    }
}

/// A process in a unit that nobody has joined yet. It ends when the last copy of
/// its pipe is closed: ours, and that of the container's first process, which
/// closes it after joining.
#[derive(Debug)]
pub(super) struct Placeholder {
    pid: Pid,
    owner: Pid,
    pipe: Option<OwnedFd>,
}

impl Placeholder {
    fn start() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let owner = getpid();
        match clone3(UnshareFlags::empty(), None)? {
            Cloned::Parent { pid, .. } => Ok(Self { pid, owner, pipe: Some(write) }),
            Cloned::Child => {
                drop(write);
                // Whoever reads our streams must not wait for this process.
                let closed = close_all_but(3, &[read.as_fd()]);
                while closed.is_ok()
                    && rustix::io::read(&read, &mut [0; 1]) == Err(rustix::io::Errno::INTR)
                {
                }
                exit_now(0)
            }
        }
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // The container's first process drops its copy of us, too.
        if getpid() == self.owner {
            let _ = rustix::io::retry_on_intr(|| waitpid(Some(self.pid), WaitOptions::empty()));
        }
    }
}

/// Makes the unit with its limits; it lives as long as the placeholder or whoever
/// has joined it.
///
/// # Errors
/// [`SystemdError`]; nothing is left then.
pub(super) fn start(
    layout: &Layout,
    unit: &UnitPlan,
    resources: &Resources,
) -> Result<Placeholder, SystemdError> {
    let mut connection = Connection::open()?;
    connection.subscribe()?;
    let placeholder = Placeholder::start().map_err(SystemdError::Placeholder)?;
    let pid = placeholder.pid.as_raw_nonzero().get().unsigned_abs();
    let v2 = layout.kind() == LayoutKind::V2;
    let mut all = properties::of_unit(unit, v2, pid);
    all.extend(properties::of_resources(resources, v2)?);
    let body = bus::transient_unit(&unit.name, &all);
    let job = match connection.manager("StartTransientUnit", &body) {
        Err(error) if error.is(".UnitExists") => {
            // A failed unit of that name may be left; systemd forgets it then.
            reset_failed(&mut connection, &unit.name);
            connection.manager("StartTransientUnit", &body)?
        }
        started => started?,
    };
    match wait(&mut connection, &job, "StartTransientUnit")?.as_str() {
        "done" => Ok(placeholder),
        result => {
            reset_failed(&mut connection, &unit.name);
            Err(SystemdError::Job { unit: unit.name.clone(), result: result.to_owned() })
        }
    }
}

/// Ends the unit and makes systemd forget it; one that is gone is fine.
///
/// # Errors
/// systemd cannot be asked.
pub(super) fn stop(unit: &UnitPlan) -> Result<(), SystemdError> {
    let mut connection = Connection::open()?;
    connection.subscribe()?;
    let body = Body::default().text(&unit.name).text("replace");
    match connection.manager("StopUnit", &body) {
        Ok(job) => {
            let result = wait(&mut connection, &job, "StopUnit")?;
            log::debug!("systemd unit {} stopped: {result}", unit.name);
        }
        Err(error) if error.is(".NoSuchUnit") => {}
        Err(error) => return Err(error),
    }
    reset_failed(&mut connection, &unit.name);
    Ok(())
}

/// Tells systemd of changed limits, until the next boot.
///
/// # Errors
/// [`SystemdError`]
pub(super) fn update(
    layout: &Layout,
    unit: &UnitPlan,
    resources: &Resources,
) -> Result<(), SystemdError> {
    let without_devices = Resources { devices: Vec::new(), ..resources.clone() };
    let v2 = layout.kind() == LayoutKind::V2;
    let changed = properties::of_limits(&without_devices, v2)?;
    let body = Body::default().text(&unit.name).boolean(true).properties(&changed);
    Connection::open()?.manager("SetUnitProperties", &body).map(drop)
}

fn wait(
    connection: &mut Connection,
    reply: &message::Message,
    what: &str,
) -> Result<String, SystemdError> {
    let failed = |source| SystemdError::Talk { what: what.to_owned(), source };
    let job = reply.reader().text().map(str::to_owned);
    let job = job.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
    connection.wait_job(&job).map_err(failed)
}

fn reset_failed(connection: &mut Connection, name: &str) {
    // "Not loaded" is the usual answer, and what is wanted.
    let _ = connection.manager("ResetFailedUnit", &Body::default().text(name));
}

/// Shorthand for the property lists.
fn property(name: &str, value: UnitValue) -> (String, UnitValue) {
    (name.to_owned(), value)
}
