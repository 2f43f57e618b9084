//! A container's resctrl group: shares of the level 3 cache and of the memory
//! bandwidth, and their counters (`Documentation/arch/x86/resctrl.rst`).
//!
//! The administrator mounts resctrl. Here groups are made in it (mkdir), shares
//! and processes written into their files. Children are born in the group of
//! their parent.

mod stats;

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
pub use stats::{BandwidthInfo, CacheInfo, CacheUse, MemoryTraffic, Stats, stats};

use crate::plan::IntelRdtPlan;

/// Where the kernel makes an empty directory to mount it on.
const USUAL: &str = "/sys/fs/resctrl";
/// RDTGROUP_SUPER_MAGIC of linux/magic.h.
const MAGIC: u64 = 0x0765_5821;

/// Why a container cannot have its shares.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IntelRdtError {
    /// The machine has none, or resctrl is not mounted.
    #[error("intelRdt is specified in config, but Intel RDT is not enabled")]
    Absent,
    /// The processor shares no cache out.
    #[error("intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled")]
    NoCache,
    /// The processor shares no bandwidth out.
    #[error("intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled")]
    NoBandwidth,
    /// A class without shares has to be somebody's.
    #[error(
        "clos dir not accessible (must be pre-created when schemata, l3CacheSchema and memBwSchema are empty)"
    )]
    NoClass(#[source] io::Error),
    /// A file or directory of resctrl.
    #[error("cannot {doing} {}{}", path.display(), told(status))]
    Io {
        /// "make", "write", "read", "remove".
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// What resctrl says about its last command, empty if nothing.
        status: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn told(status: &str) -> String {
    if status.is_empty() { String::new() } else { format!(" (last_cmd_status: {status})") }
}

/// A mounted resctrl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resctrl {
    root: PathBuf,
}

/// A container's group, as it is remembered from create to delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its directory.
    dir: PathBuf,
    /// It is made and removed with the container.
    own: bool,
    /// The container's own counters.
    monitor: Option<PathBuf>,
}

impl Resctrl {
    /// The machine's.
    ///
    /// # Errors
    /// [`IntelRdtError::Absent`]
    pub fn find() -> Result<Self, IntelRdtError> {
        let usual = rustix::fs::statfs(USUAL).map_err(|_| IntelRdtError::Absent)?;
        if u64::try_from(usual.f_type).is_ok_and(|magic| magic == MAGIC) {
            return Ok(Self::at(USUAL));
        }
        // The kernel can do it; somebody may have mounted it elsewhere.
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        mounted(&mounts).map(Self::at).ok_or(IntelRdtError::Absent)
    }

    /// The one mounted here, for tests and for those who know.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Whether the processor shares out its level 3 cache (CAT).
    pub fn shares_cache(&self) -> bool {
        self.root.join("info/L3").exists()
    }

    /// Whether the processor shares out memory bandwidth (MBA).
    pub fn shares_bandwidth(&self) -> bool {
        self.root.join("info/MB").exists()
    }

    /// The group that `plan` comes to, if the machine can have it. Touches nothing.
    ///
    /// # Errors
    /// What is missing.
    pub fn group(&self, plan: &IntelRdtPlan) -> Result<Group, IntelRdtError> {
        self.check(plan.l3_cache.is_some(), plan.memory_bandwidth.is_some())?;
        let dir = match plan.group.as_str() {
            "/" => self.root.clone(),
            name => self.root.join(name),
        };
        let there = std::fs::metadata(&dir);
        if plan.shared && plan.lines().is_empty() {
            there.as_ref().map_err(|e| IntelRdtError::NoClass(io::Error::from(e.kind())))?;
        }
        let monitor = plan.monitor.as_ref().map(|name| dir.join("mon_groups").join(name));
        Ok(Group { own: !plan.shared && there.is_err(), monitor, dir })
    }

