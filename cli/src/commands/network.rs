//! `network` and what it does: one file per verb.

mod check;
mod connect;
mod create;
mod inspect;
mod ls;
mod prune;
mod rm;

use rcnt_engine::Engine;

use crate::args::network::NetworkCommand;
use crate::failure::Failure;

/// Does it; the exit code.
///
/// # Errors
/// What is to be printed.
pub(super) fn dispatch(engine: &Engine, command: NetworkCommand) -> Result<u8, Failure> {
    match command {
        NetworkCommand::Check(flags) => check::check(engine, &flags),
        NetworkCommand::Connect(flags) => connect::connect(engine, *flags),
        NetworkCommand::Create(flags) => create::create(engine, *flags),
        NetworkCommand::Disconnect(flags) => connect::disconnect(engine, &flags),
        NetworkCommand::Inspect(flags) => inspect::inspect(engine, &flags),
        NetworkCommand::List(flags) => ls::list(engine, &flags),
        NetworkCommand::Prune(flags) => prune::prune(engine, &flags),
        NetworkCommand::Remove(flags) => rm::remove(engine, &flags),
    }
}
