//! The standard streams: pipes, or a pty of the container's own devpts.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    FileType, Mode, OFlags, ResolveFlags, fcntl_getfl, fcntl_setfl, fstat, fstatfs, major, makedev,
    openat2,
};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, OutputModes, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use super::error::{Doing, InitError};
use super::fsapi::{attach, clone_of};
use super::root::{Links, Root};
use super::shed::Held;
use crate::spawn::WindowSize;

/// linux/magic.h
const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;
/// linux/magic.h; no path leads to what is on it.
const PIPEFS_MAGIC: u64 = 0x5049_5045;
/// linux/major.h: UNIX98_PTY_SLAVE_MAJOR and its seven successors.
const PTY_SLAVE_MAJORS: std::ops::RangeInclusive<u32> = 136..=143;
/// The null device, linux Documentation/admin-guide/devices.txt.
const NULL: (u32, u32) = (1, 3);
/// `/dev/ptmx` and each devpts' `ptmx`.
const PTMX: (u32, u32) = (5, 2);

/// The three streams, and the pty's master where they are one.
#[derive(Debug)]
pub(crate) struct Streams {
    streams: [OwnedFd; 3],
    /// To be handed to the parent.
    pub(crate) master: Option<OwnedFd>,
}

impl Streams {
    /// Takes what was held for the command, or opens a terminal: in the devpts
    /// `ours`, or in what is at `/dev/pts`, where that is not our doing.
    pub(crate) fn open(held: Held, root: &Root, ours: Option<&OwnedFd>) -> Result<Self, InitError> {
        match held {
            Held::Pipes(streams) => {
                let streams = streams.map(|stream| own_null(stream, root));
                Ok(Self { streams, master: None })
            }
            Held::Terminal { size, bare_newlines } => {
                let path = Path::new("/dev/pts");
                let found = match ours {
                    Some(_) => None,
                    None => Some(root.find(path, Links::Refuse).on("open", path)?),
                };
                let devpts = ours.or(found.as_ref());
                let devpts = devpts.ok_or(Errno::NOTTY).doing("find the container's devpts")?;
                let (master, slave) = open_pty(devpts, size).doing("open a terminal")?;
                if bare_newlines {
                    keep_newlines(&slave).doing("set up a terminal")?;
                }
                let again = || slave.try_clone().doing("open a terminal");
                Ok(Self { streams: [again()?, again()?, slave], master: Some(master) })
            }
        }
    }

    /// Becomes leader of a new session, with the terminal, if there is one, as
    /// its controlling terminal, and puts the streams at 0, 1, 2. Pipes and the
    /// pty come to belong to `uid`, which could not reopen them through
    /// `/dev/stdout` otherwise.
    pub(crate) fn install(&self, uid: u32) -> io::Result<()> {
        rustix::process::setsid()?;
        if self.master.is_some() {
            rustix::process::ioctl_tiocsctty(&self.streams[0])?;
        }
        for stream in &self.streams {
            if self.master.is_some() || is_anonymous_pipe(stream) {
                own(stream, uid)?;
            }
        }
        // Out of the way first: a stream may itself sit at 0, 1 or 2.
        let [stdin, stdout, stderr] = &self.streams;
        let (stdin, stdout, stderr) = (
            fcntl_dupfd_cloexec(stdin, 3)?,
            fcntl_dupfd_cloexec(stdout, 3)?,
            fcntl_dupfd_cloexec(stderr, 3)?,
        );
        rustix::stdio::dup2_stdin(&stdin)?;
        rustix::stdio::dup2_stdout(&stdout)?;
        Ok(rustix::stdio::dup2_stderr(&stderr)?)
    }
}

