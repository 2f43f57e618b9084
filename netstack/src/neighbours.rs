//! Firewalls of others on this host: whether one drops what is forwarded for our
//! bridges, and which chain does. An accept of ours cannot overrule it: every table
//! decides for itself.
//!
//! ```text
//! nf_tables: chains, rules ─┐
//!                           ├─► Ruleset ─► walk, as a bridge's packet would ─► Ending
//! iptables-legacy: blobs  ──┘
//! ```
//!
//! Only interfaces are known of that packet: a rule that looks at anything else is
//! taken not to match, as for a new connection to nowhere in particular.
//!
//! - `Ruleset::walk` that walk (pure); `legacy` the bytes of iptables-legacy (pure)
//! - [`read()`] what there is (effects)

mod legacy;
mod read;

use std::collections::BTreeMap;
use std::fmt;

pub use read::read;

/// Jumps within jumps that the kernel allows (NFT_JUMP_STACK_SIZE).
const DEPTH: usize = 16;
/// Rules that are looked at; the kernel's tables have no loops, strangers' bytes may.
const STEPS: usize = 1_000_000;

/// An interface's name in a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    pub(crate) name: Vec<u8>,
    /// Longer names that begin so are meant, too.
    pub(crate) prefix: bool,
}

impl Pattern {
    fn matches(&self, name: &str) -> bool {
        let name = name.as_bytes();
        if self.prefix { name.starts_with(&self.name) } else { name == self.name }
    }
}

/// What a rule wants of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Wanted {
    #[default]
    Any,
    Is(Pattern),
    Not(Pattern),
}

impl Wanted {
    /// An interface that is not known is none in particular.
    fn matches(&self, name: Option<&str>) -> bool {
        match (self, name) {
            (Self::Any, _) => true,
            (_, None) => false,
            (Self::Is(pattern), Some(name)) => pattern.matches(name),
            (Self::Not(pattern), Some(name)) => !pattern.matches(name),
        }
    }
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Outcome {
    /// It counts, logs, marks.
    #[default]
    Nothing,
    Accept,
    /// Reject is no better.
    Drop,
    Return,
    Jump(String),
    Goto(String),
}

/// A rule, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rule {
    pub(crate) incoming: Wanted,
    pub(crate) outgoing: Wanted,
    /// It looks at something else, too.
    pub(crate) more: bool,
    pub(crate) outcome: Outcome,
}

/// The chains of one table that a forwarded packet may pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Ruleset {
    pub(crate) chains: BTreeMap<String, Vec<Rule>>,
}

/// A packet: where it comes in and where it goes out, if that is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passing<'a> {
    pub(crate) incoming: Option<&'a str>,
    pub(crate) outgoing: Option<&'a str>,
}

/// How a walk ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    Accepted,
    /// By a rule of this chain.
    Dropped(String),
    /// The policy decides.
    Policy,
}

impl Ruleset {
    /// What becomes of the packet from this chain on.
    pub(crate) fn walk(&self, base: &str, packet: Passing<'_>) -> Ending {
        let mut budget = STEPS;
        self.pass(base, packet, DEPTH, &mut budget).unwrap_or(Ending::Policy)
    }

    /// `None`: back to where it was called from.
    fn pass(
        &self,
        chain: &str,
        packet: Passing<'_>,
        depth: usize,
        budget: &mut usize,
    ) -> Option<Ending> {
        let depth = depth.checked_sub(1)?;
        for rule in self.chains.get(chain)? {
            *budget = budget.checked_sub(1)?;
            let Rule { incoming, outgoing, more, outcome } = rule;
            if *more || !incoming.matches(packet.incoming) || !outgoing.matches(packet.outgoing) {
                continue;
            }
            match outcome {
                Outcome::Nothing => {}
                Outcome::Accept => return Some(Ending::Accepted),
                Outcome::Drop => return Some(Ending::Dropped(chain.to_owned())),
                Outcome::Return => return None,
                Outcome::Goto(to) => return self.pass(to, packet, depth, budget),
                Outcome::Jump(to) => {
                    if let Some(ending) = self.pass(to, packet, depth, budget) {
                        return Some(ending);
                    }
                }
            }
        }
        None
    }
}

/// Whose a chain is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Firewall {
    /// A table of nf_tables; so are docker's, ufw's and firewalld's by iptables-nft.
    Nftables {
        /// `ip`, `ip6` or `inet`.
        family: &'static str,
        /// `filter`, `firewalld`.
        table: String,
    },
    /// The filter table of iptables-legacy, or of ip6tables-legacy.
    Legacy {
        /// Which of the two.
        ipv6: bool,
    },
}

/// A chain of somebody else that drops what it does not know on its way through this
/// host, and what it does not know is a bridge of ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForwardDrop {
    /// Whose.
    pub firewall: Firewall,
    /// The chain that is hooked in: `FORWARD`.
    pub chain: String,
    /// The chain whose rule drops; `None`: the policy does.
    pub rule_of: Option<String>,
    /// Our bridges that are not let through.
    pub bridges: Vec<String>,
}

