//! `linux.seccomp`.

use oci_spec::runtime::Linux;

use super::{OciError, refuse};
use crate::plan::{CapabilitySets, SeccompProgram};
use crate::seccomp::{Conditions, compile_json};

/// OCI's filter section is docker's profile format without the conditions.
pub(super) fn program(
    linux: &Linux,
    capabilities: CapabilitySets,
) -> Result<Option<SeccompProgram>, OciError> {
    let Some(profile) = linux.seccomp() else { return Ok(None) };
    if profile.listener_path().is_some() {
        return refuse("linux.seccomp.listenerPath", "not supported");
    }
    let text = serde_json::to_vec(profile)
        .map_err(|source| OciError::Json { path: "config.json".into(), source })?;
    Ok(compile_json(&text, Conditions::here(capabilities.bounding)?)?)
}
