//! Who is on a network: one file per container,
//! `exec-root/networks/<network>/members/<container id>.json`.
//!
//! Written by whoever attaches a container, before the attach and after the undo
//! list that names the network; removed at detach and by repair. Read by whoever
//! answers questions about a network: the resolver, `network inspect`, links.
//! A file appears, changes and goes whole (rename, unlink), so a watcher
//! (inotify on the directory) sees `MOVED_TO` and `DELETE` and nothing else.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use rcnt_base::files::{self, Durability};
use rcnt_base::ids::{ContainerId, Name};
use serde::{Deserialize, Serialize};

use crate::plan::Mac;

/// A container on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id; the first twelve digits are one of its names.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// What else it is called on this network: `--network-alias`, and its hostname.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// What it alone calls others on this network, by `--link`.
    #[serde(default)]
    pub links: Vec<PrivateName>,
    /// Its IPv4 address on this network.
    pub address4: Option<Ipv4Addr>,
    /// Its IPv6 address on this network.
    pub address6: Option<Ipv6Addr>,
    /// Its link-layer address on this network.
    pub mac: Mac,
    /// The interface inside the container.
    #[serde(default)]
    pub interface: String,
    /// The host's end of the veth pair; empty where there is none.
    #[serde(default)]
    pub host_interface: String,
    /// Docker's EndpointID: 64 hex digits, new at each attach.
    #[serde(default)]
    pub endpoint_id: String,
}

/// A name that holds for one container only: `--link source:alias`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateName {
    /// What it is called.
    pub alias: String,
    /// The member that is meant, if there is one yet.
    pub target: Option<ContainerId>,
    /// Its name: one that is made anew under it is meant, too.
    #[serde(default)]
    pub source: String,
}

impl Member {
    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.address4.map(IpAddr::V4).into_iter().chain(self.address6.map(IpAddr::V6))
    }

    /// Everything everybody on the network may call it: name, aliases, short id.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str())
            .chain(self.aliases.iter().map(String::as_str))
            .chain(std::iter::once(self.id.short()))
    }
}

/// The directory of a network's members; exists once it had one.
pub fn directory(exec_root: &Path, network: &Name) -> PathBuf {
    exec_root.join("networks").join(network).join("members")
}

fn file(exec_root: &Path, network: &Name, id: &ContainerId) -> PathBuf {
    directory(exec_root, network).join(format!("{id}.json"))
}

/// Writes a member down, in place of what was written of it before. It is written
/// into the directory `aside` first, of the same file system: one that goes with the
/// container, so that a crash leaves nothing here.
///
/// # Errors
/// The disk is full.
pub fn add(exec_root: &Path, network: &Name, member: &Member, aside: &Path) -> io::Result<()> {
    let (path, draft) = (file(exec_root, network, &member.id), aside.join("member.json"));
    files::write_json(&draft, member, Durability::Volatile)?;
    match std::fs::rename(&draft, &path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            files::create_dirs(&directory(exec_root, network))?;
            std::fs::rename(&draft, &path)
        }
        done => done,
    }
}

/// Removes a member; one that is gone is fine.
///
/// # Errors
/// The kernel's reason.
pub fn remove(exec_root: &Path, network: &Name, id: &ContainerId) -> io::Result<()> {
    files::remove_if_exists(&file(exec_root, network, id))
}

/// One member; `None` when the container is not on the network.
///
/// # Errors
/// Its file cannot be read, or is not one.
pub fn get(exec_root: &Path, network: &Name, id: &ContainerId) -> io::Result<Option<Member>> {
    match files::read_json(&file(exec_root, network, id)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// Everybody on a network, by id. Who leaves while this reads is left out; a file
/// that is damaged is as good as none.
///
/// # Errors
/// The directory cannot be read.
pub fn list(exec_root: &Path, network: &Name) -> io::Result<Vec<Member>> {
    let entries = match std::fs::read_dir(directory(exec_root, network)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut members: Vec<Member> = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|n| n.strip_suffix(".json")?.parse::<ContainerId>().ok());
        if let Some(id) = id {
            members.extend(get(exec_root, network, &id).ok().flatten());
        }
    }
    members.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(digit: &str) -> Member {
        Member {
            id: digit.repeat(64).parse().unwrap(),
            name: "web".into(),
            aliases: vec!["www".into()],
            links: Vec::new(),
            address4: Some(Ipv4Addr::new(10, 90, 0, 2)),
            address6: None,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            interface: "eth0".into(),
            host_interface: "veth1".into(),
            endpoint_id: String::new(),
        }
    }

    #[test]
    fn members_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let (root, net) = (dir.path(), "front".parse::<Name>().unwrap());
        assert_eq!(list(root, &net).unwrap(), []);
        for digit in ["b", "a"] {
            add(root, &net, &member(digit), root).unwrap();
        }
        assert_eq!(list(root, &net).unwrap(), [member("a"), member("b")]);
        let renamed = Member { name: "api".into(), ..member("a") };
        add(root, &net, &renamed, root).unwrap();
        assert_eq!(get(root, &net, &renamed.id).unwrap(), Some(renamed.clone()));
        for _ in 0..2 {
            remove(root, &net, &renamed.id).unwrap();
        }
        assert_eq!(list(root, &net).unwrap(), [member("b")]);
        assert_eq!(get(root, &net, &renamed.id).unwrap(), None);
    }

    #[test]
    fn half_written_and_damaged_files_are_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let (root, net) = (dir.path(), "front".parse::<Name>().unwrap());
        add(root, &net, &member("a"), root).unwrap();
        let members = directory(root, &net);
        let other = member("b").id;
        for name in [format!("{other}.json"), format!(".{other}.json.1.0.tmp"), "x.json".into()] {
            files::write_atomic(&members.join(name), b"{", Durability::Volatile).unwrap();
        }
        assert_eq!(list(root, &net).unwrap(), [member("a")]);
    }

    #[test]
    fn a_member_is_known_by_all_its_names() {
        let one = member("a");
        assert_eq!(one.names().collect::<Vec<_>>(), ["web", "www", "aaaaaaaaaaaa"]);
        assert_eq!(one.addresses().collect::<Vec<_>>(), ["10.90.0.2".parse::<IpAddr>().unwrap()]);
    }
}
