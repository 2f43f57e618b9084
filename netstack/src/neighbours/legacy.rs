//! The filter table of iptables-legacy, out of the bytes that IPT_SO_GET_ENTRIES
//! gives (linux/netfilter/x_tables.h, linux/netfilter_ipv4/ip_tables.h and
//! linux/netfilter_ipv6/ip6_tables.h). Pure.

use std::collections::BTreeMap;

use super::{Outcome, Pattern, Rule, Ruleset, Wanted};

/// The chain that forwarded packets come to.
pub(super) const FORWARD: &str = "FORWARD";

/// Where things are in an entry.
struct Layout {
    /// Both names, then both masks, 16 bytes each.
    interfaces: usize,
    /// Addresses with their masks.
    addresses: std::ops::Range<usize>,
    /// The protocol's number, two bytes.
    protocol: usize,
    flags: usize,
    inverted: usize,
    /// Offsets of the target and of the next entry, two bytes each.
    offsets: usize,
    /// Where matches begin.
    header: usize,
}

/// `struct ipt_entry`.
const FOUR: Layout = Layout {
    interfaces: 16,
    addresses: 0..16,
    protocol: 80,
    flags: 82,
    inverted: 83,
    offsets: 88,
    header: 112,
};
/// `struct ip6t_entry`.
const SIX: Layout = Layout {
    interfaces: 64,
    addresses: 0..64,
    protocol: 128,
    flags: 131,
    inverted: 132,
    offsets: 140,
    header: 168,
};

/// `IPT_F_GOTO`, `IP6T_F_GOTO`.
const GOTO: u8 = 2;
const GOTO6: u8 = 4;
/// `IPT_INV_VIA_IN`, `IPT_INV_VIA_OUT`.
const NOT_IN: u8 = 1;
const NOT_OUT: u8 = 2;
/// `struct xt_entry_target`: two bytes of size, name, revision.
const TARGET_NAME: std::ops::Range<usize> = 2..31;
const TARGET_DATA: usize = 32;
/// The target that heads a chain, with its name.
const HEAD: &str = "ERROR";
/// What a verdict is in the standard target: the negative of one more (`-NF_DROP - 1`).
const DROP: i32 = -1;
const ACCEPT: i32 = -2;
const RETURN: i32 = -5;

/// Where the kernel enters the table, and where its policies are (`struct ipt_getinfo`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) forward: usize,
    pub(super) policy: usize,
}

/// The chains that a forwarded packet may pass, and whether the policy drops; `None`
/// for bytes that are no table.
pub(super) fn parse(ipv6: bool, entries: &[u8], places: Places) -> Option<(Ruleset, bool)> {
    let layout = if ipv6 { &SIX } else { &FOUR };
    let mut ruleset = Ruleset::default();
    let mut policy_drops = false;
    let mut chain: Option<String> = None;
    let heads = heads(layout, entries)?;
    let mut at = 0;
    while at < entries.len() {
        if at == places.forward {
            chain = Some(FORWARD.to_owned());
        }
        let entry = Entry::at(layout, entries, at)?;
        let next = entry.next;
        if entry.target == HEAD {
            chain = heads.get(&next).cloned();
        } else if at == places.policy {
            policy_drops = entry.verdict == Some(DROP);
            chain = None;
        } else if let Some(name) = &chain {
            let rules = ruleset.chains.entry(name.clone()).or_default();
            rules.push(entry.rule(&heads));
        }
        at = next;
    }
    Some((ruleset, policy_drops))
}

/// The names of chains, by where their first rules are.
fn heads(layout: &Layout, entries: &[u8]) -> Option<BTreeMap<usize, String>> {
    let mut heads = BTreeMap::new();
    let mut at = 0;
    while at < entries.len() {
        let entry = Entry::at(layout, entries, at)?;
        if entry.target == HEAD {
            heads.insert(entry.next, text(entry.data));
        }
        at = entry.next;
    }
    Some(heads)
}

/// One entry, taken apart.
struct Entry<'a> {
    /// Where the next one begins; always further on.
    next: usize,
    incoming: Wanted,
    outgoing: Wanted,
    more: bool,
    goto: bool,
    target: String,
    data: &'a [u8],
    /// The standard target's.
    verdict: Option<i32>,
}

impl<'a> Entry<'a> {
    fn at(layout: &Layout, entries: &'a [u8], at: usize) -> Option<Self> {
        let rest = entries.get(at..)?;
        let half = |at: usize| {
            rest.get(at..at + 2)?.first_chunk().map(|b| usize::from(u16::from_ne_bytes(*b)))
        };
        let (target_at, size) = (half(layout.offsets)?, half(layout.offsets + 2)?);
        let entry = rest.get(..size).filter(|_| size > 0)?;
        let byte = |at: usize| entry.get(at).copied();
        let inverted = byte(layout.inverted)?;
        let name = |n: usize, inverting: u8| {
            let at = layout.interfaces + n * 16;
            let (name, mask) = (entry.get(at..at + 16)?, entry.get(at + 32..at + 48)?);
            Some(interface(name, mask, inverted & inverting != 0))
        };
        let target = entry.get(target_at..)?;
        let data = target.get(TARGET_DATA..)?;
        let (target, flags) = (text(target.get(TARGET_NAME)?), byte(layout.flags)?);
        let verdict = data.first_chunk().filter(|_| target.is_empty());
        let anywhere = entry.get(layout.addresses.clone())?.iter().all(|byte| *byte == 0);
        let more = !anywhere
            || half(layout.protocol)? != 0
            || target_at != layout.header
            || inverted & !(NOT_IN | NOT_OUT) != 0;
        Some(Self {
            next: at + size,
            incoming: name(0, NOT_IN)?,
            outgoing: name(1, NOT_OUT)?,
            more,
            goto: flags & if layout.interfaces == SIX.interfaces { GOTO6 } else { GOTO } != 0,
            target,
            data,
            verdict: verdict.map(|bytes| i32::from_ne_bytes(*bytes)),
        })
    }

