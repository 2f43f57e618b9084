//! Entering namespaces that exist, and the time namespace, which one makes for
//! one's children (namespaces(7), setns(2)).

use std::os::fd::{AsFd, OwnedFd};

use rcnt_base::sys::child::unshare_namespaces;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::error::{Doing, InitError};
use crate::plan::{Clock, NamespaceKind, Namespaces};

/// Enters each.
pub(crate) fn join(joins: &[(NamespaceKind, OwnedFd)]) -> Result<(), InitError> {
    joins.iter().try_for_each(|(kind, fd)| enter(*kind, fd).doing(doing(*kind)))
}

/// Enters each, the user namespace when the host's rights help no more: what
/// refuses them belongs to it.
pub(crate) fn join_as_far_as_allowed(
    joins: Vec<(NamespaceKind, OwnedFd)>,
) -> Result<(), InitError> {
    let (user, others): (Vec<_>, Vec<_>) =
        joins.into_iter().partition(|(kind, _)| *kind == NamespaceKind::User);
    let mut later = Vec::new();
    for (kind, fd) in others {
        match enter(kind, &fd) {
            Err(Errno::PERM) if !user.is_empty() => later.push((kind, fd)),
            other => other.doing(doing(kind))?,
        }
    }
    join(&user)?;
    join(&later)
}

fn doing(kind: NamespaceKind) -> String {
    format!("join the {} namespace", format!("{kind:?}").to_lowercase())
}

fn enter(kind: NamespaceKind, fd: &OwnedFd) -> Result<(), Errno> {
    let expected = match kind {
        NamespaceKind::Cgroup => LinkNameSpaceType::ControlGroup,
        NamespaceKind::Ipc => LinkNameSpaceType::InterProcessCommunication,
        NamespaceKind::Mount => LinkNameSpaceType::Mount,
        NamespaceKind::Network => LinkNameSpaceType::Network,
        NamespaceKind::Pid => LinkNameSpaceType::ProcessID,
        NamespaceKind::Time => LinkNameSpaceType::Time,
        NamespaceKind::User => LinkNameSpaceType::User,
        NamespaceKind::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
    };
    move_into_link_name_space(fd.as_fd(), Some(expected))
}

/// A time namespace for the next child, its clocks set: they cannot be once
/// somebody is in it (time_namespaces(7)).
pub(crate) fn make_time(namespaces: &Namespaces) -> Result<(), InitError> {
    if !namespaces.new.contains(&NamespaceKind::Time) {
        return Ok(());
    }
    unshare_namespaces(UnshareFlags::NEWTIME).doing("make a time namespace")?;
    if namespaces.time_offsets.is_empty() {
        return Ok(());
    }
    let path = "/proc/self/timens_offsets";
    let written = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|file| rustix::io::write(file, offsets(namespaces).as_bytes()));
    written.map(drop).doing("set the clocks of the time namespace")
}

fn offsets(namespaces: &Namespaces) -> String {
    let line = |(clock, offset): (&Clock, &crate::plan::TimeOffset)| {
        let name = match clock {
            Clock::Boottime => "boottime",
            Clock::Monotonic => "monotonic",
        };
        format!("{name} {} {}\n", offset.seconds, offset.nanoseconds)
    };
    namespaces.time_offsets.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::TimeOffset;

    #[test]
    fn clocks_are_written_by_name() {
        let offset = TimeOffset { seconds: -3, nanoseconds: 5 };
        let time_offsets = [(Clock::Monotonic, offset), (Clock::Boottime, offset)].into();
        let namespaces = Namespaces { time_offsets, ..Namespaces::default() };
        assert_eq!(offsets(&namespaces), "boottime -3 5\nmonotonic -3 5\n");
    }
}
