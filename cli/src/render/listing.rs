//! Lists of rows under `--format`: docker's table, a table of the user's, JSON
//! lines, or any Go template.

use serde_json::{Map, Value};

use super::table::align;
use super::template::{Template, TemplateError};
use crate::failure::Failure;

/// One column: what templates call it, its title, and its text for a row.
pub(crate) struct Column<R> {
    /// `{{.Name}}`.
    pub(crate) field: &'static str,
    /// Above the column.
    pub(crate) title: &'static str,
    /// The text of one row.
    pub(crate) cell: fn(&R) -> String,
}

/// What a list can show and what it shows by default.
pub(crate) struct Listing<R: 'static> {
    /// Every column, by field name in alphabetical order (as docker's JSON).
    pub(crate) columns: &'static [Column<R>],
    /// The fields of the default table.
    pub(crate) default: &'static [&'static str],
    /// `{{.Label "key"}}`.
    pub(crate) label: fn(&R, &str) -> Option<String>,
}

impl<R> Listing<R> {
    /// `rows` as `format` says; `None` is the default table.
    ///
    /// # Errors
    /// A template that is none, or asks for a column there is not.
    pub(crate) fn render(&self, rows: &[R], format: Option<&str>) -> Result<String, Failure> {
        match format.map(str::trim) {
            None | Some("" | "table") => Ok(self.default_table(rows)),
            Some("json") => self.lines(rows, "{{json .}}"),
            Some(format) => match format.strip_prefix("table ") {
                Some(format) => self.table(rows, &unescape(format.trim())),
                None => self.lines(rows, &unescape(format)),
            },
        }
    }

    fn default_table(&self, rows: &[R]) -> String {
        let columns: Vec<_> = self.default.iter().filter_map(|field| self.column(field)).collect();
        let titles: Vec<_> = columns.iter().map(|column| column.title).collect();
        let mut text = titles.join("\t") + "\n";
        for row in rows {
            let cells: Vec<_> = columns.iter().map(|column| (column.cell)(row)).collect();
            text.push_str(&(cells.join("\t") + "\n"));
        }
        align(&text)
    }

    fn column(&self, field: &str) -> Option<&Column<R>> {
        self.columns.iter().find(|column| column.field == field)
    }

    fn lines(&self, rows: &[R], format: &str) -> Result<String, Failure> {
        let template = parse(format)?;
        let mut text = String::new();
        for row in rows {
            text.push_str(&self.row(&template, row)?);
            text.push('\n');
        }
        Ok(text)
    }

    fn table(&self, rows: &[R], format: &str) -> Result<String, Failure> {
        let template = parse(format)?;
        let titles = self.columns.iter().map(|c| (c.field.to_owned(), Value::from(c.title)));
        let titles = Value::Object(titles.collect());
        // `{{.Label "com.example"}}` is headed by the key's last part, as docker's.
        let methods = |name: &str, arguments: &[Value]| match (name, arguments) {
            ("Label", [Value::String(key)]) => {
                let last = key.rsplit(['.', '-']).next().unwrap_or(key);
                Some(Value::from(last.to_uppercase()))
            }
            _ => None,
        };
        let mut text = template.render_headers(&titles, &methods).map_err(bad_template)? + "\n";
        for row in rows {
            text.push_str(&(self.row(&template, row)? + "\n"));
        }
        Ok(align(&text))
    }

    fn row(&self, template: &Template, row: &R) -> Result<String, Failure> {
        let fields = self.columns.iter();
        let data: Map<String, Value> =
            fields.map(|c| (c.field.to_owned(), Value::from((c.cell)(row)))).collect();
        let methods = |name: &str, arguments: &[Value]| match (name, arguments) {
            ("Label", [Value::String(key)]) => {
                Some(Value::from((self.label)(row, key).unwrap_or_default()))
            }
            _ => None,
        };
        template.render_with(&Value::Object(data), &methods).map_err(bad_template)
    }
}

/// `\t` and `\n` typed in a shell's quotes mean the characters, in lists.
fn unescape(format: &str) -> String {
    format.replace("\\t", "\t").replace("\\n", "\n")
}

/// Parses a `--format`.
///
/// # Errors
/// docker's words for a template that is none.
pub(crate) fn parse(format: &str) -> Result<Template, Failure> {
    Template::parse(format)
        .map_err(|error| Failure::general(format!("failed to parse template: {error}")))
}

/// A template that the data does not fit.
pub(crate) fn bad_template(error: TemplateError) -> Failure {
    Failure::general(format!("failed to execute template: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Row(&'static str, u32);

    const LISTING: Listing<Row> = Listing {
        columns: &[
            Column { field: "ID", title: "CONTAINER ID", cell: |row| row.1.to_string() },
            Column { field: "Names", title: "NAMES", cell: |row| row.0.to_owned() },
        ],
        default: &["ID", "Names"],
        label: |row, key| (key == "com.example.role").then(|| format!("role of {}", row.0)),
    };
    const ROWS: &[Row] = &[Row("web", 1), Row("db", 22)];

    fn render(format: &str) -> String {
        LISTING.render(ROWS, Some(format)).unwrap()
    }

    #[test]
    fn the_default_is_a_table() {
        let table = "CONTAINER ID   NAMES\n1              web\n22             db\n";
        assert_eq!(LISTING.render(ROWS, None).unwrap(), table);
        assert_eq!(render("table"), table);
    }

    #[test]
    fn json_is_one_object_per_line() {
        assert_eq!(
            render("json"),
            "{\"ID\":\"1\",\"Names\":\"web\"}\n{\"ID\":\"22\",\"Names\":\"db\"}\n"
        );
    }

    #[test]
    fn templates_make_lines_and_tables() {
        assert_eq!(render("{{.Names}}: {{.ID}}"), "web: 1\ndb: 22\n");
        assert_eq!(
            render(r#"table {{.Names | upper}}\t{{.Label "com.example.role"}}"#),
            "NAMES     ROLE\nWEB       role of web\nDB        role of db\n"
        );
    }

    #[test]
    fn a_bad_template_is_one_line() {
        for (format, text) in [
            (
                "{{.Nope}}",
                "rcnt: failed to execute template: template: :1: executing \"\" at <.Nope>: map has no entry for key \"Nope\"\n",
            ),
            ("{{", "rcnt: failed to parse template: template: :1: unclosed action\n"),
        ] {
            assert_eq!(LISTING.render(ROWS, Some(format)).unwrap_err().text(), text);
        }
    }
}
