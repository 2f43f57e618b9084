//! Taking claims: an address, then ports in the order asked for, each by claim
//! file and socket. An error on the way drops what was taken so far.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rcnt_base::files::create_dirs;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::ledger::{self, Record};
use super::reserve::{Scope, reserve};
use super::{
    ClaimError, ClaimRequest, Claims, ClaimsUndo, Holder, InUse, Reservation, lock, port_file,
};
use crate::ipam::{Leases, Wanted};
use crate::ports::{PortSpec, Protocol, PublishedPort};
use crate::relay::Relays;

pub(super) fn take(request: &ClaimRequest<'_>) -> Result<Claims, ClaimError> {
    let ClaimRequest {
        exec_root,
        owner,
        owner_name,
        network,
        address4,
        address6,
        lease,
        relay: _,
        ports,
    } = *request;
    raise_descriptors(ports)?;
    let files = |e| ClaimError::Files(exec_root.to_owned(), e);
    // Declared first, dropped last: a failure below gives back after the lock is free again.
    let mut claims = Claims {
        lease: None,
        published: Vec::new(),
        reservations: Vec::new(),
        exec_root: exec_root.to_owned(),
        undo: ClaimsUndo { owner: owner.clone(), files: Vec::new() },
        kept: false,
    };
    let _lock = match lock(exec_root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            create_dirs(exec_root).and_then(|()| lock(exec_root))
        }
        lock => lock,
    }
    .map_err(files)?;
    let record = Record::write(exec_root, owner, owner_name).map_err(files)?;
    if lease {
        let leases = Leases::new(exec_root, &network.name);
        let addresses = network.addresses.as_ref();
        let addresses = addresses.ok_or_else(|| ClaimError::NoAddresses(network.name.clone()))?;
        let lease = leases.take(addresses, Wanted { v4: address4, v6: address6 }, &record)?;
        for address in [Some(IpAddr::V4(lease.v4)), lease.v6.map(IpAddr::V6)].into_iter().flatten()
        {
            claims.undo.files.push(leases.file(address));
        }
        claims.lease = Some(lease);
    }
    let mut taker = Taker { request, record: &record, claims: &mut claims };
    for spec in ports {
        taker.publish(spec)?;
    }
    Ok(claims)
}

/// Free descriptors wanted besides the sockets, for all that run does later.
const SPARE_DESCRIPTORS: u64 = 128;

/// Raises this process's soft limit of open files if the sockets need it.
fn raise_descriptors(ports: &[PortSpec]) -> Result<(), ClaimError> {
    let sockets: usize = ports.iter().map(PortSpec::len).sum();
    let wanted = SPARE_DESCRIPTORS.saturating_add(u64::try_from(sockets).unwrap_or(u64::MAX));
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|soft| soft >= wanted) {
        return Ok(());
    }
    if let Some(limit) = maximum.filter(|hard| *hard < wanted) {
        return Err(ClaimError::Descriptors { wanted, limit });
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
        .map_err(|_| ClaimError::Descriptors { wanted, limit: current.unwrap_or(u64::MAX) })
}

/// How often an ephemeral port the kernel offers may turn out to be claimed.
const EPHEMERAL_TRIES: usize = 64;

/// Why one port could not be had: taken, so that another may do, or worse. By whom is only found
/// out (at the price of a walk through /proc) when somebody is to be told.
enum Refusal {
    ByClaim(PathBuf),
    BySocket,
    Fatal(ClaimError),
}

/// A host port and the socket that holds it, where the kernel has such sockets.
type Held = (Option<OwnedFd>, u16);

struct Taker<'a> {
    request: &'a ClaimRequest<'a>,
    record: &'a Record,
    claims: &'a mut Claims,
}

