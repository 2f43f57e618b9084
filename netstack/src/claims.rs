//! Claims: the addresses and host ports a container holds.
//!
//! Taken before anything is planned, all or nothing, under one short lock
//! (`exec-root/claims.lock`); given back on drop unless kept. A port is held
//! twice over: by a claim file, which names the holder and lasts until
//! [`release`], and by a socket that is really bound, which keeps every other
//! program of the host off it for as long as the supervisor lives. TCP sockets do not
//! listen: a connection that our rules do not redirect is refused, not left waiting.
//!
//! ```text
//! exec-root/claims.lock                      flock, held while taking or removing
//! exec-root/ports/tcp-0.0.0.0-8080           hard links to one record per take:
//! exec-root/networks/bridge/ip/10.90.0.2     owner, name, pid and start time of the taker
//! ```
//!
//! Dead before the undo list was saved: [`reap`] finds owner and taker gone.

mod diag;
mod holder;
pub(crate) mod ledger;
mod reserve;
mod take;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rcnt_base::files::Lock;
use rcnt_base::ids::{ContainerId, Name};
use serde::{Deserialize, Serialize};

use crate::ipam::LeaseError;
use crate::network::Network;
use crate::ports::{PortSpec, Protocol, PublishedPort};
use crate::relay::Relays;

pub use holder::Holder;
pub use ledger::reap;

/// An address pair on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The network it is on.
    pub network: Name,
    /// The IPv4 address.
    pub v4: Ipv4Addr,
    /// The IPv6 address, when the network has IPv6.
    pub v6: Option<Ipv6Addr>,
}

/// What to give back, as plain data for the journal. Giving back twice is fine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimsUndo {
    /// Whose claims these are; nobody else's are ever freed.
    pub owner: ContainerId,
    /// The claim files, relative to the exec root, in the order they were made.
    pub files: Vec<PathBuf>,
}

/// What is wanted, for whom.
#[derive(Debug, Clone, Copy)]
pub struct ClaimRequest<'a> {
    /// Where claim files live; `exec-root` of the instance.
    pub exec_root: &'a Path,
    /// Who will hold the claims.
    pub owner: &'a ContainerId,
    /// The container's name, for whoever meets the claim.
    pub owner_name: &'a str,
    /// The network to join.
    pub network: &'a Network,
    /// `--ip`; `None`: the next free address.
    pub address4: Option<Ipv4Addr>,
    /// `--ip6`; `None`: the one that goes with the IPv4 address.
    pub address6: Option<Ipv6Addr>,
    /// Take an address too; `false` when ports are added to a container that has one.
    pub lease: bool,
    /// A relay serves what the kernel cannot translate: IPv6 clients of a network
    /// without IPv6, `::1`.
    pub relay: Relays,
    /// Ports to publish, from [`crate::ports::merge`].
    pub ports: &'a [PortSpec],
}

/// What one container holds. Dropped without [`Claims::keep`], everything is given back.
#[derive(Debug)]
pub struct Claims {
    /// The addresses; `None` when none were wanted.
    pub lease: Option<Lease>,
    /// Ports, in the order asked for.
    pub published: Vec<PublishedPort>,
    /// The reservations, to be held as long as the ports are published.
    pub reservations: Vec<Reservation>,
    exec_root: PathBuf,
    undo: ClaimsUndo,
    kept: bool,
}

/// One host port, held by a bound socket.
#[derive(Debug)]
pub struct Reservation {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Where on the host; `None`: every address of both families.
    pub host_ip: Option<IpAddr>,
    /// Port on the host, never 0.
    pub host_port: u16,
    /// Port in the container, never 0.
    pub container_port: u16,
    /// Bound and not listening, non-blocking; `None` where the kernel lacks the protocol.
    pub socket: Option<OwnedFd>,
}

