//! `ps`: the processes of a container.

use std::path::Path;

use rcnt_runtime::cgroup;

use crate::args::Format;
use crate::state::Directory;
use crate::{Error, print};

/// Prints them.
pub(crate) fn ps(root: &Path, id: &str, format: Format) -> Result<u8, Error> {
    let pids = pids(root, id)?;
    if format == Format::Json {
        return print(&format!("{}\n", serde_json::json!(pids)));
    }
    let mut text = format!("{:>8} COMMAND\n", "PID");
    for pid in pids {
        let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&bytes).replace('\0', " ");
        text.push_str(&format!("{pid:>8} {}\n", command.trim_end().escape_default()));
    }
    print(&text)
}

/// Pids as the caller sees them.
fn pids(root: &Path, id: &str) -> Result<Vec<i32>, Error> {
    let saved = Directory::of(root, id)?.load()?;
    Ok(cgroup::pids(&cgroup::layout()?, &saved.cgroup)?)
}
