//! What a plan alone does not say: where a container's mounts really are, which
//! namespaces it is in, what its streams were.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, open, readlinkat, stat};

use rustix::process::Pid;

use super::plan::{NULL, externals, is_external, namespace_word};
use super::{CriuError, Version};
use crate::cgroup::Layout;
use crate::init::{Links, Root};
use crate::plan::{ContainerPlan, NamespaceKind};

/// The facts of a dump.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DumpFacts {
    /// The container's first process.
    pub pid: i32,
    /// External mounts: name → where it is, symbolic links followed.
    pub mounts: Vec<(PathBuf, PathBuf)>,
    /// Files that are hidden by the null device.
    pub masked_files: Vec<PathBuf>,
    /// Namespaces that others made, with their inode.
    pub foreign_namespaces: Vec<(NamespaceKind, u64)>,
    /// The directory with which all processes can be stopped.
    pub freezer: Option<PathBuf>,
}

impl DumpFacts {
    /// Of the container made of `plan` whose first process is `pid`.
    ///
    /// # Errors
    /// It is gone, or what cannot be read.
    pub fn read(plan: &ContainerPlan, layout: &Layout, pid: i32) -> Result<Self, CriuError> {
        let path = PathBuf::from(format!("/proc/{pid}/root"));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(&path, flags, Mode::empty()).map_err(CriuError::io("open", &path))?;
        let root = Root::new(root);
        let names = externals(plan, layout).into_iter().map(|external| external.name);
        let mounts = names.filter_map(|name| Some((real(&root, &name)?, name)));
        Ok(Self {
            pid,
            mounts: mounts.map(|(seen, name)| (name, seen)).collect(),
            masked_files: masked_files(&root, plan),
            foreign_namespaces: foreign_namespaces(plan, pid)?,
            freezer: freezer(layout, &plan.cgroup.path),
        })
    }

    /// Whether this version can dump such a container.
    ///
    /// # Errors
    /// [`CriuError::Old`]
    pub fn check(&self, version: Version) -> Result<(), CriuError> {
        let has = |kind| self.foreign_namespaces.iter().any(|(found, _)| *found == kind);
        let network = ("a network namespace by path", Version(3_11_00));
        let pid = ("a pid namespace by path", Version(3_15_00));
        for (kind, (what, needed)) in [(NamespaceKind::Network, network), (NamespaceKind::Pid, pid)]
        {
            if has(kind) && version < needed {
                return Err(CriuError::Old { what, needed, found: version });
            }
        }
        Ok(())
    }
}

/// The path that `name` has in the container itself; `None` when it is gone.
fn real(root: &Root, name: &Path) -> Option<PathBuf> {
    let handle = root.find(name, Links::Follow).ok()?;
    path_of(&handle).ok()
}

/// The kernel's own idea of where a descriptor leads (proc_pid_fd(5)).
fn path_of(handle: &OwnedFd) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

/// Those that the host's null device hides. The container's own is no stranger
/// to CRIU, nor is the empty tmpfs that hides a directory.
fn masked_files(root: &Root, plan: &ContainerPlan) -> Vec<PathBuf> {
    let identity = |handle: &OwnedFd| fstat(handle).ok().map(|s| (s.st_dev, s.st_ino));
    let found = |path: &str| identity(&root.find(Path::new(path), Links::Refuse).ok()?);
    // In a user namespace, where no node can be made, it is a bind of the host's.
    let dev = found("/dev").map(|(device, _)| device);
    let own = found(NULL).filter(|(device, _)| Some(*device) == dev);
    let is_strange = |handle: &OwnedFd| {
        let is_dir =
            fstat(handle).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory);
        !is_dir && identity(handle) != own
    };
    let find = |path: &PathBuf| root.find(path, Links::Follow).ok().filter(is_strange);
    let found = plan.masked_paths.iter().filter_map(find);
    found.filter_map(|handle| path_of(&handle).ok()).collect()
}

/// By the process, not by the plan's path: who made it may be gone.
fn foreign_namespaces(
    plan: &ContainerPlan,
    pid: i32,
) -> Result<Vec<(NamespaceKind, u64)>, CriuError> {
    let mut found = Vec::new();
    for kind in plan.namespaces.join.keys().filter(|kind| is_external(**kind)) {
        let path = PathBuf::from(format!("/proc/{pid}/ns/{}", namespace_word(*kind)));
        let namespace = stat(&path).map_err(CriuError::io("look at", &path))?;
        found.push((*kind, namespace.st_ino));
    }
    Ok(found)
}

fn freezer(layout: &Layout, cgroup: &Path) -> Option<PathBuf> {
    if cgroup.as_os_str().is_empty() {
        return None;
    }
    match layout.v1_of("freezer") {
        Some(freezer) => Some(freezer.dir(cgroup)),
        None => layout.unified_dir(cgroup),
    }
}

/// What the caller's three streams are, as the kernel names them (`pipe:[123]`):
/// a container's pipes are found again by these names in its images.
pub fn stream_names() -> Vec<String> {
    let name = |fd: i32| match readlinkat(CWD, format!("/proc/self/fd/{fd}"), Vec::new()) {
        Ok(name) => name.to_string_lossy().into_owned(),
        Err(_) => String::new(),
    };
    (0..3).map(name).collect()
}

/// Controller → path of the cgroups of process `pid`, as CRIU itself reads them.
///
/// # Errors
/// The process is gone.
pub fn cgroup_roots(pid: Pid) -> Result<Vec<(String, String)>, CriuError> {
    let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
    let text = std::fs::read_to_string(&path).map_err(CriuError::io("read", &path))?;
    Ok(parse_cgroup(&text))
}

/// `4:cpu,cpuacct:/path`; the v2 tree has no controllers (cgroups(7)).
fn parse_cgroup(text: &str) -> Vec<(String, String)> {
    let mut roots = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        for controller in controllers.split(',') {
            roots.push((controller.to_owned(), path.to_owned()));
        }
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_controller_has_its_root() {
        let roots = parse_cgroup("4:cpu,cpuacct:/a:b\n1:name=systemd:/s\n0::/u\nnonsense\n");
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let expected = [
            pair("cpu", "/a:b"),
            pair("cpuacct", "/a:b"),
            pair("name=systemd", "/s"),
            pair("", "/u"),
        ];
        assert_eq!(roots, expected);
    }

    #[test]
    fn streams_have_three_names() {
        assert_eq!(stream_names().len(), 3);
    }
}