impl fmt::Display for ForwardDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = self.rule_of.as_ref().unwrap_or(&self.chain);
        match &self.firewall {
            Firewall::Nftables { family, table } => {
                write!(f, "chain {chain} of nftables table {family} {table}")?;
            }
            Firewall::Legacy { ipv6 } => {
                write!(
                    f,
                    "chain {chain} of {}",
                    if *ipv6 { "ip6tables-legacy" } else { "iptables-legacy" }
                )?;
            }
        }
        f.write_str(if self.rule_of.is_some() { " drops the rest" } else { " has policy drop" })
    }
}

impl ForwardDrop {
    /// One line: who drops, whose packets, and what would help.
    pub fn advice(&self) -> String {
        let bridges = self.bridges.join(", ");
        format!(
            "{self}: it drops what containers send and get; let {bridges} through there, in and out"
        )
    }
}

/// The bridges that this base chain drops packets from or to; and where.
pub(crate) fn dropped<'a>(
    ruleset: &Ruleset,
    base: &str,
    policy_drops: bool,
    bridges: &[&'a str],
) -> Option<(Option<String>, Vec<&'a str>)> {
    let mut found: Option<(Option<String>, Vec<&str>)> = None;
    for bridge in bridges {
        let name = Some(*bridge);
        let out = Passing { incoming: name, outgoing: None };
        let into = Passing { incoming: None, outgoing: name };
        let drops = [out, into].into_iter().find_map(|packet| match ruleset.walk(base, packet) {
            Ending::Dropped(chain) => Some(Some(chain)),
            Ending::Policy if policy_drops => Some(None),
            _ => None,
        });
        if let Some(place) = drops {
            found.get_or_insert_with(|| (place, Vec::new())).1.push(bridge);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is(name: &str) -> Wanted {
        Wanted::Is(Pattern { name: name.into(), prefix: false })
    }

    fn plain(outcome: Outcome) -> Rule {
        Rule { outcome, ..Rule::default() }
    }

    fn ruleset(chains: &[(&str, &[Rule])]) -> Ruleset {
        let chains = chains.iter().map(|(name, rules)| ((*name).to_owned(), rules.to_vec()));
        Ruleset { chains: chains.collect() }
    }

    #[test]
    fn a_policy_drops_until_both_directions_are_let_through() {
        let incoming = Rule { incoming: is("rcnt0"), ..plain(Outcome::Accept) };
        let outgoing = Rule { outgoing: is("rcnt0"), ..plain(Outcome::Accept) };
        let user = [plain(Outcome::Jump("USER".into()))];
        for (rules, closed) in [
            (vec![], true),
            (vec![incoming.clone()], true),
            (vec![plain(Outcome::Return), incoming.clone(), outgoing.clone()], true),
            (vec![Rule { more: true, ..incoming.clone() }, outgoing.clone()], true),
            (vec![incoming, outgoing], false),
        ] {
            let ruleset = ruleset(&[("FORWARD", &user), ("USER", &rules)]);
            let found = dropped(&ruleset, "FORWARD", true, &["rcnt0"]);
            assert_eq!(found, closed.then(|| (None, vec!["rcnt0"])), "{rules:?}");
            assert_eq!(dropped(&ruleset, "FORWARD", false, &["rcnt0"]), None);
        }
    }

    #[test]
    fn a_rule_that_rejects_the_rest_is_found_where_it_is() {
        let away = Rule {
            incoming: Wanted::Not(Pattern { name: "rcnt".into(), prefix: true }),
            ..plain(Outcome::Accept)
        };
        let to_last = [plain(Outcome::Nothing), away, plain(Outcome::Goto("LAST".into()))];
        let ruleset = ruleset(&[("FORWARD", &to_last), ("LAST", &[plain(Outcome::Drop)])]);
        let found = dropped(&ruleset, "FORWARD", false, &["rcnt0", "br-1"]);
        assert_eq!(found, Some((Some("LAST".into()), vec!["rcnt0", "br-1"])));
    }

    proptest! {
        #[test]
        fn a_walk_ends_whatever_jumps_there_are(
            jumps in proptest::collection::vec((0..4usize, 0..4usize, any::<bool>()), 0..40)
        ) {
            let mut all = Ruleset::default();
            for (from, to, goto) in jumps {
                let outcome =
                    if goto { Outcome::Goto(to.to_string()) } else { Outcome::Jump(to.to_string()) };
                all.chains.entry(from.to_string()).or_default().push(plain(outcome));
            }
            let packet = Passing { incoming: Some("rcnt0"), outgoing: None };
            prop_assert_eq!(all.walk("0", packet), Ending::Policy);
        }
    }
}
