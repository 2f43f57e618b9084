//! Networks on disk: `data-root/networks/<name>.json`, written whole under
//! `.lock`, read without one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rcnt_base::files::{
    Durability, Lock, create_dirs, read_json, remove_if_exists, sync_dir, write_json,
};
use rcnt_base::ids::Name;
use rcnt_base::roots::Roots;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::choose::{default_options, hex, ipam};
use super::config::BridgeConfig;
use super::stored::NetworkError;
use super::types::{Addresses, Bridge, BridgePolicy, Ipam, Kind, Network, PREDEFINED};
use crate::cidr::{Ipv4Net, Ipv6Net};

/// The form of file written today.
const SCHEMA: u32 = 2;

/// A network's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    schema: u32,
    pub(super) network: Network,
    /// What the default network was decided from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) config: Option<BridgeConfig>,
}

impl Stored {
    pub(super) fn new(network: Network, config: Option<BridgeConfig>) -> Self {
        Self { schema: SCHEMA, network, config }
    }
}

/// The file of the default network as it was when there was no other.
#[derive(Debug, Deserialize)]
struct First {
    name: Name,
    id: String,
    interface: String,
    alias: String,
    subnet4: Ipv4Net,
    gateway4: Ipv4Addr,
    range4: Option<Ipv4Net>,
    subnet6: Option<Ipv6Net>,
    gateway6: Option<Ipv6Addr>,
    mtu: u32,
    bind_address: Option<IpAddr>,
    config: BridgeConfig,
}

impl First {
    /// The same in today's form. It did not say when it was made.
    fn into_stored(self, created: OffsetDateTime) -> Stored {
        let Self { name, id, interface, alias, mtu, bind_address, config, .. } = self;
        let Self { subnet4, gateway4, range4, subnet6, gateway6, .. } = self;
        let reserved = std::collections::BTreeSet::new();
        let addresses = Addresses { subnet4, gateway4, range4, subnet6, gateway6, reserved };
        let policy = BridgePolicy { foreign: config.bridge.is_some(), ..BridgePolicy::default() };
        let bridge = Bridge { interface, alias, mtu, bind_address, policy };
        let network = Network {
            name,
            id,
            created,
            internal: false,
            attachable: false,
            enable_ipv4: true,
            enable_ipv6: subnet6.is_some(),
            labels: std::collections::BTreeMap::new(),
            options: default_options(&bridge),
            ipam: ipam(&addresses),
            addresses: Some(addresses),
            kind: Kind::Bridge(bridge),
        };
        Stored::new(network, Some(config))
    }
}

/// Where the networks of an instance are.
pub(super) fn dir(roots: &Roots) -> PathBuf {
    roots.data.join("networks")
}

fn path(roots: &Roots, name: &Name) -> PathBuf {
    dir(roots).join(format!("{name}.json"))
}

fn cannot_keep(name: &Name) -> impl Fn(io::Error) -> NetworkError + '_ {
    |error| NetworkError::Files(name.clone(), error)
}

/// Excludes all others who would change networks of this instance.
pub(super) fn lock(roots: &Roots, name: &Name) -> Result<Lock, NetworkError> {
    let dir = dir(roots);
    let lock = || {
        create_dirs(&dir)?;
        let lock = Lock::wait(&dir.join(".lock"))?;
        sweep(&dir)?;
        Ok(lock)
    };
    lock().map_err(cannot_keep(name))
}

/// Removes unfinished writes: whoever writes holds the lock, so these are of the dead.
fn sweep(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(b".") && name.ends_with(b".tmp") {
            remove_if_exists(&dir.join(std::ffi::OsStr::from_bytes(name)))?;
        }
    }
    Ok(())
}

pub(super) fn read(roots: &Roots, name: &Name) -> Result<Option<Stored>, NetworkError> {
    read_file(&path(roots, name)).map_err(cannot_keep(name))
}

fn read_file(path: &Path) -> io::Result<Option<Stored>> {
    let stored = match read_json::<Stored>(path) {
        Ok(stored) => stored,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let first = read_json::<First>(path).map_err(|_| error)?;
            let written = std::fs::metadata(path)?.modified()?;
            first.into_stored(written.into())
        }
    };
    Ok(Some(stored))
}

/// Writes a network; the lock is held.
pub(super) fn write(roots: &Roots, stored: &Stored) -> Result<(), NetworkError> {
    let name = &stored.network.name;
    write_json(&path(roots, name), stored, Durability::Durable).map_err(cannot_keep(name))
}

