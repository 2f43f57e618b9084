//! The commands that look at packets and at the network's shape.

use clap::{Args, FromArgMatches};

use super::super::look::{CaptureFlags, GraphFlags, TraceFlags};
use super::{Command, Purpose, Verb};

pub(super) static CAPTURE: Verb = Verb {
    name: "capture",
    usage: "[OPTIONS] CONTAINER [FILTER...]",
    about: "Show or record the packets of a container",
    purpose: Purpose::Look,
    arity: (1, None),
    augment: CaptureFlags::augment_args,
    read: |m| CaptureFlags::from_arg_matches_mut(m).map(Command::Capture),
};

pub(super) static GRAPH: Verb = Verb {
    name: "network graph",
    usage: "[OPTIONS]",
    about: "Draw the host's interfaces, the networks, and the containers on them",
    purpose: Purpose::Networks,
    arity: (0, Some(0)),
    augment: GraphFlags::augment_args,
    read: |m| GraphFlags::from_arg_matches_mut(m).map(Command::NetworkGraph),
};

pub(super) static TRACE: Verb = Verb {
    name: "network trace",
    usage: "[OPTIONS] SRC DST[:PORT][/udp]",
    about: "Follow a probe from a container, the host or outside, and say where it is lost",
    purpose: Purpose::Networks,
    arity: (2, Some(2)),
    augment: TraceFlags::augment_args,
    read: |m| TraceFlags::from_arg_matches_mut(m).map(Command::NetworkTrace),
};
