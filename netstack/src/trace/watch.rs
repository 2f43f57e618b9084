//! The probe's way through nf_tables: a table of our own marks the probe and its
//! answer for tracing, and has a first and a last chain at each hook, whose events
//! tell how far the packet came, whatever else is hooked in there.
//!
//! The table belongs to the socket (NFT_TABLE_F_OWNER): the kernel removes it when
//! the socket is closed, by us or by kill -9.

use std::collections::BTreeMap;
use std::io;

use rcnt_base::sys::netlink::Family;

use super::probe::Mark;
use crate::capture::packet::IpPacket;
use crate::facts;
use crate::socket::Socket;
use crate::wire::nft::{self, Batch, ChainFacts, Expression, Hook, RuleFacts};
use crate::wire::{Malformed, Message, abi, find, read_be32, read_text};

/// A station of a packet's way through a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Station {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

impl Station {
    pub(super) const ALL: [Self; 5] =
        [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting];

    fn number(self) -> u32 {
        match self {
            Self::Prerouting => abi::NF_INET_PRE_ROUTING,
            Self::Input => abi::NF_INET_LOCAL_IN,
            Self::Forward => abi::NF_INET_FORWARD,
            Self::Output => abi::NF_INET_LOCAL_OUT,
            Self::Postrouting => abi::NF_INET_POST_ROUTING,
        }
    }

    /// The word that nft and iptables have for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }
}

/// Before defragmentation and everything else; after all but connection tracking's end.
const FIRST: i32 = -2_000_000_000;
const LAST: i32 = 2_000_000_000;

/// What became of the packet at a rule or a chain's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    /// On to the next rule or another chain.
    GoesOn,
}

/// One event of the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Our first (`true`) or last chain at a station.
    Passed(Station, bool),
    /// Somebody's rule or policy.
    Decided {
        family: &'static str,
        table: String,
        chain: String,
        /// The rule's handle; `None` for the chain's policy.
        rule: Option<u64>,
        /// The rule's comment.
        comment: Option<String>,
        verdict: Verdict,
    },
}

/// What the kernel tells, still without comments.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    family: u8,
    id: u32,
    table: String,
    chain: String,
    rule: Option<u64>,
    verdict: Verdict,
    packet: Option<IpPacket>,
}

/// Family, table and chain.
type Chain = (u8, String, String);

/// A watch over one network namespace.
#[derive(Debug)]
pub(super) struct Watch {
    table: String,
    /// Whose end ends the table.
    owner: Socket,
    listener: Socket,
    /// Which packets are ours: the trace's number, and whether it is the answer.
    known: BTreeMap<u32, bool>,
    comments: BTreeMap<Chain, Vec<RuleFacts>>,
}

impl Watch {
    /// Begins to watch in the calling thread's namespace.
    pub(super) fn begin(mark: &Mark) -> io::Result<Self> {
        // Heard by somebody before anything is traced, or the kernel does not trace.
        let listener = Socket::open(Family::Netfilter)?;
        listener.join(abi::NFNLGRP_NFTRACE)?;
        let mut owner = Socket::open(Family::Netfilter)?;
        let table = format!("rcnt-trace-{}", std::process::id());
        let mut batches = vec![batch(&table, mark)];
        if Self::others()?.iter().any(is_early) {
            batches.push(early(&table, mark)?);
        }
        for batch in batches {
            let answers = owner.exchange(&batch.finish(), |_| Ok(()))?;
            if let Some((_, ack)) = answers.refused() {
                return Err(crate::socket::refusal(ack).into());
            }
        }
        let (known, comments) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { table, owner, listener, known, comments })
    }

    /// The chains of others in the calling thread's namespace.
    pub(super) fn others() -> io::Result<Vec<ChainFacts>> {
        Socket::open(Family::Netfilter)?.dump(
            |requests| {
                nft::dump_chains(requests);
            },
            |message| nft::read_chain(message).map(Some).map_err(invalid),
        )
    }

    /// What was told since of our packets: whether it is about the answer, and what.
    pub(super) fn events(&mut self, mark: &Mark) -> io::Result<Vec<(bool, Event)>> {
        let mut told = Vec::new();
        self.listener.told(|message| {
            told.extend(read_trace(message).map_err(invalid)?);
            Ok(())
        })?;
        let mut events = Vec::new();
        for told in told {
            if let Some(answer) = told.packet.as_ref().and_then(|p| mark.is_answer(p)) {
                self.known.insert(told.id, answer);
            }
            let Some(answer) = self.known.get(&told.id).copied() else { continue };
            events.extend(self.event(told).map(|event| (answer, event)));
        }
        Ok(events)
    }

    fn event(&mut self, told: Told) -> Option<Event> {
        let Told { family, id: _, table, chain, rule, verdict, packet: _ } = told;
        if table == self.table && family == abi::NFPROTO_NETDEV {
            return None;
        }
        if table == self.table {
            let station = Station::ALL.into_iter().find(|s| chain.ends_with(s.word()))?;
            // Rules of ours only mark; the end of the chain is the event.
            return rule.is_none().then_some(Event::Passed(station, chain.starts_with("first")));
        }
        let comment = rule.and_then(|handle| self.comment(family, &table, &chain, handle));
        let family = family_name(family);
        Some(Event::Decided { family, table, chain, rule, comment, verdict })
    }

    /// A rule's comment; none when the rule is gone already.
    fn comment(&mut self, family: u8, table: &str, chain: &str, handle: u64) -> Option<String> {
        let key = (family, table.to_owned(), chain.to_owned());
        if !self.comments.contains_key(&key) {
            let rules = self.owner.dump(
                |requests| {
                    nft::dump_rules(requests, family, table, chain);
                },
                |message| nft::read_rule(message).map(Some).map_err(invalid),
            );
            self.comments.insert(key.clone(), rules.unwrap_or_default());
        }
        let rules = self.comments.get(&key)?;
        let rule = rules.iter().find(|rule| rule.handle == handle.to_be_bytes())?;
        rule.comment.clone().filter(|comment| !comment.is_empty())
    }
}

