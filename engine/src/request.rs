//! `RunArgs` (as typed) → `RunRequest` (defaults merged, checked). Pure: no
//! file but those an `--env-file` or `--label-file` names, read by the caller,
//! and nothing of the host. A `RunRequest` is what is stored; `start` and
//! `restart` begin with it.

use rcnt_netstack::bandwidth::Bandwidth;
use rcnt_netstack::egress::EgressList;
use serde::{Deserialize, Serialize};

mod build;
mod mounts;
mod network;
mod sizes;

pub use build::build;
pub use mounts::{MountRequest, MountSource};
pub use network::{EndpointArgs, EndpointRequest, NetworkMode, endpoint};
pub(crate) use network::{IFNAME, SYSCTLS, is_user_defined, sysctls};

/// The flags of `run` and `create` as typed, unchecked. One field per flag.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunArgs {
    /// IMAGE.
    pub image: String,
    /// COMMAND and its arguments.
    pub command: Vec<String>,
    /// `-i`.
    pub interactive: bool,
    /// `-t`.
    pub tty: bool,
    /// `-d`.
    pub detach: bool,
    /// `--rm`.
    pub rm: bool,
    /// `--name`.
    pub name: Option<String>,
    /// `--net`, `--network`: names, or docker's long form.
    pub network: Vec<String>,
    /// `--network-alias`.
    pub network_alias: Vec<String>,
    /// `--link`.
    pub link: Vec<String>,
    /// `-p`, `--publish`.
    pub publish: Vec<String>,
    /// `-P`, `--publish-all`.
    pub publish_all: bool,
    /// `--expose`.
    pub expose: Vec<String>,
    /// `-e`, `--env`: `NAME=value`, or `NAME` to copy rcnt's own.
    pub env: Vec<String>,
    /// Lines of every `--env-file`, in order, already read.
    pub env_file_lines: Vec<String>,
    /// `-u`, `--user`.
    pub user: Option<String>,
    /// `-w`, `--workdir`.
    pub workdir: Option<String>,
    /// `-v`, `--volume`.
    pub volume: Vec<String>,
    /// `--mount`.
    pub mount: Vec<String>,
    /// `--tmpfs`.
    pub tmpfs: Vec<String>,
    /// `--read-only`.
    pub read_only: bool,
    /// `--entrypoint`; `Some("")` clears the image's.
    pub entrypoint: Option<String>,
    /// `-h`, `--hostname`.
    pub hostname: Option<String>,
    /// `--domainname`.
    pub domainname: Option<String>,
    /// `--cap-add`.
    pub cap_add: Vec<String>,
    /// `--cap-drop`.
    pub cap_drop: Vec<String>,
    /// `--privileged`.
    pub privileged: bool,
    /// `--security-opt`.
    pub security_opt: Vec<String>,
    /// `-m`, `--memory`.
    pub memory: Option<String>,
    /// `--memory-swap`.
    pub memory_swap: Option<String>,
    /// `--cpus`.
    pub cpus: Option<String>,
    /// `--pids-limit`; 0 and -1 mean none.
    pub pids_limit: Option<i64>,
    /// `--shm-size`.
    pub shm_size: Option<String>,
    /// `--ulimit`.
    pub ulimit: Vec<String>,
    /// `-l`, `--label`.
    pub label: Vec<String>,
    /// Lines of every `--label-file`, already read.
    pub label_file_lines: Vec<String>,
    /// `--dns`.
    pub dns: Vec<String>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--dns-option`.
    pub dns_option: Vec<String>,
    /// `--add-host`.
    pub add_host: Vec<String>,
    /// `--ip`.
    pub ip: Option<String>,
    /// `--ip6`.
    pub ip6: Option<String>,
    /// `--link-local-ip`.
    pub link_local_ip: Vec<String>,
    /// `--mac-address`.
    pub mac_address: Option<String>,
    /// `--bandwidth IN/OUT`.
    pub bandwidth: Option<String>,
    /// `--egress-allow`.
    pub egress_allow: Vec<String>,
    /// `--sysctl`.
    pub sysctl: Vec<String>,
    /// `--init`.
    pub init: bool,
    /// `--stop-signal`.
    pub stop_signal: Option<String>,
    /// `--stop-timeout`, seconds.
    pub stop_timeout: Option<i64>,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
    /// `--group-add`.
    pub group_add: Vec<String>,
    /// `--oom-score-adj`.
    pub oom_score_adj: Option<i32>,
}

/// What a container is to be: every default merged, every word checked. Stored
/// as part of `container.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRequest {
    /// IMAGE as typed; `inspect` shows it.
    pub image: String,
    /// Arguments given after IMAGE; empty means the image's CMD.
    pub command: Vec<String>,
    /// `--entrypoint`: `None` keeps the image's, `Some([])` clears it.
    pub entrypoint: Option<Vec<String>>,
    /// Keep stdin open.
    pub interactive: bool,
    /// Give the process a terminal.
    pub tty: bool,
    /// Started in the foreground, its streams the caller's.
    #[serde(default)]
    pub attached: bool,
    /// Remove when it ends.
    pub auto_remove: bool,
    /// Its network.
    pub network: NetworkMode,
    /// The networks it is created on; see [`RunRequest::endpoints`].
    #[serde(default)]
    pub endpoints: Vec<EndpointRequest>,
    /// `--link` on the default network.
    #[serde(default)]
    pub links: Vec<rcnt_netstack::names::Link>,
    /// `-p`, parsed.
    pub publish: Vec<rcnt_netstack::ports::PortSpec>,
    /// `-P`.
    pub publish_all: bool,
    /// `--expose`, one by one.
    pub expose: std::collections::BTreeSet<rcnt_netstack::ports::ContainerPort>,
    /// `-e` and `--env-file`, merged; later ones win. Does not hold the image's.
    pub env: Vec<String>,
    /// `-u`; `None` is the image's USER.
    pub user: Option<String>,
    /// `-w`; `None` is the image's WORKDIR.
    pub workdir: Option<String>,
    /// `-v`, `--mount`, `--tmpfs`, by destination.
    pub mounts: Vec<MountRequest>,
    /// Root file system read-only.
    pub read_only: bool,
    /// `-h`; `None` is the short id.
    pub hostname: Option<String>,
    /// `--domainname`.
    pub domainname: Option<String>,
    /// `--cap-add`, as typed, checked.
    pub cap_add: Vec<String>,
    /// `--cap-drop`, as typed, checked.
    pub cap_drop: Vec<String>,
    /// All capabilities, all devices, nothing masked.
    pub privileged: bool,
    /// `--security-opt`, as typed, checked.
    pub security_opt: Vec<String>,
    /// Bytes; `None` is no limit.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 is unlimited.
    pub memory_swap: Option<i64>,
    /// Billionths of a processor, as docker's NanoCpus.
    pub nano_cpus: Option<u64>,
    /// Processes; `None` is no limit.
    pub pids_limit: Option<i64>,
    /// Bytes of /dev/shm.
    pub shm_size: u64,
    /// `--bandwidth`.
    #[serde(default)]
    pub bandwidth: Bandwidth,
    /// `--egress-allow`; `None`: it may open connections to everything.
    #[serde(default)]
    pub egress: Option<EgressList>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--label`.
    pub labels: std::collections::BTreeMap<String, String>,
    /// `--dns`.
    pub dns: Vec<std::net::IpAddr>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--dns-option`.
    pub dns_option: Vec<String>,
    /// `--add-host`, as typed, checked.
    pub add_host: Vec<String>,
    /// `--ip`.
    pub ip: Option<std::net::Ipv4Addr>,
    /// `--mac-address`.
    pub mac_address: Option<[u8; 6]>,
    /// `--sysctl`.
    pub sysctls: std::collections::BTreeMap<String, String>,
    /// `--init`.
    pub init: bool,
    /// `--stop-signal`; `None` is the image's, else SIGTERM.
    pub stop_signal: Option<String>,
    /// `--stop-timeout`, seconds; `None` is 10; negative waits for ever.
    pub stop_timeout: Option<i64>,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
    /// `--group-add`.
    pub group_add: Vec<String>,
    /// `--oom-score-adj`.
    pub oom_score_adj: Option<i32>,
}

