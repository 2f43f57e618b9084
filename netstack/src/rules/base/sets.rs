//! The sets and maps of the base: what is particular to a bridge, a container or a
//! port is an element of one of them.

use crate::wire::nft::{Set, Type};

const IPV4_PORT: &[Type] = &[Type::Ipv4, Type::Protocol, Type::Port];
const IPV6_PORT: &[Type] = &[Type::Ipv6, Type::Protocol, Type::Port];

/// A set of names of bridges.
const fn names(name: &'static str) -> Set {
    Set { name, key: &[Type::Interface], data: &[], interval: false, timeout: false }
}

/// A set of pairs of interfaces: from, to.
const fn pairs(name: &'static str) -> Set {
    Set {
        name,
        key: &[Type::Interface, Type::Interface],
        data: &[],
        interval: false,
        timeout: false,
    }
}

const fn set(name: &'static str, key: &'static [Type]) -> Set {
    Set { name, key, data: &[], interval: false, timeout: false }
}

const fn map(name: &'static str, key: &'static [Type], data: &'static [Type]) -> Set {
    Set { name, key, data, interval: false, timeout: false }
}

/// Our bridges.
pub(in crate::rules) const BRIDGES: Set = names("bridges");
/// Those that nothing is routed from or to.
pub(in crate::rules) const INTERNAL: Set = names("internal");
/// Those whose containers leave under the host's address.
pub(in crate::rules) const MASQUERADED4: Set = names("masqueraded4");
pub(in crate::rules) const MASQUERADED6: Set = names("masqueraded6");
/// Those whose containers' every port may be reached from outside.
pub(in crate::rules) const UNPROTECTED4: Set = names("unprotected4");
pub(in crate::rules) const UNPROTECTED6: Set = names("unprotected6");
/// Those that are routed to: what tells of the path is let through.
pub(in crate::rules) const ROUTED4: Set = names("routed4");
pub(in crate::rules) const ROUTED6: Set = names("routed6");
/// A bridge with itself.
pub(in crate::rules) const WITHIN: Set = pairs("within");
/// What may talk directly: a bridge with itself, a trusted interface with a bridge.
pub(in crate::rules) const TALK: Set = pairs("talk");
/// Subnet and its bridge: a published port reached from inside the same bridge.
/// (A bridged packet has no input interface in postrouting, so its source tells.)
pub(in crate::rules) const HAIRPIN4: Set = Set {
    name: "hairpin4",
    key: &[Type::Ipv4, Type::Interface],
    data: &[],
    interval: true,
    timeout: false,
};
pub(in crate::rules) const HAIRPIN6: Set = Set {
    name: "hairpin6",
    key: &[Type::Ipv6, Type::Interface],
    data: &[],
    interval: true,
    timeout: false,
};
/// Ports published on every address of the host.
pub(in crate::rules) const ANY4: Set =
    map("any4", &[Type::Protocol, Type::Port], &[Type::Ipv4, Type::Port]);
pub(in crate::rules) const ANY6: Set =
    map("any6", &[Type::Protocol, Type::Port], &[Type::Ipv6, Type::Port]);
/// Ports published on one address.
pub(in crate::rules) const ADDR4: Set = map("addr4", IPV4_PORT, &[Type::Ipv4, Type::Port]);
pub(in crate::rules) const ADDR6: Set = map("addr6", IPV6_PORT, &[Type::Ipv6, Type::Port]);
/// Ports that may be reached at the container's own address.
pub(in crate::rules) const OPEN4: Set = set("open4", IPV4_PORT);
pub(in crate::rules) const OPEN6: Set = set("open6", IPV6_PORT);
/// Who may reach which port of whom on a bridge whose containers do not talk.
pub(in crate::rules) const LINKS4: Set =
    set("links4", &[Type::Ipv4, Type::Ipv4, Type::Protocol, Type::Port]);
pub(in crate::rules) const LINKS6: Set =
    set("links6", &[Type::Ipv6, Type::Ipv6, Type::Protocol, Type::Port]);
/// Families that this host forwards for containers only: rcnt switched it on.
pub(in crate::rules) const FENCED: Set = set("fenced", &[Type::Family]);

/// All of them.
pub(in crate::rules) const SETS: [Set; 21] = [
    BRIDGES,
    INTERNAL,
    MASQUERADED4,
    MASQUERADED6,
    UNPROTECTED4,
    UNPROTECTED6,
    ROUTED4,
    ROUTED6,
    WITHIN,
    TALK,
    HAIRPIN4,
    HAIRPIN6,
    ANY4,
    ANY6,
    ADDR4,
    ADDR6,
    OPEN4,
    OPEN6,
    LINKS4,
    LINKS6,
    FENCED,
];
