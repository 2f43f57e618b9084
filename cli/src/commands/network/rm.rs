//! `network rm`.

use rcnt_engine::netstack::network::FindError;
use rcnt_engine::{Engine, EngineError};

use crate::args::network::NetworkRemoveFlags;
use crate::failure::Failure;

/// `network rm`.
///
/// # Errors
/// stdout is gone.
pub(super) fn remove(engine: &Engine, flags: &NetworkRemoveFlags) -> Result<u8, Failure> {
    crate::commands::each(&flags.networks, |name| {
        let removed = engine.find_network(name).and_then(|network| engine.remove_network(&network));
        match removed {
            Ok(()) => Ok(name.to_owned()),
            Err(EngineError::FindNetwork(FindError::NotFound(_))) if flags.force => {
                Ok(String::new())
            }
            Err(error) => Err(error.into()),
        }
    })
}
