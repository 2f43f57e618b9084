//! Manual pages, one per command, from the table that parses the commands.

use std::path::Path;

use clap_mangen::Man;
use rcnt_base::files::{self, Durability};

use crate::args::help;
use crate::failure::{Failure, reason};

/// Writes `rcnt.1`, `rcnt-run.1`… into `directory`.
///
/// # Errors
/// The file that cannot be written.
pub(crate) fn write_pages(directory: &Path) -> Result<(), Failure> {
    let root = help::tree();
    write_page(directory, &root, "rcnt")?;
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = format!("rcnt-{}", command.get_name());
        write_page(directory, command, &name)?;
    }
    Ok(())
}

fn write_page(directory: &Path, command: &clap::Command, name: &str) -> Result<(), Failure> {
    let path = directory.join(format!("{name}.1"));
    let mut page = Vec::new();
    let written = Man::new(command.clone().display_name(name.to_owned()))
        .title(name.to_uppercase())
        .source(concat!("rcnt ", env!("CARGO_PKG_VERSION")))
        .manual("rcnt manual")
        .render(&mut page)
        // Pages are read by everybody.
        .and_then(|()| files::write_atomic_mode(&path, &page, 0o644, Durability::Volatile));
    written
        .map_err(|e| Failure::general(format!("cannot write {}: {}", path.display(), reason(&e))))
}
