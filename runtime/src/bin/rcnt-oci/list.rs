//! `list` and `state`.

use std::io;
use std::path::Path;

use crate::args::{Format, ListArgs};
use crate::state::{self, Directory, Report};
use crate::{Error, print};

/// Prints what is known of one container.
pub(crate) fn state(root: &Path, id: &str) -> Result<u8, Error> {
    let directory = Directory::of(root, id)?;
    let saved = directory.load()?;
    let report = directory.report(&saved, directory.status(&saved));
    print(&format!("{}\n", serde_json::to_string_pretty(&report).map_err(Error::json)?))
}

/// Prints all containers. A missing `root` has none if nobody asked for just that one.
pub(crate) fn list(root: &Path, explicit: bool, args: &ListArgs) -> Result<u8, Error> {
    let all = match state::all(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !explicit => Vec::new(),
        other => {
            let path = root.to_owned();
            other.map_err(|source| Error::File { doing: "list", path, source })?
        }
    };
    if args.quiet {
        return print(&all.iter().map(|(_, saved)| format!("{}\n", saved.id)).collect::<String>());
    }
    let reports = all.iter().map(|(directory, saved)| {
        let status = directory.status(saved);
        directory.report(saved, status)
    });
    let reports: Vec<Report> = reports.collect();
    match args.format {
        Format::Json => {
            print(&format!("{}\n", serde_json::to_string(&reports).map_err(Error::json)?))
        }
        Format::Table => print(&table(&reports)),
    }
}

fn table(reports: &[Report]) -> String {
    let heads = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let rows = reports.iter().map(|it| {
        let bundle = it.bundle.display().to_string();
        let status = it.status.to_owned();
        [it.id.clone(), it.pid.to_string(), status, bundle, it.created.clone(), it.owner.clone()]
    });
    align(std::iter::once(heads).chain(rows).collect())
}

/// Columns at least twelve wide and three apart, as runc's are.
fn align<const N: usize>(rows: Vec<[String; N]>) -> String {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count() + 3);
        cells.max().unwrap_or(0).max(12)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match at + 1 == N {
                true => text.push_str(cell),
                false => text.push_str(&format!("{cell:width$}")),
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        let text = align(vec![row("ID", "PID"), row("a-long-container", "1")]);
        assert_eq!(text, "ID                 PID\na-long-container   1\n");
    }
}
