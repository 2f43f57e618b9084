//! `wait`.

use rcnt_engine::Engine;

use crate::args::container::WaitFlags;
use crate::failure::Failure;

/// `wait`: prints each exit code as soon as it is known, in the order asked.
///
/// # Errors
/// stdout is gone.
pub(super) fn wait(engine: &Engine, flags: &WaitFlags) -> Result<u8, Failure> {
    super::each(&flags.containers, |name| Ok(engine.wait(&engine.find(name)?)?.to_string()))
}
