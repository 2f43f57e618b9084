//! `pause` and `resume`.

use std::path::Path;

use rcnt_runtime::cgroup;

use crate::Error;
use crate::state::{Directory, Status};

/// Freezes or thaws every process of the container.
pub(crate) fn set_paused(root: &Path, id: &str, paused: bool) -> Result<(), Error> {
    let directory = Directory::of(root, id)?;
    let mut saved = directory.load()?;
    let status = directory.status(&saved);
    let fits = if paused {
        matches!(status, Status::Running | Status::Created)
    } else {
        status == Status::Paused
    };
    if !fits {
        let what = if paused { "pause" } else { "resume" };
        return Err(Error::Refused(format!("cannot {what} a container that is {}", status.word())));
    }
    let layout = cgroup::layout()?;
    let change = if paused { cgroup::freeze } else { cgroup::thaw };
    change(&layout, &saved.cgroup)?;
    saved.paused = paused;
    Ok(directory.save(&saved)?)
}
