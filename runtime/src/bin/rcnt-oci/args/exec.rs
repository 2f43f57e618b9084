//! Options of `exec`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(override_usage = "rcnt-oci exec [OPTIONS] <container-id> <command> [arguments]
   rcnt-oci exec [OPTIONS] --process FILE <container-id>")]
pub(crate) struct ExecArgs {
    /// Unix socket that gets the terminal's master
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Unix socket that gets a pidfd of the process
    #[arg(long, value_name = "SOCKET")]
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// NAME=value, again for each
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// On a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// User and group: UID or UID:GID
    #[arg(short, long, value_name = "UID[:GID]")]
    pub(crate) user: Option<String>,
    /// A supplementary group, again for each
    #[arg(short = 'g', long, value_name = "GID", allow_negative_numbers = true)]
    pub(crate) additional_gids: Vec<i64>,
    /// File with an OCI process, instead of a command
    #[arg(short, long, value_name = "FILE")]
    pub(crate) process: Option<PathBuf>,
    /// Do not wait for its end
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Where to write its pid
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    pub(crate) process_label: Option<String>,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub(crate) apparmor: Option<String>,
    /// No privileges through setuid programs; `=false` allows them
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_name = "BOOL")]
    pub(crate) no_new_privs: Option<bool>,
    /// A capability more, again for each
    #[arg(short, long, value_name = "CAPABILITY")]
    pub(crate) cap: Vec<String>,
    /// Cgroup below the container's, `CONTROLLER:PATH` on cgroup v1, again for each
    #[arg(long, value_name = "[CONTROLLER:]PATH")]
    pub(crate) cgroup: Vec<String>,
    /// Even if the container is paused
    #[arg(long)]
    pub(crate) ignore_paused: bool,
    /// Descriptors from 3 on that the command inherits
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    /// Container, then command and arguments
    #[arg(value_name = "container-id", required = true)]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) rest: Vec<String>,
}
