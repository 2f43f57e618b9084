//! Help texts: rcnt's own, grouped by purpose; a command's, in docker's layout.
//! They carry ANSI styles; whoever prints them strips these where unwanted.

use std::fmt::Write;

use clap::builder::styling::{AnsiColor, Style, Styles};

use super::verbs::{GROUPS, Group, Purpose, VERBS, Verb};

const HEADING: Style = Style::new().bold().underline();
const WORD: Style = AnsiColor::Cyan.on_default();

/// In manual pages (docker-run(1) has the same codes).
const EXIT_STATUS: &str = "The exit status is that of the command run in the container, 128+N if \
signal N ended it; 125 if rcnt itself failed or a flag is wrong, 126 if the command cannot be \
invoked, 127 if it cannot be found. Every other command of rcnt exits with 1 when it fails.";

/// The styles of clap's part of a help text.
fn styles() -> Styles {
    Styles::plain().header(HEADING).literal(WORD)
}

const SECTIONS: &[(Purpose, &str)] = &[
    (Purpose::Run, "Run containers"),
    (Purpose::Look, "Look at containers"),
    (Purpose::Lifecycle, "Stop and start containers"),
    (Purpose::Images, "Images"),
    (Purpose::System, "rcnt itself"),
];

/// `rcnt --help`.
pub(super) fn overview() -> String {
    let mut text = format!(
        "{HEADING}Usage:{HEADING:#}  rcnt [OPTIONS] COMMAND\n\n{}\n",
        env!("CARGO_PKG_DESCRIPTION")
    );
    for (purpose, title) in SECTIONS {
        let verbs = VERBS.iter().filter(|verb| verb.purpose == *purpose);
        section(&mut text, title, verbs.map(|verb| (verb.name, verb.about)));
    }
    section(&mut text, "As docker groups them", GROUPS.iter().map(|g| (g.name, g.about)));
    let options = super::global_parser().styles(styles()).help_template("{options}");
    let _ = write!(
        text,
        "\n{HEADING}Global options:{HEADING:#}\n{}\n\nRun 'rcnt COMMAND --help' for more information on a command.\n",
        options.disable_version_flag(true).render_help().ansi().to_string().trim_end()
    );
    text
}

/// All commands with their flags, for manual pages and completion.
pub(crate) fn tree() -> clap::Command {
    let named = |name: &'static str, usage: &str, verb: &Verb| {
        let hidden = verb.purpose == Purpose::Hidden;
        let command = verb.declared().name(name).override_usage(usage.to_owned()).hide(hidden);
        if matches!(verb.name, "run" | "exec" | "create") {
            command.after_help(EXIT_STATUS)
        } else {
            command
        }
    };
    let verbs = VERBS
        .iter()
        .map(|verb| named(verb.name, &format!("rcnt {} {}", verb.name, verb.usage), verb));
    let groups = GROUPS.iter().map(|group| {
        let members = group.members.iter().map(|member| {
            let usage = format!("rcnt {} {} {}", group.name, member.name, member.verb.usage);
            named(member.name, &usage, member.verb).aliases(member.aliases)
        });
        clap::Command::new(group.name).about(group.about).subcommands(members)
    });
    super::global_parser()
        .allow_external_subcommands(false)
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .override_usage("rcnt [OPTIONS] COMMAND")
        .subcommands(verbs)
        .subcommands(groups)
}

/// `rcnt container --help`.
pub(super) fn group(group: &Group) -> String {
    let mut text =
        format!("{HEADING}Usage:{HEADING:#}  rcnt {} COMMAND\n\n{}\n", group.name, group.about);
    let members = group.members.iter().map(|member| (member.name, member.verb.about));
    section(&mut text, "Commands", members);
    let _ = write!(
        text,
        "\nRun 'rcnt {} COMMAND --help' for more information on a command.\n",
        group.name
    );
    text
}

/// `rcnt VERB --help`; `path` is how it was called, "container ls".
pub(super) fn verb(verb: &Verb, path: &str) -> String {
    let mut text =
        format!("{HEADING}Usage:{HEADING:#}  rcnt {path} {}\n\n{}\n", verb.usage, verb.about);
    let aliases = aliases(verb);
    if aliases.len() > 1 {
        let _ = write!(text, "\n{HEADING}Aliases:{HEADING:#}\n  {}\n", aliases.join(", "));
    }
    // The words besides flags are in the usage line already.
    let options = verb
        .declared()
        .mut_args(|arg| if arg.is_positional() { arg.hide(true) } else { arg })
        .styles(styles())
        .help_template("{options}");
    let options = { options }.render_help().ansi().to_string();
    let _ = write!(text, "\n{HEADING}Options:{HEADING:#}\n{}\n", options.trim_end());
    text
}

/// Every way to call this verb, as docker's help lists them.
fn aliases(verb: &Verb) -> Vec<String> {
    let mut names = Vec::new();
    for group in GROUPS {
        for member in group.members.iter().filter(|member| std::ptr::eq(member.verb, verb)) {
            let all = std::iter::once(member.name).chain(member.aliases.iter().copied());
            names.extend(all.map(|name| format!("rcnt {} {name}", group.name)));
        }
    }
    if VERBS.iter().any(|known| std::ptr::eq(*known, verb)) {
        names.push(format!("rcnt {}", verb.name));
    }
    names
}

fn section<'a>(text: &mut String, title: &str, rows: impl Iterator<Item = (&'a str, &'a str)>) {
    let _ = write!(text, "\n{HEADING}{title}:{HEADING:#}\n");
    for (name, about) in rows {
        let _ = writeln!(text, "  {WORD}{name:<12}{WORD:#}{about}");
    }
}
