//! The facts that [`super::compare()`] looks at.

use std::collections::BTreeSet;
use std::io;

use rcnt_base::sys::netlink::Family;

use super::{Facts, Inside, Recorded, forwarding_from, forwarding_name};
use crate::apply::{self, shape};
use crate::facts::{self, Link, Route};
use crate::neighbours;
use crate::rules;
use crate::socket::Socket;
use crate::sysctl::ProcSys;

/// Reads what there is.
pub(super) fn read(recorded: &Recorded<'_>, sysctls: &ProcSys) -> io::Result<Facts> {
    let mut facts = Facts {
        links: facts::read_links()?,
        addresses: facts::read_addresses()?,
        ..Facts::default()
    };
    let mut names: Vec<String> = [false, true].map(|v6| forwarding_name(v6).to_owned()).to_vec();
    facts.uplinks = uplinks(&facts.links)?;
    let bridges = recorded.bridges.iter().map(|bridge| &bridge.interface);
    names.extend(bridges.chain(&facts.uplinks).map(|interface| forwarding_from(interface)));
    for bridge in recorded.bridges {
        names.push(format!("net/ipv4/conf/{}/route_localnet", bridge.interface));
        names.push(format!("net/ipv6/conf/{}/disable_ipv6", bridge.interface));
        names.push(format!("net/ipv6/conf/{}/accept_ra", bridge.interface));
    }
    for name in names {
        // Absent with its bridge, or with IPv6.
        if let Ok(value) = sysctls.read(&name) {
            facts.settings.insert(name, value);
        }
    }
    for (plan, netns) in recorded.places {
        let end = &plan.endpoint;
        // Asked for only where there is to be one.
        let limit = |interface: &str, wanted: Option<u64>| match wanted {
            Some(_) => shape::read(&mut Socket::open(Family::Route)?, interface),
            None => Ok(None),
        };
        let into = limit(&end.host_interface, end.bandwidth.into)?;
        facts.inside.push(apply::look_inside(*netns, || {
            Ok(Inside {
                links: facts::read_links()?,
                addresses: facts::read_addresses()?,
                routes: facts::read_routes()?,
                limits: (into, limit(&end.interface, end.bandwidth.out)?),
            })
        })?);
    }
    if recorded.firewall {
        (facts.whole, facts.elements) = apply::ruleset::read_table(recorded.table)?;
        if facts.whole {
            facts.changed = apply::ruleset::changed_chains(recorded.table, &rules::BASE)?;
        }
        if recorded.places.iter().any(|(plan, _)| plan.endpoint.egress.is_some()) {
            (facts.lists, facts.guarded) = apply::egress::read(recorded.table)?;
            if facts.lists {
                let changed = apply::ruleset::changed_chains(recorded.table, &rules::LISTS)?;
                facts.changed.extend(changed);
            }
        }
        let bridges: Vec<&str> = recorded.bridges.iter().map(|b| b.interface.as_str()).collect();
        for drop in neighbours::read(recorded.table, &bridges)? {
            let door = apply::door::is_there(&drop)?;
            facts.drops.push((drop, door));
        }
    }
    Ok(facts)
}

/// Where answers to what containers send come in.
fn uplinks(links: &[Link]) -> io::Result<Vec<String>> {
    let routes = facts::read_routes()?;
    let is_default = |route: &&Route| route.prefix == 0 && route.destination.is_ipv4();
    let leads_to: BTreeSet<u32> = routes.iter().filter(is_default).filter_map(|r| r.link).collect();
    let named = links.iter().filter(|link| leads_to.contains(&link.index));
    Ok(named.map(|link| link.name.clone()).collect())
}
