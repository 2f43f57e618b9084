//! `rcnt`, the command line: argv → engine → what people and scripts read.
//!
//! - [`args`]       argv → [`args::Invocation`]; usage errors and help
//! - [`commands`]   one file per verb: engine calls and their output
//! - [`render`]     tables, times, sizes, templates, progress
//! - [`terminal`]   the loop of a command in the foreground
//! - [`completion`] shell completion, [`man`] manual pages, from the same table
//! - [`failure`]    one error line, a hint, an exit code
//!
//! Nothing here knows how containers work, and no thread is started here: the
//! engine forks from this process.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod completion;
mod failure;
mod man;
mod render;
mod terminal;

use std::process::ExitCode;

use args::Invocation;
use failure::Failure;

fn main() -> ExitCode {
    ExitCode::from(match run() {
        Ok(code) => code,
        Err(failure) => {
            failure.print();
            failure.exit_code()
        }
    })
}

fn run() -> Result<u8, Failure> {
    if completion::requested() {
        return completion::answer();
    }
    match args::parse(std::env::args_os().skip(1))? {
        Invocation::Print(text) => {
            render::out_styled(&text)?;
            Ok(0)
        }
        Invocation::Command(global, command) => {
            rcnt_base::trace::init(global.level);
            commands::dispatch(global, command)
        }
    }
}