impl RunRequest {
    /// The networks it is created on, none but with [`NetworkMode::Bridge`]. Requests
    /// from when there was but one network say nothing of it but its name and flags.
    pub fn endpoints(&self) -> Vec<EndpointRequest> {
        match (&self.network, self.endpoints.is_empty()) {
            (NetworkMode::Bridge(name), true) => vec![EndpointRequest {
                network: name.clone(),
                ip: self.ip,
                mac: self.mac_address.map(rcnt_netstack::plan::Mac),
                ..EndpointRequest::default()
            }],
            _ => self.endpoints.clone(),
        }
    }
}

/// One `--ulimit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// docker's name: `nofile`, `nproc`…
    pub name: String,
    /// -1 is unlimited.
    pub soft: i64,
    /// -1 is unlimited.
    pub hard: i64,
}

/// Why a flag is refused. Each is one line, in docker's words where scripts read them.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// A value that is not of the flag's form.
    #[error("invalid value \"{value}\" for {flag}: expected {hint}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// As typed.
        value: String,
        /// What would be right.
        hint: &'static str,
    },
    /// A mount flag.
    #[error("invalid {flag} \"{value}\": {why}")]
    Mount {
        /// The flag.
        flag: &'static str,
        /// As typed.
        value: String,
        /// What is wrong.
        why: String,
    },
    /// Two mounts on one path.
    #[error("Duplicate mount point: {}", .0.display())]
    DuplicateMount(std::path::PathBuf),
    /// Flags that exclude each other.
    #[error("conflicting options: {0}")]
    Conflict(&'static str),
    /// `--link`.
    #[error(transparent)]
    Link(rcnt_netstack::names::LinkError),
    /// `--egress-allow`.
    #[error(transparent)]
    Egress(rcnt_netstack::egress::EgressError),
    /// One network given twice.
    #[error("network \"{0}\" is specified multiple times")]
    NetworkTwice(String),
    /// Modes that exclude each other.
    #[error("Container cannot be connected to network endpoints: {0}")]
    ManyModes(String),
    /// A flag that the network does not take.
    #[error("invalid endpoint settings: {0}")]
    Endpoint(&'static str),
    /// `-w`.
    #[error("the working directory '{0}' is invalid, it needs to be an absolute path")]
    Workdir(String),
    /// `--memory`.
    #[error("minimum memory limit allowed is 6MB")]
    TooLittleMemory,
    /// `--memory-swap`.
    #[error("you should always set the memory limit when using the memory-swap limit")]
    SwapWithoutMemory,
    /// `--memory-swap`.
    #[error("minimum memory-swap limit should be larger than the memory limit")]
    SwapBelowMemory,
    /// `--ulimit`.
    #[error("invalid ulimit type: {0}")]
    UlimitName(String),
    /// `--ulimit`.
    #[error(
        "invalid --ulimit {name}: ulimit soft limit must be less than or equal to hard limit: \
         {soft} > {hard}"
    )]
    UlimitOrder {
        /// As typed.
        name: String,
        /// As typed.
        soft: i64,
        /// As typed.
        hard: i64,
    },
    /// `--oom-score-adj`.
    #[error("invalid value {0} for --oom-score-adj: the range is [-1000, 1000]")]
    OomScoreAdj(i32),
    /// A check of the crate that will use the value.
    #[error("invalid {flag}")]
    Source {
        /// The flag.
        flag: &'static str,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl RequestError {
    fn source(
        flag: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Source { flag, source: source.into() }
    }
}
