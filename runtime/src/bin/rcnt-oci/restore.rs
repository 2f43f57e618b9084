//! `restore`: makes a running container of images, by CRIU.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use clap::Args;
use rcnt_runtime::criu::{
    CgroupsMode, Event, Kind, Launch, Options, Place, Session, Stage, Streams, Version,
    cgroup_roots, plan, stream_names,
};
use rcnt_runtime::oci::{self, CgroupDriver, outside_hooks};
use rcnt_runtime::plan::{ContainerPlan, NamespaceKind};
use rcnt_runtime::{cgroup, hooks, loopback};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::PidfdFlags;

use crate::container::now;
use crate::criu_args::{CriuArgs, Directories, config_file, let_in, read_descriptors};
use crate::delete::erase_if_there;
use crate::handover::{Handover, Wishes};
use crate::state::{Directory, Saved, Status, start_time};
use crate::{Error, console, shares};

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    pub(crate) criu: CriuArgs,
    /// Directory with config.json, the working directory if not given
    #[arg(short, long, value_name = "DIR")]
    pub(crate) bundle: Option<PathBuf>,
    /// Unix socket that gets the terminal's master
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Where to write the pid of the first process
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Do not wait for its end
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Close established TCP connections
    #[arg(long)]
    pub(crate) tcp_close: bool,
    /// For runc's callers: the first process is a child of this one in any case
    #[arg(long)]
    pub(crate) no_subreaper: bool,
    /// For runc's callers: CRIU decides about this
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// Security profile of the restored processes
    #[arg(long, value_name = "TYPE:NAME")]
    pub(crate) lsm_profile: Option<String>,
    /// SELinux context of the restored mounts
    #[arg(long, value_name = "CONTEXT")]
    pub(crate) lsm_mount_context: Option<String>,
    /// The restored container's name
    pub(crate) id: String,
}

/// Restores, and unless detached waits and removes.
pub(crate) fn restore(root: &Path, args: &RestoreArgs, driver: CgroupDriver) -> Result<u8, Error> {
    let mut options = options(args)?;
    let directories = Directories::open(&args.criu, &mut options, false)?;
    let bundle = match &args.bundle {
        Some(path) => path.canonicalize(),
        None => std::env::current_dir(),
    };
    let bundle = bundle.map_err(Error::io("find the bundle"))?;
    let config = oci::read(&bundle)?;
    let plan = oci::plan(&args.id, &bundle, &config, driver)?;
    let wishes = Wishes {
        console_socket: args.console_socket.as_deref(),
        pid_file: args.pid_file.as_deref(),
        detach: args.detach,
        ..Wishes::default()
    };
    let intel_rdt = shares::planned(&plan)?;
    let handover = Handover::prepare(&wishes, plan.process.terminal)?;
    let signals = (!args.detach)
        .then(|| console::hold_signals().map_err(Error::io("block signals")))
        .transpose()?;
    let directory = Directory::of(root, &args.id)?;
    let lock = directory.claim()?;
    let saved = Saved {
        id: args.id.clone(),
        bundle,
        pid: 0,
        start_time: 0,
        created: now(),
        cgroup: plan.cgroup.clone(),
        intel_rdt,
        no_new_keyring: false,
        descriptors: stream_names(),
        config,
    };
    // Before there is anything to be found by it.
    directory.save(&saved)?;
    let mut restoring =
        Restoring { args, handover, plan, directory, saved, terminal: None, has_cgroup: false };
    let restored = restoring.run(options, &directories);
    let Restoring { directory, saved, terminal, has_cgroup, .. } = restoring;
    if let Err(error) = restored {
        // The first error is the one worth telling. Deleted by force meanwhile: the
        // id may be somebody else's now.
        if !lock.is_void() {
            let _ = undo(&directory, &saved, has_cgroup);
        }
        return Err(error);
    }
    drop(lock);
    let Some(signals) = signals else { return Ok(0) };
    let ended = saved
        .pid()
        .and_then(|pid| {
            let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
            console::attend(pid, pidfd.as_fd(), &signals, terminal)
        })
        .map_err(Error::io("wait for the container"));
    erase_if_there(&directory, &saved)?;
    ended
}

fn options(args: &RestoreArgs) -> Result<Options, Error> {
    Ok(Options {
        tcp_close: args.tcp_close,
        lsm_profile: args.lsm_profile.clone(),
        lsm_mount_context: args.lsm_mount_context.clone(),
        ..args.criu.options("restore.log")?
    })
}

/// Processes, cgroup and state of what could not be restored. A cgroup that is not
/// ours yet may be somebody else's, with all that is in it.
fn undo(directory: &Directory, saved: &Saved, has_cgroup: bool) -> Result<(), Error> {
    if has_cgroup {
        let layout = cgroup::layout_of(&saved.cgroup)?;
        cgroup::kill_all(&layout, &saved.cgroup.path)?;
        cgroup::destroy(&layout, &saved.cgroup)?;
    }
    shares::remove(saved.intel_rdt.as_ref())?;
    Ok(directory.remove()?)
}

