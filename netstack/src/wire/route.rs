//! rtnetlink(7): addresses and routes, as requests and as read back.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Malformed, Message, Requests, abi, attributes, find, read_address, read_u32};
use crate::facts::{Address, Route};
use crate::socket::Socket;

/// Whether RTM_NEWADDR waits for duplicate address detection is no choice of
/// ours: we own the subnet, so IFA_F_NODAD always (docker waits up to 2 s here).
pub(crate) fn add_address(requests: &mut Requests, address: &Address) -> u32 {
    let Address { link, address: ip, prefix } = *address;
    let family = family(ip);
    let [a, b, c, d] = link.to_ne_bytes();
    let header = [family, prefix, 0, 0, a, b, c, d];
    let flags = abi::NLM_F_REQUEST | abi::NLM_F_ACK | abi::NLM_F_CREATE | abi::NLM_F_EXCL;
    requests.message(abi::RTM_NEWADDR, flags, &header, |a| {
        a.address(abi::IFA_LOCAL, ip);
        a.address(abi::IFA_ADDRESS, ip);
        if let IpAddr::V4(ip) = ip
            && prefix < 31
        {
            let host_bits = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            a.put(abi::IFA_BROADCAST, &Ipv4Addr::from(u32::from(ip) | host_bits).octets());
        }
        a.u32(abi::IFA_FLAGS, abi::IFA_F_NODAD);
    })
}

/// A route in the main table.
pub(crate) fn add_route(requests: &mut Requests, route: &Route) -> u32 {
    route_message(requests, abi::RTM_NEWROUTE, abi::NLM_F_CREATE | abi::NLM_F_EXCL, route)
}

/// The same in place of the one to this destination, if there is one.
pub(crate) fn replace_route(requests: &mut Requests, route: &Route) -> u32 {
    route_message(requests, abi::RTM_NEWROUTE, abi::NLM_F_CREATE | abi::NLM_F_REPLACE, route)
}

/// Removes the route to this destination by the gateway and link it names, if any.
pub(crate) fn delete_route(requests: &mut Requests, route: &Route) -> u32 {
    route_message(requests, abi::RTM_DELROUTE, 0, route)
}

fn route_message(requests: &mut Requests, kind: u16, how: u16, route: &Route) -> u32 {
    let Route { destination, prefix, gateway, link, table: _ } = *route;
    let header = [
        family(destination),
        prefix,
        0,
        0,
        abi::RT_TABLE_MAIN,
        abi::RTPROT_BOOT,
        abi::RT_SCOPE_UNIVERSE,
        abi::RTN_UNICAST,
        0,
        0,
        0,
        0,
    ];
    let flags = abi::NLM_F_REQUEST | abi::NLM_F_ACK | how;
    requests.message(kind, flags, &header, |a| {
        if prefix > 0 {
            a.address(abi::RTA_DST, destination);
        }
        if let Some(gateway) = gateway {
            a.address(abi::RTA_GATEWAY, gateway);
        }
        if let Some(link) = link {
            a.u32(abi::RTA_OIF, link);
        }
    })
}

/// What a dump lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dump {
    Links,
    Addresses,
    Routes,
}

impl Dump {
    /// Strictly checked requests carry the right header, all zero for "everything".
    pub(crate) fn request(self, requests: &mut Requests) -> u32 {
        let (kind, header): (u16, &[u8]) = match self {
            Dump::Links => (abi::RTM_GETLINK, &[0; 16]),
            Dump::Addresses => (abi::RTM_GETADDR, &[0; 8]),
            Dump::Routes => (abi::RTM_GETROUTE, &[0; 12]),
        };
        requests.message(kind, abi::NLM_F_REQUEST | abi::NLM_F_DUMP, header, |_| {})
    }
}

/// The route to an address as the kernel decides (rtnetlink(7), RTM_GETROUTE), with
/// the name of its interface; or the errno: ENETUNREACH without a route, EHOSTUNREACH,
/// EACCES and EINVAL by a route that forbids. `from` asks for a packet with that source
/// that comes in by that interface: EXDEV when reverse path filtering would drop it.
pub(crate) fn look_up(
    socket: &mut Socket,
    to: IpAddr,
    from: Option<(IpAddr, u32)>,
) -> io::Result<Result<(Route, String), i32>> {
    let bits = if to.is_ipv4() { 32 } else { 128 };
    let mut header = [family(to), bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    if let (Some(slot), Some(_)) = (header.get_mut(2), from) {
        *slot = bits;
    }
    if let Some(flags) = header.get_mut(8..) {
        flags.copy_from_slice(&abi::RTM_F_FIB_MATCH.to_ne_bytes());
    }
    let mut requests = Requests::default();
    let sequence = requests.message(abi::RTM_GETROUTE, abi::NLM_F_REQUEST, &header, |a| {
        a.address(abi::RTA_DST, to);
        if let Some((from, link)) = from {
            a.address(abi::RTA_SRC, from);
            a.u32(abi::RTA_IIF, link);
        }
    });
    let mut found = None;
    let answers = socket.exchange(&requests, |message| {
        found = read_route(message).map_err(io::Error::other)?;
        Ok(())
    })?;
    match (found, answers.errno(sequence)) {
        (Some(route), _) => {
            let name = route.link.map(|link| socket.interface_name(link)).transpose()?;
            Ok(Ok((route, name.unwrap_or_default())))
        }
        (None, errno) => Ok(Err(errno)),
    }
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => abi::AF_INET,
        IpAddr::V6(_) => abi::AF_INET6,
    }
}