/// Removes a network's file; the lock is held.
pub(super) fn remove(roots: &Roots, name: &Name) -> Result<(), NetworkError> {
    remove_if_exists(&path(roots, name))
        .and_then(|()| sync_dir(&dir(roots)))
        .map_err(cannot_keep(name))
}

/// The network of this name; `host` and `none` are always there, `bridge` once it was decided
/// ([`super::default_network`]).
///
/// # Errors
/// A file that cannot be read.
pub fn load(roots: &Roots, name: &Name) -> Result<Option<Network>, NetworkError> {
    match read(roots, name)? {
        Some(stored) => Ok(Some(stored.network)),
        None => match name.as_str() {
            "host" => predefine(roots, name, Kind::Host).map(Some),
            "none" => predefine(roots, name, Kind::None).map(Some),
            _ => Ok(None),
        },
    }
}

/// `host` and `none` get their ids when they are first asked for.
fn predefine(roots: &Roots, name: &Name, kind: Kind) -> Result<Network, NetworkError> {
    let _lock = lock(roots, name)?;
    if let Some(stored) = read(roots, name)? {
        return Ok(stored.network);
    }
    let network = Network {
        name: name.clone(),
        id: random_id()?,
        created: OffsetDateTime::now_utc(),
        internal: false,
        attachable: false,
        enable_ipv4: true,
        enable_ipv6: false,
        labels: std::collections::BTreeMap::new(),
        options: std::collections::BTreeMap::new(),
        ipam: Ipam::default(),
        addresses: None,
        kind,
    };
    write(roots, &Stored::new(network.clone(), None))?;
    Ok(network)
}

/// A fresh network id.
pub(super) fn random_id() -> Result<String, NetworkError> {
    Ok(hex(&random::<32>()?))
}

/// Bytes of the kernel's random source.
pub(super) fn random<const N: usize>() -> Result<[u8; N], NetworkError> {
    let mut random = [0; N];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| NetworkError::Facts(e.into()))?;
    Ok(random)
}

/// Every network of the instance, by name. `bridge` is there once it was decided.
///
/// # Errors
/// The directory, or a file in it, cannot be read.
pub fn list(roots: &Roots) -> Result<Vec<Network>, NetworkError> {
    let mut networks = stored(roots)?;
    for name in PREDEFINED {
        if !networks.iter().any(|network| network.name.as_str() == name) {
            networks.extend(load(roots, &name.parse()?)?);
        }
    }
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(networks)
}

/// The networks on disk, in no order. Makes nothing, so `host` and `none` may be missing.
///
/// # Errors
/// The directory, or a file in it, cannot be read.
pub fn stored(roots: &Roots) -> Result<Vec<Network>, NetworkError> {
    let entries = match std::fs::read_dir(dir(roots)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(NetworkError::List)?,
    };
    let mut networks = Vec::new();
    for entry in entries {
        let file = entry.map_err(NetworkError::List)?.file_name();
        let name = file.to_str().and_then(|file| file.strip_suffix(".json"));
        let Some(Ok(name)) = name.map(str::parse::<Name>) else { continue };
        // Removed meanwhile: not there.
        networks.extend(read(roots, &name)?.map(|stored| stored.network));
    }
    Ok(networks)
}

/// Why no network was found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// Nobody's name or id.
    #[error("network {0} not found")]
    NotFound(String),
    /// A prefix of several ids.
    #[error("network {reference} is ambiguous ({matches} matches found based on ID prefix)")]
    Ambiguous {
        /// As typed.
        reference: String,
        /// How many.
        matches: usize,
    },
    /// Files.
    #[error(transparent)]
    Store(#[from] NetworkError),
}

/// The network of this full id, name or unambiguous id prefix; docker's order.
///
/// # Errors
/// None, several, or files that cannot be read.
pub fn find(roots: &Roots, reference: &str) -> Result<Network, FindError> {
    let is_id = reference.bytes().all(|b| b.is_ascii_hexdigit());
    if let Ok(name) = reference.parse::<Name>()
        && !(is_id && reference.len() == 64)
        && let Some(network) = load(roots, &name)?
    {
        return Ok(network);
    }
    let not_found = || FindError::NotFound(reference.to_owned());
    if reference.is_empty() {
        return Err(not_found());
    }
    let mut networks = list(roots)?;
    if let Some(exact) =
        networks.iter().position(|n| n.id == reference || n.name.as_str() == reference)
    {
        return Ok(networks.swap_remove(exact));
    }
    networks.retain(|network| network.id.starts_with(reference));
    match networks.len() {
        0 | 1 => networks.pop().ok_or_else(not_found),
        matches => Err(FindError::Ambiguous { reference: reference.to_owned(), matches }),
    }
}

