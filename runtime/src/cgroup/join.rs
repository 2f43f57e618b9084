//! How a process gets into a cgroup: by itself, with descriptors opened by its parent.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::layout::{Layout, LayoutKind};
use super::systemd::Placeholder;
use super::{CgroupError, checked};
use crate::plan::JoinPlan;

/// Descriptors with which a process puts *itself* into a cgroup. Made by the
/// parent before clone3(2), used by init. All close-on-exec.
#[derive(Debug, Default)]
pub struct JoinHandles {
    /// The `tasks` file of each v1 hierarchy, writable, with its name for errors.
    tasks: Vec<(PathBuf, OwnedFd)>,
    /// The v2 directory.
    unified: Option<OwnedFd>,
    /// Keeps a systemd unit alive until somebody has joined; only there to be dropped.
    _placeholder: Option<Placeholder>,
}

impl JoinHandles {
    /// With the process that keeps a systemd unit alive meanwhile.
    pub(super) fn kept_by(self, placeholder: Option<Placeholder>) -> Self {
        Self { _placeholder: placeholder, ..self }
    }

    /// Puts the calling, single-threaded process into the v1 hierarchies by
    /// writing "0" to each `tasks` file (a few µs each). The v2 part is joined at
    /// birth with [`JoinHandles::clone_into_fd`], never here.
    ///
    /// # Errors
    /// [`CgroupError::Io`] naming the file.
    pub fn join_self(&self) -> Result<(), CgroupError> {
        for (path, tasks) in &self.tasks {
            rustix::io::write(tasks, b"0").map_err(CgroupError::io("join", path))?;
        }
        Ok(())
    }

    /// The v2 directory for clone3(2)'s `CLONE_INTO_CGROUP`; `None` on a pure v1 machine.
    pub fn clone_into_fd(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    fn add_v1(&mut self, dir: &Path) -> rustix::io::Result<()> {
        let file = dir.join("tasks");
        let tasks = rustix::fs::open(&file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        self.tasks.push((file, tasks));
        Ok(())
    }

    fn set_v2(&mut self, dir: &Path) -> rustix::io::Result<()> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        self.unified = Some(rustix::fs::open(dir, flags, Mode::empty())?);
        Ok(())
    }
}

/// Join handles of an existing cgroup.
///
/// # Errors
/// [`CgroupError::Io`] naming the file that cannot be opened.
pub fn open(layout: &Layout, path: &Path) -> Result<JoinHandles, CgroupError> {
    let path = checked(path)?;
    let mut handles = JoinHandles::default();
    for hierarchy in &layout.v1 {
        let dir = hierarchy.dir(path);
        handles.add_v1(&dir).map_err(CgroupError::io("open the tasks of", &dir))?;
    }
    if let Some(dir) = layout.unified_dir(path) {
        handles.set_v2(&dir).map_err(CgroupError::io("open", &dir))?;
    }
    Ok(handles)
}

/// Join handles for one more process of a container. Without a sub-cgroup asked
/// for, a v2 cgroup that has gone is replaced by the one its first process is in.
///
/// # Errors
/// [`CgroupError::SubPath`], [`CgroupError::UnknownController`], or a directory
/// that is not there.
pub fn open_for(layout: &Layout, plan: &JoinPlan) -> Result<JoinHandles, CgroupError> {
    if plan.sub.is_empty() {
        return open(layout, &plan.path).or_else(|error| match plan.init {
            Some(pid) if layout.kind() == LayoutKind::V2 => open_of(layout, pid).map_err(|_| error),
            _ => Err(error),
        });
    }
    let path = checked(&plan.path)?;
    let known = |name: &str| name.is_empty() || layout.v1_of(name).is_some();
    if let Some(unknown) = plan.sub.keys().find(|name| !known(name)) {
        return Err(CgroupError::UnknownController(unknown.clone()));
    }
    let mut handles = JoinHandles::default();
    let below = |dir: PathBuf, sub: Option<&PathBuf>| match sub {
        Some(sub) => checked_sub(sub).map(|sub| dir.join(sub)),
        None => Ok(dir),
    };
    // One path without a controller is for all of them.
    let all = plan.sub.get("");
    for hierarchy in &layout.v1 {
        let sub = hierarchy.controllers.iter().find_map(|name| plan.sub.get(name)).or(all);
        let dir = below(hierarchy.dir(path), sub)?;
        handles.add_v1(&dir).map_err(CgroupError::io(ADDING, &dir))?;
    }
    if let Some(dir) = layout.unified_dir(path) {
        let dir = below(dir, all)?;
        handles.set_v2(&dir).map_err(CgroupError::io(ADDING, &dir))?;
    }
    Ok(handles)
}

/// runc's words, which callers look for.
const ADDING: &str = "go on adding pid of the command to cgroups: open cgroup";

/// The v2 cgroup that process `pid` is in, when that is below our root.
///
/// # Errors
/// It is gone, or out of sight.
pub fn open_of(layout: &Layout, pid: i32) -> Result<JoinHandles, CgroupError> {
    let file = PathBuf::from(format!("/proc/{pid}/cgroup"));
    let text = fs::read_to_string(&file).map_err(CgroupError::io("read", &file))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let path = checked(Path::new(path))?;
    let mut handles = JoinHandles::default();
    if let Some(root) = &layout.unified {
        let dir = root.join(path);
        handles.set_v2(&dir).map_err(CgroupError::io("open", &dir))?;
    }
    Ok(handles)
}

/// A leading slash stands for the container's cgroup; nothing climbs out of it.
fn checked_sub(sub: &Path) -> Result<PathBuf, CgroupError> {
    let mut plain = PathBuf::new();
    for component in sub.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::RootDir | Component::CurDir => {}
            _ => return Err(CgroupError::SubPath(sub.to_owned())),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_cgroups_stay_below_the_containers() {
        for (given, plain) in [("/", ""), ("a/b", "a/b"), ("/a/./b", "a/b"), ("", "")] {
            assert_eq!(checked_sub(Path::new(given)).unwrap(), Path::new(plain));
        }
        for bad in ["..", "a/../..", "/../x"] {
            let text = checked_sub(Path::new(bad)).unwrap_err().to_string();
            assert!(text.contains("bad sub cgroup path"), "{text}");
        }
    }

    #[test]
    fn controllers_are_known_before_anything_is_opened() {
        let layout = Layout::parse(b"1 2 0:3 / /sys/fs/cgroup/memory rw - cgroup none rw,memory\n");
        let sub = [("whaaat".to_owned(), PathBuf::from("/"))].into();
        let plan = JoinPlan { path: "x".into(), sub, ..JoinPlan::default() };
        let text = open_for(&layout, &plan).unwrap_err().to_string();
        assert!(text.contains("unknown controller whaaat"), "{text}");
    }
}
