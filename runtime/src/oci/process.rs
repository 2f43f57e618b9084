//! `process`, of a configuration or of `exec --process`.

use oci_spec::runtime::{Linux, Process};

use super::{OciError, refuse, seccomp};
use crate::capabilities;
use crate::plan::{CapabilitySets, ProcessPlan, Rlimit, UserPlan};
use crate::security::HostSecurity;

/// The process of the configuration, or of `exec --process`.
pub fn process_plan(process: &Process, linux: &Linux) -> Result<ProcessPlan, OciError> {
    let user = process.user();
    let args = process.args().clone().unwrap_or_default();
    if process.selinux_label().as_deref().is_some_and(|label| !label.is_empty()) {
        return refuse("process.selinuxLabel", "SELinux is not supported");
    }
    let capabilities = capability_sets(process)?;
    let rlimits = process.rlimits().iter().flatten().map(|limit| Rlimit {
        name: json_name(&limit.typ()),
        soft: limit.soft(),
        hard: limit.hard(),
    });
    Ok(ProcessPlan {
        args,
        env: process.env().clone().unwrap_or_default(),
        cwd: process.cwd().clone(),
        user: UserPlan::Ids {
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
        },
        capabilities,
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        rlimits: rlimits.collect(),
        seccomp: seccomp::program(linux, capabilities)?,
        apparmor_profile: apparmor_profile(process)?,
        terminal: process.terminal().unwrap_or(false),
        oom_score_adj: process.oom_score_adj(),
        umask: user.umask(),
        additional_groups: Vec::new(),
    })
}

/// A profile by name on a host without AppArmor is refused rather than ignored.
fn apparmor_profile(process: &Process) -> Result<Option<String>, OciError> {
    let Some(profile) = process.apparmor_profile().clone().filter(|p| !p.is_empty()) else {
        return Ok(None);
    };
    match HostSecurity::read().apparmor {
        true => Ok(Some(profile)),
        false if profile == "unconfined" => Ok(None),
        false => {
            refuse("process.apparmorProfile", format!("cannot apply {profile:?}: AppArmor is off"))
        }
    }
}

/// The name a value has in `config.json`.
fn json_name(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// The sets as listed, less what the caller does not hold itself (as runc does,
/// with a word on stderr there).
fn capability_sets(process: &Process) -> Result<CapabilitySets, OciError> {
    let held = capabilities::caller_bounding().map_err(OciError::Capabilities)?;
    let Some(lists) = process.capabilities() else { return Ok(CapabilitySets::default()) };
    let bits = |list: &Option<std::collections::HashSet<_>>| {
        let names = list.iter().flatten().map(json_name);
        names.filter_map(|name| capabilities::parse(&name)).fold(0, |set, bit| set | bit) & held
    };
    Ok(CapabilitySets {
        bounding: bits(lists.bounding()),
        effective: bits(lists.effective()),
        permitted: bits(lists.permitted()),
        inheritable: bits(lists.inheritable()),
        ambient: bits(lists.ambient()),
    })
}
