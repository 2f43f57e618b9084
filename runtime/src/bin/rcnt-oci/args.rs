//! runc's command line: the global options and one variant per command. The
//! options of a command are in a file of their area.

mod create;
mod exec;
mod signal;
mod update;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::checkpoint::CheckpointArgs;
use crate::restore::RestoreArgs;

pub(crate) use create::{CreateArgs, RunArgs};
pub(crate) use exec::ExecArgs;
pub(crate) use signal::signal_number;
pub(crate) use update::UpdateArgs;

/// Where the state of containers is kept unless `--root` says otherwise.
pub(crate) const DEFAULT_ROOT: &str = "/run/rcnt-oci";

/// The command line as a table, with help texts that begin as runc's do: scripts
/// read their first lines.
pub(crate) fn tree() -> clap::Command {
    let help = |name: &str| {
        format!(
            "NAME:\n   {name} - {{about}}\n\nUSAGE:\n   {{usage}}\n\n{{all-args}}{{after-help}}\n"
        )
    };
    // Said twice the last one counts, as for runc.
    let tree = Cli::command().help_template(help("rcnt-oci")).args_override_self(true);
    tree.mut_subcommands(|command| {
        let template = help(&format!("rcnt-oci {}", command.get_name()));
        command.help_template(template).args_override_self(true)
    })
}

/// Open Container Initiative runtime
#[derive(Debug, Parser)]
#[command(name = "rcnt-oci", disable_version_flag = true, disable_help_subcommand = true)]
#[command(after_help = "A bundle is a directory with a config.json and a root file system. \
`rcnt-oci spec` writes a config.json to start from, `rcnt-oci run ID` runs the bundle in the \
working directory as container ID.")]
pub(crate) struct Cli {
    /// Where the state of containers is kept [default: /run/rcnt-oci]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// File that gets the log instead of stderr
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// How the log is written
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Log each step and its time
    #[arg(long, global = true)]
    pub(crate) debug: bool,
    /// Have systemd make the cgroup; cgroupsPath is "slice:prefix:name" then
    #[arg(long, global = true)]
    pub(crate) systemd_cgroup: bool,
    /// For runc's callers: `false` or `auto`
    #[arg(long, default_value = "auto", value_name = "BOOL", hide_default_value = true)]
    pub(crate) rootless: String,
    /// Print the version
    #[arg(short = 'v', long)]
    pub(crate) version: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

/// `defer`: only the options of the command that is run are made.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Make a container; its command waits for `start`
    Create(CreateArgs),
    /// Let a created container's command go
    Start(Target),
    /// Create and start a container, wait for its end and delete it
    Run(RunArgs),
    /// Print a container's state as JSON
    State(Target),
    /// Send a signal to a container
    Kill(KillArgs),
    /// Remove what is left of a container
    Delete(DeleteArgs),
    /// Run one more process in a container
    Exec(ExecArgs),
    /// List containers
    List(ListArgs),
    /// Write a config.json to start from
    Spec(SpecArgs),
    /// List the processes of a container
    Ps(PsArgs),
    /// Stop every process of a container where it is
    Pause(Target),
    /// Let a paused container go on
    Resume(Target),
    /// Print what a container uses, and when it runs out of memory, as JSON lines
    Events(EventsArgs),
    /// Change a container's limits
    Update(Box<UpdateArgs>),
    /// Write a running container as images
    Checkpoint(CheckpointArgs),
    /// Make a running container of images
    Restore(RestoreArgs),
    /// Print what this runtime can do as JSON
    Features,
    /// Print a shell's completion script
    #[command(hide = true)]
    Completion {
        /// Which
        shell: clap_complete::Shell,
    },
    /// Write the manual pages
    #[command(hide = true)]
    Man {
        /// Where
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Container
    #[arg(value_name = "container-id")]
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// To every process of the container; one that has stopped is no error
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Container
    #[arg(value_name = "container-id")]
    pub(crate) id: String,
    /// Name or number
    #[arg(default_value = "SIGTERM")]
    pub(crate) signal: String,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Kill it first; a container that does not exist is no error
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Container
    #[arg(value_name = "container-id")]
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// How
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// Ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SpecArgs {
    /// Where the bundle is
    #[arg(short, long, value_name = "DIR")]
    pub(crate) bundle: Option<PathBuf>,
    /// Refused: rcnt-oci runs as root
    #[arg(id = "spec-rootless", long = "rootless", hide = true)]
    pub(crate) rootless: bool,
}

#[derive(Debug, Args)]
#[command(override_usage = "rcnt-oci ps [OPTIONS] <container-id> [ps options]")]
pub(crate) struct PsArgs {
    /// How
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// Container, then options of ps(1): -ef, aux, -o COLUMNS
    #[arg(value_name = "container-id", required = true)]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) rest: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Time between two readings: 5s, 100ms, 1m30s
    #[arg(long, default_value = "5s", value_name = "DURATION")]
    pub(crate) interval: String,
    /// Print one reading and end
    #[arg(long)]
    pub(crate) stats: bool,
    /// Container
    #[arg(value_name = "container-id")]
    pub(crate) id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Cli, clap::Error> {
        let matches = tree().try_get_matches_from(line.split(' '))?;
        clap::FromArgMatches::from_arg_matches(&matches)
    }

    #[test]
    fn the_last_of_two_counts_and_lists_grow() {
        let cli =
            of("rcnt-oci --root /a --root /b exec -u 1 -e A=1 -u 2 -e B=2 -g 1 -g 2 c sh").unwrap();
        assert_eq!(cli.root.as_deref(), Some(std::path::Path::new("/b")));
        let Some(Command::Exec(args)) = cli.command else { panic!() };
        assert_eq!((args.env, args.user.as_deref()), (vec!["A=1".into(), "B=2".into()], Some("2")));
        assert_eq!(args.additional_gids, [1, 2]);
    }

    #[test]
    fn the_command_line_is_consistent() {
        tree().debug_assert();
    }

    #[test]
    fn options_stand_before_and_after_the_container_id() {
        let parse = |line: &str| of(line).unwrap();
        let cli = parse("rcnt-oci --root /r delete c1 --force");
        assert!(matches!(cli.command, Some(Command::Delete(DeleteArgs { force: true, .. }))));
        let cli = parse("rcnt-oci --rootless false update c1 --memory -1 --cpuset-cpus 1");
        let Some(Command::Update(update)) = cli.command else { panic!("{cli:?}") };
        assert_eq!((update.id.as_str(), update.memory.as_deref()), ("c1", Some("-1")));
    }

    #[test]
    fn what_follows_the_container_of_exec_is_its_command() {
        let parse = |line: &str| match of(line).unwrap().command {
            Some(Command::Exec(args)) => args,
            other => panic!("{other:?}"),
        };
        let args = parse("rcnt-oci exec -t -e A=b c1 sh -c -t -- --tty -e x");
        assert_eq!(args.rest, ["c1", "sh", "-c", "-t", "--", "--tty", "-e", "x"]);
        assert_eq!(args.env, ["A=b"]);
        assert_eq!(parse("rcnt-oci exec c1 -e A=b").rest, ["c1", "-e", "A=b"]);
    }
}
