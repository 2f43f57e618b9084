//! From a fork of the CLI to a running command: leave the user's session, take
//! the streams, clone, connect the network, say "go".

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rcnt_base::report::{ExitKind, StartError};
use rcnt_base::sys::signals::{self, SignalFd};
use rcnt_base::trace::Step;
use rcnt_netstack::apply;
use rcnt_netstack::dns::Resolver;
use rcnt_netstack::sysctl::ProcSys;
use rcnt_runtime::spawn::{self, ChildIo, Init};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, pidfd_send_signal};

use super::Launch;
use super::clients::Clients;
use super::log::LogWriter;
use super::serve::Running;
use super::streams::Streams;
use crate::links;
use crate::plan::inside;

/// What a supervisor answers to; all else does to it what it does by default.
const SIGNALS: [i32; 4] = [1, 2, 3, 15];

fn failed(stage: &str, what: &str, source: io::Error) -> StartError {
    let error = io::Error::new(source.kind(), format!("{what}: {source}"));
    StartError::new(stage, ExitKind::Runtime, &error)
}

/// Starts the container.
///
/// # Errors
/// The step that failed; whatever was made is in the launch's journal.
pub(super) fn start(launch: &Launch, clients: &mut Clients) -> Result<Running, StartError> {
    leave_session(launch).map_err(|e| failed("supervisor", "cannot leave the session", e))?;
    signals::set_blocked(&SIGNALS)
        .and_then(|_| SignalFd::new(&SIGNALS))
        .map_err(|e| failed("supervisor", "cannot watch signals", e))
        .and_then(|signals| start_command(launch, clients, signals))
}

/// A session of its own: the terminal's hang-up is not ours. Warnings about the
/// start, and what `--debug` says of it, still go to the CLI's stderr.
fn leave_session(launch: &Launch) -> io::Result<()> {
    let _ = rustix::process::setsid();
    // Shown by ps and top, and to whoever asks who holds a port.
    let title: String = format!("rcnt: {}", launch.container.name).chars().take(15).collect();
    if let Ok(title) = std::ffi::CString::new(title) {
        rustix::thread::set_name(&title)?;
    }
    rustix::process::chdir("/")?;
    let null = null()?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(())
}

/// Neither reads nor writes anything of whoever started this process.
///
/// # Errors
/// There is no /dev/null.
pub(crate) fn let_go_of_streams() -> io::Result<()> {
    let null = null()?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(rustix::stdio::dup2_stderr(&null)?)
}

/// From here on nobody listens.
pub(super) fn let_go_of_stderr() {
    if let Ok(null) = null() {
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

fn null() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

fn start_command(
    launch: &Launch,
    clients: &mut Clients,
    signals: SignalFd,
) -> Result<Running, StartError> {
    let request = &launch.container.record.request;
    let (io, ours) = streams(launch).map_err(|e| failed("supervisor", "cannot make pipes", e))?;
    let alone = launch.networks.is_empty();
    let mut configure = || inside(alone, &launch.plan);
    let mut init = {
        let _step = Step::new("clone");
        spawn::spawn(&launch.plan, io, &mut configure)
            .map_err(|e| StartError::new("clone", ExitKind::Runtime, &e))?
    };
    clients
        .listen(&launch.paths.run(&launch.container.id))
        .map_err(|e| failed("supervisor", "cannot listen for clients", e))?;
    let go = |init: &Init| {
        init.network_ready().map_err(|e| failed("network", "cannot tell init to go on", e))
    };
    let connected = connect(launch, &init).and_then(|names| go(&init).map(|()| names));
    let names = match connected {
        Ok(names) => names,
        Err(error) => return Err(end(&mut init, error)),
    };
    let step = Step::new("wait for exec");
    let started = init.wait_started();
    drop(step);
    let started = started.inspect_err(|_| reap(&init))?;
    let streams = match started.terminal {
        Some(master) => Streams::terminal(master, request.interactive),
        None => ours,
    }
    .map_err(|e| failed("supervisor", "cannot use the streams", e))?;
    let log = LogWriter::open(launch.paths.log(&launch.container.id));
    Ok(Running { init, streams, log, signals, names })
}

/// Connects the new network namespace to its bridges while init mounts; on networks
/// with names, its resolver listens before the command can ask.
fn connect(launch: &Launch, init: &Init) -> Result<Option<Resolver>, StartError> {
    if launch.networks.is_empty() {
        return Ok(None);
    }
    let _step = Step::new("attach network");
    let netns =
        init.netns().map_err(|e| failed("network", "cannot open the network namespace", e))?;
    let sysctls = ProcSys::open().map_err(|e| failed("network", "cannot use /proc/sys", e))?;
    let mut rules_were_lost = false;
    for network in &launch.networks {
        let attached = apply::attach(network, netns.as_fd(), &sysctls)
            .map_err(|e| StartError::new("network", ExitKind::Runtime, &e))?;
        rules_were_lost |= attached.rules_were_lost;
        for chain in &attached.closed {
            ::log::warn!("{}", chain.advice());
        }
        if !attached.forwarding.is_empty() {
            crate::repair::note_forwarding(&launch.paths, &attached.forwarding);
        }
    }
    links::open(&launch.paths, &launch.container, &launch.journal.passages)
        .map_err(|e| StartError::new("network", ExitKind::Runtime, &e))?;
    if rules_were_lost {
        crate::repair::publish_again(&launch.paths, Some(&launch.container.id));
    }
    let Some(names) = launch.names.clone() else { return Ok(None) };
    let _step = Step::new("open resolver");
    let resolver = Resolver::open(names, netns);
    resolver.map(Some).map_err(|e| StartError::new("network", ExitKind::Runtime, &e))
}

/// Ends an init that cannot go on. If it had ended by itself its own reason is
/// the better one.
fn end(init: &mut Init, error: StartError) -> StartError {
    let _ = pidfd_send_signal(init.pidfd(), Signal::KILL);
    let told = init.last_words();
    reap(init);
    told.unwrap_or(error)
}

/// The failed init is our child: no zombie may stay behind.
fn reap(init: &Init) {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let _ = waitid(WaitId::PidFd(init.pidfd()), WaitIdOptions::EXITED);
}

type Made = (ChildIo, io::Result<Streams>);

/// The command's side and ours of its streams. Those of a terminal come back
/// from init instead.
fn streams(launch: &Launch) -> io::Result<Made> {
    let request = &launch.container.record.request;
    if request.tty {
        let none = Err(io::Error::other("the terminal did not arrive"));
        return Ok((ChildIo::Terminal { size: launch.size, bare_newlines: false }, none));
    }
    let (stdout, stdout_child) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, stderr_child) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stdin_child, stdin) = match request.interactive {
        true => pipe_with(PipeFlags::CLOEXEC).map(|(read, write)| (Some(read), Some(write)))?,
        false => (None, None),
    };
    let io = ChildIo::Pipes { stdin: stdin_child, stdout: stdout_child, stderr: stderr_child };
    Ok((io, Streams::pipes(stdin, stdout, stderr)))
}
