//! `spec`: writes a configuration to start from.

use std::io::Write;
use std::path::Path;

use rcnt_runtime::oci;

use crate::Error;

/// Writes `config.json` into `bundle`.
pub(crate) fn write_spec(bundle: &Path) -> Result<(), Error> {
    let path = bundle.join("config.json");
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    file.and_then(|mut file| {
        file.write_all(format!("{:#}\n", oci::spec::default_config()).as_bytes())
    })
    .map_err(Error::io("write config.json"))
}
