//! Record + image + host facts → [`ContainerPlan`]. Pure: every default of
//! docker's that is not the user's choice stands here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use rcnt_base::report::{ExitKind, StartError};
use rcnt_netstack::apply;
use rcnt_runtime::capabilities::CapabilityRequest;
use rcnt_runtime::plan::{
    Attributes, CapabilitySets, CgroupPlan, ContainerPlan, DeviceNode, HooksPlan, NamespaceKind,
    Namespaces, ProcessPlan, Propagation, Resources, Rlimit, RootfsPlan, RootfsSource,
    SeccompProgram, UserPlan,
};
use rcnt_runtime::security::{HostSecurity, SeccompChoice, SecurityOptions};
use rcnt_runtime::{seccomp, security};

use crate::container::Record;
use crate::error::{EngineError, Result};
use crate::facts::HostFacts;
use crate::request::NetworkMode;

mod devices;
mod mounts;

pub use mounts::{Sources, VolumeSource};

/// All that a plan is made of.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    /// What the container is.
    pub record: &'a Record,
    /// What its links say.
    pub linked: &'a [String],
    /// The host.
    pub facts: &'a HostFacts,
    /// Image layers, topmost first.
    pub layers: Vec<PathBuf>,
    /// The container's own layer and overlayfs' scratch directory.
    pub upper: PathBuf,
    /// See `upper`.
    pub work: PathBuf,
    /// Where the root file system is mounted.
    pub rootfs: PathBuf,
    /// What is mounted from the host.
    pub sources: Sources,
    /// The network namespace to join, for `--net=container:`.
    pub join_network: Option<PathBuf>,
    /// Device nodes of the host, for `--privileged`.
    pub host_devices: Vec<DeviceNode>,
    /// `rcnt/<id>`.
    pub cgroup: PathBuf,
}

/// Masked, as docker does.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// Read-only, as docker does.
const READONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Decides everything about one start.
///
/// # Errors
/// A right that cannot be given, a sysctl outside the container's namespaces.
pub fn container_plan(inputs: &Inputs<'_>) -> Result<ContainerPlan> {
    let request = &inputs.record.request;
    let security = security::parse(&request.security_opt).map_err(rights)?;
    security.check(HostSecurity::read()).map_err(rights)?;
    let own_network = inputs.join_network.is_none() && request.network != NetworkMode::Host;
    check_sysctls(&request.sysctls, own_network)?;
    // A privileged container sees everything, but for what is masked by name.
    let defaults = |list: &'static [&'static str]| if request.privileged { &[] } else { list };
    let mounts = mounts::all(request, inputs, own_network);
    Ok(ContainerPlan {
        namespaces: namespaces(inputs),
        hostname: Some(inputs.record.config.hostname.clone()),
        domainname: request.domainname.clone(),
        rootfs: RootfsPlan {
            source: RootfsSource::Overlay {
                lower: inputs.layers.clone(),
                upper: inputs.upper.clone(),
                work: inputs.work.clone(),
            },
            mountpoint: inputs.rootfs.clone(),
            readonly: request.read_only,
            propagation: Propagation::Private,
            propagation_recursive: false,
            no_pivot: false,
        },
        devices: devices::all(request.privileged, &inputs.host_devices, &mounts),
        mounts,
        mount_label: None,
        masked_paths: security.masked_paths(defaults(&MASKED)),
        readonly_paths: security.readonly_paths(defaults(&READONLY)),
        sysctls: request.sysctls.clone(),
        cgroup: CgroupPlan {
            path: inputs.cgroup.clone(),
            resources: resources(request),
            ..CgroupPlan::default()
        },
        process: process(inputs, &security)?,
        intel_rdt: None,
        net_devices: Vec::new(),
        hooks: HooksPlan::default(),
        use_init: request.init,
    })
}

fn rights(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EngineError {
    EngineError::Rights(error.into())
}

fn namespaces(inputs: &Inputs<'_>) -> Namespaces {
    use NamespaceKind::{Cgroup, Ipc, Mount, Network, Pid, Uts};
    let mut new = BTreeSet::from([Cgroup, Ipc, Mount, Pid, Uts]);
    let mut join = BTreeMap::new();
    match (&inputs.join_network, &inputs.record.request.network) {
        (Some(path), _) => drop(join.insert(Network, path.clone())),
        (None, NetworkMode::Host) => {}
        (None, _) => drop(new.insert(Network)),
    }
    Namespaces { new, join, ..Namespaces::default() }
}

/// Only what a namespace of the container's own holds may be set (CVE-2022-0811).
fn check_sysctls(sysctls: &BTreeMap<String, String>, own_network: bool) -> Result<()> {
    const IPC: [&str; 9] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.domainname",
    ];
    for name in sysctls.keys() {
        let allowed = IPC.contains(&name.as_str())
            || name.starts_with("fs.mqueue.")
            || (name.starts_with("net.") && own_network);
        if !allowed || name.contains("..") {
            return Err(EngineError::Sysctl(name.clone()));
        }
    }
    Ok(())
}

