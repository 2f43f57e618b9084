//! Makes a cgroup in every hierarchy. On the start path: per v1 hierarchy one
//! mkdir(2) and one open(2) of its `tasks` file, plus the writes asked for.

use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::join::{JoinHandles, open};
use super::layout::{Layout, LayoutKind};
use super::life::is_frozen;
use super::limits::{self, FileWrite};
use super::write::write_all;
use super::{CgroupError, checked, devices, pids, systemd, write_value};
use crate::plan::CgroupPlan;

/// Creates the cgroup in every hierarchy (`layout` is that of the plan, see
/// [`super::layout_of`]) and writes its limits.
///
/// # Errors
/// [`CgroupError`]; what was made is removed again.
pub fn create(layout: &Layout, plan: &CgroupPlan) -> Result<JoinHandles, CgroupError> {
    let path = checked(&plan.path)?;
    let writes = limits::plan_writes(layout, &plan.resources)?;
    let placeholder = match &plan.unit {
        Some(unit) => {
            refuse_used(layout, path)?;
            Some(systemd::start(layout, unit, &plan.resources)?)
        }
        None => None,
    };
    let mut made = Vec::new();
    match make(layout, path, plan, &writes, &mut made) {
        Ok(handles) => Ok(handles.kept_by(placeholder)),
        Err(error) => {
            // The first error is the one worth telling.
            drop(placeholder);
            if let Some(unit) = &plan.unit {
                let _ = systemd::stop(unit);
            }
            // Parents that others use by now stay.
            for dir in made.iter().rev() {
                let _ = rustix::fs::rmdir(dir);
            }
            Err(error)
        }
    }
}

fn make(
    layout: &Layout,
    path: &Path,
    plan: &CgroupPlan,
    writes: &[FileWrite],
    made: &mut Vec<PathBuf>,
) -> Result<JoinHandles, CgroupError> {
    let mut fresh = true;
    for hierarchy in &layout.v1 {
        let root = hierarchy.dir(Path::new(""));
        let cpuset = hierarchy.controllers.contains("cpuset");
        fresh &= make_dirs(&root, path, made, &mut |made| {
            if cpuset { inherit_cpuset(made) } else { Ok(()) }
        })?;
        if cpuset {
            ensure_cpuset(&root, path)?;
        }
    }
    if let Some(root) = &layout.unified {
        let path = &layout.unified_base.join(path);
        fresh &= make_dirs(root, path, made, &mut |_| Ok(()))?;
        enable_controllers(root, path, &wanted_on_v2(layout, plan)?)?;
    }
    // Unless systemd has just made it for us and our placeholder is in it.
    if !fresh && plan.unit.is_none() {
        refuse_used(layout, path)?;
    }
    write_all(writes, path)?;
    devices::apply(layout, path, &plan.resources.devices)?;
    if let (Some(uid), LayoutKind::V2) = (plan.owner, layout.kind()) {
        hand_over(&layout.unified_dir(path).unwrap_or_default(), uid)?;
    }
    open(layout, path)
}

/// The files that the kernel says are a delegate's (cgroups(7), "Cgroups
/// delegation"); the limits stay ours.
fn hand_over(dir: &Path, uid: u32) -> Result<(), CgroupError> {
    let listed = std::fs::read_to_string("/sys/kernel/cgroup/delegate");
    // Linux before 4.15 had no list of them.
    let listed =
        listed.unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".into());
    let files = listed.lines().filter(|name| !name.contains('/')).map(|name| dir.join(name));
    for file in std::iter::once(dir.to_owned()).chain(files) {
        match rustix::fs::chown(&file, Some(rustix::fs::Uid::from_raw(uid)), None) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(CgroupError::io("hand over", &file)(error)),
        }
    }
    Ok(())
}

/// A cgroup may be there already, prepared by somebody or left by a start that was
/// cut short. One with processes is somebody else's, and in a frozen one the
/// start would hang.
fn refuse_used(layout: &Layout, path: &Path) -> Result<(), CgroupError> {
    let count = pids(layout, path)?.len();
    if count > 0 {
        return Err(CgroupError::NotEmpty { path: path.to_owned(), count });
    }
    if is_frozen(layout, path) {
        return Err(CgroupError::Frozen(path.to_owned()));
    }
    Ok(())
}

/// mkdir -p below `mountpoint`; `made` gets what was not there before, `on_parent`
/// is called for each of them but the last. Whether the last was not there.
fn make_dirs(
    mountpoint: &Path,
    path: &Path,
    made: &mut Vec<PathBuf>,
    on_parent: &mut dyn FnMut(&Path) -> Result<(), CgroupError>,
) -> Result<bool, CgroupError> {
    let leaf = mountpoint.join(path);
    // Somebody may remove the empty parents between our two steps.
    for _ in 0..16 {
        match rustix::fs::mkdir(&leaf, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                made.push(leaf);
                return Ok(true);
            }
            Err(Errno::EXIST) => return Ok(false),
            Err(Errno::NOENT) => make_parents(mountpoint, path, made, on_parent)?,
            Err(error) => return Err(CgroupError::io("create", &leaf)(error)),
        }
    }
    Err(CgroupError::io("create", &leaf)(Errno::NOENT))
}

fn make_parents(
    mountpoint: &Path,
    path: &Path,
    made: &mut Vec<PathBuf>,
    on_parent: &mut dyn FnMut(&Path) -> Result<(), CgroupError>,
) -> Result<(), CgroupError> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.pop(); // the empty path: the mount point itself
    for parent in above.into_iter().rev() {
        let dir = mountpoint.join(parent);
        match rustix::fs::mkdir(&dir, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                made.push(dir.clone());
                on_parent(&dir)?;
            }
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
/// statistics use, or all; beside v1 only what a limit needs, since there the tree
/// is mostly somebody else's.
fn wanted_on_v2(layout: &Layout, plan: &CgroupPlan) -> Result<Vec<String>, CgroupError> {
    let mut wanted = limits::wanted_controllers(&plan.resources);
    wanted.retain(|name| layout.v1_of(if *name == "io" { "blkio" } else { name }).is_none());
    let mut wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
    let mut add = |names: &mut dyn Iterator<Item = &str>| {
        for name in names {
            if !wanted.iter().any(|known| known == name) {
                wanted.push(name.to_owned());
            }
        }
    };
    match &layout.unified {
        Some(root) if layout.kind() == LayoutKind::V2 && plan.all_controllers => {
            let file = root.join("cgroup.controllers");
            let text = std::fs::read_to_string(&file).map_err(CgroupError::io("read", &file))?;
            add(&mut text.split_ascii_whitespace());
        }
        Some(_) if layout.kind() == LayoutKind::V2 => {
            add(&mut ["cpu", "io", "memory", "pids"].into_iter());
        }
        _ => {}
    }
    Ok(wanted)
}

/// Enables `wanted` in every directory above `path`. A controller the root does
/// not offer, or that processes in a parent forbid, stays off: the write of the
/// limit that needs it then says so; without a limit nothing is lost but figures.
fn enable_controllers(root: &Path, path: &Path, wanted: &[String]) -> Result<(), CgroupError> {
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
        let missing: Vec<String> = wanted
            .iter()
            .filter(|c| !enabled.contains(&c.as_str()))
            .map(|c| format!("+{c}"))
            .collect();
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
