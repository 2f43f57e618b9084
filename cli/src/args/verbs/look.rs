//! The commands that look at packets and at the network's shape.

use clap::{Args, FromArgMatches};

use super::super::look::CaptureFlags;
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
