//! The host's interface that a macvlan or ipvlan network hangs on. Pure.

use super::choose::{check_interface_name, choose_mtu};
use super::driver_options::ParentOptions;
use super::options::{IpvlanMode, MacvlanMode};
use super::types::{Kind, Network, Parent, ParentMaking};
use super::wish::{CreateError, Surroundings};
use crate::facts::Link;

/// Who wants a parent, as far as its other users mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    Macvlan(MacvlanMode),
    Ipvlan(IpvlanMode),
}

impl From<MacvlanMode> for Claim {
    fn from(mode: MacvlanMode) -> Self {
        Self::Macvlan(mode)
    }
}

impl From<IpvlanMode> for Claim {
    fn from(mode: IpvlanMode) -> Self {
        Self::Ipvlan(mode)
    }
}

impl Network {
    /// The parent interface of a macvlan or ipvlan network.
    pub fn parent(&self) -> Option<&Parent> {
        match &self.kind {
            Kind::Macvlan(macvlan) => Some(&macvlan.parent),
            Kind::Ipvlan(ipvlan) => Some(&ipvlan.parent),
            Kind::Bridge(_) | Kind::Host | Kind::None => None,
        }
    }
}

fn refuse<T>(why: String) -> Result<T, CreateError> {
    Err(CreateError::Parent(why))
}

/// The parent that `wanted` names, and whether it leads nowhere: then the network is internal.
///
/// # Errors
/// An interface that is not there, or cannot be shared as wanted.
pub(super) fn decide_parent(
    wanted: &ParentOptions,
    claim: Claim,
    id: &str,
    around: &Surroundings<'_>,
) -> Result<(Parent, bool), CreateError> {
    let parent = match (&wanted.interface, wanted.vlan) {
        (None, None) => {
            // docker's name for it.
            let interface = format!("dm-{}", id.get(..12).unwrap_or(id));
            return Ok((isolated(interface, around.alias), true));
        }
        (None, Some(_)) => return refuse("option vlan needs option parent".to_owned()),
        (Some(name), Some(tag)) => vlan(name, tag, around)?,
        (Some(name), None) => plain(name, around)?,
    };
    share(&parent, claim, around)?;
    Ok((parent, false))
}

/// An MTU that was asked for, which may not be more than the parent's.
///
/// # Errors
/// No interface can have it, or none of this parent's.
pub(super) fn check_mtu(
    mtu: Option<u32>,
    parent: &Parent,
    ipv6: bool,
    around: &Surroundings<'_>,
) -> Result<(), CreateError> {
    let Some(mtu) = mtu else { return Ok(()) };
    choose_mtu(Some(mtu), around.facts, ipv6)?;
    let lower = match &parent.made {
        ParentMaking::Vlan { link, .. } => link,
        ParentMaking::Host | ParentMaking::Isolated => &parent.interface,
    };
    match link(lower, around).filter(|link| mtu > link.mtu) {
        Some(Link { mtu: most, .. }) => {
            refuse(format!("mtu {mtu} is more than parent interface {lower}'s, which is {most}"))
        }
        None => Ok(()),
    }
}

fn isolated(interface: String, alias: &str) -> Parent {
    Parent { interface, made: ParentMaking::Isolated, alias: alias.to_owned() }
}

fn link<'a>(name: &str, around: &Surroundings<'a>) -> Option<&'a Link> {
    around.facts.links.iter().find(|link| link.name == name)
}

/// An interface by its full name: one that is there, or `eth0.50` of an `eth0` that is.
fn plain(name: &str, around: &Surroundings<'_>) -> Result<Parent, CreateError> {
    check_interface_name(name)?;
    if let Some(link) = link(name, around) {
        usable(link)?;
        // Made by us for another network: made again for this one, too, after a boot.
        if let Some(other) =
            around.others.iter().filter_map(Network::parent).find(|p| p.interface == name)
        {
            return Ok(other.clone());
        }
        return Ok(Parent {
            interface: name.to_owned(),
            made: ParentMaking::Host,
            alias: around.alias.to_owned(),
        });
    }
    let tagged = name.rsplit_once('.');
    let tagged = tagged.and_then(|(link, tag)| Some((link, tag.parse::<u16>().ok()?)));
    match tagged {
        Some((link, tag)) if (1..=4094).contains(&tag) => vlan(link, tag, around),
        Some((_, tag)) => refuse(format!("invalid VLAN number {tag} of {name}: it is 1 to 4094")),
        None => refuse(format!("parent interface {name} does not exist")),
    }
}

/// The 802.1q sub-interface of `name`.
fn vlan(name: &str, tag: u16, around: &Surroundings<'_>) -> Result<Parent, CreateError> {
    let Some(lower) = link(name, around) else {
        return refuse(format!("parent interface {name} does not exist"));
    };
    if lower.index == LOOPBACK {
        return refuse(format!("parent interface {name} is the loopback"));
    }
    let interface = format!("{name}.{tag}");
    check_interface_name(&interface)?;
    if let Some(there) = link(&interface, around)
        && there.alias.as_deref() != Some(around.alias)
    {
        usable(there)?;
        let (made, alias) = (ParentMaking::Host, around.alias.to_owned());
        return Ok(Parent { interface, made, alias });
    }
    let made = ParentMaking::Vlan { link: name.to_owned(), tag };
    Ok(Parent { interface, made, alias: around.alias.to_owned() })
}

/// The kernel's number of `lo`.
const LOOPBACK: u32 = 1;

/// An interface has one receiver of its packets: a bridge it is a port of takes them all.
fn usable(link: &Link) -> Result<(), CreateError> {
    if link.index == LOOPBACK {
        return refuse(format!("parent interface {} is the loopback", link.name));
    }
    if link.master.is_some() {
        let name = &link.name;
        return refuse(format!("parent interface {name} is a port of a bridge: use the bridge"));
    }
    Ok(())
}

/// macvlan and ipvlan do not share an interface, and passthru shares with nobody.
fn share(parent: &Parent, claim: Claim, around: &Surroundings<'_>) -> Result<(), CreateError> {
    let name = &parent.interface;
    let users = around.others.iter().filter(|n| n.parent().is_some_and(|p| p.interface == *name));
    for user in users {
        let (driver, theirs) = match &user.kind {
            Kind::Macvlan(macvlan) => ("macvlan", Claim::Macvlan(macvlan.mode)),
            Kind::Ipvlan(ipvlan) => ("ipvlan", Claim::Ipvlan(ipvlan.mode)),
            _ => continue,
        };
        let network = &user.name;
        let passthru = Claim::Macvlan(MacvlanMode::Passthru);
        if claim == passthru {
            return refuse(format!(
                "cannot use mode passthru, {driver} network {network} is already using parent interface {name}"
            ));
        }
        if theirs == passthru {
            return refuse(format!(
                "macvlan network {network} is already using parent interface {name} in mode passthru"
            ));
        }
        let conflict = match (claim, theirs) {
            (Claim::Macvlan(_), Claim::Macvlan(_)) => false,
            // The parent's mode is that of all its ipvlan interfaces.
            (Claim::Ipvlan(ours), Claim::Ipvlan(theirs)) => ours != theirs,
            _ => true,
        };
        if conflict {
            return refuse(format!(
                "{driver} network {network} is already using parent interface {name}"
            ));
        }
    }
    Ok(())
}
