//! `process`, of a configuration or of `exec --process`.
//!
//! The words of some refusals are those of runc, which scripts look for.

use std::collections::BTreeSet;

use super::attributes;
use super::config::{Capabilities, Process, Spec};
use super::{OciError, refuse, seccomp};
use crate::capabilities;
use crate::plan::{
    Attributes, CapabilitySets, Keyring, NamespaceKind, ProcessPlan, Processors, Rlimit, UserPlan,
};
use crate::security::{HostSecurity, selinux_is_on};

/// The kernel's -1, "leave as it is": a process that is root would stay root.
const NO_ID: u32 = u32::MAX;

/// What getrlimit(2) knows.
const LIMITS: [&str; 16] = [
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
];

/// Which container a process belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Container<'a> {
    /// Its name.
    pub id: &'a str,
    /// Its bundle.
    pub bundle: &'a std::path::Path,
    /// Its configuration.
    pub spec: &'a Spec,
}

/// The container's first process. Without `process` (allowed until `start`,
/// runtime.md) everything is made but the command.
pub(super) fn first(container: Container<'_>) -> Result<ProcessPlan, OciError> {
    match container.spec.process() {
        Some(process) => {
            let mut plan = plan(container, process)?;
            plan.attributes.processors = Processors::All;
            plan.attributes.entering = None;
            Ok(plan)
        }
        None => Ok(ProcessPlan { cwd: "/".into(), ..ProcessPlan::default() }),
    }
}

/// A further process of the container. What `process` does not say of rights,
/// limits and scheduling is as in the container's configuration.
///
/// # Errors
/// [`OciError`]
pub fn exec_plan(container: Container<'_>, process: &Process) -> Result<ProcessPlan, OciError> {
    let mut process = process.clone();
    if let Some(own) = container.spec.process() {
        process.capabilities = process.capabilities.or_else(|| own.capabilities.clone());
        process.scheduler = process.scheduler.or_else(|| own.scheduler.clone());
        process.io_priority = process.io_priority.or_else(|| own.io_priority.clone());
        let affinity = process.exec_cpu_affinity;
        process.exec_cpu_affinity = affinity.or_else(|| own.exec_cpu_affinity.clone());
        process.oom_score_adj = process.oom_score_adj.or(own.oom_score_adj);
        process.user.umask = process.user.umask.or(own.user.umask);
        for (said, own) in [
            (&mut process.apparmor_profile, &own.apparmor_profile),
            (&mut process.selinux_label, &own.selinux_label),
        ] {
            if said.is_empty() {
                said.clone_from(own);
            }
        }
        if process.rlimits.is_empty() {
            process.rlimits.clone_from(&own.rlimits);
        }
    }
    plan(container, &process)
}

fn plan(container: Container<'_>, process: &Process) -> Result<ProcessPlan, OciError> {
    let Some(linux) = container.spec.linux() else {
        return Err(OciError::Missing("linux section"));
    };
    if process.cwd.as_os_str().is_empty() {
        return refuse("process.cwd", "Cwd property must not be empty");
    }
    if !process.cwd.is_absolute() {
        return refuse("process.cwd", "Cwd must be an absolute path");
    }
    if process.args.is_empty() {
        return refuse("process.args", "args must not be empty");
    }
    let capabilities = match &process.capabilities {
        Some(named) => capability_sets(named)?,
        None => CapabilitySets::default(),
    };
    Ok(ProcessPlan {
        args: process.args.clone(),
        env: environment(&process.env)?,
        cwd: process.cwd.clone(),
        user: user(process)?,
        capabilities,
        no_new_privileges: process.no_new_privileges,
        rlimits: rlimits(process)?,
        seccomp: seccomp::program(container, linux, capabilities)?,
        apparmor_profile: apparmor_profile(process)?,
        terminal: process.terminal,
        oom_score_adj: oom_score(process)?,
        umask: umask(process)?,
        additional_groups: Vec::new(),
        attributes: attributes(container, process)?,
    })
}

