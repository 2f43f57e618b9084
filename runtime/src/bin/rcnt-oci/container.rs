//! `create`: everything up to the container's command, which waits for `start`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rcnt_runtime::cgroup;
use rcnt_runtime::criu::stream_names;
use rcnt_runtime::hooks;
use rcnt_runtime::oci::{self, outside_hooks};
use rcnt_runtime::plan::{ContainerPlan, NamespaceKind};
use rcnt_runtime::shared_mounts;
use rcnt_runtime::spawn::{ChildIo, Init, WindowSize, spawn_gated};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};

use crate::args::CreateArgs;
use crate::state::{Directory, Saved, Status, start_time};
use crate::{Error, console};

/// Makes the container; its command waits for `start`.
pub(crate) fn create(root: &Path, args: &CreateArgs) -> Result<Created, Error> {
    let bundle = match &args.bundle {
        Some(path) => path.clone(),
        None => std::env::current_dir().map_err(Error::io("find the working directory"))?,
    };
    let bundle = bundle.canonicalize().map_err(Error::io("find the bundle"))?;
    let config = oci::read(&bundle)?;
    let plan = oci::plan(&args.id, &bundle, &config)?;
    let directory = Directory::of(root, &args.id)?;
    directory.claim()?;
    let saved = Saved {
        id: args.id.clone(),
        bundle,
        pid: 0,
        start_time: 0,
        created: now(),
        cgroup: plan.cgroup.path.clone(),
        paused: false,
        descriptors: stream_names(),
        config,
    };
    create_claimed(args, &plan, &directory, saved).inspect_err(|_| {
        // The first error is the one worth telling.
        let _ = cgroup::layout().map(|layout| cgroup::remove(&layout, &plan.cgroup.path));
        if !plan.namespaces.separate(NamespaceKind::Mount) {
            let _ = shared_mounts::release(&plan.rootfs.mountpoint);
        }
        let _ = directory.remove();
    })
}

/// A container whose command has not started.
pub(crate) struct Created {
    pub(crate) directory: Directory,
    pub(crate) saved: Saved,
    pub(crate) init: Init,
    pub(crate) terminal: Option<OwnedFd>,
}

fn create_claimed(
    args: &CreateArgs,
    plan: &ContainerPlan,
    directory: &Directory,
    mut saved: Saved,
) -> Result<Created, Error> {
    let fifo = directory.fifo();
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o622), 0)
        .and_then(|()| rustix::fs::chmod(&fifo, Mode::from_raw_mode(0o622)))
        .map_err(Error::errno("make the start FIFO"))?;
    let gate = open(&fifo, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::errno("open the start FIFO"))?;
    let io = io_of(plan, &saved)?;
    let mut init = spawn_gated(plan, io, &mut || Ok(()), gate)?;
    saved.pid = init.pid().as_raw_nonzero().get();
    saved.start_time = start_time(saved.pid).unwrap_or(0);
    let started = prepare(&mut init, &saved).inspect_err(|_| reap_failed(&init))?;
    directory.save(&saved)?;
    if let Some(path) = &args.pid_file {
        rcnt_base::files::write_atomic_mode(
            path,
            saved.pid.to_string().as_bytes(),
            0o644,
            rcnt_base::files::Durability::Volatile,
        )
        .map_err(Error::io("write the pid file"))?;
    }
    let mut terminal = started;
    if let (Some(master), Some(socket)) = (&terminal, &args.console_socket) {
        console::send(socket, master.as_fd()).map_err(Error::io("send the terminal"))?;
        terminal = None;
    }
    Ok(Created { directory: directory.clone(), saved, init, terminal })
}

/// Hooks while the container waits, then "go", then all up to exec.
fn prepare(init: &mut Init, saved: &Saved) -> Result<Option<OwnedFd>, Error> {
    let outside = outside_hooks(&saved.config)?;
    if !outside.prestart.is_empty() || !outside.create_runtime.is_empty() {
        init.wait_mounted()?;
        let state = saved.json(Status::Creating);
        hooks::run("prestart", &outside.prestart, &state, &[])?;
        hooks::run("createRuntime", &outside.create_runtime, &state, &[])?;
        // Gone means that it has failed, which it tells next.
        let _ = init.hooks_done();
    }
    let _ = init.network_ready();
    Ok(init.wait_ready()?.terminal)
}

/// Ends a first process that nobody will start.
pub(crate) fn reap_failed(init: &Init) {
    let _ = rustix::process::pidfd_send_signal(init.pidfd(), rustix::process::Signal::KILL);
    let _ = console::exit_code(init.pid());
}

/// Our own streams, or a terminal of the size the configuration says or ours has.
fn io_of(plan: &ContainerPlan, saved: &Saved) -> Result<ChildIo, Error> {
    if !plan.process.terminal {
        return own_streams();
    }
    let configured = saved.config.process().as_ref().and_then(|p| p.console_size);
    let small = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
    let configured =
        configured.map(|size| WindowSize { rows: small(size.height), columns: small(size.width) });
    Ok(ChildIo::Terminal { size: configured.or_else(console::own_size) })
}

/// Descriptors 0, 1 and 2, as duplicates.
pub(crate) fn own_streams() -> Result<ChildIo, Error> {
    let again =
        |fd| rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(Error::errno("pass on the streams"));
    Ok(ChildIo::Pipes {
        stdin: Some(again(rustix::stdio::stdin())?),
        stdout: again(rustix::stdio::stdout())?,
        stderr: again(rustix::stdio::stderr())?,
    })
}

/// UTC, RFC 3339.
pub(crate) fn now() -> String {
    let format = &time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::now_utc().format(format).unwrap_or_default()
}
