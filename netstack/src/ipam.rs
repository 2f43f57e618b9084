//! Addresses on a bridge network: which one is next, and files that hold it.
//!
//! A lease is a file `exec-root/networks/<network>/ip/<address>`, made under the
//! claims lock and never over an existing one: whatever dies, and when, no
//! address is held twice. The search goes on from the last address given out
//! (kept in `next` beside it), so that an address freed is the last to come back
//! (stale ARP entries and conntrack flows point at it for a while, moby#36069),
//! and no directory is ever listed. A lost or damaged `next` costs only that.
//!
//! The IPv6 address has the host part of the IPv4 one, so that one search serves both.

use std::fs::OpenOptions;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rcnt_base::ids::Name;

use crate::claims::ledger::Record;
use crate::claims::{Holder, Lease};
use crate::network::Addresses;

/// Why no address could be leased.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The address asked for is not on the network.
    #[error("invalid address {address}: it does not belong to any of network {network}'s subnets")]
    Outside {
        /// As asked for.
        address: IpAddr,
        /// The network's name.
        network: Name,
    },
    /// The address asked for can never belong to a container.
    #[error("invalid address {address}: it is {what} of network {network}")]
    Reserved {
        /// As asked for.
        address: IpAddr,
        /// `the gateway`, `the network address`…
        what: &'static str,
        /// The network's name.
        network: Name,
    },
    /// The address asked for is taken.
    #[error("address already in use: {address} is held by {holder}")]
    Taken {
        /// As asked for.
        address: IpAddr,
        /// Who has it.
        holder: Holder,
    },
    /// Every address is leased.
    #[error("no available IPv4 addresses on this network's address pools: {0}")]
    Exhausted(Name),
    /// Claim files cannot be made.
    #[error("cannot lease an address on network {0}")]
    Files(Name, #[source] io::Error),
}

/// The IPv6 address that goes with `v4`.
pub fn address6(addresses: &Addresses, v4: Ipv4Addr) -> Option<Ipv6Addr> {
    addresses.subnet6?.nth(u128::from(addresses.subnet4.host_part(v4)))
}

/// Why `address` is never leased; `None` when it may be.
fn reserved(addresses: &Addresses, address: Ipv4Addr) -> Option<&'static str> {
    let subnet = addresses.subnet4;
    // RFC 3021: a /31 has neither network nor broadcast address.
    let ends = subnet.prefix() < 31;
    if address == addresses.gateway4 {
        Some("the gateway")
    } else if ends && address == subnet.network() {
        Some("the network address")
    } else if ends && address == subnet.last() {
        Some("the broadcast address")
    } else if addresses.reserved.contains(&address.into()) {
        Some("a reserved address")
    } else {
        None
    }
}

/// As [`reserved`].
fn reserved6(addresses: &Addresses, address: Ipv6Addr) -> Option<&'static str> {
    if addresses.gateway6 == Some(address) {
        Some("the gateway")
    } else if addresses.subnet6.is_some_and(|subnet| subnet.network() == address) {
        // RFC 4291, 2.6.1.
        Some("the subnet-router anycast address")
    } else if addresses.reserved.contains(&address.into()) {
        Some("a reserved address")
    } else {
        None
    }
}

/// The addresses asked for; `None` is the next free one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) v4: Option<Ipv4Addr>,
    pub(crate) v6: Option<Ipv6Addr>,
}

/// Every address that may be leased, each once, starting after `last`.
pub fn candidates(
    addresses: &Addresses,
    last: Option<Ipv4Addr>,
) -> impl Iterator<Item = Ipv4Addr> + '_ {
    let range = addresses.range4.unwrap_or(addresses.subnet4);
    let (first, end) = (u32::from(range.network()), u32::from(range.last()));
    let after = last
        .filter(|addr| range.contains(*addr))
        .and_then(|addr| u32::from(addr).checked_add(1))
        .filter(|next| *next <= end)
        .unwrap_or(first);
    (after..=end)
        .chain(first..after)
        .map(Ipv4Addr::from)
        .filter(|addr| reserved(addresses, *addr).is_none())
}

/// The files of one network's leases.
#[derive(Debug)]
pub(crate) struct Leases<'a> {
    exec_root: &'a Path,
    network: &'a Name,
}

