//! The door that docker documents for others: chain DOCKER-USER, which its FORWARD
//! chain asks first. Rules of ours there let a bridge's packets through docker's
//! table; our own decides about them all the same. Only rules that iptables-nft
//! understands are put there, or docker could not read its table any more.

use std::io;

use crate::neighbours::{Firewall, ForwardDrop};
use crate::rules::interface_key;
use crate::socket::{refusal, with_netfilter};
use crate::wire::nft::{self, Batch, ChainFacts, Expression, RuleFacts};
use crate::wire::{Malformed, abi};

const CHAIN: &str = "DOCKER-USER";

/// A chain of that name: family and table.
type Door = (u8, String);

fn invalid(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// What our rules for a bridge say of themselves.
fn comment(table: &str, bridge: &str) -> String {
    format!("{table}: {bridge}")
}

/// Every door there is.
fn doors() -> io::Result<Vec<Door>> {
    let door = |chain: ChainFacts| (chain.name == CHAIN).then_some((chain.family, chain.table));
    with_netfilter(|socket| {
        socket.dump(
            |requests| {
                nft::dump_chains(requests);
            },
            |message| nft::read_chain(message).map(door).map_err(invalid),
        )
    })
}

/// The door in this chain's table.
fn door(drop: &ForwardDrop) -> io::Result<Option<Door>> {
    let Firewall::Nftables { family, table } = &drop.firewall else { return Ok(None) };
    let family = match *family {
        "ip" => abi::NFPROTO_IPV4,
        "ip6" => abi::NFPROTO_IPV6,
        _ => abi::NFPROTO_INET,
    };
    Ok(doors()?.into_iter().find(|door| door.0 == family && door.1 == *table))
}

fn rules((family, table): &Door) -> io::Result<Vec<RuleFacts>> {
    let all = with_netfilter(|socket| {
        socket.dump(
            |requests| {
                nft::dump_rules(requests, *family, table, CHAIN);
            },
            |message| nft::read_rule(message).map(Some).map_err(invalid),
        )
    })?;
    Ok(all.into_iter().filter(|rule| rule.chain == CHAIN).collect())
}

/// Whether there is a door to let our bridges through.
pub(crate) fn is_there(drop: &ForwardDrop) -> io::Result<bool> {
    door(drop).map(|door| door.is_some())
}

/// Lets the bridges through that are dropped, in one transaction. Whether there is a door.
pub(crate) fn open(drop: &ForwardDrop, table: &str) -> io::Result<bool> {
    let Some(door) = door(drop)? else { return Ok(false) };
    let there = rules(&door)?;
    let mut batch = Batch::of_family(door.0, &door.1);
    for bridge in &drop.bridges {
        let comment = comment(table, bridge);
        for rule in there.iter().filter(|rule| rule.comment.as_deref() == Some(&comment)) {
            // One direction's only, or behind somebody's.
            batch.delete_rule(CHAIN, &rule.handle);
        }
        for key in [abi::NFT_META_IIFNAME, abi::NFT_META_OIFNAME] {
            let steps = [
                Expression::Meta { key, to: 0 },
                Expression::Name(interface_key(bridge)),
                Expression::Accept,
            ];
            batch.first_rule(CHAIN, &steps, &comment);
        }
    }
    let answers = with_netfilter(|socket| socket.exchange(&batch.finish(), |_| Ok(())))?;
    match answers.refused() {
        Some((_, ack)) => Err(refusal(ack).into()),
        None => Ok(true),
    }
}

/// Takes back what [`open`] did for a bridge, in every table that has a door.
pub(crate) fn close(bridge: &str, table: &str) -> io::Result<()> {
    let ours = comment(table, bridge);
    for door in doors()? {
        let mut batch = Batch::of_family(door.0, &door.1);
        let rules = rules(&door)?;
        let ours = rules.iter().filter(|rule| rule.comment.as_deref() == Some(&ours));
        let deleted = ours.map(|rule| batch.delete_rule(CHAIN, &rule.handle)).count();
        if deleted > 0 {
            // Flushed meanwhile is fine.
            with_netfilter(|socket| socket.exchange(&batch.finish(), |_| Ok(())))?;
        }
    }
    Ok(())
}
