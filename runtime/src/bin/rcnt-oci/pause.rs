//! `pause` and `resume`.

use std::path::Path;

use rcnt_runtime::cgroup;

use crate::Error;
use crate::state::{Directory, Status};

/// Freezes or thaws every process of the container.
pub(crate) fn set_paused(root: &Path, id: &str, paused: bool) -> Result<(), Error> {
    let directory = Directory::of(root, id)?;
    // `exec --ignore-paused` uses the container until it is thawed.
    let _lock = if paused { directory.lock_to_change()? } else { directory.lock_to_use()? };
    let saved = directory.load()?;
    let layout = cgroup::layout_of(&saved.cgroup)?;
    match (paused, directory.status(&saved)) {
        (true, Status::Running | Status::Created) => cgroup::freeze(&layout, &saved.cgroup.path)?,
        (true, Status::Paused) => {
            return Err(Error::Refused("container already paused".into()));
        }
        (true, _) => return Err(Error::Refused("container not running".into())),
        (false, Status::Paused) => cgroup::thaw(&layout, &saved.cgroup.path)?,
        (false, _) => return Err(Error::Refused("container not paused".into())),
    }
    Ok(())
}