fn attributes(container: Container<'_>, process: &Process) -> Result<Attributes, OciError> {
    let linux = container.spec.linux().clone().unwrap_or_default();
    let cpu = linux.resources().as_ref().and_then(|resources| resources.cpu.as_ref());
    let affinity = process.exec_cpu_affinity.clone().unwrap_or_default();
    let entering = attributes::processors("initial", &affinity.initial)?;
    let processors = match attributes::processors("final", &affinity.last)? {
        Some(cpus) => Processors::Only(cpus),
        // Then those while entering are those afterwards.
        None if entering.is_some() => Processors::Inherited,
        None => Processors::All,
    };
    let namespaces = linux.namespaces().iter().flatten();
    let for_others = namespaces
        .map(|namespace| super::namespaces::kind(namespace.typ()))
        .any(|kind| kind == NamespaceKind::User);
    Ok(Attributes {
        scheduling: process.scheduler.as_ref().map(attributes::scheduling).transpose()?,
        cpuset: cpu.is_some_and(|cpu| !cpu.cpus.is_empty()),
        io_priority: process.io_priority.as_ref().map(attributes::io_priority).transpose()?,
        memory_policy: attributes::memory_policy(&linux)?,
        personality: attributes::personality(&linux)?,
        processors,
        entering,
        selinux_label: selinux_label(process)?,
        passed: 0,
        keyring: Keyring::Named { name: format!("_ses.{}", container.id), for_others },
    })
}

/// The last of several of one name counts.
fn environment(given: &[String]) -> Result<Vec<String>, OciError> {
    let mut seen = BTreeSet::new();
    let mut kept = Vec::with_capacity(given.len());
    for (index, pair) in given.iter().enumerate().rev() {
        let problem = match pair.split_once('=') {
            None => "invalid environment variable: missing '='",
            Some(("", _)) => "invalid environment variable: name cannot be empty",
            Some(_) if pair.contains('\0') => "invalid environment variable: contains nul byte",
            Some((name, _)) => {
                if seen.insert(name) {
                    kept.push(pair.clone());
                }
                continue;
            }
        };
        return refuse(format!("process.env[{index}]"), problem);
    }
    kept.reverse();
    Ok(kept)
}

fn user(process: &Process) -> Result<UserPlan, OciError> {
    let user = &process.user;
    let mut ids = vec![("uid".to_owned(), user.uid), ("gid".to_owned(), user.gid)];
    let groups = user.additional_gids.iter().enumerate();
    ids.extend(groups.map(|(index, gid)| (format!("additionalGids[{index}]"), *gid)));
    match ids.iter().find(|(_, id)| *id == NO_ID) {
        Some((field, _)) => {
            refuse(format!("process.user.{field}"), format!("{NO_ID} is nobody's id"))
        }
        None => {
            Ok(UserPlan::Ids { uid: user.uid, gid: user.gid, groups: user.additional_gids.clone() })
        }
    }
}

fn umask(process: &Process) -> Result<Option<u32>, OciError> {
    match process.user.umask {
        Some(mask) if mask > 0o777 => {
            refuse("process.user.umask", format!("{mask} is above 511 (0777)"))
        }
        mask => Ok(mask),
    }
}

fn oom_score(process: &Process) -> Result<Option<i32>, OciError> {
    match process.oom_score_adj {
        Some(score) if !(-1000..=1000).contains(&score) => {
            refuse("process.oomScoreAdj", format!("{score} is not between -1000 and 1000"))
        }
        score => Ok(score),
    }
}

