//! The table people read: medians, each peer's figure as a multiple of ours,
//! each goal and whether it is met.

use std::fmt::Write;

use crate::measure::{Goal, Row};

/// The heads and lines of the table as cells.
fn cells(names: &[(&str, String)], rows: &[Row]) -> Vec<Vec<String>> {
    let mut head = vec!["work".to_owned()];
    head.extend(names.iter().map(|(name, _)| (*name).to_owned()));
    head.push("goal".to_owned());
    head.push("met".to_owned());
    let mut table = vec![head];
    for row in rows {
        let ours = row.medians.first().copied().flatten();
        let mut line = vec![row.work.clone()];
        for (nth, median) in row.medians.iter().enumerate() {
            line.push(match (median, ours) {
                (None, _) => "–".to_owned(),
                (Some(figure), Some(ours)) if nth > 0 => {
                    format!("{} {} ({:.1}×)", number(*figure), row.unit, figure / ours)
                }
                (Some(figure), _) => format!("{} {}", number(*figure), row.unit),
            });
        }
        let (goals, met) = verdict(names, row);
        line.push(goals);
        line.push(met.to_owned());
        table.push(line);
    }
    table
}

fn number(figure: f64) -> String {
    if figure < 100.0 { format!("{figure:.1}") } else { format!("{figure:.0}") }
}

/// The goals in words, and whether ours meets all that can be told; "?" when no
/// peer to compare with is here.
fn verdict(names: &[(&str, String)], row: &Row) -> (String, &'static str) {
    let figure = |peer: &str| {
        let nth = names.iter().position(|(name, _)| *name == peer)?;
        row.medians.get(nth).copied().flatten()
    };
    let mut words = Vec::new();
    let mut limits = Vec::new();
    for goal in &row.goals {
        let (text, limit) = match goal {
            Goal::Part { peer, divisor } => {
                let limit = figure(peer).map(|figure| ..=figure / divisor);
                (format!("≤ {}{peer}", fraction(*divisor)), limit.map(Bounds::from))
            }
            Goal::AtMost(most) => {
                let words = format!("≤ {} {}", whole_or_tenths(*most), row.unit);
                (words, Some(Bounds::from(..=*most)))
            }
            Goal::AtLeast { peer, part } => {
                let times = if *part == 1.0 { String::new() } else { format!("{part} × ") };
                let limit = figure(peer).map(|figure| Bounds::from(figure * part..));
                (format!("≥ {times}{peer}"), limit)
            }
            Goal::From { words, limit } => {
                (format!("≥ {words}"), limit.map(|limit| Bounds::from(limit..)))
            }
        };
        words.push(text);
        limits.extend(limit);
    }
    let met = match (row.medians.first().copied().flatten(), &limits[..]) {
        _ if row.goals.is_empty() => "",
        (None, _) => "no",
        (_, []) => "?",
        (Some(ours), limits) if limits.iter().all(|limit| limit.contain(ours)) => "yes",
        _ => "no",
    };
    (words.join(", "), met)
}

/// Where ours has to be.
struct Bounds(f64, f64);

impl Bounds {
    fn contain(&self, figure: f64) -> bool {
        (self.0..=self.1).contains(&figure)
    }
}

impl From<std::ops::RangeToInclusive<f64>> for Bounds {
    fn from(range: std::ops::RangeToInclusive<f64>) -> Self {
        Self(f64::NEG_INFINITY, range.end)
    }
}

impl From<std::ops::RangeFrom<f64>> for Bounds {
    fn from(range: std::ops::RangeFrom<f64>) -> Self {
        Self(range.start, f64::INFINITY)
    }
}

/// "1/16 ", "0.7 × ", or nothing for the whole.
fn fraction(divisor: f64) -> String {
    match divisor {
        1.0 => String::new(),
        small if small < 4.0 => format!("{:.1} × ", 1.0 / small),
        large => format!("1/{large:.0} "),
    }
}

fn whole_or_tenths(figure: f64) -> String {
    if figure.fract() == 0.0 { format!("{figure:.0}") } else { format!("{figure:.1}") }
}

