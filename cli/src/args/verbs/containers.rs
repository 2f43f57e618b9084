//! The commands on containers, and `inspect`, which is about images as well.

use clap::{ArgMatches, Args, FromArgMatches};

use super::super::container::{
    AttachFlags, ExecFlags, InspectFlags, KillFlags, LogsFlags, PortFlags, PsFlags, RemoveFlags,
    StartFlags, StopFlags, WaitFlags,
};
use super::super::run::RunFlags;
use super::super::values::ObjectKind;
use super::{Command, Purpose, Verb};

pub(super) static RUN: Verb = Verb {
    name: "run",
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create and run a new container from an image",
    purpose: Purpose::Run,
    arity: (1, None),
    augment: RunFlags::augment_args,
    read: |m| RunFlags::from_arg_matches_mut(m).map(|f| Command::Run(Box::new(f))),
};

pub(super) static CREATE: Verb = Verb {
    name: "create",
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create a new container",
    purpose: Purpose::Run,
    arity: (1, None),
    augment: RunFlags::augment_args,
    read: |m| RunFlags::from_arg_matches_mut(m).map(|f| Command::Create(Box::new(f))),
};

pub(super) static EXEC: Verb = Verb {
    name: "exec",
    usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    about: "Execute a command in a running container",
    purpose: Purpose::Run,
    arity: (2, None),
    augment: ExecFlags::augment_args,
    read: |m| ExecFlags::from_arg_matches_mut(m).map(|f| Command::Exec(Box::new(f))),
};

pub(super) static ATTACH: Verb = Verb {
    name: "attach",
    usage: "[OPTIONS] CONTAINER",
    about: "Attach local standard input, output, and error streams to a running container",
    purpose: Purpose::Run,
    arity: (1, Some(1)),
    augment: AttachFlags::augment_args,
    read: |m| AttachFlags::from_arg_matches_mut(m).map(Command::Attach),
};

pub(super) static PS: Verb = Verb {
    name: "ps",
    usage: "[OPTIONS]",
    about: "List containers",
    purpose: Purpose::Look,
    arity: (0, Some(0)),
    augment: PsFlags::augment_args,
    read: |m| PsFlags::from_arg_matches_mut(m).map(Command::Ps),
};

pub(super) static LOGS: Verb = Verb {
    name: "logs",
    usage: "[OPTIONS] CONTAINER",
    about: "Fetch the logs of a container",
    purpose: Purpose::Look,
    arity: (1, Some(1)),
    augment: LogsFlags::augment_args,
    read: |m| LogsFlags::from_arg_matches_mut(m).map(Command::Logs),
};

pub(super) static INSPECT: Verb = Verb {
    name: "inspect",
    usage: "[OPTIONS] NAME|ID [NAME|ID...]",
    about: "Return low-level information on containers and images",
    purpose: Purpose::Look,
    arity: (1, None),
    augment: InspectFlags::augment_args,
    read: |m| InspectFlags::from_arg_matches_mut(m).map(Command::Inspect),
};

pub(super) static INSPECT_CONTAINER: Verb = Verb {
    name: "inspect",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Display detailed information on one or more containers",
    purpose: Purpose::Look,
    arity: (1, None),
    augment: InspectFlags::augment_args,
    read: |m| read_inspect(m, ObjectKind::Container),
};

pub(super) static INSPECT_IMAGE: Verb = Verb {
    name: "inspect",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Display detailed information on one or more images",
    purpose: Purpose::Images,
    arity: (1, None),
    augment: InspectFlags::augment_args,
    read: |m| read_inspect(m, ObjectKind::Image),
};

pub(super) static PORT: Verb = Verb {
    name: "port",
    usage: "CONTAINER [PRIVATE_PORT[/PROTO]] | add CONTAINER -p PORTS... | rm CONTAINER PORTS...",
    about: "List, add or remove port mappings of a container",
    purpose: Purpose::Look,
    // docker's complaint is about what docker has.
    arity: (1, Some(2)),
    augment: PortFlags::augment_args,
    read: |m| PortFlags::from_arg_matches_mut(m).map(Command::Port),
};

pub(super) static START: Verb = Verb {
    name: "start",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Start one or more stopped containers",
    purpose: Purpose::Lifecycle,
    arity: (1, None),
    augment: StartFlags::augment_args,
    read: |m| StartFlags::from_arg_matches_mut(m).map(Command::Start),
};

pub(super) static STOP: Verb = Verb {
    name: "stop",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Stop one or more running containers",
    purpose: Purpose::Lifecycle,
    arity: (1, None),
    augment: StopFlags::augment_args,
    read: |m| StopFlags::from_arg_matches_mut(m).map(Command::Stop),
};

pub(super) static RESTART: Verb = Verb {
    name: "restart",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Restart one or more containers",
    purpose: Purpose::Lifecycle,
    arity: (1, None),
    augment: StopFlags::augment_args,
    read: |m| StopFlags::from_arg_matches_mut(m).map(Command::Restart),
};

pub(super) static KILL: Verb = Verb {
    name: "kill",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Kill one or more running containers",
    purpose: Purpose::Lifecycle,
    arity: (1, None),
    augment: KillFlags::augment_args,
    read: |m| KillFlags::from_arg_matches_mut(m).map(Command::Kill),
};

pub(super) static WAIT: Verb = Verb {
    name: "wait",
    usage: "CONTAINER [CONTAINER...]",
    about: "Block until one or more containers stop, then print their exit codes",
    purpose: Purpose::Lifecycle,
    arity: (1, None),
    augment: WaitFlags::augment_args,
    read: |m| WaitFlags::from_arg_matches_mut(m).map(Command::Wait),
};

pub(super) static REMOVE: Verb = Verb {
    name: "rm",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Remove one or more containers",
    purpose: Purpose::Lifecycle,
    arity: (1, None),
    augment: RemoveFlags::augment_args,
    read: |m| RemoveFlags::from_arg_matches_mut(m).map(Command::Remove),
};

fn read_inspect(matches: &mut ArgMatches, kind: ObjectKind) -> Result<Command, clap::Error> {
    let flags = InspectFlags::from_arg_matches_mut(matches)?;
    Ok(Command::Inspect(InspectFlags { kind: Some(kind), ..flags }))
}
