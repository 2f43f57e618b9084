//! The flags of `run` and `create`, spelt as docker spells them. What the
//! engine must know becomes a [`RunArgs`]; what only the command line needs
//! (detaching, streams, the id file) becomes [`RunOptions`].

use std::path::{Path, PathBuf};

use clap::Args;
use rcnt_engine::request::RunArgs;

use super::values::{AttachStream, PullChoice, bool_value};
use crate::failure::Failure;

/// `run` and `create` as typed.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct RunFlags {
    /// Add a custom host-to-IP mapping (host:ip)
    #[arg(long, value_name = "HOST:IP")]
    add_host: Vec<String>,
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long, value_name = "STREAM")]
    attach: Vec<AttachStream>,
    /// Limit what comes in and goes out, as IN/OUT (10mbit/5mbit, 500kbit, /1gbit)
    #[arg(long, value_name = "IN/OUT")]
    bandwidth: Option<String>,
    /// Let it open connections to this alone: CIDR, IP, IP:PORT, IP:PORT-PORT, NAME, NAME:PORT, `*.NAME`, with /udp; or none
    #[arg(long, value_name = "RULE")]
    egress_allow: Vec<String>,
    /// Add Linux capabilities
    #[arg(long, value_name = "CAP")]
    cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "CAP")]
    cap_drop: Vec<String>,
    /// Optional parent cgroup for the container
    #[arg(long, value_name = "CGROUP")]
    cgroup_parent: Option<String>,
    /// Write the container ID to the file
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// Number of CPUs
    #[arg(long, value_name = "DECIMAL")]
    cpus: Option<String>,
    /// Run container in background and print container ID
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Set custom DNS servers
    #[arg(long, value_name = "IP")]
    dns: Vec<String>,
    /// Set DNS options
    #[arg(long, value_name = "OPTION", alias = "dns-opt")]
    dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Container NIS domain name
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Set environment variables (NAME=VALUE, or NAME to pass on rcnt's own)
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Expose a port or a range of ports (80, 8000-8010/udp)
    #[arg(long, value_name = "PORT")]
    expose: Vec<String>,
    /// Add additional groups to join
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Container host name
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// Run an init inside the container that forwards signals and reaps processes
    #[arg(long)]
    init: bool,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    interactive: bool,
    /// IPv4 address (e.g., 10.88.0.104)
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// IPv6 address (e.g., 2001:db8::33)
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
    /// Set meta data on a container
    #[arg(short, long, value_name = "LABEL")]
    label: Vec<String>,
    /// Read in a line delimited file of labels
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,
    /// Add link to another container
    #[arg(long, value_name = "CONTAINER[:ALIAS]")]
    link: Vec<String>,
    /// Container IPv4/IPv6 link-local addresses
    #[arg(long, value_name = "ADDRESS")]
    link_local_ip: Vec<String>,
    /// Container MAC address (e.g., 92:d0:c6:0a:29:33)
    #[arg(long, value_name = "ADDRESS")]
    mac_address: Option<String>,
    /// Memory limit
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Swap limit equal to memory plus swap: -1 to enable unlimited swap
    #[arg(long, value_name = "BYTES")]
    memory_swap: Option<String>,
    /// Attach a filesystem mount to the container
    #[arg(long, value_name = "MOUNT")]
    mount: Vec<String>,
    /// Assign a name to the container
    #[arg(long)]
    name: Option<String>,
    /// Connect a container to a network (bridge, none, host, container:NAME, a network's name,
    /// or name=NETWORK,alias=...,ip=...,ip6=...,mac-address=...,gw-priority=...)
    #[arg(long, alias = "net", value_name = "NETWORK")]
    network: Vec<String>,
    /// Add network-scoped alias for the container
    #[arg(long, alias = "net-alias", value_name = "ALIAS")]
    network_alias: Vec<String>,
    /// Tune host's OOM preferences (-1000 to 1000)
    #[arg(long, value_name = "INT")]
    oom_score_adj: Option<i32>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "INT")]
    pids_limit: Option<i64>,
    /// Use the image of this platform (linux/arm64, linux/arm/v7)
    #[arg(long)]
    platform: Option<String>,
    /// Give extended privileges to this container
    #[arg(long)]
    privileged: bool,
    /// Publish a container's port(s) to the host (8080:80, 127.0.0.1:53:53/udp, 8000-8010)
    #[arg(short, long, value_name = "PORT")]
    publish: Vec<String>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Pull image before running (always, missing, never)
    #[arg(long, default_value = "missing", value_name = "WHEN")]
    pull: PullChoice,
    /// Suppress the pull output
    #[arg(short, long)]
    quiet: bool,
    /// Mount the container's root filesystem as read only
    #[arg(long)]
    read_only: bool,
    /// Automatically remove the container and its anonymous volumes when it exits
    #[arg(long)]
    rm: bool,
    /// Security Options
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<String>,
    /// Proxy received signals to the process
    #[arg(long, action = clap::ArgAction::Set, default_value = "true", default_missing_value = "true",
          num_args = 0..=1, require_equals = true, value_parser = bool_value, value_name = "BOOL")]
    sig_proxy: bool,
    /// Signal to stop the container
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Timeout (in seconds) to stop a container
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<i64>,
    /// Sysctl options
    #[arg(long, value_name = "KEY=VALUE")]
    sysctl: Vec<String>,
    /// Mount a tmpfs directory (/run, /run:size=64m,mode=755)
    #[arg(long, value_name = "PATH")]
    tmpfs: Vec<String>,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// Ulimit options (nofile=1024:2048)
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<String>,
    /// Username or UID, with a group or GID after a colon (web, 1000:1000)
    #[arg(short, long)]
    user: Option<String>,
    /// Bind mount a directory or volume (SOURCE:PATH, SOURCE:PATH:ro, PATH)
    #[arg(short, long, value_name = "VOLUME")]
    volume: Vec<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    // One list: whatever follows IMAGE, flags included, belongs to the command.
    /// The image, then what to run in it instead of the image's own command
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_name = "IMAGE [COMMAND] [ARG...]")]
    image_and_command: Vec<String>,
}

