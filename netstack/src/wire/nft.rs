//! nf_tables: tables, chains, sets, elements and rules as the kernel takes them,
//! and the batch that makes a change one transaction: all of it or none.
//!
//! Type numbers and comments follow what the `nft` program writes, so that
//! `nft list ruleset` shows our table as if it had been typed.

mod ask;
mod expression;
mod foreign;
mod read;

pub(crate) use ask::{
    dump_chains, dump_elements, dump_rules, dump_table_rules, get_chain, get_element,
};
pub(crate) use expression::Expression;
pub(crate) use foreign::read_foreign;
pub(crate) use read::{
    ChainFacts, RuleFacts, read_chain, read_element, read_elements, read_rule, read_rule_body,
};

use super::{Attributes, Requests, abi};

/// Bytes of a comment that `nft` shows (NFTNL_UDATA_COMMENT_MAXLEN, its NUL byte included).
const COMMENT: usize = 128;
/// libnftnl's user data types: a comment of a rule or of an element, the byte order of a set's key.
const USERDATA_COMMENT: u8 = 0;
const USERDATA_KEY_BYTEORDER: u8 = 0;

/// `nft`'s number of a data type (its `enum datatypes`), six bits each in a concatenation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Family,
    Ipv4,
    Ipv6,
    Protocol,
    Port,
    Interface,
}

impl Type {
    fn number(self) -> u32 {
        match self {
            Type::Family => 2,
            Type::Ipv4 => 7,
            Type::Ipv6 => 8,
            Type::Protocol => 12,
            Type::Port => 13,
            Type::Interface => 41,
        }
    }

    /// Bytes of its value in a key; parts of a concatenation take whole registers.
    fn register_bytes(self) -> u32 {
        match self {
            Type::Family => 1,
            Type::Ipv4 | Type::Protocol | Type::Port => 4,
            Type::Ipv6 | Type::Interface => 16,
        }
    }

    /// Bytes of it that are compared in a set of ranges.
    fn field_bytes(self) -> u32 {
        match self {
            Type::Family | Type::Protocol => 1,
            Type::Port => 2,
            Type::Ipv4 => 4,
            Type::Ipv6 | Type::Interface => 16,
        }
    }
}

fn concatenated(types: &[Type]) -> u32 {
    types.iter().fold(0, |number, t| number << 6 | t.number())
}

fn bytes_of(types: &[Type]) -> u32 {
    types.iter().map(|t| t.register_bytes()).sum()
}

/// A set, or a map when it has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) key: &'static [Type],
    pub(crate) data: &'static [Type],
    /// Elements are ranges (of the whole concatenation).
    pub(crate) interval: bool,
    /// Elements may have a time to live.
    pub(crate) timeout: bool,
}

/// Where a base chain hooks in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hook {
    /// `filter` or `nat`.
    pub(crate) kind: &'static str,
    pub(crate) number: u32,
    pub(crate) priority: i32,
}

/// One element of a set or map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) key: Vec<u8>,
    /// Last key of a range.
    pub(crate) key_end: Option<Vec<u8>>,
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) comment: Option<String>,
    /// Milliseconds until it goes by itself.
    pub(crate) timeout: Option<u64>,
}

/// A transaction in the making, on one table.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    requests: Requests,
    header: [u8; 4],
    table: &'a str,
    sets: u32,
}

/// `struct nfgenmsg`.
fn family_header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

const INET: [u8; 4] = [abi::NFPROTO_INET, 0, 0, 0];
const NETDEV: [u8; 4] = [abi::NFPROTO_NETDEV, 0, 0, 0];

const fn kind(message: u16) -> u16 {
    abi::NFNL_SUBSYS_NFTABLES << 8 | message
}

impl<'a> Batch<'a> {
    /// Opens a transaction on `table` of family inet.
    pub(crate) fn new(table: &'a str) -> Self {
        Self::open(table, INET)
    }

    /// Opens one on `table` of family netdev, whose chains hang on one interface.
    pub(crate) fn netdev(table: &'a str) -> Self {
        Self::open(table, NETDEV)
    }

    /// Opens one on somebody's `table` of any family.
    pub(crate) fn of_family(family: u8, table: &'a str) -> Self {
        Self::open(table, family_header(family, 0))
    }

    fn open(table: &'a str, family: [u8; 4]) -> Self {
        let mut requests = Requests::default();
        let header = family_header(abi::NFPROTO_UNSPEC, abi::NFNL_SUBSYS_NFTABLES);
        requests.message(abi::NFNL_MSG_BATCH_BEGIN, abi::NLM_F_REQUEST, &header, |_| {});
        Self { requests, header: family, table, sets: 0 }
    }

