//! The table of commands: what each is called, what it is for, how its flags
//! are declared and read. Help, completion, man pages and parsing all walk this
//! one table; a new command is a line here and a file in `commands/`.

use clap::{ArgMatches, Args, FromArgMatches};

use super::container::{
    AttachFlags, ExecFlags, InspectFlags, KillFlags, LogsFlags, PortFlags, PsFlags, RemoveFlags,
    StartFlags, StopFlags, WaitFlags,
};
use super::image::{ImagesFlags, ImportFlags, LoadFlags, PullFlags, RemoveImageFlags};
use super::run::RunFlags;
use super::system::{CompletionFlags, FormatFlags, ManFlags};
use super::values::ObjectKind;

/// What is to be done, as typed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    /// `attach`.
    Attach(AttachFlags),
    /// `completion`.
    Completion(CompletionFlags),
    /// `create`.
    Create(Box<RunFlags>),
    /// `exec`.
    Exec(Box<ExecFlags>),
    /// `images`.
    Images(ImagesFlags),
    /// `import`.
    Import(ImportFlags),
    /// `info`.
    Info(FormatFlags),
    /// `inspect`.
    Inspect(InspectFlags),
    /// `kill`.
    Kill(KillFlags),
    /// `load`.
    Load(LoadFlags),
    /// `logs`.
    Logs(LogsFlags),
    /// `man`.
    Man(ManFlags),
    /// `port`.
    Port(PortFlags),
    /// `ps`.
    Ps(PsFlags),
    /// `pull`.
    Pull(PullFlags),
    /// `rm`.
    Remove(RemoveFlags),
    /// `rmi`.
    RemoveImage(RemoveImageFlags),
    /// `restart`.
    Restart(StopFlags),
    /// `run`.
    Run(Box<RunFlags>),
    /// `start`.
    Start(StartFlags),
    /// `stop`.
    Stop(StopFlags),
    /// `version`.
    Version(FormatFlags),
    /// `wait`.
    Wait(WaitFlags),
}

/// Where `rcnt --help` lists a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Making containers and talking to them.
    Run,
    /// Looking at containers.
    Look,
    /// Ending and beginning them again.
    Lifecycle,
    /// Images.
    Images,
    /// rcnt itself.
    System,
    /// Not listed.
    Hidden,
}

/// How many words a command takes besides flags; `None` is no upper bound.
pub(crate) type Arity = (usize, Option<usize>);

/// One command.
pub(crate) struct Verb {
    /// Its name.
    pub(crate) name: &'static str,
    /// What its usage line says after the name.
    pub(crate) usage: &'static str,
    /// What it is for, one line.
    pub(crate) about: &'static str,
    /// Where help lists it.
    pub(crate) purpose: Purpose,
    /// How many words it takes: the wording of docker's complaint.
    pub(crate) arity: Arity,
    augment: fn(clap::Command) -> clap::Command,
    read: fn(&mut ArgMatches) -> Result<Command, clap::Error>,
}

impl Verb {
    /// Its flags as declared: for help, man pages and completion.
    pub(crate) fn declared(&self) -> clap::Command {
        let command = (self.augment)(clap::Command::new(self.name)).about(self.about);
        // -h is the host name there.
        if matches!(self.name, "run" | "create") {
            let help = clap::Arg::new("help").long("help").help("Print usage");
            command.disable_help_flag(true).arg(help.action(clap::ArgAction::Help))
        } else {
            command
        }
    }

    /// Its flags as docker's parser reads them: the last of several values
    /// counts, `--flag=false` is allowed, a flag's value may begin with `-`.
    pub(crate) fn parser(&self) -> clap::Command {
        self.declared().args_override_self(true).mut_args(|arg| match arg.get_action() {
            clap::ArgAction::SetTrue => arg
                .action(clap::ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .default_value("false")
                .default_missing_value("true")
                .value_parser(super::values::bool_value),
            _ if arg.is_positional() => arg,
            clap::ArgAction::Set | clap::ArgAction::Append => arg.allow_hyphen_values(true),
            _ => arg,
        })
    }

    /// What was typed, from what its [`Verb::parser`] matched.
    pub(crate) fn read(&self, matches: &mut ArgMatches) -> Result<Command, clap::Error> {
        (self.read)(matches)
    }
}

/// One entry of a group such as `container`.
pub(crate) struct Member {
    /// Its name within the group.
    pub(crate) name: &'static str,
    /// Other names within the group.
    pub(crate) aliases: &'static [&'static str],
    /// What it is.
    pub(crate) verb: &'static Verb,
}

/// docker's management commands: the same verbs under a noun.
pub(crate) struct Group {
    /// The noun.
    pub(crate) name: &'static str,
    /// What it is for, one line.
    pub(crate) about: &'static str,
    /// Its commands.
    pub(crate) members: &'static [Member],
}

