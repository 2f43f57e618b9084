//! docs/tour.md, followed to the letter: every command in it is run, in order, on
//! one host, and what it prints is compared with what the page says.
//!
//! A block marked `console` has a prompt and a command on a line, its output
//! below: `#` is the host's prompt, `lan#` that of another machine on its network.
//! Ids, random interface names and times differ from run to run and are not
//! compared, nor is the width of columns. A line `...` stands for any lines.
//!
//! `RCNT_TOUR_UPDATE=1` writes what was printed into the page instead.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking; the page is no state of rcnt's"
)]

use std::path::PathBuf;
use std::time::Duration;

use rcnt_tests::{World, eventually};

const ANYTHING: &str = "...";

/// One command of the page.
struct Step<'a> {
    /// Where its prompt is, counted from 0.
    line: usize,
    /// Whether the host runs it, or the other machine.
    on_host: bool,
    command: String,
    expected: Vec<&'a str>,
}

fn page() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tour.md"))
}

fn prompt(line: &str) -> Option<(bool, &str)> {
    let host = line.strip_prefix("# ").map(|command| (true, command));
    host.or_else(|| line.strip_prefix("lan# ").map(|command| (false, command)))
}

fn steps(text: &str) -> Vec<Step<'_>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    let (mut inside, mut goes_on) = (false, false);
    for (number, line) in text.lines().enumerate() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (false, _) => {}
            (true, line) if goes_on => {
                let step = steps.last_mut().unwrap();
                step.command.push('\n');
                step.command.push_str(line);
                goes_on = line.ends_with('\\');
            }
            (true, line) => match prompt(line) {
                Some((on_host, command)) => {
                    goes_on = command.ends_with('\\');
                    let command = command.to_owned();
                    steps.push(Step { line: number, on_host, command, expected: Vec::new() });
                }
                None => steps.last_mut().unwrap().expected.push(line),
            },
        }
    }
    steps
}

/// A line without what differs from run to run.
fn normal(line: &str) -> String {
    let hex = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let random = |part: &str| {
        part.len() >= 12 && hex(part)
            || part.strip_prefix("veth").is_some_and(|rest| rest.len() == 11 && hex(rest))
            // The kernel's choice of a port.
            || part.len() == 5 && part.bytes().all(|b| b.is_ascii_digit())
    };
    let word = |word: &str| {
        let parts = word.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| random(part));
        parts.fold(word.to_owned(), |word, part| word.replace(part, "ID"))
    };
    let words: Vec<String> = line.split_whitespace().map(word).collect();
    let mut text = words.join(" ");
    if let Some((before, after)) = text.split_once("rule handle ") {
        let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
        text = format!("{before}rule handle N{after}");
    }
    while text.contains("──") {
        text = text.replace("──", "─");
    }
    for unit in ["second", "minute"] {
        // "3 seconds ago", "Up 2 seconds", "Less than a second ago", "About a minute ago"
        for form in [format!("{unit}s"), unit.to_owned()] {
            let vague = [format!("Less than a {form}"), format!("About a {form}")];
            vague.iter().for_each(|vague| text = text.replace(vague, "TIME"));
            let numbers = (1..60).rev().map(|n| format!(" {n} {form}"));
            numbers.for_each(|number| text = text.replace(&number, " TIME"));
        }
    }
    text
}

/// Whether `printed` is what the page says; `...` matches any number of lines.
fn fits(expected: &[String], printed: &[String]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line == ANYTHING => {
            (0..=printed.len()).any(|skipped| fits(rest, &printed[skipped..]))
        }
        Some((line, rest)) => printed.first() == Some(line) && fits(rest, &printed[1..]),
    }
}

/// The table of a world's instance is `rcnt-TAG`; that of the machine's own is
/// `rcnt`, and so it stands on the page.
fn table(world: &World) -> Option<String> {
    let tables = world.ok_sh("nft list tables");
    tables.lines().find_map(|line| line.strip_prefix("table inet ").map(str::to_owned))
}

fn run(world: &World, step: &Step<'_>) -> Vec<String> {
    let table = table(world).unwrap_or_default();
    let command = step.command.replace("inet rcnt ", &format!("inet {table} "));
    let args = ["-c", &command];
    let job = if step.on_host { world.job("bash", args) } else { world.lan().job("bash", args) };
    let output = job.limit(Duration::from_secs(30)).run().exits_any();
    if command.contains("run -d") {
        // Who types takes longer; a server takes a moment to listen.
        std::thread::sleep(Duration::from_millis(300));
    }
    // A terminal shows both.
    let both = format!("{}{}", output.stdout, output.stderr);
    // It may have been made just now.
    let table = self::table(world).unwrap_or(table);
    let both = match table.as_str() {
        "" => both,
        table => both.replace(&format!("inet {table}"), "inet rcnt"),
    };
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let both = both.replace(&format!("┌─ {} ", name.trim()), "┌─ host ");
    both.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn the_tour_is_true() {
    let text = std::fs::read_to_string(page()).unwrap();
    let steps = steps(&text);
    assert!(steps.len() > 30, "the page has commands");
    let world = World::empty();
    let update = std::env::var_os("RCNT_TOUR_UPDATE").is_some_and(|value| value == "1");
    let mut lines: Vec<Vec<String>> = text.lines().map(|line| vec![line.to_owned()]).collect();
    for step in &steps {
        if step.command.contains("network graph") {
            // The kernel takes the cables of ended containers away a moment later.
            let cut = || !world.ok("network graph").contains("  in ");
            eventually("only running containers have cables", cut);
        }
        let printed = run(&world, step);
        let shown = || printed.join("\n");
        if update {
            let first = step.line + step.command.lines().count();
            if step.expected.contains(&ANYTHING) {
                continue;
            }
            lines[first..first + step.expected.len()].iter_mut().for_each(Vec::clear);
            lines[first - 1].extend(printed);
            continue;
        }
        let normal = |lines: &[String]| lines.iter().map(|l| normal(l)).collect::<Vec<_>>();
        let expected: Vec<String> = step.expected.iter().map(|&l| l.to_owned()).collect();
        assert!(
            fits(&normal(&expected), &normal(&printed)),
            "docs/tour.md, line {}: {}\nsays:\n{}\nprinted:\n{}",
            step.line + 1,
            step.command,
            expected.join("\n"),
            shown(),
        );
    }
    if update {
        let text: String = lines.into_iter().flatten().map(|line| line + "\n").collect();
        #[allow(
            clippy::disallowed_methods,
            reason = "a page of the repository, rewritten on demand"
        )]
        std::fs::write(page(), text).unwrap();
    }
    world.ok("ps -aq").lines().for_each(|id| {
        world.ok(["rm", "-f", id]);
    });
}
