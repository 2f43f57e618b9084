//! How a container's first process is made.
//!
//! Usually by one clone3(2). Where a user or a time namespace is involved, a
//! process in between prepares the ground: it joins what is to be joined while
//! it still has the rights to, then clones a *sibling* (CLONE_PARENT) and is
//! gone: the new process is the caller's own child all the same.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rcnt_base::sys::child::{Cloned, clone3, kill};
use rustix::fs::{Mode, OFlags};
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, WaitOptions, pidfd_open, set_dumpable_behavior, waitpid,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::cgroup::JoinHandles;
use crate::channel::{ChildEnd, ParentEnd};
use crate::init::{self, Birth};
use crate::plan::{IdMapping, NamespaceKind, Namespaces};
use crate::spawn::{Init, SpawnError};

/// Makes it; the parent gets it back, the child never returns.
pub(crate) fn first_process(
    birth: Birth<'_>,
    parent_end: ParentEnd,
    child_end: ChildEnd,
) -> Result<Init, SpawnError> {
    let namespaces = &birth.plan.namespaces;
    let between =
        [NamespaceKind::User, NamespaceKind::Time].iter().any(|kind| namespaces.separate(*kind));
    if between {
        through_another(birth, parent_end, child_end)
    } else {
        directly(birth, parent_end, child_end)
    }
}

fn directly(
    mut birth: Birth<'_>,
    parent_end: ParentEnd,
    child_end: ChildEnd,
) -> Result<Init, SpawnError> {
    let pid_namespace = take_pid(&mut birth.joins);
    let clone = || clone_hidden(clone_flags(&birth.plan.namespaces), birth.cgroup);
    let cloned = match &pid_namespace {
        Some(fd) => in_pid_namespace(fd.as_fd(), clone),
        None => clone(),
    };
    match cloned.map_err(SpawnError::Clone)? {
        Cloned::Parent { pid, pidfd } => {
            Ok(Init { pid, pidfd, channel: parent_end, devices: None, listener: None })
        }
        Cloned::Child => {
            // Or our own copy would keep the parent's end alive after the parent.
            drop(parent_end);
            init::run_child(&child_end, |stage| init::start(birth, &child_end, stage))
        }
    }
}

fn through_another(
    birth: Birth<'_>,
    parent_end: ParentEnd,
    child_end: ChildEnd,
) -> Result<Init, SpawnError> {
    match clone_hidden(UnshareFlags::empty(), birth.cgroup).map_err(SpawnError::Clone)? {
        Cloned::Parent { pid: between, .. } => {
            drop(child_end);
            let adopted = adopt_born(parent_end, &birth.plan.namespaces);
            // It may help with the mounts first, for which the child needs its ids.
            reap(between);
            adopted
        }
        Cloned::Child => {
            drop(parent_end);
            init::run_child(&child_end, |stage| init::start_through(birth, &child_end, stage))
        }
    }
}

fn adopt_born(parent_end: ParentEnd, namespaces: &Namespaces) -> Result<Init, SpawnError> {
    let pid = parent_end.wait_born().map_err(SpawnError::Birth)?;
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData);
    let pid = pid.map_err(|e| SpawnError::Clone(e.into()))?;
    // Nobody else reaps it, so the number is its own.
    adopt(pid, parent_end, namespaces).inspect_err(|_| {
        // ESRCH: it has ended by itself.
        let _ = kill(pid, libc::SIGKILL);
        reap(pid);
    })
}

fn adopt(pid: Pid, channel: ParentEnd, namespaces: &Namespaces) -> Result<Init, SpawnError> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| SpawnError::Clone(e.into()))?;
    if namespaces.new.contains(&NamespaceKind::User) {
        write_map(pid, "uid_map", &namespaces.uid_mappings)?;
        write_map(pid, "gid_map", &namespaces.gid_mappings)?;
        channel.mapped().map_err(SpawnError::Channel)?;
    }
    Ok(Init { pid, pidfd, channel, devices: None, listener: None })
}

/// One write(2), as user_namespaces(7) demands.
fn write_map(pid: Pid, file: &str, mappings: &[IdMapping]) -> Result<(), SpawnError> {
    let path = PathBuf::from(format!("/proc/{pid}/{file}"));
    let fail =
        |errno: rustix::io::Errno| SpawnError::IdMap { path: path.clone(), source: errno.into() };
    let map = rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    rustix::io::write(&map.map_err(fail)?, id_map(mappings).as_bytes()).map_err(fail)?;
    Ok(())
}

/// The text of uid_map and gid_map.
pub(crate) fn id_map(mappings: &[IdMapping]) -> String {
    let line = |m: &IdMapping| format!("{} {} {}\n", m.container, m.host, m.size);
    mappings.iter().map(line).collect()
}

/// Waits for a child that has ended or is about to.
pub(crate) fn reap(pid: Pid) {
    let _ = rustix::io::retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()));
}

/// The caller becomes non-dumpable, so that its copy cannot be traced or looked
/// into by the container before exec.
fn clone_hidden(flags: UnshareFlags, cgroup: Option<&JoinHandles>) -> io::Result<Cloned> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    clone3(flags, cgroup.and_then(JoinHandles::clone_into_fd))
}

/// Namespaces born with the process. The cgroup namespace comes later, when the
/// process is in its cgroup; a time namespace is one's children's only.
pub(crate) fn clone_flags(namespaces: &Namespaces) -> UnshareFlags {
    let flag = |kind: &NamespaceKind| match kind {
        NamespaceKind::Cgroup | NamespaceKind::Time => UnshareFlags::empty(),
        NamespaceKind::Ipc => UnshareFlags::NEWIPC,
        NamespaceKind::Mount => UnshareFlags::NEWNS,
        NamespaceKind::Network => UnshareFlags::NEWNET,
        NamespaceKind::Pid => UnshareFlags::NEWPID,
        NamespaceKind::User => UnshareFlags::NEWUSER,
        NamespaceKind::Uts => UnshareFlags::NEWUTS,
    };
    namespaces.new.iter().map(flag).fold(UnshareFlags::empty(), |all, flag| all | flag)
}

/// A pid namespace is entered by being born in it.
fn take_pid(joins: &mut Vec<(NamespaceKind, OwnedFd)>) -> Option<OwnedFd> {
    let at = joins.iter().position(|(kind, _)| *kind == NamespaceKind::Pid)?;
    Some(joins.swap_remove(at).1)
}

/// Runs `clone` so that its child is born in the pid namespace `fd` (the
/// namespace itself or a process in it), then points the caller's own future
/// children back to its own namespace.
pub(crate) fn in_pid_namespace(
    fd: BorrowedFd<'_>,
    clone: impl FnOnce() -> io::Result<Cloned>,
) -> io::Result<Cloned> {
    let kind = Some(LinkNameSpaceType::ProcessID);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let own = rustix::fs::open("/proc/self/ns/pid", flags, Mode::empty())?;
    move_into_link_name_space(fd, kind)?;
    let cloned = clone();
    if !matches!(cloned, Ok(Cloned::Child)) {
        move_into_link_name_space(own.as_fd(), kind)?;
    }
    cloned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_has_a_line_per_range() {
        let range = |container, host, size| IdMapping { container, host, size };
        let text = id_map(&[range(0, 100_000, 65_536), range(70_000, 5, 1)]);
        assert_eq!(text, "0 100000 65536\n70000 5 1\n");
    }
}
