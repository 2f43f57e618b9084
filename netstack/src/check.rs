//! Compares the kernel with what was recorded, and mends what has drifted without
//! touching what is as it should be: connections go on.
//!
//! - `read`      the facts, once (links, addresses, routes, settings, the table)
//! - `compare`   recorded and found → findings, each with what would mend it (pure)
//! - [`check`]   both, and the mending on request
//!
//! Callers: `network check`. What is not the kernel's (files, the resolver) is
//! compared by the engine.

mod compare;
mod read;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;

use crate::apply;
use crate::neighbours::ForwardDrop;
use crate::plan::{BridgePlan, NetworkPlan};
use crate::rules::{self, Entry};
use crate::sysctl::ProcSys;
use compare::compare;
use read::read;

/// What there should be.
#[derive(Debug)]
pub struct Recorded<'a> {
    /// The instance's table.
    pub table: &'a str,
    /// Whether there are rules at all.
    pub firewall: bool,
    /// Every bridge that a network has.
    pub bridges: &'a [BridgePlan],
    /// Every running container's places, with its namespace.
    pub places: &'a [(NetworkPlan, BorrowedFd<'a>)],
    /// Families that the host forwards for containers only.
    pub fenced: &'a [bool],
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The host.
    Host,
    /// The bridge with this interface.
    Bridge(String),
    /// The container of this name.
    Container(String),
}

/// Something that is not as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whom it concerns.
    pub subject: Subject,
    /// What is wrong, one line.
    pub what: String,
    /// It is as recorded again.
    pub mended: bool,
}

/// What would mend a finding. Places and bridges are counted as in [`Recorded`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mend {
    /// Nothing here can.
    Nothing,
    /// The bridge is made or completed.
    Bridge(usize),
    /// The host's end is put back into the bridge.
    Replug(usize),
    /// A new veth pair is made.
    Attach(usize),
    /// The container's side is configured again.
    Inside(usize),
    /// Its bandwidth is limited again.
    Limit(usize),
    /// Forwarding is switched on.
    Forwarding(bool),
    /// IPv4 packets that come in by this interface are forwarded.
    ForwardingFrom(String),
    /// Rules and elements are declared again.
    Rules,
    /// An element that leads to nobody is removed.
    Surplus(Entry),
    /// Somebody else's documented door is opened to our bridges.
    Door(ForwardDrop),
}

/// Compares what concerns the `wanted`, and mends it if `repair`.
///
/// # Errors
/// The kernel does not tell its state.
pub fn check(
    recorded: &Recorded<'_>,
    sysctls: &ProcSys,
    repair: bool,
    wanted: &dyn Fn(&Subject) -> bool,
) -> io::Result<Vec<Finding>> {
    let facts = read(recorded, sysctls)?;
    let mut found = compare(recorded, &facts);
    found.retain(|(finding, _)| wanted(&finding.subject));
    if repair {
        // What is made anew comes before what hangs on it, and once each.
        let mut done: Vec<(Mend, bool)> = Vec::new();
        for (finding, mend) in &mut found {
            finding.mended = match done.iter().find(|(m, _)| m == mend) {
                Some((_, ok)) => *ok,
                None => {
                    let result = carry_out(recorded, sysctls, mend);
                    if let Err(why) = &result {
                        finding.what = format!("{} (cannot be mended: {why})", finding.what);
                    }
                    done.push((mend.clone(), result.is_ok()));
                    result.is_ok()
                }
            };
        }
    }
    Ok(found.into_iter().map(|(finding, _)| finding).collect())
}

