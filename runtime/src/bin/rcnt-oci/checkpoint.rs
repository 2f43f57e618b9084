//! `checkpoint`: writes a running container as images, by CRIU.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use clap::Args;
use rcnt_base::files::{Durability, write_json};
use rcnt_runtime::criu::plan;
use rcnt_runtime::criu::{
    CriuError, DumpFacts, Event, Kind, Launch, Options, Session, Streams, Version,
};
use rcnt_runtime::oci::CgroupDriver;
use rcnt_runtime::{cgroup, oci};
use rustix::fs::OFlags;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::Error;
use crate::criu_args::{CriuArgs, DESCRIPTORS, Directories, config_file};
use crate::delete::erase;
use crate::state::{Directory, Saved, Status};

#[derive(Debug, Args)]
pub(crate) struct CheckpointArgs {
    #[command(flatten)]
    pub(crate) criu: CriuArgs,
    /// Earlier images of a pre-dump, relative to the directory of the images
    #[arg(long, value_name = "DIR")]
    pub(crate) parent_path: Option<PathBuf>,
    /// The container goes on
    #[arg(long)]
    pub(crate) leave_running: bool,
    /// Without TCP connections that are being made
    #[arg(long)]
    pub(crate) tcp_skip_in_flight: bool,
    /// Give unlinked files a name again where possible
    #[arg(long)]
    pub(crate) link_remap: bool,
    /// Descriptor that gets a zero byte when lazy pages can be asked for
    #[arg(long, value_name = "FD")]
    pub(crate) status_fd: Option<i32>,
    /// Where memory is sent to
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) page_server: Option<String>,
    /// Only memory; the container goes on
    #[arg(long)]
    pub(crate) pre_dump: bool,
    /// Container
    pub(crate) id: String,
}

/// Writes the images, and removes the container unless it goes on.
pub(crate) fn checkpoint(root: &Path, args: &CheckpointArgs) -> Result<(), Error> {
    let directory = Directory::of(root, &args.id)?;
    let _lock = directory.lock_to_change()?;
    let saved = directory.load()?;
    let status = directory.status(&saved);
    if !matches!(status, Status::Running | Status::Paused) {
        let word = status.word();
        return Err(Error::Refused(format!("container cannot be checkpointed in {word} state")));
    }
    let mut options = options(args)?;
    let directories = Directories::open(&args.criu, &mut options, true)?;
    options.parent_image = parent(args, &directories.images)?;
    options.config_file = config_file(&saved);
    let ready = args.status_fd.filter(|_| args.criu.lazy_pages).map(status_fd).transpose()?;
    let mut plan = oci::plan(&saved.id, &saved.bundle, &saved.config, CgroupDriver::Files)?;
    plan.cgroup = saved.cgroup.clone();
    let layout = cgroup::layout_of(&plan.cgroup)?;
    let facts = DumpFacts::read(&plan, &layout, saved.pid)?;
    let mut session =
        Session::start(&Launch { streams: Streams::Null, inherited: &[], place: None })?;
    facts.check(session.version())?;
    check_features(args, &mut session)?;
    plan::dump(&mut options, &plan, &facts);
    if layout.v1_of("freezer").is_none() && session.version() < Version(3_14_00) {
        // It knows the v1 freezer only, and stops one process after the other then.
        options.freeze_cgroup = None;
    }
    if ready.is_some() && session.version() < Version(3_15_00) {
        options.status_fd = args.status_fd;
    }
    if !args.pre_dump {
        save_descriptors(&saved, &directories.images)?;
    }
    let kind = if args.pre_dump { Kind::PreDump } else { Kind::Dump };
    session.run(kind, &options, &directories.log, &mut |event| on_event(event, ready.as_ref()))?;
    if args.pre_dump || args.leave_running { Ok(()) } else { erase(&directory, &saved) }
}

fn options(args: &CheckpointArgs) -> Result<Options, Error> {
    Ok(Options {
        leave_running: args.leave_running,
        tcp_skip_in_flight: args.tcp_skip_in_flight,
        link_remap: args.link_remap,
        page_server: args.page_server.as_deref().map(address_and_port).transpose()?,
        ..args.criu.options("dump.log")?
    })
}

/// `1.2.3.4:5`, `[::1]:5`
fn address_and_port(text: &str) -> Result<(String, u16), Error> {
    let usage = || Error::Refused("Use --page-server ADDRESS:PORT to specify page server".into());
    let (address, port) = text.rsplit_once(':').ok_or_else(usage)?;
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if address.is_empty() || port.is_empty() {
        return Err(usage());
    }
    let port = port.parse().map_err(|_| Error::Refused("Invalid port number".into()))?;
    Ok((address.to_owned(), port))
}

/// CRIU makes a symbolic link of it, so that images can be moved together.
fn parent(args: &CheckpointArgs, images: &Path) -> Result<Option<PathBuf>, Error> {
    let Some(parent) = &args.parent_path else { return Ok(None) };
    if parent.is_absolute() {
        return Err(Error::Refused("--parent-path must be relative".into()));
    }
    match images.join(parent).metadata() {
        Ok(found) if found.is_dir() => Ok(Some(parent.clone())),
        Ok(_) => Err(Error::Refused(format!(
            "invalid --parent-path: {} is not a directory",
            parent.display()
        ))),
        Err(source) => Err(Error::Io { doing: "use --parent-path", source }),
    }
}

fn check_features(args: &CheckpointArgs, session: &mut Session) -> Result<(), Error> {
    if !args.pre_dump && !args.criu.lazy_pages {
        return Ok(());
    }
    let features = session.features()?;
    if args.pre_dump && !features.mem_track {
        return Err(CriuError::Unable { what: "MemTrack", check: "mem_dirty_track" }.into());
    }
    if args.criu.lazy_pages && !features.lazy_pages {
        return Err(CriuError::Unable { what: "LazyPages", check: "uffd-noncoop" }.into());
    }
    Ok(())
}

/// A duplicate of our own descriptor `number`, which must be open for writing.
fn status_fd(number: i32) -> Result<OwnedFd, Error> {
    let found = pidfd_open(getpid(), PidfdFlags::empty())
        .and_then(|own| pidfd_getfd(own, number, PidfdGetfdFlags::empty()));
    let fd = found.map_err(Error::errno("use --status-fd"))?;
    let flags = rustix::fs::fcntl_getfl(&fd).map_err(Error::errno("use --status-fd"))?;
    if flags.intersection(OFlags::RWMODE) == OFlags::RDONLY {
        let text = format!("invalid --status-fd argument {number}: not writable");
        return Err(Error::Refused(text));
    }
    Ok(fd)
}

fn save_descriptors(saved: &Saved, images: &Path) -> Result<(), Error> {
    write_json(&images.join(DESCRIPTORS), &saved.descriptors, Durability::Volatile)
        .map_err(Error::io("write descriptors.json to the images"))
}

fn on_event(event: Event, ready: Option<&OwnedFd>) -> Result<(), Error> {
    if let (Event::StatusReady, Some(fd)) = (event, ready) {
        rustix::io::write(fd, b"\0").map_err(Error::errno("write to --status-fd"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_servers_have_an_address_and_a_port() {
        let parse = |text| address_and_port(text).ok();
        assert_eq!(parse("1.2.3.4:5"), Some(("1.2.3.4".into(), 5)));
        assert_eq!(parse("[::1]:70"), Some(("::1".into(), 70)));
        for bad in ["", "host", "host:", ":5", "host:x", "host:70000"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
