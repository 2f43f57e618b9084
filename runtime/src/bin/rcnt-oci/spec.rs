//! `spec`: writes a configuration to start from.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use rcnt_runtime::cgroup::{self, LayoutKind};
use rcnt_runtime::oci;

use crate::Error;
use crate::args::SpecArgs;

/// Writes `config.json` into the bundle; one that is there stays.
pub(crate) fn write_spec(args: &SpecArgs) -> Result<(), Error> {
    if args.rootless {
        return Err(Error::Refused("rootless containers are not supported".into()));
    }
    let path = args.bundle.as_deref().unwrap_or(Path::new("")).join("config.json");
    let unified = cgroup::layout().is_ok_and(|layout| layout.kind() == LayoutKind::V2);
    let text = format!("{:#}\n", oci::spec::config_for(unified));
    let file = OpenOptions::new().write(true).create_new(true).open(&path);
    match file.and_then(|mut file| file.write_all(text.as_bytes())) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Error::Refused("File config.json exists. Remove it first".into()))
        }
        written => written.map_err(|source| Error::File { doing: "write", path, source }),
    }
}
