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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_command() {
        let dir = tempfile::tempdir().unwrap();
        write_pages(dir.path()).unwrap();
        let page = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(page("rcnt.1").contains("\\fBrcnt\\fR [OPTIONS] COMMAND"));
        let run = page("rcnt-run.1");
        assert!(run.contains("\\fB\\-p\\fR, \\fB\\-\\-publish\\fR"), "{run}");
        assert!(run.contains("126 if the command cannot be"), "{run}");
        assert!(!dir.path().join("rcnt-man.1").exists());
        let failure = write_pages(Path::new("/nosuch/directory")).unwrap_err();
        assert!(failure.text().starts_with("rcnt: cannot write /nosuch/directory/rcnt.1: "));
        assert_eq!(failure.text().lines().count(), 1);
    }
}