/// Splits a message into its fixed header and its attributes.
fn split<'a>(message: &Message<'a>, header: usize) -> Result<(&'a [u8], &'a [u8]), Malformed> {
    message.payload.split_at_checked(header).ok_or(Malformed)
}

/// Reads RTM_NEWADDR; `None` for families other than IP.
pub(crate) fn read_address_of(message: &Message<'_>) -> Result<Option<Address>, Malformed> {
    let (header, rest) = split(message, 8)?;
    // IFA_LOCAL differs from IFA_ADDRESS on point-to-point links, and is absent for IPv6.
    let ip = find(rest, abi::IFA_LOCAL).or_else(|| find(rest, abi::IFA_ADDRESS));
    let link = read_u32(header, 4).ok_or(Malformed)?;
    let prefix = *header.get(1).ok_or(Malformed)?;
    Ok(ip.and_then(read_address).map(|address| Address { link, address, prefix }))
}

/// Reads RTM_NEWROUTE; `None` for families other than IP.
pub(crate) fn read_route(message: &Message<'_>) -> Result<Option<Route>, Malformed> {
    let (header, rest) = split(message, 12)?;
    let unspecified: IpAddr = match *header.first().ok_or(Malformed)? {
        abi::AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        abi::AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return Ok(None),
    };
    let mut route = Route {
        destination: unspecified,
        prefix: *header.get(1).ok_or(Malformed)?,
        gateway: None,
        link: None,
        table: u32::from(*header.get(4).ok_or(Malformed)?),
    };
    for attribute in attributes(rest) {
        let (kind, value) = attribute?;
        match kind {
            abi::RTA_DST => route.destination = read_address(value).ok_or(Malformed)?,
            abi::RTA_GATEWAY => route.gateway = read_address(value),
            abi::RTA_OIF => route.link = read_u32(value, 0),
            abi::RTA_TABLE => route.table = read_u32(value, 0).ok_or(Malformed)?,
            _ => {}
        }
    }
    Ok(Some(route))
}

/// Reads RTM_NEWROUTE of a route that leads nowhere on purpose, with the word that
/// `ip route` has for it; `None` for all others.
pub(crate) fn read_dead_end(
    message: &Message<'_>,
) -> Result<Option<(Route, &'static str)>, Malformed> {
    let word = match message.payload.get(7) {
        Some(&abi::RTN_BLACKHOLE) => "blackhole",
        Some(&abi::RTN_UNREACHABLE) => "unreachable",
        Some(&abi::RTN_PROHIBIT) => "prohibit",
        _ => return Ok(None),
    };
    Ok(read_route(message)?.map(|route| (route, word)))
}

#[cfg(test)]
mod tests {
    use super::super::messages;
    use super::*;
    use proptest::prelude::*;

    fn any_address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from)
        ]
    }

    fn only(requests: &Requests) -> Message<'_> {
        messages(requests.bytes().unwrap()).next().unwrap().unwrap()
    }

    proptest! {
        #[test]
        fn an_address_written_is_the_address_read(link: u32, address in any_address(), prefix in 0u8..=32) {
            let address = Address { link, address, prefix };
            let mut requests = Requests::default();
            add_address(&mut requests, &address);
            prop_assert_eq!(read_address_of(&only(&requests)).unwrap(), Some(address));
        }

        #[test]
        fn a_route_written_is_the_route_read(
            link in proptest::option::of(any::<u32>()), destination in any_address(), prefix in 1u8..=32,
            gateway in proptest::option::of(any_address())
        ) {
            let route = Route { destination, prefix, gateway, link, table: 254 };
            let mut requests = Requests::default();
            add_route(&mut requests, &route);
            prop_assert_eq!(read_route(&only(&requests)).unwrap(), Some(route));
        }

        #[test]
        fn hostile_answers_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..120)) {
            let message = Message { kind: 16, flags: 0, sequence: 0, payload: &payload };
            let _ = (read_address_of(&message), read_route(&message));
        }
    }
}
