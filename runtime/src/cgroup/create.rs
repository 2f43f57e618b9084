//! Makes a cgroup in every hierarchy. On the start path: per v1 hierarchy one
//! mkdir(2) and one open(2) of its `tasks` file, plus the writes asked for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::layout::{Layout, LayoutKind};
use super::limits::{self, FileWrite};
use super::{CgroupError, checked, devices, remove, write_value};
use crate::plan::CgroupPlan;

/// Descriptors with which a process puts *itself* into a cgroup. Made by the
/// parent before clone3(2), used by init. All close-on-exec.
#[derive(Debug, Default)]
pub struct JoinHandles {
    /// The `tasks` file of each v1 hierarchy, writable, with its name for errors.
    tasks: Vec<(PathBuf, OwnedFd)>,
    /// The v2 directory.
    unified: Option<OwnedFd>,
}

impl JoinHandles {
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
}

/// Creates the cgroup in every hierarchy and writes its limits.
///
/// # Errors
/// [`CgroupError`]; what was made is removed again.
pub fn create(layout: &Layout, plan: &CgroupPlan) -> Result<JoinHandles, CgroupError> {
    let path = checked(&plan.path)?;
    let writes = limits::plan_writes(layout, &plan.resources)?;
    let made = make(layout, path, plan, &writes);
    if made.is_err() {
        // The first error is the one worth telling.
        let _ = remove(layout, path);
    }
    made
}

fn make(
    layout: &Layout,
    path: &Path,
    plan: &CgroupPlan,
    writes: &[FileWrite],
) -> Result<JoinHandles, CgroupError> {
    for hierarchy in &layout.v1 {
        let cpuset = hierarchy.controllers.contains("cpuset");
        make_dirs(&hierarchy.mountpoint, path, &mut |made| {
            if cpuset { inherit_cpuset(made) } else { Ok(()) }
        })?;
        if cpuset {
            ensure_cpuset(&hierarchy.mountpoint, path)?;
        }
    }
    if let Some(root) = &layout.unified {
        make_dirs(root, path, &mut |_| Ok(()))?;
        enable_controllers(root, path, &wanted_on_v2(layout, plan))?;
    }
    for write in writes {
        apply(write, path)?;
    }
    devices::apply(layout, path, &plan.resources.devices)?;
    open(layout, path)
}

/// Join handles of an existing cgroup.
///
/// # Errors
/// [`CgroupError::Io`] naming the file that cannot be opened.
pub fn open(layout: &Layout, path: &Path) -> Result<JoinHandles, CgroupError> {
    let path = checked(path)?;
    let mut handles = JoinHandles::default();
    for hierarchy in &layout.v1 {
        let file = hierarchy.mountpoint.join(path).join("tasks");
        let tasks = rustix::fs::open(&file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(CgroupError::io("open", &file))?;
        handles.tasks.push((file, tasks));
    }
    if let Some(root) = &layout.unified {
        let dir = root.join(path);
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let fd =
            rustix::fs::open(&dir, flags, Mode::empty()).map_err(CgroupError::io("open", &dir))?;
        handles.unified = Some(fd);
    }
    Ok(handles)
}

/// mkdir -p below `mountpoint`; `on_parent` is called for each directory above
/// the last that did not exist before. An existing last directory is fine: a
/// start that was cut short may have left it.
fn make_dirs(
    mountpoint: &Path,
    path: &Path,
    on_parent: &mut dyn FnMut(&Path) -> Result<(), CgroupError>,
) -> Result<(), CgroupError> {
    let leaf = mountpoint.join(path);
    // Somebody may remove the empty parents between our two steps.
    for _ in 0..16 {
        match rustix::fs::mkdir(&leaf, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => return Ok(()),
            Err(Errno::NOENT) => make_parents(mountpoint, path, on_parent)?,
            Err(error) => return Err(CgroupError::io("create", &leaf)(error)),
        }
    }
    Err(CgroupError::io("create", &leaf)(Errno::NOENT))
}

fn make_parents(
    mountpoint: &Path,
    path: &Path,
    on_parent: &mut dyn FnMut(&Path) -> Result<(), CgroupError>,
) -> Result<(), CgroupError> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.pop(); // the empty path: the mount point itself
    for parent in above.into_iter().rev() {
        let dir = mountpoint.join(parent);
        match rustix::fs::mkdir(&dir, Mode::from_raw_mode(0o755)) {
            Ok(()) => on_parent(&dir)?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(CgroupError::io("create", &dir)(error)),
        }
    }
    Ok(())
}

const CPUSET_FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// A new v1 cpuset is empty and cannot be joined. A parent of ours gets its own
/// parent's CPUs and nodes once, and hands them to its children by itself
/// (`cgroup.clone_children`, cpuset(7)): a container then costs one mkdir.
fn inherit_cpuset(dir: &Path) -> Result<(), CgroupError> {
    copy_cpuset(dir)?;
    let file = dir.join("cgroup.clone_children");
    write_value(&file, "1").map_err(CgroupError::io("write", &file))
}

