//! One file per verb: what the engine is asked, and what is printed of its
//! answer. No file here decides anything about containers.

mod attach;
mod capture;
mod disk;
mod exec;
mod foreground;
mod graph;
mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod load;
mod logs;
pub(crate) mod names;
mod network;
mod port;
mod ps;
mod pull;
mod restart;
mod rm;
mod rmi;
mod run;
mod start;
mod stop;
mod trace;
mod version;
mod wait;

use rcnt_base::roots::DEFAULT_CONFIG;
use rcnt_engine::{ConfigSource, Engine};

use crate::args::{Command, Global};
use crate::failure::Failure;
use crate::render;

/// Does it; the exit code.
///
/// # Errors
/// What is to be printed.
pub(crate) fn dispatch(global: Global, command: Command) -> Result<u8, Failure> {
    let has_containers_as_children = matches!(
        command,
        Command::Exec(_) | Command::Restart(_) | Command::Run(_) | Command::Start(_)
    );
    if has_containers_as_children {
        rcnt_engine::seal().map_err(Failure::starting)?;
    }
    match command {
        Command::Attach(flags) => attach::attach(&open(global)?, flags),
        Command::Capture(flags) => capture::capture(&open(global)?, &flags),
        Command::Completion(flags) => crate::completion::script(flags.shell).map(|()| 0),
        Command::Create(flags) => run::create(global, *flags),
        Command::Exec(flags) => exec::exec(&open(global)?, *flags),
        Command::Images(flags) => images::images(&open(global)?, &flags),
        Command::Import(flags) => import::import(&open(global)?, flags),
        Command::Info(flags) => info::info(&open(global)?, &flags),
        Command::Inspect(flags) => inspect::inspect(&open(global)?, &flags),
        Command::Kill(flags) => kill::kill(&open(global)?, &flags),
        Command::Load(flags) => load::load(&open(global)?, &flags),
        Command::Logs(flags) => logs::logs(&open(global)?, &flags),
        Command::Man(flags) => crate::man::write_pages(&flags.directory).map(|()| 0),
        Command::Network(command) => network::dispatch(&open(global)?, command),
        Command::NetworkGraph(flags) => graph::graph(&open(global)?, &flags),
        Command::NetworkTrace(flags) => trace::trace(&open(global)?, &flags),
        Command::Port(flags) => port::port(&open(global)?, &flags),
        Command::Ps(flags) => ps::ps(&open(global)?, &flags),
        Command::Pull(flags) => pull::pull(&open(global)?, &flags),
        Command::Remove(flags) => rm::remove(&open(global)?, &flags),
        Command::RemoveImage(flags) => rmi::remove(&open(global)?, &flags),
        Command::Restart(flags) => restart::restart(&open(global)?, &flags),
        Command::Run(flags) => run::run(global, *flags),
        Command::Start(flags) => start::start(&open(global)?, &flags),
        Command::Stop(flags) => stop::stop(&open(global)?, &flags),
        Command::Version(flags) => version::version(&flags),
        Command::Wait(flags) => wait::wait(&open(global)?, &flags),
    }
}

/// Opens the instance that the global flags name.
///
/// # Errors
/// Not root; a wrong configuration; a disk that cannot be used.
fn open(global: Global) -> Result<Engine, Failure> {
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::general(
            "must run as root: containers need namespaces, mounts and networks",
        )
        .hint("try again with sudo"));
    }
    let config = match global.config {
        Some(path) => ConfigSource::Explicit(path),
        None => ConfigSource::Default(DEFAULT_CONFIG.into()),
    };
    Ok(Engine::open(global.roots, &config)?)
}

/// Does `work` to each target, prints what it gives or why it failed, and goes
/// on; the exit code is 1 if any failed.
fn each(
    targets: &[String],
    mut work: impl FnMut(&str) -> Result<String, Failure>,
) -> Result<u8, Failure> {
    let mut code = 0;
    for target in targets {
        match work(target) {
            Ok(line) if line.is_empty() => {}
            Ok(line) => render::out(&(line + "\n"))?,
            Err(failure) => {
                failure.print();
                code = 1;
            }
        }
    }
    Ok(code)
}
