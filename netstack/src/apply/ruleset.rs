//! The ruleset's side: one transaction that declares the base when it is not
//! whole, and a container's elements.

mod found;

use std::collections::BTreeSet;
use std::io;

use rustix::io::Errno;

pub(crate) use self::found::{changed_chains, has_part, read_table, table_is_whole};
use self::found::{is_whole, old_marks, present, still_ours};
pub(super) use self::found::{read_chain, read_chains, read_sets};
use super::AttachError;
use crate::plan::{BridgePlan, NetworkPlan, NetworkUndo, Passage};
use crate::ports::PublishedPort;
use crate::rules::{self, BASE, Entry, Part};
use crate::socket::{Answers, Refusal, Socket, refusal, with_netfilter};
use crate::wire::nft::Batch;
use crate::wire::{Malformed, Requests};

/// Whether the base had to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    Whole,
    Declared,
}

/// Another transaction may change the table between two of ours.
const ATTEMPTS: u32 = 4;
const EEXIST: i32 = Errno::EXIST.raw_os_error();
const ENOENT: i32 = Errno::NOENT.raw_os_error();

fn invalid(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Publishes a container's ports, in one transaction.
pub(super) fn publish(plan: &NetworkPlan, first: bool) -> Result<Base, AttachError> {
    let table = &plan.table;
    let mut change = Change {
        table,
        base: Base::Whole,
        bridge: plan.wire.bridge().map(rules::bridge_entries).unwrap_or_default(),
        ports: rules::port_entries(&plan.undo(), &plan.published, &rules::comment(plan)),
        stale: BTreeSet::new(),
    };
    let done = with_netfilter(|socket| {
        if first || !is_whole(socket, table, &BASE)? {
            change.base = Base::Declared;
        }
        change.carry_out(socket)
    });
    match done.map_err(|source| AttachError::Rules { table: table.clone(), source })? {
        None => Ok(change.base),
        Some((port, refusal)) => {
            let source = refusal.into();
            let table = table.clone();
            Err(match port.and_then(|n| plan.published.get(n)) {
                Some(port) => AttachError::Publish { port: describe(port), table, source },
                None => AttachError::Rules { table, source },
            })
        }
    }
}

/// What [`publish`] wants, and what it has learned from refusals.
struct Change<'a> {
    table: &'a str,
    base: Base,
    bridge: Vec<Entry>,
    /// With the place of the port in the plan.
    ports: Vec<(usize, Entry)>,
    /// Ports whose key is taken by an element of a container that is gone: the
    /// claims say that the ports are ours.
    stale: BTreeSet<usize>,
}

/// The port that was refused, when it was one, and why.
type Refused = (Option<usize>, Refusal);

impl Change<'_> {
    fn carry_out(&mut self, socket: &mut Socket) -> io::Result<Option<Refused>> {
        for _ in 0..ATTEMPTS {
            let (batch, ports) = self.batch(socket)?;
            let answers = exchange(socket, &batch.finish())?;
            let Some((sequence, ack)) = answers.refused() else { return Ok(None) };
            let port_of = |sequence: u32| ports.iter().position(|s| *s == sequence);
            match ack.errno {
                EEXIST if self.stale.is_empty() && port_of(*sequence).is_some() => {
                    let taken = answers.acks.iter().filter(|(_, ack)| ack.errno == EEXIST);
                    self.stale = taken.filter_map(|(sequence, _)| port_of(*sequence)).collect();
                }
                // Flushed since we looked.
                ENOENT if self.base == Base::Whole => {
                    self.base = Base::Declared;
                    self.stale.clear();
                }
                _ => {
                    let port = port_of(*sequence).and_then(|n| self.ports.get(n));
                    return Ok(Some((port.map(|(place, _)| *place), refusal(ack))));
                }
            }
        }
        Err(io::Error::other("it keeps changing under our hands"))
    }

    /// The transaction, and the sequence numbers of its ports.
    fn batch(&self, socket: &mut Socket) -> io::Result<(Batch<'_>, Vec<u32>)> {
        let marks = match self.base {
            Base::Whole => Vec::new(),
            Base::Declared => old_marks(socket, self.table, &BASE)?,
        };
        let mut batch = Batch::new(self.table);
        if self.base == Base::Declared {
            declare(&mut batch, &BASE, &marks);
        }
        for (set, element) in &self.bridge {
            batch.element(set, element);
        }
        for (_, (set, element)) in self.stale.iter().filter_map(|n| self.ports.get(*n)) {
            batch.delete_element(set, element);
        }
        let ports =
            self.ports.iter().map(|(_, (set, element))| batch.element(set, element)).collect();
        Ok((batch, ports))
    }
}

