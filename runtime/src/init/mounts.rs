//! The mounts of the plan, one by one, on the container's root. Every step goes
//! by descriptor: a path is looked up once, below the root, and nothing is
//! visible to anybody before it is complete.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rcnt_base::sys::mount::{Attributes, set_attributes};
use rustix::fs::{FileType, PROC_SUPER_MAGIC, StatVfsMountFlags, fstat, fstatfs, fstatvfs};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountPropagationFlags};

use super::cgroupfs;
use super::copy_up::copy_up;
use super::error::{Doing, InitError, in_plain_words};
use super::filesystems;
use super::fsapi::{attach, change_to, propagation_flag};
use super::idmap::Known;
use super::lender::Borrower;
use super::root::{Links, Root, clean};
use super::sources;
use crate::plan::{
    AccessTime, ContainerPlan, FilesystemPlan, MountAttributes, MountKind, MountPlan,
};

/// Where mounts are made, and with what.
pub(crate) struct Workplace<'a> {
    pub(crate) plan: &'a ContainerPlan,
    pub(crate) root: &'a Root,
    pub(crate) cgroups: &'a cgroupfs::View,
    /// Helps in a user namespace.
    pub(crate) lender: Option<&'a Borrower>,
}

/// What is left of the mounts to be done with.
#[derive(Debug, Default)]
pub(crate) struct Mounted {
    /// The devpts instance mounted at `/dev/pts`, if there is one.
    pub(crate) devpts: Option<OwnedFd>,
    /// What becomes read-only when all below it is made.
    readonly: Vec<OwnedFd>,
}

impl Mounted {
    /// The last step, after devices and console.
    pub(crate) fn make_readonly(&mut self) -> Result<(), InitError> {
        let change = Attributes { set: MountAttrFlags::MOUNT_ATTR_RDONLY, ..Attributes::default() };
        for mount in self.readonly.drain(..) {
            set_attributes(&mount, &change).doing("make a mount read-only")?;
        }
        Ok(())
    }
}

/// Mounts one after the other; `held` is from [`sources::hold_shared`].
pub(crate) fn apply(
    workplace: &Workplace<'_>,
    held: Vec<Option<OwnedFd>>,
) -> Result<Mounted, InitError> {
    let mut mounted = Mounted::default();
    let mut maps = Known::default();
    for (nth, (plan, held)) in workplace.plan.mounts.iter().zip(held).enumerate() {
        let mount = workplace.mount(nth, plan, held, &mut maps)?;
        let filesystem = match &plan.kind {
            MountKind::Filesystem(filesystem) => Some(filesystem),
            _ => None,
        };
        let Some((filesystem, mount)) = filesystem.zip(mount) else { continue };
        if is_late(plan, filesystem) && plan.attributes.readonly == Some(true) {
            mounted.readonly.push(mount);
        } else if filesystem.kind == "devpts" && clean(&plan.destination) == Path::new("/dev/pts") {
            mounted.devpts = Some(mount);
        }
    }
    Ok(mounted)
}

/// Whether more will be made in it, whatever it is like in the end: device nodes
/// in `/dev`, mount points in any tmpfs.
fn is_late(plan: &MountPlan, filesystem: &FilesystemPlan) -> bool {
    filesystem.kind == "tmpfs" || clean(&plan.destination) == Path::new("/dev")
}

/// The error of a mount that cannot be made, a bind whose source cannot be
/// opened for a start.
pub(crate) fn failed(plan: &ContainerPlan, nth: usize, doing: &str, error: io::Error) -> InitError {
    let mount = plan.mounts.get(nth);
    let source_name = match mount.map(|mount| &mount.kind) {
        Some(MountKind::Bind { source, .. }) => source.display().to_string(),
        Some(MountKind::Filesystem(filesystem)) => filesystem.source.clone(),
        Some(MountKind::Cgroup) => "cgroup".to_owned(),
        None => String::new(),
    };
    InitError::Mount {
        source_name,
        destination: mount.map(|mount| mount.destination.clone()).unwrap_or_default(),
        doing: doing.to_owned(),
        source: in_plain_words(error),
    }
}

