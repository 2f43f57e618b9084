//! `create`: arguments and an image become a stored container.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rcnt_base::files::Durability;
use rcnt_base::ids::{ContainerId, Name};
use rcnt_images::ImageConfig;
use rcnt_images::progress::Progress;
use rcnt_netstack::ports;
use time::OffsetDateTime;

use crate::container::{Container, ProcessConfig, Record, SCHEMA, State};
use crate::error::{EngineError, Result};
use crate::facts::HostFacts;
use crate::pull::{PullOptions, image};
use crate::request::{self, NetworkMode, RunArgs, RunRequest};
use crate::{Engine, links, names, network, plan, records, signals, volumes};

/// Seconds that `stop` waits, unless told otherwise.
const STOP_TIMEOUT: i64 = 10;

/// Stores a container made of `args`; pulls its image if need be.
///
/// # Errors
/// Anything wrong with the arguments, the image or the name. Nothing is left behind.
pub fn create(
    engine: &Engine,
    args: &RunArgs,
    pull: &PullOptions,
    progress: &dyn Progress,
) -> Result<Container> {
    let mut args = args.clone();
    engine.config.apply_defaults(&mut args);
    let mut request = request::build(&args, &|name| std::env::var(name).ok())?;
    check_network(engine, &mut request)?;
    volumes::check_binds(&request.mounts, false)?;
    let name = args.name.as_deref().map(str::parse).transpose().map_err(EngineError::Name)?;
    links::check_cycles(&engine.paths, name.as_ref(), &request.links)?;
    let (image, _lease) = image(engine, &request.image, pull, progress)?;
    let id = ContainerId::random().map_err(EngineError::state("cannot make an id"))?;
    let facts = HostFacts::read().map_err(EngineError::state("cannot read /proc"))?;
    let config = merge(engine, &request, &image.config, &id, &facts)?;
    let volumes =
        volumes::decide(&request.mounts, image.config.config.volumes.iter().map(String::as_str))?;
    let durability = if request.auto_remove { Durability::Volatile } else { Durability::Durable };
    let record = Record {
        schema: SCHEMA,
        name: name.clone().map_or_else(|| generated(&id, 0), Ok)?,
        id,
        created: OffsetDateTime::now_utc(),
        seccomp_profile: seccomp_profile(&request)?,
        request,
        image_id: image.id,
        config,
        volumes,
    };
    store(engine, record, name.is_some(), durability)
}

/// Stores the record; a generated name that is taken is generated again.
fn store(
    engine: &Engine,
    mut record: Record,
    named: bool,
    durability: Durability,
) -> Result<Container> {
    for attempt in 1.. {
        match records::create(&engine.paths, &record, durability) {
            Err(EngineError::NameTaken { .. }) if !named && attempt < 100 => {
                record.name = generated(&record.id, attempt)?;
            }
            stored => {
                stored?;
                break;
            }
        }
    }
    Ok(Container {
        id: record.id.clone(),
        name: record.name.clone(),
        record,
        state: State::created(),
    })
}

/// A name that follows from the id; each `attempt` gives another.
fn generated(id: &ContainerId, attempt: usize) -> Result<Name> {
    let mut seed = [0u8; 4];
    for (byte, source) in seed.iter_mut().zip(id.as_str().bytes().skip(attempt)) {
        *byte = source.wrapping_mul(37).wrapping_add(u8::try_from(attempt).unwrap_or(0));
    }
    names::generate(seed).parse().map_err(EngineError::Name)
}

/// Reads `--security-opt seccomp=FILE`, so that the container does not depend on it.
fn seccomp_profile(request: &RunRequest) -> Result<Option<String>> {
    /// A profile larger than this is something else (docker's has 16 KiB).
    const MOST: u64 = 4 << 20;
    let Some(path) = plan::seccomp_profile_path(&request.security_opt)? else { return Ok(None) };
    let reading = || EngineError::state(format!("cannot read seccomp profile {}", path.display()));
    let size = std::fs::metadata(&path).map_err(reading())?.len();
    if size > MOST {
        return Err(reading()(std::io::Error::other("it is larger than 4 MiB")));
    }
    std::fs::read_to_string(&path).map(Some).map_err(reading())
}

