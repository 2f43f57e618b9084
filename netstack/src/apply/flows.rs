//! UDP flows that the kernel tracks across a change of published ports. A client
//! that keeps sending would for ever be translated as when it began: past a
//! container that has just been published, or to one that is gone (moby#8795).

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use rcnt_base::sys::netlink::Family;
use rustix::io::Errno;

use crate::facts;
use crate::plan::{NetworkPlan, NetworkUndo};
use crate::ports::Protocol;
use crate::socket::Socket;
use crate::wire::Requests;
use crate::wire::conntrack::{Flow, Flows, read_flow};

/// Ends flows to the UDP ports just published that lead elsewhere.
pub(super) fn end_older(plan: &NetworkPlan) -> io::Result<()> {
    let undo = plan.undo();
    let ports = plan.published.iter().filter(|port| port.protocol == Protocol::Udp);
    let mut asked = BTreeSet::new();
    for port in ports {
        let Some(target) = undo.target(port.host_ip) else { continue };
        if !asked.insert((port.host_port, port.host_ip)) {
            continue;
        }
        let mut socket = Socket::open(Family::Netfilter)?;
        let flows = list(&mut socket, Flows::SentTo(port.host_port, port.host_ip))?;
        let elsewhere: Vec<Flow> = flows.into_iter().filter(|f| f.answers != target).collect();
        if elsewhere.is_empty() {
            continue;
        }
        let here = local_addresses()?;
        let ours = |flow: &Flow| {
            let to = flow.destination;
            if port.host_ip.is_unspecified() {
                // Forwarded flows to the same port of other machines are none of ours.
                to.is_loopback() || here.contains(&to)
            } else {
                to == port.host_ip
            }
        };
        delete(&mut socket, elsewhere.into_iter().filter(ours))?;
    }
    Ok(())
}

/// Ends the flows that a container answered.
pub(super) fn end_of(undo: &NetworkUndo) -> io::Result<()> {
    if undo.published.iter().all(|port| port.protocol != Protocol::Udp) {
        return Ok(());
    }
    let mut socket = Socket::open(Family::Netfilter)?;
    for address in
        [Some(undo.address4.into()), undo.address6.map(IpAddr::from)].into_iter().flatten()
    {
        let flows = list(&mut socket, Flows::AnsweredBy(address))?;
        delete(&mut socket, flows.into_iter())?;
    }
    Ok(())
}

fn local_addresses() -> io::Result<BTreeSet<IpAddr>> {
    Ok(facts::read_addresses()?.into_iter().map(|a| a.address).collect())
}

fn list(socket: &mut Socket, flows: Flows) -> io::Result<Vec<Flow>> {
    socket.dump(
        |requests| {
            flows.dump(requests);
        },
        |message| {
            read_flow(message).map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
        },
    )
}

fn delete(socket: &mut Socket, flows: impl Iterator<Item = Flow>) -> io::Result<()> {
    for flow in flows {
        let mut requests = Requests::default();
        let sequence = flow.delete(&mut requests);
        let answers = socket.exchange(&requests, |_| Ok(()))?;
        answers.check(sequence, &[Errno::NOENT.raw_os_error()])?;
    }
    Ok(())
}
