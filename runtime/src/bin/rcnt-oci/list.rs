//! `list` and `state`.

use std::path::Path;

use crate::args::Format;
use crate::state::{self, Directory};
use crate::{Error, print};

/// Prints what is known of one container.
pub(crate) fn state(root: &Path, id: &str) -> Result<u8, Error> {
    let directory = Directory::of(root, id)?;
    let saved = directory.load()?;
    print(&format!("{:#}\n", saved.json(directory.status(&saved))))
}

/// Prints all containers.
pub(crate) fn list(root: &Path, format: Format, quiet: bool) -> Result<u8, Error> {
    let all = state::all(root).map_err(Error::io("list containers"))?;
    let states = all.iter().map(|(directory, saved)| (saved, directory.status(saved)));
    if quiet {
        return print(&states.map(|(saved, _)| format!("{}\n", saved.id)).collect::<String>());
    }
    if format == Format::Json {
        let array: Vec<_> = states.map(|(saved, status)| saved.json(status)).collect();
        return print(&format!("{}\n", serde_json::Value::from(array)));
    }
    let mut text = format!("{:32} {:>8} {:10} {:40} CREATED\n", "ID", "PID", "STATUS", "BUNDLE");
    for (saved, status) in states {
        let pid = if status == state::Status::Stopped { 0 } else { saved.pid };
        let bundle = saved.bundle.display().to_string();
        let created = &saved.created;
        text.push_str(&format!(
            "{:32} {pid:>8} {:10} {bundle:40} {created}\n",
            saved.id,
            status.word()
        ));
    }
    print(&text)
}
