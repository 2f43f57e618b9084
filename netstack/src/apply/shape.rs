//! Limits of bandwidth: a token bucket (tc-tbf(8)) at each end of the wire, where
//! packets go into it. Made only for who asks for it; gone with the interface.

use std::io;
use std::os::fd::BorrowedFd;

use rcnt_base::sys::netlink::Family;
use rustix::io::Errno;

use crate::plan::NetworkPlan;
use crate::socket::Socket;
use crate::wire::{Message, Requests, abi, find, read_text};

/// Bytes that may go at once: a whole segment of offloaded TCP, or what goes between
/// two ticks of a slow clock (100 Hz).
const LEAST_BURST: u64 = 64 << 10;
/// Longer than this nothing waits: the rest of the queue is dropped, and TCP slows down.
const LATENCY_PER_SECOND: u64 = 20;

/// What leaves by `interface` of the socket's namespace leaves at `bits` per second.
pub(super) fn limit(socket: &mut Socket, interface: &str, bits: Option<u64>) -> io::Result<()> {
    let Some(bits) = bits else { return Ok(()) };
    let index = socket.interface_index(interface)?.ok_or(Errno::NODEV)?;
    let mut requests = Requests::default();
    let sequence = token_bucket(&mut requests, index, bits / 8);
    socket.exchange(&requests, |_| Ok(()))?.check(sequence, &[])
}

/// Limits a container's bandwidth again, at both ends of its wire.
pub(crate) fn limit_again(plan: &NetworkPlan, netns: BorrowedFd<'_>) -> io::Result<()> {
    let end = &plan.endpoint;
    if plan.wire.bridge().is_some() {
        limit(&mut Socket::open(Family::Route)?, &end.host_interface, end.bandwidth.into)?;
    }
    let mut inside = super::inside::visit(netns, || Socket::open(Family::Route))?;
    limit(&mut inside, &end.interface, end.bandwidth.out)
}

/// At how many bytes per second what leaves by `interface` leaves, if that is limited.
pub(crate) fn read(socket: &mut Socket, interface: &str) -> io::Result<Option<u64>> {
    let Some(index) = socket.interface_index(interface)? else { return Ok(None) };
    let buckets = socket.dump(
        |requests| {
            let flags = abi::NLM_F_REQUEST | abi::NLM_F_DUMP;
            requests.message(abi::RTM_GETQDISC, flags, &[0; TCMSG], |_| {});
        },
        |message| Ok(bucket_of(message, index)),
    )?;
    Ok(buckets.into_iter().next())
}

/// Bytes of `struct tcmsg`.
const TCMSG: usize = 20;

/// The rate of a token bucket that is the whole of this interface's queue.
fn bucket_of(message: &Message<'_>, interface: u32) -> Option<u64> {
    let word = |at: usize| {
        message.payload.get(at..at + 4).and_then(|w| w.try_into().ok()).map(u32::from_ne_bytes)
    };
    let is_it = word(4) == Some(interface) && word(12) == Some(abi::TC_H_ROOT);
    let rest = message.payload.get(TCMSG..).filter(|_| is_it)?;
    find(rest, abi::TCA_KIND).filter(|kind| read_text(kind) == "tbf")?;
    let parameters = find(find(rest, abi::TCA_OPTIONS)?, abi::TCA_TBF_PARMS)?;
    let rate: [u8; 4] = parameters.get(8..12)?.try_into().ok()?;
    Some(u32::from_ne_bytes(rate).into())
}

/// `struct tcmsg`, then `struct tc_tbf_qopt` (linux/pkt_sched.h) and the burst in bytes.
fn token_bucket(requests: &mut Requests, interface: u32, bytes: u64) -> u32 {
    let flags = abi::NLM_F_REQUEST | abi::NLM_F_ACK | abi::NLM_F_CREATE | abi::NLM_F_REPLACE;
    let words = [0, interface, 0, abi::TC_H_ROOT, 0];
    let header: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let burst = (bytes / 100).max(LEAST_BURST);
    let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_ne_bytes();
    let (rate, queue) = (number(bytes), number(burst + bytes / LATENCY_PER_SECOND));
    let mut parameters = Vec::new();
    // struct tc_ratespec: sizes are counted as of Ethernet, the peak rate is none.
    parameters.extend([0, abi::TC_LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0]);
    parameters.extend(rate);
    parameters.extend([0; 12]);
    // Queue; bucket and its largest packet are told in bytes below.
    parameters.extend([queue, [0; 4], [0; 4]].concat());
    requests.message(abi::RTM_NEWQDISC, flags, &header, |a| {
        a.text(abi::TCA_KIND, "tbf");
        a.nest(abi::TCA_OPTIONS, |a| {
            a.put(abi::TCA_TBF_PARMS, &parameters);
            a.put(abi::TCA_TBF_BURST, &number(burst));
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::messages;
    use proptest::prelude::*;

    #[test]
    fn a_bucket_written_is_the_bucket_read() {
        let mut requests = Requests::default();
        token_bucket(&mut requests, 7, 2_000_000);
        let message = messages(requests.bytes().unwrap()).next().unwrap().unwrap();
        assert_eq!((bucket_of(&message, 7), bucket_of(&message, 8)), (Some(2_000_000), None));
    }

    proptest! {
        #[test]
        fn hostile_answers_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..80)) {
            let message = Message { kind: 0, flags: 0, sequence: 0, payload: &payload };
            let _ = bucket_of(&message, 0);
        }
    }
}
