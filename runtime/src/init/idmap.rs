//! User namespaces that nobody lives in, only made for their mappings: what an
//! id-mapped mount is told by (mount_setattr(2), "ID-mapped mounts").

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rcnt_base::sys::child::{Cloned, clone3, exit_now};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::retry_on_intr;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::thread::UnshareFlags;

use super::procfs::Procfs;
use crate::birth::id_map;
use crate::plan::{IdMapping, MappedIds};

/// Namespaces made so far: mounts often share a mapping.
#[derive(Debug, Default)]
pub(crate) struct Known(Vec<(MappedIds, OwnedFd)>);

impl Known {
    /// One with exactly the mapping `ids`.
    pub(crate) fn namespace(&mut self, ids: &MappedIds) -> io::Result<&OwnedFd> {
        let at = match self.0.iter().position(|(known, _)| known == ids) {
            Some(at) => at,
            None => {
                let made = match ids {
                    MappedIds::Ranges { users, groups } => make(users, groups)?,
                    MappedIds::Namespace(path) => {
                        openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?
                    }
                };
                self.0.push((ids.clone(), made));
                self.0.len() - 1
            }
        };
        self.0.get(at).map(|(_, fd)| fd).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// A child in a new user namespace stands still until its maps are written and
/// the namespace is held by a descriptor; then it is over. Its parent's death
/// ends it as well: that closes the pipe.
fn make(users: &[IdMapping], groups: &[IdMapping]) -> io::Result<OwnedFd> {
    let (wait, over) = pipe_with(PipeFlags::CLOEXEC)?;
    match clone3(UnshareFlags::NEWUSER, None)? {
        Cloned::Child => {
            drop(over);
            let _ = retry_on_intr(|| rustix::io::read(&wait, &mut [0u8; 1][..]));
            exit_now(0);
        }
        Cloned::Parent { pid, pidfd } => {
            let made = Procfs::new().map_err(io::Error::other).and_then(|procfs| {
                // Numbers mean what this process' own pid namespace says.
                procfs.write(&format!("{pid}/uid_map"), &id_map(users))?;
                procfs.write(&format!("{pid}/gid_map"), &id_map(groups))?;
                procfs.user_namespace(pid)
            });
            drop(over);
            let ended = WaitIdOptions::EXITED;
            retry_on_intr(|| waitid(WaitId::PidFd(pidfd.as_fd()), ended))?;
            made
        }
    }
}
