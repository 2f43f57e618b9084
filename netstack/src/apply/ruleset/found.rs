//! What the kernel has of the table: whether a part of it is whole, chains, elements.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;

use rcnt_base::sys::netlink::Family;

use super::{declare, exchange, invalid};
use crate::namespace;
use crate::plan::NetworkUndo;
use crate::rules::{self, BASE, Entry, Part};
use crate::socket::{Socket, refusal, with_netfilter};
use crate::wire::abi::NFPROTO_INET;
use crate::wire::nft::{self, Batch, ChainFacts, Element};
use crate::wire::{Message, Requests};

/// Whether the part's mark and every chain with all its rules are there. Costs one
/// sendmsg(2); writing the part each time would cost far more and reset counters.
pub(super) fn is_whole(socket: &mut Socket, table: &str, part: &Part) -> io::Result<bool> {
    let mut requests = Requests::default();
    nft::get_chain(&mut requests, table, &part.mark());
    for name in part.chain_names() {
        nft::get_chain(&mut requests, table, name);
    }
    let mut found: Vec<ChainFacts> = Vec::new();
    socket.exchange(&requests, |message| {
        found.push(nft::read_chain(message).map_err(invalid)?);
        Ok(())
    })?;
    let uses = |name: &str| found.iter().find(|c| c.name == name).map(|c| c.uses);
    Ok(uses(&part.mark()).is_some() && part.is_whole(uses))
}

/// [`is_whole`], for whoever has no socket of its own.
pub(crate) fn table_is_whole(table: &str) -> io::Result<bool> {
    with_netfilter(|socket| is_whole(socket, table, &BASE))
}

pub(super) fn old_marks(socket: &mut Socket, table: &str, part: &Part) -> io::Result<Vec<String>> {
    let marks = chains(socket, table)?.into_iter().filter(|chain| part.is_mark(&chain.name));
    Ok(marks.map(|chain| chain.name).collect())
}

/// Every chain of the table.
pub(in super::super) fn read_chains(table: &str) -> io::Result<Vec<ChainFacts>> {
    with_netfilter(|socket| chains(socket, table))
}

fn chains(socket: &mut Socket, table: &str) -> io::Result<Vec<ChainFacts>> {
    let all = socket.dump(
        |requests| {
            nft::dump_chains(requests);
        },
        |message| nft::read_chain(message).map(Some).map_err(invalid),
    )?;
    Ok(all.into_iter().filter(|c| c.family == NFPROTO_INET && c.table == table).collect())
}

/// Whether the table's rules are whole, and every element it has.
pub(crate) fn read_table(table: &str) -> io::Result<(bool, Vec<Entry>)> {
    with_netfilter(|socket| {
        let whole = is_whole(socket, table, &BASE)?;
        Ok((whole, elements(socket, table, rules::set_names())?))
    })
}

/// The chains of a part whose rules or policy are not as declared, although there are as
/// many: compared with the same part, declared in a namespace that is nobody's.
pub(crate) fn changed_chains(table: &str, part: &Part) -> io::Result<Vec<&'static str>> {
    let wanted = {
        let nowhere = namespace::fresh()?;
        namespace::visit(nowhere.as_fd(), || {
            let mut socket = Socket::open(Family::Netfilter)?;
            let mut batch = Batch::new(table);
            declare(&mut batch, part, &[]);
            match exchange(&mut socket, &batch.finish())?.refused() {
                None => bodies(&mut socket, table),
                Some((_, ack)) => Err(refusal(ack).into()),
            }
        })?
    };
    let found = with_netfilter(|socket| bodies(socket, table))?;
    let differs = |name: &&str| found.get(*name) != wanted.get(*name);
    Ok(part.chain_names().filter(differs).collect())
}

/// Policy and rules of each chain, as the kernel lists them.
type Bodies = BTreeMap<String, (Option<u32>, Vec<Vec<u8>>)>;

