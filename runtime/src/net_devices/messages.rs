//! rtnetlink(7) as far as moving an interface needs it: pure.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rcnt_base::netlink::abi::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST};
use rcnt_base::netlink::{Malformed, Message, Requests, attributes, read_u32};

// linux/rtnetlink.h
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RT_SCOPE_UNIVERSE: u8 = 0;
// linux/if_link.h
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
// linux/if.h
const IFF_UP: u32 = 1;
// linux/if_addr.h
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_HOMEADDRESS: u32 = 0x10;
const IFA_F_PERMANENT: u32 = 0x80;
const IFA_F_MANAGETEMPADDR: u32 = 0x100;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;
const IFA_F_MCAUTOJOIN: u32 = 0x400;
/// Flags that somebody chose; the others tell of the address's life so far.
const CHOSEN: u32 =
    IFA_F_NODAD | IFA_F_HOMEADDRESS | IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE | IFA_F_MCAUTOJOIN;

/// An interface as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) up: bool,
}

/// An address that an interface keeps wherever it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    family: u8,
    prefix: u8,
    /// Attributes as they were read: local, peer, broadcast, metric, flags.
    attributes: Vec<(u16, Vec<u8>)>,
}

/// `struct ifinfomsg`; the change mask says that only IFF_UP is meant.
fn link_header(index: u32, up: Option<bool>) -> [u8; 16] {
    let mut header = [0; 16];
    let flags = if up == Some(true) { IFF_UP } else { 0 };
    let mask = if up.is_some() { IFF_UP } else { 0 };
    for (slot, value) in header.chunks_exact_mut(4).zip([0, index, flags, mask]) {
        slot.copy_from_slice(&value.to_ne_bytes());
    }
    header
}

/// Asks for the interface of this number.
pub(super) fn get_link(requests: &mut Requests, index: u32) {
    requests.message(RTM_GETLINK, NLM_F_REQUEST, &link_header(index, None), |_| {});
}

/// Asks for all interfaces.
pub(super) fn list_links(requests: &mut Requests) {
    let header = link_header(0, None);
    requests.message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, &header, |_| {});
}

/// Moves an interface to another namespace and renames it. The kernel takes it
/// down first, so it may be renamed.
pub(super) fn move_link(
    requests: &mut Requests,
    index: u32,
    name: &str,
    netns: BorrowedFd<'_>,
) -> u32 {
    let header = link_header(index, None);
    requests.message(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, &header, |a| {
        a.text(IFLA_IFNAME, name);
        a.put(IFLA_NET_NS_FD, &netns.as_raw_fd().to_ne_bytes());
    })
}

/// Takes an interface up or down.
pub(super) fn set_link(requests: &mut Requests, index: u32, up: bool) -> u32 {
    let header = link_header(index, Some(up));
    requests.message(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, &header, |_| {})
}

/// Asks for the addresses of one interface.
pub(super) fn list_addresses(requests: &mut Requests, index: u32) {
    let [a, b, c, d] = index.to_ne_bytes();
    let header = [0, 0, 0, 0, a, b, c, d];
    requests.message(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, &header, |_| {});
}

/// Gives an interface an address.
pub(super) fn add_address(requests: &mut Requests, index: u32, address: &Address) -> u32 {
    let [a, b, c, d] = index.to_ne_bytes();
    let header = [address.family, address.prefix, 0, RT_SCOPE_UNIVERSE, a, b, c, d];
    let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    requests.message(RTM_NEWADDR, flags, &header, |a| {
        for (kind, value) in &address.attributes {
            a.put(*kind, value);
        }
    })
}

/// Reads RTM_NEWLINK.
pub(super) fn read_link(message: &Message<'_>) -> Result<Link, Malformed> {
    Ok(Link {
        index: read_u32(message.payload, 4).ok_or(Malformed)?,
        up: read_u32(message.payload, 8).ok_or(Malformed)? & IFF_UP != 0,
    })
}

