//! UDP flows that the kernel tracks across a change of published ports. A client
//! that keeps sending would for ever be translated as when it began: past a
//! container that has just been published, or to one that is gone (moby#8795).

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use rustix::io::Errno;

use crate::facts;
use crate::plan::{NetworkPlan, NetworkUndo};
use crate::ports::{Protocol, PublishedPort};
use crate::socket::{Socket, with_netfilter};
use crate::wire::Requests;
use crate::wire::conntrack::{Flows, read_flow};

const EINVAL: i32 = Errno::INVAL.raw_os_error();
const EOPNOTSUPP: i32 = Errno::OPNOTSUPP.raw_os_error();

/// Ends the flows to UDP ports that have just been published, on this host's own
/// addresses: what is forwarded to the same port of other machines is none of ours.
pub(super) fn end_older(plan: &NetworkPlan) -> io::Result<()> {
    end_to(&plan.published)
}

/// Ends the flows to these UDP ports of the host.
pub(super) fn end_to(published: &[PublishedPort]) -> io::Result<()> {
    let ports: BTreeSet<(IpAddr, u16)> = published
        .iter()
        .filter(|port| port.protocol == Protocol::Udp)
        .map(|port| (port.host_ip, port.host_port))
        .collect();
    if ports.is_empty() {
        return Ok(());
    }
    let here: BTreeSet<IpAddr> = facts::read_addresses()?.into_iter().map(|a| a.address).collect();
    let flows = ports.into_iter().flat_map(|(host, port)| {
        let on = here.iter().copied().filter(move |to| {
            *to == host || host.is_unspecified() && to.is_ipv4() == host.is_ipv4()
        });
        on.map(move |to| Flows::SentTo(to, port))
    });
    end(flows)
}

/// Ends the flows that a container answered.
pub(super) fn end_of(undo: &NetworkUndo) -> io::Result<()> {
    if undo.published.iter().all(|port| port.protocol != Protocol::Udp) {
        return Ok(());
    }
    let addresses = [Some(undo.address4.into()), undo.address6.map(IpAddr::from)];
    end(addresses.into_iter().flatten().map(Flows::AnsweredBy))
}

fn end(flows: impl Iterator<Item = Flows>) -> io::Result<()> {
    with_netfilter(|socket| {
        for flows in flows {
            let mut requests = Requests::default();
            let sequence = flows.flush(&mut requests);
            let answers = socket.exchange(&requests, |_| Ok(()))?;
            match answers.errno(sequence) {
                EINVAL | EOPNOTSUPP => end_one_by_one(socket, flows)?,
                _ => answers.check(sequence, &[])?,
            }
        }
        Ok(())
    })
}

/// For kernels that cannot delete by filter. Listing takes long where the table is
/// large, empty or not (9 ms for 2^18 buckets).
fn end_one_by_one(socket: &mut Socket, flows: Flows) -> io::Result<()> {
    let list = socket.dump(
        |requests| {
            flows.dump(requests);
        },
        |message| {
            read_flow(message).map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
        },
    )?;
    let mut requests = Requests::default();
    let sequences: Vec<u32> = list.iter().map(|flow| flow.delete(&mut requests)).collect();
    let answers = socket.exchange(&requests, |_| Ok(()))?;
    sequences.into_iter().try_for_each(|s| answers.check(s, &[Errno::NOENT.raw_os_error()]))
}
