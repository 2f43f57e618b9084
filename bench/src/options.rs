//! The command line.

use std::path::PathBuf;

use crate::Result;

const USAGE: &str = "usage: rcnt-bench [--rcnt FILE] [--rcnt-oci FILE] [--rounds N] \
                     [--record FILE] [--only PART] [--all]";

/// What is measured, and how.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) rcnt: PathBuf,
    pub(crate) oci: PathBuf,
    pub(crate) rounds: usize,
    pub(crate) record: Option<PathBuf>,
    pub(crate) only: Option<Part>,
    /// The peers, too, where they take minutes.
    pub(crate) all: bool,
}

/// One table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Engines,
    Networks,
    Paths,
    Names,
    Many,
    Runtimes,
}

impl Part {
    const ALL: [(&str, Self); 6] = [
        ("engines", Self::Engines),
        ("networks", Self::Networks),
        ("paths", Self::Paths),
        ("names", Self::Names),
        ("many", Self::Many),
        ("runtimes", Self::Runtimes),
    ];

    fn parse(text: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        let names = Self::ALL.map(|(name, _)| name).join(", ");
        found.map(|(_, part)| *part).ok_or(format!("--only: one of {names}"))
    }
}

/// Reads the arguments; the binaries have to be there.
pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = read(args)?;
    for path in [&mut options.rcnt, &mut options.oci] {
        let found = path.canonicalize();
        *path = found.map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(options)
}

fn read(mut args: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options {
        rcnt: PathBuf::from("target/rcnt"),
        oci: PathBuf::from("target/rcnt-oci"),
        rounds: 20,
        record: None,
        only: None,
        all: false,
    };
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--rcnt" => options.rcnt = value()?.into(),
            "--rcnt-oci" => options.oci = value()?.into(),
            "--rounds" => {
                let rounds: usize = value()?.parse().map_err(|e| format!("--rounds: {e}"))?;
                options.rounds = rounds.max(1);
            }
            "--record" => options.record = Some(value()?.into()),
            "--all" => options.all = true,
            "--only" => options.only = Some(Part::parse(&value()?)?),
            _ => return Err(USAGE.to_owned()),
        }
    }
    if options.record.is_some() && options.only.is_some() {
        return Err("--record wants every part, --only leaves some out".to_owned());
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_words(text: &str) -> Result<Options> {
        read(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_are_read() {
        let options = read_words("--rounds 0 --only networks --rcnt target/other").unwrap();
        assert_eq!((options.rounds, options.only), (1, Some(Part::Networks)));
        assert_eq!(options.rcnt, PathBuf::from("target/other"));
    }

    #[test]
    fn a_part_that_is_not_there_is_told_with_those_that_are() {
        let error = read_words("--only nothing").unwrap_err();
        assert!(error.starts_with("--only: one of engines, networks"), "{error}");
        assert_eq!(read_words("--only").unwrap_err(), "--only needs a value");
    }
}