/// Reads RTM_NEWADDR; `None` for an address that stays behind: of a scope that is
/// this host's, or lent for a time (DHCP, router advertisements, privacy), which
/// nobody would renew over there. The interface's number comes with it, for
/// kernels that list all of them whatever was asked for.
pub(super) fn read_address(message: &Message<'_>) -> Result<Option<(u32, Address)>, Malformed> {
    let (header, rest) = message.payload.split_at_checked(8).ok_or(Malformed)?;
    let [family, prefix, short_flags, scope, ..] = *header else { return Err(Malformed) };
    let index = read_u32(header, 4).ok_or(Malformed)?;
    let mut flags = u32::from(short_flags);
    let mut kept = Vec::new();
    for attribute in attributes(rest) {
        let (kind, value) = attribute?;
        match kind {
            IFA_FLAGS => flags = read_u32(value, 0).ok_or(Malformed)?,
            // Not the label, which is the interface's old name.
            IFA_ADDRESS | IFA_LOCAL | IFA_BROADCAST | IFA_RT_PRIORITY => {
                kept.push((kind, value.to_vec()));
            }
            _ => {}
        }
    }
    if scope != RT_SCOPE_UNIVERSE || flags & IFA_F_PERMANENT == 0 {
        return Ok(None);
    }
    kept.push((IFA_FLAGS, (flags & CHOSEN).to_ne_bytes().to_vec()));
    Ok(Some((index, Address { family, prefix, attributes: kept })))
}

impl Address {
    /// As text, for errors: `10.1.2.3/24`.
    pub(super) fn describe(&self) -> String {
        let of = |wanted| {
            let found = self.attributes.iter().find(|(kind, _)| *kind == wanted);
            found.and_then(|(_, value)| rcnt_base::netlink::read_address(value))
        };
        let ip: Option<IpAddr> = of(IFA_LOCAL).or_else(|| of(IFA_ADDRESS));
        ip.map_or_else(|| "an address".to_owned(), |ip| format!("{ip}/{}", self.prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcnt_base::netlink::messages;

    fn told(flags: u32, scope: u8, label: &str) -> Vec<u8> {
        let mut requests = Requests::default();
        let header = [2, 24, 0, scope, 7, 0, 0, 0];
        requests.message(RTM_NEWADDR, 0, &header, |a| {
            a.put(IFA_ADDRESS, &[10, 1, 2, 3]);
            a.put(IFA_LOCAL, &[10, 1, 2, 3]);
            a.text(3, label);
            a.u32(IFA_FLAGS, flags);
        });
        requests.bytes().unwrap().to_vec()
    }

    fn read(bytes: &[u8]) -> Option<(u32, Address)> {
        read_address(&messages(bytes).next().unwrap().unwrap()).unwrap()
    }

    #[test]
    fn an_address_is_given_again_as_it_was_without_its_label() {
        let bytes = told(IFA_F_PERMANENT | IFA_F_NODAD, RT_SCOPE_UNIVERSE, "eth0:1");
        let (index, address) = read(&bytes).unwrap();
        assert_eq!((index, address.describe().as_str()), (7, "10.1.2.3/24"));
        let mut requests = Requests::default();
        add_address(&mut requests, 9, &address);
        let message = messages(requests.bytes().unwrap()).next().unwrap().unwrap();
        assert_eq!(message.payload[..8], [2, 24, 0, 0, 9, 0, 0, 0]);
        let kinds: Vec<u16> = attributes(&message.payload[8..]).map(|a| a.unwrap().0).collect();
        assert_eq!(kinds, [IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS]);
        assert_eq!(address.attributes[2].1, IFA_F_NODAD.to_ne_bytes());
    }

    #[test]
    fn what_is_lent_or_of_this_host_only_stays() {
        assert_eq!(read(&told(0, RT_SCOPE_UNIVERSE, "e")), None);
        assert_eq!(read(&told(IFA_F_PERMANENT, 254, "e")), None);
    }

    proptest! {
        #[test]
        fn hostile_answers_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..120)) {
            let message = Message { kind: 0, flags: 0, sequence: 0, payload: &payload };
            let _ = read_link(&message);
            let _ = read_address(&message).map(|a| a.map(|(_, a)| a.describe()));
        }
    }
}