/// A table: its title, its contestants with their versions, its rows.
#[derive(Debug)]
pub(crate) struct Table {
    /// One sentence.
    pub(crate) title: &'static str,
    /// What a reader of the rows has to know, as lines of the page; may be empty.
    pub(crate) note: &'static str,
    /// How often each had its turn.
    pub(crate) rounds: usize,
    /// Name and version of each, ours first.
    pub(crate) names: Vec<(&'static str, String)>,
    /// The work.
    pub(crate) rows: Vec<Row>,
}

/// A table for a terminal.
pub(crate) fn text(table: &Table) -> String {
    let names = &table.names;
    let (title, rounds) = (table.title, table.rounds);
    let table = cells(names, &table.rows);
    let columns = table.first().map_or(0, Vec::len);
    let width = |n: usize| table.iter().filter_map(|l| l.get(n)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|n| width(n).unwrap_or(0)).collect();
    let mut text = format!("\n{title}\n\n");
    for line in &table {
        let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(text, "{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
    let _ = writeln!(text, "\n{rounds} rounds, medians; n× = so many times the first column's");
    for (name, version) in names.iter().filter(|(_, version)| !version.is_empty()) {
        let _ = writeln!(text, "{name}: {version}");
    }
    text
}

/// The same as a page of the documentation.
pub(crate) fn page(tables: &[Table]) -> String {
    let mut page = String::from(
        "# Benchmarks\n\n\
         Written by `make bench-record`; `make bench` prints the same tables. All take turns in\n\
         one run, so only the ratios carry over to another machine. Figures are medians; n× = so\n\
         many times ours.\n",
    );
    for table in tables {
        let _ = writeln!(page, "\n{}\n", table.title);
        for (nth, line) in cells(&table.names, &table.rows).iter().enumerate() {
            let _ = writeln!(page, "| {} |", line.join(" | "));
            if nth == 0 {
                let _ = writeln!(page, "|{}", " --- |".repeat(line.len()));
            }
        }
        let gap = if table.note.is_empty() { "" } else { " " };
        let plural = if table.rounds == 1 { "" } else { "s" };
        let _ = writeln!(page, "\n{} round{plural}.{gap}{}", table.rounds, table.note);
    }
    let _ = writeln!(page, "\nVersions:\n");
    let mut told = Vec::new();
    for (name, version) in tables.iter().flat_map(|table| &table.names) {
        if !told.contains(&name) && !version.is_empty() {
            let _ = writeln!(page, "- {name}: {version}");
            told.push(name);
        }
    }
    let _ = writeln!(page, "- {}", machine());
    page
}

/// Kernel and processors: what the absolute figures depend on.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    format!("Linux {}, {processors} processors", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: f64, docker: Option<f64>) -> Row {
        let goals = vec![Goal::Part { peer: "docker", divisor: 16.0 }];
        Row { work: "run".to_owned(), unit: "ms", medians: vec![Some(ours), docker], goals }
    }

    fn names() -> [(&'static str, String); 2] {
        [("rcnt", "rcnt 1".to_owned()), ("docker", "Docker 2".to_owned())]
    }

    #[test]
    fn a_goal_is_met_missed_or_unknown() {
        let names = names();
        assert_eq!(verdict(&names, &row(10.0, Some(200.0))), ("≤ 1/16 docker".to_owned(), "yes"));
        assert_eq!(verdict(&names, &row(20.0, Some(200.0))).1, "no");
        assert_eq!(verdict(&names, &row(20.0, None)).1, "?");
    }

    #[test]
    fn what_we_cannot_do_is_no_goal_met() {
        let ours = Row { medians: vec![None, Some(1.0)], ..row(0.0, None) };
        assert_eq!(verdict(&names(), &ours).1, "no");
        let aimless = Row { goals: Vec::new(), ..row(1.0, None) };
        assert_eq!(verdict(&names(), &aimless), (String::new(), ""));
    }

    #[test]
    fn of_some_figures_more_is_better() {
        let goals = vec![
            Goal::AtLeast { peer: "docker", part: 1.5 },
            Goal::From { words: "0.95 × host → container", limit: Some(40.0) },
        ];
        let better = Row { goals: goals.clone(), ..row(45.0, Some(30.0)) };
        let words = "≥ 1.5 × docker, ≥ 0.95 × host → container".to_owned();
        assert_eq!(verdict(&names(), &better), (words, "yes"));
        let below_one = Row { goals: goals.clone(), ..row(39.0, Some(20.0)) };
        assert_eq!(verdict(&names(), &below_one).1, "no");
        let below_other = Row { goals, ..row(44.0, Some(30.0)) };
        assert_eq!(verdict(&names(), &below_other).1, "no");
    }

    #[test]
    fn the_page_is_a_table() {
        let table = |note| Table {
            title: "Engines:",
            note,
            rounds: 3,
            names: names().to_vec(),
            rows: vec![row(10.0, Some(200.0))],
        };
        let page = page(&[table(""), table("Ours is quick.")]);
        assert!(
            page.contains("| run | 10.0 ms | 200 ms (20.0×) | ≤ 1/16 docker | yes |"),
            "{page}"
        );
        assert!(page.contains("3 rounds. Ours is quick.\n"), "{page}");
        assert_eq!(page.matches("- docker: Docker 2").count(), 1, "{page}");
    }
}