/// The top-level commands, in the order of help.
pub(crate) static VERBS: &[&Verb] = &[
    &RUN,
    &CREATE,
    &EXEC,
    &ATTACH,
    &PS,
    &LOGS,
    &INSPECT,
    &PORT,
    &START,
    &STOP,
    &RESTART,
    &KILL,
    &WAIT,
    &REMOVE,
    &PULL,
    &LOAD,
    &IMPORT,
    &IMAGES,
    &REMOVE_IMAGE,
    &VERSION,
    &INFO,
    &COMPLETION,
    &MAN,
];

/// The groups.
pub(crate) static GROUPS: &[Group] = &[
    Group {
        name: "container",
        about: "Manage containers",
        members: &[
            plain(&ATTACH),
            plain(&CREATE),
            plain(&EXEC),
            plain(&INSPECT_CONTAINER),
            plain(&KILL),
            plain(&LOGS),
            Member { name: "ls", aliases: &["list", "ps"], verb: &PS },
            plain(&PORT),
            plain(&RESTART),
            Member { name: "rm", aliases: &["remove"], verb: &REMOVE },
            plain(&RUN),
            plain(&START),
            plain(&STOP),
            plain(&WAIT),
        ],
    },
    Group {
        name: "image",
        about: "Manage images",
        members: &[
            plain(&IMPORT),
            plain(&INSPECT_IMAGE),
            plain(&LOAD),
            Member { name: "ls", aliases: &["list"], verb: &IMAGES },
            plain(&PULL),
            Member { name: "rm", aliases: &["remove"], verb: &REMOVE_IMAGE },
        ],
    },
    Group { name: "system", about: "Manage rcnt", members: &[plain(&INFO)] },
];

const fn plain(verb: &'static Verb) -> Member {
    Member { name: verb.name, aliases: &[], verb }
}

static RUN: Verb = Verb {
    name: "run",
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create and run a new container from an image",
    purpose: Purpose::Run,
    arity: (1, None),
    augment: RunFlags::augment_args,
    read: |m| RunFlags::from_arg_matches_mut(m).map(|f| Command::Run(Box::new(f))),
};
static CREATE: Verb = Verb {
    name: "create",
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create a new container",
    purpose: Purpose::Run,
    arity: (1, None),
    augment: RunFlags::augment_args,
    read: |m| RunFlags::from_arg_matches_mut(m).map(|f| Command::Create(Box::new(f))),
};
static EXEC: Verb = Verb {
    name: "exec",
    usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    about: "Execute a command in a running container",
    purpose: Purpose::Run,
    arity: (2, None),
    augment: ExecFlags::augment_args,
    read: |m| ExecFlags::from_arg_matches_mut(m).map(|f| Command::Exec(Box::new(f))),
};
static ATTACH: Verb = Verb {
    name: "attach",
    usage: "[OPTIONS] CONTAINER",
    about: "Attach local standard input, output, and error streams to a running container",
    purpose: Purpose::Run,
    arity: (1, Some(1)),
    augment: AttachFlags::augment_args,
    read: |m| AttachFlags::from_arg_matches_mut(m).map(Command::Attach),
};
static PS: Verb = Verb {
    name: "ps",
    usage: "[OPTIONS]",
    about: "List containers",
    purpose: Purpose::Look,
    arity: (0, Some(0)),
    augment: PsFlags::augment_args,
    read: |m| PsFlags::from_arg_matches_mut(m).map(Command::Ps),
};
static LOGS: Verb = Verb {
    name: "logs",
    usage: "[OPTIONS] CONTAINER",
    about: "Fetch the logs of a container",
    purpose: Purpose::Look,
    arity: (1, Some(1)),
    augment: LogsFlags::augment_args,
    read: |m| LogsFlags::from_arg_matches_mut(m).map(Command::Logs),
};
static INSPECT: Verb = Verb {
    name: "inspect",
    usage: "[OPTIONS] NAME|ID [NAME|ID...]",
    about: "Return low-level information on containers and images",
    purpose: Purpose::Look,
    arity: (1, None),
    augment: InspectFlags::augment_args,
    read: |m| InspectFlags::from_arg_matches_mut(m).map(Command::Inspect),
};
static INSPECT_CONTAINER: Verb = Verb {
    name: "inspect",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Display detailed information on one or more containers",
    purpose: Purpose::Look,
    arity: (1, None),
    augment: InspectFlags::augment_args,
    read: |m| read_inspect(m, ObjectKind::Container),
};
static INSPECT_IMAGE: Verb = Verb {
    name: "inspect",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Display detailed information on one or more images",
    purpose: Purpose::Images,
    arity: (1, None),
    augment: InspectFlags::augment_args,
    read: |m| read_inspect(m, ObjectKind::Image),
};

fn read_inspect(matches: &mut ArgMatches, kind: ObjectKind) -> Result<Command, clap::Error> {
    let flags = InspectFlags::from_arg_matches_mut(matches)?;
    Ok(Command::Inspect(InspectFlags { kind: Some(kind), ..flags }))
}

