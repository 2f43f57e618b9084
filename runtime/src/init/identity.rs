//! Who the command is and what it may do. The order of the calls is the point
//! of this file; see [`assume`].

use std::io;
use std::os::fd::AsFd;

use rustix::process::{Resource, Rlimit as KernelLimit};
use rustix::thread::{CapabilitySet, CapabilitySets as KernelSets};

use super::command::has_home;
use super::error::{Doing, InitError};
use super::root::Root;
use crate::plan::{CapabilitySets, ProcessPlan, Rlimit, UserPlan};
use crate::users::{ResolvedUser, UserFiles, find_groups, home_of, resolve};

/// Looks the plan's user up in the container's own files. Of a user in numbers
/// they can tell the home directory only: read where somebody wants to know it,
/// and no hindrance where they cannot be read.
pub(crate) fn look_up(root: &Root, process: &ProcessPlan) -> Result<ResolvedUser, InitError> {
    let extra = &process.additional_groups;
    match &process.user {
        UserPlan::Spec(spec) => Ok(resolve(spec, extra, &UserFiles::read(root.as_fd())?)?),
        UserPlan::Ids { uid, gid, groups } => {
            let files = if extra.is_empty() && has_home(&process.env) {
                UserFiles::default()
            } else {
                match UserFiles::read(root.as_fd()) {
                    Err(_) if extra.is_empty() => UserFiles::default(),
                    read => read?,
                }
            };
            let mut groups = groups.clone();
            groups.extend(find_groups(extra, &files)?);
            groups.sort_unstable();
            groups.dedup();
            Ok(ResolvedUser { uid: *uid, gid: *gid, groups, home: home_of(*uid, &files) })
        }
    }
}

/// The sets the plan means for `user`. A user given by name or as docker does
/// has, unless root, nothing in force: only what files with capabilities give
/// it, within the bounding set. Numbers (OCI) are taken literally.
pub(crate) fn sets_for(process: &ProcessPlan, user: &ResolvedUser) -> CapabilitySets {
    let sets = process.capabilities;
    match process.user {
        UserPlan::Spec(_) if user.uid != 0 => {
            CapabilitySets { effective: sets.ambient, permitted: sets.ambient, ..sets }
        }
        _ => sets,
    }
}

/// Becomes the root of the user namespace one is in: what is made from here on
/// belongs to it.
///
/// # Errors
/// There is none, or the kernel's reason.
pub(crate) fn become_root() -> Result<(), InitError> {
    let (uid, gid) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    let become_both = || {
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)
    };
    match become_both() {
        Err(rustix::io::Errno::INVAL) => {
            let why = "user 0 and group 0 have no mapping (linux.uidMappings, linux.gidMappings)";
            Err(io::Error::other(why)).doing("become root in the user namespace")
        }
        other => other.doing("become root in the user namespace"),
    }
}

/// Becomes `user`, as far as possible before the seccomp filter: afterwards only
/// [`finish`] is left. CAP_SYS_ADMIN stays in force until then, because without
/// no_new_privs the filter cannot be loaded otherwise.
///
/// 1. bounding set (needs CAP_SETPCAP), 2. groups, 3. group, 4. user (keeping
///    permitted capabilities), 5. the final sets, 6. ambient.
pub(crate) fn assume(user: &ResolvedUser, sets: CapabilitySets) -> Result<(), InitError> {
    drop_bounding(sets.bounding).doing("drop capabilities from the bounding set")?;
    rustix::thread::set_keep_capabilities(true).doing("keep capabilities over a change of user")?;
    let gid = rustix::process::Gid::from_raw(user.gid);
    let uid = rustix::process::Uid::from_raw(user.uid);
    let groups: Vec<_> = user.groups.iter().copied().map(rustix::process::Gid::from_raw).collect();
    rustix::thread::set_thread_groups(&groups).doing("set the supplementary groups")?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .doing(format!("become group {}", user.gid))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).doing(format!("become user {}", user.uid))?;
    let admin = CapabilitySet::SYS_ADMIN.bits();
    let held = CapabilitySets {
        effective: sets.effective | admin,
        permitted: sets.permitted | admin,
        ..sets
    };
    set(held).doing("set the capabilities")?;
    rustix::thread::clear_ambient_capability_set().doing("clear the ambient capabilities")?;
    for bit in bits(sets.ambient) {
        rustix::thread::configure_capability_in_ambient_set(bit, true)
            .doing("set the ambient capabilities")?;
    }
    Ok(())
}

/// The last change of rights: the sets exactly as planned.
pub(crate) fn finish(sets: CapabilitySets) -> Result<(), InitError> {
    set(sets).doing("set the capabilities")
}

fn set(sets: CapabilitySets) -> io::Result<()> {
    let flags = CapabilitySet::from_bits_retain;
    let sets = KernelSets {
        effective: flags(sets.effective),
        permitted: flags(sets.permitted),
        inheritable: flags(sets.inheritable),
    };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Each capability of `set`, alone.
fn bits(set: u64) -> impl Iterator<Item = CapabilitySet> {
    (0..64)
        .filter(move |bit| set & (1 << bit) != 0)
        .map(|bit| CapabilitySet::from_bits_retain(1 << bit))
}

/// Drops all but `keep`, up to the first number the kernel does not know.
fn drop_bounding(keep: u64) -> io::Result<()> {
    for bit in bits(!keep) {
        match rustix::thread::remove_capability_from_bounding_set(bit) {
            Err(rustix::io::Errno::INVAL) => break,
            other => other?,
        }
    }
    Ok(())
}

/// Sets the limits, each an explicit request.
pub(crate) fn set_limits(limits: &[Rlimit]) -> Result<(), InitError> {
    let finite = |n: u64| (n != u64::MAX).then_some(n);
    for Rlimit { name, soft, hard } in limits {
        let doing = || format!("set ulimit {name} to {soft}:{hard}");
        let resource = resource(name).ok_or(rustix::io::Errno::INVAL).doing(doing())?;
        let limit = KernelLimit { current: finite(*soft), maximum: finite(*hard) };
        rustix::process::setrlimit(resource, limit).doing(doing())?;
    }
    Ok(())
}

/// docker's names (getrlimit(2)'s without `RLIMIT_`, in lower case), and OCI's with it.
fn resource(name: &str) -> Option<Resource> {
    let name = name.to_ascii_lowercase();
    Some(match name.strip_prefix("rlimit_").unwrap_or(&name) {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_known_by_dockers_and_by_ocis_names() {
        assert_eq!(resource("nofile"), Some(Resource::Nofile));
        assert_eq!(resource("RLIMIT_NOFILE"), Some(Resource::Nofile));
        assert_eq!(resource("nofiles"), None);
    }

    #[test]
    fn a_named_user_has_no_capability_in_force() {
        let sets = CapabilitySets { bounding: 7, effective: 7, permitted: 7, ..Default::default() };
        let user = |uid| ResolvedUser { uid, gid: uid, groups: vec![], home: "/".into() };
        let process = |user| ProcessPlan { capabilities: sets, user, ..Default::default() };
        let named = process(UserPlan::Spec("www".into()));
        let got = sets_for(&named, &user(33));
        assert_eq!((got.bounding, got.effective, got.permitted), (7, 0, 0));
        assert_eq!(sets_for(&named, &user(0)), sets);
        let numbered = process(UserPlan::Ids { uid: 33, gid: 33, groups: vec![] });
        assert_eq!(sets_for(&numbered, &user(33)), sets);
    }
}
