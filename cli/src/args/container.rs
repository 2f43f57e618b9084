//! The flags of everything that works on existing containers.

use std::path::PathBuf;

use clap::Args;

use super::values::{ObjectKind, Tail, bool_value, tail_value};

/// `start`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct StartFlags {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    pub(crate) attach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
    /// Attach container's STDIN
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `stop` and `restart`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct StopFlags {
    /// Signal to send to the container
    #[arg(short, long)]
    pub(crate) signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short, long, alias = "time", value_name = "SECONDS")]
    pub(crate) timeout: Option<i64>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `kill`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct KillFlags {
    /// Signal to send to the container
    #[arg(short, long, default_value = "SIGKILL")]
    pub(crate) signal: String,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `rm`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct RemoveFlags {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    pub(crate) volumes: bool,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `wait`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct WaitFlags {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// `attach`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct AttachFlags {
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
    /// Do not attach STDIN
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// Proxy all received signals to the process
    #[arg(long, action = clap::ArgAction::Set, default_value = "true", default_missing_value = "true",
          num_args = 0..=1, require_equals = true, value_parser = bool_value, value_name = "BOOL")]
    pub(crate) sig_proxy: bool,
    /// The container
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}

/// `exec`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct ExecFlags {
    /// Detached mode: run command in the background
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
    /// Set environment variables (NAME=VALUE, or NAME to pass on rcnt's own)
    #[arg(short, long, value_name = "VARIABLE")]
    pub(crate) env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Username or UID, with a group or GID after a colon (web, 1000:1000)
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    // One list: whatever follows CONTAINER, flags included, belongs to the command.
    /// The container, then what to run in it
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_name = "CONTAINER COMMAND [ARG...]")]
    pub(crate) container_and_command: Vec<String>,
}

/// `logs`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct LogsFlags {
    /// Follow log output
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Show logs since timestamp (e.g. "2026-01-02T13:23:37Z") or relative (e.g. "42m")
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, default_value = "all", value_parser = tail_value, value_name = "LINES")]
    pub(crate) tail: Tail,
    /// Show timestamps
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Show logs before a timestamp (e.g. "2026-01-02T13:23:37Z") or relative (e.g. "42m")
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// The container
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}

/// `ps`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct PsFlags {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go 'TEMPLATE'
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) last: Option<i64>,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    pub(crate) latest: bool,
    /// Don't truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only display container IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    pub(crate) size: bool,
}

/// `inspect`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct InspectFlags {
    /// Format output: 'json' or a Go 'TEMPLATE'
    #[arg(short, long)]
    pub(crate) format: Option<String>,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    pub(crate) size: bool,
    /// Only inspect objects of the given type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<ObjectKind>,
    /// The containers or images
    #[arg(required = true, value_name = "NAME|ID")]
    pub(crate) targets: Vec<String>,
}

/// `port`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct PortFlags {
    /// Publish a container's port(s) to the host, with `add`
    #[arg(short = 'p', long, value_name = "PORTS")]
    pub(crate) publish: Vec<String>,
    /// The container and one of its ports; or add or rm, the container, and ports
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) words: Vec<String>,
}
