//! The network `bridge`: read without a lock, decided and written under one,
//! so that of two first commands one decides and the other reads.

use std::io;

use rcnt_base::ids::Name;
use rcnt_base::roots::Roots;
use time::OffsetDateTime;

use super::choose::{Given, decide};
use super::config::BridgeConfig;
use super::files::{self, Stored, is_in_use, random};
use super::subnets::recheck;
use super::types::{Kind, Network};
use super::used::{HostNetFacts, NetworkWarning};
use crate::cidr::{IpNet, Ipv4Net, Ipv6Net};
use crate::facts::Link;

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// `bip`, `fixed-cidr` or the bridge's address leaves no room for gateway and containers.
    #[error("{0} cannot be the bridge's address: not a host address in a block of at most /30")]
    Bip(Ipv4Net),
    /// `fixed-cidr` outside the subnet.
    #[error("fixed-cidr {range} is not within the bridge's subnet {subnet}")]
    FixedCidr {
        /// As configured.
        range: IpNet,
        /// The bridge's.
        subnet: IpNet,
    },
    /// `fixed-cidr-v6` is of the wrong kind or too small.
    #[error("fixed-cidr-v6 {subnet} cannot be used: not a unicast prefix of at most /{bits}")]
    Subnet6 {
        /// As configured.
        subnet: Ipv6Net,
        /// Longest usable prefix.
        bits: u8,
    },
    /// IPv6 asked for, but not there.
    #[error("IPv6 is configured for the bridge, but this kernel runs without it")]
    NoIpv6,
    /// `mtu` no interface can have.
    #[error("mtu {mtu} is out of range: {least} to 65535")]
    Mtu {
        /// As configured.
        mtu: u32,
        /// The least.
        least: u32,
    },
    /// `bridge` is no interface name.
    #[error("invalid interface name \"{0}\": 1 to 15 bytes without '/', ':' and spaces")]
    InterfaceName(String),
    /// `bridge` names an interface that is no bridge.
    #[error("interface {0} is no bridge")]
    NoBridge(String),
    /// `bridge` names another instance's bridge.
    #[error("bridge {interface} belongs to another rcnt instance ({alias})")]
    OthersBridge {
        /// The interface.
        interface: String,
        /// Its alias.
        alias: String,
    },
    /// Every `rcntN` is taken.
    #[error("no free interface name rcntN")]
    NoInterface,
    /// Every candidate overlaps something.
    #[error(
        "no free private address range for the bridge: all overlap the host's routes, addresses or \
         name servers; set bip or default-address-pools in the configuration"
    )]
    NoSubnet,
    /// `default-gateway` outside the subnet.
    #[error("default gateway {gateway} is not within the bridge's subnet")]
    DefaultGateway {
        /// As configured.
        gateway: std::net::IpAddr,
    },
    /// A name that cannot be a network's.
    #[error(transparent)]
    Name(#[from] rcnt_base::ids::IdError),
    /// The host's network cannot be read.
    #[error("cannot read the host's network")]
    Facts(#[source] io::Error),
    /// The directory of networks.
    #[error("cannot list the networks")]
    List(#[source] io::Error),
    /// The network's file cannot be read or written.
    #[error("cannot keep network {0}")]
    Files(Name, #[source] io::Error),
}

/// How to look at the host; each is called only when needed.
pub struct Host<'a> {
    /// One interface by name; cheap, called on every start.
    pub link: &'a dyn Fn(&str) -> io::Result<Option<Link>>,
    /// Everything; only when something is to be decided or the bridge is to be made.
    pub facts: &'a dyn Fn() -> io::Result<HostNetFacts>,
}

impl std::fmt::Debug for Host<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Host")
    }
}

/// The default network, and what to say or do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The network as stored.
    pub network: Network,
    /// To be shown to the user.
    pub warnings: Vec<NetworkWarning>,
    /// The network it takes the place of; its bridge, if it is there, is to be removed.
    pub replaces: Option<Network>,
}

/// The alias that marks the interfaces of the instance with this exec root.
pub(super) fn alias(roots: &Roots) -> String {
    // IFALIASZ, linux/if.h: 255 bytes and a zero.
    let alias = format!("rcnt:{}", roots.exec.display());
    if alias.len() <= 255 { alias } else { format!("rcnt:{}", roots.instance()) }
}

/// The network `bridge` of this instance: as stored, or decided now and stored.
///
/// # Errors
/// A configuration that cannot be, no free range, or files that cannot be kept.
pub fn default_network(
    roots: &Roots,
    config: &BridgeConfig,
    host: &Host<'_>,
) -> Result<Decision, NetworkError> {
    let store = Store { name: "bridge".parse()?, alias: alias(roots), roots, config, host };
    if let Some(stored) = files::read(roots, &store.name)?
        && let Some(decision) = store.still_good(&stored)?
    {
        return Ok(decision);
    }
    store.decide_locked()
}

