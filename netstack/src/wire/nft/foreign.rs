//! Rules of others, read as far as it matters to what is forwarded: which interfaces
//! they want, whether they want more, and what they do.

use crate::neighbours::{Outcome, Pattern, Rule, Wanted};
use crate::wire::{Malformed, Message, abi, attributes, find, read_be32, read_text};

/// Reads NFT_MSG_NEWRULE: the chain and the rule.
pub(crate) fn read_foreign(message: &Message<'_>) -> Result<(String, Rule), Malformed> {
    let rest = message.payload.get(4..).ok_or(Malformed)?;
    let chain = find(rest, abi::NFTA_RULE_CHAIN).map(read_text).ok_or(Malformed)?;
    let steps = find(rest, abi::NFTA_RULE_EXPRESSIONS).unwrap_or_default();
    let mut rule = Rule::default();
    // What the registers hold: an interface's name, or whatever else.
    let mut loaded = None;
    for step in attributes(steps) {
        let (_, step) = step?;
        let name = find(step, abi::NFTA_EXPR_NAME).map(read_text).unwrap_or_default();
        let data = find(step, abi::NFTA_EXPR_DATA).unwrap_or_default();
        match name.as_str() {
            "counter" | "log" | "objref" | "last" | "notrack" => {}
            "meta" => {
                // Without a destination it sets something of the packet.
                if find(data, abi::NFTA_META_DREG).is_some() {
                    loaded = find(data, abi::NFTA_META_KEY).and_then(read_be32);
                }
            }
            "ct" if find(data, abi::NFTA_CT_SREG).is_some() => {}
            "cmp" => match interface(loaded, data) {
                Some((true, wanted)) => rule.incoming = wanted,
                Some((false, wanted)) => rule.outgoing = wanted,
                None => rule.more = true,
            },
            "immediate" => {
                if let Some(outcome) = verdict(data) {
                    rule.outcome = outcome;
                }
            }
            "reject" => rule.outcome = Outcome::Drop,
            // iptables-nft's way to use a target of iptables.
            "target" => {
                let target = find(data, abi::NFTA_TARGET_NAME).map(read_text).unwrap_or_default();
                if matches!(target.as_str(), "REJECT" | "DROP") {
                    rule.outcome = Outcome::Drop;
                }
            }
            _ => rule.more = true,
        }
    }
    Ok((chain, rule))
}

/// A comparison with an interface's name: whether it is the incoming one, and how.
fn interface(loaded: Option<u32>, data: &[u8]) -> Option<(bool, Wanted)> {
    let incoming = match loaded? {
        abi::NFT_META_IIFNAME => true,
        abi::NFT_META_OIFNAME => false,
        _ => return None,
    };
    let value = find(data, abi::NFTA_CMP_DATA).and_then(|d| find(d, abi::NFTA_DATA_VALUE))?;
    // `eth*` is compared without the NUL that ends a name.
    let end = value.iter().position(|byte| *byte == 0);
    let name = value.get(..end.unwrap_or(value.len()))?.to_vec();
    let pattern = Pattern { name, prefix: end.is_none() };
    match find(data, abi::NFTA_CMP_OP).and_then(read_be32)? {
        abi::NFT_CMP_EQ => Some((incoming, Wanted::Is(pattern))),
        abi::NFT_CMP_NEQ => Some((incoming, Wanted::Not(pattern))),
        _ => None,
    }
}

/// The verdict that an `immediate` is; `None` if it loads a value.
fn verdict(data: &[u8]) -> Option<Outcome> {
    let verdict =
        find(data, abi::NFTA_IMMEDIATE_DATA).and_then(|data| find(data, abi::NFTA_DATA_VERDICT))?;
    let chain = || find(verdict, abi::NFTA_VERDICT_CHAIN).map(read_text).unwrap_or_default();
    Some(match find(verdict, abi::NFTA_VERDICT_CODE).and_then(read_be32)? {
        abi::NF_ACCEPT => Outcome::Accept,
        abi::NF_DROP => Outcome::Drop,
        abi::NFT_RETURN => Outcome::Return,
        abi::NFT_JUMP => Outcome::Jump(chain()),
        abi::NFT_GOTO => Outcome::Goto(chain()),
        _ => Outcome::Nothing,
    })
}