impl Workplace<'_> {
    /// The mount, and nothing for the cgroups, which are several.
    fn mount(
        &self,
        nth: usize,
        plan: &MountPlan,
        held: Option<OwnedFd>,
        maps: &mut Known,
    ) -> Result<Option<OwnedFd>, InitError> {
        let fail = |doing: &'static str| move |error| failed(self.plan, nth, doing, error);
        let destination = clean(&plan.destination);
        let label = self.plan.mount_label.as_deref();
        match &plan.kind {
            MountKind::Cgroup => {
                let target = self.directory(&destination).map_err(fail("create mount point"))?;
                cgroupfs::mount(self.cgroups, &target, plan, label)?;
                Ok(None)
            }
            MountKind::Filesystem(filesystem) => {
                self.filesystem(nth, plan, filesystem, &destination).map(Some)
            }
            MountKind::Bind { .. } => {
                let mount = sources::open(self, nth, held, maps);
                let mount = mount.map_err(fail("open the source"))?;
                let directory = is_directory(&mount);
                let target = match directory {
                    true => self.directory(&destination),
                    false => self.file(&destination),
                };
                let target = target.map_err(fail("create mount point"))?;
                self.refuse_target(&mount, &target, &destination)
                    .map_err(fail("look at the mount point"))?;
                if plan.copy_up && directory {
                    copy_up(&target, &mount).map_err(fail("copy the image's content to it"))?;
                }
                spread(&mount, plan).map_err(fail("change its propagation"))?;
                set_bind_attributes(&mount, plan)
                    .map_err(fail("failed to set user-requested vfs flags on bind-mount"))?;
                attach(&mount, &target).map_err(fail("attach it"))?;
                Ok(Some(mount))
            }
        }
    }

    fn filesystem(
        &self,
        nth: usize,
        plan: &MountPlan,
        filesystem: &FilesystemPlan,
        destination: &Path,
    ) -> Result<OwnedFd, InitError> {
        let fail = |doing: &'static str| move |error| failed(self.plan, nth, doing, error);
        let existing_mode = match filesystem.inherit_mode {
            true => self.mode_of(destination),
            false => None,
        };
        let target = match filesystem.kind.as_str() {
            "proc" | "sysfs" => self.ordinary_directory(&filesystem.kind, destination),
            _ => self.directory(destination),
        };
        let target = target.map_err(fail("create mount point"))?;
        let mut attributes = plan.attributes;
        if is_late(plan, filesystem) {
            attributes.readonly = None;
        }
        let label = self.plan.mount_label.as_deref();
        let new = filesystems::New { plan: filesystem, label, mode: existing_mode, attributes };
        if new.needs_mount_call() {
            new.mount_on(&target).map_err(fail("mount it"))?;
            let mount =
                self.root.find(destination, Links::Follow).map_err(fail("find it again"))?;
            spread(&mount, plan).map_err(fail("change its propagation"))?;
            set_attributes(&mount, &change_to(attributes)).map_err(fail("set its attributes"))?;
            return Ok(mount);
        }
        let mount = new.detached().map_err(fail("make the file system"))?;
        self.refuse_target(&mount, &target, destination)
            .map_err(fail("look at the mount point"))?;
        if plan.copy_up {
            copy_up(&target, &mount).map_err(fail("copy the image's content to it"))?;
        }
        spread(&mount, plan).map_err(fail("change its propagation"))?;
        set_recursive(&mount, plan).map_err(fail("set its attributes"))?;
        attach(&mount, &target).map_err(fail("attach it"))?;
        Ok(mount)
    }

    /// The permission bits of what is at `path` already.
    fn mode_of(&self, path: &Path) -> Option<u32> {
        let found = self.root.find(path, Links::Follow).ok()?;
        fstat(&found).ok().map(|stat| stat.st_mode & 0o7777)
    }

    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        self.through_links(path, |path, links| self.root.ensure_dir(path, links))
    }

    fn file(&self, path: &Path) -> io::Result<OwnedFd> {
        self.through_links(path, |path, links| self.root.ensure_file(path, links))
    }

    /// Follows symlinks, but not one that stands for `/proc`, `/sys` or `/dev`:
    /// the container's safety depends on what these are (CVE-2019-19921,
    /// CVE-2026-41579). Nor one that leads back to the root itself.
    fn through_links(
        &self,
        path: &Path,
        ensure: impl Fn(&Path, Links) -> io::Result<OwnedFd>,
    ) -> io::Result<OwnedFd> {
        match ensure(path, Links::Refuse) {
            Err(error) if is_loop(&error) => {}
            other => return other,
        }
        let special = ["/proc", "/sys", "/dev"].into_iter().find(|dir| path.starts_with(dir));
        if let Some(special) = special
            && (path == Path::new(special) || self.is_link(Path::new(special)))
        {
            return Err(io::Error::other(
                "it is or lies behind a symbolic link, which is not allowed there",
            ));
        }
        let target = ensure(path, Links::Follow)?;
        let (found, root) = (fstat(&target)?, fstat(self.root)?);
        if (found.st_dev, found.st_ino) == (root.st_dev, root.st_ino) {
            return Err(io::Error::other("mountpoint is on the top of rootfs"));
        }
        Ok(target)
    }

    fn is_link(&self, path: &Path) -> bool {
        self.root.find(path, Links::Refuse).is_err_and(|error| is_loop(&error))
    }

    /// For file systems that must be where they seem to be.
    fn ordinary_directory(&self, kind: &str, path: &Path) -> io::Result<OwnedFd> {
        self.root.ensure_dir(path, Links::Refuse).map_err(|error| {
            let why = match Errno::from_io_error(&error) {
                Some(Errno::LOOP) => "it is or lies behind a symbolic link",
                Some(Errno::NOTDIR) => "it is no directory",
                _ => return error,
            };
            let text = format!("filesystem {kind:?} must be mounted on ordinary directory: {why}");
            io::Error::other(text)
        })
    }

    /// Nothing but procfs may be `/proc`, and nothing may cover parts of it that
    /// say who a process is (CVE-2019-16884: a volume there fakes the files
    /// through which security labels are set). Judged by what the target really
    /// is, so that a path through a symlink gains nothing.
    fn refuse_target(
        &self,
        mount: &OwnedFd,
        target: &OwnedFd,
        destination: &Path,
    ) -> io::Result<()> {
        let shown = destination.display().to_string();
        let at_proc = destination == Path::new("/proc");
        let covers = at_proc || is_procfs(target);
        if !covers || PROC_FILES.contains(&shown.as_str()) || is_procfs(mount) {
            return Ok(());
        }
        let why = if at_proc { "it is not of type proc" } else { "it is inside /proc" };
        Err(io::Error::other(format!("{shown:?} cannot be mounted because {why}")))
    }
}