    fn rule(self, heads: &BTreeMap<usize, String>) -> Rule {
        let to =
            |place: i32| usize::try_from(place).ok().and_then(|place| heads.get(&place)).cloned();
        let outcome = match (self.verdict, self.target.as_str()) {
            (Some(DROP), _) | (None, "REJECT") => Outcome::Drop,
            (Some(ACCEPT), _) => Outcome::Accept,
            (Some(RETURN), _) => Outcome::Return,
            (Some(place), _) => match to(place) {
                Some(chain) if self.goto => Outcome::Goto(chain),
                Some(chain) => Outcome::Jump(chain),
                // The next rule: no target at all.
                None => Outcome::Nothing,
            },
            _ => Outcome::Nothing,
        };
        let Self { incoming, outgoing, more, .. } = self;
        Rule { incoming, outgoing, more, outcome }
    }
}

/// A name counts as far as its mask has ones: the NUL byte, too, unless it ends in `+`.
fn interface(name: &[u8], mask: &[u8], inverted: bool) -> Wanted {
    let counted = mask.iter().take_while(|byte| **byte != 0).count();
    let Some(name) = name.get(..counted).filter(|name| !name.is_empty()) else {
        return Wanted::Any;
    };
    let end = name.iter().position(|byte| *byte == 0);
    let text = name.get(..end.unwrap_or(name.len())).unwrap_or_default().to_vec();
    let pattern = Pattern { name: text, prefix: end.is_none() };
    if inverted { Wanted::Not(pattern) } else { Wanted::Is(pattern) }
}

fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::dropped;
    use super::*;
    use proptest::prelude::*;

    /// As the kernel gave it for
    ///
    /// ```text
    /// -P FORWARD DROP
    /// -A FORWARD -j DOCKER-USER
    /// -A FORWARD -p tcp -m tcp --dport 80 -m conntrack --ctstate NEW -j ACCEPT
    /// -A FORWARD -j REJECT
    /// -A DOCKER-USER -i rcnt0 -j ACCEPT
    /// ```
    const FOUR: &[u8] = include_bytes!("tests/filter4.bin");
    const FOUR_AT: Places = Places { forward: 152, policy: 856 };
    /// `-P FORWARD DROP`, `-A FORWARD -o br+ -j ACCEPT`, of ip6tables-legacy.
    const SIX: &[u8] = include_bytes!("tests/filter6.bin");
    const SIX_AT: Places = Places { forward: 208, policy: 416 };

    #[test]
    #[cfg(target_endian = "little")]
    fn a_table_is_read_as_iptables_lists_it() {
        let (ruleset, policy_drops) = parse(false, FOUR, FOUR_AT).unwrap();
        assert!(policy_drops);
        let rules = &ruleset.chains["FORWARD"];
        let outcomes: Vec<_> = rules.iter().map(|rule| (rule.more, &rule.outcome)).collect();
        let user = Outcome::Jump("DOCKER-USER".into());
        let wanted = [(false, &user), (true, &Outcome::Accept), (false, &Outcome::Drop)];
        assert_eq!(outcomes, wanted);
        let user = &ruleset.chains["DOCKER-USER"];
        let rcnt0 = Pattern { name: b"rcnt0".to_vec(), prefix: false };
        assert_eq!(user[0].incoming, Wanted::Is(rcnt0));
        assert_eq!((&user[0].outcome, &user[1].outcome), (&Outcome::Accept, &Outcome::Return));
        assert_eq!(ruleset.chains.len(), 2);
        // What comes in is rejected before the policy.
        let found = dropped(&ruleset, FORWARD, policy_drops, &["rcnt0"]);
        assert_eq!(found, Some((Some("FORWARD".into()), vec!["rcnt0"])));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_table_of_ipv6_is_laid_out_its_own_way() {
        let (ruleset, policy_drops) = parse(true, SIX, SIX_AT).unwrap();
        assert!(policy_drops);
        let bridges = Pattern { name: b"br".to_vec(), prefix: true };
        let [rule] = ruleset.chains["FORWARD"].as_slice() else { panic!("{ruleset:?}") };
        assert_eq!((&rule.outgoing, rule.more), (&Wanted::Is(bridges), false));
        assert_eq!(rule.outcome, Outcome::Accept);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            ipv6: bool,
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            forward in 0..600usize,
            policy in 0..600usize,
        ) {
            let _ = parse(ipv6, &bytes, Places { forward, policy });
        }

        #[test]
        fn no_damaged_table_panics(at in 0..FOUR.len(), with: u8) {
            let mut bytes = FOUR.to_vec();
            bytes[at] = with;
            if let Some((ruleset, drops)) = parse(false, &bytes, FOUR_AT) {
                let _ = dropped(&ruleset, FORWARD, drops, &["rcnt0"]);
            }
        }
    }
}
