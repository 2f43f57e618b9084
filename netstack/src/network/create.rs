//! Making and removing networks: under the lock, decided first, then written
//! durably, then made on the host. The file is the network: a crash before it is
//! written leaves nothing, one after it a network whose interface the first
//! attach makes. Removal goes the other way round.

use std::io;

use rcnt_base::ids::Name;
use rcnt_base::roots::Roots;
use time::OffsetDateTime;

use super::config::AddressPool;
use super::files::{self, Stored, is_in_use, random};
use super::stored::{NetworkError, alias};
use super::types::Network;
use super::used::HostNetFacts;
use super::wish::{CreateError, NetworkWish, Surroundings, decide_network};

/// What the configuration says of new networks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defaults<'a> {
    /// `default-address-pools`.
    pub pools: &'a [AddressPool],
    /// `allow-direct-routing`.
    pub direct_routing: bool,
}

/// Decides and stores a network, then has `make` make it on the host. Whatever fails, nothing of
/// it is left; that is `make`'s part, too.
///
/// # Errors
/// What in the wish cannot be; the disk; the kernel.
pub fn create(
    roots: &Roots,
    wish: &NetworkWish,
    defaults: &Defaults<'_>,
    facts: &dyn Fn() -> io::Result<HostNetFacts>,
    make: &dyn Fn(&Network) -> Result<(), CreateError>,
) -> Result<Network, CreateError> {
    let any: Name = "networks".parse()?;
    let _lock = files::lock(roots, &any)?;
    let others = files::stored(roots)?;
    let facts = facts().map_err(NetworkError::Facts)?;
    let network = decide_network(
        wish,
        &Surroundings {
            alias: &alias(roots),
            facts: &facts,
            others: &others,
            pools: defaults.pools,
            direct_routing: defaults.direct_routing,
            now: OffsetDateTime::now_utc(),
            random: random()?,
        },
    )?;
    files::write(roots, &Stored::new(network.clone(), None))?;
    if let Err(error) = make(&network) {
        // Its own error is what the user should read.
        let _ = files::remove(roots, &network.name);
        return Err(error);
    }
    Ok(network)
}

/// Why a network was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// `bridge`, `host`, `none`.
    #[error("{0} is a pre-defined network and cannot be removed")]
    Predefined(Name),
    /// Containers are on it.
    #[error("error while removing network: network {name} id {id} has active endpoints")]
    InUse {
        /// Its name.
        name: Name,
        /// Its id.
        id: String,
    },
    /// Files.
    #[error(transparent)]
    Store(#[from] NetworkError),
    /// The host's part of it.
    #[error("error while removing network: {0}")]
    Host(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// How a network is taken from the host, given the networks that stay.
pub type Unmake<'a> =
    dyn Fn(&[Network]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + 'a;

/// Removes a network that nobody is on: `unmake` takes it from the host, given the networks that
/// stay, then its file goes.
///
/// # Errors
/// It is in use, or cannot be removed.
pub fn remove(roots: &Roots, network: &Network, unmake: &Unmake<'_>) -> Result<(), RemoveError> {
    let Network { name, id, .. } = network;
    if network.is_predefined() {
        return Err(RemoveError::Predefined(name.clone()));
    }
    let _lock = files::lock(roots, name)?;
    // Nobody leases an address between the question and the removal.
    let _claims =
        crate::claims::hold(&roots.exec).map_err(|e| NetworkError::Files(name.clone(), e))?;
    if is_in_use(roots, name) {
        return Err(RemoveError::InUse { name: name.clone(), id: id.clone() });
    }
    let mut staying = files::stored(roots)?;
    staying.retain(|other| other.name != *name);
    unmake(&staying).map_err(RemoveError::Host)?;
    files::remove(roots, name)?;
    // Claims of nobody: the directories and the number of the last address.
    let _ = rcnt_base::files::remove_tree(&roots.exec.join("networks").join(name));
    Ok(())
}
