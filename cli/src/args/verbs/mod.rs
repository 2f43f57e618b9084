//! The table of commands: what each is called, what it is for, how its flags
//! are declared and read. Help, completion, man pages and parsing all walk this
//! one table; a new command is a line here and a file in `commands/`.

mod containers;
mod look;
mod networks;
mod others;

use clap::ArgMatches;

use super::container::{
    AttachFlags, ExecFlags, InspectFlags, KillFlags, LogsFlags, PortFlags, PsFlags, RemoveFlags,
    StartFlags, StopFlags, WaitFlags,
};
use super::image::{ImagesFlags, ImportFlags, LoadFlags, PullFlags, RemoveImageFlags};
use super::look::{CaptureFlags, GraphFlags, TraceFlags};
use super::network::NetworkCommand;
use super::run::RunFlags;
use super::system::{CompletionFlags, FormatFlags, ManFlags};
use containers::{
    ATTACH, CREATE, EXEC, INSPECT, INSPECT_CONTAINER, INSPECT_IMAGE, KILL, LOGS, PORT, PS, REMOVE,
    RESTART, RUN, START, STOP, WAIT,
};
use look::CAPTURE;
use others::{COMPLETION, IMAGES, IMPORT, INFO, LOAD, MAN, PULL, REMOVE_IMAGE, VERSION};

/// What is to be done, as typed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    /// `attach`.
    Attach(AttachFlags),
    /// `capture`.
    Capture(CaptureFlags),
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
    /// `network`.
    Network(NetworkCommand),
    /// `network graph`.
    NetworkGraph(GraphFlags),
    /// `network trace`.
    NetworkTrace(TraceFlags),
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
    /// Networks.
    Networks,
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
    &CAPTURE,
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
            plain(&CAPTURE),
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
    networks::NETWORK,
    Group { name: "system", about: "Manage rcnt", members: &[plain(&INFO)] },
];

const fn plain(verb: &'static Verb) -> Member {
    Member { name: verb.name, aliases: &[], verb }
}
