//! Egress lists in the table. Whoever has none costs nothing here.

use std::io;

use rustix::io::Errno;

use super::ruleset;
use crate::plan::{NetworkPlan, NetworkUndo};
use crate::rules::{self, Entry, LISTS};
use crate::wire::abi::NF_INET_INGRESS;
use crate::wire::nft::Expression;

/// Elements with a time to live may run out between a look and a change.
const ATTEMPTS: u32 = 8;

/// Confines the container's addresses, before it has them.
pub(super) fn confine(plan: &NetworkPlan) -> io::Result<()> {
    let entries = rules::list_entries(plan, &rules::comment(plan));
    if entries.is_empty() {
        return Ok(());
    }
    ruleset::change(&plan.table, &LISTS, |batch| {
        for (set, element) in &entries {
            batch.element(set, element);
        }
    })
}

/// Lets nothing in by the container's wire but what comes from its own addresses, when
/// there is the wire: nobody inside gets around the list by taking another address,
/// whatever his capabilities. The chain, named as the interface, goes with that.
pub(super) fn guard(plan: &NetworkPlan) -> io::Result<()> {
    if plan.endpoint.egress.is_none() {
        return Ok(());
    }
    let wire = &plan.endpoint.host_interface;
    let there = ruleset::read_chain(&plan.table, wire)?;
    if there.as_ref().is_some_and(|chain| chain.uses == 1) {
        // To write it anew would be a loss of rules to whoever watches for one.
        return Ok(());
    }
    ruleset::change(&plan.table, &LISTS, |batch| {
        batch.ingress_chain(wire, wire, 0);
        if there.is_some() {
            batch.flush_chain(wire);
        }
        batch.rule(wire, &[Expression::Jump("own")], &rules::comment(plan));
    })
}

/// Removes all that the table says of a confined container, learned or not, in one
/// transaction.
pub(super) fn release(undo: &NetworkUndo) -> io::Result<()> {
    if undo.confined.is_empty() {
        return Ok(());
    }
    let owner = undo.owner.short();
    let own = |entry: &Entry| {
        let comment = entry.1.comment.as_deref();
        rules::concerns(entry, undo) && comment.is_some_and(|c| c.starts_with(owner))
    };
    for _ in 0..ATTEMPTS {
        let found = ruleset::read_sets(&undo.table, rules::list_sets())?;
        let gone: Vec<Entry> = found.into_iter().filter(own).collect();
        let guard = ruleset::read_chain(&undo.table, &undo.host_interface)?;
        if gone.is_empty() && guard.is_none() {
            return Ok(());
        }
        // Elements first: what begins with them wakes nobody, see `crate::guard`.
        let done = ruleset::take_back(&undo.table, |batch| {
            for (set, element) in &gone {
                batch.delete_element(set, element);
            }
            if guard.is_some() {
                batch.delete_chain(&undo.host_interface);
            }
        });
        match done {
            // One that was learned has just run out, or the wire's chain went with it.
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {}
            done => return done,
        }
    }
    Err(io::Error::other("the table keeps changing under our hands"))
}

/// Whether the rules of lists are whole, and the chains of guarded wires: those that
/// have their one rule.
pub(crate) fn read(table: &str) -> io::Result<(bool, Vec<String>)> {
    let whole = ruleset::has_part(table, &LISTS)?;
    let chains = ruleset::read_chains(table)?;
    let guards =
        chains.into_iter().filter(|chain| chain.hook == Some(NF_INET_INGRESS) && chain.uses > 0);
    Ok((whole, guards.map(|chain| chain.name).collect()))
}

/// Opens what was learned from an answer about a name, for as long as each element
/// says from now on, whether it is there already or not.
pub(crate) fn learn(table: &str, entries: &[Entry]) -> io::Result<()> {
    ruleset::change(table, &LISTS, |batch| {
        for (set, element) in entries {
            // A kernel before 6.12 lets the time of one that is there run on: so it is
            // made if it is not there, removed, and made again, unseen by any packet.
            batch.element(set, element);
            batch.delete_element(set, element);
            batch.element(set, element);
        }
    })
}
