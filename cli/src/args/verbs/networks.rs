//! The commands on networks.

use clap::{ArgMatches, Args, FromArgMatches};

use super::super::network::{
    NetworkCheckFlags, NetworkCommand, NetworkConnectFlags, NetworkCreateFlags,
    NetworkDisconnectFlags, NetworkInspectFlags, NetworkListFlags, NetworkPruneFlags,
    NetworkRemoveFlags,
};
use super::{Command, Group, Member, Purpose, Verb};

/// `network`.
pub(super) const NETWORK: Group = Group {
    name: "network",
    about: "Manage networks",
    members: &[
        Member { name: "check", aliases: &[], verb: &CHECK },
        Member { name: "connect", aliases: &[], verb: &CONNECT },
        Member { name: "create", aliases: &[], verb: &CREATE },
        Member { name: "disconnect", aliases: &[], verb: &DISCONNECT },
        Member { name: "graph", aliases: &[], verb: &super::look::GRAPH },
        Member { name: "inspect", aliases: &[], verb: &INSPECT },
        Member { name: "ls", aliases: &["list"], verb: &LIST },
        Member { name: "prune", aliases: &[], verb: &PRUNE },
        Member { name: "rm", aliases: &["remove"], verb: &REMOVE },
        Member { name: "trace", aliases: &[], verb: &super::look::TRACE },
    ],
};

fn read<F: FromArgMatches>(
    matches: &mut ArgMatches,
    command: fn(F) -> NetworkCommand,
) -> Result<Command, clap::Error> {
    F::from_arg_matches_mut(matches).map(|flags| Command::Network(command(flags)))
}

static CHECK: Verb = Verb {
    name: "network check",
    usage: "[OPTIONS] [NETWORK|CONTAINER...]",
    about: "Compare the host's network with what rcnt has recorded, and repair it",
    purpose: Purpose::Networks,
    arity: (0, None),
    augment: NetworkCheckFlags::augment_args,
    read: |m| read(m, NetworkCommand::Check),
};

static CONNECT: Verb = Verb {
    name: "network connect",
    usage: "[OPTIONS] NETWORK CONTAINER",
    about: "Connect a container to a network",
    purpose: Purpose::Networks,
    arity: (2, Some(2)),
    augment: NetworkConnectFlags::augment_args,
    read: |m| read(m, |flags| NetworkCommand::Connect(Box::new(flags))),
};

static DISCONNECT: Verb = Verb {
    name: "network disconnect",
    usage: "[OPTIONS] NETWORK CONTAINER",
    about: "Disconnect a container from a network",
    purpose: Purpose::Networks,
    arity: (2, Some(2)),
    augment: NetworkDisconnectFlags::augment_args,
    read: |m| read(m, NetworkCommand::Disconnect),
};

static CREATE: Verb = Verb {
    name: "network create",
    usage: "[OPTIONS] NETWORK",
    about: "Create a network",
    purpose: Purpose::Networks,
    arity: (1, Some(1)),
    augment: NetworkCreateFlags::augment_args,
    read: |m| read(m, |flags| NetworkCommand::Create(Box::new(flags))),
};

static INSPECT: Verb = Verb {
    name: "network inspect",
    usage: "[OPTIONS] NETWORK [NETWORK...]",
    about: "Display detailed information on one or more networks",
    purpose: Purpose::Networks,
    arity: (1, None),
    augment: NetworkInspectFlags::augment_args,
    read: |m| read(m, NetworkCommand::Inspect),
};

static LIST: Verb = Verb {
    name: "network ls",
    usage: "[OPTIONS]",
    about: "List networks",
    purpose: Purpose::Networks,
    arity: (0, Some(0)),
    augment: NetworkListFlags::augment_args,
    read: |m| read(m, NetworkCommand::List),
};

static PRUNE: Verb = Verb {
    name: "network prune",
    usage: "[OPTIONS]",
    about: "Remove all unused networks",
    purpose: Purpose::Networks,
    arity: (0, Some(0)),
    augment: NetworkPruneFlags::augment_args,
    read: |m| read(m, NetworkCommand::Prune),
};

static REMOVE: Verb = Verb {
    name: "network rm",
    usage: "NETWORK [NETWORK...]",
    about: "Remove one or more networks",
    purpose: Purpose::Networks,
    arity: (1, None),
    augment: NetworkRemoveFlags::augment_args,
    read: |m| read(m, NetworkCommand::Remove),
};