    /// Closes it. The last message before the end asks for an ack, which the
    /// kernel sends after the commit: one answer for any number of changes, while
    /// faults are reported for the message they are in. (The end message itself is
    /// acked since Linux 6.10 only.)
    pub(crate) fn finish(mut self) -> Requests {
        self.requests.acknowledge_last();
        let header = family_header(abi::NFPROTO_UNSPEC, abi::NFNL_SUBSYS_NFTABLES);
        self.requests.message(abi::NFNL_MSG_BATCH_END, abi::NLM_F_REQUEST, &header, |_| {});
        self.requests
    }

    fn message(&mut self, message: u16, flags: u16, body: impl FnOnce(&mut Attributes<'_>)) -> u32 {
        let header = self.header;
        self.requests.message(kind(message), abi::NLM_F_REQUEST | flags, &header, body)
    }

    /// The table, unless it is there.
    pub(crate) fn table(&mut self) -> u32 {
        let table = self.table;
        self.message(abi::NFT_MSG_NEWTABLE, abi::NLM_F_CREATE, |a| {
            a.text(abi::NFTA_TABLE_NAME, table);
            a.be32(abi::NFTA_TABLE_FLAGS, 0);
        })
    }

    /// A table that goes with the socket that makes it (NFT_TABLE_F_OWNER, Linux 5.12),
    /// and that nobody else can change or flush.
    pub(crate) fn owned_table(&mut self) -> u32 {
        let table = self.table;
        self.message(abi::NFT_MSG_NEWTABLE, abi::NLM_F_CREATE | abi::NLM_F_EXCL, |a| {
            a.text(abi::NFTA_TABLE_NAME, table);
            a.be32(abi::NFTA_TABLE_FLAGS, abi::NFT_TABLE_F_OWNER);
        })
    }

    /// Removes the table with all that is in it.
    pub(crate) fn delete_table(&mut self) -> u32 {
        let table = self.table;
        self.message(abi::NFT_MSG_DELTABLE, 0, |a| a.text(abi::NFTA_TABLE_NAME, table))
    }

    /// A chain, unless it is there.
    pub(crate) fn chain(&mut self, name: &str, hook: Option<Hook>) -> u32 {
        let table = self.table;
        self.message(abi::NFT_MSG_NEWCHAIN, abi::NLM_F_CREATE, |a| {
            a.text(abi::NFTA_CHAIN_TABLE, table);
            a.text(abi::NFTA_CHAIN_NAME, name);
            if let Some(hook) = hook {
                a.text(abi::NFTA_CHAIN_TYPE, hook.kind);
                a.be32(abi::NFTA_CHAIN_POLICY, abi::NF_ACCEPT);
                a.nest(abi::NFTA_CHAIN_HOOK, |a| {
                    a.be32(abi::NFTA_HOOK_HOOKNUM, hook.number);
                    a.put(abi::NFTA_HOOK_PRIORITY, &hook.priority.to_be_bytes());
                });
            }
        })
    }

    /// A chain that sees what comes in by one interface, before anybody else does.
    pub(crate) fn ingress_chain(&mut self, name: &str, device: &str, priority: i32) -> u32 {
        let table = self.table;
        let hook = if self.header == INET { abi::NF_INET_INGRESS } else { abi::NF_NETDEV_INGRESS };
        self.message(abi::NFT_MSG_NEWCHAIN, abi::NLM_F_CREATE, |a| {
            a.text(abi::NFTA_CHAIN_TABLE, table);
            a.text(abi::NFTA_CHAIN_NAME, name);
            a.text(abi::NFTA_CHAIN_TYPE, "filter");
            a.be32(abi::NFTA_CHAIN_POLICY, abi::NF_ACCEPT);
            a.nest(abi::NFTA_CHAIN_HOOK, |a| {
                a.be32(abi::NFTA_HOOK_HOOKNUM, hook);
                a.put(abi::NFTA_HOOK_PRIORITY, &priority.to_be_bytes());
                a.text(abi::NFTA_HOOK_DEV, device);
            });
        })
    }

    /// Removes an empty chain.
    pub(crate) fn delete_chain(&mut self, name: &str) -> u32 {
        let table = self.table;
        self.message(abi::NFT_MSG_DELCHAIN, 0, |a| {
            a.text(abi::NFTA_CHAIN_TABLE, table);
            a.text(abi::NFTA_CHAIN_NAME, name);
        })
    }

    /// Removes all rules of a chain.
    pub(crate) fn flush_chain(&mut self, name: &str) -> u32 {
        let table = self.table;
        self.message(abi::NFT_MSG_DELRULE, 0, |a| {
            a.text(abi::NFTA_RULE_TABLE, table);
            a.text(abi::NFTA_RULE_CHAIN, name);
        })
    }

    /// Appends a rule to a chain.
    pub(crate) fn rule(&mut self, chain: &str, expressions: &[Expression], comment: &str) -> u32 {
        self.put_rule(abi::NLM_F_APPEND, chain, expressions, comment)
    }

    /// Puts a rule before all others of a chain.
    pub(crate) fn first_rule(&mut self, chain: &str, steps: &[Expression], comment: &str) -> u32 {
        self.put_rule(0, chain, steps, comment)
    }

    /// Removes one rule.
    pub(crate) fn delete_rule(&mut self, chain: &str, handle: &[u8]) -> u32 {
        let table = self.table;
        self.message(abi::NFT_MSG_DELRULE, 0, |a| {
            a.text(abi::NFTA_RULE_TABLE, table);
            a.text(abi::NFTA_RULE_CHAIN, chain);
            a.put(abi::NFTA_RULE_HANDLE, handle);
        })
    }

    fn put_rule(
        &mut self,
        place: u16,
        chain: &str,
        expressions: &[Expression],
        comment: &str,
    ) -> u32 {
        let table = self.table;
        self.message(abi::NFT_MSG_NEWRULE, abi::NLM_F_CREATE | place, |a| {
            a.text(abi::NFTA_RULE_TABLE, table);
            a.text(abi::NFTA_RULE_CHAIN, chain);
            a.nest(abi::NFTA_RULE_EXPRESSIONS, |a| {
                for expression in expressions {
                    a.nest(abi::NFTA_LIST_ELEM, |a| expression.write(a));
                }
            });
            if !comment.is_empty() {
                a.put(abi::NFTA_RULE_USERDATA, &comment_userdata(comment));
            }
        })
    }

    /// A set or map, unless it is there.
    pub(crate) fn set(&mut self, set: &Set) -> u32 {
        let (table, Set { name, key, data, interval, timeout }) = (self.table, *set);
        self.sets += 1;
        let id = self.sets;
        let ranges = if interval { abi::NFT_SET_INTERVAL | abi::NFT_SET_CONCAT } else { 0 };
        let map = if data.is_empty() { 0 } else { abi::NFT_SET_MAP };
        let lives = if timeout { abi::NFT_SET_TIMEOUT } else { 0 };
        self.message(abi::NFT_MSG_NEWSET, abi::NLM_F_CREATE, |a| {
            a.text(abi::NFTA_SET_TABLE, table);
            a.text(abi::NFTA_SET_NAME, name);
            a.be32(abi::NFTA_SET_FLAGS, ranges | map | lives);
            a.be32(abi::NFTA_SET_KEY_TYPE, concatenated(key));
            a.be32(abi::NFTA_SET_KEY_LEN, bytes_of(key));
            if !data.is_empty() {
                a.be32(abi::NFTA_SET_DATA_TYPE, concatenated(data));
                a.be32(abi::NFTA_SET_DATA_LEN, bytes_of(data));
            }
            a.be32(abi::NFTA_SET_ID, id);
            if interval {
                a.nest(abi::NFTA_SET_DESC, |a| {
                    a.nest(abi::NFTA_SET_DESC_CONCAT, |a| {
                        for field in key {
                            a.nest(abi::NFTA_LIST_ELEM, |a| {
                                a.be32(abi::NFTA_SET_FIELD_LEN, field.field_bytes());
                            });
                        }
                    });
                });
            }
            a.put(abi::NFTA_SET_USERDATA, &byteorder_userdata(key));
        })
    }

    /// Adds an element; one that is there with the same data is fine, with other
    /// data it is EEXIST.
    pub(crate) fn element(&mut self, set: &str, element: &Element) -> u32 {
        let table = self.table;
        self.message(abi::NFT_MSG_NEWSETELEM, abi::NLM_F_CREATE, |a| {
            element_list(a, table, set, element);
        })
    }

    /// Removes an element by its key alone: the kernel does not look at the data.
    pub(crate) fn delete_element(&mut self, set: &str, element: &Element) -> u32 {
        let table = self.table;
        let key = Element { data: None, comment: None, timeout: None, ..element.clone() };
        self.message(abi::NFT_MSG_DELSETELEM, 0, |a| element_list(a, table, set, &key))
    }
}

fn element_list(a: &mut Attributes<'_>, table: &str, set: &str, element: &Element) {
    a.text(abi::NFTA_SET_ELEM_LIST_TABLE, table);
    a.text(abi::NFTA_SET_ELEM_LIST_SET, set);
    let value = |a: &mut Attributes<'_>, kind: u16, bytes: &[u8]| {
        a.nest(kind, |a| a.put(abi::NFTA_DATA_VALUE, bytes));
    };
    a.nest(abi::NFTA_SET_ELEM_LIST_ELEMENTS, |a| {
        a.nest(abi::NFTA_LIST_ELEM, |a| {
            value(a, abi::NFTA_SET_ELEM_KEY, &element.key);
            if let Some(end) = &element.key_end {
                value(a, abi::NFTA_SET_ELEM_KEY_END, end);
            }
            if let Some(data) = &element.data {
                value(a, abi::NFTA_SET_ELEM_DATA, data);
            }
            if let Some(timeout) = element.timeout {
                a.put(abi::NFTA_SET_ELEM_TIMEOUT, &timeout.to_be_bytes());
            }
            if let Some(comment) = &element.comment {
                a.put(abi::NFTA_SET_ELEM_USERDATA, &comment_userdata(comment));
            }
        });
    });
}