impl<'a> Leases<'a> {
    pub(crate) fn new(exec_root: &'a Path, network: &'a Name) -> Self {
        Self { exec_root, network }
    }

    fn dir(&self) -> PathBuf {
        Path::new("networks").join(self.network)
    }

    /// The claim file of `address`, relative to the exec root.
    pub(crate) fn file(&self, address: IpAddr) -> PathBuf {
        self.dir().join("ip").join(address.to_string())
    }

    fn path(&self, address: IpAddr) -> PathBuf {
        self.exec_root.join(self.file(address))
    }

    /// Leases the addresses `wanted`, or the next free ones; the caller holds the claims lock.
    pub(crate) fn take(
        &self,
        addresses: &Addresses,
        wanted: Wanted,
        record: &Record,
    ) -> Result<Lease, LeaseError> {
        if let Some(v6) = wanted.v6 {
            self.take_wanted6(addresses, v6, record)?;
        }
        let taken = self.take4(addresses, wanted, record);
        if let (Err(_), Some(v6)) = (&taken, wanted.v6) {
            record.give_back(&self.path(v6.into())).map_err(|e| self.files(e))?;
        }
        taken
    }

    fn files(&self, error: io::Error) -> LeaseError {
        LeaseError::Files(self.network.clone(), error)
    }

    fn taken(&self, address: IpAddr) -> LeaseError {
        LeaseError::Taken { address, holder: Holder::of(&self.path(address)) }
    }

    fn take4(
        &self,
        addresses: &Addresses,
        wanted: Wanted,
        record: &Record,
    ) -> Result<Lease, LeaseError> {
        if let Some(v4) = wanted.v4 {
            self.check(addresses.subnet4.contains(v4), reserved(addresses, v4), v4.into())?;
            let lease = self.try_pair(addresses, v4, wanted.v6, record);
            return lease.map_err(|e| self.files(e))?.ok_or_else(|| self.taken(v4.into()));
        }
        let next = Next::open(&self.exec_root.join(self.dir())).map_err(|e| self.files(e))?;
        for v4 in candidates(addresses, next.last()) {
            let lease = self.try_pair(addresses, v4, wanted.v6, record);
            if let Some(lease) = lease.map_err(|e| self.files(e))? {
                next.set(v4);
                return Ok(lease);
            }
        }
        Err(LeaseError::Exhausted(self.network.clone()))
    }

    fn take_wanted6(
        &self,
        addresses: &Addresses,
        v6: Ipv6Addr,
        record: &Record,
    ) -> Result<(), LeaseError> {
        let inside = addresses.subnet6.is_some_and(|subnet| subnet.contains(v6));
        self.check(inside, reserved6(addresses, v6), v6.into())?;
        match record.claim(&self.path(v6.into())).map_err(|e| self.files(e))? {
            true => Ok(()),
            false => Err(self.taken(v6.into())),
        }
    }

    fn check(
        &self,
        inside: bool,
        reserved: Option<&'static str>,
        address: IpAddr,
    ) -> Result<(), LeaseError> {
        let network = self.network.clone();
        match (inside, reserved) {
            (false, _) => Err(LeaseError::Outside { address, network }),
            (true, Some(what)) => Err(LeaseError::Reserved { address, what, network }),
            (true, None) => Ok(()),
        }
    }

    /// Both addresses or neither; `None` when one of them is taken. `held6` is the
    /// IPv6 address if the record has it already.
    fn try_pair(
        &self,
        addresses: &Addresses,
        v4: Ipv4Addr,
        held6: Option<Ipv6Addr>,
        record: &Record,
    ) -> io::Result<Option<Lease>> {
        let v6 = if held6.is_some() { None } else { address6(addresses, v4) };
        if v6.is_some_and(|v6| addresses.reserved.contains(&v6.into())) {
            return Ok(None);
        }
        let path4 = self.path(v4.into());
        if !record.claim(&path4)? {
            return Ok(None);
        }
        let claimed = v6.map_or(Ok(true), |v6| record.claim(&self.path(v6.into())));
        if !matches!(claimed, Ok(true)) {
            record.give_back(&path4)?;
        }
        Ok(claimed?.then(|| Lease { network: self.network.clone(), v4, v6: held6.or(v6) }))
    }
}

