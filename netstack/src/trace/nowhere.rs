//! Why a namespace's routing does not take a packet: routes that lead nowhere on
//! purpose, and interfaces that are down.

use std::io;
use std::net::IpAddr;

use rcnt_base::sys::netlink::Family;

use crate::facts;
use crate::socket::Socket;
use crate::wire::link::read_link;
use crate::wire::route::{Dump, read_dead_end};

/// What is in the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Nowhere {
    /// `blackhole 10.0.0.0/8`: the most particular one that has the address.
    pub(super) route: Option<String>,
    /// Interfaces that are down, or whose other end is.
    pub(super) down: Vec<String>,
}

/// IFF_RUNNING of linux/if.h: up, and the wire has another end.
const RUNNING: u32 = 0x40;

/// Looks around in the calling thread's namespace.
pub(super) fn read(to: IpAddr) -> io::Result<Nowhere> {
    Ok(Nowhere { route: dead_end(to)?, down: down()? })
}

/// The interfaces that let nothing through.
pub(super) fn down() -> io::Result<Vec<String>> {
    Socket::open(Family::Route)?.dump(
        |requests| {
            Dump::Links.request(requests);
        },
        |message| {
            let link =
                read_link(message).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            // The flags are the third word of `struct ifinfomsg` (rtnetlink(7)).
            let flags = message.payload.get(8..).and_then(|rest| rest.first_chunk());
            let runs = flags.is_none_or(|flags| u32::from_ne_bytes(*flags) & RUNNING != 0);
            Ok((!runs && link.name != "lo").then_some(link.name))
        },
    )
}

fn dead_end(to: IpAddr) -> io::Result<Option<String>> {
    let dead_ends = Socket::open(Family::Route)?.dump(
        |requests| {
            Dump::Routes.request(requests);
        },
        |message| {
            let read = read_dead_end(message);
            read.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
        },
    )?;
    let within = |route: &facts::Route| within(to, route.destination, route.prefix);
    let closest = dead_ends.into_iter().filter(|(route, _)| within(route));
    let closest = closest.max_by_key(|(route, _)| route.prefix);
    Ok(closest.map(|(route, word)| match route.prefix {
        0 => format!("{word} default"),
        prefix => format!("{word} {}/{prefix}", route.destination),
    }))
}

/// Whether the first bits are the same.
fn within(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let differ = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (u32::from(a) ^ u32::from(n)).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(n)) => (u128::from(a) ^ u128::from(n)).leading_zeros(),
        _ => return false,
    };
    differ >= u32::from(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_with_its_first_bits() {
        let within = |address: &str, network: &str, prefix| {
            within(address.parse().unwrap(), network.parse().unwrap(), prefix)
        };
        assert!(within("10.1.2.3", "10.1.0.0", 16) && within("10.1.2.3", "0.0.0.0", 0));
        assert!(within("10.1.2.3", "10.1.2.3", 32) && !within("10.1.2.3", "10.1.2.2", 32));
        assert!(within("fd00::1", "fd00::", 64) && !within("fd00::1", "10.0.0.0", 0));
    }
}