fn describe(port: &crate::ports::PublishedPort) -> String {
    format!("{}/{}", std::net::SocketAddr::new(port.host_ip, port.host_port), port.protocol)
}

fn exchange(socket: &mut Socket, requests: &Requests) -> io::Result<Answers> {
    let answers = socket.exchange(requests, |_| Ok(()))?;
    if answers.acks.is_empty() {
        return Err(io::Error::other("the kernel did not answer an nftables transaction"));
    }
    Ok(answers)
}

/// A part, its mark, and none of another version's marks.
fn declare(batch: &mut Batch<'_>, part: &Part, old_marks: &[String]) {
    let mark = part.mark();
    part.declare(batch);
    for old in old_marks.iter().filter(|old| **old != mark) {
        batch.delete_chain(old);
    }
    batch.chain(&mark, None);
}

/// Removes the container's elements, in one transaction. The kernel deletes by key
/// alone, so each is read first: what leads elsewhere or carries another owner's
/// comment is not ours. (Nobody can put another there between the two steps: the
/// port's claim is freed after this.)
pub(super) fn withdraw(undo: &NetworkUndo, kept: &[PublishedPort]) -> io::Result<()> {
    let needed: BTreeSet<_> = rules::port_entries(undo, kept, "")
        .into_iter()
        .map(|(_, (set, element))| (set, element.key))
        .collect();
    let wanted: Vec<Entry> = rules::port_entries(undo, &undo.published, undo.owner.short())
        .into_iter()
        .map(|(_, entry)| entry)
        .filter(|(set, element)| !needed.contains(&(*set, element.key.clone())))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    with_netfilter(|socket| withdraw_all(socket, undo, &wanted))
}

fn withdraw_all(socket: &mut Socket, undo: &NetworkUndo, wanted: &[Entry]) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        let ours = still_ours(socket, undo, wanted)?;
        if ours.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new(&undo.table);
        for (set, element) in ours {
            batch.delete_element(set, element);
        }
        let answers = exchange(socket, &batch.finish())?;
        match answers.refused() {
            None => return Ok(()),
            // Somebody flushed the ruleset in between.
            Some((_, ack)) if ack.errno == ENOENT => {}
            Some((_, ack)) => return Err(refusal(ack).into()),
        }
    }
    Err(io::Error::other("the table keeps changing under our hands"))
}

/// Adds elements that may be there, and the part they need if it is not whole.
fn add(table: &str, part: &Part, entries: &[Entry]) -> io::Result<()> {
    change(table, part, |batch| {
        for (set, element) in entries {
            batch.element(set, element);
        }
    })
}

