//! Keeps a [`Zone`] as fresh as the members' files are.
//!
//! Asked once for all queries that are there: one fstat(2) a network says whether anything
//! has changed. No inotify: a user has 128 of them (fs.inotify.max_user_instances),
//! and every change would wake every supervisor of the network, most of which
//! serve nobody at the moment.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcnt_base::ids::{ContainerId, Name};
use rustix::fs::{Mode, OFlags};

use super::NamesPlan;
use super::zone::{Network, Nickname, Person, Stamp, Zone};
use crate::members::{self, Member, PrivateName};

/// Files' times may advance in steps this long (a timer tick): what was changed just
/// now may be changed again without another time.
const TICK: Duration = Duration::from_millis(20);

/// The zone, and the directories it was read from.
#[derive(Debug)]
pub(super) struct Watch {
    exec_root: PathBuf,
    me: ContainerId,
    search: Vec<String>,
    directories: Vec<Directory>,
    zone: Zone,
}

#[derive(Debug)]
struct Directory {
    network: Name,
    open: Option<OwnedFd>,
    /// Its state when it was last read; `None` when it must be read again.
    seen: Option<Stamp>,
}

impl Watch {
    pub(super) fn new(plan: &NamesPlan) -> Self {
        let directory =
            |network: &Name| Directory { network: network.clone(), open: None, seen: None };
        Self {
            exec_root: plan.exec_root.clone(),
            me: plan.container.clone(),
            search: if plan.ndots > 0 { plan.search.clone() } else { Vec::new() },
            directories: plan.networks.iter().map(directory).collect(),
            zone: Zone::default(),
        }
    }

    /// Has [`Self::zone`] be as the files are now.
    pub(super) fn refresh(&mut self) {
        let Self { exec_root, directories, .. } = self;
        let stale = |d: &mut Directory| d.seen.is_none() || d.now(exec_root) != d.seen;
        if directories.iter_mut().any(stale) {
            self.read();
        }
    }

    /// The names as they were at the last refresh.
    pub(super) fn zone(&self) -> &Zone {
        &self.zone
    }

    fn read(&mut self) {
        let mut before = std::mem::take(&mut self.zone).networks.into_iter();
        let Self { exec_root, me, search, directories, .. } = self;
        let networks = directories
            .iter_mut()
            .map(|directory| {
                let old = before.next().filter(|old| old.name == directory.network.as_str());
                directory.read(exec_root, me, old.map(|old| old.people).unwrap_or_default())
            })
            .collect();
        self.zone = Zone::new(networks, search);
    }
}

fn stamp_of(open: &OwnedFd) -> Option<Stamp> {
    // A directory that was removed keeps its last state for those who have it open.
    let stat = rustix::fs::fstat(open).ok().filter(|stat| stat.st_nlink > 0)?;
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    Some((stat.st_ino, stat.st_mtime, nanoseconds))
}

/// Whether a file changed at this time may change again within the same tick.
fn is_fresh(stamp: Stamp) -> bool {
    let changed = UNIX_EPOCH + Duration::new(u64::try_from(stamp.1).unwrap_or(0), stamp.2);
    SystemTime::now().duration_since(changed).is_ok_and(|age| age < TICK)
}

impl Directory {
    /// Its state; `None` while there is none.
    fn now(&mut self, exec_root: &std::path::Path) -> Option<Stamp> {
        if let Some(stamp) = self.open.as_ref().and_then(stamp_of) {
            return Some(stamp);
        }
        let path = members::directory(exec_root, &self.network);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.open = rustix::fs::open(path, flags, Mode::empty()).ok();
        self.open.as_ref().and_then(stamp_of)
    }

    /// Reads what has changed since `old`. What cannot be read is nobody.
    fn read(&mut self, exec_root: &std::path::Path, me: &ContainerId, old: Vec<Person>) -> Network {
        // Before the entries: what comes meanwhile makes another state.
        let now = self.now(exec_root);
        self.seen = now.filter(|stamp| !is_fresh(*stamp));
        let mut network = Network { name: self.network.to_string(), ..Network::default() };
        for (id, stamp) in files(exec_root, &self.network).unwrap_or_default() {
            let known = |person: &&Person| person.key == key(&id) && person.stamp == stamp;
            // One's own file has the links, too.
            if let Some(person) = old.iter().find(known).filter(|_| id != *me) {
                network.people.push(person.clone());
            } else if let Ok(Some(member)) = members::get(exec_root, &self.network, &id) {
                if id == *me {
                    network.links = member.links.iter().map(nickname).collect();
                }
                network.people.push(person(&member, stamp));
            }
        }
        network
    }
}

