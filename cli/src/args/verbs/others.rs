//! The commands on images and on rcnt itself.

use clap::{Args, FromArgMatches};

use super::super::image::{ImagesFlags, ImportFlags, LoadFlags, PullFlags, RemoveImageFlags};
use super::super::system::{CompletionFlags, FormatFlags, ManFlags};
use super::{Command, Purpose, Verb};

pub(super) static PULL: Verb = Verb {
    name: "pull",
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    about: "Download an image from a registry",
    purpose: Purpose::Images,
    arity: (1, Some(1)),
    augment: PullFlags::augment_args,
    read: |m| PullFlags::from_arg_matches_mut(m).map(Command::Pull),
};

pub(super) static LOAD: Verb = Verb {
    name: "load",
    usage: "[OPTIONS]",
    about: "Load an image from an archive, an OCI layout directory or STDIN",
    purpose: Purpose::Images,
    arity: (0, Some(0)),
    augment: LoadFlags::augment_args,
    read: |m| LoadFlags::from_arg_matches_mut(m).map(Command::Load),
};

pub(super) static IMPORT: Verb = Verb {
    name: "import",
    usage: "[OPTIONS] FILE|- [REPOSITORY[:TAG]]",
    about: "Import the contents from a tarball to create a filesystem image",
    purpose: Purpose::Images,
    arity: (1, Some(2)),
    augment: ImportFlags::augment_args,
    read: |m| ImportFlags::from_arg_matches_mut(m).map(Command::Import),
};

pub(super) static IMAGES: Verb = Verb {
    name: "images",
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    about: "List images",
    purpose: Purpose::Images,
    arity: (0, Some(1)),
    augment: ImagesFlags::augment_args,
    read: |m| ImagesFlags::from_arg_matches_mut(m).map(Command::Images),
};

pub(super) static REMOVE_IMAGE: Verb = Verb {
    name: "rmi",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Remove one or more images",
    purpose: Purpose::Images,
    arity: (1, None),
    augment: RemoveImageFlags::augment_args,
    read: |m| RemoveImageFlags::from_arg_matches_mut(m).map(Command::RemoveImage),
};

pub(super) static VERSION: Verb = Verb {
    name: "version",
    usage: "[OPTIONS]",
    about: "Show the rcnt version information",
    purpose: Purpose::System,
    arity: (0, Some(0)),
    augment: FormatFlags::augment_args,
    read: |m| FormatFlags::from_arg_matches_mut(m).map(Command::Version),
};

pub(super) static INFO: Verb = Verb {
    name: "info",
    usage: "[OPTIONS]",
    about: "Display system-wide information",
    purpose: Purpose::System,
    arity: (0, Some(0)),
    augment: FormatFlags::augment_args,
    read: |m| FormatFlags::from_arg_matches_mut(m).map(Command::Info),
};

pub(super) static COMPLETION: Verb = Verb {
    name: "completion",
    usage: "bash|zsh|fish",
    about: "Print the script that completes rcnt's commands in a shell",
    purpose: Purpose::System,
    arity: (1, Some(1)),
    augment: CompletionFlags::augment_args,
    read: |m| CompletionFlags::from_arg_matches_mut(m).map(Command::Completion),
};

pub(super) static MAN: Verb = Verb {
    name: "man",
    usage: "DIRECTORY",
    about: "Write the manual pages",
    purpose: Purpose::Hidden,
    arity: (1, Some(1)),
    augment: ManFlags::augment_args,
    read: |m| ManFlags::from_arg_matches_mut(m).map(Command::Man),
};
