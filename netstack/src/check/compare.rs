//! What is recorded against what was found. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Facts, Finding, Inside, Mend, Recorded, Subject, forwarding_from, forwarding_name};
use crate::bandwidth::Bandwidth;
use crate::facts::Link;
use crate::plan::{BridgePlan, NetworkPlan};
use crate::rules::{self, Entry};

/// Findings in the order in which they can be mended.
pub(super) fn compare(recorded: &Recorded<'_>, facts: &Facts) -> Vec<(Finding, Mend)> {
    let mut found = Findings(Vec::new());
    for (n, bridge) in recorded.bridges.iter().enumerate() {
        bridge_drift(&mut found, recorded, facts, n, bridge);
    }
    forwarding(&mut found, recorded, facts);
    for (n, (plan, _)) in recorded.places.iter().enumerate() {
        let inside = facts.inside.get(n);
        place_drift(&mut found, facts, inside, n, plan);
    }
    if recorded.firewall {
        rules_drift(&mut found, recorded, facts);
        for (drop, door) in &facts.drops {
            let mend = if *door { Mend::Door(drop.clone()) } else { Mend::Nothing };
            found.note(Subject::Host, mend, drop.advice());
        }
    }
    found.0
}

struct Findings(Vec<(Finding, Mend)>);

impl Findings {
    fn note(&mut self, subject: Subject, mend: Mend, what: String) {
        self.0.push((Finding { subject, what, mended: false }, mend));
    }
}

fn link<'a>(links: &'a [Link], name: &str) -> Option<&'a Link> {
    links.iter().find(|link| link.name == name)
}

fn bridge_drift(
    found: &mut Findings,
    recorded: &Recorded<'_>,
    facts: &Facts,
    n: usize,
    bridge: &BridgePlan,
) {
    let name = &bridge.interface;
    let mut note = |what: String| found.note(Subject::Bridge(name.clone()), Mend::Bridge(n), what);
    let mut bridges = recorded.places.iter().filter_map(|(plan, _)| plan.wire.bridge());
    let used = bridges.any(|bridge| bridge.interface == *name);
    let Some(there) = link(&facts.links, name) else {
        // One without containers is made by the first.
        if used {
            note(format!("bridge {name} is gone"));
        }
        return;
    };
    if !there.up {
        note(format!("bridge {name} is down"));
    }
    let own: Vec<IpAddr> =
        facts.addresses.iter().filter(|a| a.link == there.index).map(|a| a.address).collect();
    let families = [Some(IpAddr::V4(bridge.address4.0)), bridge.address6.map(|a| a.0.into())];
    for address in families.into_iter().flatten() {
        let wanted = bridge.policy.host_address(address.is_ipv6());
        if wanted && !own.contains(&address) {
            note(format!("bridge {name} has lost its address {address}"));
        }
    }
    let disable = if bridge.address6.is_some() { "0" } else { "1" };
    for (setting, wanted) in [
        (format!("net/ipv4/conf/{name}/route_localnet"), "1"),
        (format!("net/ipv6/conf/{name}/disable_ipv6"), disable),
        (format!("net/ipv6/conf/{name}/accept_ra"), "0"),
    ] {
        if let Some(value) = facts.settings.get(&setting).filter(|value| *value != wanted) {
            note(format!("kernel setting {setting} is {value}, not {wanted}"));
        }
    }
}

fn forwarding(found: &mut Findings, recorded: &Recorded<'_>, facts: &Facts) {
    for ipv6 in [false, true] {
        let needed = recorded.places.iter().any(|(plan, _)| {
            let routed = plan.wire.bridge().filter(|bridge| !bridge.policy.internal);
            plan.host.ip_forward && routed.is_some_and(|b| !ipv6 || b.address6.is_some())
        });
        let name = forwarding_name(ipv6);
        let value = facts.settings.get(name).filter(|value| *value != "1");
        if let Some(value) = value.filter(|_| needed) {
            let what = format!("kernel setting {name} is {value}, not 1");
            found.note(Subject::Host, Mend::Forwarding(ipv6), what);
        }
    }
    // Switching all of it on reaches every interface.
    if facts.settings.get(forwarding_name(false)).is_none_or(|value| value == "1") {
        forwarding_from_each(found, recorded, facts);
    }
}

