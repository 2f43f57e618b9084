//! `--subnet`, `--gateway`, `--ip-range` and `--aux-address`: which belongs to
//! which, and the addresses they make. Pure; complaints are docker's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::choose::is_usable6;
use super::types::Addresses;
use super::wish::{CreateError, NetworkWish};
use crate::cidr::{IpNet, Ipv4Net, Ipv6Net};

/// The blocks that were typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) four: Option<Block>,
    pub(super) six: Option<Block>,
}

/// A subnet and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) subnet: IpNet,
    pub(super) gateway: Option<IpAddr>,
    pub(super) range: Option<IpNet>,
    pub(super) aux: BTreeMap<String, IpAddr>,
}

impl Block {
    pub(super) fn new(subnet: IpNet) -> Self {
        Self { subnet, gateway: None, range: None, aux: BTreeMap::new() }
    }

    /// The block around an interface's address, which is its gateway.
    pub(super) fn of(address: IpNet) -> Self {
        Self { gateway: Some(address.addr()), ..Self::new(address.truncated()) }
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, CreateError> {
    Err(CreateError::Blocks(why.into()))
}

/// Reads the blocks of a wish.
///
/// # Errors
/// What is no block or address, belongs to none, or twice to one.
pub(super) fn parse(wish: &NetworkWish) -> Result<Given, CreateError> {
    let NetworkWish { subnets, gateways, ip_ranges, aux_addresses, ipv6, .. } = wish;
    if subnets.len() < ip_ranges.len() || subnets.len() < gateways.len() {
        return refuse("every ip-range or gateway must have a corresponding subnet");
    }
    let mut blocks: Vec<Block> = Vec::new();
    for text in subnets {
        let subnet = subnet(text, *ipv6)?;
        if blocks.iter().any(|block| block.subnet.overlaps(subnet)) {
            return refuse("multiple overlapping subnet configuration is not supported");
        }
        blocks.push(Block::new(subnet));
    }
    for text in ip_ranges {
        range(&mut blocks, text)?;
    }
    for text in gateways {
        gateway(&mut blocks, text)?;
    }
    for (name, text) in aux_addresses {
        let address = address(text)?;
        let Some(block) = around(&mut blocks, address) else {
            return refuse(format!("no matching subnet for aux-address {address}"));
        };
        if block.aux.insert(name.clone(), address).is_some() {
            return refuse(format!("aux-address {name} is given twice"));
        }
    }
    let (four, six): (Vec<Block>, Vec<Block>) =
        blocks.into_iter().partition(|block| matches!(block.subnet, IpNet::V4(_)));
    Ok(Given { four: only(four)?, six: only(six)? })
}

fn only(mut blocks: Vec<Block>) -> Result<Option<Block>, CreateError> {
    let first = blocks.pop();
    match blocks.pop() {
        Some(second) => refuse(format!(
            "a network has one subnet of each address family, not {} and {}",
            second.subnet,
            first.map_or_else(String::new, |block| block.subnet.to_string())
        )),
        None => Ok(first),
    }
}

fn address(text: &str) -> Result<IpAddr, CreateError> {
    text.parse().or_else(|_| refuse(format!("invalid address: {text}")))
}

fn around(blocks: &mut [Block], address: IpAddr) -> Option<&mut Block> {
    blocks.iter_mut().find(|block| block.subnet.contains(address))
}

fn subnet(text: &str, ipv6: bool) -> Result<IpNet, CreateError> {
    let subnet: IpNet = text.parse()?;
    let invalid = |why: String| refuse(format!("invalid subnet {text}: {why}"));
    if subnet.truncated() != subnet {
        return invalid(format!("it should be {}", subnet.truncated()));
    }
    if matches!(subnet, IpNet::V6(_)) && !ipv6 {
        return invalid("IPv6 has not been enabled for this network".to_owned());
    }
    let longest = if matches!(subnet, IpNet::V4(_)) { 30 } else { 126 };
    if subnet.prefix() > longest {
        return invalid(format!("no room for a gateway and a container beyond /{longest}"));
    }
    let special = match subnet.addr() {
        // 0/8, 127/8, 169.254/16, 224/4 and above: nobody routes them (RFC 6890).
        IpAddr::V4(a) => {
            matches!(a.octets()[0], 0 | 127 | 224..) || a.is_link_local() || subnet.prefix() == 0
        }
        IpAddr::V6(a) => {
            a.is_multicast() || a.is_loopback() || a.is_unicast_link_local() || a.is_unspecified()
        }
    };
    if special {
        return invalid("these are no addresses that a container can have".to_owned());
    }
    Ok(subnet)
}

fn range(blocks: &mut [Block], text: &str) -> Result<(), CreateError> {
    let range: IpNet = text.parse()?;
    let Some(block) = around(blocks, range.addr()).filter(|block| block.subnet.covers(range))
    else {
        return refuse(format!("no matching subnet for range {text}"));
    };
    if let Some(first) = block.range {
        let subnet = block.subnet;
        return refuse(format!(
            "cannot configure multiple ranges ({text}, {first}) on the same subnet ({subnet})"
        ));
    }
    if matches!(range, IpNet::V6(_)) {
        return refuse(format!(
            "invalid ip-range {text}: IPv6 addresses follow the IPv4 ones, whose range counts"
        ));
    }
    block.range = Some(range.truncated());
    Ok(())
}

fn gateway(blocks: &mut [Block], text: &str) -> Result<(), CreateError> {
    let gateway = address(text)?;
    let Some(block) = around(blocks, gateway) else {
        return refuse(format!("no matching subnet for gateway {text}"));
    };
    let subnet = block.subnet;
    if let Some(first) = block.gateway {
        return refuse(format!(
            "cannot configure multiple gateways ({text}, {first}) for the same subnet ({subnet})"
        ));
    }
    let ends = match subnet {
        IpNet::V4(subnet) => vec![subnet.network().into(), subnet.last().into()],
        // RFC 4291 has no broadcast; the first address is any router's.
        IpNet::V6(subnet) => vec![IpAddr::V6(subnet.network())],
    };
    if ends.contains(&gateway) {
        return refuse(format!(
            "invalid gateway {text}: it is the network or broadcast address of {subnet}"
        ));
    }
    block.gateway = Some(gateway);
    Ok(())
}

/// The addresses that these blocks make.
///
/// # Errors
/// An auxiliary address that is the gateway, an IPv6 subnet too small for the IPv4 one.
pub(super) fn addresses(four: &Block, six: Option<&Block>) -> Result<Addresses, CreateError> {
    let IpNet::V4(subnet4) = four.subnet else { return refuse("no IPv4 subnet") };
    let mut reserved: BTreeSet<IpAddr> = four.aux.values().copied().collect();
    let gateway4 = match four.gateway {
        Some(IpAddr::V4(gateway)) => gateway,
        _ => first_free(subnet4, &reserved)?,
    };
    not_taken(gateway4.into(), &reserved)?;
    let range4 = match four.range {
        Some(IpNet::V4(range)) => Some(range),
        _ => None,
    };
    let (subnet6, gateway6) = match six {
        Some(block) => addresses6(block, subnet4, gateway4, &mut reserved)?,
        None => (None, None),
    };
    Ok(Addresses { subnet4, gateway4, range4, subnet6, gateway6, reserved })
}

/// The first address that is not spoken for.
fn first_free(subnet: Ipv4Net, reserved: &BTreeSet<IpAddr>) -> Result<Ipv4Addr, CreateError> {
    (1..)
        .map_while(|n| subnet.nth(n))
        .find(|address| !reserved.contains(&IpAddr::V4(*address)))
        .filter(|address| *address != subnet.last())
        .ok_or_else(|| CreateError::Blocks(format!("no address for a gateway in {subnet}")))
}

fn not_taken(gateway: IpAddr, reserved: &BTreeSet<IpAddr>) -> Result<(), CreateError> {
    match reserved.contains(&gateway) {
        true => refuse(format!("failed to allocate gateway ({gateway}): Address already in use")),
        false => Ok(()),
    }
}

fn addresses6(
    block: &Block,
    subnet4: Ipv4Net,
    gateway4: Ipv4Addr,
    reserved: &mut BTreeSet<IpAddr>,
) -> Result<(Option<Ipv6Net>, Option<Ipv6Addr>), CreateError> {
    let IpNet::V6(subnet) = block.subnet else { return refuse("no IPv6 subnet") };
    if !is_usable6(subnet, subnet4) {
        let bits = 128 - subnet4.host_bits();
        return refuse(format!(
            "invalid subnet {subnet}: IPv6 addresses follow the IPv4 ones, which takes /{bits} or shorter"
        ));
    }
    reserved.extend(block.aux.values().copied());
    let gateway = match block.gateway {
        Some(IpAddr::V6(gateway)) => Some(gateway),
        _ => subnet.nth(u128::from(subnet4.host_part(gateway4))),
    };
    if let Some(gateway) = gateway {
        not_taken(gateway.into(), reserved)?;
        // It may not go with the IPv4 gateway: then no container may have what goes with it.
        reserved.insert(gateway.into());
    }
    Ok((Some(subnet), gateway))
}
