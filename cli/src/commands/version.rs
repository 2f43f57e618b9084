//! `version`.

use serde_json::{Value, json};

use crate::args::system::FormatFlags;
use crate::failure::Failure;
use crate::render;
use crate::render::listing::{bad_template, parse};

/// `version`. Client and server are one program here; both are shown for the
/// scripts that ask docker for either.
///
/// # Errors
/// A wrong template.
pub(super) fn version(flags: &FormatFlags) -> Result<u8, Failure> {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let one = json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "Os": std::env::consts::OS,
        "Arch": arch(),
        "KernelVersion": kernel,
    });
    let text = match flags.format.as_deref() {
        None | Some("") => table(&one),
        Some(format) => {
            let format = if format == "json" { "{{json .}}" } else { format };
            let both = json!({ "Client": one, "Server": one });
            parse(format)?.render(&both).map_err(bad_template)? + "\n"
        }
    };
    render::out(&text)?;
    Ok(0)
}

fn table(version: &Value) -> String {
    let field = |name: &str| version.get(name).and_then(Value::as_str).unwrap_or_default();
    format!(
        "rcnt:\n Version:        {}\n OS/Arch:        {}/{}\n Kernel Version: {}\n",
        field("Version"),
        field("Os"),
        field("Arch"),
        field("KernelVersion")
    )
}

/// Go's name of the processor, as images use it.
pub(super) fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