/// Whether a container is on the network now: holds an address of it, or is its member.
pub fn is_in_use(roots: &Roots, name: &Name) -> bool {
    let network = roots.exec.join("networks").join(name);
    ["ip", "members"].iter().any(|what| {
        std::fs::read_dir(network.join(what)).is_ok_and(|mut entries| entries.next().is_some())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = r#"{"schema":1,"name":"bridge","id":"ab","interface":"rcnt0",
        "alias":"rcnt:/run/rcnt","subnet4":"10.90.0.0/21","gateway4":"10.90.0.1","range4":null,
        "subnet6":null,"gateway6":null,"reserved":[],"mtu":1500,"bind_address":null,
        "config":{"bridge":null,"bip":null,"fixed_cidr":null,"ipv6":false,"fixed_cidr_v6":null,
        "mtu":null,"bind_address":null,"pools":[]}}"#;

    fn fixture(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { data: dir.path().join("data"), exec: dir.path().join("exec") };
        create_dirs(&super::dir(&roots)).unwrap();
        for (name, text) in files {
            let path = super::dir(&roots).join(format!("{name}.json"));
            rcnt_base::files::write_atomic(&path, text.as_bytes(), Durability::Volatile).unwrap();
        }
        (dir, roots)
    }

    #[test]
    fn the_first_form_of_the_file_still_loads() {
        let (_dir, roots) = fixture(&[("bridge", FIRST)]);
        let stored = read(&roots, &"bridge".parse().unwrap()).unwrap().unwrap();
        assert_eq!(stored.config, Some(BridgeConfig::default()));
        let addresses = stored.network.addresses.as_ref().unwrap();
        assert_eq!(addresses.subnet4.to_string(), "10.90.0.0/21");
        assert_eq!(stored.network.bridge().unwrap().interface, "rcnt0");
        assert!(stored.network.bridge().unwrap().policy.icc);
        write(&roots, &stored).unwrap();
        assert_eq!(read(&roots, &"bridge".parse().unwrap()).unwrap(), Some(stored));
    }

    #[test]
    fn host_and_none_are_always_there_and_keep_their_ids() {
        let (_dir, roots) = fixture(&[]);
        let names = |networks: &[Network]| -> Vec<String> {
            networks.iter().map(|n| format!("{}:{}", n.name, n.kind.driver())).collect()
        };
        let first = list(&roots).unwrap();
        assert_eq!(names(&first), ["host:host", "none:null"]);
        assert_eq!(list(&roots).unwrap(), first);
        assert_eq!(find(&roots, &first[0].id[..12]).unwrap(), first[0]);
        assert_eq!(find(&roots, "none").unwrap().id, first[1].id);
    }

    #[test]
    fn names_ids_and_prefixes_find_in_dockers_order() {
        let ids = ["ab".repeat(32), format!("ac{}", "0".repeat(62))];
        let one = FIRST.replace("\"ab\"", &format!("{:?}", ids[0]));
        let two =
            FIRST.replace("\"ab\"", &format!("{:?}", ids[1])).replace("\"bridge\",", "\"ab\",");
        let (_dir, roots) = fixture(&[("bridge", &one), ("ab", &two)]);
        let name = |reference: &str| find(&roots, reference).map(|n| n.name.to_string());
        assert_eq!(name("ab").unwrap(), "ab");
        assert_eq!(name("ababababab").unwrap(), "bridge");
        assert_eq!(name(&ids[1]).unwrap(), "ab");
        let error = |reference: &str| name(reference).unwrap_err().to_string();
        assert_eq!(error("abcabcabca"), "network abcabcabca not found");
        assert_eq!(error(""), "network  not found");
        // Those of host and none are random.
        let matches = list(&roots).unwrap().iter().filter(|n| n.id.starts_with('a')).count();
        let words = format!("network a is ambiguous ({matches} matches found based on ID prefix)");
        assert_eq!(error("a"), words);
    }
}