    fn check(&self, cache: bool, bandwidth: bool) -> Result<(), IntelRdtError> {
        if cache && !self.shares_cache() {
            return Err(IntelRdtError::NoCache);
        }
        if bandwidth && !self.shares_bandwidth() {
            return Err(IntelRdtError::NoBandwidth);
        }
        Ok(())
    }

    /// Makes the group with its shares and counters.
    ///
    /// # Errors
    /// What resctrl refuses; nothing is left behind then.
    pub fn create(&self, group: &Group, plan: &IntelRdtPlan) -> Result<(), IntelRdtError> {
        let made = self.make(&group.dir).and_then(|()| {
            self.write_schemata(group, &plan.lines())?;
            group.monitor.as_deref().map_or(Ok(()), |monitor| self.make(monitor))
        });
        made.inspect_err(|_| {
            // The first error is the one worth telling.
            let _ = self.remove(group);
        })
    }

    /// Puts a process, with the children it will have, into the group.
    ///
    /// # Errors
    /// It is gone, or what resctrl says.
    pub fn enter(&self, group: &Group, pid: i32) -> Result<(), IntelRdtError> {
        let pid = pid.to_string();
        for dir in std::iter::once(&group.dir).chain(&group.monitor) {
            self.write(&dir.join("tasks"), &pid)?;
        }
        Ok(())
    }

    /// Changes the shares; those not named stay.
    ///
    /// # Errors
    /// The processor has no such shares, or what resctrl says.
    pub fn update(
        &self,
        group: &Group,
        l3_cache: Option<&str>,
        memory_bandwidth: Option<&str>,
    ) -> Result<(), IntelRdtError> {
        self.check(l3_cache.is_some(), memory_bandwidth.is_some())?;
        let lines = l3_cache.into_iter().chain(memory_bandwidth);
        self.write_schemata(group, &lines.map(|line| format!("{line}\n")).collect::<String>())
    }

    /// Removes what was made for the container: its group, or in somebody else's
    /// group its counters. "Gone already" is fine.
    ///
    /// # Errors
    /// What resctrl says.
    pub fn remove(&self, group: &Group) -> Result<(), IntelRdtError> {
        // Counters go with their group.
        let dir = if group.own { Some(&group.dir) } else { group.monitor.as_ref() };
        match dir.map(rustix::fs::rmdir) {
            None | Some(Ok(()) | Err(Errno::NOENT)) => Ok(()),
            Some(Err(errno)) => Err(self.failed("remove", dir.unwrap_or(&group.dir), errno)),
        }
    }

    fn make(&self, dir: &Path) -> Result<(), IntelRdtError> {
        match rustix::fs::mkdir(dir, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(self.failed("make", dir, errno)),
        }
    }

    fn write_schemata(&self, group: &Group, lines: &str) -> Result<(), IntelRdtError> {
        if lines.is_empty() {
            return Ok(());
        }
        self.write(&group.dir.join("schemata"), lines)
    }

    /// One write(2), which is one command to resctrl. It makes no files.
    fn write(&self, path: &Path, text: &str) -> Result<(), IntelRdtError> {
        rustix::fs::open(path, OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC, Mode::empty())
            .and_then(|file| rustix::io::write(file, text.as_bytes()))
            .map_err(|errno| self.failed("write", path, errno))?;
        Ok(())
    }

    fn failed(&self, doing: &'static str, path: &Path, errno: Errno) -> IntelRdtError {
        let status = std::fs::read_to_string(self.root.join("info/last_cmd_status"));
        let status = status.unwrap_or_default().trim().to_owned();
        IntelRdtError::Io { doing, path: path.to_owned(), status, source: errno.into() }
    }
}

/// The mount point of the first resctrl in `/proc/self/mountinfo`
/// (proc_pid_mountinfo(5): the type follows the separating dash).
fn mounted(mountinfo: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        (after.split(' ').next()? == "resctrl").then_some(before.split(' ').nth(4)?.to_owned())
    })
}

#[cfg(test)]
mod tests;