/// The members' files, and the state of each.
fn files(exec_root: &std::path::Path, network: &Name) -> io::Result<Vec<(ContainerId, Stamp)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(members::directory(exec_root, network))? {
        let entry = entry?;
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".json")?.parse().ok());
        // One that is gone by now is nobody.
        if let (Some(id), Ok(meta)) = (id, entry.metadata()) {
            let nanoseconds = u32::try_from(meta.mtime_nsec()).unwrap_or(0);
            found.push((id, (meta.ino(), meta.mtime(), nanoseconds)));
        }
    }
    Ok(found)
}

/// The first half of an id: nobody finds two that share it.
fn key(id: &ContainerId) -> u128 {
    id.as_str().get(..32).and_then(|half| u128::from_str_radix(half, 16).ok()).unwrap_or(0)
}

fn nickname(link: &PrivateName) -> Nickname {
    let PrivateName { alias, target, source } = link;
    let key = target.as_ref().map_or(0, key);
    Nickname { alias: alias.clone(), key, source: source.clone() }
}

fn person(member: &Member, stamp: Stamp) -> Person {
    let names: Vec<&str> = member.names().filter(|name| !name.is_empty()).collect();
    Person {
        key: key(&member.id),
        names: names.join(" ").into(),
        v4: member.address4,
        v6: member.address6,
        stamp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Mac;
    use std::net::Ipv4Addr;

    fn member(digit: &str, name: &str, last: u8) -> Member {
        Member {
            id: digit.repeat(64).parse().unwrap(),
            name: name.into(),
            aliases: Vec::new(),
            links: Vec::new(),
            address4: Some(Ipv4Addr::new(10, 90, 0, last)),
            address6: None,
            mac: Mac([2, 0, 0, 0, 0, last]),
            interface: String::new(),
            host_interface: String::new(),
            endpoint_id: String::new(),
        }
    }

    fn add(root: &std::path::Path, network: &Name, member: &Member) -> io::Result<()> {
        members::add(root, network, member, root)
    }

    fn last(watch: &mut Watch, name: &str) -> Option<u8> {
        watch.refresh();
        watch.zone().find(name).map(|found| found.v4[0].octets()[3])
    }

    #[test]
    fn every_change_is_seen_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (root, net) = (dir.path(), "front".parse::<Name>().unwrap());
        let plan = NamesPlan {
            exec_root: root.to_owned(),
            container: "a".repeat(64).parse().unwrap(),
            networks: vec![net.clone()],
            forwards: true,
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 0,
            listed: None,
        };
        let mut watch = Watch::new(&plan);
        assert_eq!(last(&mut watch, "web"), None, "before anybody is there");
        add(root, &net, &member("a", "me", 2)).unwrap();
        for round in 0..50 {
            add(root, &net, &member("b", "web", round)).unwrap();
            assert_eq!(last(&mut watch, "web"), Some(round));
        }
        std::thread::sleep(2 * TICK);
        assert_eq!(last(&mut watch, "web"), Some(49));
        assert!(watch.directories[0].seen.is_some(), "nothing is read again");
        add(root, &net, &member("b", "api", 3)).unwrap();
        assert_eq!((last(&mut watch, "web"), last(&mut watch, "api")), (None, Some(3)));
        members::remove(root, &net, &member("b", "", 0).id).unwrap();
        assert_eq!((last(&mut watch, "api"), last(&mut watch, "me")), (None, Some(2)));
        fs::remove_dir_all(members::directory(root, &net)).unwrap();
        assert_eq!(last(&mut watch, "me"), None);
        add(root, &net, &member("c", "new", 4)).unwrap();
        assert_eq!(last(&mut watch, "new"), Some(4));
    }

    #[test]
    fn links_are_ones_own_and_follow_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (root, net) = (dir.path(), "front".parse::<Name>().unwrap());
        let mut me = member("a", "me", 2);
        let plan = NamesPlan {
            exec_root: root.to_owned(),
            container: me.id.clone(),
            networks: vec![net.clone()],
            forwards: true,
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 0,
            listed: None,
        };
        let mut watch = Watch::new(&plan);
        let other = member("b", "db", 3);
        add(root, &net, &other).unwrap();
        let target = Some(other.id.clone());
        me.links.push(PrivateName { alias: "store".into(), target, source: other.name.clone() });
        add(root, &net, &me).unwrap();
        assert_eq!(last(&mut watch, "store"), Some(3));
        me.links.clear();
        add(root, &net, &me).unwrap();
        assert_eq!(last(&mut watch, "store"), None);
    }
}
