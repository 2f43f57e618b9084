//! What is kept of a container's networks: which ones it shall be on, once that is
//! no longer what it was created with (`networks.json`), the plans of one that runs
//! (`network.json`), and its membership.

use std::io;

use rcnt_base::files::{self, Durability};
use rcnt_base::ids::{ContainerId, Name};
use rcnt_netstack::members;
use rcnt_netstack::plan::NetworkPlan;
use serde::{Deserialize, Serialize};

use super::endpoint;
use crate::container::{Container, Endpoint, one_or_many};
use crate::error::{EngineError, Result};
use crate::links;
use crate::paths::Paths;
use crate::request::{EndpointRequest, NetworkMode};

/// Version of `networks.json`.
const SCHEMA: u32 = 1;

/// `networks.json`.
#[derive(Serialize, Deserialize)]
struct Networks {
    schema: u32,
    endpoints: Vec<EndpointRequest>,
}

/// The networks a container shall be on when it runs: those it was created with, but
/// for what `network connect` and `disconnect` have changed since.
///
/// # Errors
/// A damaged file.
pub(crate) fn wanted(paths: &Paths, container: &Container) -> Result<Vec<EndpointRequest>> {
    match files::read_json::<Networks>(&paths.networks(&container.id)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(container.record.request.endpoints()),
        read => {
            Ok(read.map_err(EngineError::state("cannot read the container's networks"))?.endpoints)
        }
    }
}

/// The container's mode: what it was created with, but that one which was taken off
/// `none` has networks of its own from then on, be there any or not.
pub(crate) fn mode(paths: &Paths, container: &Container) -> NetworkMode {
    let mode = &container.record.request.network;
    match *mode == NetworkMode::None && paths.networks(&container.id).exists() {
        true => NetworkMode::Bridge("none".to_owned()),
        false => mode.clone(),
    }
}

/// Replaces what [`wanted`] says.
///
/// # Errors
/// The disk is full.
pub(crate) fn set_wanted(
    paths: &Paths,
    container: &Container,
    endpoints: Vec<EndpointRequest>,
) -> Result<()> {
    let networks = Networks { schema: SCHEMA, endpoints };
    // As durable as the container itself.
    let durability = match container.record.request.auto_remove {
        true => Durability::Volatile,
        false => Durability::Durable,
    };
    files::write_json(&paths.networks(&container.id), &networks, durability)
        .map_err(EngineError::state("cannot write the container's networks"))
}

/// Takes a network off what [`wanted`] says.
///
/// # Errors
/// The disk is full.
pub(crate) fn forget(paths: &Paths, container: &Container, network: &Name) -> Result<()> {
    let mut endpoints = wanted(paths, container)?;
    let before = endpoints.len();
    endpoints.retain(|there| there.network != network.as_str());
    match endpoints.len() == before {
        true => Ok(()),
        false => set_wanted(paths, container, endpoints),
    }
}

/// The plans of a running container, in the order of its interfaces.
#[derive(Deserialize)]
struct Plans(#[serde(deserialize_with = "one_or_many")] Vec<NetworkPlan>);

/// Saves what a container's networks shall be.
///
/// # Errors
/// The disk is full.
pub(crate) fn write_plans(paths: &Paths, id: &ContainerId, plans: &[NetworkPlan]) -> Result<()> {
    files::write_json(&paths.network_plan(id), &plans, Durability::Volatile)
        .map_err(EngineError::state("cannot write the network plan"))
}

/// What [`write_plans`] saved; nothing of a container without a bridge network.
pub(crate) fn plans(paths: &Paths, id: &ContainerId) -> Vec<NetworkPlan> {
    files::read_json::<Plans>(&paths.network_plan(id)).map(|plans| plans.0).unwrap_or_default()
}

/// Writes the container down as a member of each of these networks.
///
/// # Errors
/// The disk is full.
pub(crate) fn enlist(paths: &Paths, container: &Container, endpoints: &[Endpoint]) -> Result<()> {
    for endpoint in endpoints {
        let member = endpoint::member(container, endpoint, links::private_names(paths, endpoint));
        let aside = paths.run(&container.id);
        members::add(&paths.roots.exec, &endpoint.network, &member, &aside)
            .map_err(EngineError::state("cannot write down who is on the network"))?;
    }
    Ok(())
}
