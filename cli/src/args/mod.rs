//! argv → [`Invocation`]. Nothing of the machine is touched but the environment
//! variables that stand for global flags.
//!
//! Parsing has two stages: the words before the command are read against the
//! global flags alone, then the one command named is built and reads the rest.
//! Building all commands would cost more than most of them take to run.

pub(crate) mod container;
pub(crate) mod help;
pub(crate) mod image;
pub(crate) mod look;
pub(crate) mod network;
pub(crate) mod run;
pub(crate) mod system;
#[cfg(test)]
mod tests;
pub(crate) mod usage;
pub(crate) mod values;
pub(crate) mod verbs;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, FromArgMatches};
use log::LevelFilter;
use rcnt_base::roots::{DEFAULT_CONFIG, DEFAULT_DATA_ROOT, DEFAULT_EXEC_ROOT, Roots};

pub(crate) use verbs::{Command, Verb};

use crate::failure::Failure;
use usage::{Complaint, Named};

/// What argv asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Invocation {
    /// Do this.
    Command(Global, Command),
    /// Print this (help, version) and be content. May hold ANSI styles.
    Print(String),
}

/// The flags before the command.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Global {
    /// `--data-root`, `--exec-root`.
    pub(crate) roots: Roots,
    /// `--config`, if given by flag or environment: then it must exist.
    pub(crate) config: Option<PathBuf>,
    /// `--debug`, `--log-level`.
    pub(crate) level: LevelFilter,
}

#[derive(Args, Debug)]
struct GlobalFlags {
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "RCNT_CONFIG", hide_env_values = true,
          help = format!("Configuration file (default {DEFAULT_CONFIG})"))]
    config: Option<PathBuf>,
    /// Images, container configurations, volumes and logs
    #[arg(long, value_name = "DIR", env = "RCNT_DATA_ROOT", hide_env_values = true,
          default_value = DEFAULT_DATA_ROOT)]
    data_root: PathBuf,
    /// What is gone at reboot: claims, sockets, run-time state
    #[arg(long, value_name = "DIR", env = "RCNT_EXEC_ROOT", hide_env_values = true,
          default_value = DEFAULT_EXEC_ROOT)]
    exec_root: PathBuf,
    /// Log every step and its time
    #[arg(short = 'D', long)]
    debug: bool,
    /// Set the logging level (trace, debug, info, warn, error, off)
    #[arg(short, long, value_name = "LEVEL", default_value = "warn", value_parser = level_value)]
    log_level: LevelFilter,
    /// Print version information and quit
    #[arg(short, long)]
    version: bool,
}

fn level_value(text: &str) -> Result<LevelFilter, String> {
    match text {
        // docker's word for "errors only".
        "fatal" => Ok(LevelFilter::Error),
        _ => text.parse().map_err(|_| "unknown level".to_owned()),
    }
}

/// The global flags alone; what follows the first word that is no flag is kept
/// as it stands.
pub(crate) fn global_parser() -> clap::Command {
    let root = GlobalFlags::augment_args(clap::Command::new("rcnt"));
    root.args_override_self(true).disable_help_subcommand(true).allow_external_subcommands(true)
}

/// Reads the command line, without its first word.
///
/// # Errors
/// What docker complains about: unknown commands and flags, values that are not
/// what they should be, too few or too many words.
pub(crate) fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Invocation, Failure> {
    let words = std::iter::once("rcnt".into()).chain(argv);
    let root = Named::root();
    let mut matches = match global_parser().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => return complain(error, &root, None),
    };
    let rest = matches.remove_subcommand();
    let flags = match GlobalFlags::from_arg_matches_mut(&mut matches) {
        Ok(flags) => flags,
        Err(error) => return complain(error, &root, None),
    };
    if flags.version {
        return Ok(Invocation::Print(format!("rcnt version {}\n", env!("CARGO_PKG_VERSION"))));
    }
    let global = Global {
        roots: Roots { data: flags.data_root, exec: flags.exec_root },
        config: flags.config,
        level: if flags.debug { flags.log_level.max(LevelFilter::Debug) } else { flags.log_level },
    };
    let Some((first, mut rest)) = rest else {
        return Ok(Invocation::Print(help::overview()));
    };
    let rest = rest.remove_many::<OsString>("").into_iter().flatten().collect();
    named(&first, rest, global)
}

/// Finds the command called `first`, within its group if it is one.
fn named(first: &str, rest: Vec<OsString>, global: Global) -> Result<Invocation, Failure> {
    if first == "help" {
        return help_of(&rest);
    }
    if let Some(group) = verbs::GROUPS.iter().find(|group| group.name == first) {
        let mut rest = rest.into_iter();
        let Some(second) = rest.next() else {
            return Ok(Invocation::Print(help::group(group)));
        };
        let second = second.to_string_lossy().into_owned();
        if matches!(second.as_str(), "--help" | "-h") {
            return Ok(Invocation::Print(help::group(group)));
        }
        let member = usage::find_member(group, &second)?;
        let path = format!("{} {}", group.name, member.name);
        return verb(member.verb, &path, rest.collect(), global);
    }
    verb(usage::find_verb(first)?, first, rest, global)
}

/// `rcnt help [COMMAND [COMMAND]]`.
fn help_of(words: &[OsString]) -> Result<Invocation, Failure> {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let text = match words.as_slice() {
        [] => help::overview(),
        [first, rest @ ..] => match verbs::GROUPS.iter().find(|group| group.name == *first) {
            Some(group) => match rest.first() {
                None => help::group(group),
                Some(second) => {
                    let member = usage::find_member(group, second)?;
                    help::verb(member.verb, &format!("{first} {}", member.name))
                }
            },
            None => help::verb(usage::find_verb(first)?, first),
        },
    };
    Ok(Invocation::Print(text))
}

/// Reads the words of one command.
fn verb(
    verb: &'static Verb,
    path: &str,
    rest: Vec<OsString>,
    global: Global,
) -> Result<Invocation, Failure> {
    let name = Named { path: format!("rcnt {path}"), usage: verb.usage, arity: Some(verb.arity) };
    let words = std::iter::once(path.into()).chain(rest);
    let mut matches = match verb.parser().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => return complain(error, &name, Some((verb, path))),
    };
    match verb.read(&mut matches) {
        Ok(command) => Ok(Invocation::Command(global, command)),
        Err(error) => complain(error, &name, Some((verb, path))),
    }
}

/// clap's verdict in docker's words; its request for help as help.
fn complain(
    error: clap::Error,
    name: &Named,
    verb: Option<(&'static Verb, &str)>,
) -> Result<Invocation, Failure> {
    match usage::translate(&error, name) {
        Complaint::Help => Ok(Invocation::Print(match verb {
            Some((verb, path)) => help::verb(verb, path),
            None => help::overview(),
        })),
        Complaint::Failure(failure) => Err(failure),
    }
}