/// The container's null device in place of the host's: a file of the host's
/// would keep the container from being checkpointed. A container that has none
/// keeps what it was given.
fn own_null(stream: OwnedFd, root: &Root) -> OwnedFd {
    let is_null = |fd: &OwnedFd| {
        fstat(fd).is_ok_and(|s| {
            let kind = FileType::from_raw_mode(s.st_mode);
            kind == FileType::CharacterDevice && s.st_rdev == makedev(NULL.0, NULL.1)
        })
    };
    if !is_null(&stream) {
        return stream;
    }
    let opened = fcntl_getfl(&stream).map_err(io::Error::from).and_then(|flags| {
        // Whatever is there instead: opening it neither blocks nor gives a terminal.
        let flags = flags.intersection(OFlags::RWMODE) | OFlags::NOCTTY | OFlags::NONBLOCK;
        let null = root.open(Path::new("/dev/null"), flags, Links::Refuse)?;
        fcntl_setfl(&null, OFlags::empty())?;
        Ok(null)
    });
    opened.ok().filter(is_null).unwrap_or(stream)
}

/// For a pipe or a pty that was made for the container. Files, named pipes and
/// the caller's own terminal are somebody else's.
fn own(stream: &OwnedFd, uid: u32) -> io::Result<()> {
    if fstat(stream)?.st_uid == uid {
        return Ok(());
    }
    match rustix::fs::fchown(stream, Some(rustix::fs::Uid::from_raw(uid)), None) {
        // Somebody else's pipe after all, or a read-only one: it works as it is.
        Err(Errno::PERM | Errno::INVAL | Errno::ROFS) | Ok(()) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn is_devpts(handle: impl AsFd) -> bool {
    is_on(handle, DEVPTS_SUPER_MAGIC)
}

fn is_anonymous_pipe(handle: impl AsFd) -> bool {
    is_on(handle, PIPEFS_MAGIC)
}

fn is_on(handle: impl AsFd, magic: u64) -> bool {
    fstatfs(handle).is_ok_and(|s| u64::try_from(s.f_type).is_ok_and(|found| found == magic))
}

/// A new pty of exactly this devpts instance, its size set. Every descriptor is
/// checked to be what it should be: in exec the container has had the time to
/// put something else there (CVE-2025-52565).
/// termios(3), ONLCR
fn keep_newlines(terminal: &OwnedFd) -> io::Result<()> {
    let mut termios = tcgetattr(terminal)?;
    termios.output_modes.remove(OutputModes::ONLCR);
    Ok(tcsetattr(terminal, OptionalActions::Now, &termios)?)
}

fn open_pty(devpts: &OwnedFd, size: Option<WindowSize>) -> io::Result<(OwnedFd, OwnedFd)> {
    let not_a_pty = || io::Error::other("the container's /dev/pts is not what it should be");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let master = openat2(devpts, "ptmx", flags, Mode::empty(), resolve)?;
    let stat = fstat(&master)?;
    if !is_devpts(&master) || stat.st_rdev != rustix::fs::makedev(PTMX.0, PTMX.1) {
        return Err(not_a_pty());
    }
    rustix::fs::fcntl_setfl(&master, OFlags::empty())?;
    rustix::pty::unlockpt(&master)?;
    // By ioctl, not by name: names can be mounted over.
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    let stat = fstat(&slave)?;
    if !is_devpts(&slave) || !PTY_SLAVE_MAJORS.contains(&major(stat.st_rdev)) {
        return Err(not_a_pty());
    }
    let size = size.unwrap_or(WindowSize { rows: 24, columns: 80 });
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&slave, size)?;
    Ok((master, slave))
}

/// Makes the terminal the container's `/dev/console` too. With `own_dev` the
/// file to put it on is made; otherwise `/dev` is somebody's directory.
pub(crate) fn bind_console(root: &Root, streams: &Streams, own_dev: bool) -> Result<(), InitError> {
    if streams.master.is_none() {
        return Ok(());
    }
    let path = Path::new("/dev/console");
    let target = match root.find(path, Links::Refuse) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && !own_dev => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => root.ensure_file(path, Links::Refuse),
        found => found,
    }
    .on("create", path)?;
    let slave = clone_of(&streams.streams[0], false).on("bind the terminal to", path)?;
    attach(&slave, &target).on("bind the terminal to", path)
}
