//! `rcnt-oci`: an OCI runtime with runc's command line. Bundles become a
//! [`rcnt_runtime::plan::ContainerPlan`]; everything after that is the library
//! that `rcnt` uses too. No images, no network configuration.
//!
//! - `args`      the command line
//! - `container` create
//! - `start` `run` `kill` `delete` `pause` `exec` `list` `ps` `spec`  a command each
//! - `checkpoint` `restore` `criu_args`  by CRIU
//! - `state`     what is kept between calls
//! - `console`   foreground commands and terminals
#![forbid(unsafe_code)]

mod args;
mod checkpoint;
mod console;
mod container;
mod criu_args;
mod delete;
mod error;
mod exec;
mod kill;
mod list;
mod pause;
mod ps;
mod restore;
mod run;
mod spec;
mod start;
mod state;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use rcnt_base::report::chain;
use rcnt_runtime::oci;

use args::{Cli, Command, LogFormat};
pub(crate) use error::Error;

fn main() -> ExitCode {
    let cli = Cli::parse();
    rcnt_base::trace::init(if cli.debug { log::LevelFilter::Debug } else { log::LevelFilter::Off });
    match dispatch(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let text = chain(&error);
            write_log(&cli, &text);
            let _ = writeln!(io::stderr(), "rcnt-oci: {text}");
            ExitCode::from(exit_code(&error))
        }
    }
}

/// runc's callers know 1; the finer codes are those of docker's command line,
/// which only `exec` and `run` have any use for.
fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Start(error) => error.kind.code().max(1),
        _ => 1,
    }
}

/// What did not stop a command but should be known.
pub(crate) fn warn(error: &dyn std::error::Error) {
    let _ = writeln!(io::stderr(), "rcnt-oci: warning: {error}");
}

/// containerd and podman read the reason of a failure from here.
fn write_log(cli: &Cli, text: &str) {
    let Some(path) = &cli.log else { return };
    let line = match cli.log_format {
        LogFormat::Text => format!("level=error msg={text:?}\n"),
        LogFormat::Json => format!("{}\n", serde_json::json!({"level": "error", "msg": text})),
    };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    // The error itself goes to stderr in any case.
    let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
}

fn dispatch(cli: &Cli) -> Result<u8, Error> {
    let Some(command) = &cli.command else {
        let version = env!("CARGO_PKG_VERSION");
        return print(&format!("rcnt-oci version {version}\nspec: {}\n", oci::spec::OCI_VERSION));
    };
    let root = absolute(&cli.root)?;
    match command {
        Command::Create(args) => {
            seal()?;
            container::create(&root, args)?;
        }
        Command::Run(args) => {
            seal()?;
            return run::run(&root, args);
        }
        Command::Exec(args) => {
            seal()?;
            return exec::exec(&root, args);
        }
        Command::Start { id } => start::start(&root, id)?,
        Command::State { id } => return list::state(&root, id),
        Command::Kill { all, id, signal } => {
            let number = args::signal_number(signal)
                .ok_or_else(|| Error::Refused(format!("unknown signal {signal:?}")))?;
            kill::kill(&root, id, number, *all)?;
        }
        Command::Delete { force, id } => delete::delete(&root, id, *force)?,
        Command::List { format, quiet } => return list::list(&root, *format, *quiet),
        Command::Spec { bundle } => spec::write_spec(bundle.as_deref().unwrap_or(Path::new(".")))?,
        Command::Ps { format, id } => return ps::ps(&root, id, *format),
        Command::Checkpoint(args) => checkpoint::checkpoint(&root, args)?,
        Command::Restore(args) => return restore::restore(&root, args),
        Command::Pause { id } => pause::set_paused(&root, id, true)?,
        Command::Resume { id } => pause::set_paused(&root, id, false)?,
        Command::Features => return print(&format!("{:#}\n", oci::spec::features())),
    }
    Ok(0)
}

fn seal() -> Result<(), Error> {
    rcnt_base::sys::sealed::seal_self().map_err(Error::io("seal the own executable"))
}

/// Writes to stdout.
pub(crate) fn print(text: &str) -> Result<u8, Error> {
    io::stdout().write_all(text.as_bytes()).map_err(Error::io("write to stdout"))?;
    Ok(0)
}

/// A path of the command line, absolute.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(Error::io("find the working directory"))
}
