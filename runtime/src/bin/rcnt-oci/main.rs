//! `rcnt-oci`: an OCI runtime with runc's command line. Bundles become a
//! [`rcnt_runtime::plan::ContainerPlan`]; everything after that is the library
//! that `rcnt` uses too. No images, no network configuration.
//!
//! - `args`      the command line
//! - `container` create, start, run, kill, delete, pause
//! - `exec`      further processes
//! - `state`     what is kept between calls
//! - `console`   foreground commands and terminals
//! - `hooks`     programs run at certain moments
#![forbid(unsafe_code)]

mod args;
mod console;
mod container;
mod exec;
mod hooks;
mod state;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use rcnt_base::report::{StartError, chain};
use rcnt_runtime::cgroup::{CgroupError, LayoutError};
use rcnt_runtime::oci;
use rcnt_runtime::spawn::SpawnError;

use args::{Cli, Command, Format, LogFormat};
use state::Directory;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Bundle(#[from] oci::OciError),
    #[error(transparent)]
    State(#[from] state::StateError),
    #[error(transparent)]
    Hook(#[from] hooks::HookError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error(transparent)]
    Start(StartError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("cannot {doing}")]
    Io {
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    Refused(String),
}

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
    let root = container::absolute(&cli.root)?;
    match command {
        Command::Create(args) => {
            seal()?;
            container::create(&root, args)?;
        }
        Command::Run(args) => {
            seal()?;
            return container::run(&root, args);
        }
        Command::Exec(args) => {
            seal()?;
            return exec::exec(&root, args);
        }
        Command::Start { id } => container::start(&root, id)?,
        Command::State { id } => return state(&root, id),
        Command::Kill { all, id, signal } => {
            let number = args::signal_number(signal)
                .ok_or_else(|| Error::Refused(format!("unknown signal {signal:?}")))?;
            container::kill(&root, id, number, *all)?;
        }
        Command::Delete { force, id } => container::delete(&root, id, *force)?,
        Command::List { format, quiet } => return list(&root, *format, *quiet),
        Command::Spec { bundle } => write_spec(bundle.as_deref().unwrap_or(Path::new(".")))?,
        Command::Ps { format, id } => return ps(&root, id, *format),
        Command::Pause { id } => container::set_paused(&root, id, true)?,
        Command::Resume { id } => container::set_paused(&root, id, false)?,
        Command::Features => return print(&format!("{:#}\n", oci::spec::features())),
    }
    Ok(0)
}

fn seal() -> Result<(), Error> {
    rcnt_base::sys::sealed::seal_self().map_err(Error::io("seal the own executable"))
}

fn print(text: &str) -> Result<u8, Error> {
    io::stdout().write_all(text.as_bytes()).map_err(Error::io("write to stdout"))?;
    Ok(0)
}

fn state(root: &Path, id: &str) -> Result<u8, Error> {
    let directory = Directory::of(root, id)?;
    let saved = directory.load()?;
    print(&format!("{:#}\n", saved.json(directory.status(&saved))))
}

fn list(root: &Path, format: Format, quiet: bool) -> Result<u8, Error> {
    let all = state::all(root).map_err(Error::io("list containers"))?;
    let states = all.iter().map(|(directory, saved)| (saved, directory.status(saved)));
    if quiet {
        return print(&states.map(|(saved, _)| format!("{}\n", saved.id)).collect::<String>());
    }
    if format == Format::Json {
        let array: Vec<_> = states.map(|(saved, status)| saved.json(status)).collect();
        return print(&format!("{}\n", serde_json::Value::from(array)));
    }
    let mut text = format!("{:32} {:>8} {:10} {:40} CREATED\n", "ID", "PID", "STATUS", "BUNDLE");
    for (saved, status) in states {
        let pid = if status == state::Status::Stopped { 0 } else { saved.pid };
        let bundle = saved.bundle.display().to_string();
        let created = &saved.created;
        text.push_str(&format!(
            "{:32} {pid:>8} {:10} {bundle:40} {created}\n",
            saved.id,
            status.word()
        ));
    }
    print(&text)
}

fn ps(root: &Path, id: &str, format: Format) -> Result<u8, Error> {
    let pids = container::pids(root, id)?;
    if format == Format::Json {
        return print(&format!("{}\n", serde_json::json!(pids)));
    }
    let mut text = format!("{:>8} COMMAND\n", "PID");
    for pid in pids {
        let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&bytes).replace('\0', " ");
        text.push_str(&format!("{pid:>8} {}\n", command.trim_end().escape_default()));
    }
    print(&text)
}

fn write_spec(bundle: &Path) -> Result<(), Error> {
    let path = bundle.join("config.json");
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    file.and_then(|mut file| {
        file.write_all(format!("{:#}\n", oci::spec::default_config()).as_bytes())
    })
    .map_err(Error::io("write config.json"))
}
