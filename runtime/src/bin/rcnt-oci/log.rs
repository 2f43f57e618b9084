//! The log: one error at most, warnings, and steps with `--debug`. In a file
//! (`--log`) it has the form that podman and containerd parse, which is
//! logrus's; an error goes to stderr besides, for whoever is watching.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::args::{Cli, LogFormat};

/// Where lines go and what they look like.
#[derive(Debug)]
struct Destination {
    file: Option<File>,
    format: LogFormat,
}

static DESTINATION: OnceLock<Destination> = OnceLock::new();

/// Begins logging as the command line says.
///
/// # Errors
/// The log file cannot be opened.
pub(crate) fn begin(cli: &Cli) -> io::Result<()> {
    let file = cli.log.as_deref().map(open).transpose()?;
    let destination = DESTINATION.get_or_init(|| Destination { file, format: cli.log_format });
    if log::set_logger(destination).is_ok() {
        log::set_max_level(if cli.debug { LevelFilter::Debug } else { LevelFilter::Warn });
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o644).open(path)
}

/// Tells why the command failed.
pub(crate) fn error(text: &str) {
    let destination = DESTINATION.get();
    let in_file = destination.is_some_and(|to| to.file.is_some());
    match destination {
        Some(to) if in_file || to.format == LogFormat::Json => to.write(Level::Error, text),
        _ => {}
    }
    // Nothing sensible can be done when stderr is gone.
    if in_file {
        // For a program, which puts our name before it.
        let _ = writeln!(io::stderr(), "{text}");
    } else if destination.is_none_or(|to| to.format == LogFormat::Text) {
        let _ = writeln!(io::stderr(), "rcnt-oci: {text}");
    }
}

impl Destination {
    fn write(&self, level: Level, text: &str) {
        let line = line(self.format, level, text, &now());
        // In one write: several commands may append to one file.
        let _ = match &self.file {
            Some(file) => (&*file).write_all(line.as_bytes()),
            None => io::stderr().write_all(line.as_bytes()),
        };
    }
}

impl Log for Destination {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Only our own crates: a library's chatter is not a step of ours.
        metadata.level() <= log::max_level() && metadata.target().starts_with("rcnt")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        if self.file.is_none() && self.format == LogFormat::Text && record.level() == Level::Warn {
            let _ = writeln!(io::stderr(), "rcnt-oci: warning: {text}");
        } else {
            self.write(record.level(), &text);
        }
    }

    fn flush(&self) {}
}

/// UTC, RFC 3339, whole seconds.
fn now() -> String {
    let now = time::OffsetDateTime::now_utc();
    let whole = now.replace_nanosecond(0).unwrap_or(now);
    whole.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

/// One line in logrus's form.
fn line(format: LogFormat, level: Level, text: &str, time: &str) -> String {
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug | Level::Trace => "debug",
    };
    match format {
        LogFormat::Json => {
            format!("{}\n", serde_json::json!({"level": level, "msg": text, "time": time}))
        }
        LogFormat::Text => format!("time=\"{time}\" level={level} msg={}\n", quoted(text)),
    }
}

/// logrus leaves a single plain word bare.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("{text:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_logruss() {
        let time = "2026-01-02T03:04:05Z";
        assert_eq!(
            line(LogFormat::Json, Level::Error, "a \"b\"", time),
            "{\"level\":\"error\",\"msg\":\"a \\\"b\\\"\",\"time\":\"2026-01-02T03:04:05Z\"}\n"
        );
        assert_eq!(
            line(LogFormat::Text, Level::Warn, "a \"b\"", time),
            "time=\"2026-01-02T03:04:05Z\" level=warning msg=\"a \\\"b\\\"\"\n"
        );
        assert!(line(LogFormat::Text, Level::Debug, "one/word", time).ends_with("msg=one/word\n"));
    }

    #[test]
    fn the_time_is_whole_seconds() {
        assert_eq!(now().len(), "2026-01-02T03:04:05Z".len());
    }
}
