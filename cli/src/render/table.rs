//! Columns as docker aligns them: Go's text/tabwriter with a smallest width of
//! 10, 3 spaces between columns and nothing after the last.

const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

/// Aligns `text`, whose lines have their cells ended by tabs. A column is a
/// block of neighbouring lines that have a cell there; each block has a width
/// of its own, as in Go.
pub(crate) fn align(text: &str) -> String {
    let mut lines: Vec<Vec<&str>> = text.split('\n').map(|l| l.split('\t').collect()).collect();
    let ends_with_newline = lines.last().is_some_and(|last| last == &[""]);
    if ends_with_newline {
        lines.pop();
    }
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; line.len()]).collect();
    let deepest = lines.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..deepest {
        block_widths(&lines, &mut widths, column);
    }
    let mut out = String::with_capacity(text.len() * 2);
    for (line, widths) in lines.iter().zip(&widths) {
        let last = line.len().saturating_sub(1);
        for (n, (cell, width)) in line.iter().zip(widths).enumerate() {
            out.push_str(cell);
            if n < last {
                let missing = width.saturating_sub(cell.chars().count());
                out.extend(std::iter::repeat_n(' ', missing));
            }
        }
        out.push('\n');
    }
    if !ends_with_newline {
        out.pop();
    }
    out
}

/// Gives every block of one column its width.
fn block_widths(lines: &[Vec<&str>], widths: &mut [Vec<usize>], column: usize) {
    let has = |line: &Vec<&str>| line.len() > column + 1;
    let mut start = 0;
    while let Some(first) = lines.get(start..).and_then(|rest| rest.iter().position(has)) {
        let first = start + first;
        let block: Vec<_> = lines.iter().skip(first).take_while(|line| has(line)).collect();
        let widest = block.iter().filter_map(|line| line.get(column));
        let widest = widest.map(|cell| cell.chars().count()).max().unwrap_or(0);
        let width = (widest + PADDING).max(MIN_WIDTH);
        for widths in widths.iter_mut().skip(first).take(block.len()) {
            if let Some(slot) = widths.get_mut(column) {
                *slot = width;
            }
        }
        start = first + block.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_docker_makes_them() {
        let text = "CONTAINER ID\tIMAGE\tNAMES\n0123456789ab\tnginx:latest\tweb\n";
        assert_eq!(
            align(text),
            "CONTAINER ID   IMAGE          NAMES\n0123456789ab   nginx:latest   web\n"
        );
    }

    #[test]
    fn short_columns_are_ten_wide() {
        assert_eq!(align("ID\tX\n1\t2"), "ID        X\n1         2");
    }

    #[test]
    fn a_line_without_the_column_ends_its_block() {
        // Go prints the same: the two blocks do not know each other.
        assert_eq!(
            align("aaaaaaaaaaaaaaa\tb\nplain\nc\td\n"),
            "aaaaaaaaaaaaaaa   b\nplain\nc         d\n"
        );
    }

    #[test]
    fn nothing_stays_nothing() {
        assert_eq!(align(""), "");
    }
}