/// Fills what is empty in `dir` from its parent.
fn copy_cpuset(dir: &Path) -> Result<(), CgroupError> {
    for name in CPUSET_FILES {
        let file = dir.join(name);
        if !is_blank(&file)? {
            continue;
        }
        let above = dir.parent().unwrap_or(dir).join(name);
        let value = std::fs::read_to_string(&above).map_err(CgroupError::io("read", &above))?;
        write_value(&file, value.trim()).map_err(CgroupError::io("write", &file))?;
    }
    Ok(())
}

/// Parents that somebody else made may not hand anything down.
fn ensure_cpuset(mountpoint: &Path, path: &Path) -> Result<(), CgroupError> {
    let leaf = mountpoint.join(path);
    if !is_blank(&leaf.join(CPUSET_FILES[0]))? && !is_blank(&leaf.join(CPUSET_FILES[1]))? {
        return Ok(());
    }
    let mut dirs: Vec<&Path> = path.ancestors().collect();
    dirs.pop();
    dirs.into_iter().rev().try_for_each(|dir| copy_cpuset(&mountpoint.join(dir)))
}

/// The first bytes tell, and one read(2) is what the start path pays for them.
fn is_blank(file: &Path) -> Result<bool, CgroupError> {
    let mut head = [0; 64];
    let length = rustix::fs::open(file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|fd| rustix::io::read(fd, &mut head))
        .map_err(CgroupError::io("read", file))?;
    Ok(head.get(..length).unwrap_or_default().trim_ascii().is_empty())
}

/// The v2 controllers to switch on: on a pure v2 host those that limits and
/// statistics use; beside v1 only what a limit needs, since there the tree is
/// mostly somebody else's.
fn wanted_on_v2(layout: &Layout, plan: &CgroupPlan) -> Vec<&'static str> {
    let mut wanted = limits::wanted_controllers(&plan.resources);
    wanted.retain(|name| layout.v1_of(if *name == "io" { "blkio" } else { name }).is_none());
    if layout.kind() == LayoutKind::V2 {
        for usual in ["cpu", "io", "memory", "pids"] {
            if !wanted.contains(&usual) {
                wanted.push(usual);
            }
        }
    }
    wanted
}

/// Enables `wanted` in every directory above `path`. A controller the root does
/// not offer, or that processes in a parent forbid, stays off: the write of the
/// limit that needs it then says so; without a limit nothing is lost but figures.
fn enable_controllers(root: &Path, path: &Path, wanted: &[&str]) -> Result<(), CgroupError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    for dir in above {
        let file = root.join(dir).join("cgroup.subtree_control");
        // Reading first: a write takes the cgroup lock and waits for dying children.
        let enabled = std::fs::read_to_string(&file).map_err(CgroupError::io("read", &file))?;
        let enabled: Vec<&str> = enabled.split_ascii_whitespace().collect();
        let missing: Vec<String> =
            wanted.iter().filter(|c| !enabled.contains(*c)).map(|c| format!("+{c}")).collect();
        if let Err(error) = enable(&file, &missing) {
            log::debug!("cannot enable {missing:?} in {}: {error}", file.display());
        }
    }
    Ok(())
}

/// All in one write; one by one where the kernel does not know or offer some.
/// Not after EBUSY: `cpu` and `pids` alone can be enabled beside processes, but
/// that turns the directory into a thread root, in which no container can be
/// born (EOPNOTSUPP; cgroup-v2.rst, "Threads").
fn enable(file: &Path, controllers: &[String]) -> rustix::io::Result<()> {
    if controllers.is_empty() {
        return Ok(());
    }
    match write_value(file, &controllers.join(" ")) {
        Err(Errno::NOENT | Errno::INVAL) if controllers.len() > 1 => {
            // `memory` and `io` go first: they are the ones EBUSY stops.
            let (threaded, domain): (Vec<&String>, Vec<&String>) = controllers
                .iter()
                .partition(|c| ["+cpu", "+cpuset", "+pids"].contains(&c.as_str()));
            for one in domain.into_iter().chain(threaded) {
                match write_value(file, one) {
                    Ok(()) | Err(Errno::NOENT | Errno::INVAL) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        }
        done => done,
    }
}

/// Writes the first file of `write` that exists.
fn apply(write: &FileWrite, path: &Path) -> Result<(), CgroupError> {
    let dir = write.mountpoint.join(path);
    for (name, value) in &write.choices {
        let file = dir.join(name);
        match write_value(&file, value) {
            Ok(()) => return Ok(()),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(CgroupError::io("write", &file)(error)),
        }
    }
    match (write.wish, write.choices.first()) {
        (Some(wish), Some((name, _))) => Err(CgroupError::NoFile { wish, path: dir.join(name) }),
        _ => Ok(()),
    }
}
