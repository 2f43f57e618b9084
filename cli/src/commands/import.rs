//! `import`.

use std::io;
use std::path::Path;

use rcnt_engine::Engine;
use rcnt_engine::images::archive::Input;
use rcnt_engine::images::archive::import::{ImportOptions, import as import_archive};

use super::load::named;
use crate::args::image::ImportFlags;
use crate::failure::Failure;
use crate::render;

/// `import`: prints the new image's id.
///
/// # Errors
/// The archive is none, damaged or hostile; the name is none; the disk is full.
pub(super) fn import(engine: &Engine, flags: ImportFlags) -> Result<u8, Failure> {
    let ImportFlags { change, message, platform, source, reference } = flags;
    let platform = match platform {
        Some(text) => {
            Some(rcnt_engine::images::pull::parse_platform(&text).map_err(|e| Failure::of(&e))?)
        }
        None => None,
    };
    let name = match reference {
        Some(text) => Some(
            text.parse()
                .map_err(|e: rcnt_engine::images::reference::ReferenceError| Failure::of(&e))?,
        ),
        None => None,
    };
    let options = ImportOptions { name, changes: change, message, platform };
    let store = engine.store()?;
    let mut stdin = io::stdin();
    let (input, file) = match source.as_str() {
        "-" => (Input::Stream(&mut stdin), None),
        path => (Input::Path(Path::new(path)), Some(path)),
    };
    let id = import_archive(&store, input, &options)
        .map_err(|error| named(Failure::of(&error), file))?;
    render::out(&format!("{id}\n"))?;
    Ok(0)
}
