//! Why a command on containers failed, what exit code that is, and what may help.

use std::io;
use std::path::PathBuf;

use rcnt_base::report::{ExitKind, StartError};
use rcnt_images as images;
use rcnt_netstack as netstack;
use rustix::io::Errno;

use crate::config::ConfigError;
use crate::request::RequestError;

/// Any engine operation's error. Displays one line; the cause is the source.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The instance cannot be used at all.
    #[error("rcnt must be run as root")]
    NotRoot,
    /// `config.toml`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A flag.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A file of ours.
    #[error("{what}")]
    State {
        /// What was tried.
        what: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A name or id that is nobody's.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// A prefix of several ids.
    #[error("multiple IDs found with provided prefix: {0}")]
    AmbiguousPrefix(String),
    /// `--name`.
    #[error(
        "the container name \"/{name}\" is already in use by container \"{holder}\"; \
         remove (or rename) that container to be able to reuse that name"
    )]
    NameTaken {
        /// As asked for.
        name: String,
        /// Full id.
        holder: String,
    },
    /// `--name`.
    #[error(transparent)]
    Name(rcnt_base::ids::IdError),
    /// `--network`.
    #[error("network {0} not found")]
    NoSuchNetwork(String),
    /// `network connect`, to what it is on.
    #[error("endpoint with name {container} already exists in network {network}")]
    AlreadyConnected {
        /// The container's name.
        container: String,
        /// The network's.
        network: String,
    },
    /// `network disconnect`, from what it is not on.
    #[error("container {container} is not connected to network {network}")]
    NotConnected {
        /// The container's id.
        container: String,
        /// The network's name.
        network: String,
    },
    /// `network connect` with the host's network.
    #[error("container cannot be disconnected from host network or connected to host network")]
    HostNetwork,
    /// `network connect` with no network.
    #[error(
        "container cannot be connected to multiple networks with one of the networks in private \
         (none) mode"
    )]
    PrivateNetwork,
    /// `network connect` of a guest in another's namespace.
    #[error(
        "container sharing network namespace with another container or host cannot be connected \
         to any other network"
    )]
    SharedNetwork,
    /// `--link` to nobody.
    #[error("could not get container for {0}: No such container: {0}")]
    NoLinkSource(String),
    /// `--link` to who is linked back, however far round.
    #[error("cannot link in a circle: {0} (a source has to run before its recipients start)")]
    LinkCycle(String),
    /// `--link` to who has the host's network.
    #[error(
        "conflicting options: host type networking can't be used with links. This would result in \
         undefined behavior"
    )]
    LinkToHost,
    /// `--link` to who does not run.
    #[error("Cannot link to a non running container: /{source} AS /{recipient}/{alias}")]
    LinkToStopped {
        /// The source's name.
        r#source: String,
        /// The recipient's.
        recipient: String,
        /// The alias.
        alias: String,
    },
    /// `--link` to who is on other networks.
    #[error("container {0} not attached to default bridge network")]
    LinkElsewhere(String),
    /// `--ip`, `--ip6`.
    #[error("invalid endpoint settings: no configured subnet contains IP address {0}")]
    OutsideSubnet(std::net::IpAddr),
    /// A name or id of no network, or of several.
    #[error(transparent)]
    FindNetwork(netstack::network::FindError),
    /// `port rm` of a port that is none of its.
    #[error("{port} is not published by {name}")]
    NotPublished {
        /// As typed.
        port: String,
        /// The container's name.
        name: String,
    },
    /// `port rm` of one family's half.
    #[error("{port} of {name} goes with {other} only: leave out the address")]
    HalfOfAPort {
        /// What was named.
        port: String,
        /// What was not.
        other: String,
        /// The container's name.
        name: String,
    },
    /// `port add` or `port rm` where another has the ports, or nobody.
    #[error("container {0} has no ports of its own: it is not on a bridge network")]
    NoPortsOfItsOwn(String),
    /// `network create`.
    #[error(transparent)]
    CreateNetwork(Box<netstack::network::CreateError>),
    /// `network rm`.
    #[error(transparent)]
    RemoveNetwork(Box<netstack::network::RemoveError>),
    /// The networks' files.
    #[error(transparent)]
    Networks(Box<netstack::network::NetworkError>),
    /// `--network=container:`.
    #[error("cannot join network of a non running container: {0}")]
    JoinStopped(String),
    /// A command that needs a running container.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// `rm` without `-f`.
    #[error(
        "cannot remove container \"/{0}\": container is running: stop the container before \
         removing or force remove"
    )]
    RemoveRunning(String),
    /// A process that survives even SIGKILL.
    #[error("container {0} does not end, even killed")]
    WillNotDie(String),
    /// The clean-up after its last run does not end.
    #[error("container {0} is still being cleaned up after its last run")]
    StillEnding(String),
    /// Nothing to run.
    #[error("no command specified")]
    NoCommand,
    /// `--mount type=bind`, or a source that cannot be made.
    #[error("bind source path does not exist: {}", .0.display())]
    BindSource(PathBuf),
    /// A source `-v` should make.
    #[error("cannot create bind source {}", .path.display())]
    CreateBindSource {
        /// Which.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// `--sysctl`.
    #[error("sysctl '{0}' is not allowed")]
    Sysctl(String),
    /// An option that the host cannot serve.
    #[error("{0}")]
    Unsupported(String),
    /// Rights and filters.
    #[error("cannot plan the container's rights")]
    Rights(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// `--security-opt seccomp=FILE`.
    #[error("cannot use seccomp profile {}", .path.display())]
    SeccompProfile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The image store.
    #[error(transparent)]
    Image(#[from] Box<images::store::StoreError>),
    /// No such image here.
    #[error(transparent)]
    Resolve(Box<images::store::ResolveError>),
    /// The name of an image to fetch.
    #[error(transparent)]
    Pull(Box<dyn std::error::Error + Send + Sync>),
    /// Fetching an image.
    #[error(transparent)]
    PullImage(Box<images::pull::PullError>),
    /// Addresses and ports.
    #[error(transparent)]
    Claims(Box<dyn std::error::Error + Send + Sync>),
    /// The network of this instance.
    #[error("cannot set up network {name}")]
    Network {
        /// Its name.
        name: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A filter of packets.
    #[error(transparent)]
    Filter(#[from] netstack::capture::filter::FilterError),
    /// Where a probe should go.
    #[error("invalid destination '{0}'")]
    Destination(String),
    /// A name that is neither a container's nor a machine's.
    #[error("'{0}' is no container, and no name that could be looked up")]
    UnknownHost(String),
    /// A container without a network.
    #[error("container {0} has no address")]
    NoAddress(String),
    /// A probe.
    #[error(transparent)]
    Trace(Box<netstack::trace::TraceError>),
    /// The packets of a container.
    #[error("cannot capture packets of {name}")]
    Capture {
        /// The container's name.
        name: String,
        /// Why.
        source: Box<netstack::capture::CaptureError>,
    },
    /// The container did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The supervisor is gone without a word.
    #[error("the supervisor of container {0} died; its container was cleaned up")]
    SupervisorDied(String),
    /// A signal name.
    #[error(transparent)]
    Signal(#[from] crate::signals::SignalError),
    /// What went wrong while cleaning up; everything else was done.
    #[error("cannot clean up after container {id}: {}", .problems.join("; "))]
    Teardown {
        /// Short id.
        id: String,
        /// One line each.
        problems: Vec<String>,
    },
}

impl EngineError {
    /// A file operation of ours that failed: "what: why".
    pub(crate) fn state(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::State { what, source }
    }

    /// The exit code of `run`, `create`, `start` and `exec`, as docker's; other
    /// commands exit with 1 whatever happened.
    pub fn exit_kind(&self) -> ExitKind {
        match self {
            EngineError::Start(error) => error.kind,
            _ => ExitKind::Runtime,
        }
    }

    /// What the user can do about it, where we know.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            EngineError::PullImage(error) => return error.hint(),
            EngineError::NotRoot => Some("try again with sudo"),
            EngineError::BindSource(_) => {
                Some("create it, or use -v, which makes missing directories")
            }
            EngineError::NoSuchNetwork(_) => {
                Some("rcnt network ls lists the networks, rcnt network create makes one")
            }
            EngineError::JoinStopped(_) => Some("start that container first"),
            // It says nothing of what is missing.
            EngineError::Start(error) if error.errno == Some(Errno::NOSYS.raw_os_error()) => {
                Some("rcnt needs Linux 5.12 or later, with overlayfs and all namespaces")
            }
            EngineError::Destination(_) => {
                Some("a destination is written as web:80, 192.0.2.1:53/udp, [fd00::1]:80 or web")
            }
            EngineError::Filter(_) => {
                Some("a filter is written as tcpdump's: tcp port 80 and not src 10.0.0.0/8")
            }
            EngineError::NoCommand => {
                Some("the image has no CMD or ENTRYPOINT: say what to run after its name")
            }
            _ => None,
        };
        hint.map(str::to_owned)
    }
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, EngineError>;

impl From<netstack::claims::ClaimError> for EngineError {
    fn from(error: netstack::claims::ClaimError) -> Self {
        EngineError::Claims(Box::new(error))
    }
}
