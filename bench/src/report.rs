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
        let mut line = vec![row.work.to_owned()];
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

/// The goals in words, and "yes", "no", or "?" when no peer to compare with is here.
fn verdict(names: &[(&str, String)], row: &Row) -> (String, &'static str) {
    let figure = |peer: &str| {
        let nth = names.iter().position(|(name, _)| *name == peer)?;
        row.medians.get(nth).copied().flatten()
    };
    let ours = row.medians.first().copied().flatten();
    let mut words = Vec::new();
    let mut met: Option<bool> = None;
    for goal in &row.goals {
        let limit = match *goal {
            Goal::Part { peer, divisor } => {
                let part = match divisor {
                    1.0 => String::new(),
                    small if small < 4.0 => format!("{:.1} × ", 1.0 / small),
                    large => format!("1/{large:.0} "),
                };
                words.push(format!("≤ {part}{peer}"));
                figure(peer).map(|figure| figure / divisor)
            }
            Goal::AtMost(limit) => {
                words.push(format!("≤ {limit:.0} {}", row.unit));
                Some(limit)
            }
        };
        if let (Some(ours), Some(limit)) = (ours, limit) {
            met = Some(met.unwrap_or(true) && ours <= limit);
        }
    }
    let met = match met {
        Some(true) => "yes",
        Some(false) => "no",
        None => "?",
    };
    (words.join(", "), met)
}

/// A table: its title, its contestants with their versions, its rows.
#[derive(Debug)]
pub(crate) struct Table {
    /// One sentence.
    pub(crate) title: &'static str,
    /// Name and version of each, ours first.
    pub(crate) names: Vec<(&'static str, String)>,
    /// The work.
    pub(crate) rows: Vec<Row>,
}

/// A table for a terminal.
pub(crate) fn text(table: &Table, rounds: usize) -> String {
    let names = &table.names;
    let title = table.title;
    let table = cells(names, &table.rows);
    let columns = table.first().map_or(0, Vec::len);
    let width = |n: usize| table.iter().filter_map(|l| l.get(n)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|n| width(n).unwrap_or(0)).collect();
    let mut text = format!("\n{title}\n\n");
    for line in &table {
        let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(text, "{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
    let _ = writeln!(text, "\nmedians of {rounds} rounds, in turns; n× = so many times ours");
    for (name, version) in names {
        let _ = writeln!(text, "{name}: {version}");
    }
    text
}

/// The same as a page of the documentation.
pub(crate) fn page(tables: &[Table], rounds: usize) -> String {
    let mut page = String::from(
        "# Benchmarks\n\n\
         Written by `make bench-record`; `make bench` prints the same table. All take turns in\n\
         one run, so only the ratios carry over to another machine.\n",
    );
    for table in tables {
        let _ = writeln!(page, "\n{}\n", table.title);
        for (nth, line) in cells(&table.names, &table.rows).iter().enumerate() {
            let _ = writeln!(page, "| {} |", line.join(" | "));
            if nth == 0 {
                let _ = writeln!(page, "|{}", " --- |".repeat(line.len()));
            }
        }
    }
    let _ = writeln!(page, "\nMedians of {rounds} rounds; n× = so many times ours. Versions:\n");
    for (name, version) in tables.iter().flat_map(|table| &table.names) {
        let _ = writeln!(page, "- {name}: {version}");
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
        Row { work: "run", unit: "ms", medians: vec![Some(ours), docker], goals }
    }

    #[test]
    fn a_goal_is_met_missed_or_unknown() {
        let names = [("rcnt", String::new()), ("docker", String::new())];
        assert_eq!(verdict(&names, &row(10.0, Some(200.0))), ("≤ 1/16 docker".to_owned(), "yes"));
        assert_eq!(verdict(&names, &row(20.0, Some(200.0))).1, "no");
        assert_eq!(verdict(&names, &row(20.0, None)).1, "?");
    }

    #[test]
    fn the_page_is_a_table() {
        let names = vec![("rcnt", "rcnt 1".to_owned()), ("docker", "Docker 2".to_owned())];
        let table = Table { title: "Engines:", names, rows: vec![row(10.0, Some(200.0))] };
        let page = page(&[table], 3);
        assert!(
            page.contains("| run | 10.0 ms | 200 ms (20.0×) | ≤ 1/16 docker | yes |"),
            "{page}"
        );
        assert!(page.contains("- docker: Docker 2"), "{page}");
    }
}