fn rlimits(process: &Process) -> Result<Vec<Rlimit>, OciError> {
    let mut limits: Vec<Rlimit> = Vec::new();
    for (index, limit) in process.rlimits.iter().enumerate() {
        let at = format!("process.rlimits[{index}]");
        let name = limit.name.as_str();
        if !LIMITS.contains(&name) {
            return refuse(format!("{at}.type"), format!("wrong rlimit value: {name}"));
        }
        if limits.iter().any(|earlier| earlier.name == name) {
            return refuse(format!("{at}.type"), format!("{name} is there twice"));
        }
        if limit.soft > limit.hard {
            let problem = format!("{} is above the hard limit {}", limit.soft, limit.hard);
            return refuse(format!("{at}.soft"), problem);
        }
        limits.push(Rlimit { name: name.to_owned(), soft: limit.soft, hard: limit.hard });
    }
    Ok(limits)
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

fn selinux_label(process: &Process) -> Result<Option<String>, OciError> {
    match process.selinux_label.as_str() {
        "" => Ok(None),
        label if label.contains('\0') => refuse("process.selinuxLabel", "contains a nul byte"),
        label if selinux_is_on() => Ok(Some(label.to_owned())),
        _ => refuse(
            "process.selinuxLabel",
            "selinux label is specified in config, but selinux is disabled or not supported",
        ),
    }
}

/// The sets as listed. Names that the kernel or we do not know, and those the
/// caller does not hold itself, are left out with a warning; combinations that
/// capset(2) does not take are refused.
fn capability_sets(named: &Capabilities) -> Result<CapabilitySets, OciError> {
    let held = capabilities::caller_bounding().map_err(OciError::Capabilities)?;
    let mut ignored = BTreeSet::new();
    let mut bits = |list: &[String]| {
        list.iter().fold(0, |set, name| {
            let known = name.starts_with("CAP_").then(|| capabilities::parse(name)).flatten();
            match known.filter(|bit| bit & held != 0) {
                Some(bit) => set | bit,
                None => {
                    ignored.insert(name.clone());
                    set
                }
            }
        })
    };
    let mut sets = CapabilitySets {
        bounding: bits(&named.bounding),
        effective: bits(&named.effective),
        permitted: bits(&named.permitted),
        inheritable: bits(named.inheritable.as_deref().unwrap_or_default()),
        ambient: bits(&named.ambient),
    };
    if !ignored.is_empty() {
        let names: Vec<_> = ignored.into_iter().collect();
        log::warn!("ignoring unknown or unavailable capabilities: [{}]", names.join(" "));
    }
    refuse_beyond("effective", sets.effective, "permitted", sets.permitted)?;
    refuse_beyond("inheritable", sets.inheritable, "bounding", sets.bounding)?;
    let raisable = sets.permitted & sets.inheritable;
    for name in capabilities::names(sets.ambient & !raisable) {
        log::warn!(
            "can't raise ambient capability {name}: it is not both permitted and inheritable"
        );
    }
    sets.ambient &= raisable;
    Ok(sets)
}

/// capset(2): EPERM
fn refuse_beyond(field: &str, set: u64, of: &str, limit: u64) -> Result<(), OciError> {
    match capabilities::names(set & !limit).first() {
        Some(name) => refuse(
            format!("process.capabilities.{field}"),
            format!("can't apply capabilities: {name} is not among the {of} ones"),
        ),
        None => Ok(()),
    }
}

/// What `exec`'s command line changes of the container's own process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// `--cwd`
    pub cwd: Option<std::path::PathBuf>,
    /// `--env`, in the order typed.
    pub env: Vec<String>,
    /// `--tty`; what the configuration says does not count.
    pub tty: bool,
    /// `--user`: uid and, if said, gid.
    pub user: Option<(u32, Option<u32>)>,
    /// `--additional-gids`
    pub additional_gids: Vec<u32>,
    /// `--apparmor`
    pub apparmor: Option<String>,
    /// `--process-label`
    pub process_label: Option<String>,
    /// `--cap`
    pub caps: Vec<String>,
    /// `--no-new-privs`
    pub no_new_privs: Option<bool>,
}

/// The container's own process with another command and the changes of `options`.
///
/// # Errors
/// There is no command.
pub fn exec_process(
    spec: &Spec,
    args: &[String],
    options: &ExecOptions,
) -> Result<Process, OciError> {
    let mut process = spec.process().clone().unwrap_or_default();
    if args.is_empty() {
        return refuse("process.args", "exec args cannot be empty");
    }
    process.args = args.to_vec();
    process.env.extend(options.env.iter().cloned());
    process.terminal = options.tty;
    process.console_size = None;
    if let Some(cwd) = &options.cwd {
        process.cwd.clone_from(cwd);
    }
    if let Some((uid, gid)) = options.user {
        process.user.uid = uid;
        process.user.gid = gid.unwrap_or(process.user.gid);
    }
    process.user.additional_gids.extend(&options.additional_gids);
    if let Some(profile) = &options.apparmor {
        process.apparmor_profile.clone_from(profile);
    }
    if let Some(label) = &options.process_label {
        process.selinux_label.clone_from(label);
    }
    process.no_new_privileges = options.no_new_privs.unwrap_or(process.no_new_privileges);
    if !options.caps.is_empty() {
        add_capabilities(process.capabilities.get_or_insert_default(), &options.caps);
    }
    Ok(process)
}

/// Ambient ones need inheritable ones, which are never added (CVE-2022-29162):
/// only where the configuration speaks of them do they make sense.
fn add_capabilities(named: &mut Capabilities, added: &[String]) {
    for set in [&mut named.bounding, &mut named.effective, &mut named.permitted] {
        set.extend(added.iter().cloned());
    }
    if named.inheritable.is_some() {
        named.ambient.extend(added.iter().cloned());
    }
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