fn resources(request: &crate::request::RunRequest) -> Resources {
    const PERIOD: u64 = 100_000;
    Resources {
        memory: request.memory.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        memory_swap: request.memory_swap.filter(|total| *total != 0),
        swap_like_memory: request.memory.is_some(),
        cpu_quota: request
            .nano_cpus
            .and_then(|nanos| i64::try_from(nanos.saturating_mul(PERIOD) / 1_000_000_000).ok()),
        cpu_period: request.nano_cpus.map(|_| PERIOD),
        pids_limit: request.pids_limit,
        devices: if request.privileged { Vec::new() } else { devices::rules() },
        ..Resources::default()
    }
}

fn process(inputs: &Inputs<'_>, security: &SecurityOptions) -> Result<ProcessPlan> {
    let record = inputs.record;
    let request = &record.request;
    let capabilities = capabilities(record, inputs.facts)?;
    Ok(ProcessPlan {
        args: record.config.args(),
        env: environment(record, inputs.linked),
        cwd: record.config.workdir.clone(),
        user: UserPlan::Spec(record.config.user.clone()),
        capabilities,
        no_new_privileges: security.no_new_privileges,
        rlimits: rlimits(record),
        seccomp: filter(
            security,
            record.seccomp_profile.as_deref(),
            request.privileged,
            capabilities,
        )?,
        apparmor_profile: security.apparmor_profile(HostSecurity::read()).map(str::to_owned),
        terminal: request.tty,
        oom_score_adj: request.oom_score_adj,
        umask: None,
        additional_groups: request.group_add.clone(),
        attributes: Attributes::default(),
    })
}

/// What `--cap-add`, `--cap-drop` and `--privileged` come to on this host.
///
/// # Errors
/// A capability that the caller does not have.
pub fn capabilities(record: &Record, facts: &HostFacts) -> Result<CapabilitySets> {
    let request = CapabilityRequest {
        add: record.request.cap_add.clone(),
        drop: record.request.cap_drop.clone(),
        privileged: record.request.privileged,
    };
    request.plan(facts.bounding).map_err(rights)
}

/// The system call filter in force; none for `--privileged` and `seccomp=unconfined`.
///
/// # Errors
/// The profile is not one.
pub fn filter(
    security: &SecurityOptions,
    profile: Option<&str>,
    privileged: bool,
    capabilities: CapabilitySets,
) -> Result<Option<SeccompProgram>> {
    let conditions = || seccomp::Conditions::here(capabilities.bounding).map_err(rights);
    match (&security.seccomp, profile) {
        (SeccompChoice::Unconfined, _) => Ok(None),
        (SeccompChoice::File(path), Some(text)) => {
            seccomp::compile_json(text.as_bytes(), conditions()?).map_err(|source| {
                EngineError::SeccompProfile { path: path.clone(), source: Box::new(source) }
            })
        }
        _ if privileged => Ok(None),
        _ => seccomp::default_program(conditions()?).map(Some).map_err(rights),
    }
}

/// PATH, HOSTNAME and TERM first, so that image and flags can replace them.
pub fn environment(record: &Record, linked: &[String]) -> Vec<String> {
    const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut env = vec![PATH.to_owned(), format!("HOSTNAME={}", record.config.hostname)];
    if record.request.tty {
        env.push("TERM=xterm".to_owned());
    }
    for entry in linked.iter().chain(&record.config.env) {
        let name = entry.split('=').next();
        env.retain(|e| e.split('=').next() != name);
        env.push(entry.clone());
    }
    env
}

/// What `--ulimit` asked for.
pub(crate) fn rlimits(record: &Record) -> Vec<Rlimit> {
    let number = |n: i64| u64::try_from(n).unwrap_or(u64::MAX);
    record
        .request
        .ulimits
        .iter()
        .map(|u| Rlimit { name: u.name.clone(), soft: number(u.soft), hard: number(u.hard) })
        .collect()
}

/// What init does in the container's network namespace where it is `alone`, that is
/// where the supervisor puts no interface into it: bring up loopback.
///
/// # Errors
/// The kernel's reason.
pub fn inside(alone: bool, plan: &ContainerPlan) -> std::result::Result<(), StartError> {
    match alone && plan.namespaces.new.contains(&NamespaceKind::Network) {
        true => apply::configure_loopback()
            .map_err(|e| StartError::new("network", ExitKind::Runtime, &e)),
        false => Ok(()),
    }
}

/// The file that `--security-opt seccomp=FILE` names.
///
/// # Errors
/// An option that is none.
pub fn seccomp_profile_path(options: &[String]) -> Result<Option<PathBuf>> {
    Ok(match security::parse(options).map_err(rights)?.seccomp {
        SeccompChoice::File(path) => Some(path),
        _ => None,
    })
}
