//! The rulesets of others, as the kernel tells them.

use std::io;

use rcnt_base::sys::tables;

use super::{Firewall, ForwardDrop, Ruleset, dropped, legacy};
use crate::rules;
use crate::socket::with_netfilter;
use crate::wire::nft::{self, ChainFacts};
use crate::wire::{Malformed, abi};

/// NF_INET_FORWARD's place among the five hooks.
const FORWARD: usize = 2;

/// The chains that would drop what these bridges of ours forward, in order. `own` is
/// our table; those of other instances let through what is none of theirs.
///
/// # Errors
/// The kernel's reason.
pub fn read(own: &str, bridges: &[&str]) -> io::Result<Vec<ForwardDrop>> {
    let mut found = nftables(own, bridges)?;
    for ipv6 in [false, true] {
        found.extend(iptables_legacy(ipv6, bridges)?);
    }
    found.sort();
    Ok(found)
}

fn nftables(own: &str, bridges: &[&str]) -> io::Result<Vec<ForwardDrop>> {
    let chains = with_netfilter(|socket| {
        socket.dump(
            |requests| {
                nft::dump_chains(requests);
            },
            |message| nft::read_chain(message).map(Some).map_err(invalid),
        )
    })?;
    let of_rcnt = |base: &ChainFacts| {
        base.family == abi::NFPROTO_INET
            && (base.table == own
                || chains.iter().any(|chain| {
                    chain.family == base.family
                        && chain.table == base.table
                        && rules::BASE.is_mark(&chain.name)
                }))
    };
    let mut found = Vec::new();
    for base in chains.iter().filter(|chain| chain.hook == Some(abi::NF_INET_FORWARD)) {
        let Some(family) = family(base.family).filter(|_| !of_rcnt(base)) else { continue };
        let ruleset = rules_of(base)?;
        let policy_drops = base.policy == Some(abi::NF_DROP);
        let drops = dropped(&ruleset, &base.name, policy_drops, bridges);
        found.extend(drops.map(|(rule_of, bridges)| ForwardDrop {
            firewall: Firewall::Nftables { family, table: base.table.clone() },
            chain: base.name.clone(),
            rule_of,
            bridges: bridges.into_iter().map(str::to_owned).collect(),
        }));
    }
    Ok(found)
}

/// The name of a family whose FORWARD hook routed packets pass.
fn family(number: u8) -> Option<&'static str> {
    match number {
        abi::NFPROTO_IPV4 => Some("ip"),
        abi::NFPROTO_IPV6 => Some("ip6"),
        abi::NFPROTO_INET => Some("inet"),
        _ => None,
    }
}

/// Every rule of a chain's table.
fn rules_of(base: &ChainFacts) -> io::Result<Ruleset> {
    let rules = with_netfilter(|socket| {
        socket.dump(
            |requests| {
                nft::dump_table_rules(requests, base.family, &base.table);
            },
            |message| nft::read_foreign(message).map(Some).map_err(invalid),
        )
    })?;
    let mut ruleset = Ruleset::default();
    for (chain, rule) in rules {
        ruleset.chains.entry(chain).or_default().push(rule);
    }
    Ok(ruleset)
}

fn iptables_legacy(ipv6: bool, bridges: &[&str]) -> io::Result<Option<ForwardDrop>> {
    let names = if ipv6 { "ip6_tables_names" } else { "ip_tables_names" };
    // Absent where nobody has ever used it.
    let names = std::fs::read_to_string(format!("/proc/thread-self/net/{names}"));
    if !names.unwrap_or_default().lines().any(|name| name == "filter") {
        return Ok(None);
    }
    let table = tables::read(ipv6, "filter")?;
    let [forward, policy] = [table.hooks, table.policies]
        .map(|places| usize::try_from(places[FORWARD]).unwrap_or(usize::MAX));
    let places = legacy::Places { forward, policy };
    let (ruleset, policy_drops) =
        legacy::parse(ipv6, &table.entries, places).ok_or_else(|| invalid(Malformed))?;
    let drops = dropped(&ruleset, legacy::FORWARD, policy_drops, bridges);
    Ok(drops.map(|(rule_of, bridges)| ForwardDrop {
        firewall: Firewall::Legacy { ipv6 },
        chain: legacy::FORWARD.to_owned(),
        rule_of,
        bridges: bridges.into_iter().map(str::to_owned).collect(),
    }))
}

fn invalid(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
