//! The names one container can ask for: who is on its networks, by all their
//! names. Plain data, made from [`crate::members`]; small, since every container
//! that asks has one.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The names of a container's networks, in the order in which they are asked.
#[derive(Debug, Default)]
pub(super) struct Zone {
    pub(super) networks: Vec<Network>,
    /// (hash of a name, network, person), by hash: a name costs 8 bytes here, not two strings.
    index: Vec<(u32, u16, u16)>,
    /// Domains that a resolver inside puts behind a name before it asks for the name
    /// itself; empty unless it was told to (`ndots`).
    search: Vec<String>,
}

/// One network and who is on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) name: String,
    pub(super) people: Vec<Person>,
    /// What this container alone calls others.
    pub(super) links: Vec<Nickname>,
}

/// A name for one other, by `--link`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Nickname {
    pub(super) alias: String,
    /// Whose: [`Person::key`], or, once that one is gone, who has its name.
    pub(super) key: u128,
    pub(super) source: String,
}

/// A container on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Person {
    /// The first half of its id.
    pub(super) key: u128,
    /// Its own name, then the others, a space between.
    pub(super) names: Box<str>,
    pub(super) v4: Option<Ipv4Addr>,
    pub(super) v6: Option<Ipv6Addr>,
    /// The state of the file this was read from.
    pub(super) stamp: Stamp,
}

/// Tells a file from its earlier self: inode, and seconds and nanoseconds of its time.
pub(super) type Stamp = (u64, i64, u32);

/// The addresses of a name; both lists may be empty for a name that exists.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) v4: Vec<Ipv4Addr>,
    pub(super) v6: Vec<Ipv6Addr>,
}

impl Person {
    fn own_name(&self) -> &str {
        self.names.split(' ').next().unwrap_or_default()
    }
}

impl Network {
    fn meant(&self, link: &Nickname) -> Option<&Person> {
        let by_key = self.people.iter().find(|person| person.key == link.key);
        by_key.or_else(|| self.people.iter().find(|person| person.own_name() == link.source))
    }
}

impl Addresses {
    fn add(&mut self, person: &Person) {
        self.v4.extend(person.v4);
        self.v6.extend(person.v6);
    }
}

fn hash(name: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    name.bytes().for_each(|byte| byte.to_ascii_lowercase().hash(&mut hasher));
    // Half of it: whoever collides is told apart by name.
    (hasher.finish() >> 32) as u32
}

impl Zone {
    /// What these networks know. `search` are the domains whose names may be a
    /// container's with the domain behind it.
    pub(super) fn new(networks: Vec<Network>, search: &[String]) -> Self {
        let mut index = Vec::new();
        for (n, network) in (0u16..).zip(&networks) {
            for (p, person) in (0u16..).zip(&network.people) {
                index.extend(person.names.split(' ').map(|name| (hash(name), n, p)));
            }
        }
        index.sort_unstable();
        // An alias that is also the name: once.
        index.dedup();
        index.shrink_to_fit();
        let search = search.iter().map(|d| d.trim_matches('.').to_ascii_lowercase());
        Self { networks, index, search: search.filter(|domain| !domain.is_empty()).collect() }
    }

    /// The addresses of `name` (small letters, no last dot); `None` when it is not ours.
    ///
    /// A name is found as it is, as `name.network`, and, for resolvers that put a search
    /// domain behind it first, without that domain: a container's name wins over
    /// whatever the domain's owner says (CVE-2025-8283).
    pub(super) fn find(&self, name: &str) -> Option<Addresses> {
        self.find_here(name).or_else(|| {
            let domains = self.search.iter();
            domains.filter_map(|domain| without(name, domain)).find_map(|name| self.find_here(name))
        })
    }

    fn find_here(&self, name: &str) -> Option<Addresses> {
        let all = || (0u16..).zip(&self.networks);
        // The first network that knows it; the next ones only for a family it lacks.
        let mut found: Option<Addresses> = None;
        let mut merge = |here: Option<Addresses>| {
            let Some(here) = here else { return };
            let sum = found.get_or_insert_default();
            if sum.v4.is_empty() {
                sum.v4 = here.v4;
            }
            if sum.v6.is_empty() {
                sum.v6 = here.v6;
            }
        };
        all().for_each(|(n, network)| merge(self.find_on(n, network, name)));
        if found.is_some() {
            return found;
        }
        all().find_map(|(n, network)| self.find_on(n, network, without(name, &network.name)?))
    }

    fn find_on(&self, number: u16, network: &Network, name: &str) -> Option<Addresses> {
        let mut found = Addresses::default();
        let linked = network.links.iter().filter(|link| link.alias.eq_ignore_ascii_case(name));
        let mut linked = linked.filter_map(|link| network.meant(link)).peekable();
        if linked.peek().is_some() {
            linked.for_each(|person| found.add(person));
            return Some(found);
        }
        let hash = hash(name);
        let first = self.index.partition_point(|entry| *entry < (hash, number, 0));
        let same = self.index.get(first..).unwrap_or_default().iter();
        let people = same
            .take_while(|(h, n, _)| (*h, *n) == (hash, number))
            .filter_map(|(_, _, p)| network.people.get(usize::from(*p)))
            .filter(|person| person.names.split(' ').any(|own| own.eq_ignore_ascii_case(name)));
        let before = people.map(|person| found.add(person)).count();
        (before > 0).then_some(found)
    }