fn carry_out(recorded: &Recorded<'_>, sysctls: &ProcSys, mend: &Mend) -> Result<(), String> {
    let place = |n: usize| recorded.places.get(n).ok_or_else(|| "it is gone".to_owned());
    match mend {
        Mend::Nothing => Err("rcnt does not change it".to_owned()),
        Mend::Bridge(n) => match recorded.bridges.get(*n) {
            Some(bridge) => {
                apply::raise_bridge(bridge, sysctls).map_err(|e| rcnt_base::report::chain(&e))
            }
            None => Err("it is gone".to_owned()),
        },
        Mend::Replug(n) => apply::replug(&place(*n)?.0).map_err(|e| rcnt_base::report::chain(&e)),
        Mend::Attach(n) => {
            let (plan, netns) = place(*n)?;
            apply::attach(plan, *netns, sysctls).map(drop).map_err(|e| rcnt_base::report::chain(&e))
        }
        Mend::Inside(n) => {
            let (plan, netns) = place(*n)?;
            apply::configure_again(plan, *netns).map_err(|e| rcnt_base::report::chain(&e))
        }
        Mend::Limit(n) => {
            let (plan, netns) = place(*n)?;
            apply::shape::limit_again(plan, *netns).map_err(|e| e.to_string())
        }
        Mend::Forwarding(ipv6) => {
            sysctls.write(forwarding_name(*ipv6), "1").map_err(|e| e.to_string())
        }
        Mend::ForwardingFrom(interface) => {
            sysctls.write(&forwarding_from(interface), "1").map_err(|e| e.to_string())
        }
        Mend::Rules => declare_all(recorded).map_err(|e| rcnt_base::report::chain(&e)),
        Mend::Surplus(entry) => {
            apply::ruleset::remove_one(recorded.table, entry).map_err(|e| e.to_string())
        }
        Mend::Door(drop) => {
            apply::door::open(drop, recorded.table).map_err(|e| e.to_string())?;
            let names: Vec<&str> = drop.bridges.iter().map(String::as_str).collect();
            let now = crate::neighbours::read(recorded.table, &names).map_err(|e| e.to_string())?;
            match now.iter().find(|now| now.firewall == drop.firewall && now.chain == drop.chain) {
                Some(still) => Err(format!("{still}, before it comes to DOCKER-USER")),
                None => Ok(()),
            }
        }
    }
}

/// Every rule, every element; what is there stays, and so do tracked connections.
fn declare_all(recorded: &Recorded<'_>) -> Result<(), apply::AttachError> {
    apply::declare(recorded.table, &rules::BASE)?;
    if recorded.places.iter().any(|(plan, _)| plan.endpoint.egress.is_some()) {
        apply::declare(recorded.table, &rules::LISTS)?;
    }
    if !recorded.fenced.is_empty() {
        apply::fence(recorded.table, recorded.fenced)?;
    }
    let on_bridges = recorded.places.iter().filter(|(plan, _)| plan.wire.bridge().is_some());
    on_bridges.map(|(plan, _)| plan).try_for_each(apply::publish)
}

/// The setting that makes the host forward.
pub(crate) fn forwarding_name(ipv6: bool) -> &'static str {
    if ipv6 { "net/ipv6/conf/all/forwarding" } else { "net/ipv4/ip_forward" }
}

/// The setting that makes the host forward IPv4 packets that come in by an interface. It
/// gets the value of the one above when that one changes, and can be changed by itself.
pub(crate) fn forwarding_from(interface: &str) -> String {
    format!("net/ipv4/conf/{interface}/forwarding")
}

/// What was found, by the same order as recorded.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) links: Vec<crate::facts::Link>,
    pub(crate) addresses: Vec<crate::facts::Address>,
    /// Interfaces that IPv4 default routes lead to.
    pub(crate) uplinks: Vec<String>,
    /// Values of settings that were read.
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) inside: Vec<Inside>,
    /// Whether the table's rules are whole.
    pub(crate) whole: bool,
    /// Chains of the table with other rules than they should have, or another policy.
    pub(crate) changed: Vec<&'static str>,
    pub(crate) elements: Vec<Entry>,
    /// Whether the rules of egress lists are whole, where there are lists.
    pub(crate) lists: bool,
    /// Chains of wires that let only their own addresses in.
    pub(crate) guarded: Vec<String>,
    /// Chains of others that drop what our bridges forward, and whether there is a door
    /// to let them through.
    pub(crate) drops: Vec<(ForwardDrop, bool)>,
}

/// One container's side.
#[derive(Debug, Default)]
pub(crate) struct Inside {
    pub(crate) links: Vec<crate::facts::Link>,
    pub(crate) addresses: Vec<crate::facts::Address>,
    pub(crate) routes: Vec<crate::facts::Route>,
    /// Bytes per second that come in and go out, where there are limits.
    pub(crate) limits: (Option<u64>, Option<u64>),
}
