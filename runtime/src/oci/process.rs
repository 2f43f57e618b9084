//! `process`, of a configuration or of `exec --process`.

use super::config::{Linux, Process};
use super::{OciError, refuse, seccomp};
use crate::capabilities;
use crate::plan::{CapabilitySets, ProcessPlan, Rlimit, UserPlan};
use crate::security::HostSecurity;

/// The process of the configuration, or of `exec --process`.
pub fn process_plan(process: &Process, linux: &Linux) -> Result<ProcessPlan, OciError> {
    let user = &process.user;
    if !process.selinux_label.is_empty() {
        return refuse("process.selinuxLabel", "SELinux is not supported");
    }
    let capabilities = capability_sets(process)?;
    let rlimits = process.rlimits.iter().map(|limit| Rlimit {
        name: limit.name.clone(),
        soft: limit.soft,
        hard: limit.hard,
    });
    Ok(ProcessPlan {
        args: process.args.clone(),
        env: process.env.clone(),
        cwd: process.cwd.clone(),
        user: UserPlan::Ids { uid: user.uid, gid: user.gid, groups: user.additional_gids.clone() },
        capabilities,
        no_new_privileges: process.no_new_privileges,
        rlimits: rlimits.collect(),
        seccomp: seccomp::program(linux, capabilities)?,
        apparmor_profile: apparmor_profile(process)?,
        terminal: process.terminal,
        oom_score_adj: process.oom_score_adj,
        umask: user.umask,
        additional_groups: Vec::new(),
    })
}

/// A profile by name on a host without AppArmor is refused rather than ignored.
fn apparmor_profile(process: &Process) -> Result<Option<String>, OciError> {
    if process.apparmor_profile.is_empty() {
        return Ok(None);
    }
    let profile = process.apparmor_profile.clone();
    match HostSecurity::read().apparmor {
        true => Ok(Some(profile)),
        false if profile == "unconfined" => Ok(None),
        false => {
            refuse("process.apparmorProfile", format!("cannot apply {profile:?}: AppArmor is off"))
        }
    }
}

/// The sets as listed, less what the caller does not hold itself and names that
/// nobody knows (as runc does).
fn capability_sets(process: &Process) -> Result<CapabilitySets, OciError> {
    let held = capabilities::caller_bounding().map_err(OciError::Capabilities)?;
    let Some(lists) = &process.capabilities else { return Ok(CapabilitySets::default()) };
    let bits = |list: &[String]| {
        list.iter().filter_map(|name| capabilities::parse(name)).fold(0, |set, bit| set | bit)
            & held
    };
    Ok(CapabilitySets {
        bounding: bits(&lists.bounding),
        effective: bits(&lists.effective),
        permitted: bits(&lists.permitted),
        inheritable: bits(lists.inheritable.as_deref().unwrap_or_default()),
        ambient: bits(&lists.ambient),
    })
}
