//! The root file system: an overlay over an image's layers or a plain
//! directory, and pivot_root(2) into it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rcnt_base::sys::mount::{Attributes, set_attributes};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount, mount_change, unmount,
};

use super::error::{Doing, InitError};
use super::fsapi::{self, clone_of, clone_path, propagation_flag, with_kernel_words};
use super::no_pivot;
use super::root::Root;
use crate::plan::{Propagation, RootfsPlan, RootfsSource};

/// fsconfig(2) takes values of at most 256 bytes, the final null included.
const MAX_VALUE: usize = 255;

/// Cuts every mount of this (new) mount namespace off from where it was copied:
/// from here on nothing we mount or unmount is seen outside. Slaves rather than
/// private, so that a bind cloned later can still be one (`rslave`).
pub(crate) fn cut_off() -> Result<(), InitError> {
    let all = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", all).doing("cut the mounts off from the host's")
}

/// What a root file system is made from: a clone of its directory, where it is one.
pub(crate) type Source = Option<OwnedFd>;

/// Opens the host's side of it.
pub(crate) fn open(plan: &RootfsPlan) -> Result<Source, InitError> {
    match &plan.source {
        RootfsSource::Overlay { .. } => Ok(None),
        RootfsSource::Directory(dir) => {
            clone_path(dir, true).on("open root directory", dir).map(Some)
        }
    }
}