/// The network must exist, and a container to join too: its name becomes its id.
fn check_network(engine: &Engine, request: &mut RunRequest) -> Result<()> {
    for endpoint in &mut request.endpoints {
        // The default network is decided when it is first used.
        if endpoint.network != "bridge" {
            *endpoint = network::checked(engine, endpoint.clone())?;
        }
    }
    request.links = links::checked(engine, &request.links)?;
    for endpoint in &mut request.endpoints {
        endpoint.links = links::named(engine, &endpoint.links)?;
    }
    match &mut request.network {
        NetworkMode::Container(target) => {
            *target = engine.find(target)?.id.to_string();
            Ok(())
        }
        NetworkMode::Bridge(name) => {
            if let Some(first) = request.endpoints.first() {
                name.clone_from(&first.network);
            }
            Ok(())
        }
        NetworkMode::None | NetworkMode::Host => Ok(()),
    }
}

/// The image's configuration with the request's on top, as docker merges them.
fn merge(
    engine: &Engine,
    request: &RunRequest,
    image: &ImageConfig,
    id: &ContainerId,
    facts: &HostFacts,
) -> Result<ProcessConfig> {
    let image = &image.config;
    // An entrypoint of one's own drops the image's command.
    let command = match (&request.entrypoint, request.command.is_empty()) {
        (None, true) => image.cmd.clone(),
        _ => request.command.clone(),
    };
    let entrypoint = request.entrypoint.clone().unwrap_or_else(|| image.entrypoint.clone());
    if entrypoint.is_empty() && command.is_empty() {
        return Err(EngineError::NoCommand);
    }
    let mut env = image.env.clone();
    for entry in &request.env {
        let name = entry.split('=').next();
        env.retain(|e| e.split('=').next() != name);
        env.push(entry.clone());
    }
    let mut labels = image.labels.clone();
    labels.extend(request.labels.clone());
    let stop_signal = request.stop_signal.as_ref().or(image.stop_signal.as_ref());
    Ok(ProcessConfig {
        entrypoint,
        command,
        env,
        workdir: workdir(request.workdir.as_deref().unwrap_or(&image.working_dir)),
        user: request.user.clone().unwrap_or_else(|| image.user.clone()),
        hostname: hostname(engine, request, id, facts)?,
        labels,
        exposed: exposed(request, image)?,
        stop_signal: stop_signal.map_or(Ok(15), |s| signals::parse(s))?,
        stop_timeout: request.stop_timeout.or(image.stop_timeout).unwrap_or(STOP_TIMEOUT),
    })
}

fn workdir(text: &str) -> PathBuf {
    PathBuf::from("/").join(text)
}

fn hostname(
    engine: &Engine,
    request: &RunRequest,
    id: &ContainerId,
    facts: &HostFacts,
) -> Result<String> {
    Ok(match (&request.hostname, &request.network) {
        (Some(name), _) => name.clone(),
        (None, NetworkMode::Host) => facts.hostname.clone(),
        (None, NetworkMode::Container(target)) => engine.find(target)?.record.config.hostname,
        (None, _) => id.short().to_owned(),
    })
}

fn exposed(
    request: &RunRequest,
    image: &rcnt_images::config::RunConfig,
) -> Result<BTreeSet<ports::ContainerPort>> {
    let mut all = request.expose.clone();
    for text in &image.exposed_ports {
        // What an image says about itself cannot stop a container (CVE-2026-53488).
        all.extend(ports::parse_expose(text).unwrap_or_default());
    }
    for spec in &request.publish {
        let (first, last) = spec.container_ports;
        all.extend(
            (first..=last).map(|port| ports::ContainerPort { port, protocol: spec.protocol }),
        );
    }
    Ok(all)
}
