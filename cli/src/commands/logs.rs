//! `logs`.

use std::io::{self, BufWriter, Write};

use rcnt_engine::{Engine, LogLine, LogOptions};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::args::container::LogsFlags;
use crate::args::values::Tail;
use crate::failure::Failure;
use crate::render::time::parse;

/// `logs`: each line to the stream it came from.
///
/// # Errors
/// No such container; a time that is none; a log that cannot be read.
pub(super) fn logs(engine: &Engine, flags: &LogsFlags) -> Result<u8, Failure> {
    let now = OffsetDateTime::now_utc();
    let time = |flag: &str, text: &Option<String>| match text {
        Some(text) => parse(text, now)
            .map(Some)
            .map_err(|e| Failure::general(format!("invalid value for \"{flag}\": {e}"))),
        None => Ok(None),
    };
    let options = LogOptions {
        follow: flags.follow,
        tail: match flags.tail {
            Tail::All => None,
            Tail::Last(lines) => Some(lines),
        },
        since: time("since", &flags.since)?,
        until: time("until", &flags.until)?,
    };
    let container = engine.find(&flags.container)?;
    let mut reader = engine.logs(&container, &options)?;
    let mut printer = Printer::new();
    while let Some(line) = reader.next_line()? {
        printer.print(&line, flags.timestamps)?;
        if flags.follow {
            // The next line may be long in coming.
            printer.flush()?;
        }
    }
    printer.flush()?;
    Ok(0)
}

/// Both our streams, buffered; what is printed to one and then to the other
/// arrives in that order.
struct Printer {
    stdout: BufWriter<io::Stdout>,
    stderr: BufWriter<io::Stderr>,
}

impl Printer {
    fn new() -> Self {
        let size = 64 << 10;
        Self {
            stdout: BufWriter::with_capacity(size, io::stdout()),
            stderr: BufWriter::with_capacity(size, io::stderr()),
        }
    }

    fn print(&mut self, line: &LogLine, timestamps: bool) -> io::Result<()> {
        let out: &mut dyn Write = if line.stream == "stderr" {
            self.stdout.flush()?;
            &mut self.stderr
        } else {
            if !self.stderr.buffer().is_empty() {
                self.stderr.flush()?;
            }
            &mut self.stdout
        };
        if timestamps {
            out.write_all(stamp(line.time).as_bytes())?;
        }
        out.write_all(line.text.as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()?;
        self.stderr.flush()
    }
}

/// Go's RFC3339Nano with all nine digits, so that lines stay aligned.
fn stamp(time: OffsetDateTime) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z ");
    time.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_have_nine_digits() {
        let at = time::macros::datetime!(2026-11-21 09:00:00.5 +1);
        assert_eq!(stamp(at), "2026-11-21T08:00:00.500000000Z ");
    }
}