/// With `ip_forward` on, an interface whose own switch is off forwards nothing all the
/// same: not what containers send (the bridge), not what they get (the uplinks).
fn forwarding_from_each(found: &mut Findings, recorded: &Recorded<'_>, facts: &Facts) {
    let forwarding = recorded.places.iter().filter(|(plan, _)| plan.host.ip_forward);
    let routed: BTreeSet<&String> = forwarding
        .filter_map(|(plan, _)| plan.wire.bridge())
        .filter(|bridge| !bridge.policy.internal)
        .map(|bridge| &bridge.interface)
        .collect();
    let uplinks = facts.uplinks.iter().filter(|_| !routed.is_empty());
    for interface in routed.iter().copied().chain(uplinks) {
        let name = forwarding_from(interface);
        let Some(value) = facts.settings.get(&name).filter(|value| *value != "1") else { continue };
        let subject = match routed.contains(interface) {
            true => Subject::Bridge(interface.clone()),
            false => Subject::Host,
        };
        let what = format!("kernel setting {name} is {value}, not 1");
        found.note(subject, Mend::ForwardingFrom(interface.clone()), what);
    }
}

fn place_drift(
    found: &mut Findings,
    facts: &Facts,
    inside: Option<&Inside>,
    n: usize,
    plan: &NetworkPlan,
) {
    let end = &plan.endpoint;
    let subject = Subject::Container(plan.owner_name.clone());
    if let Some(bridge) = plan.wire.bridge().map(|bridge| &bridge.interface) {
        let Some(host) = link(&facts.links, &end.host_interface) else {
            let what = format!("its link {} to bridge {bridge} is gone", end.host_interface);
            return found.note(subject, Mend::Attach(n), what);
        };
        let master = link(&facts.links, bridge).map(|link| link.index);
        if host.master != master || master.is_none() {
            let what = format!("{} is not in bridge {bridge}", end.host_interface);
            found.note(subject.clone(), Mend::Replug(n), what);
        } else if !host.up {
            let what = format!("{} is down", end.host_interface);
            found.note(subject.clone(), Mend::Replug(n), what);
        }
    }
    let Some(inside) = inside else { return };
    let Some(own) = link(&inside.links, &end.interface) else {
        let what = format!("{} is not inside", end.interface);
        return found.note(subject, Mend::Attach(n), what);
    };
    let mut note = |what: String| found.note(subject.clone(), Mend::Inside(n), what);
    if !own.up {
        note(format!("{} is down inside", end.interface));
    }
    let addresses = [Some(IpAddr::V4(end.address4.0)), end.address6.map(|a| a.0.into())];
    for address in addresses.into_iter().flatten() {
        let there = inside.addresses.iter().any(|a| a.link == own.index && a.address == address);
        if !there {
            note(format!("{} has lost its address {address} inside", end.interface));
        }
    }
    let gateways = [end.gateway4.map(IpAddr::V4), end.gateway6.map(IpAddr::V6)];
    for gateway in gateways.into_iter().flatten() {
        let there = |r: &crate::facts::Route| r.prefix == 0 && r.gateway == Some(gateway);
        if !inside.routes.iter().any(there) {
            note(format!("the default route via {gateway} is gone inside"));
        }
    }
    let Bandwidth { into, out } = end.bandwidth;
    for (way, wanted, found_rate) in [("in", into, inside.limits.0), ("out", out, inside.limits.1)]
    {
        // In bytes, as the kernel counts.
        if wanted.is_some_and(|bits| found_rate != Some(bits / 8)) {
            let what = format!("its bandwidth {way} is not limited as it shall be");
            found.note(subject.clone(), Mend::Limit(n), what);
        }
    }
}

