//! `run` and `create`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use rcnt_engine::images::pull::parse_platform;
use rcnt_engine::{Container, Engine, PullOptions, PullPolicy, RunArgs, StartMode};

use super::foreground::{Foreground, Wanted};
use crate::args::Global;
use crate::args::run::{RunFlags, RunOptions};
use crate::args::values::{AttachStream, PullChoice};
use crate::failure::{Failure, reason};
use crate::render::{self, progress};

/// `run`.
///
/// # Errors
/// Why the command does not run, with docker's exit codes.
pub(super) fn run(global: Global, flags: RunFlags) -> Result<u8, Failure> {
    let (args, options) = flags.split()?;
    let foreground = if args.detach { None } else { Some(foreground(&args, &options)?) };
    let (engine, container) = make(global, &args, &options)?;
    let start = |mode| {
        engine.run(&container, mode).map_err(|error| {
            if let Some(file) = &options.cidfile {
                // The container is gone again; its id would stop the next try.
                let _ = std::fs::remove_file(file);
            }
            Failure::starting(error)
        })
    };
    let Some(foreground) = foreground else {
        start(StartMode::Detached)?;
        render::out(&format!("{}\n", container.id))?;
        return Ok(0);
    };
    let mute = foreground.is_mute();
    foreground.run(|size| {
        let session = start(StartMode::Attached { size })?;
        if mute {
            // With only `-a stdin` there is nothing else to tell it by.
            render::out(&format!("{}\n", container.id))?;
        }
        Ok(session)
    })
}

/// `create`.
///
/// # Errors
/// Why there is no container, with docker's exit codes.
pub(super) fn create(global: Global, flags: RunFlags) -> Result<u8, Failure> {
    let (args, options) = flags.split()?;
    let (_, container) = make(global, &args, &options)?;
    render::out(&format!("{}\n", container.id))?;
    Ok(0)
}

fn foreground(args: &RunArgs, options: &RunOptions) -> Result<Foreground, Failure> {
    // Without -a: stdout and stderr, and stdin with -i.
    let all = options.attach.is_empty();
    let wanted = |stream| options.attach.contains(&stream);
    Foreground::prepare(&Wanted {
        stdin: args.interactive && (all || wanted(AttachStream::Stdin)),
        stdout: all || wanted(AttachStream::Stdout),
        stderr: all || wanted(AttachStream::Stderr),
        tty: args.tty,
        keys: options.detach_keys.as_deref(),
        proxy: options.sig_proxy,
    })
}

/// Creates the container, pulling its image if need be, and its `--cidfile`.
fn make(
    global: Global,
    args: &RunArgs,
    options: &RunOptions,
) -> Result<(Engine, Container), Failure> {
    let pull = PullOptions {
        policy: match options.pull {
            PullChoice::Always => PullPolicy::Always,
            PullChoice::Missing => PullPolicy::Missing,
            PullChoice::Never => PullPolicy::Never,
        },
        platform: match &options.platform {
            Some(text) => Some(parse_platform(text).map_err(|e| Failure::of(&e).code(125))?),
            None => None,
        },
    };
    if let Some(file) = options.cidfile.as_ref().filter(|file| file.exists()) {
        return Err(Failure::runtime(format!(
            "container ID file found, make sure the other container isn't running or delete {}",
            file.display()
        )));
    }
    let engine = super::open(global).map_err(|failure| failure.code(125))?;
    warn(args);
    let watch = progress::on_stderr(options.quiet);
    let container = engine.create(args, &pull, &watch).map_err(Failure::starting)?;
    watch.release();
    // Only now: a pull that is interrupted must leave no empty file.
    if let Some(file) = &options.cidfile
        && let Err(error) = write_id(file, &container)
    {
        let _ = engine.remove(&container, true, true);
        return Err(Failure::runtime(format!(
            "cannot create the container ID file {}: {}",
            file.display(),
            reason(&error)
        )));
    }
    Ok((engine, container))
}

/// What is asked for and will not be, in docker's words.
fn warn(args: &RunArgs) {
    if args.network.first().is_some_and(|n| n == "host")
        && (!args.publish.is_empty() || args.publish_all)
    {
        let text = "WARNING: Published ports are discarded when using host network mode\n";
        // Nothing sensible can be done when stderr is gone.
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

fn write_id(file: &Path, container: &Container) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(file)?;
    file.write_all(container.id.as_str().as_bytes())
}
