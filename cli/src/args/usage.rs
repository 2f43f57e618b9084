//! Complaints about the command line, in docker's words and with docker's exit
//! codes: 125 for a flag that is wrong, 1 for a command that is not known or
//! takes another number of words.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::verbs::{Arity, GROUPS, Group, Member, VERBS, Verb};
use crate::failure::Failure;

/// Whose words are complained about.
pub(super) struct Named {
    /// "rcnt container ls".
    pub(super) path: String,
    /// What its usage line says after that.
    pub(super) usage: &'static str,
    /// How many words it takes; `None` for rcnt itself.
    pub(super) arity: Option<Arity>,
}

impl Named {
    /// rcnt without a command.
    pub(super) fn root() -> Self {
        Self { path: "rcnt".to_owned(), usage: "[OPTIONS] COMMAND [ARG...]", arity: None }
    }

    fn usage_hint(&self) -> String {
        format!("usage: {} {}; see '{0} --help'", self.path, self.usage)
    }
}

/// What clap's error means.
pub(super) enum Complaint {
    /// `--help`: no error at all.
    Help,
    /// To be printed.
    Failure(Failure),
}

/// clap's error in docker's words.
pub(super) fn translate(error: &clap::Error, name: &Named) -> Complaint {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let arg = context(ContextKind::InvalidArg);
    let flag = arg.split([' ', '=', '[']).next().unwrap_or(&arg).to_owned();
    let failure = match error.kind() {
        ErrorKind::DisplayHelp => return Complaint::Help,
        ErrorKind::UnknownArgument if !arg.starts_with('-') || arg == "-" => wrong_count(name),
        ErrorKind::UnknownArgument => {
            let failure = Failure::runtime(match arg.strip_prefix("--") {
                Some(_) => format!("unknown flag: {flag}"),
                None => format!("unknown shorthand flag: '{}'", arg.trim_start_matches('-')),
            });
            match context(ContextKind::SuggestedArg) {
                near if near.starts_with("--") => failure.hint(format!("did you mean {near}?")),
                _ => failure.hint(name.usage_hint()),
            }
        }
        ErrorKind::MissingRequiredArgument => wrong_count(name),
        ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues if !flag.starts_with('-') => {
            wrong_count(name)
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = context(ContextKind::InvalidValue);
            if value.is_empty() {
                Failure::runtime(format!("flag needs an argument: {flag}")).hint(name.usage_hint())
            } else {
                invalid_value(error, &flag, &value).hint(name.usage_hint())
            }
        }
        _ => Failure::runtime(first_line(error)).hint(name.usage_hint()),
    };
    Complaint::Failure(failure)
}

fn invalid_value(error: &clap::Error, flag: &str, value: &str) -> Failure {
    let why = std::error::Error::source(error).map(|why| format!(": {why}")).unwrap_or_default();
    if flag.starts_with('-') {
        Failure::runtime(format!("invalid argument \"{value}\" for \"{flag}\" flag{why}"))
    } else {
        Failure::general(format!("invalid argument \"{value}\"{why}"))
    }
}

/// clap's own words, for what docker has none.
fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// docker's wording of cobra's argument checks.
fn wrong_count(name: &Named) -> Failure {
    let plural = |n: usize| if n == 1 { "argument" } else { "arguments" };
    let path = &name.path;
    let line = match name.arity.unwrap_or((1, None)) {
        (0, Some(0)) => format!("'{path}' accepts no arguments"),
        (0, Some(max)) => format!("'{path}' requires at most {max} {}", plural(max)),
        (min, None) => format!("'{path}' requires at least {min} {}", plural(min)),
        (min, Some(max)) if min == max => format!("'{path}' requires {min} {}", plural(min)),
        (min, Some(max)) => {
            format!("'{path}' requires at least {min} and at most {max} arguments")
        }
    };
    Failure::general(line).hint(name.usage_hint())
}

/// The top-level command of this name.
pub(super) fn find_verb(name: &str) -> Result<&'static Verb, Failure> {
    VERBS.iter().copied().find(|verb| verb.name == name).ok_or_else(|| {
        let known = VERBS.iter().map(|verb| verb.name).chain(GROUPS.iter().map(|g| g.name));
        unknown_command("rcnt", name, known)
    })
}

/// The command of this name within `group`.
pub(super) fn find_member(group: &'static Group, name: &str) -> Result<&'static Member, Failure> {
    let called = |member: &&Member| member.name == name || member.aliases.contains(&name);
    group.members.iter().find(called).ok_or_else(|| {
        let known = group.members.iter().map(|member| member.name);
        unknown_command(&format!("rcnt {}", group.name), name, known)
    })
}

fn unknown_command(path: &str, name: &str, known: impl Iterator<Item = &'static str>) -> Failure {
    let failure = Failure::general(format!("unknown command: {path} {name}"));
    // Jaro-Winkler above 0.8 is what clap itself holds to be near.
    let near = known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(nearness, _)| *nearness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match near {
        Some((_, near)) => failure.hint(format!("did you mean '{path} {near}'?")),
        None => failure.hint(format!("see '{path} --help' for the commands there are")),
    }
}
