//! The flags of what concerns rcnt itself.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

/// `version` and `info`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct FormatFlags {
    /// Format output: 'json' or a Go 'TEMPLATE'
    #[arg(short, long)]
    pub(crate) format: Option<String>,
}

/// `completion`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct CompletionFlags {
    /// bash, zsh or fish
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// A shell that completions are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shell {
    /// GNU bash.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
}

impl Shell {
    /// Its name, as typed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }
}

impl FromStr for Shell {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Bash, Self::Zsh, Self::Fish]
            .into_iter()
            .find(|shell| shell.name() == text)
            .ok_or_else(|| "must be one of bash, zsh or fish".to_owned())
    }
}

/// `man`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct ManFlags {
    /// Where to write one page per command
    #[arg(value_name = "DIRECTORY")]
    pub(crate) directory: PathBuf,
}
