//! Tracked UDP flows: list by filter, delete one. A flow outlives a change of the
//! rules, because the kernel translates as it decided for its first packet.

use std::net::IpAddr;

use super::{Attributes, Malformed, Message, Requests, abi, find, read_address};

const UDP: u8 = 17;

/// Which flows to list; the kernel filters (since Linux 5.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flows {
    /// Those that this address answers: a container's.
    AnsweredBy(IpAddr),
    /// Those that were sent to this port, of the address family of the second field.
    SentTo(u16, IpAddr),
}

/// One flow; enough to judge and to delete it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Where its first packet was addressed to.
    pub(crate) destination: IpAddr,
    /// Who answers: another address than `destination` when it is translated.
    pub(crate) answers: IpAddr,
    /// CTA_TUPLE_ORIG as received.
    tuple: Vec<u8>,
    /// CTA_ID as received: a later flow with the same tuple is another flow.
    id: Option<Vec<u8>>,
    /// CTA_ZONE as received.
    zone: Option<Vec<u8>>,
    family: u8,
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => abi::NFPROTO_IPV4,
        IpAddr::V6(_) => abi::NFPROTO_IPV6,
    }
}

const fn kind(message: u16) -> u16 {
    abi::NFNL_SUBSYS_CTNETLINK << 8 | message
}

impl Flows {
    /// Asks for the list.
    pub(crate) fn dump(self, requests: &mut Requests) -> u32 {
        let (Flows::AnsweredBy(like) | Flows::SentTo(_, like)) = self;
        let flags = abi::NLM_F_REQUEST | abi::NLM_F_DUMP;
        let header = [family(like), 0, 0, 0];
        requests.message(kind(abi::IPCTNL_MSG_CT_GET), flags, &header, |a| match self {
            Flows::AnsweredBy(address) => {
                tuple(a, abi::CTA_TUPLE_REPLY, Some(address), None);
                let wanted = abi::CTA_FILTER_IP_SRC | abi::CTA_FILTER_PROTO_NUM;
                filter(a, 0, wanted);
            }
            Flows::SentTo(port, _) => {
                tuple(a, abi::CTA_TUPLE_ORIG, None, Some(port));
                filter(a, abi::CTA_FILTER_PROTO_NUM | abi::CTA_FILTER_PROTO_DST_PORT, 0);
            }
        })
    }
}

fn filter(a: &mut Attributes<'_>, original: u32, reply: u32) {
    a.nest(abi::CTA_FILTER, |a| {
        a.u32(abi::CTA_FILTER_ORIG_FLAGS, original);
        a.u32(abi::CTA_FILTER_REPLY_FLAGS, reply);
    });
}

fn tuple(a: &mut Attributes<'_>, which: u16, source: Option<IpAddr>, port: Option<u16>) {
    a.nest(which, |a| {
        if let Some(source) = source {
            let kind = if source.is_ipv4() { abi::CTA_IP_V4_SRC } else { abi::CTA_IP_V6_SRC };
            a.nest(abi::CTA_TUPLE_IP, |a| a.address(kind, source));
        }
        a.nest(abi::CTA_TUPLE_PROTO, |a| {
            a.u8(abi::CTA_PROTO_NUM, UDP);
            if let Some(port) = port {
                a.be16(abi::CTA_PROTO_DST_PORT, port);
            }
        });
    });
}

impl Flow {
    /// Asks for its deletion; ENOENT when it has ended meanwhile.
    pub(crate) fn delete(&self, requests: &mut Requests) -> u32 {
        let flags = abi::NLM_F_REQUEST | abi::NLM_F_ACK;
        let header = [self.family, 0, 0, 0];
        requests.message(kind(abi::IPCTNL_MSG_CT_DELETE), flags, &header, |a| {
            a.put(abi::CTA_TUPLE_ORIG | abi::NLA_F_NESTED, &self.tuple);
            if let Some(zone) = &self.zone {
                a.put(abi::CTA_ZONE, zone);
            }
            if let Some(id) = &self.id {
                a.put(abi::CTA_ID, id);
            }
        })
    }
}

/// Reads one flow of the list.
pub(crate) fn read_flow(message: &Message<'_>) -> Result<Flow, Malformed> {
    let (header, rest) = message.payload.split_at_checked(4).ok_or(Malformed)?;
    let family = *header.first().ok_or(Malformed)?;
    let (source, destination) = match family {
        abi::NFPROTO_IPV6 => (abi::CTA_IP_V6_SRC, abi::CTA_IP_V6_DST),
        _ => (abi::CTA_IP_V4_SRC, abi::CTA_IP_V4_DST),
    };
    let address = |tuple: &[u8], which| {
        let ip = find(tuple, abi::CTA_TUPLE_IP)?;
        find(ip, which).and_then(read_address)
    };
    let original = find(rest, abi::CTA_TUPLE_ORIG).ok_or(Malformed)?;
    let reply = find(rest, abi::CTA_TUPLE_REPLY).ok_or(Malformed)?;
    Ok(Flow {
        destination: address(original, destination).ok_or(Malformed)?,
        answers: address(reply, source).ok_or(Malformed)?,
        tuple: original.to_vec(),
        id: find(rest, abi::CTA_ID).map(<[u8]>::to_vec),
        zone: find(rest, abi::CTA_ZONE).map(<[u8]>::to_vec),
        family,
    })
}

#[cfg(test)]
mod tests {
    use super::super::messages;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_flow_is_deleted_by_the_bytes_it_was_read_with(
            to: [u8; 4], by: [u8; 4], id in proptest::option::of(any::<[u8; 4]>())
        ) {
            let mut requests = Requests::default();
            requests.message(0, 0, &[abi::NFPROTO_IPV4, 0, 0, 0], |a| {
                a.nest(abi::CTA_TUPLE_ORIG, |a| {
                    a.nest(abi::CTA_TUPLE_IP, |a| a.put(abi::CTA_IP_V4_DST, &to));
                });
                a.nest(abi::CTA_TUPLE_REPLY, |a| {
                    a.nest(abi::CTA_TUPLE_IP, |a| a.put(abi::CTA_IP_V4_SRC, &by));
                });
                if let Some(id) = id {
                    a.put(abi::CTA_ID, &id);
                }
            });
            let message = messages(requests.bytes().unwrap()).next().unwrap().unwrap();
            let flow = read_flow(&message).unwrap();
            prop_assert_eq!((flow.destination, flow.answers), (to.into(), by.into()));
            let mut requests = Requests::default();
            flow.delete(&mut requests);
            let delete = messages(requests.bytes().unwrap()).next().unwrap().unwrap();
            let body = &delete.payload[4..];
            prop_assert_eq!(find(body, abi::CTA_TUPLE_ORIG), find(&message.payload[4..], abi::CTA_TUPLE_ORIG));
            prop_assert_eq!(find(body, abi::CTA_ID), id.as_ref().map(|id| &id[..]));
        }

        #[test]
        fn hostile_answers_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..160)) {
            let _ = read_flow(&Message { kind: 0, flags: 0, sequence: 0, payload: &payload });
        }
    }
}
