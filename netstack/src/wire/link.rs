//! rtnetlink(7): links, as requests and as read back.

mod lan;

use super::{Attributes, Malformed, Message, Requests, abi, attributes, find, read_text, read_u32};
use crate::facts::Link;
use crate::network::{IpvlanFlag, IpvlanMode, MacvlanMode};
use crate::plan::Mac;

/// What an interface shall be; absent fields are left alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LinkRequest<'a> {
    /// 0 when the name says which.
    pub(crate) index: u32,
    pub(crate) name: Option<&'a str>,
    pub(crate) up: bool,
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: Option<u32>,
    pub(crate) master: Option<u32>,
    /// The interface that a new vlan, macvlan or ipvlan is made from.
    pub(crate) lower: Option<u32>,
    pub(crate) alias: Option<&'a str>,
    /// The namespace it is born in.
    pub(crate) netns_fd: Option<i32>,
    pub(crate) kind: Option<LinkKind<'a>>,
    /// Bridge port option: send back out of the port a packet came in by.
    pub(crate) hairpin: Option<bool>,
    /// No IPv6 link-local address of the kernel's making.
    pub(crate) no_link_local: bool,
}

/// What a new interface is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkKind<'a> {
    /// Spanning tree off and no forward delay: a port forwards as soon as it has carrier.
    Bridge {
        /// What is bridged is shown to the firewall, whatever the host's setting.
        filtered: bool,
    },
    /// One end; the other is `peer`.
    Veth(Box<LinkRequest<'a>>),
    /// The 802.1q sub-interface with this tag.
    Vlan(u16),
    /// An interface with a MAC of its own on `lower`.
    Macvlan(MacvlanMode),
    /// An interface that shares the MAC of `lower`.
    Ipvlan(IpvlanMode, IpvlanFlag),
    /// Leads nowhere.
    Dummy,
}

impl LinkRequest<'_> {
    /// `struct ifinfomsg`; the change mask says that only IFF_UP is meant.
    fn header(&self) -> [u8; 16] {
        let mut header = [0; 16];
        let flags = if self.up { abi::IFF_UP } else { 0 };
        let fields = [0, self.index, flags, flags];
        for (slot, value) in header.chunks_exact_mut(4).zip(fields) {
            slot.copy_from_slice(&value.to_ne_bytes());
        }
        header
    }

    fn attributes(&self, a: &mut Attributes<'_>) {
        if let Some(name) = self.name {
            a.text(abi::IFLA_IFNAME, name);
        }
        if let Some(Mac(mac)) = self.mac {
            a.put(abi::IFLA_ADDRESS, &mac);
        }
        if let Some(mtu) = self.mtu {
            a.u32(abi::IFLA_MTU, mtu);
        }
        if let Some(master) = self.master {
            a.u32(abi::IFLA_MASTER, master);
        }
        if let Some(lower) = self.lower {
            a.u32(abi::IFLA_LINK, lower);
        }
        if let Some(alias) = self.alias {
            a.put(abi::IFLA_IFALIAS, alias.as_bytes());
        }
        if let Some(fd) = self.netns_fd {
            a.put(abi::IFLA_NET_NS_FD, &fd.to_ne_bytes());
        }
        if self.kind.is_some() || self.hairpin.is_some() {
            a.nest(abi::IFLA_LINKINFO, |a| self.info(a));
        }
        if self.no_link_local {
            a.nest(abi::IFLA_AF_SPEC, |a| {
                a.nest(u16::from(abi::AF_INET6), |a| {
                    a.u8(abi::IFLA_INET6_ADDR_GEN_MODE, abi::IN6_ADDR_GEN_MODE_NONE);
                });
            });
        }
    }

    fn info(&self, a: &mut Attributes<'_>) {
        match &self.kind {
            Some(LinkKind::Bridge { filtered }) => {
                a.text(abi::IFLA_INFO_KIND, "bridge");
                a.nest(abi::IFLA_INFO_DATA, |a| {
                    a.u32(abi::IFLA_BR_FORWARD_DELAY, 0);
                    a.u32(abi::IFLA_BR_STP_STATE, 0);
                    if *filtered {
                        a.u8(abi::IFLA_BR_NF_CALL_IPTABLES, 1);
                        a.u8(abi::IFLA_BR_NF_CALL_IP6TABLES, 1);
                    }
                });
            }
            Some(LinkKind::Veth(peer)) => {
                a.text(abi::IFLA_INFO_KIND, "veth");
                a.nest(abi::IFLA_INFO_DATA, |a| {
                    a.nest_with(abi::VETH_INFO_PEER, &peer.header(), |a| peer.attributes(a));
                });
            }
            _ => {}
        }
        if let Some(kind) = &self.kind {
            lan::info(kind, a);
        }
        if let Some(hairpin) = self.hairpin {
            a.text(abi::IFLA_INFO_SLAVE_KIND, "bridge");
            a.nest(abi::IFLA_INFO_SLAVE_DATA, |a| {
                a.u8(abi::IFLA_BRPORT_MODE, u8::from(hairpin));
            });
        }
    }

    /// Makes it; an error if it is there.
    pub(crate) fn create(&self, requests: &mut Requests) -> u32 {
        let flags = abi::NLM_F_REQUEST | abi::NLM_F_ACK | abi::NLM_F_CREATE | abi::NLM_F_EXCL;
        requests.message(abi::RTM_NEWLINK, flags, &self.header(), |a| self.attributes(a))
    }

    /// Changes one that is there.
    pub(crate) fn change(&self, requests: &mut Requests) -> u32 {
        let flags = abi::NLM_F_REQUEST | abi::NLM_F_ACK;
        requests.message(abi::RTM_NEWLINK, flags, &self.header(), |a| self.attributes(a))
    }

    /// Removes it.
    pub(crate) fn delete(&self, requests: &mut Requests) -> u32 {
        let flags = abi::NLM_F_REQUEST | abi::NLM_F_ACK;
        requests.message(abi::RTM_DELLINK, flags, &self.header(), |a| self.attributes(a))
    }

    /// Asks for it.
    pub(crate) fn get(&self, requests: &mut Requests) -> u32 {
        let flags = abi::NLM_F_REQUEST;
        requests.message(abi::RTM_GETLINK, flags, &self.header(), |a| self.attributes(a))
    }
}