/// Why nothing was claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The host port is taken.
    #[error("Bind for {host} failed: port is already allocated")]
    PortTaken {
        /// Address and port as asked for.
        host: std::net::SocketAddr,
        /// Who has it.
        #[source]
        by: InUse,
    },
    /// No port of the host range is free.
    #[error("Bind for {0} failed: all ports are allocated")]
    RangeTaken(PortSpec),
    /// No ephemeral port is free.
    #[error("no free {0} port in net.ipv4.ip_local_port_range")]
    NoEphemeral(Protocol),
    /// An IPv6 host address, but no container address that it could lead to.
    #[error("cannot publish {spec}: network {network} has no IPv6 subnet")]
    NoIpv6 {
        /// As typed.
        spec: PortSpec,
        /// The network's name.
        network: Name,
    },
    /// The kernel refuses the address, or runs out of something.
    #[error("Bind for {host} failed")]
    Bind {
        /// Address and port as asked for.
        host: std::net::SocketAddr,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// More ports than open files are allowed.
    #[error("cannot hold {wanted} ports: the limit of open files is {limit} (ulimit -Hn)")]
    Descriptors {
        /// Number of sockets needed.
        wanted: u64,
        /// The hard limit.
        limit: u64,
    },
    /// A network without addresses of its own.
    #[error("network {0} has no addresses to lease")]
    NoAddresses(Name),
    /// No address.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The claims cannot be written down.
    #[error("cannot write claims below {}", .0.display())]
    Files(PathBuf, #[source] io::Error),
}

/// `address already in use: 8080/tcp is held by container web`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("address already in use: {port}/{protocol} is held by {holder}")]
pub struct InUse {
    /// The host port.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// Who has it.
    pub holder: Holder,
}

impl ClaimError {
    /// The container in the way, so that the caller can see whether it still lives, [`reap`] and
    /// try again.
    pub fn holder(&self) -> Option<&ContainerId> {
        let holder = match self {
            ClaimError::PortTaken { by, .. } => &by.holder,
            ClaimError::Lease(LeaseError::Taken { holder, .. }) => holder,
            _ => return None,
        };
        match holder {
            Holder::Container { id, .. } => Some(id),
            _ => None,
        }
    }

    /// Whether claims left behind by the dead could be the reason: worth one [`reap`] and a
    /// second try.
    pub fn may_be_stale(&self) -> bool {
        self.holder().is_some()
            || matches!(
                self,
                ClaimError::RangeTaken(_) | ClaimError::Lease(LeaseError::Exhausted(_))
            )
    }
}

impl Claims {
    /// Takes all that `request` asks for, or nothing.
    ///
    /// # Errors
    /// Who holds what was wanted, or why it cannot be had.
    pub fn take(request: &ClaimRequest<'_>) -> Result<Self, ClaimError> {
        take::take(request)
    }

    /// How to give this back later, as data: save it before the first change.
    pub fn undo(&self) -> &ClaimsUndo {
        &self.undo
    }

    /// Leaves the claims in place; [`release`] frees them. The sockets go to the caller: the ports
    /// stay reserved as long as some process holds them.
    pub fn keep(mut self) -> Vec<Reservation> {
        self.kept = true;
        std::mem::take(&mut self.reservations)
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        if !self.kept {
            // Whatever stays behind is stale once this process is gone: reap finds it.
            let _ = release(&self.exec_root, &self.undo);
        }
    }
}

/// Gives back what `undo` lists. What is gone already, or meanwhile somebody else's, is left alone.
///
/// # Errors
/// The first file that could not be removed; the others were tried all the same.
pub fn release(exec_root: &Path, undo: &ClaimsUndo) -> io::Result<()> {
    if undo.files.is_empty() {
        return Ok(());
    }
    let lock = match lock(exec_root) {
        // No exec root, no claims.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        lock => lock?,
    };
    let done = ledger::remove_owned(exec_root, undo);
    drop(lock);
    done
}

/// Gives back the addresses that `owner` holds on one network: those it is `known` by, or,
/// when that is not certain, whatever is found by reading every claim on the network.
///
/// # Errors
/// The first file that could not be removed; the others were tried all the same.
pub fn release_network(
    exec_root: &Path,
    network: &Name,
    owner: &ContainerId,
    known: Option<&[IpAddr]>,
) -> io::Result<()> {
    let dir = Path::new("networks").join(network).join("ip");
    let files = match known {
        Some(addresses) => addresses.iter().map(|ip| dir.join(ip.to_string())).collect(),
        None => {
            let all = ledger::read_dir(&exec_root.join(&dir))?;
            all.iter().map(|entry| dir.join(entry.file_name())).collect()
        }
    };
    // Those of others are left alone.
    release(exec_root, &ClaimsUndo { owner: owner.clone(), files })
}

/// Gives back every port that `owner` holds, whether or not that was written down, but
/// for those to `keep`.
///
/// # Errors
/// As [`release_network`].
pub fn release_ports(
    exec_root: &Path,
    owner: &ContainerId,
    keep: &dyn Fn(&PathBuf) -> bool,
) -> io::Result<()> {
    let entries = ledger::read_dir(&exec_root.join(PORTS))?;
    let files = entries.into_iter().map(|entry| Path::new(PORTS).join(entry.file_name()));
    let undo = ClaimsUndo { owner: owner.clone(), files: files.filter(|f| !keep(f)).collect() };
    // Those of others are left alone.
    release(exec_root, &undo)
}

/// Whether a claim is one of a port.
pub fn is_of_a_port(file: &Path) -> bool {
    file.starts_with(PORTS)
}

/// Whether a claim is one of an address on this network, which [`release_network`] frees.
pub fn is_of_network(file: &Path, network: &Name) -> bool {
    file.starts_with(Path::new("networks").join(network))
}

/// Writes claim files anew that somebody has removed, for an owner that holds the
/// claims all the same.
///
/// # Errors
/// They cannot be written.
pub fn restore(
    exec_root: &Path,
    owner: &ContainerId,
    name: &str,
    files: &[PathBuf],
) -> io::Result<()> {
    let lock = lock(exec_root)?;
    let record = ledger::Record::write(exec_root, owner, name)?;
    let done = files.iter().try_for_each(|file| record.claim(&exec_root.join(file)).map(drop));
    drop((record, lock));
    done
}

/// Taking and removing exclude each other: who reads a claim and then removes it cannot meet
/// another's claim of the same name.
fn lock(exec_root: &Path) -> io::Result<Lock> {
    Lock::wait(&exec_root.join("claims.lock"))
}

/// Keeps everybody from claiming anything, for as long as the lock is held.
pub(crate) fn hold(exec_root: &Path) -> io::Result<Lock> {
    rcnt_base::files::create_dirs(exec_root)?;
    lock(exec_root)
}

/// The claim file of a published port, as [`ClaimsUndo`] lists it.
pub fn file_of(port: &PublishedPort) -> PathBuf {
    port_file(port.protocol, port.host_ip, port.host_port)
}

/// Where ports are claimed, below the exec root.
const PORTS: &str = "ports";

/// The name of a port's claim file below the exec root.
fn port_file(protocol: Protocol, ip: IpAddr, port: u16) -> PathBuf {
    Path::new(PORTS).join(format!("{protocol}-{ip}-{port}"))
}
