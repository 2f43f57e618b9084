//! `network trace`.

use rcnt_engine::Engine;
use rcnt_engine::trace::TraceArgs;

use crate::args::look::TraceFlags;
use crate::failure::Failure;
use crate::render;

/// `network trace`: 0 when the probe got where it should, 1 when not.
///
/// # Errors
/// Unknown names, containers that do not run, what the kernel does not allow.
pub(super) fn trace(engine: &Engine, flags: &TraceFlags) -> Result<u8, Failure> {
    let args = TraceArgs {
        source: flags.from.clone(),
        destination: flags.to.clone(),
        patience: flags.timeout.unsigned_abs(),
    };
    let report = engine.trace(&args)?;
    let text = match flags.format.as_str() {
        "json" => {
            let value = serde_json::to_value(&report).map_err(|e| Failure::of(&e))?;
            render::pretty(&value) + "\n"
        }
        _ => report.text(),
    };
    render::out(&text)?;
    Ok(u8::from(!report.reached))
}