/// What of `run`'s flags concerns only the command line.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RunOptions {
    /// `-a`; empty means the default streams.
    pub(crate) attach: Vec<AttachStream>,
    /// `--cidfile`.
    pub(crate) cidfile: Option<PathBuf>,
    /// `--detach-keys`.
    pub(crate) detach_keys: Option<String>,
    /// `--platform`.
    pub(crate) platform: Option<String>,
    /// `--pull`.
    pub(crate) pull: PullChoice,
    /// `-q`.
    pub(crate) quiet: bool,
    /// `--sig-proxy`.
    pub(crate) sig_proxy: bool,
}

impl RunFlags {
    /// Splits the flags by who needs them; reads `--env-file` and `--label-file`.
    ///
    /// # Errors
    /// A file that cannot be read; `-a` together with `-d`.
    pub(crate) fn split(self) -> Result<(RunArgs, RunOptions), Failure> {
        // Taken apart field by field: a new flag does not compile until it is
        // decided who it is for.
        let Self {
            add_host,
            attach,
            bandwidth,
            egress_allow,
            cap_add,
            cap_drop,
            cgroup_parent,
            cidfile,
            cpus,
            detach,
            detach_keys,
            dns,
            dns_option,
            dns_search,
            domainname,
            entrypoint,
            env,
            env_file,
            expose,
            group_add,
            hostname,
            init,
            interactive,
            ip,
            ip6,
            label,
            label_file,
            link,
            link_local_ip,
            mac_address,
            memory,
            memory_swap,
            mount,
            name,
            network,
            network_alias,
            oom_score_adj,
            pids_limit,
            platform,
            privileged,
            publish,
            publish_all,
            pull,
            quiet,
            read_only,
            rm,
            security_opt,
            shm_size,
            sig_proxy,
            stop_signal,
            stop_timeout,
            sysctl,
            tmpfs,
            tty,
            ulimit,
            user,
            volume,
            workdir,
            image_and_command,
        } = self;
        if detach && !attach.is_empty() {
            return Err(Failure::runtime(
                "conflicting options: cannot specify both --attach and --detach",
            ));
        }
        let mut words = image_and_command.into_iter();
        let image = words.next().unwrap_or_default();
        let command = words.collect();
        let args = RunArgs {
            image,
            command,
            interactive,
            tty,
            detach,
            rm,
            name,
            network,
            network_alias,
            link,
            publish,
            publish_all,
            expose,
            env,
            env_file_lines: lines_of(&env_file)?,
            user,
            workdir,
            volume,
            mount,
            tmpfs,
            read_only,
            entrypoint,
            hostname,
            domainname,
            cap_add,
            cap_drop,
            privileged,
            security_opt,
            memory,
            memory_swap,
            cpus,
            pids_limit,
            bandwidth,
            egress_allow,
            shm_size,
            ulimit,
            label,
            label_file_lines: lines_of(&label_file)?,
            dns,
            dns_search,
            dns_option,
            add_host,
            ip,
            ip6,
            link_local_ip,
            mac_address,
            sysctl,
            init,
            stop_signal,
            stop_timeout,
            cgroup_parent,
            group_add,
            oom_score_adj,
        };
        let options = RunOptions { attach, cidfile, detach_keys, platform, pull, quiet, sig_proxy };
        Ok((args, options))
    }
}

/// The lines of these files, in order, without a byte order mark.
///
/// # Errors
/// The file that cannot be read, in docker's words.
pub(crate) fn lines_of(files: &[impl AsRef<Path>]) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    for file in files {
        let file = file.as_ref();
        let text = std::fs::read_to_string(file).map_err(|e| {
            Failure::runtime(format!("open {}: {}", file.display(), crate::failure::reason(&e)))
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        lines.extend(text.lines().map(str::to_owned));
    }
    Ok(lines)
}