/// libnftnl's type, length, value; the text is cut to what `nft` accepts.
fn comment_userdata(comment: &str) -> Vec<u8> {
    let mut text: String = comment.chars().filter(|c| !c.is_control() && *c != '"').collect();
    while text.len() >= COMMENT {
        text.pop();
    }
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    let mut bytes = vec![USERDATA_COMMENT, length];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

/// How `nft` shall print the key: 1 host order, 2 network order, 0 each part by its type.
fn byteorder_userdata(key: &[Type]) -> [u8; 6] {
    let order: u32 = match key {
        [Type::Interface | Type::Family] => 1,
        [_] => 2,
        _ => 0,
    };
    let [a, b, c, d] = order.to_ne_bytes();
    [USERDATA_KEY_BYTEORDER, 4, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::super::{Message, messages};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_element_written_is_the_element_read(
            key in proptest::collection::vec(any::<u8>(), 1..32),
            key_end in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..32)),
            data in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..32)),
            comment in proptest::option::of("[a-zA-Z0-9 ().-]{0,100}"),
            timeout in any::<Option<u64>>(),
        ) {
            let element = Element { key, key_end, data, comment, timeout };
            let mut batch = Batch::new("rcnt");
            batch.element("any4", &element);
            let requests = batch.finish();
            let message = messages(requests.bytes().unwrap()).nth(1).unwrap().unwrap();
            prop_assert_eq!(read_element(&message).unwrap(), element);
        }

        #[test]
        fn hostile_answers_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..160)) {
            let message = Message { kind: 0, flags: 0, sequence: 0, payload: &payload };
            let _ = (read_chain(&message), read_element(&message));
            let _ = (read_elements(&message), read_rule(&message), read_foreign(&message));
        }

        #[test]
        fn no_comment_is_too_long_for_the_kernel(comment in "\\PC{0,300}") {
            let userdata = comment_userdata(&comment);
            prop_assert!(userdata.len() <= COMMENT + 2);
            prop_assert_eq!(usize::from(userdata[1]) + 2, userdata.len());
        }
    }

    #[test]
    fn a_chain_written_is_the_chain_read() {
        let mut batch = Batch::new("rcnt");
        batch.chain("forward", Some(Hook { kind: "filter", number: 2, priority: -5 }));
        let requests = batch.finish();
        let message = messages(requests.bytes().unwrap()).nth(1).unwrap().unwrap();
        let chain = read_chain(&message).unwrap();
        assert_eq!(
            (chain.family, chain.table.as_str(), chain.name.as_str(), chain.hook, chain.policy),
            (abi::NFPROTO_INET, "rcnt", "forward", Some(2), Some(abi::NF_ACCEPT))
        );
    }

    #[test]
    fn types_are_numbered_as_nft_numbers_them() {
        // As captured from nft 1.0.6 for `ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service`.
        assert_eq!(concatenated(&[Type::Ipv4, Type::Protocol, Type::Port]), 0x730d);
        assert_eq!(concatenated(&[Type::Ipv4, Type::Port]), 0x1cd);
        assert_eq!(bytes_of(&[Type::Ipv4, Type::Protocol, Type::Port]), 12);
    }
}
