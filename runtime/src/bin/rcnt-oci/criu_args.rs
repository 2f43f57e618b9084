//! What `checkpoint` and `restore` have in common: flags, directories, errors.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use rcnt_runtime::criu::{CgroupsMode, Options, plan};
use rcnt_runtime::plan::Namespaces;
use rustix::fs::{CWD, Gid, Mode, OFlags, fchmod, fchown, fstat, mkdirat, open};
use rustix::thread::UnshareFlags;

use crate::Error;
use crate::state::Saved;

/// In the directory of the images: what the container's streams were called.
pub(crate) const DESCRIPTORS: &str = "descriptors.json";

#[derive(Debug, Args)]
pub(crate) struct CriuArgs {
    /// Directory of CRIU's images, `checkpoint` if not given
    #[arg(long, value_name = "DIR")]
    pub(crate) image_path: Option<PathBuf>,
    /// Directory of CRIU's logs, that of the images if not given
    #[arg(long, value_name = "DIR")]
    pub(crate) work_path: Option<PathBuf>,
    /// With established TCP connections
    #[arg(long)]
    pub(crate) tcp_established: bool,
    /// With Unix sockets that are connected to others outside
    #[arg(long)]
    pub(crate) ext_unix_sk: bool,
    /// With a session whose leader is outside
    #[arg(long)]
    pub(crate) shell_job: bool,
    /// With file locks
    #[arg(long)]
    pub(crate) file_locks: bool,
    /// How cgroups are treated
    #[arg(long, value_name = "MODE")]
    pub(crate) manage_cgroups_mode: Option<ManageCgroups>,
    /// A namespace whose content is left out: only `network`, which always is
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) empty_ns: Vec<String>,
    /// Drop from earlier images what later ones have
    #[arg(long)]
    pub(crate) auto_dedup: bool,
    /// Bring memory when it is used
    #[arg(long)]
    pub(crate) lazy_pages: bool,
}

/// `--manage-cgroups-mode`
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ManageCgroups {
    Soft,
    Full,
    Strict,
    Ignore,
}

impl From<ManageCgroups> for CgroupsMode {
    fn from(mode: ManageCgroups) -> Self {
        match mode {
            ManageCgroups::Soft => CgroupsMode::Soft,
            ManageCgroups::Full => CgroupsMode::Full,
            ManageCgroups::Strict => CgroupsMode::Strict,
            ManageCgroups::Ignore => CgroupsMode::Ignore,
        }
    }
}

impl CriuArgs {
    /// What was asked for, as far as it is the same for both.
    pub(crate) fn options(&self, log_file: &'static str) -> Result<Options, Error> {
        if let Some(other) = self.empty_ns.iter().find(|name| *name != "network") {
            return Err(Error::Refused(format!("namespace {other:?} is not supported")));
        }
        Ok(Options {
            log_file,
            tcp_established: self.tcp_established,
            ext_unix_sk: self.ext_unix_sk,
            shell_job: self.shell_job,
            file_locks: self.file_locks,
            auto_dedup: self.auto_dedup,
            lazy_pages: self.lazy_pages,
            cgroups_mode: self.manage_cgroups_mode.map(Into::into).unwrap_or_default(),
            // Devices and addresses are made by whoever made the network, not here.
            empty_ns: UnshareFlags::NEWNET.bits(),
            ..Options::default()
        })
    }
}

/// The two directories of CRIU, open while it works.
pub(crate) struct Directories {
    pub(crate) images: PathBuf,
    /// Where its log is.
    pub(crate) log: PathBuf,
    _open: Vec<OwnedFd>,
}

impl Directories {
    /// Opens them for `options`; that for logs is made where missing, and with
    /// `make_images` the other one too.
    pub(crate) fn open(
        args: &CriuArgs,
        options: &mut Options,
        make_images: bool,
    ) -> Result<Self, Error> {
        let images = args.image_path.clone().unwrap_or_else(|| "checkpoint".into());
        let images = std::path::absolute(images).map_err(Error::io("find the images"))?;
        if make_images {
            rcnt_base::files::create_dirs(&images)
                .map_err(Error::io("create the directory of the images"))?;
        }
        let directory = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let images_fd = open(&images, directory, Mode::empty())
            .map_err(Error::errno("open the directory of the images"))?;
        options.images_dir_fd = images_fd.as_raw_fd();
        let mut all = vec![images_fd];
        let mut log = images.clone();
        if let Some(work) = &args.work_path {
            log = std::path::absolute(work).map_err(Error::io("find the work directory"))?;
            match mkdirat(CWD, &log, Mode::RWXU) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(errno) => return Err(Error::errno("create the work directory")(errno)),
            }
            let fd = open(&log, directory, Mode::empty())
                .map_err(Error::errno("open the work directory"))?;
            options.work_dir_fd = Some(fd.as_raw_fd());
            all.push(fd);
        }
        Ok(Self { images, log, _open: all })
    }
}

/// In a user namespace CRIU reads images as its root, who must get at them: the
/// directory is given to that group, unless everybody may search it anyway.
pub(crate) fn let_in(images: &Path, namespaces: &Namespaces) -> Result<(), Error> {
    let root = namespaces.gid_mappings.iter().find(|mapping| mapping.container == 0);
    let Some(root) = root.filter(|root| root.host != 0) else { return Ok(()) };
    let directory =
        open(images, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let changed = directory.and_then(|directory| {
        let mode = Mode::from_raw_mode(fstat(&directory)?.st_mode & 0o7777);
        if mode.contains(Mode::XOTH) {
            return Ok(());
        }
        fchown(&directory, None, Some(Gid::from_raw(root.host)))?;
        fchmod(&directory, mode | Mode::XGRP)
    });
    changed.map_err(Error::errno("open the images to the user namespace"))
}

/// More settings for CRIU, by the container's annotations.
pub(crate) fn config_file(saved: &Saved) -> Option<String> {
    let annotations = saved.config.annotations().as_ref();
    plan::config_file(annotations.and_then(|all| all.get("org.criu.config")).map(String::as_str))
}

/// The streams of a container, as its images call them.
pub(crate) fn read_descriptors(images: &Path) -> Result<Vec<String>, Error> {
    rcnt_base::files::read_json(&images.join(DESCRIPTORS))
        .map_err(Error::io("read descriptors.json of the images"))
}
