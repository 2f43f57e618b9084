//! What is heard in one namespace on the way: our packets on its interfaces, and
//! what nf_tables does to them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use super::probe::Mark;
use super::watch::Watch;
use super::{Observation, Place, Seen, Sighting, Sought, inject};
use crate::capture::filter::{Direction, Filter, Protocol, Test};
use crate::capture::packet::{IpPacket, Packet, Transport};
use crate::capture::{Capture, CaptureRequest, is_outgoing};
use crate::namespace::visit;

/// One namespace's ears.
pub(super) struct Ears {
    place: Place,
    capture: Capture,
    watch: Option<Watch>,
}

impl Ears {
    pub(super) fn open(place: Place, netns: BorrowedFd<'_>, mark: &Mark) -> io::Result<Self> {
        let request = CaptureRequest { interface: None, filter: filter(mark), snapshot: 512 };
        let capture = Capture::open(netns, &request).map_err(io::Error::other)?;
        let watch = visit(netns, || {
            let wanted = place == Place::Host || !Watch::others()?.is_empty();
            wanted.then(|| Watch::begin(mark)).transpose()
        })?;
        Ok(Self { place, capture, watch })
    }

    pub(super) fn hear(&mut self, mark: &Mark, seen: &mut Observation) -> io::Result<()> {
        let mut frames = Vec::new();
        self.capture.read(|frame| {
            frames.push((frame.interface, is_outgoing(frame), frame.bytes.to_vec()));
            Ok(())
        })?;
        for (interface, outgoing, bytes) in frames {
            let Some((what, from, to)) = recognise(mark, &Packet::read(&bytes)) else { continue };
            let interface = self.capture.interface(interface);
            // The way in from the LAN is no part of the way.
            if interface == inject::wire_name() {
                continue;
            }
            let sighting = Sighting { place: self.place, interface, outgoing, what, from, to };
            // Once is enough: TCP repeats itself.
            if !seen.sightings.contains(&sighting) {
                seen.sightings.push(sighting);
            }
        }
        if let Some(watch) = &mut self.watch {
            for (answer, event) in watch.events(mark)? {
                let event = (self.place, answer, event);
                if !seen.events.contains(&event) {
                    seen.events.push(event);
                }
            }
        }
        Ok(())
    }
}

/// Packets with our number, errors, and questions for neighbours.
fn filter(mark: &Mark) -> Filter {
    let or = |a, b| Filter::Or(Box::new(a), Box::new(b));
    let protocol = |p| Filter::Test(Test::Protocol(p));
    let icmp = protocol(if mark.four { Protocol::Icmp } else { Protocol::Icmp6 });
    let transport = match mark.sought {
        Sought::Tcp(_) => Protocol::Tcp,
        Sought::Udp(_) => Protocol::Udp,
        Sought::Echo => return or(icmp, protocol(Protocol::Arp)),
    };
    let ports = Filter::Test(Test::Port {
        transport: Some(transport),
        direction: Direction::Either,
        first: mark.number,
        last: mark.number,
    });
    or(ports, or(icmp, protocol(Protocol::Arp)))
}

/// What a packet is to us.
fn recognise(mark: &Mark, packet: &Packet) -> Option<(Seen, SocketAddr, SocketAddr)> {
    let packet = match packet {
        Packet::Ip(packet) => packet,
        Packet::Arp { operation: 1, sender: (_, sender), target } => {
            let end = |address| SocketAddr::new(IpAddr::V4(address), 0);
            return Some((Seen::Asks((*target).into()), end(*sender), end(*target)));
        }
        _ => return None,
    };
    let (from, to) = packet.ends();
    if let Some(answer) = mark.is_answer(packet) {
        let refuses = matches!(packet.transport, Transport::Tcp { flags, .. } if flags & 4 != 0);
        let what = if answer { Seen::Answer { refuses } } else { Seen::Probe };
        return Some((what, from, to));
    }
    let Transport::Icmp { about, .. } = &packet.transport else { return None };
    about.as_ref().filter(|about| is_ours(mark, about))?;
    Some((Seen::Error(packet.to_string()), from, to))
}

/// Whether an error is about the probe: only the first bytes of it are there.
fn is_ours(mark: &Mark, about: &IpPacket) -> bool {
    match &about.transport {
        Transport::Tcp { ports, .. } | Transport::Udp { ports, .. } => ports.0 == mark.number,
        _ => false,
    }
}
