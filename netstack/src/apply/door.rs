//! The door that docker documents for others: chain DOCKER-USER, which its FORWARD
//! chain asks first. Rules of ours there let a bridge's packets through docker's
//! table; our own decides about them all the same. Only rules that iptables-nft
//! understands are put there, or docker could not read its table any more.

use std::io;

use crate::facts::ForwardDrop;
use crate::rules::interface_key;
use crate::socket::{refusal, with_netfilter};
use crate::wire::nft::{self, Batch, ChainFacts, Expression, RuleFacts};
use crate::wire::{Malformed, abi};

const CHAIN: &str = "DOCKER-USER";

fn invalid(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn family(drop: &ForwardDrop) -> u8 {
    match drop.family {
        "ip" => abi::NFPROTO_IPV4,
        "ip6" => abi::NFPROTO_IPV6,
        _ => abi::NFPROTO_INET,
    }
}

/// What our rules for a bridge say of themselves.
fn comment(table: &str, bridge: &str) -> String {
    format!("{table}: {bridge}")
}

/// The rules in the door of this chain's table; `None`: it has none.
fn rules(drop: &ForwardDrop) -> io::Result<Option<Vec<RuleFacts>>> {
    let is_door =
        |c: &ChainFacts| c.family == family(drop) && c.table == drop.table && c.name == CHAIN;
    with_netfilter(|socket| {
        let chains = socket.dump(
            |requests| {
                nft::dump_chains(requests);
            },
            |message| nft::read_chain(message).map(Some).map_err(invalid),
        )?;
        if !chains.iter().any(is_door) {
            return Ok(None);
        }
        let all = socket.dump(
            |requests| {
                nft::dump_rules(requests, family(drop), &drop.table, CHAIN);
            },
            |message| nft::read_rule(message).map(Some).map_err(invalid),
        )?;
        Ok(Some(all.into_iter().filter(|rule| rule.chain == CHAIN).collect()))
    })
}

/// The bridges that are let through; `None`: there is no door.
pub(crate) fn read(drop: &ForwardDrop, table: &str) -> io::Result<Option<Vec<String>>> {
    let prefix = comment(table, "");
    let name = |rule: &RuleFacts| Some(rule.comment.as_ref()?.strip_prefix(&prefix)?.to_owned());
    Ok(rules(drop)?.map(|rules| {
        let names: Vec<String> = rules.iter().filter_map(name).collect();
        // One rule for each direction.
        let both = |n: &&String| names.iter().filter(|other| other == n).count() >= 2;
        names.iter().filter(both).cloned().collect()
    }))
}

/// Lets these bridges through, in one transaction.
pub(crate) fn open(drop: &ForwardDrop, bridges: &[&str], table: &str) -> io::Result<()> {
    let open = read(drop, table)?.unwrap_or_default();
    let mut batch = Batch::of_family(family(drop), &drop.table);
    let closed: Vec<&&str> = bridges.iter().filter(|b| !open.iter().any(|o| o == **b)).collect();
    for bridge in &closed {
        for key in [abi::NFT_META_IIFNAME, abi::NFT_META_OIFNAME] {
            let steps = [
                Expression::Meta { key, to: 0 },
                Expression::Name(interface_key(bridge)),
                Expression::Accept,
            ];
            batch.first_rule(CHAIN, &steps, &comment(table, bridge));
        }
    }
    if closed.is_empty() {
        return Ok(());
    }
    let answers = with_netfilter(|socket| socket.exchange(&batch.finish(), |_| Ok(())))?;
    match answers.refused() {
        Some((_, ack)) => Err(refusal(ack).into()),
        None => Ok(()),
    }
}

/// Takes back what [`open`] did for a bridge, in every table that has a door.
pub(crate) fn close(bridge: &str, table: &str) -> io::Result<()> {
    let ours = comment(table, bridge);
    for drop in crate::facts::read_forward_drops()? {
        let Some(rules) = rules(&drop)? else { continue };
        let mut batch = Batch::of_family(family(&drop), &drop.table);
        let ours = rules.iter().filter(|rule| rule.comment.as_deref() == Some(&ours));
        let deleted = ours.map(|rule| batch.delete_rule(CHAIN, &rule.handle)).count();
        if deleted > 0 {
            // Flushed meanwhile is fine.
            with_netfilter(|socket| socket.exchange(&batch.finish(), |_| Ok(())))?;
        }
    }
    Ok(())
}
