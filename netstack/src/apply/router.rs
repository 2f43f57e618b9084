//! Whether the host forwards at all. Switched on where containers need it, and never
//! more than that.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use super::{AttachError, ruleset};
use crate::facts;
use crate::plan::NetworkPlan;
use crate::sysctl::ProcSys;

const FORWARD4: &str = "net/ipv4/ip_forward";
/// Two writers in each other's way twice in a row is unheard of.
const SWITCH_ATTEMPTS: u32 = 8;

/// Sees to it that the host forwards a family. Where that has to be switched on, the
/// host must not become a router between its other networks (moby#39439): the fence
/// comes first. Returns the family (whether it is IPv6) if it was switched on.
pub(super) fn forward(
    plan: &NetworkPlan,
    sysctls: &ProcSys,
    ipv6: bool,
) -> Result<Option<bool>, AttachError> {
    let name = if ipv6 { "net/ipv6/conf/all/forwarding" } else { FORWARD4 };
    let cannot = |e| AttachError::sysctl(name, "1", e);
    if sysctls.read(name).map_err(cannot)? == "1" {
        return Ok(None);
    }
    if plan.host.firewall {
        ruleset::fence(&plan.table, &[ipv6])
            .map_err(|source| AttachError::Rules { table: plan.table.clone(), source })?;
    }
    if ipv6 { sysctls.write(name, "1") } else { switch_on4(sysctls) }.map_err(cannot)?;
    Ok(Some(ipv6))
}

/// Switches IPv4 forwarding on, for every interface. The kernel hands the switch on to
/// the interfaces only if it changes, and lets a writer that cannot have RTNL at once
/// put the old value back and begin anew (`devinet_sysctl_forward`): of two writers
/// each may take the other's value for its own, and then none hands it on. The
/// interfaces to come tell whether it was.
fn switch_on4(sysctls: &ProcSys) -> io::Result<()> {
    for _ in 0..SWITCH_ATTEMPTS {
        sysctls.write(FORWARD4, "1")?;
        if sysctls.read("net/ipv4/conf/default/forwarding")? == "1" {
            return Ok(());
        }
        sysctls.write(FORWARD4, "0")?;
    }
    sysctls.write(FORWARD4, "1")
}

/// A host that forwards IPv6 ignores router advertisements from then on, and loses
/// the default route it has from them, unless that interface's accept_ra is 2
/// (kernel documentation, ip-sysctl). Only when forwarding is about to be turned on.
pub(super) fn keep_router_advertisements(sysctls: &ProcSys) -> io::Result<()> {
    if sysctls.read("net/ipv6/conf/all/forwarding")? == "1" {
        return Ok(());
    }
    // Routers announce their link-local address.
    let announced: BTreeSet<u32> = facts::read_routes()?
        .into_iter()
        .filter(|route| route.prefix == 0)
        .filter(|route| matches!(route.gateway, Some(IpAddr::V6(g)) if g.is_unicast_link_local()))
        .filter_map(|route| route.link)
        .collect();
    if announced.is_empty() {
        return Ok(());
    }
    for link in facts::read_links()?.iter().filter(|link| announced.contains(&link.index)) {
        let name = format!("net/ipv6/conf/{}/accept_ra", link.name);
        if sysctls.read(&name)? == "1" {
            sysctls.write(&name, "2")?;
        }
    }
    Ok(())
}