static PORT: Verb = Verb {
    name: "port",
    usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    about: "List port mappings or a specific mapping for the container",
    purpose: Purpose::Look,
    arity: (1, Some(2)),
    augment: PortFlags::augment_args,
    read: |m| PortFlags::from_arg_matches_mut(m).map(Command::Port),
};
static START: Verb = Verb {
    name: "start",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Start one or more stopped containers",
    purpose: Purpose::Lifecycle,
    arity: (1, None),
    augment: StartFlags::augment_args,
    read: |m| StartFlags::from_arg_matches_mut(m).map(Command::Start),
};
static STOP: Verb = Verb {
    name: "stop",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Stop one or more running containers",
    purpose: Purpose::Lifecycle,
    arity: (1, None),
    augment: StopFlags::augment_args,
    read: |m| StopFlags::from_arg_matches_mut(m).map(Command::Stop),
};
static RESTART: Verb = Verb {
    name: "restart",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Restart one or more containers",
    purpose: Purpose::Lifecycle,
    arity: (1, None),
    augment: StopFlags::augment_args,
    read: |m| StopFlags::from_arg_matches_mut(m).map(Command::Restart),
};
static KILL: Verb = Verb {
    name: "kill",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Kill one or more running containers",
    purpose: Purpose::Lifecycle,
    arity: (1, None),
    augment: KillFlags::augment_args,
    read: |m| KillFlags::from_arg_matches_mut(m).map(Command::Kill),
};
static WAIT: Verb = Verb {
    name: "wait",
    usage: "CONTAINER [CONTAINER...]",
    about: "Block until one or more containers stop, then print their exit codes",
    purpose: Purpose::Lifecycle,
    arity: (1, None),
    augment: WaitFlags::augment_args,
    read: |m| WaitFlags::from_arg_matches_mut(m).map(Command::Wait),
};
static REMOVE: Verb = Verb {
    name: "rm",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Remove one or more containers",
    purpose: Purpose::Lifecycle,
    arity: (1, None),
    augment: RemoveFlags::augment_args,
    read: |m| RemoveFlags::from_arg_matches_mut(m).map(Command::Remove),
};
static PULL: Verb = Verb {
    name: "pull",
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    about: "Download an image from a registry",
    purpose: Purpose::Images,
    arity: (1, Some(1)),
    augment: PullFlags::augment_args,
    read: |m| PullFlags::from_arg_matches_mut(m).map(Command::Pull),
};
static LOAD: Verb = Verb {
    name: "load",
    usage: "[OPTIONS]",
    about: "Load an image from an archive, an OCI layout directory or STDIN",
    purpose: Purpose::Images,
    arity: (0, Some(0)),
    augment: LoadFlags::augment_args,
    read: |m| LoadFlags::from_arg_matches_mut(m).map(Command::Load),
};
static IMPORT: Verb = Verb {
    name: "import",
    usage: "[OPTIONS] FILE|- [REPOSITORY[:TAG]]",
    about: "Import the contents from a tarball to create a filesystem image",
    purpose: Purpose::Images,
    arity: (1, Some(2)),
    augment: ImportFlags::augment_args,
    read: |m| ImportFlags::from_arg_matches_mut(m).map(Command::Import),
};
static IMAGES: Verb = Verb {
    name: "images",
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    about: "List images",
    purpose: Purpose::Images,
    arity: (0, Some(1)),
    augment: ImagesFlags::augment_args,
    read: |m| ImagesFlags::from_arg_matches_mut(m).map(Command::Images),
};
static REMOVE_IMAGE: Verb = Verb {
    name: "rmi",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Remove one or more images",
    purpose: Purpose::Images,
    arity: (1, None),
    augment: RemoveImageFlags::augment_args,
    read: |m| RemoveImageFlags::from_arg_matches_mut(m).map(Command::RemoveImage),
};
static VERSION: Verb = Verb {
    name: "version",
    usage: "[OPTIONS]",
    about: "Show the rcnt version information",
    purpose: Purpose::System,
    arity: (0, Some(0)),
    augment: FormatFlags::augment_args,
    read: |m| FormatFlags::from_arg_matches_mut(m).map(Command::Version),
};
static INFO: Verb = Verb {
    name: "info",
    usage: "[OPTIONS]",
    about: "Display system-wide information",
    purpose: Purpose::System,
    arity: (0, Some(0)),
    augment: FormatFlags::augment_args,
    read: |m| FormatFlags::from_arg_matches_mut(m).map(Command::Info),
};
static COMPLETION: Verb = Verb {
    name: "completion",
    usage: "bash|zsh|fish",
    about: "Print the script that completes rcnt's commands in a shell",
    purpose: Purpose::System,
    arity: (1, Some(1)),
    augment: CompletionFlags::augment_args,
    read: |m| CompletionFlags::from_arg_matches_mut(m).map(Command::Completion),
};
static MAN: Verb = Verb {
    name: "man",
    usage: "DIRECTORY",
    about: "Write the manual pages",
    purpose: Purpose::Hidden,
    arity: (1, Some(1)),
    augment: ManFlags::augment_args,
    read: |m| ManFlags::from_arg_matches_mut(m).map(Command::Man),
};
