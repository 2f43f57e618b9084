//! Removing a container that does not run.

use crate::container::Container;
use crate::error::{EngineError, Result};
use crate::paths::Paths;
use crate::{records, volumes};

/// Removes the container's files, its name and, with `anonymous_volumes`, the
/// volumes made for it.
///
/// # Errors
/// The first file that cannot be removed.
pub(crate) fn remove_files(
    paths: &Paths,
    container: &Container,
    anonymous_volumes: bool,
) -> Result<()> {
    // The record goes last: until then it tells whose the volumes are.
    if anonymous_volumes {
        volumes::remove_anonymous(paths, &container.record).map_err(EngineError::state(
            format!("cannot remove the volumes of container {}", container.name),
        ))?;
    }
    records::remove(paths, &container.id, &container.name)
}
