//! `linux.seccomp`.

use super::config::Linux;
use super::{OciError, refuse};
use crate::plan::{CapabilitySets, SeccompProgram};
use crate::seccomp::{Conditions, compile_profile};

/// OCI's filter section is docker's profile format without the conditions.
pub(super) fn program(
    linux: &Linux,
    capabilities: CapabilitySets,
) -> Result<Option<SeccompProgram>, OciError> {
    let Some(profile) = linux.seccomp().as_ref().filter(|profile| profile.filters()) else {
        return Ok(None);
    };
    if !profile.listener_path.is_empty() {
        return refuse("linux.seccomp.listenerPath", "not supported");
    }
    Ok(Some(compile_profile(profile, Conditions::here(capabilities.bounding)?)?))
}
