//! Tracked UDP flows: delete by filter, or list and delete one by one. A flow outlives a change of the
//! rules, because the kernel translates as it decided for its first packet.

use std::net::IpAddr;

use super::{Malformed, Message, Requests, abi, find};

const UDP: u8 = 17;

/// Which flows are meant; the kernel filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flows {
    /// Those that this address answers: a container's.
    AnsweredBy(IpAddr),
    /// Those that were sent to this address and port.
    SentTo(IpAddr, u16),
}

/// One flow, in the bytes by which it is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flow {
    family: u8,
    /// CTA_TUPLE_ORIG as received.
    tuple: Vec<u8>,
    /// CTA_ID as received: a later flow with the same tuple is another flow.
    id: Option<Vec<u8>>,
    /// CTA_ZONE as received.
    zone: Option<Vec<u8>>,
}

const fn kind(message: u16) -> u16 {
    abi::NFNL_SUBSYS_CTNETLINK << 8 | message
}

impl Flows {
    /// Asks for the deletion of all of them at once. Kernels before 6.7 refuse the
    /// filter (EOPNOTSUPP, EINVAL) and delete nothing.
    pub(crate) fn flush(self, requests: &mut Requests) -> u32 {
        self.request(requests, abi::IPCTNL_MSG_CT_DELETE, abi::NLM_F_ACK)
    }

    /// Asks for the list, filtered since Linux 5.8.
    pub(crate) fn dump(self, requests: &mut Requests) -> u32 {
        self.request(requests, abi::IPCTNL_MSG_CT_GET, abi::NLM_F_DUMP)
    }

    fn request(self, requests: &mut Requests, message: u16, flags: u16) -> u32 {
        let (Self::AnsweredBy(address) | Self::SentTo(address, _)) = self;
        let (family, source, destination) = match address {
            IpAddr::V4(_) => (abi::NFPROTO_IPV4, abi::CTA_IP_V4_SRC, abi::CTA_IP_V4_DST),
            IpAddr::V6(_) => (abi::NFPROTO_IPV6, abi::CTA_IP_V6_SRC, abi::CTA_IP_V6_DST),
        };
        // Version 1: the family counts in a flush, which else is of every family.
        let header = [family, 1, 0, 0];
        let (which, address_kind, port) = match self {
            Self::AnsweredBy(_) => (abi::CTA_TUPLE_REPLY, source, None),
            Self::SentTo(_, port) => (abi::CTA_TUPLE_ORIG, destination, Some(port)),
        };
        requests.message(kind(message), abi::NLM_F_REQUEST | flags, &header, |a| {
            a.nest(which, |a| {
                a.nest(abi::CTA_TUPLE_IP, |a| a.address(address_kind, address));
                a.nest(abi::CTA_TUPLE_PROTO, |a| {
                    a.u8(abi::CTA_PROTO_NUM, UDP);
                    if let Some(port) = port {
                        a.be16(abi::CTA_PROTO_DST_PORT, port);
                    }
                });
            });
            let (original, reply) = match self {
                Self::AnsweredBy(_) => (0, abi::CTA_FILTER_IP_SRC | abi::CTA_FILTER_PROTO_NUM),
                Self::SentTo(..) => (SENT_TO, 0),
            };
            a.nest(abi::CTA_FILTER, |a| {
                a.u32(abi::CTA_FILTER_ORIG_FLAGS, original);
                a.u32(abi::CTA_FILTER_REPLY_FLAGS, reply);
            });
        })
    }
}

/// The fields by which [`Flows::SentTo`] is compared.
const SENT_TO: u32 =
    abi::CTA_FILTER_IP_DST | abi::CTA_FILTER_PROTO_NUM | abi::CTA_FILTER_PROTO_DST_PORT;

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
    Ok(Flow {
        family: *header.first().ok_or(Malformed)?,
        tuple: find(rest, abi::CTA_TUPLE_ORIG).ok_or(Malformed)?.to_vec(),
        id: find(rest, abi::CTA_ID).map(<[u8]>::to_vec),
        zone: find(rest, abi::CTA_ZONE).map(<[u8]>::to_vec),
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
            tuple in proptest::collection::vec(any::<u8>(), 0..60),
            id in proptest::option::of(any::<[u8; 4]>()), zone in proptest::option::of(any::<[u8; 2]>())
        ) {
            let flow = Flow {
                family: abi::NFPROTO_IPV4, tuple, id: id.map(Vec::from), zone: zone.map(Vec::from)
            };
            let mut requests = Requests::default();
            flow.delete(&mut requests);
            let message = messages(requests.bytes().unwrap()).next().unwrap().unwrap();
            prop_assert_eq!(read_flow(&message).unwrap(), flow);
        }

        #[test]
        fn hostile_answers_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..160)) {
            let _ = read_flow(&Message { kind: 0, flags: 0, sequence: 0, payload: &payload });
        }
    }

    #[test]
    fn a_flush_is_never_of_everything() {
        for flows in
            [Flows::AnsweredBy([10, 0, 0, 1].into()), Flows::SentTo([10, 0, 0, 1].into(), 53)]
        {
            let mut requests = Requests::default();
            flows.flush(&mut requests);
            let message = messages(requests.bytes().unwrap()).next().unwrap().unwrap();
            let body = &message.payload[4..];
            assert!(find(body, abi::CTA_FILTER).is_some());
            // With a tuple, a kernel that ignores the filter deletes one flow at most.
            assert!(find(body, abi::CTA_TUPLE_ORIG).or(find(body, abi::CTA_TUPLE_REPLY)).is_some());
        }
    }
}
