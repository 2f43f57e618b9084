//! What the kernel answers: chains, elements, rules.

use super::{Element, USERDATA_COMMENT};
use crate::wire::{Malformed, Message, abi, attributes, find, read_be32, read_text};

/// A chain as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChainFacts {
    /// NFPROTO_*.
    pub(crate) family: u8,
    pub(crate) table: String,
    pub(crate) name: String,
    /// NF_INET_*, for base chains.
    pub(crate) hook: Option<u32>,
    /// NF_ACCEPT or NF_DROP, for base chains.
    pub(crate) policy: Option<u32>,
    /// The number of rules in it and of jumps to it.
    pub(crate) uses: u32,
}

/// Reads NFT_MSG_NEWCHAIN.
pub(crate) fn read_chain(message: &Message<'_>) -> Result<ChainFacts, Malformed> {
    let (header, rest) = message.payload.split_at_checked(4).ok_or(Malformed)?;
    let mut chain = ChainFacts {
        family: *header.first().ok_or(Malformed)?,
        table: String::new(),
        name: String::new(),
        hook: None,
        policy: None,
        uses: 0,
    };
    for attribute in attributes(rest) {
        let (kind, value) = attribute?;
        match kind {
            abi::NFTA_CHAIN_TABLE => chain.table = read_text(value),
            abi::NFTA_CHAIN_NAME => chain.name = read_text(value),
            abi::NFTA_CHAIN_POLICY => chain.policy = read_be32(value),
            abi::NFTA_CHAIN_USE => chain.uses = read_be32(value).ok_or(Malformed)?,
            abi::NFTA_CHAIN_HOOK => {
                chain.hook = find(value, abi::NFTA_HOOK_HOOKNUM).and_then(read_be32);
            }
            _ => {}
        }
    }
    Ok(chain)
}

/// Reads the first element of NFT_MSG_NEWSETELEM.
pub(crate) fn read_element(message: &Message<'_>) -> Result<Element, Malformed> {
    let rest = message.payload.get(4..).ok_or(Malformed)?;
    let list = find(rest, abi::NFTA_SET_ELEM_LIST_ELEMENTS).ok_or(Malformed)?;
    read_fields(find(list, abi::NFTA_LIST_ELEM).ok_or(Malformed)?)
}

/// Reads all elements of NFT_MSG_NEWSETELEM.
pub(crate) fn read_elements(message: &Message<'_>) -> Result<Vec<Element>, Malformed> {
    let rest = message.payload.get(4..).ok_or(Malformed)?;
    // The answer about an empty set has none.
    let list = find(rest, abi::NFTA_SET_ELEM_LIST_ELEMENTS).unwrap_or_default();
    attributes(list).map(|element| read_fields(element?.1)).collect()
}

/// A rule's chain, its handle as the kernel has it, and its comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleFacts {
    pub(crate) chain: String,
    pub(crate) handle: Vec<u8>,
    pub(crate) comment: Option<String>,
}

/// Reads NFT_MSG_NEWRULE.
pub(crate) fn read_rule(message: &Message<'_>) -> Result<RuleFacts, Malformed> {
    let rest = message.payload.get(4..).ok_or(Malformed)?;
    Ok(RuleFacts {
        chain: find(rest, abi::NFTA_RULE_CHAIN).map(read_text).ok_or(Malformed)?,
        handle: find(rest, abi::NFTA_RULE_HANDLE).ok_or(Malformed)?.to_vec(),
        comment: find(rest, abi::NFTA_RULE_USERDATA).and_then(read_comment),
    })
}

/// Reads NFT_MSG_NEWRULE: its chain, and its expressions as the kernel lists them, which
/// are the same for the same rule in whatever namespace.
pub(crate) fn read_rule_body(message: &Message<'_>) -> Result<(String, Vec<u8>), Malformed> {
    let rest = message.payload.get(4..).ok_or(Malformed)?;
    let chain = find(rest, abi::NFTA_RULE_CHAIN).map(read_text).ok_or(Malformed)?;
    Ok((chain, find(rest, abi::NFTA_RULE_EXPRESSIONS).unwrap_or_default().to_vec()))
}

fn read_fields(fields: &[u8]) -> Result<Element, Malformed> {
    let value = |kind| find(fields, kind).and_then(|v| find(v, abi::NFTA_DATA_VALUE));
    Ok(Element {
        key: value(abi::NFTA_SET_ELEM_KEY).ok_or(Malformed)?.to_vec(),
        key_end: value(abi::NFTA_SET_ELEM_KEY_END).map(<[u8]>::to_vec),
        data: value(abi::NFTA_SET_ELEM_DATA).map(<[u8]>::to_vec),
        comment: find(fields, abi::NFTA_SET_ELEM_USERDATA).and_then(read_comment),
        timeout: find(fields, abi::NFTA_SET_ELEM_TIMEOUT)
            .and_then(|value| value.try_into().ok().map(u64::from_be_bytes)),
    })
}

fn read_comment(userdata: &[u8]) -> Option<String> {
    match userdata {
        [USERDATA_COMMENT, length, text @ ..] => text.get(..usize::from(*length)).map(read_text),
        _ => None,
    }
}
