//! `rcnt-oci`: an OCI runtime with runc's command line. Bundles become a
//! [`rcnt_runtime::plan::ContainerPlan`]; everything after that is the library
//! that `rcnt` uses too. No images, no network configuration.
//!
//! - `args`      the command line; `usage` what is wrong with one
//! - `container` create
//! - `start` `run` `kill` `delete` `pause` `exec` `list` (and state) `ps` `spec` `events`
//!   `update`  a command each
//! - `checkpoint` `restore`  by CRIU; `criu_args` what they have in common
//! - `state`     what is kept between calls
//! - `console`   foreground commands; `handover` what a caller gets of a process
//! - `shares`    groups of Intel RDT
//! - `pages`     manual pages and completions
//! - `error` `log`  why a command failed; warnings and steps
#![forbid(unsafe_code)]

mod args;
mod checkpoint;
mod console;
mod container;
mod criu_args;
mod delete;
mod error;
mod events;
mod exec;
mod handover;
mod kill;
mod list;
mod log;
mod pages;
mod pause;
mod ps;
mod restore;
mod run;
mod shares;
mod spec;
mod start;
mod state;
mod update;
mod usage;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::FromArgMatches;
use rcnt_base::report::chain;
use rcnt_runtime::oci::{self, CgroupDriver};

use args::{Cli, Command, DEFAULT_ROOT};
pub(crate) use error::Error;

/// What runc ends with when `exec` could not start anything: a code that the
/// command itself hardly gives.
const EXEC_FAILED: u8 = 255;

fn main() -> ExitCode {
    let command = usage::command_of(std::env::args_os().skip(1));
    let failed = |text: &str| {
        log::error(text);
        let exec = command.as_deref() == Some("exec");
        ExitCode::from(if exec { EXEC_FAILED } else { 1 })
    };
    if let Err(error) = seal(command.as_deref()) {
        return failed(&chain(&error));
    }
    let parsed = args::tree().try_get_matches();
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => match usage::explain(&error, command.as_deref()) {
            Some(text) => return failed(&text),
            None => {
                return print(&error.render().to_string())
                    .map_or(ExitCode::FAILURE, ExitCode::from);
            }
        },
    };
    match log::begin(&cli).map_err(Error::io("open the log")).and_then(|()| dispatch(&cli)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => failed(&chain(&error)),
    }
}

/// What did not stop a command but should be known.
pub(crate) fn warn(error: &dyn std::error::Error) {
    ::log::warn!("{error}");
}

fn dispatch(cli: &Cli) -> Result<u8, Error> {
    if cli.version {
        return print(&version());
    }
    let Some(command) = &cli.command else {
        return print(&args::tree().render_help().to_string());
    };
    refuse_rootless(&cli.rootless)?;
    let root = &root_of(cli.root.as_deref())?;
    let driver = if cli.systemd_cgroup { CgroupDriver::Systemd } else { CgroupDriver::Files };
    match command {
        Command::Create(args) => {
            let created = container::create(root, args, driver, true);
            drop(created.map_err(Error::while_starting("create"))?);
        }
        Command::Run(args) => return run::run(root, args, driver),
        Command::Exec(args) => return exec::exec(root, args),
        Command::Start(target) => start::start(root, &target.id)?,
        Command::State(target) => return list::state(root, &target.id),
        Command::Kill(args) => kill::kill(root, args)?,
        Command::Delete(args) => delete::delete(root, args)?,
        Command::List(args) => return list::list(root, cli.root.is_some(), args),
        Command::Spec(args) => spec::write_spec(args)?,
        Command::Ps(args) => return ps::ps(root, args),
        Command::Pause(target) => pause::set_paused(root, &target.id, true)?,
        Command::Resume(target) => pause::set_paused(root, &target.id, false)?,
        Command::Events(args) => return events::events(root, args),
        Command::Update(args) => update::update(root, args)?,
        Command::Checkpoint(args) => checkpoint::checkpoint(root, args)?,
        Command::Restore(args) => return restore::restore(root, args, driver),
        Command::Completion { shell } => return pages::completion(*shell),
        Command::Man { directory } => return pages::manual(directory),
        Command::Features => return print(&format!("{:#}\n", oci::spec::features())),
    }
    Ok(0)
}

/// In the form that podman and containerd parse.
fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let commit = option_env!("RCNT_COMMIT").unwrap_or("unknown");
    format!("rcnt-oci version {version}\ncommit: {commit}\nspec: {}\n", oci::spec::OCI_VERSION)
}

/// As Go's strconv.ParseBool understands it, which is runc's.
fn refuse_rootless(text: &str) -> Result<(), Error> {
    match text {
        "" | "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(()),
        text if text.eq_ignore_ascii_case("auto") => Ok(()),
        "1" | "t" | "T" | "true" | "True" | "TRUE" => {
            Err(Error::Refused("--rootless true: rcnt-oci runs containers as root only".into()))
        }
        _ => Err(Error::Refused(format!("--rootless {text:?} is not true, false or auto"))),
    }
}

/// Where containers are kept, absolute.
fn root_of(given: Option<&Path>) -> Result<PathBuf, Error> {
    let Some(given) = given else { return Ok(DEFAULT_ROOT.into()) };
    let path = std::path::absolute(given).map_err(Error::io("find the working directory"))?;
    match path.parent() {
        None => Err(Error::Refused("Option --root argument should not be set to /".into())),
        Some(_) => Ok(path),
    }
}

/// For commands that make processes: before anything of the command line has
/// had an effect, since this program begins again.
fn seal(command: Option<&str>) -> Result<(), Error> {
    match command {
        Some("create" | "run" | "exec" | "restore") => {
            rcnt_base::sys::sealed::seal_self().map_err(Error::io("seal the own executable"))
        }
        _ => Ok(()),
    }
}

/// Writes to stdout.
pub(crate) fn print(text: &str) -> Result<u8, Error> {
    io::stdout().write_all(text.as_bytes()).map_err(Error::io("write to stdout"))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_absolute_and_not_the_file_system_s() {
        assert_eq!(root_of(None).unwrap(), Path::new(DEFAULT_ROOT));
        assert!(root_of(Some(Path::new("x"))).unwrap().is_absolute());
        assert!(root_of(Some(Path::new("/"))).is_err());
    }

    #[test]
    fn only_root_is_served() {
        assert!(["", "auto", "AUTO", "false", "0"].iter().all(|it| refuse_rootless(it).is_ok()));
        assert!(["true", "1", "yes"].iter().all(|it| refuse_rootless(it).is_err()));
    }
}
