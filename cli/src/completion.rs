//! Completion in bash, zsh and fish. The script that `rcnt completion` prints
//! asks rcnt itself at each Tab, so names of containers and images complete
//! as well as flags, and an upgrade needs no new script.

use std::ffi::{OsStr, OsString};

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use crate::args::help;
use crate::args::system::Shell;
use crate::commands::names;
use crate::failure::Failure;
use crate::render;

/// Set by the shells' scripts.
const VARIABLE: &str = "RCNT_COMPLETE";

/// Whether a shell asks for candidates.
pub(crate) fn requested() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

fn completer(shell: &OsStr) -> Option<&'static dyn EnvCompleter> {
    match shell.to_str()? {
        "bash" => Some(&Bash),
        "zsh" => Some(&Zsh),
        "fish" => Some(&Fish),
        _ => None,
    }
}

/// The script that makes `shell` ask rcnt.
///
/// # Errors
/// stdout is gone.
pub(crate) fn script(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    let Some(completer) = completer(OsStr::new(shell.name())) else {
        return Err(Failure::general("no completion for this shell"));
    };
    completer.write_registration(VARIABLE, "rcnt", "rcnt", "rcnt", &mut text)?;
    Ok(render::out(&String::from_utf8_lossy(&text))?)
}

/// Answers a shell: candidates for the words after `--`.
///
/// # Errors
/// stdout is gone.
pub(crate) fn answer() -> Result<u8, Failure> {
    let shell = std::env::var_os(VARIABLE).unwrap_or_default();
    let words: Vec<OsString> =
        std::env::args_os().skip_while(|word| word != "--").skip(1).collect();
    let Some(completer) = completer(&shell) else { return Ok(1) };
    let here = std::env::current_dir().ok();
    let mut text = Vec::new();
    let mut tree = with_names(help::tree());
    completer.write_complete(&mut tree, words, here.as_deref(), &mut text)?;
    render::out(&String::from_utf8_lossy(&text))?;
    Ok(0)
}

/// Lets the words of a command complete to the names of what they stand for,
/// or to the few words there are.
fn with_names(command: clap::Command) -> clap::Command {
    command.mut_subcommands(with_names).mut_args(|arg| {
        let names: fn() -> Vec<String> = match arg.get_id().as_str() {
            "container" | "containers" | "container_and_command" => names::containers,
            "from" | "to" => names::containers,
            "image" | "images" | "reference" | "image_and_command" => names::images,
            "targets" => names::containers_and_images,
            "attach" if arg.get_action().takes_values() => || words(&["stdin", "stdout", "stderr"]),
            "kind" => || words(&["container", "image"]),
            "log_level" => || words(&["trace", "debug", "info", "warn", "error", "off"]),
            "network" | "networks" => names::networks,
            "driver" => || words(&["bridge", "macvlan", "ipvlan"]),
            "pull" => || words(&["always", "missing", "never"]),
            "format" if arg.get_default_values().first().is_some_and(|v| v == "text") => {
                || words(&["text", "dot", "svg", "json"])
            }
            "shell" => || words(&["bash", "fish", "zsh"]),
            _ => return arg,
        };
        arg.add(ArgValueCompleter::new(move |typed: &OsStr| candidates(typed, names)))
    })
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn candidates(typed: &OsStr, names: fn() -> Vec<String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let names = names().into_iter().filter(|name| name.starts_with(typed.as_ref()));
    names.map(CompletionCandidate::new).collect()
}
