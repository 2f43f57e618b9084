//! `network graph`.

use rcnt_engine::Engine;
use rcnt_engine::netstack::graph;

use crate::args::look::{GraphFlags, GraphForm};
use crate::failure::Failure;
use crate::render;

/// `network graph`: the picture on stdout.
///
/// # Errors
/// The kernel or the records cannot be read.
pub(super) fn graph(engine: &Engine, flags: &GraphFlags) -> Result<u8, Failure> {
    let picture = engine.graph()?;
    let text = match flags.format {
        GraphForm::Text => graph::text(&picture),
        GraphForm::Dot => graph::dot(&picture),
        GraphForm::Svg => graph::svg(&picture),
        GraphForm::Json => {
            let value = serde_json::to_value(&picture).map_err(|e| Failure::of(&e))?;
            render::pretty(&value) + "\n"
        }
    };
    render::out(&text)?;
    Ok(0)
}
