//! Options of `create` and `run`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Directory with config.json, the working directory if not given
    #[arg(short, long, value_name = "DIR")]
    pub(crate) bundle: Option<PathBuf>,
    /// Unix socket that gets the terminal's master
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Unix socket that gets a pidfd of the first process
    #[arg(long, value_name = "SOCKET")]
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// Where to write the pid of the first process
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Enter the root by moving it, without pivot_root: for hosts on an initramfs
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// Descriptors from 3 on that the command inherits, besides those of LISTEN_FDS
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    /// With the caller's session keyring
    #[arg(long)]
    pub(crate) no_new_keyring: bool,
    /// The new container's name
    #[arg(value_name = "container-id")]
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) create: CreateArgs,
    /// Do not wait for its end
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Do not delete the container after its end
    #[arg(long)]
    pub(crate) keep: bool,
    /// Do not adopt processes whose parents have ended
    #[arg(long)]
    pub(crate) no_subreaper: bool,
}