/// A container that is becoming one again.
struct Restoring<'a> {
    args: &'a RestoreArgs,
    handover: Handover,
    plan: ContainerPlan,
    directory: Directory,
    saved: Saved,
    terminal: Option<OwnedFd>,
    has_cgroup: bool,
}

impl Restoring<'_> {
    fn run(&mut self, mut options: Options, directories: &Directories) -> Result<(), Error> {
        for (fd, name) in read_descriptors(&directories.images)?.into_iter().enumerate().take(3) {
            // Pipes are the caller's new ones now; everything else has a path.
            if name.contains("pipe:") {
                options.inherit_fd.push((name, i32::try_from(fd).unwrap_or_default()));
            }
        }
        let_in(&directories.images, &self.plan.namespaces)?;
        options.config_file = config_file(&self.saved);
        let layout = cgroup::layout_of(&self.plan.cgroup)?;
        shares::make(&self.plan, &self.saved)?;
        shares::enter_self(&self.saved)?;
        let handles = cgroup::create(&layout, &self.plan.cgroup)?;
        self.has_cgroup = true;
        let namespaces = open_namespaces(&self.plan)?;
        let at = self.directory.criu_root();
        std::fs::create_dir(&at).map_err(Error::io("create the place for the root"))?;
        let streams = if self.plan.process.terminal { Streams::Null } else { Streams::Own };
        let (kinds, fds): (Vec<_>, Vec<_>) = namespaces.into_iter().unzip();
        let stage = Stage::enter(&self.plan, &at)?;
        // Again, as seen from there: CRIU mounts in the one it works in.
        let _directories = Directories::open(&self.args.criu, &mut options, false)?;
        let place = Place {
            cgroup: &handles,
            cgroup_namespace: self.needs_cgroup_namespace(options.cgroups_mode),
        };
        let launch = Launch { streams, inherited: &fds, place: Some(place) };
        let session = Session::start(&launch)?;
        drop(stage);
        self.check(&session)?;
        options.cgroup_roots = cgroup_roots(session.pid())?;
        let inherited: Vec<_> = kinds.into_iter().zip(fds.iter().map(AsRawFd::as_raw_fd)).collect();
        plan::restore(&mut options, &self.plan, &layout, &at, &inherited);
        let log = &directories.log;
        session.run(Kind::Restore, &options, log, &mut |event| self.on_event(event))?;
        std::fs::remove_dir(&at).map_err(Error::io("remove the place of the root"))?;
        self.handover.write_pid(self.saved.pid)
    }

    /// CRIU makes one unless it is to leave cgroups alone: then the processes are
    /// restored into its own, and would see all of the host's.
    fn needs_cgroup_namespace(&self, mode: CgroupsMode) -> bool {
        let new = self.plan.namespaces.new.contains(&NamespaceKind::Cgroup);
        new && mode == CgroupsMode::Ignore
    }

    fn check(&self, session: &Session) -> Result<(), Error> {
        let needed = Version(3_16_00);
        if self.args.lsm_profile.is_some() {
            session.require("--lsm-profile", needed)?;
        }
        if self.args.lsm_mount_context.is_some() {
            session.require("--lsm-mount-context", needed)?;
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::SetupNamespaces { pid } => self.set_up(pid),
            Event::PostRestore { pid } => {
                self.saved.pid = pid;
                self.saved.start_time = start_time(pid).unwrap_or(0);
                Ok(self.directory.save(&self.saved)?)
            }
            Event::Terminal(master) => {
                self.terminal = self.handover.send_terminal(master)?;
                Ok(())
            }
            Event::PostDump | Event::StatusReady => Ok(()),
        }
    }

    /// What a start does for the namespaces of `pid` too.
    fn set_up(&mut self, pid: i32) -> Result<(), Error> {
        if self.plan.namespaces.new.contains(&NamespaceKind::Network) {
            loopback::up_in(pid).map_err(Error::io("bring up the loopback interface"))?;
        }
        let outside = outside_hooks(&self.saved.config)?;
        self.saved.pid = pid;
        let state = self.saved.json(Status::Created);
        hooks::run("prestart", &outside.prestart, &state, &[])?;
        let state = self.saved.json(Status::Creating);
        Ok(hooks::run("createRuntime", &outside.create_runtime, &state, &[])?)
    }
}

/// Those that stay outside of images, open.
fn open_namespaces(plan: &ContainerPlan) -> Result<Vec<(NamespaceKind, OwnedFd)>, Error> {
    let mut found = Vec::new();
    for kind in [NamespaceKind::Network, NamespaceKind::Pid] {
        let Some(path) = plan.namespaces.join.get(&kind) else { continue };
        let fd = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
            Error::Refused(format!(
                "requested namespace {} cannot be used: {}",
                path.display(),
                io::Error::from(errno)
            ))
        })?;
        found.push((kind, fd));
    }
    Ok(found)
}