struct Store<'a> {
    name: Name,
    alias: String,
    roots: &'a Roots,
    config: &'a BridgeConfig,
    host: &'a Host<'a>,
}

impl Store<'_> {
    /// The stored network, when nothing asks for another; the usual case, and the fast one.
    fn still_good(&self, stored: &Stored) -> Result<Option<Decision>, NetworkError> {
        let Stored { network, config, .. } = stored;
        let Some(bridge) = network.bridge() else { return Ok(None) };
        if config.as_ref() != Some(self.config) || bridge.alias != self.alias {
            return Ok(None);
        }
        let link = (self.host.link)(&bridge.interface).map_err(NetworkError::Facts)?;
        let ours = link.is_some_and(|link| {
            self.config.bridge.is_some() || link.alias.as_deref() == Some(self.alias.as_str())
        });
        let decision = Decision { network: network.clone(), warnings: Vec::new(), replaces: None };
        Ok(ours.then_some(decision))
    }

    /// First use, first use since boot, or a changed configuration.
    fn decide_locked(&self) -> Result<Decision, NetworkError> {
        let _lock = files::lock(self.roots, &self.name)?;
        // Another command may have decided while this one waited.
        let stored = files::read(self.roots, &self.name)?;
        if let Some(stored) = &stored
            && let Some(decision) = self.still_good(stored)?
        {
            return Ok(decision);
        }
        let facts = (self.host.facts)().map_err(NetworkError::Facts)?;
        let mut others = files::stored(self.roots)?;
        others.retain(|network| network.name != self.name);
        let given = Given {
            name: &self.name,
            alias: &self.alias,
            config: self.config,
            facts: &facts,
            others: &others,
        };
        let (decision, changed) = match stored {
            None => (fresh(&given)?, true),
            Some(stored) => self.revise(stored, &given)?,
        };
        let pending = decision.warnings.iter().any(|w| matches!(w, NetworkWarning::Pending { .. }));
        if changed && !pending {
            let stored = Stored::new(decision.network.clone(), Some(self.config.clone()));
            files::write(self.roots, &stored)?;
        }
        Ok(decision)
    }

    /// The stored network, changed as little as facts and configuration allow.
    fn revise(&self, stored: Stored, given: &Given<'_>) -> Result<(Decision, bool), NetworkError> {
        let Stored { mut network, config, .. } = stored;
        let in_use = is_in_use(self.roots, &self.name);
        let alias_changed = network.bridge().is_none_or(|bridge| bridge.alias != self.alias);
        let moved = config.as_ref() != Some(self.config) || alias_changed;
        let warnings = recheck(&network, given.facts);
        if moved && in_use {
            let pending = NetworkWarning::Pending { network: self.name.clone() };
            return Ok((Decision { network, warnings: vec![pending], replaces: None }, false));
        }
        // A range of our own choice that something else took while our bridge was away.
        let chosen =
            config.is_some_and(|c| c.bip.is_none() && c.fixed_cidr.is_none() && c.bridge.is_none());
        if moved || (!warnings.is_empty() && chosen && !in_use) {
            let mut decision = fresh(given)?;
            decision.network.id.clone_from(&network.id);
            decision.network.created = network.created;
            decision.replaces = Some(network);
            return Ok((decision, true));
        }
        let mut renamed = false;
        if let Kind::Bridge(bridge) = &mut network.kind {
            let interface = given.choose_interface(Some(&bridge.interface))?;
            renamed = interface != bridge.interface;
            bridge.interface = interface;
            network.options = super::choose::default_options(bridge);
        }
        Ok((Decision { network, warnings, replaces: None }, renamed))
    }
}

