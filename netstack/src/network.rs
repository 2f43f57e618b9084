//! Networks: decided once from a wish, configuration and facts, then stored in
//! `data-root/networks/<name>.json` and the same on every later start.
//!
//! - [`Network`]         what is stored, of any driver; [`Bridge`], [`Macvlan`], [`Ipvlan`]
//! - [`decide`]          configuration + facts → the default network (pure)
//! - [`recheck`]         what has since come into a network's way (pure)
//! - [`default_network`] the network `bridge`: loaded, or decided and stored under a lock;
//!   [`default_network_here`] does so with the facts of this host
//! - [`decide_network`]  what `network create` was given → network (pure); [`create()`], [`remove()`]
//! - [`load`], [`list`], [`find`]  what is stored

mod blocks;
mod choose;
mod config;
mod create;
mod driver_options;
mod files;
mod host;
mod options;
mod parent;
mod stored;
mod subnets;
mod types;
mod used;
mod wish;

pub use choose::{Given, decide};
pub use config::{AddressPool, BridgeConfig, HostPolicy, PoolError, SUBNET_PREFIX};
pub use create::{Defaults, RemoveError, Unmake, create, remove};
pub use driver_options::UnknownOption;
pub use files::{FindError, find, is_in_use, list, load, stored};
pub use host::{default_network_here, find_link, read_facts};
pub use options::{GatewayMode, IpvlanFlag, IpvlanMode, MacvlanMode, UnknownWord};
pub use stored::{Decision, Host, NetworkError, default_network};
pub use subnets::{DEFAULT_POOLS, recheck};
pub use types::{
    Addresses, Bridge, BridgePolicy, Ipam, IpamConfig, Ipvlan, Kind, Macvlan, Network, PREDEFINED,
    Parent, ParentMaking,
};
pub use used::{HostNetFacts, NetworkWarning, Used};
pub use wish::{BadValue, CreateError, NetworkWish, Surroundings, decide_network};
