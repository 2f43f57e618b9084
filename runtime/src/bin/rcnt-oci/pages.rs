//! Manual pages and completions, from the table that parses the commands; what
//! `make install` asks for.

use std::path::Path;

use clap_complete::Shell;
use clap_mangen::Man;
use rcnt_base::files::{Durability, write_atomic_mode};

use crate::args;
use crate::{Error, print};

/// Prints the completion script of a shell.
pub(crate) fn completion(shell: Shell) -> Result<u8, Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::tree(), "rcnt-oci", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Writes `rcnt-oci.8`, `rcnt-oci-run.8`… into `directory`.
pub(crate) fn manual(directory: &Path) -> Result<u8, Error> {
    let mut root = args::tree();
    root.build();
    write_page(directory, &root, "rcnt-oci")?;
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        write_page(directory, command, &format!("rcnt-oci-{}", command.get_name()))?;
    }
    Ok(0)
}

fn write_page(directory: &Path, command: &clap::Command, name: &str) -> Result<(), Error> {
    let path = directory.join(format!("{name}.8"));
    let mut page = Vec::new();
    let written = Man::new(command.clone().display_name(name.to_owned()))
        .title(name.to_uppercase())
        .section("8")
        .source(concat!("rcnt-oci ", env!("CARGO_PKG_VERSION")))
        .manual("rcnt manual")
        .render(&mut page)
        // Pages are read by everybody.
        .and_then(|()| write_atomic_mode(&path, &page, 0o644, Durability::Volatile));
    written.map_err(|source| Error::File { doing: "write", path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_command() {
        let dir = tempfile::tempdir().unwrap();
        manual(dir.path()).unwrap();
        let page = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(page("rcnt-oci.8").contains("Open Container Initiative runtime"));
        let run = page("rcnt-oci-run.8");
        assert!(run.contains("\\-\\-console\\-socket"), "{run}");
        assert!(!dir.path().join("rcnt-oci-man.8").exists());
        assert!(manual(Path::new("/nosuch/directory")).is_err());
    }
}
