//! Limits of bandwidth: a token bucket (tc-tbf(8)) at each end of the wire, where
//! packets go into it. Made only for who asks for it; gone with the interface.

use std::io;

use rustix::io::Errno;

use crate::socket::Socket;
use crate::wire::{Requests, abi};

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
