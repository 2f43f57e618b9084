//! `network connect` and `network disconnect`.

use rcnt_engine::request::EndpointArgs;
use rcnt_engine::{Engine, EngineError};

use crate::args::network::{NetworkConnectFlags, NetworkDisconnectFlags};
use crate::failure::Failure;

/// `network connect`.
///
/// # Errors
/// Why the container is not on the network.
pub(super) fn connect(engine: &Engine, flags: NetworkConnectFlags) -> Result<u8, Failure> {
    let NetworkConnectFlags {
        alias: aliases,
        driver_opt: driver_opts,
        gw_priority,
        ip,
        ip6,
        link: links,
        link_local_ip: link_local,
        network,
        container,
    } = flags;
    let container = engine.find(&container)?;
    let args = EndpointArgs {
        network,
        aliases,
        links,
        ip,
        ip6,
        mac: None,
        link_local,
        gw_priority,
        driver_opts,
    };
    engine.connect(&container, &args)?;
    Ok(0)
}

/// `network disconnect`.
///
/// # Errors
/// Why the container is still on the network, or never was.
pub(super) fn disconnect(engine: &Engine, flags: &NetworkDisconnectFlags) -> Result<u8, Failure> {
    let done = engine
        .find(&flags.container)
        .and_then(|container| engine.disconnect(&container, &flags.network));
    match done {
        Err(EngineError::NoSuchContainer(_) | EngineError::NotConnected { .. }) if flags.force => {
            Ok(0)
        }
        done => Ok(done.map(|()| 0)?),
    }
}