impl Taker<'_> {
    fn publish(&mut self, spec: &PortSpec) -> Result<(), ClaimError> {
        let network = self.request.network;
        let scope = spec.host_ip.or(network.bind_address()).map_or(Scope::Any, Scope::One);
        if matches!(scope, Scope::One(IpAddr::V6(_))) && !self.reaches_ipv6(spec.protocol) {
            return Err(ClaimError::NoIpv6 { spec: spec.clone(), network: network.name.clone() });
        }
        let containers = spec.container_ports.0..=spec.container_ports.1;
        match spec.host_ports {
            None => {
                for container in containers {
                    let held = self.ephemeral(spec.protocol, scope)?;
                    self.publish_one(spec.protocol, scope, held, container);
                }
            }
            Some((first, last)) if spec.is_fixed() => {
                for (host, container) in (first..=last).zip(containers) {
                    let held = self
                        .fixed(spec.protocol, scope, host)
                        .map_err(|refusal| self.explain(refusal, spec.protocol, scope, host))?;
                    self.publish_one(spec.protocol, scope, held, container);
                }
            }
            Some((first, last)) => {
                let held = self.any_of(spec, scope, first..=last)?;
                self.publish_one(spec.protocol, scope, held, spec.container_ports.0);
            }
        }
        Ok(())
    }

    /// Whether IPv6 clients get anywhere: a port of both families needs an IPv6
    /// container address for its second half, or somebody who relays.
    fn reaches_ipv6(&self, protocol: Protocol) -> bool {
        self.request.network.enable_ipv6
            || (self.request.relay != Relays::Nothing && protocol != Protocol::Sctp)
    }

    fn publish_one(&mut self, protocol: Protocol, scope: Scope, held: Held, container_port: u16) {
        let (socket, host_port) = held;
        let v6 = self.reaches_ipv6(protocol);
        for host_ip in scope.addresses().into_iter().filter(|ip| ip.is_ipv4() || v6) {
            let port = PublishedPort { protocol, host_ip, host_port, container_port };
            self.claims.published.push(port);
        }
        let host_ip = match scope {
            Scope::Any => None,
            Scope::One(ip) => Some(ip),
        };
        let reservation = Reservation { protocol, host_ip, host_port, container_port, socket };
        self.claims.reservations.push(reservation);
    }

    fn any_of(
        &mut self,
        spec: &PortSpec,
        scope: Scope,
        ports: impl Iterator<Item = u16>,
    ) -> Result<Held, ClaimError> {
        for port in ports {
            match self.fixed(spec.protocol, scope, port) {
                Ok(held) => return Ok(held),
                Err(Refusal::ByClaim(_) | Refusal::BySocket) => {}
                Err(Refusal::Fatal(error)) => return Err(error),
            }
        }
        Err(ClaimError::RangeTaken(spec.clone()))
    }

    /// Claims `port` by file, then by socket.
    fn fixed(&mut self, protocol: Protocol, scope: Scope, port: u16) -> Result<Held, Refusal> {
        let before = self.claims.undo.files.len();
        self.claim_files(protocol, scope, port)?;
        match reserve(protocol, scope, port, self.request.relay) {
            Ok(Some((socket, _))) => Ok((Some(socket), port)),
            Ok(None) => match self.meets_no_claim(protocol, scope, port) {
                Ok(()) => Ok((None, port)),
                Err(refusal) => {
                    self.unclaim_to(before)?;
                    Err(refusal)
                }
            },
            Err(errno) => {
                self.unclaim_to(before)?;
                let host = SocketAddr::new(scope.shown(), port);
                Err(match errno {
                    Errno::ADDRINUSE => Refusal::BySocket,
                    _ => Refusal::Fatal(ClaimError::Bind { host, source: errno.into() }),
                })
            }
        }
    }

    /// Without sockets, claims on single addresses in the way of one on all are looked for by name.
    fn meets_no_claim(&self, protocol: Protocol, scope: Scope, port: u16) -> Result<(), Refusal> {
        let any = |ip: IpAddr| scope.addresses().contains(&unspecified(ip));
        let ours = |path: &Path| {
            let files = &self.claims.undo.files;
            files.iter().any(|file| path == self.request.exec_root.join(file))
        };
        let claims = ledger::claims_of_port(self.request.exec_root, protocol, port);
        match claims.into_iter().find(|(ip, path)| any(*ip) && !ours(path)) {
            Some((_, path)) => Err(Refusal::ByClaim(path)),
            None => Ok(()),
        }
    }

    fn explain(&self, refusal: Refusal, protocol: Protocol, scope: Scope, port: u16) -> ClaimError {
        let holder = match refusal {
            Refusal::Fatal(error) => return error,
            Refusal::ByClaim(path) => Holder::of(&path),
            Refusal::BySocket => {
                Holder::of_port(self.request.exec_root, protocol, scope.widest(), port)
            }
        };
        let host = SocketAddr::new(scope.shown(), port);
        ClaimError::PortTaken { host, by: InUse { port, protocol, holder } }
    }

    /// A port the kernel picks: bind(2) of port 0 never gives the same one to two sockets.
    fn ephemeral(&mut self, protocol: Protocol, scope: Scope) -> Result<Held, ClaimError> {
        let host = SocketAddr::new(scope.shown(), 0);
        // Held until the end, or the kernel would offer the same ports again.
        let mut refused = Vec::new();
        for _ in 0..EPHEMERAL_TRIES {
            let (socket, port) = match reserve(protocol, scope, 0, self.request.relay) {
                Ok(Some(reserved)) => reserved,
                Ok(None) => return self.ephemeral_by_file(protocol, scope),
                Err(Errno::ADDRINUSE) => return Err(ClaimError::NoEphemeral(protocol)),
                Err(errno) => return Err(ClaimError::Bind { host, source: errno.into() }),
            };
            match self.claim_files(protocol, scope, port) {
                Ok(()) => return Ok((Some(socket), port)),
                Err(Refusal::ByClaim(_) | Refusal::BySocket) => refused.push(socket),
                Err(Refusal::Fatal(error)) => return Err(error),
            }
        }
        Err(ClaimError::NoEphemeral(protocol))
    }

    /// Without sockets of the protocol, claim files alone decide.
    fn ephemeral_by_file(&mut self, protocol: Protocol, scope: Scope) -> Result<Held, ClaimError> {
        let (first, last) = local_port_range();
        for port in first..=last {
            match self.claim_files(protocol, scope, port) {
                Ok(()) => return Ok((None, port)),
                Err(Refusal::ByClaim(_) | Refusal::BySocket) => {}
                Err(Refusal::Fatal(error)) => return Err(error),
            }
        }
        Err(ClaimError::NoEphemeral(protocol))
    }

    /// Claims `port` on every address of `scope` by file, or on none.
    fn claim_files(&mut self, protocol: Protocol, scope: Scope, port: u16) -> Result<(), Refusal> {
        let before = self.claims.undo.files.len();
        for ip in scope.addresses() {
            // A claim on every address is in the way of one address. The other way round, the
            // socket notices.
            let covering = Some(unspecified(ip))
                .filter(|any| *any != ip)
                .map(|any| self.path(protocol, any, port))
                .filter(|path| path.exists());
            let path = self.path(protocol, ip, port);
            let taken = match covering {
                Some(covering) => Some(covering),
                None => {
                    let claimed = self.record.claim(&path).map_err(|e| self.files(e))?;
                    (!claimed).then_some(path)
                }
            };
            if let Some(path) = taken {
                self.unclaim_to(before)?;
                return Err(Refusal::ByClaim(path));
            }
            self.claims.undo.files.push(port_file(protocol, ip, port));
        }
        Ok(())
    }

    /// Gives back the claim files after the first `keep`.
    fn unclaim_to(&mut self, keep: usize) -> Result<(), Refusal> {
        while self.claims.undo.files.len() > keep {
            if let Some(file) = self.claims.undo.files.pop() {
                let path = self.request.exec_root.join(&file);
                self.record.give_back(&path).map_err(|e| self.files(e))?;
            }
        }
        Ok(())
    }

    fn path(&self, protocol: Protocol, ip: IpAddr, port: u16) -> PathBuf {
        self.request.exec_root.join(port_file(protocol, ip, port))
    }

    fn files(&self, error: io::Error) -> Refusal {
        Refusal::Fatal(ClaimError::Files(self.request.exec_root.to_owned(), error))
    }
}

fn unspecified(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The kernel's own range for ephemeral ports; where it cannot be read, docker's (IANA's).
fn local_port_range() -> (u16, u16) {
    let text = std::fs::read_to_string(Path::new("/proc/sys/net/ipv4/ip_local_port_range"));
    let parsed = text.ok().and_then(|text| {
        let mut numbers = text.split_ascii_whitespace().map(|n| n.parse::<u16>().ok());
        Some((numbers.next()??, numbers.next()??))
    });
    parsed.unwrap_or((49153, 65535))
}
