//! `load`.

use std::io::{self, IsTerminal};

use rcnt_engine::Engine;
use rcnt_engine::images::archive::Input;
use rcnt_engine::images::archive::load::load as load_archive;
use rcnt_engine::images::progress;

use crate::args::image::LoadFlags;
use crate::failure::Failure;
use crate::render;
use crate::render::progress::on_stdout;

/// `load`: from a file, a directory or stdin.
///
/// # Errors
/// The archive is none, damaged or hostile; the disk is full.
pub(super) fn load(engine: &Engine, flags: &LoadFlags) -> Result<u8, Failure> {
    let store = engine.store()?;
    // docker prints no line per layer here: bars where there is someone to see
    // them, else only what was loaded.
    let watch: Box<dyn progress::Progress> = match io::stdout().is_terminal() {
        true => on_stdout(flags.quiet),
        false => Box::new(progress::Silent),
    };
    let mut stdin = io::stdin();
    let (input, name) = match &flags.input {
        Some(path) => (Input::Path(path), Some(path.display().to_string())),
        None if stdin.is_terminal() => {
            return Err(Failure::general("requested load from stdin, but stdin is empty")
                .hint("name an archive: rcnt load -i FILE, or rcnt load < FILE"));
        }
        None => (Input::Stream(&mut stdin), None),
    };
    let loaded = load_archive(&store, input, watch.as_ref())
        .map_err(|error| named(Failure::of(&error), name.as_deref()))?;
    drop(watch);
    let lines: String = loaded.iter().map(|image| format!("{image}\n")).collect();
    render::out(&lines)?;
    Ok(0)
}

/// The failure with the file it is about, if it does not say so itself.
pub(super) fn named(failure: Failure, file: Option<&str>) -> Failure {
    let (Some(line), Some(file)) = (failure.line(), file) else { return failure };
    if line.contains(file) {
        return failure;
    }
    let line = format!("cannot load {file}: {line}");
    failure.worded(line)
}
