//! Go's text/template over JSON, with docker's functions: what `--format` takes.
//!
//! - `lex`       text → tokens (`{{-` trimming, strings, numbers, fields)
//! - `parse`     tokens → tree
//! - `exec`      tree + JSON → text
//! - `data`      values and the steps into them
//! - `functions` eq, index, len, printf… and docker's json, join, upper…
//! - `printf`    Go's verbs and `%v`
//!
//! Ours because the one crate for it prints lists and maps as Rust's debug text,
//! iterates maps in random order and lacks assignment, `slice` and `%q`.
//! Go's own documentation is the specification.

mod data;
mod exec;
mod functions;
mod lex;
mod parse;
mod printf;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub(crate) use printf::quoted;

/// Why a template cannot be used. The texts are Go's where scripts may know them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    /// The text is no template.
    #[error("template: :{line}: {what}")]
    Parse {
        /// Line within the template.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// The template asks for what the data does not have.
    #[error("template: :{line}: executing \"\" at <{at}>: {what}")]
    Execute {
        /// Line within the template.
        line: usize,
        /// The piece of the template.
        at: String,
        /// What is wrong.
        what: String,
    },
}

/// A method of the data: `{{.Label "key"}}`. `None`: there is no such method.
pub(crate) type Methods<'a> = &'a dyn Fn(&str, &[Value]) -> Option<Value>;

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template(parse::Tree);

impl Template {
    /// Parses `text`.
    ///
    /// # Errors
    /// The line and what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::parse(text).map(Self)
    }

    /// The text this template makes of `data`.
    ///
    /// # Errors
    /// The action that could not be carried out, and why.
    pub(crate) fn render(&self, data: &Value) -> Result<String, TemplateError> {
        self.render_with(data, &|_, _| None)
    }

    /// [`Template::render`] with methods on the data.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub(crate) fn render_with(
        &self,
        data: &Value,
        methods: Methods<'_>,
    ) -> Result<String, TemplateError> {
        exec::execute(&self.0, data, methods, false)
    }

    /// The header row of a table: `headers` maps fields to titles, and docker's
    /// functions leave them as they are.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub(crate) fn render_headers(
        &self,
        headers: &Value,
        methods: Methods<'_>,
    ) -> Result<String, TemplateError> {
        exec::execute(&self.0, headers, methods, true)
    }
}
