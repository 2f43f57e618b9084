//! Questions: chains, rules, elements. The answers are read in [`super::read`].

use super::{Element, INET, element_list, family_header, kind};
use crate::wire::{Requests, abi};

/// Asks for the element with this key; answered by NEWSETELEM or ENOENT.
pub(crate) fn get_element(requests: &mut Requests, table: &str, set: &str, key: &[u8]) -> u32 {
    let element = Element { key: key.to_vec(), ..Element::default() };
    requests.message(kind(abi::NFT_MSG_GETSETELEM), abi::NLM_F_REQUEST, &INET, |a| {
        element_list(a, table, set, &element);
    })
}

/// Asks for every element of a set.
pub(crate) fn dump_elements(requests: &mut Requests, table: &str, set: &str) -> u32 {
    let flags = abi::NLM_F_REQUEST | abi::NLM_F_DUMP;
    requests.message(kind(abi::NFT_MSG_GETSETELEM), flags, &INET, |a| {
        a.text(abi::NFTA_SET_ELEM_LIST_TABLE, table);
        a.text(abi::NFTA_SET_ELEM_LIST_SET, set);
    })
}

/// Asks for every rule of a chain of anybody's table.
pub(crate) fn dump_rules(requests: &mut Requests, family: u8, table: &str, chain: &str) -> u32 {
    let flags = abi::NLM_F_REQUEST | abi::NLM_F_DUMP;
    requests.message(kind(abi::NFT_MSG_GETRULE), flags, &family_header(family, 0), |a| {
        a.text(abi::NFTA_RULE_TABLE, table);
        a.text(abi::NFTA_RULE_CHAIN, chain);
    })
}

/// Asks for every rule of anybody's table, chain by chain, each in its order.
pub(crate) fn dump_table_rules(requests: &mut Requests, family: u8, table: &str) -> u32 {
    let flags = abi::NLM_F_REQUEST | abi::NLM_F_DUMP;
    requests.message(kind(abi::NFT_MSG_GETRULE), flags, &family_header(family, 0), |a| {
        a.text(abi::NFTA_RULE_TABLE, table);
    })
}

/// Asks for one chain of `table`.
pub(crate) fn get_chain(requests: &mut Requests, table: &str, name: &str) -> u32 {
    requests.message(kind(abi::NFT_MSG_GETCHAIN), abi::NLM_F_REQUEST, &INET, |a| {
        a.text(abi::NFTA_CHAIN_TABLE, table);
        a.text(abi::NFTA_CHAIN_NAME, name);
    })
}

/// Asks for all chains of all families.
pub(crate) fn dump_chains(requests: &mut Requests) -> u32 {
    let flags = abi::NLM_F_REQUEST | abi::NLM_F_DUMP;
    let header = family_header(abi::NFPROTO_UNSPEC, 0);
    requests.message(kind(abi::NFT_MSG_GETCHAIN), flags, &header, |_| {})
}