/// Reads RTM_NEWLINK.
pub(crate) fn read_link(message: &Message<'_>) -> Result<Link, Malformed> {
    let (header, rest) = message.payload.split_at_checked(16).ok_or(Malformed)?;
    let mut link = Link {
        index: read_u32(header, 4).ok_or(Malformed)?,
        name: String::new(),
        alias: None,
        kind: None,
        mac: None,
        mtu: 0,
        up: read_u32(header, 8).ok_or(Malformed)? & abi::IFF_UP != 0,
        master: None,
    };
    for attribute in attributes(rest) {
        let (kind, value) = attribute?;
        match kind {
            abi::IFLA_IFNAME => link.name = read_text(value),
            abi::IFLA_IFALIAS => link.alias = Some(read_text(value)),
            abi::IFLA_MTU => link.mtu = read_u32(value, 0).ok_or(Malformed)?,
            abi::IFLA_MASTER => link.master = read_u32(value, 0),
            abi::IFLA_ADDRESS => link.mac = value.try_into().ok().map(Mac),
            abi::IFLA_LINKINFO => link.kind = find(value, abi::IFLA_INFO_KIND).map(read_text),
            _ => {}
        }
    }
    Ok(link)
}

/// What RTM_NEWLINK says beyond [`Link`]; the settings are those below
/// /proc/sys/net of this interface, absent when the kernel lacks the protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LinkState {
    /// Packets pass (RFC 2863's ifOperStatus up).
    pub(crate) operational: bool,
    pub(crate) route_localnet: Option<u32>,
    pub(crate) accept_ra: Option<u32>,
    pub(crate) disable_ipv6: Option<u32>,
}

/// Reads the state from RTM_NEWLINK.
pub(crate) fn read_state(message: &Message<'_>) -> LinkState {
    let rest = message.payload.get(16..).unwrap_or_default();
    let families = find(rest, abi::IFLA_AF_SPEC).unwrap_or_default();
    let settings = |family: u8, kind| {
        let of_family = find(families, u16::from(family))?;
        find(of_family, kind)
    };
    let setting = |family, kind, place: usize| read_u32(settings(family, kind)?, place * 4);
    let ipv6 = |place| setting(abi::AF_INET6, abi::IFLA_INET6_CONF, place);
    LinkState {
        operational: find(rest, abi::IFLA_OPERSTATE) == Some(&[abi::IF_OPER_UP]),
        route_localnet: setting(
            abi::AF_INET,
            abi::IFLA_INET_CONF,
            abi::IPV4_DEVCONF_ROUTE_LOCALNET,
        ),
        accept_ra: ipv6(abi::DEVCONF_ACCEPT_RA),
        disable_ipv6: ipv6(abi::DEVCONF_DISABLE_IPV6),
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_link_written_is_the_link_read(
            index: u32, name in "[a-z]{1,15}", alias in proptest::option::of("\\PC{1,30}"),
            mac in proptest::option::of(any::<[u8; 6]>()), mtu: u32, up: bool, master in proptest::option::of(any::<u32>())
        ) {
            let request = LinkRequest {
                index, up, mac: mac.map(Mac), mtu: Some(mtu), master, name: Some(&name),
                alias: alias.as_deref(), kind: Some(LinkKind::Bridge { filtered: true }), ..LinkRequest::default()
            };
            let mut requests = Requests::default();
            request.create(&mut requests);
            let link = read_link(&messages(requests.bytes().unwrap()).next().unwrap().unwrap()).unwrap();
            prop_assert_eq!(link, Link {
                index, name, alias, kind: Some("bridge".into()), mac: mac.map(Mac), mtu, up, master
            });
        }

        #[test]
        fn hostile_answers_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..120)) {
            let message = Message { kind: 16, flags: 0, sequence: 0, payload: &payload };
            let _ = (read_state(&message), read_link(&message));
        }
    }
}
