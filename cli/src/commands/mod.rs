//! One file per verb: what the engine is asked, and what is printed of its
//! answer. No file here decides anything about containers.

pub(crate) mod names;

use crate::args::{Command, Global};
use crate::failure::Failure;

/// Does it; the exit code.
///
/// # Errors
/// What is to be printed.
pub(crate) fn dispatch(global: Global, command: Command) -> Result<u8, Failure> {
    let _ = global;
    match command {
        Command::Completion(flags) => crate::completion::script(flags.shell).map(|()| 0),
        Command::Man(flags) => crate::man::write_pages(&flags.directory).map(|()| 0),
        _ => Ok(0),
    }
}