fn fresh(given: &Given<'_>) -> Result<Decision, NetworkError> {
    let network = decide(given, OffsetDateTime::now_utc(), random()?)?;
    // bip or fixed-cidr may lie on top of something: the user's word goes, but with a warning.
    let warnings = recheck(&network, given.facts);
    Ok(Decision { network, warnings, replaces: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcnt_base::files::{Durability, create_dirs};
    use std::cell::Cell;

    struct Fixture {
        dir: tempfile::TempDir,
        facts_read: Cell<u32>,
    }

    impl Fixture {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), facts_read: Cell::new(0) }
        }

        fn roots(&self) -> Roots {
            Roots { data: self.dir.path().join("data"), exec: self.dir.path().join("exec") }
        }

        fn get(&self, config: &BridgeConfig, facts: &HostNetFacts) -> Decision {
            let host = Host {
                link: &|name| Ok(facts.links.iter().find(|l| l.name == name).cloned()),
                facts: &|| {
                    self.facts_read.set(self.facts_read.get() + 1);
                    Ok(facts.clone())
                },
            };
            default_network(&self.roots(), config, &host).unwrap()
        }

        fn lease(&self) {
            let dir = self.roots().exec.join("networks/bridge/ip");
            create_dirs(&dir).unwrap();
            std::fs::File::create(dir.join("10.90.0.2")).unwrap();
        }
    }

    fn subnet(network: &Network) -> String {
        network.addresses.as_ref().unwrap().subnet4.to_string()
    }

    fn with_bridge(network: &Network) -> HostNetFacts {
        let bridge = network.bridge().unwrap();
        let link = Link {
            index: 9,
            name: bridge.interface.clone(),
            alias: Some(bridge.alias.clone()),
            kind: Some("bridge".into()),
            mac: None,
            mtu: 1500,
            up: true,
            master: None,
        };
        HostNetFacts { links: vec![link], ..Default::default() }
    }

    fn taken(net: &str) -> crate::facts::Route {
        let net: Ipv4Net = net.parse().unwrap();
        crate::facts::Route {
            destination: net.network().into(),
            prefix: net.prefix(),
            gateway: None,
            link: Some(77),
            table: 254,
        }
    }

    #[test]
    fn the_first_decides_and_later_starts_read_no_facts() {
        let fixture = Fixture::new();
        let config = BridgeConfig::default();
        let first = fixture.get(&config, &HostNetFacts::default());
        assert_eq!(first.warnings, []);
        let facts = with_bridge(&first.network);
        assert_eq!(fixture.get(&config, &facts), first);
        assert_eq!(fixture.facts_read.get(), 1);
    }

    #[test]
    fn two_first_commands_agree() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { data: dir.path().join("d"), exec: dir.path().join("e") };
        let ids: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let host =
                            Host { link: &|_| Ok(None), facts: &|| Ok(HostNetFacts::default()) };
                        let config = BridgeConfig::default();
                        default_network(&roots, &config, &host).unwrap().network.id
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(ids.len(), 1);
    }

    #[test]
    fn a_range_taken_meanwhile_is_changed_unless_in_use() {
        let fixture = Fixture::new();
        let config = BridgeConfig::default();
        let first = fixture.get(&config, &HostNetFacts::default()).network;
        let vpn = HostNetFacts { routes: vec![taken("10.90.0.0/20")], ..Default::default() };
        let second = fixture.get(&config, &vpn);
        assert_eq!(subnet(&second.network), "10.90.16.0/21");
        assert_eq!(second.replaces, Some(first));
        fixture.lease();
        let vpn = HostNetFacts { routes: vec![taken("10.90.0.0/16")], ..Default::default() };
        let third = fixture.get(&config, &vpn);
        assert_eq!(third.network, second.network);
        assert_eq!(third.warnings.len(), 1);
    }

    #[test]
    fn a_new_configuration_waits_for_containers() {
        let fixture = Fixture::new();
        let first = fixture.get(&BridgeConfig::default(), &HostNetFacts::default()).network;
        let config =
            BridgeConfig { bip: Some("10.7.0.1/24".parse().unwrap()), ..Default::default() };
        fixture.lease();
        let waiting = fixture.get(&config, &with_bridge(&first));
        assert_eq!(waiting.network, first);
        assert!(matches!(waiting.warnings[..], [NetworkWarning::Pending { .. }]));
        std::fs::remove_dir_all(fixture.roots().exec).unwrap();
        let now = fixture.get(&config, &with_bridge(&first));
        assert_eq!(subnet(&now.network), "10.7.0.0/24");
        assert_eq!(now.network.id, first.id);
        assert_eq!(subnet(&now.replaces.unwrap()), subnet(&first));
    }

    #[test]
    fn an_interface_taken_meanwhile_is_renamed() {
        let fixture = Fixture::new();
        let config = BridgeConfig::default();
        let first = fixture.get(&config, &HostNetFacts::default()).network;
        let mut other = first.clone();
        if let Kind::Bridge(bridge) = &mut other.kind {
            bridge.alias = "rcnt:/elsewhere".into();
        }
        let second = fixture.get(&config, &with_bridge(&other)).network;
        assert_eq!(second.bridge().unwrap().interface, "rcnt1");
        assert_eq!(subnet(&second), subnet(&first));
        // And stays, though rcnt0 is free again.
        assert_eq!(fixture.get(&config, &HostNetFacts::default()).network, second);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let fixture = Fixture::new();
        let roots = fixture.roots();
        create_dirs(&roots.data.join("networks")).unwrap();
        let path = roots.data.join("networks/bridge.json");
        rcnt_base::files::write_atomic(&path, b"{}", Durability::Volatile).unwrap();
        let host = Host { link: &|_| Ok(None), facts: &|| Ok(HostNetFacts::default()) };
        let error = default_network(&roots, &BridgeConfig::default(), &host).unwrap_err();
        assert!(rcnt_base::report::chain(&error).contains("bridge.json is damaged"));
    }
}