/// The last address given out: four bytes, rewritten in place. Torn or lost, the search merely
/// starts elsewhere.
struct Next(std::fs::File);

impl Next {
    fn open(dir: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let path = dir.join("next");
        match options.open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                rcnt_base::files::create_dirs(dir)?;
                options.open(&path).map(Self)
            }
            opened => opened.map(Self),
        }
    }

    fn last(&self) -> Option<Ipv4Addr> {
        let mut bytes = [0; 4];
        self.0.read_exact_at(&mut bytes, 0).ok()?;
        Some(Ipv4Addr::from(bytes))
    }

    fn set(&self, addr: Ipv4Addr) {
        // On a full disk the old value stays: the next search skips what is taken.
        let _ = self.0.write_all_at(&addr.octets(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn network(subnet: &str, gateway: &str, range: Option<&str>, v6: Option<&str>) -> Addresses {
        serde_json::from_value(serde_json::json!({
            "subnet4": subnet, "gateway4": gateway, "range4": range, "subnet6": v6,
        }))
        .unwrap()
    }

    struct Fixture {
        dir: tempfile::TempDir,
        name: Name,
        addresses: Addresses,
        record: Record,
    }

    impl Fixture {
        fn new(addresses: Addresses) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let owner = format!("{:064x}", 7).parse().unwrap();
            let record = Record::write(dir.path(), &owner, "web").unwrap();
            Self { dir, name: "bridge".parse().unwrap(), addresses, record }
        }

        fn take(&self, wanted: Option<&str>) -> Result<Lease, LeaseError> {
            let leases = Leases::new(self.dir.path(), &self.name);
            let v4 = wanted.map(|w| w.parse().unwrap());
            leases.take(&self.addresses, Wanted { v4, v6: None }, &self.record)
        }

        fn next(&self) -> String {
            self.take(None).unwrap().v4.to_string()
        }

        fn free(&self, address: &str) {
            std::fs::remove_file(self.dir.path().join("networks/bridge/ip").join(address)).unwrap();
        }

        fn refused(&self, wanted: Option<&str>) -> String {
            self.take(wanted).unwrap_err().to_string()
        }
    }

    #[test]
    fn an_address_freed_is_the_last_to_come_back() {
        let fixture = Fixture::new(network("10.0.0.0/29", "10.0.0.1", None, None));
        assert_eq!([fixture.next(), fixture.next()], ["10.0.0.2", "10.0.0.3"]);
        fixture.free("10.0.0.2");
        assert_eq!(fixture.next(), "10.0.0.4");
        fixture.free("10.0.0.4");
        assert_eq!(
            [fixture.next(), fixture.next(), fixture.next()],
            ["10.0.0.5", "10.0.0.6", "10.0.0.2"]
        );
        assert_eq!(fixture.next(), "10.0.0.4");
        assert_eq!(
            fixture.refused(None),
            "no available IPv4 addresses on this network's address pools: bridge"
        );
    }

    #[test]
    fn a_lost_or_damaged_pointer_costs_nothing_but_order() {
        let fixture = Fixture::new(network("10.0.0.0/24", "10.0.0.1", None, None));
        assert_eq!(fixture.next(), "10.0.0.2");
        let pointer = fixture.dir.path().join("networks/bridge/next");
        for damage in [&b""[..], b"\xff", b"garbage"] {
            rcnt_base::files::write_atomic(
                &pointer,
                damage,
                rcnt_base::files::Durability::Volatile,
            )
            .unwrap();
            fixture.next();
        }
        assert_eq!(fixture.next(), "10.0.0.6");
    }

    #[test]
    fn an_address_asked_for_is_checked() {
        let mut network = network("10.0.0.0/24", "10.0.0.1", Some("10.0.0.128/25"), None);
        network.reserved.insert("10.0.0.9".parse().unwrap());
        let fixture = Fixture::new(network);
        assert_eq!(fixture.next(), "10.0.0.128");
        assert_eq!(fixture.take(Some("10.0.0.7")).unwrap().v4, Ipv4Addr::new(10, 0, 0, 7));
        for (wanted, want) in [
            ("10.0.0.7", "address already in use: 10.0.0.7 is held by container web"),
            ("10.0.1.7", "does not belong to any of network bridge's subnets"),
            ("10.0.0.1", "it is the gateway of network bridge"),
            ("10.0.0.0", "it is the network address"),
            ("10.0.0.255", "it is the broadcast address"),
            ("10.0.0.9", "it is a reserved address"),
        ] {
            let text = fixture.refused(Some(wanted));
            assert!(text.contains(want), "{text}");
        }
    }

    #[test]
    fn the_ipv6_address_goes_with_the_ipv4_one() {
        let fixture = Fixture::new(network("10.0.0.0/24", "10.0.0.1", None, Some("fd00::/64")));
        let lease = fixture.take(None).unwrap();
        assert_eq!(lease.v6.unwrap().to_string(), "fd00::2");
        // Somebody holds the next one by --ip6: the pair is skipped whole.
        assert!(
            fixture.record.claim(&fixture.dir.path().join("networks/bridge/ip/fd00::3")).unwrap()
        );
        assert_eq!(fixture.take(None).unwrap().v6.unwrap().to_string(), "fd00::4");
        assert!(!fixture.dir.path().join("networks/bridge/ip/10.0.0.3").exists());
    }

    proptest! {
        /// Takes with and without wishes for either family, and releases, in any order.
        #[test]
        fn no_address_is_held_twice(
            steps in proptest::collection::vec(
                (any::<bool>(), proptest::option::of(0u8..16), proptest::option::of(0u16..16)), 1..24)
        ) {
            let fixture =
                Fixture::new(network("10.0.0.0/28", "10.0.0.1", None, Some("fd00::/64")));
            let leases = Leases::new(fixture.dir.path(), &fixture.name);
            let mut held: Vec<Lease> = Vec::new();
            for (take, v4, v6) in steps {
                if !take {
                    if let Some(lease) = held.pop() {
                        fixture.free(&lease.v4.to_string());
                        fixture.free(&lease.v6.unwrap().to_string());
                    }
                    continue;
                }
                let v4 = v4.map(|n| Ipv4Addr::new(10, 0, 0, n));
                let v6 = v6.map(|n| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n));
                let lease = leases.take(&fixture.addresses, Wanted { v4, v6 }, &fixture.record);
                if let Ok(lease) = lease {
                    prop_assert!(v4.is_none_or(|v4| v4 == lease.v4));
                    prop_assert!(v6.is_none_or(|v6| Some(v6) == lease.v6));
                    prop_assert!(held.iter().all(|h| h.v4 != lease.v4 && h.v6 != lease.v6));
                    held.push(lease);
                }
                // What was refused holds nothing.
                let files = std::fs::read_dir(fixture.dir.path().join("networks/bridge/ip"));
                let files = files.map(Iterator::count).unwrap_or(0);
                prop_assert_eq!(files, held.len() * 2);
            }
        }
    }

    proptest! {
        #[test]
        fn every_usable_address_comes_once_whatever_was_last(
            prefix in 22u8..=30, last: Option<u32>, inside: Option<u16>,
        ) {
            let mut network = network("10.4.0.0/16", "10.4.0.1", None, None);
            network.subnet4 = crate::cidr::Ipv4Net::new("10.4.0.0".parse().unwrap(), prefix).unwrap();
            let last = inside.map(|n| 0x0a04_0000 + u32::from(n)).or(last).map(Ipv4Addr::from);
            let all: Vec<Ipv4Addr> = candidates(&network, last).collect();
            let distinct: BTreeSet<Ipv4Addr> = all.iter().copied().collect();
            prop_assert_eq!(all.len(), (1usize << (32 - prefix)) - 3);
            prop_assert_eq!(distinct.len(), all.len());
            prop_assert!(distinct.iter().all(|a| network.subnet4.contains(*a)));
            prop_assert!(!distinct.contains(&network.gateway4));
        }

        #[test]
        fn ipv6_addresses_differ_when_ipv4_ones_do(a: u16, b: u16) {
            let network = network("10.4.0.0/16", "10.4.0.1", None, Some("fd00:1:2:3:4:5:6::/112"));
            let six = |n: u16| address6(&network, (0x0a04_0000 + u32::from(n)).into()).unwrap();
            prop_assert_eq!(six(a) == six(b), a == b);
        }
    }
}
