//! Values of flags that are words of a small set, parsed as docker parses them.

use std::str::FromStr;

/// A Go boolean (strconv.ParseBool), as in `--rm=false`.
pub(crate) fn bool_value(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("not true or false".to_owned()),
    }
}

/// `key=value`, as docker's maps.
pub(crate) fn pair_value(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| format!("{text} must be formatted as key=value"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// One `-a`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttachStream {
    /// The container reads what we read.
    Stdin,
    /// We print its standard output.
    Stdout,
    /// We print its standard error.
    Stderr,
}

impl FromStr for AttachStream {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "stdin" => Ok(Self::Stdin),
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
        }
    }
}

/// `--pull`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum PullChoice {
    /// Ask the registry even when the image is here.
    Always,
    /// Only when the image is not here.
    #[default]
    Missing,
    /// Not even then.
    Never,
}

impl FromStr for PullChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "always" => Ok(Self::Always),
            "missing" | "" => Ok(Self::Missing),
            "never" => Ok(Self::Never),
            _ => Err("must be one of \"always\", \"missing\" or \"never\"".to_owned()),
        }
    }
}

/// `--type` of `inspect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObjectKind {
    /// A container.
    Container,
    /// An image.
    Image,
}

impl FromStr for ObjectKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "container" => Ok(Self::Container),
            "image" => Ok(Self::Image),
            _ => Err("must be one of \"container\" or \"image\"".to_owned()),
        }
    }
}

/// `logs --tail`: "all", or any negative number, is everything.
pub(crate) fn tail_value(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(Tail::All),
        number => match number.parse::<i64>() {
            Ok(lines) => Ok(u64::try_from(lines).map_or(Tail::All, Tail::Last)),
            Err(_) => Err("not a number of lines or \"all\"".to_owned()),
        },
    }
}

/// How much of a log to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// From its first line.
    All,
    /// From this many lines before its end.
    Last(u64),
}