/// One transaction that needs a part of the table, which is declared if it is not whole.
pub(super) fn change(table: &str, part: &Part, body: impl Fn(&mut Batch<'_>)) -> io::Result<()> {
    with_netfilter(|socket| {
        let mut whole = is_whole(socket, table, part)?;
        for _ in 0..ATTEMPTS {
            let marks = if whole { Vec::new() } else { old_marks(socket, table, part)? };
            let mut batch = Batch::new(table);
            if !whole {
                declare(&mut batch, part, &marks);
            }
            body(&mut batch);
            match exchange(socket, &batch.finish())?.refused() {
                None => return Ok(()),
                Some((_, ack)) if ack.errno == ENOENT && whole => whole = false,
                Some((_, ack)) => return Err(refusal(ack).into()),
            }
        }
        Err(io::Error::other("the table keeps changing under our hands"))
    })
}

/// Declares a part, whether it is whole or not.
pub(super) fn declare_anew(table: &str, part: &Part) -> io::Result<()> {
    with_netfilter(|socket| {
        let marks = old_marks(socket, table, part)?;
        let mut batch = Batch::new(table);
        declare(&mut batch, part, &marks);
        match exchange(socket, &batch.finish())?.refused() {
            None => Ok(()),
            Some((_, ack)) => Err(refusal(ack).into()),
        }
    })
}

/// One transaction that takes things back; with the kernel's number when it is refused.
pub(super) fn take_back(table: &str, body: impl FnOnce(&mut Batch<'_>)) -> io::Result<()> {
    let mut batch = Batch::new(table);
    body(&mut batch);
    match with_netfilter(|socket| exchange(socket, &batch.finish()))?.refused() {
        None => Ok(()),
        Some((_, ack)) => Err(io::Error::from_raw_os_error(ack.errno)),
    }
}

/// Removes one element; one that is gone is fine.
pub(crate) fn remove_one(table: &str, entry: &Entry) -> io::Result<()> {
    with_netfilter(|socket| remove_elements(socket, table, std::slice::from_ref(entry)).map(drop))
}

/// See [`super::fence`].
pub(super) fn fence(table: &str, families: &[bool]) -> io::Result<()> {
    let entries: Vec<Entry> = families.iter().map(|ipv6| rules::fence_entry(*ipv6)).collect();
    add(table, &BASE, &entries)
}

/// See [`super::open_passages`].
pub(super) fn open_passages(table: &str, all: &[Passage], comment: &str) -> io::Result<()> {
    let entries: Vec<Entry> =
        all.iter().filter_map(|passage| rules::passage_entry(passage, comment)).collect();
    if entries.is_empty() { Ok(()) } else { add(table, &BASE, &entries) }
}

/// See [`super::close_passages`].
pub(super) fn close_passages(table: &str, all: &[Passage]) -> io::Result<()> {
    let entries: Vec<Entry> =
        all.iter().filter_map(|passage| rules::passage_entry(passage, "")).collect();
    if entries.is_empty() { Ok(()) } else { remove(table, &entries) }
}

/// Removes what the table says of a bridge. A network that nobody was on yet has
/// nothing there.
pub(super) fn forget_bridge(table: &str, bridge: &BridgePlan) -> io::Result<()> {
    remove(table, &rules::bridge_entries(bridge))
}

/// Removes those of `entries` that are there, in one transaction: one absent element
/// fails it whole, and to be refused costs an RCU grace period.
fn remove(table: &str, entries: &[Entry]) -> io::Result<()> {
    with_netfilter(|socket| {
        for _ in 0..ATTEMPTS {
            let there = present(socket, table, entries)?;
            if there.is_empty() || remove_elements(socket, table, &there)? {
                return Ok(());
            }
        }
        for entry in entries.chunks(1) {
            remove_elements(socket, table, entry)?;
        }
        Ok(())
    })
}

/// Whether all of `entries` were there, and are gone now.
fn remove_elements(socket: &mut Socket, table: &str, entries: &[Entry]) -> io::Result<bool> {
    let mut batch = Batch::new(table);
    for (set, element) in entries {
        batch.delete_element(set, element);
    }
    match exchange(socket, &batch.finish())?.refused() {
        None => Ok(true),
        Some((_, ack)) if ack.errno == ENOENT => Ok(false),
        Some((_, ack)) => Err(refusal(ack).into()),
    }
}

/// Removes the table; one that is gone is fine.
pub(super) fn remove_table(table: &str) -> io::Result<()> {
    let mut batch = Batch::new(table);
    batch.delete_table();
    let answers = with_netfilter(|socket| exchange(socket, &batch.finish()))?;
    match answers.refused() {
        Some((_, ack)) if ack.errno != ENOENT => Err(refusal(ack).into()),
        _ => Ok(()),
    }
}
