//! `network inspect`.

use rcnt_engine::Engine;

use crate::args::network::NetworkInspectFlags;
use crate::commands::inspect::show;
use crate::failure::Failure;

/// `network inspect`: all that is found, then what is not.
///
/// # Errors
/// A template that is none.
pub(super) fn inspect(engine: &Engine, flags: &NetworkInspectFlags) -> Result<u8, Failure> {
    show(&flags.networks, flags.format.as_deref(), &|name| {
        let network = engine.find_network(name)?;
        Ok(engine.inspect_network(&network)?)
    })
}
