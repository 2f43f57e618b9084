//! The constant part of the table: sets and maps, chains and their rules, and the
//! mark that says they are these.

pub(super) mod egress;
mod forward;
pub(super) mod sets;
mod steps;

use self::forward::FORWARD;
use self::sets::*;
use self::steps::*;
use crate::wire::abi::*;
use crate::wire::nft::{Batch, Expression, Hook, Set};

/// A chain with its rules: expressions and the comment that `nft` shows.
struct Chain {
    name: &'static str,
    hook: Option<Hook>,
    rules: &'static [Rule],
}

const CHAINS: [Chain; 7] = [
    Chain {
        name: "fence",
        // raw: before connection tracking and every NAT
        hook: Some(Hook { kind: "filter", number: NF_INET_PRE_ROUTING, priority: -300 }),
        rules: &[
            (
                &[
                    IIFNAME,
                    LO,
                    FAMILY,
                    IS_IPV4,
                    network_header(16, 1, 0),
                    IS_LOOPBACK,
                    Expression::Drop,
                ],
                "loopback is never on a wire, CVE-2020-8558",
            ),
            (
                &[
                    IIFNAME,
                    LO,
                    FAMILY,
                    IS_IPV4,
                    network_header(12, 1, 0),
                    IS_LOOPBACK,
                    Expression::Drop,
                ],
                "",
            ),
        ],
    },
    Chain {
        name: "prerouting",
        hook: Some(Hook { kind: "nat", number: NF_INET_PRE_ROUTING, priority: -100 }),
        rules: &[FROM_LINK_LOCAL6, TO_PUBLISHED],
    },
    Chain {
        name: "output",
        hook: Some(Hook { kind: "nat", number: NF_INET_LOCAL_OUT, priority: -100 }),
        rules: &[
            (
                &[FAMILY, IS_IPV6, network_header(24, 16, 0), IS_LOOPBACK6, Expression::Return],
                "cannot be routed: for the relay",
            ),
            (&[FAMILY, IS_IPV6, network_header(8, 16, 0), IS_LOOPBACK6, Expression::Return], ""),
            FROM_LINK_LOCAL6,
            TO_PUBLISHED,
        ],
    },
    Chain {
        name: "published",
        hook: None,
        rules: &[
            (
                &[
                    FAMILY,
                    IS_IPV4,
                    network_header(16, 4, 0),
                    l4proto(1),
                    destination_port(2),
                    Expression::Map(ADDR4.name),
                    Expression::Dnat { family: NFPROTO_IPV4, port: 1 },
                ],
                "",
            ),
            (
                &[
                    FAMILY,
                    IS_IPV4,
                    l4proto(0),
                    destination_port(1),
                    Expression::Map(ANY4.name),
                    Expression::Dnat { family: NFPROTO_IPV4, port: 1 },
                ],
                "",
            ),
            (
                &[
                    FAMILY,
                    IS_IPV6,
                    network_header(24, 16, 0),
                    l4proto(4),
                    destination_port(5),
                    Expression::Map(ADDR6.name),
                    Expression::Dnat { family: NFPROTO_IPV6, port: 4 },
                ],
                "",
            ),
            (
                &[
                    FAMILY,
                    IS_IPV6,
                    l4proto(0),
                    destination_port(1),
                    Expression::Map(ANY6.name),
                    Expression::Dnat { family: NFPROTO_IPV6, port: 4 },
                ],
                "",
            ),
        ],
    },
    Chain {
        name: "postrouting",
        hook: Some(Hook { kind: "nat", number: NF_INET_POST_ROUTING, priority: 100 }),
        rules: &[
            (
                &[
                    FAMILY,
                    IS_IPV4,
                    IIFNAME,
                    Expression::InSet(MASQUERADED4.name),
                    OIFNAME,
                    Expression::NotInSet(BRIDGES.name),
                    Expression::Masquerade,
                ],
                "containers to the world",
            ),
            (
                &[
                    FAMILY,
                    IS_IPV6,
                    IIFNAME,
                    Expression::InSet(MASQUERADED6.name),
                    OIFNAME,
                    Expression::NotInSet(BRIDGES.name),
                    Expression::Masquerade,
                ],
                "",
            ),
            (
                &[
                    Expression::ConntrackStatus,
                    Expression::And(IPS_DST_NAT),
                    NOT_ZERO,
                    FAMILY,
                    IS_IPV4,
                    network_header(12, 4, 0),
                    Expression::Meta { key: NFT_META_OIFNAME, to: 1 },
                    Expression::InSet(HAIRPIN4.name),
                    Expression::Masquerade,
                ],
                "a published port reached from its own bridge",
            ),
            (
                &[
                    Expression::ConntrackStatus,
                    Expression::And(IPS_DST_NAT),
                    NOT_ZERO,
                    FAMILY,
                    IS_IPV6,
                    network_header(8, 16, 0),
                    Expression::Meta { key: NFT_META_OIFNAME, to: 4 },
                    Expression::InSet(HAIRPIN6.name),
                    Expression::Masquerade,
                ],
                "",
            ),
            (
                &[
                    OIFNAME,
                    Expression::InSet(BRIDGES.name),
                    FAMILY,
                    IS_IPV4,
                    network_header(12, 1, 0),
                    IS_LOOPBACK,
                    Expression::Masquerade,
                ],
                "a published port reached at 127.0.0.1",
            ),
        ],
    },
    Chain {
        name: "strangers",
        hook: None,
        rules: &[
            (&[IIFKIND, IS_BRIDGE, Expression::Return], "somebody's containers or machines"),
            (&[OIFKIND, IS_BRIDGE, Expression::Return], ""),
            (&[Expression::Drop], "this host is no router"),
        ],
    },
    Chain {
        name: "forward",
        hook: Some(Hook { kind: "filter", number: NF_INET_FORWARD, priority: 0 }),
        rules: FORWARD,
    },
];

