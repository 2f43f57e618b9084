//! The packets of one container, seen from the host.

use std::fs::File;
use std::os::fd::OwnedFd;

use rcnt_netstack::capture::filter::{Filter, Names};
use rcnt_netstack::capture::{Capture, CaptureRequest};

use crate::Engine;
use crate::container::{Container, Status};
use crate::error::{EngineError, Result};
use crate::request::NetworkMode;
use crate::stop::first_process;

/// What is to be captured, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureArgs {
    /// `-i`; all interfaces when absent.
    pub interface: Option<String>,
    /// The filter's words.
    pub filter: String,
    /// Bytes of each packet that are kept.
    pub snapshot: u32,
}

/// A capture of a container under way.
#[derive(Debug)]
pub struct ContainerCapture {
    /// The packets.
    pub packets: Capture,
    /// Readable when the container has ended. (Our socket alone would keep its
    /// network alive for ever.)
    pub end: OwnedFd,
    /// Whether these are the host's own packets (`--net=host`).
    pub of_host: bool,
}

/// Begins to capture.
///
/// # Errors
/// A container that does not run; a wrong filter; no such interface.
pub fn capture(
    engine: &Engine,
    container: &Container,
    args: &CaptureArgs,
) -> Result<ContainerCapture> {
    let (netns, end) = namespace(container)?;
    let filter = Filter::parse(&args.filter, &names(engine)?)?;
    let CaptureArgs { interface, filter: _, snapshot } = args.clone();
    let request = CaptureRequest { interface, filter, snapshot };
    let packets = Capture::open(std::os::fd::AsFd::as_fd(&netns), &request).map_err(|source| {
        EngineError::Capture { name: container.name.to_string(), source: Box::new(source) }
    })?;
    let of_host = container.record.request.network == NetworkMode::Host;
    Ok(ContainerCapture { packets, end, of_host })
}

/// A running container's network namespace, and its first process to watch.
pub(crate) fn namespace(container: &Container) -> Result<(OwnedFd, OwnedFd)> {
    let stopped = || EngineError::NotRunning(container.name.to_string());
    if container.state.status != Status::Running {
        return Err(stopped());
    }
    let path = format!("/proc/{}/ns/net", container.state.pid);
    let netns = File::open(path).map_err(|_| stopped())?;
    // Asked after it was opened: a pid given away meanwhile was opened in vain.
    let end = first_process(container).ok_or_else(stopped)?;
    Ok((netns.into(), end))
}

/// The names and addresses of all running containers.
fn names(engine: &Engine) -> Result<Names> {
    let mut names = Names::new();
    for container in engine.list()? {
        let addresses = container.state.addresses();
        if !addresses.is_empty() {
            names.insert(container.name.to_string(), addresses);
        }
    }
    Ok(names)
}
