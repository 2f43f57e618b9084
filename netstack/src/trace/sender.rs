//! Who sends the probe, and what comes back to him.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use super::inject::Injection;
use super::probe::{Answer, Mark, Probe};
use super::{Observation, Place, Seen, Sought, Source, TraceError, TraceRequest, way_to};
use crate::namespace::visit;

/// Who sends.
pub(super) enum Sender {
    Socket(Probe),
    Injected(Injection),
}

impl Sender {
    /// Makes it ready; nothing is sent yet.
    pub(super) fn prepare(
        request: &TraceRequest<'_>,
        host: BorrowedFd<'_>,
    ) -> Result<Self, TraceError> {
        let making = |source| TraceError::Probe { to: request.destination, source };
        let (to, sought) = (request.destination, request.sought);
        match &request.source {
            Source::Inside(_, netns) => {
                let probe = visit(*netns, || Probe::prepare(to, sought));
                probe.map(Self::Socket).map_err(making)
            }
            Source::Outside(from) => {
                let way = way_to(*from).map_err(making)?;
                let (route, name) = way.ok_or(TraceError::NoWay { from: *from })?;
                let gate = (route.link.unwrap_or(0), name.as_str());
                let injected = Injection::prepare((*from, to), sought, gate, host);
                injected.map(Self::Injected).map_err(making)
            }
        }
    }

    pub(super) fn mark(&self) -> Mark {
        match self {
            Self::Socket(probe) => probe.mark.clone(),
            Self::Injected(injection) => injection.mark.clone(),
        }
    }

    pub(super) fn fire(&mut self) {
        match self {
            Self::Socket(probe) => probe.fire(),
            Self::Injected(injection) => injection.fire(),
        }
    }

    /// What the sender knows, or the wire shows.
    pub(super) fn answer(&self, seen: &Observation) -> Answer {
        if let (Self::Injected(_), Some(refused)) = (self, sent_back(seen)) {
            return if refused { Answer::Refused } else { Answer::Unreachable(0) };
        }
        let told = match self {
            Self::Socket(probe) => probe.answer(),
            Self::Injected(injection) => injection.failed,
        };
        if told != Answer::Silence {
            return told;
        }
        let (at, way_out) = match self {
            Self::Socket(_) => (Place::Source, false),
            Self::Injected(_) => (Place::Host, true),
        };
        let arrived = seen.sightings.iter().filter_map(|s| match s.what {
            Seen::Answer { refuses } if s.outgoing == way_out => Some((s.place, refuses)),
            _ => None,
        });
        // The host may be the source.
        let here = |place| place == at || (at == Place::Source && is_host(self, place));
        let mut arrived = arrived.filter(|(place, _)| here(*place));
        match (arrived.next(), self.mark().sought, self) {
            (Some((_, true)), _, Self::Injected(_)) => Answer::Refused,
            (Some(_), Sought::Echo, _) | (Some(_), _, Self::Injected(_)) => Answer::Positive,
            _ => Answer::Silence,
        }
    }

    pub(super) fn source(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(probe) => probe.source(),
            Self::Injected(injection) => Some(injection.from),
        }
    }
}

/// Whether ICMP speaks of the probe, and says that its port is closed.
fn sent_back(seen: &Observation) -> Option<bool> {
    seen.sightings.iter().find_map(|sighting| match &sighting.what {
        Seen::Error(line) => Some(line.contains("port unreachable")),
        _ => None,
    })
}

/// A source that is the host has the host's ears.
fn is_host(sender: &Sender, place: Place) -> bool {
    matches!(sender, Sender::Socket(_)) && place == Place::Host
}
