//! `pull`.

use rcnt_engine::images::pull::parse_platform;
use rcnt_engine::{Engine, PullOptions, PullPolicy};

use crate::args::image::PullFlags;
use crate::failure::Failure;
use crate::render::{self, progress};

/// `pull`: progress on stdout, then the image's full name.
///
/// # Errors
/// The name is none; the registry does not give it.
pub(super) fn pull(engine: &Engine, flags: &PullFlags) -> Result<u8, Failure> {
    let platform = match &flags.platform {
        Some(text) => Some(parse_platform(text).map_err(|e| Failure::of(&e))?),
        None => None,
    };
    let options = PullOptions { policy: PullPolicy::Always, platform };
    let watch = progress::on_stdout(flags.quiet);
    if !names_version(&flags.image) {
        watch.line("Using default tag: latest");
    }
    let pulled = rcnt_engine::pull::pull(engine, &flags.image, &options, watch.as_ref())?;
    drop(watch);
    render::out(&format!("{}\n", pulled.reference))?;
    Ok(0)
}

/// Whether the name has a tag or a digest.
fn names_version(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.contains([':', '@'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_tag() {
        assert!(names_version("host:5000/app:1"));
        assert!(names_version("app@sha256:00"));
        assert!(!names_version("host:5000/app"));
    }
}
