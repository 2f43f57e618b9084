//! `kill`.

use rcnt_engine::Engine;

use crate::args::container::KillFlags;
use crate::failure::Failure;

/// `kill`.
///
/// # Errors
/// stdout is gone.
pub(super) fn kill(engine: &Engine, flags: &KillFlags) -> Result<u8, Failure> {
    super::each(&flags.containers, |name| {
        let container = engine.find(name)?;
        engine.kill(&container, &flags.signal)?;
        Ok(name.to_owned())
    })
}
