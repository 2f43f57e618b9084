//! runc's command line, as far as rcnt-oci goes.

use std::path::PathBuf;

use crate::checkpoint::CheckpointArgs;
use crate::restore::RestoreArgs;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// OCI runtime: runs a bundle's config.json as a container.
#[derive(Debug, Parser)]
#[command(name = "rcnt-oci", disable_version_flag = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Where the state of containers is kept
    #[arg(long, global = true, default_value = "/run/rcnt-oci", value_name = "DIR")]
    pub(crate) root: PathBuf,
    /// Where an error is written besides stderr
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// How it is written there
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Show each step and its time
    #[arg(long, global = true)]
    pub(crate) debug: bool,
    /// Print the version
    #[arg(short = 'v', long)]
    pub(crate) version: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a container and stop right before its command
    Create(CreateArgs),
    /// Start a created container's command
    Start {
        /// Container
        id: String,
    },
    /// create and start
    Run(RunArgs),
    /// Print a container's state as JSON
    State {
        /// Container
        id: String,
    },
    /// Send a signal
    Kill {
        /// To every process of the container
        #[arg(short, long)]
        all: bool,
        /// Container
        id: String,
        /// Name or number
        #[arg(default_value = "SIGTERM")]
        signal: String,
    },
    /// Remove what is left of a container
    Delete {
        /// Kill it first; a container that does not exist is no error
        #[arg(short, long)]
        force: bool,
        /// Container
        id: String,
    },
    /// Run a further command in a running container
    Exec(ExecArgs),
    /// List containers
    List {
        /// How
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        format: Format,
        /// Ids only
        #[arg(short, long)]
        quiet: bool,
    },
    /// Write a config.json to start from
    Spec {
        /// Where the bundle is
        #[arg(short, long, value_name = "DIR")]
        bundle: Option<PathBuf>,
    },
    /// List the processes of a container
    Ps {
        /// How
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        format: Format,
        /// Container
        id: String,
    },
    /// Stop every process of a container where it is
    Pause {
        /// Container
        id: String,
    },
    /// Let them go on
    Resume {
        /// Container
        id: String,
    },
    /// Write a running container as images
    Checkpoint(CheckpointArgs),
    /// Make a running container of images
    Restore(RestoreArgs),
    /// Print what this runtime can do as JSON
    Features,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Directory with config.json, the working directory if not given
    #[arg(short, long, value_name = "DIR")]
    pub(crate) bundle: Option<PathBuf>,
    /// Unix socket that gets the terminal's master
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Where to write the pid of the first process
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// The new container's name
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) create: CreateArgs,
    /// Do not wait for its end
    #[arg(short, long)]
    pub(crate) detach: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Unix socket that gets the terminal's master
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Working directory
    #[arg(long)]
    pub(crate) cwd: Option<PathBuf>,
    /// NAME=value, again for each
    #[arg(short, long)]
    pub(crate) env: Vec<String>,
    /// On a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// User and group: `UID` or `UID:GID`
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// Supplementary groups
    #[arg(short = 'g', long)]
    pub(crate) additional_gids: Vec<u32>,
    /// File with an OCI process; replaces the command
    #[arg(short, long, value_name = "FILE")]
    pub(crate) process: Option<PathBuf>,
    /// Do not wait for its end
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Where to write its pid
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// A capability more, again for each
    #[arg(short, long)]
    pub(crate) cap: Vec<String>,
    /// No privileges through setuid programs
    #[arg(long)]
    pub(crate) no_new_privs: bool,
    /// Container
    pub(crate) id: String,
    /// Command and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// A signal by number or by name, with or without SIG.
pub(crate) fn signal_number(text: &str) -> Option<i32> {
    const NAMES: [(&str, i32); 31] = [
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("ILL", libc::SIGILL),
        ("TRAP", libc::SIGTRAP),
        ("ABRT", libc::SIGABRT),
        ("BUS", libc::SIGBUS),
        ("FPE", libc::SIGFPE),
        ("KILL", libc::SIGKILL),
        ("USR1", libc::SIGUSR1),
        ("SEGV", libc::SIGSEGV),
        ("USR2", libc::SIGUSR2),
        ("PIPE", libc::SIGPIPE),
        ("ALRM", libc::SIGALRM),
        ("TERM", libc::SIGTERM),
        ("STKFLT", 16),
        ("CHLD", libc::SIGCHLD),
        ("CONT", libc::SIGCONT),
        ("STOP", libc::SIGSTOP),
        ("TSTP", libc::SIGTSTP),
        ("TTIN", libc::SIGTTIN),
        ("TTOU", libc::SIGTTOU),
        ("URG", libc::SIGURG),
        ("XCPU", libc::SIGXCPU),
        ("XFSZ", libc::SIGXFSZ),
        ("VTALRM", libc::SIGVTALRM),
        ("PROF", libc::SIGPROF),
        ("WINCH", libc::SIGWINCH),
        ("IO", libc::SIGIO),
        ("PWR", libc::SIGPWR),
        ("SYS", libc::SIGSYS),
    ];
    if let Ok(number) = text.parse() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn signals_have_names_and_numbers() {
        assert_eq!(signal_number("SIGTERM"), Some(15));
        assert_eq!(signal_number("kill"), Some(9));
        assert_eq!(signal_number("37"), Some(37));
        assert_eq!(
            (signal_number("0"), signal_number("65"), signal_number("NO")),
            (None, None, None)
        );
    }
}
