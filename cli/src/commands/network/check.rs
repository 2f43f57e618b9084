//! `network check`.

use rcnt_engine::Engine;
use serde_json::json;

use crate::args::network::NetworkCheckFlags;
use crate::failure::Failure;
use crate::render;

/// `network check`: one line per finding; 1 when something is left that is not as
/// recorded.
///
/// # Errors
/// An unknown name; an unknown format.
pub(super) fn check(engine: &Engine, flags: &NetworkCheckFlags) -> Result<u8, Failure> {
    let as_json = match flags.format.as_deref() {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => {
            return Err(Failure::general(format!("unknown format {other:?}: it is text or json")));
        }
    };
    let found = engine.check_networks(&flags.names, flags.repair)?;
    let line = |finding: &rcnt_engine::drift::Finding| match as_json {
        true => json!({
            "Subject": finding.subject,
            "Problem": finding.what,
            "Repaired": finding.mended,
        })
        .to_string(),
        false => {
            let repaired = if finding.mended { ": repaired" } else { "" };
            format!("{}: {}{repaired}", finding.subject, finding.what)
        }
    };
    render::out(&found.iter().map(|finding| line(finding) + "\n").collect::<String>())?;
    Ok(u8::from(found.iter().any(|finding| !finding.mended)))
}
