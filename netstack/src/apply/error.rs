//! Why the host's network could not be changed.

use std::io;

/// Why a container could not be put on its network. What was done is undone by
/// [`super::detach`] with the plan's undo.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The bridge itself.
    #[error("cannot set up bridge {bridge}")]
    Bridge {
        /// Its interface.
        bridge: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The veth pair.
    #[error("cannot connect {veth} to bridge {bridge}")]
    Veth {
        /// The host end of the pair.
        veth: String,
        /// The bridge.
        bridge: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The kernel has no port left for it (`BR_MAX_PORTS`, less one).
    #[error("bridge {bridge} is full: the kernel gives a bridge 1023 ports; use another network")]
    Full {
        /// Its interface.
        bridge: String,
    },
    /// The interface that containers on a LAN share.
    #[error("cannot set up parent interface {parent}")]
    Parent {
        /// Its name.
        parent: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A container's interface on a LAN.
    #[error("cannot make {interface} from parent interface {parent}")]
    Lan {
        /// The interface inside.
        interface: String,
        /// The host's.
        parent: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The container's side.
    #[error("cannot configure {interface} inside {owner}")]
    Inside {
        /// The interface.
        interface: String,
        /// The container's name.
        owner: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The limit of what comes in.
    #[error("cannot limit the bandwidth of {owner}")]
    Bandwidth {
        /// The container's name.
        owner: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The list of what it may open connections to.
    #[error("cannot confine {owner} to its egress list")]
    Egress {
        /// The container's name.
        owner: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A kernel setting.
    #[error("cannot set kernel setting {name} to {value}")]
    Sysctl {
        /// Below /proc/sys.
        name: String,
        /// What it should have become.
        value: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// One published port.
    #[error("cannot publish {port} in nftables table {table}")]
    Publish {
        /// `0.0.0.0:8080/tcp`.
        port: String,
        /// The table.
        table: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Flows from before the ports were published.
    #[error("cannot redirect the UDP flows of {owner}'s published ports")]
    Flows {
        /// The container's name.
        owner: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The table, its chains or its rules.
    #[error("cannot set up nftables table {table}")]
    Rules {
        /// The table.
        table: String,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl AttachError {
    pub(super) fn sysctl(name: &str, value: &'static str, source: io::Error) -> Self {
        Self::Sysctl { name: name.to_owned(), value, source }
    }
}

/// All that went wrong while taking a container off its network; the rest was done.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove the network of {veth}: {}", .problems.join("; "))]
pub struct DetachError {
    /// The host end of the pair.
    pub veth: String,
    /// One line each.
    pub problems: Vec<String>,
}

/// Why an instance's network could not be removed altogether.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// A bridge.
    #[error("cannot remove bridge {bridge}")]
    Bridge {
        /// Its interface.
        bridge: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The list of links.
    #[error("cannot list the host's interfaces")]
    Links(#[source] io::Error),
    /// The table.
    #[error("cannot remove nftables table {table}")]
    Table {
        /// Its name.
        table: String,
        /// The kernel's reason.
        source: io::Error,
    },
}