/// The whole table in one transaction.
fn batch<'a>(table: &'a str, mark: &Mark) -> Batch<'a> {
    let mut batch = Batch::new(table);
    batch.owned_table();
    for station in Station::ALL {
        for (place, priority) in [("first", FIRST), ("last", LAST)] {
            let name = format!("{place}-{}", station.word());
            let number = station.number();
            batch.chain(&name, Some(Hook { kind: "filter", number, priority }));
            let begins = matches!(station, Station::Prerouting | Station::Output);
            if place == "first" && begins {
                for offset in mark.offsets() {
                    batch.rule(&name, &marking(mark, *offset), "a probe of rcnt network trace");
                }
            }
        }
    }
    batch
}

/// Whether a chain sees packets before the first of ours does: on a bridge, or where an
/// interface hands them over.
fn is_early(chain: &ChainFacts) -> bool {
    match chain.family {
        abi::NFPROTO_BRIDGE | abi::NFPROTO_NETDEV => chain.hook.is_some(),
        abi::NFPROTO_INET => chain.hook == Some(abi::NF_INET_INGRESS),
        _ => false,
    }
}

/// A table that marks packets as they come in by any interface.
fn early<'a>(table: &'a str, mark: &Mark) -> io::Result<Batch<'a>> {
    let mut batch = Batch::netdev(table);
    batch.owned_table();
    for link in facts::read_links()?.iter().filter(|link| link.name != "lo") {
        batch.ingress_chain(&link.name, &link.name, FIRST);
        for offset in mark.offsets() {
            batch.rule(&link.name, &marking(mark, *offset), "a probe of rcnt network trace");
        }
    }
    Ok(batch)
}

/// What has our number at this place of its transport header is traced.
fn marking(mark: &Mark, offset: u32) -> [Expression; 6] {
    [
        Expression::Meta { key: abi::NFT_META_L4PROTO, to: 0 },
        Expression::Equal(mark.protocol()),
        Expression::Payload { base: abi::NFT_PAYLOAD_TRANSPORT_HEADER, offset, bytes: 2, to: 0 },
        Expression::EqualPort(mark.number),
        Expression::LoadPort(0x0101),
        Expression::Trace,
    ]
}

fn invalid(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

pub(super) fn family_name(family: u8) -> &'static str {
    match family {
        abi::NFPROTO_INET => "inet",
        abi::NFPROTO_IPV4 => "ip",
        abi::NFPROTO_IPV6 => "ip6",
        abi::NFPROTO_BRIDGE => "bridge",
        _ => "netdev",
    }
}

/// Reads NFT_MSG_TRACE; `None` for other messages and events that decide nothing.
fn read_trace(message: &Message<'_>) -> Result<Option<Told>, Malformed> {
    if message.kind & 0xff != abi::NFT_MSG_TRACE {
        return Ok(None);
    }
    let (header, rest) = message.payload.split_at_checked(4).ok_or(Malformed)?;
    let number = |kind| find(rest, kind).and_then(read_be32);
    let text = |kind| find(rest, kind).map(read_text).unwrap_or_default();
    let verdict = find(rest, abi::NFTA_TRACE_VERDICT);
    let verdict = verdict.and_then(|v| find(v, abi::NFTA_VERDICT_CODE)).and_then(read_be32);
    let (rule, code) = match number(abi::NFTA_TRACE_TYPE) {
        Some(abi::NFT_TRACETYPE_RULE) => {
            let handle = find(rest, abi::NFTA_TRACE_RULE_HANDLE).and_then(|v| v.first_chunk());
            (handle.map(|v| u64::from_be_bytes(*v)), verdict)
        }
        Some(abi::NFT_TRACETYPE_POLICY) => (None, number(abi::NFTA_TRACE_POLICY).or(verdict)),
        _ => return Ok(None),
    };
    let packet = || {
        let network = find(rest, abi::NFTA_TRACE_NETWORK_HEADER)?;
        let transport = find(rest, abi::NFTA_TRACE_TRANSPORT_HEADER)?;
        IpPacket::read(&[network, transport].concat())
    };
    Ok(Some(Told {
        family: *header.first().ok_or(Malformed)?,
        id: number(abi::NFTA_TRACE_ID).ok_or(Malformed)?,
        table: text(abi::NFTA_TRACE_TABLE),
        chain: text(abi::NFTA_TRACE_CHAIN),
        rule,
        verdict: match code {
            Some(abi::NF_ACCEPT) => Verdict::Accept,
            Some(abi::NF_DROP) => Verdict::Drop,
            _ => Verdict::GoesOn,
        },
        packet: packet(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hostile_events_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..160)) {
            let message = Message { kind: 0x0a11, flags: 0, sequence: 0, payload: &payload };
            let _ = read_trace(&message);
        }
    }
}