fn is_loop(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::LOOP)
}

/// Whether the root of a mount is a directory.
fn is_directory(mount: impl AsFd) -> bool {
    fstat(mount).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory)
}

fn is_procfs(handle: impl AsFd) -> bool {
    fstatfs(handle).is_ok_and(|s| s.f_type == PROC_SUPER_MAGIC)
}

/// Single files that lxcfs and the like may put over procfs' own.
pub(crate) const PROC_FILES: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// Propagation as the plan has it. A bind that says nothing is cut off: it came
/// with its source's ties.
fn spread(mount: &OwnedFd, plan: &MountPlan) -> io::Result<()> {
    let change = |propagation, recursive| {
        set_attributes(mount, &Attributes { propagation, recursive, ..Attributes::default() })
    };
    if plan.propagation.is_empty() && matches!(plan.kind, MountKind::Bind { .. }) {
        return change(MountPropagationFlags::PRIVATE, true);
    }
    plan.propagation
        .iter()
        .try_for_each(|wanted| change(propagation_flag(wanted.to), wanted.recursive))
}

/// What an `exact` bind has lowered unless it is asked for.
fn lowerable() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW
}

fn set_bind_attributes(mount: &OwnedFd, plan: &MountPlan) -> io::Result<()> {
    let mut change = change_to(plan.attributes);
    let exact = matches!(plan.kind, MountKind::Bind { exact: true, .. });
    if exact {
        change.clear |= lowerable().difference(change.set);
    }
    if !(change.set | change.clear).is_empty() {
        match set_attributes(mount, &change) {
            Err(error) if exact && Errno::from_io_error(&error) == Some(Errno::PERM) => {
                set_around_locks(mount, plan.attributes, error)?;
            }
            other => other?,
        }
    }
    set_recursive(mount, plan)
}

/// A user namespace keeps it from lowering what the host has raised: that stays,
/// unless the plan insists on having it otherwise.
fn set_around_locks(mount: &OwnedFd, wanted: MountAttributes, error: io::Error) -> io::Result<()> {
    let has = fstatvfs(mount)?.f_flag;
    let insisted = [
        (wanted.readonly, StatVfsMountFlags::RDONLY),
        (wanted.nosuid, StatVfsMountFlags::NOSUID),
        (wanted.nodev, StatVfsMountFlags::NODEV),
        (wanted.noexec, StatVfsMountFlags::NOEXEC),
    ];
    let lowers = |(wish, flag): &(Option<bool>, _)| *wish == Some(false) && has.contains(*flag);
    let atime = match () {
        () if has.contains(StatVfsMountFlags::NOATIME) => AccessTime::Never,
        () if has.contains(StatVfsMountFlags::RELATIME) => AccessTime::Relative,
        () => AccessTime::Strict,
    };
    let nodiratime = has.contains(StatVfsMountFlags::NODIRATIME);
    let other_times = wanted.atime.is_some_and(|wish| wish != atime)
        || wanted.nodiratime.is_some_and(|wish| wish != nodiratime);
    if insisted.iter().any(lowers) || other_times {
        return Err(error);
    }
    let set = change_to(MountAttributes { atime: None, nodiratime: None, ..wanted }).set;
    // Not one of those that are locked.
    let clear = MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW.difference(set);
    set_attributes(mount, &Attributes { set, clear, ..Attributes::default() })
}

fn set_recursive(mount: &OwnedFd, plan: &MountPlan) -> io::Result<()> {
    if plan.recursive == MountAttributes::default() {
        return Ok(());
    }
    set_attributes(mount, &Attributes { recursive: true, ..change_to(plan.recursive) })
}