fn bodies(socket: &mut Socket, table: &str) -> io::Result<Bodies> {
    let ours = |c: ChainFacts| {
        let is_ours = c.family == NFPROTO_INET && c.table == table;
        is_ours.then_some((c.name, (c.policy, Vec::new())))
    };
    let chains = socket.dump(
        |requests| {
            nft::dump_chains(requests);
        },
        |message| nft::read_chain(message).map(ours).map_err(invalid),
    )?;
    let mut bodies: Bodies = chains.into_iter().collect();
    let rules = socket.dump(
        |requests| {
            nft::dump_table_rules(requests, NFPROTO_INET, table);
        },
        |message| nft::read_rule_body(message).map(Some).map_err(invalid),
    )?;
    for (chain, rule) in rules {
        bodies.entry(chain).or_default().1.push(rule);
    }
    Ok(bodies)
}

/// Whether a part of the table is whole.
pub(crate) fn has_part(table: &str, part: &Part) -> io::Result<bool> {
    with_netfilter(|socket| is_whole(socket, table, part))
}

/// Every element of these sets; those that are not there have none.
pub(in super::super) fn read_sets(
    table: &str,
    sets: impl Iterator<Item = &'static str>,
) -> io::Result<Vec<Entry>> {
    with_netfilter(|socket| elements(socket, table, sets))
}

fn elements(
    socket: &mut Socket,
    table: &str,
    sets: impl Iterator<Item = &'static str>,
) -> io::Result<Vec<Entry>> {
    let mut all = Vec::new();
    for set in sets {
        let found = socket.dump(
            |requests| {
                nft::dump_elements(requests, table, set);
            },
            |message| nft::read_elements(message).map(Some).map_err(invalid),
        );
        match found {
            Ok(lists) => all.extend(lists.into_iter().flatten().map(|e| (set, e))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(all)
}

/// One chain of the table, if it is there.
pub(in super::super) fn read_chain(table: &str, name: &str) -> io::Result<Option<ChainFacts>> {
    with_netfilter(|socket| {
        let mut requests = Requests::default();
        nft::get_chain(&mut requests, table, name);
        let mut found = None;
        socket.exchange(&requests, |message| {
            found = Some(nft::read_chain(message).map_err(invalid)?);
            Ok(())
        })?;
        Ok(found)
    })
}

/// Those of `entries` whose keys the table has.
pub(super) fn present(
    socket: &mut Socket,
    table: &str,
    entries: &[Entry],
) -> io::Result<Vec<Entry>> {
    let mut requests = Requests::default();
    let ask = |(set, element): &Entry| nft::get_element(&mut requests, table, set, &element.key);
    let sequences: Vec<u32> = entries.iter().map(ask).collect();
    let mut there = Vec::new();
    socket.exchange(&requests, |message: &Message<'_>| {
        // They were counted up.
        let position = sequences.binary_search(&message.sequence).ok();
        there.extend(position.and_then(|position| entries.get(position)).cloned());
        Ok(())
    })?;
    Ok(there)
}

pub(super) fn still_ours<'a>(
    socket: &mut Socket,
    undo: &NetworkUndo,
    wanted: &'a [Entry],
) -> io::Result<Vec<&'a Entry>> {
    let mut requests = Requests::default();
    let sequences: Vec<u32> = wanted
        .iter()
        .map(|(set, element)| nft::get_element(&mut requests, &undo.table, set, &element.key))
        .collect();
    let mut ours = Vec::new();
    socket.exchange(&requests, |message: &Message<'_>| {
        let found = nft::read_element(message).map_err(invalid)?;
        let position = sequences.binary_search(&message.sequence).ok();
        let entry = position.and_then(|position| wanted.get(position));
        ours.extend(entry.filter(|(_, element)| same(element, &found)));
        Ok(())
    })?;
    Ok(ours)
}

/// Same target, and a comment that begins with the owner's id.
fn same(ours: &Element, found: &Element) -> bool {
    let owner = ours.comment.as_deref().unwrap_or_default();
    ours.data == found.data
        && found.comment.as_deref().is_some_and(|comment| comment.starts_with(owner))
}
