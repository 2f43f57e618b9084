//! A command line that makes no sense, in runc's words where scripts look for
//! them and with its exit code: 1, as for everything that fails.

use std::ffi::OsStr;

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Global options that take the next word as their value.
const WITH_VALUE: [&str; 4] = ["--root", "--log", "--log-format", "--rootless"];

/// The command's name among `words`, the command line without its own name.
pub(crate) fn command_of(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Option<String> {
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let word = word.as_ref().to_string_lossy();
        if WITH_VALUE.contains(&&*word) {
            words.next();
        } else if !word.starts_with('-') {
            return Some(word.into_owned());
        }
    }
    None
}

/// One line that says what is wrong with it; `None` when the error is a help text.
pub(crate) fn explain(error: &Error, command: Option<&str>) -> Option<String> {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => word.clone(),
        _ => String::new(),
    };
    Some(match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => return None,
        ErrorKind::UnknownArgument => match word(ContextKind::InvalidArg) {
            flag if flag.starts_with('-') => undefined(&flag),
            _ => count(command, true),
        },
        ErrorKind::MissingRequiredArgument => count(command, false),
        ErrorKind::InvalidSubcommand => {
            format!("No help topic for '{}': no such command", word(ContextKind::InvalidSubcommand))
        }
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.trim_start_matches("error: ").to_owned()
        }
    })
}

/// An option that the command does not have.
pub(crate) fn undefined(flag: &str) -> String {
    format!("flag provided but not defined: -{}", flag.trim_start_matches('-'))
}

/// How many arguments `command` takes.
fn count(command: Option<&str>, too_many: bool) -> String {
    let name = command.unwrap_or_default();
    match name {
        "list" | "spec" | "features" => format!("{name:?} requires exactly 0 argument(s)"),
        "kill" if too_many => format!("{name:?} requires a maximum of 2 argument(s)"),
        "kill" | "exec" | "ps" => format!("{name:?} requires a minimum of 1 argument(s)"),
        _ => format!("{name:?} requires exactly 1 argument(s)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::Parser;

    fn said(line: &str) -> String {
        let words: Vec<_> = line.split(' ').collect();
        let error = Cli::try_parse_from(&words).unwrap_err();
        explain(&error, command_of(&words[1..]).as_deref()).unwrap()
    }

    #[test]
    fn the_number_of_arguments_is_told_in_runcs_words() {
        assert_eq!(said("rcnt-oci create"), "\"create\" requires exactly 1 argument(s)");
        assert_eq!(
            said("rcnt-oci --root /r state a b"),
            "\"state\" requires exactly 1 argument(s)"
        );
        assert_eq!(said("rcnt-oci list a"), "\"list\" requires exactly 0 argument(s)");
        assert_eq!(said("rcnt-oci exec"), "\"exec\" requires a minimum of 1 argument(s)");
        assert_eq!(said("rcnt-oci kill a 9 b"), "\"kill\" requires a maximum of 2 argument(s)");
    }

    #[test]
    fn what_is_unknown_is_named() {
        assert_eq!(said("rcnt-oci run --bogus c"), "flag provided but not defined: -bogus");
        assert!(said("rcnt-oci frob").starts_with("No help topic for 'frob'"));
        assert!(said("rcnt-oci --log-format x list").contains("'x'"));
    }

    #[test]
    fn the_command_is_found_behind_the_options() {
        assert_eq!(
            command_of(["--log", "run", "--debug", "--root=/x", "exec"]),
            Some("exec".into())
        );
        assert_eq!(command_of(["--version"]), None);
    }
}
