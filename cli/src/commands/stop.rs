//! `stop`.

use rcnt_engine::Engine;

use crate::args::container::StopFlags;
use crate::failure::Failure;

/// `stop`.
///
/// # Errors
/// stdout is gone.
pub(super) fn stop(engine: &Engine, flags: &StopFlags) -> Result<u8, Failure> {
    super::each(&flags.containers, |name| {
        let container = engine.find(name)?;
        engine.stop(&container, flags.signal.as_deref(), flags.timeout)?;
        Ok(name.to_owned())
    })
}