/// Makes the root file system and mounts it; it is not "/" yet.
pub(crate) fn attach(plan: &RootfsPlan, source: Source) -> Result<Root, InitError> {
    let rootfs = match &plan.source {
        RootfsSource::Overlay { lower, upper, work } => overlay(lower, upper, work, plan)?,
        RootfsSource::Directory(dir) => {
            source.ok_or(Errno::NOENT).on("open root directory", dir)?
        }
    };
    // A slave stays tied to where it was cloned from, as far as that is shared;
    // all else is cut off until everything is mounted.
    let propagation = match plan.propagation {
        Propagation::Slave => MountPropagationFlags::DOWNSTREAM,
        _ => MountPropagationFlags::PRIVATE,
    };
    let cut_off = Attributes { propagation, recursive: true, ..Attributes::default() };
    set_attributes(&rootfs, &cut_off).doing("cut the root file system off the host's mounts")?;
    let mountpoint =
        rustix::fs::open(&plan.mountpoint, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .on("open mount point", &plan.mountpoint)?;
    fsapi::attach(&rootfs, &mountpoint).on("mount the root file system on", &plan.mountpoint)?;
    Ok(Root::new(rootfs))
}

/// Makes it "/"; in a mount namespace of our own nothing of the host stays
/// reachable. Somebody else's is not turned upside down.
pub(crate) fn enter(root: &Root, plan: &RootfsPlan, own_mounts: bool) -> Result<(), InitError> {
    match (own_mounts, plan.no_pivot) {
        (true, false) => pivot(root).doing("pivot into the root file system")?,
        (true, true) => no_pivot::move_root(root)?,
        (false, _) => chroot(root).doing("change the root directory")?,
    }
    if matches!(plan.propagation, Propagation::Private | Propagation::Slave) {
        return Ok(());
    }
    let propagation = Attributes {
        propagation: propagation_flag(plan.propagation),
        recursive: plan.propagation_recursive,
        ..Attributes::default()
    };
    set_attributes(root, &propagation).doing("set the propagation of the root mount")
}

/// Makes `root` read-only, mounts on it excepted.
pub(crate) fn make_readonly(root: &Root) -> Result<(), InitError> {
    let change = Attributes { set: MountAttrFlags::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    set_attributes(root, &change).doing("make the root file system read-only")
}

/// pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the
/// new one and is taken off from there, so no directory for it is needed.
fn pivot(rootfs: &Root) -> io::Result<()> {
    rustix::process::fchdir(rootfs)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}

/// chroot(2), for those who hold on to no directory outside.
pub(super) fn chroot(root: &Root) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::chroot(".")?;
    Ok(rustix::process::chdir("/")?)
}

/// The overlay as a detached mount.
fn overlay(
    lower: &[PathBuf],
    upper: &Path,
    work: &Path,
    plan: &RootfsPlan,
) -> Result<OwnedFd, InitError> {
    let layers = lower.iter().map(|dir| open_dir(dir).on("open image layer", dir));
    let layers = layers.collect::<Result<Vec<_>, _>>()?;
    let upper_fd = open_dir(upper).on("open upper directory", upper)?;
    let work_fd = open_dir(work).on("open work directory", work)?;
    match overlay_by_layer(lower, &layers, (upper, &upper_fd), (work, &work_fd)) {
        Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {}
        other => return other.doing("mount the overlay of the image's layers"),
    }
    // EINVAL: a kernel without `lowerdir+` (6.5), or truly invalid layers, which
    // the older way then reports.
    overlay_by_string(&layers, &upper_fd, &work_fd, &plan.mountpoint)
        .doing("mount the overlay of the image's layers")
}

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The path itself where it fits, so that mount tables stay readable, else a
/// short name for its descriptor.
fn value_of(path: &Path, fd: &OwnedFd) -> PathBuf {
    if path.as_os_str().len() <= MAX_VALUE { path.to_owned() } else { fd_path(fd) }
}

fn fd_path(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// One `lowerdir+` per layer: no limit on their number but the kernel's 500,
/// and no characters to escape.
fn overlay_by_layer(
    lower: &[PathBuf],
    layers: &[OwnedFd],
    upper: (&Path, &OwnedFd),
    work: (&Path, &OwnedFd),
) -> io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let configured = (|| {
        fsconfig_set_string(&context, "source", "overlay")?;
        for (path, fd) in lower.iter().zip(layers) {
            fsconfig_set_string(&context, "lowerdir+", value_of(path, fd))?;
        }
        fsconfig_set_string(&context, "upperdir", value_of(upper.0, upper.1))?;
        fsconfig_set_string(&context, "workdir", value_of(work.0, work.1))?;
        fsconfig_create(&context)
    })();
    match configured {
        Ok(()) => {}
        // Kept bare: the caller tells an old kernel by it.
        Err(Errno::INVAL) => return Err(with_errno_kept(&context)),
        Err(errno) => return Err(with_kernel_words(&context, errno)),
    }
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}

/// EINVAL because of an unknown parameter stays a bare errno; any other reason
/// the kernel gives is worth more than a second try.
fn with_errno_kept(context: &OwnedFd) -> io::Error {
    let error = with_kernel_words(context, Errno::INVAL);
    let text = error.to_string();
    let unknown = text.contains("Unknown parameter") || text.contains("lowerdir+");
    let wordless = error.raw_os_error().is_some();
    if unknown || wordless { Errno::INVAL.into() } else { error }
}

/// mount(2) with all layers in one string of at most a page. Layers are named
/// by descriptor, some 20 bytes each: room for docker's 125.
fn overlay_by_string(
    layers: &[OwnedFd],
    upper: &OwnedFd,
    work: &OwnedFd,
    mountpoint: &Path,
) -> io::Result<OwnedFd> {
    let names: Vec<String> = layers.iter().map(|fd| fd_path(fd).display().to_string()).collect();
    let data = format!(
        "lowerdir={},upperdir={},workdir={}",
        names.join(":"),
        fd_path(upper).display(),
        fd_path(work).display()
    );
    let data = std::ffi::CString::new(data)?;
    mount("overlay", mountpoint, "overlay", MountFlags::empty(), data.as_c_str())?;
    // Detached again, so that both ways give the caller the same thing.
    let attached = rustix::fs::open(mountpoint, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let detached = clone_of(attached.as_fd(), false)?;
    unmount(mountpoint, UnmountFlags::DETACH)?;
    Ok(detached)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // fixtures
mod tests {
    use super::*;

    /// What an older kernel gets, with as many layers as docker allows.
    #[test]
    fn an_overlay_can_be_mounted_in_one_string() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        // Of this thread only: each test has its own.
        rcnt_base::sys::child::unshare_namespaces(rustix::thread::UnshareFlags::NEWNS).unwrap();
        cut_off().unwrap();
        let dir = tempfile::tempdir().unwrap();
        mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), None).unwrap();
        let made = |name: &str| {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
            open_dir(&dir.path().join(name)).unwrap()
        };
        let layers: Vec<_> = (0..125).map(|n| made(&format!("l{n}"))).collect();
        std::fs::write(dir.path().join("l0/file"), "top").unwrap();
        std::fs::write(dir.path().join("l124/file"), "bottom").unwrap();
        std::fs::write(dir.path().join("l124/below"), "seen").unwrap();
        let (upper, work, _) = (made("upper"), made("work"), made("at"));
        let at = dir.path().join("at");
        let overlay = overlay_by_string(&layers, &upper, &work, &at).unwrap();
        let read = |name| {
            let flags = OFlags::RDONLY;
            let file = rustix::fs::openat(&overlay, name, flags, Mode::empty()).unwrap();
            std::io::read_to_string(std::fs::File::from(file)).unwrap()
        };
        assert_eq!((read("file"), read("below")), ("top".into(), "seen".into()));
        assert_eq!(std::fs::read_dir(&at).unwrap().count(), 0, "it is detached");
        unmount(dir.path(), UnmountFlags::DETACH).unwrap();
    }
}
