//! When, where and as what the command runs ([`Attributes`]), and its session
//! keyring. Nothing that a plan does not ask for costs a system call here.

use std::ffi::CString;
use std::io;

use rcnt_base::sys::child::{join_session_keyring, set_key_permissions};
use rcnt_base::sys::scheduling;
use rustix::io::Errno;

use super::error::{Doing, InitError};
use super::procfs::Procfs;
use crate::plan::{Attributes, Keyring, Processors};

/// Applies all but labels and keyring. Needs CAP_SYS_NICE for some, so it comes
/// before the change of rights, and before a filter could forbid it.
pub(super) fn apply(attributes: &Attributes) -> Result<(), InitError> {
    let Attributes { scheduling, cpuset, io_priority, memory_policy, personality, .. } = attributes;
    // First: SCHED_DEADLINE wants every processor (sched_setattr(2), EPERM).
    match &attributes.processors {
        Processors::Inherited => {}
        Processors::All => scheduling::reset_affinity().doing("use every processor")?,
        Processors::Only(cpus) => {
            scheduling::set_affinity(cpus).doing(format!("run on processors {cpus:?}"))?;
        }
    }
    if let Some(wanted) = scheduling {
        scheduling::set_scheduling(wanted)
            .map_err(|error| explain(error, *cpuset))
            .doing("set the scheduler")?;
    }
    if let Some(priority) = io_priority {
        scheduling::set_io_priority(priority.class, priority.level).doing("set io priority")?;
    }
    if let Some(persona) = personality {
        scheduling::set_personality(*persona).doing("set the personality")?;
    }
    if let Some(policy) = memory_policy {
        scheduling::set_memory_policy(policy.mode, &policy.nodes)
            .doing(format!("set the memory policy for nodes {:?}", policy.nodes))?;
    }
    Ok(())
}

/// Where a further process runs while it enters. In the parent's cgroup still.
pub(crate) fn enter_processors(attributes: &Attributes) -> Result<(), InitError> {
    let Some(cpus) = &attributes.entering else { return Ok(()) };
    scheduling::set_affinity(cpus).doing(format!("run on processors {cpus:?} at first"))
}

fn explain(error: io::Error, cpuset: bool) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::PERM) if cpuset => {
            io::Error::other("process scheduler can't be used together with AllowedCPUs")
        }
        _ => error,
    }
}

/// Whose child joins a keyring: see [`join_keyring`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joining {
    /// The container's first process: the keyring is made by it.
    First,
    /// A further one, which finds it.
    Further,
}

/// The caller's keys stay with the caller: the command has a session keyring
/// without them (CVE-2014-9529 and its kin are why nothing is shared with it).
pub(crate) fn join_keyring(attributes: &Attributes, who: Joining) -> Result<(), InitError> {
    let (name, for_others) = match &attributes.keyring {
        Keyring::Inherited => return Ok(()),
        Keyring::Anonymous => (None, false),
        Keyring::Named { name, for_others } => (Some(name), *for_others),
    };
    let label = attributes.selinux_label.as_ref().filter(|_| name.is_some());
    let procfs = label.map(|_| Procfs::new()).transpose()?;
    if let (Some(procfs), Some(label)) = (&procfs, label) {
        write_own(procfs, "attr/keycreate", label).doing("label the session keyring")?;
    }
    let named = name.map(|name| CString::new(name.as_str())).transpose();
    let named = named.map_err(io::Error::other).doing("name the session keyring")?;
    let joined = join_session_keyring(named.as_deref());
    if let Some(procfs) = &procfs {
        write_own(procfs, "attr/keycreate", "").doing("label the session keyring")?;
    }
    match joined {
        Ok(id) if named.is_some() && who == Joining::First => {
            open_to_search(id, for_others).doing("make the session keyring searchable")
        }
        Ok(_) => Ok(()),
        // No key support, an outer filter, or no quota: nothing to protect, or no way to.
        Err(e) if is_any(&e, &[Errno::NOSYS, Errno::PERM, Errno::DQUOT]) => Ok(()),
        Err(e) => Err(e).doing("leave the session keyring"),
    }
}

/// A further process joins the keyring by searching it.
fn open_to_search(id: i32, for_others: bool) -> io::Result<()> {
    // linux/keyctl.h: what a new session keyring has (all for its possessor; view,
    // read and link for its user), and to search it for its user or for others.
    const NEW: u32 = 0x3f13_0000;
    const USER_SEARCH: u32 = 0x0008_0000;
    const OTHERS_SEARCH: u32 = 0x0000_0008;
    set_key_permissions(id, NEW | if for_others { OTHERS_SEARCH } else { USER_SEARCH })
}

/// The label that execve(2) is to give the command.
pub(super) fn label_on_exec(procfs: &Procfs, attributes: &Attributes) -> Result<(), InitError> {
    let Some(label) = &attributes.selinux_label else { return Ok(()) };
    write_own(procfs, "attr/exec", label).doing(format!("set the process label {label:?}"))
}

fn write_own(procfs: &Procfs, file: &str, text: &str) -> io::Result<()> {
    procfs.write(&format!("{}/{file}", rustix::process::getpid()), text)
}

fn is_any(error: &io::Error, numbers: &[Errno]) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| numbers.contains(&errno))
}
