//! `info`.

use std::fs;

use rcnt_engine::{Engine, Status};
use serde_json::{Value, json};

use super::version::arch;
use crate::args::system::FormatFlags;
use crate::failure::Failure;
use crate::render::listing::{bad_template, parse};
use crate::render::{self, human};

/// f_type of a cgroup v2 mount (statfs(2)).
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;

/// `info`.
///
/// # Errors
/// A damaged store; a wrong template.
pub(super) fn info(engine: &Engine, flags: &FormatFlags) -> Result<u8, Failure> {
    let facts = facts(engine)?;
    let text = match flags.format.as_deref() {
        None | Some("") => table(&facts),
        Some(format) => {
            let format = if format == "json" { "{{json .}}" } else { format };
            parse(format)?.render(&facts).map_err(bad_template)? + "\n"
        }
    };
    render::out(&text)?;
    Ok(0)
}

fn facts(engine: &Engine) -> Result<Value, Failure> {
    let containers = engine.list()?;
    let running = containers.iter().filter(|c| c.state.status == Status::Running).count();
    let images = engine.store()?.list().map_err(|e| Failure::of(&e))?.len();
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let unified =
        rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|stat| stat.f_type == CGROUP2_SUPER_MAGIC);
    let memory = rustix::system::sysinfo();
    let memory = (memory.totalram as u64).saturating_mul(u64::from(memory.mem_unit));
    Ok(json!({
        "Architecture": text(uname.machine()),
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": if unified { "2" } else { "1" },
        "Containers": containers.len(),
        "ContainersPaused": 0,
        "ContainersRunning": running,
        "ContainersStopped": containers.len() - running,
        "DockerRootDir": engine.paths.roots.data,
        "Driver": "overlay2",
        "ExecRoot": engine.paths.roots.exec,
        "Images": images,
        "KernelVersion": text(uname.release()),
        "MemTotal": memory,
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "Name": text(uname.nodename()),
        "OSType": "linux",
        "OperatingSystem": operating_system(),
        "Platform": format!("linux/{}", arch()),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
    }))
}

/// os-release(5)'s PRETTY_NAME.
fn operating_system() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_owned()
}

fn table(facts: &Value) -> String {
    let field = |name: &str| match facts.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let memory = facts.get("MemTotal").and_then(Value::as_u64).unwrap_or(0);
    let lines = [
        ("Containers", field("Containers")),
        (" Running", field("ContainersRunning")),
        (" Paused", field("ContainersPaused")),
        (" Stopped", field("ContainersStopped")),
        ("Images", field("Images")),
        ("Server Version", field("ServerVersion")),
        ("Storage Driver", field("Driver")),
        ("Cgroup Driver", field("CgroupDriver")),
        ("Cgroup Version", field("CgroupVersion")),
        ("Kernel Version", field("KernelVersion")),
        ("Operating System", field("OperatingSystem")),
        ("OSType", field("OSType")),
        ("Architecture", field("Architecture")),
        ("CPUs", field("NCPU")),
        ("Total Memory", human::binary_size(memory)),
        ("Name", field("Name")),
        ("Data Root Dir", field("DockerRootDir")),
        ("Exec Root Dir", field("ExecRoot")),
    ];
    lines.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
}