fn rules_drift(found: &mut Findings, recorded: &Recorded<'_>, facts: &Facts) {
    if !recorded.places.iter().any(|(plan, _)| plan.wire.bridge().is_some()) {
        return;
    }
    if !facts.whole {
        let what = format!("the rules of nftables table inet {} are not whole", recorded.table);
        found.note(Subject::Host, Mend::Rules, what);
    }
    for chain in &facts.changed {
        let table = recorded.table;
        let what = format!("chain {chain} of nftables table inet {table} is not as declared");
        found.note(Subject::Host, Mend::Rules, what);
    }
    lists_drift(found, recorded, facts);
    let expected = expected(recorded);
    for (subject, entry) in &expected {
        let there = facts.elements.iter().any(|found| same(found, entry));
        if !there {
            let what = format!("an element of {} is missing or leads elsewhere", describe(entry));
            found.note(subject.clone(), Mend::Rules, what);
        }
    }
    // Bridges of networks that nobody is on may be there or not.
    let idle: Vec<Entry> = recorded.bridges.iter().flat_map(rules::bridge_entries).collect();
    for entry in &facts.elements {
        let known = |e: &Entry| e.0 == entry.0 && e.1.key == entry.1.key;
        let wanted = expected.iter().any(|(_, e)| known(e)) || idle.iter().any(known);
        // Links are the engine's to judge.
        if !wanted && !rules::is_link(entry) && !is_learned(recorded, entry) {
            let what = format!("{} leads to nobody", describe(entry));
            found.note(Subject::Host, Mend::Surplus(entry.clone()), what);
        }
    }
}

/// The rules of egress lists, where somebody has one.
fn lists_drift(found: &mut Findings, recorded: &Recorded<'_>, facts: &Facts) {
    let confined: Vec<&NetworkPlan> =
        recorded.places.iter().map(|(p, _)| p).filter(|p| p.endpoint.egress.is_some()).collect();
    if !confined.is_empty() && !facts.lists {
        let what = format!(
            "the egress lists' rules of nftables table inet {} are not whole",
            recorded.table
        );
        found.note(Subject::Host, Mend::Rules, what);
    }
    for plan in confined {
        let wire = &plan.endpoint.host_interface;
        if !facts.guarded.contains(wire) {
            let what = format!("{wire} lets in what is not from its own addresses");
            found.note(Subject::Container(plan.owner_name.clone()), Mend::Rules, what);
        }
    }
}

/// Whether it is what a confined container's resolver has learned: not recorded.
fn is_learned(recorded: &Recorded<'_>, entry: &Entry) -> bool {
    let mut places = recorded.places.iter();
    rules::is_learned(entry) && places.any(|(plan, _)| rules::concerns(entry, &plan.undo()))
}

/// Every element there should be, and whose it is.
fn expected(recorded: &Recorded<'_>) -> Vec<(Subject, Entry)> {
    let mut all: Vec<(Subject, Entry)> = Vec::new();
    for ipv6 in recorded.fenced {
        all.push((Subject::Host, rules::fence_entry(*ipv6)));
    }
    for (plan, _) in recorded.places {
        let Some(bridge) = plan.wire.bridge() else { continue };
        let subject = Subject::Bridge(bridge.interface.clone());
        for entry in rules::bridge_entries(bridge) {
            if !all.iter().any(|(_, e)| *e == entry) {
                all.push((subject.clone(), entry));
            }
        }
        let subject = Subject::Container(plan.owner_name.clone());
        let ports = rules::port_entries(&plan.undo(), &plan.published, "");
        all.extend(ports.into_iter().map(|(_, entry)| (subject.clone(), entry)));
        all.extend(rules::list_entries(plan, "").into_iter().map(|e| (subject.clone(), e)));
    }
    all
}

/// The same key and target; comments are for people.
fn same(a: &Entry, b: &Entry) -> bool {
    let key = |e: &Entry| (e.0, e.1.key.clone(), e.1.key_end.clone());
    key(a) == key(b) && a.1.data == b.1.data
}

fn describe((set, element): &Entry) -> String {
    match element.comment.as_deref().map(str::trim).filter(|comment| !comment.is_empty()) {
        Some(comment) => format!("set {set}, {comment}"),
        None => format!("set {set}"),
    }
}
