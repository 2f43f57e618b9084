//! `rm`.

use rcnt_engine::{Engine, EngineError};

use crate::args::container::RemoveFlags;
use crate::failure::Failure;

/// `rm`.
///
/// # Errors
/// stdout is gone.
pub(super) fn remove(engine: &Engine, flags: &RemoveFlags) -> Result<u8, Failure> {
    super::each(&flags.containers, |name| {
        let removed = engine
            .find(name)
            .and_then(|container| engine.remove(&container, flags.force, flags.volumes));
        match removed {
            Ok(()) => Ok(name.to_owned()),
            // As docker: what is not there is as good as removed by force, and said.
            Err(error @ EngineError::NoSuchContainer(_)) if flags.force => {
                Failure::from(error).print();
                Ok(String::new())
            }
            Err(error) => Err(error.into()),
        }
    })
}