    /// Whose address this is: `name.network`.
    pub(super) fn owner(&self, address: IpAddr) -> Option<String> {
        self.networks.iter().find_map(|network| {
            let is = |person: &&Person| match address {
                IpAddr::V4(v4) => person.v4 == Some(v4),
                IpAddr::V6(v6) => person.v6 == Some(v6),
            };
            let person = network.people.iter().find(is)?;
            Some(format!("{}.{}", person.own_name(), network.name))
        })
    }
}

/// `name` without `.domain` behind it, whatever the case of the domain.
fn without<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    let at = name.len().checked_sub(domain.len())?;
    let (front, back) = name.split_at_checked(at)?;
    let front = front.strip_suffix('.').filter(|front| !front.is_empty())?;
    back.eq_ignore_ascii_case(domain).then_some(front)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn person(key: u128, names: &str, last: u8, v6: bool) -> Person {
        Person {
            key,
            names: names.into(),
            v4: Some(Ipv4Addr::new(10, 90, 0, last)),
            v6: v6.then(|| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into())),
            stamp: (0, 0, 0),
        }
    }

    pub(in super::super) fn zone(search: &[String]) -> Zone {
        let front = Network {
            name: "Front".into(),
            people: vec![
                person(1, "web www api aaaaaaaaaaaa", 2, false),
                person(2, "DB api bbbbbbbbbbbb", 3, true),
            ],
            links: [
                ("store", 2, ""),
                ("web", 2, "web"),
                ("gone", 77, "nobody"),
                ("anew", 77, "DB"),
            ]
            .map(|(alias, key, source)| Nickname {
                alias: alias.into(),
                key,
                source: source.into(),
            })
            .to_vec(),
        };
        let back = Network {
            name: "back.end".into(),
            people: vec![
                person(1, "web aaaaaaaaaaaa", 12, true),
                person(3, "cache _my_cache-1", 13, false),
            ],
            links: Vec::new(),
        };
        Zone::new(vec![front, back], search)
    }

    fn v4(zone: &Zone, name: &str) -> Option<Vec<u8>> {
        zone.find(name).map(|found| found.v4.iter().map(|ip| ip.octets()[3]).collect())
    }

    #[test]
    fn everybody_is_found_by_all_names() {
        let zone = zone(&[]);
        assert_eq!(v4(&zone, "www"), Some(vec![2]));
        assert_eq!(v4(&zone, "db"), Some(vec![3]));
        assert_eq!(v4(&zone, "bbbbbbbbbbbb"), Some(vec![3]));
        assert_eq!(v4(&zone, "db.front"), Some(vec![3]));
        assert_eq!(v4(&zone, "cache.back.end"), Some(vec![13]));
        assert_eq!(v4(&zone, "cache"), Some(vec![13]));
        for strange in ["", ".", "nobody", "cache.front", "front", "web www", ".front", "gone"] {
            assert_eq!(zone.find(strange), None, "{strange:?}");
        }
    }

    #[test]
    fn an_alias_of_several_has_several_addresses() {
        let mut found = v4(&zone(&[]), "api").unwrap();
        found.sort_unstable();
        assert_eq!(found, [2, 3]);
    }

    #[test]
    fn the_first_network_counts_and_the_next_for_the_family_it_lacks() {
        let zone = zone(&[]);
        let found = zone.find("aaaaaaaaaaaa").unwrap();
        assert_eq!((found.v4[0].octets()[3], found.v4.len()), (2, 1));
        assert_eq!(found.v6, ["fd00::c".parse::<Ipv6Addr>().unwrap()]);
        assert_eq!(v4(&zone, "aaaaaaaaaaaa.back.end"), Some(vec![12]));
    }

    #[test]
    fn links_come_first() {
        let zone = zone(&[]);
        assert_eq!(v4(&zone, "store"), Some(vec![3]));
        assert_eq!(v4(&zone, "web.front"), Some(vec![3]));
        // Made anew under its name.
        assert_eq!(v4(&zone, "anew"), Some(vec![3]));
    }

    #[test]
    fn search_domains_lose_against_names() {
        assert_eq!(v4(&zone(&[]), "db.lan.test"), None);
        let zone = zone(&["LAN.test.".into(), ".".into()]);
        assert_eq!(v4(&zone, "db.lan.test"), Some(vec![3]));
        assert_eq!(v4(&zone, "cache.back.end.lan.test"), Some(vec![13]));
        assert_eq!(v4(&zone, "nobody.lan.test"), None);
    }

    #[test]
    fn addresses_have_an_owner() {
        let zone = zone(&[]);
        let owner = |ip: &str| zone.owner(ip.parse().unwrap());
        assert_eq!(owner("10.90.0.3").as_deref(), Some("DB.Front"));
        assert_eq!(owner("fd00::c").as_deref(), Some("web.back.end"));
        assert_eq!(owner("10.90.0.99"), None);
    }
}