/// A part of the table that is declared at once.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    sets: &'static [Set],
    chains: &'static [Chain],
    /// What marks it as this one: a chain without rules that carries a hash of the
    /// part in its name. (A table's user data cannot be changed later, a chain is made
    /// and removed in the transaction that changes the rules.)
    prefix: &'static str,
    /// Chains that are not of the part jump to its own.
    others_jump: bool,
}

/// What every bridge needs.
pub(crate) const BASE: Part =
    Part { sets: &SETS, chains: &CHAINS, prefix: "base-", others_jump: false };

impl Part {
    /// The name of the mark chain of the part as compiled in.
    pub(crate) fn mark(&self) -> String {
        let mut batch = Batch::new("");
        self.declare(&mut batch);
        let requests = batch.finish();
        let bytes = requests.bytes().unwrap_or_default();
        let hash = bytes
            .iter()
            .fold(0x811c_9dc5_u32, |hash, b| (hash ^ u32::from(*b)).wrapping_mul(0x0100_0193));
        format!("{}{hash:08x}", self.prefix)
    }

    /// Whether a chain is a mark of it, of this version or another.
    pub(crate) fn is_mark(&self, chain: &str) -> bool {
        chain.starts_with(self.prefix)
    }

    /// Its chains.
    pub(crate) fn chain_names(&self) -> impl Iterator<Item = &'static str> {
        self.chains.iter().map(|chain| chain.name)
    }

    /// Whether all its chains are whole, of which the kernel counts the users: rules in
    /// them, jumps to them.
    pub(crate) fn is_whole(&self, uses: impl Fn(&str) -> Option<u32>) -> bool {
        self.chain_uses().all(|(name, wanted)| {
            let counted = uses(name).and_then(|uses| usize::try_from(uses).ok());
            counted.is_some_and(|uses| uses == wanted || self.others_jump && uses > wanted)
        })
    }

    fn chain_uses(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.chains.iter().map(|chain| {
            let jumps = self
                .chains
                .iter()
                .flat_map(|c| c.rules)
                .filter(|(steps, _)| steps.contains(&Expression::Jump(chain.name)))
                .count();
            (chain.name, chain.rules.len() + jumps)
        })
    }

    /// Declares it: makes what is absent, writes every rule anew. Elements stay.
    pub(crate) fn declare(&self, batch: &mut Batch<'_>) {
        batch.table();
        for set in self.sets {
            batch.set(set);
        }
        for chain in self.chains {
            batch.chain(chain.name, chain.hook);
            batch.flush_chain(chain.name);
        }
        for chain in self.chains {
            for (steps, comment) in chain.rules {
                batch.rule(chain.name, steps, comment);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_stable_within_a_build() {
        assert_eq!(BASE.mark(), BASE.mark());
        assert!(BASE.is_mark(&BASE.mark()) && !egress::LISTS.is_mark(&BASE.mark()));
        assert_eq!(BASE.mark().len(), BASE.prefix.len() + 8);
    }

    #[test]
    fn the_kernel_counts_rules_and_jumps() {
        let uses: Vec<_> = BASE.chain_uses().collect();
        assert!(uses.contains(&("published", 6)), "{uses:?}");
        assert!(uses.contains(&("forward", 19)), "{uses:?}");
    }
}
