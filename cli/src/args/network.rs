//! The flags of everything that works on networks.

use clap::{ArgAction, Args};

use super::values::{bool_value, pair_value};

/// What is to be done to networks, as typed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NetworkCommand {
    /// `network connect`.
    Connect(Box<NetworkConnectFlags>),
    /// `network check`.
    Check(NetworkCheckFlags),
    /// `network create`.
    Create(Box<NetworkCreateFlags>),
    /// `network disconnect`.
    Disconnect(NetworkDisconnectFlags),
    /// `network inspect`.
    Inspect(NetworkInspectFlags),
    /// `network ls`.
    List(NetworkListFlags),
    /// `network prune`.
    Prune(NetworkPruneFlags),
    /// `network rm`.
    Remove(NetworkRemoveFlags),
}

/// `network connect`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct NetworkConnectFlags {
    /// Add network-scoped alias for the container
    #[arg(long, value_name = "ALIAS")]
    pub(crate) alias: Vec<String>,
    /// Driver options for the network
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) driver_opt: Vec<String>,
    /// Highest gw-priority provides the default gateway. Accepts positive and negative values
    #[arg(
        long,
        value_name = "INT",
        default_value_t = 0,
        allow_negative_numbers = true,
        hide_default_value = true
    )]
    pub(crate) gw_priority: i64,
    /// IPv4 address (e.g., 172.30.100.104)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<String>,
    /// IPv6 address (e.g., 2001:db8::33)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip6: Option<String>,
    /// Add link to another container
    #[arg(long, value_name = "CONTAINER[:ALIAS]")]
    pub(crate) link: Vec<String>,
    /// Add a link-local address for the container
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) link_local_ip: Vec<String>,
    /// The network
    #[arg(value_name = "NETWORK")]
    pub(crate) network: String,
    /// The container
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}

/// `network disconnect`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct NetworkDisconnectFlags {
    /// Do not error if the container is not there or not connected
    #[arg(short, long)]
    pub(crate) force: bool,
    /// The network
    #[arg(value_name = "NETWORK")]
    pub(crate) network: String,
    /// The container
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}

/// `network check`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct NetworkCheckFlags {
    /// Format output: 'text' or 'json', one object per line
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Put right what has drifted, and leave everything else alone
    #[arg(long)]
    pub(crate) repair: bool,
    /// Networks and containers; all when none is named
    #[arg(value_name = "NETWORK|CONTAINER")]
    pub(crate) names: Vec<String>,
}

/// `network create`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct NetworkCreateFlags {
    /// Enable manual container attachment
    #[arg(long)]
    pub(crate) attachable: bool,
    /// Auxiliary IPv4 or IPv6 addresses, which no container gets
    #[arg(long, value_name = "NAME=ADDRESS", value_delimiter = ',', value_parser = pair_value)]
    pub(crate) aux_address: Vec<(String, String)>,
    /// The network from which to copy the configuration
    #[arg(long, value_name = "NETWORK", hide = true)]
    pub(crate) config_from: Option<String>,
    /// Create a configuration only network
    #[arg(long, hide = true)]
    pub(crate) config_only: bool,
    /// Driver to manage the network (bridge, macvlan, ipvlan)
    #[arg(short, long, default_value = "bridge")]
    pub(crate) driver: String,
    /// IPv4 or IPv6 gateway for the subnet
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) gateway: Vec<String>,
    /// Create swarm routing-mesh network
    #[arg(long, hide = true)]
    pub(crate) ingress: bool,
    /// Restrict external access to the network
    #[arg(long)]
    pub(crate) internal: bool,
    /// Allocate container ip from a sub-range
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) ip_range: Vec<String>,
    /// IP address management driver
    #[arg(long, value_name = "DRIVER", default_value = "default", hide = true)]
    pub(crate) ipam_driver: String,
    /// Set IPAM driver specific options
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair_value, hide = true)]
    pub(crate) ipam_opt: Vec<(String, String)>,
    /// Enable or disable IPv4 address assignment (default true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true",
          default_missing_value = "true", value_parser = bool_value, action = ArgAction::Set,
          hide_default_value = true, hide_possible_values = true, hide = true)]
    pub(crate) ipv4: bool,
    /// Enable IPv6 address assignment
    #[arg(long)]
    pub(crate) ipv6: bool,
    /// Set metadata on a network
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// Set driver specific options (docker's names, or icc, mtu, masquerade, hairpin, bridge,
    /// gateway-mode, host-binding, trusted; parent, vlan, mode)
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = pair_value)]
    pub(crate) opt: Vec<(String, String)>,
    /// Control the network's scope
    #[arg(long, default_value = "local", hide = true)]
    pub(crate) scope: String,
    /// Subnet in CIDR format that represents a network segment
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) subnet: Vec<String>,
    /// The network's name
    #[arg(value_name = "NETWORK")]
    pub(crate) name: String,
}

/// `network ls`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct NetworkListFlags {
    /// Provide filter values (driver, id, label, name, scope, type, dangling)
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go 'TEMPLATE'
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Do not truncate the output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only display network IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `network inspect`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct NetworkInspectFlags {
    /// Format output: 'json' or a Go 'TEMPLATE'
    #[arg(short, long)]
    pub(crate) format: Option<String>,
    /// Verbose output for diagnostics
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// The networks
    #[arg(required = true, value_name = "NETWORK")]
    pub(crate) networks: Vec<String>,
}

/// `network rm`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct NetworkRemoveFlags {
    /// Do not error if the network does not exist
    #[arg(short, long)]
    pub(crate) force: bool,
    /// The networks
    #[arg(required = true, value_name = "NETWORK")]
    pub(crate) networks: Vec<String>,
}

/// `network prune`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct NetworkPruneFlags {
    /// Provide filter values (label, until)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub(crate) force: bool,
}
