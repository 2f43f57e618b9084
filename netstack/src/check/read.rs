//! The facts that [`super::compare()`] looks at.

use std::io;

use super::{Facts, Inside, Recorded, forwarding_name};
use crate::apply;
use crate::facts;
use crate::neighbours;
use crate::sysctl::ProcSys;

/// Reads what there is.
pub(super) fn read(recorded: &Recorded<'_>, sysctls: &ProcSys) -> io::Result<Facts> {
    let mut facts = Facts {
        links: facts::read_links()?,
        addresses: facts::read_addresses()?,
        ..Facts::default()
    };
    let mut names: Vec<String> = [false, true].map(|v6| forwarding_name(v6).to_owned()).to_vec();
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
    for (_, netns) in recorded.places {
        facts.inside.push(apply::look_inside(*netns, || {
            Ok(Inside {
                links: facts::read_links()?,
                addresses: facts::read_addresses()?,
                routes: facts::read_routes()?,
            })
        })?);
    }
    if recorded.firewall {
        (facts.whole, facts.elements) = apply::ruleset::read_table(recorded.table)?;
        let bridges: Vec<&str> = recorded.bridges.iter().map(|b| b.interface.as_str()).collect();
        for drop in neighbours::read(recorded.table, &bridges)? {
            let door = apply::door::is_there(&drop)?;
            facts.drops.push((drop, door));
        }
    }
    Ok(facts)
}
