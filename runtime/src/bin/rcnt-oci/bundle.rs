//! An OCI bundle's `config.json` → [`ContainerPlan`]. Pure but for reading the
//! file. What rcnt cannot do is refused in words, never ignored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Linux, LinuxDevice, LinuxDeviceType, LinuxNamespaceType, LinuxResources, Mount, Process, Spec,
};
use rcnt_runtime::capabilities;
use rcnt_runtime::cgroup::devices::default_device_rules;
use rcnt_runtime::plan::*;
use rcnt_runtime::seccomp::{Conditions, SeccompError, compile_json};
use rcnt_runtime::security::HostSecurity;

use crate::options;

/// Why a bundle cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    /// `config.json` cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not what the specification says.
    #[error("{} is not an OCI runtime configuration", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A required part is missing.
    #[error("the configuration has no {0}")]
    Missing(&'static str),
    /// A part rcnt cannot provide.
    #[error("cannot provide {0}")]
    Unsupported(String),
    /// The filter cannot be compiled.
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    /// What we may pass on cannot be found out.
    #[error("cannot read the caller's capabilities")]
    Capabilities(#[source] std::io::Error),
}

fn unsupported<T>(what: impl Into<String>) -> Result<T, BundleError> {
    Err(BundleError::Unsupported(what.into()))
}

/// Reads `config.json` of the bundle.
pub(crate) fn read(bundle: &Path) -> Result<Spec, BundleError> {
    let path = bundle.join("config.json");
    let text =
        std::fs::read(&path).map_err(|source| BundleError::Read { path: path.clone(), source })?;
    serde_json::from_slice(&text).map_err(|source| BundleError::Json { path, source })
}

/// The plan of container `id`.
pub(crate) fn plan(id: &str, bundle: &Path, spec: &Spec) -> Result<ContainerPlan, BundleError> {
    let linux = spec.linux().as_ref().ok_or(BundleError::Missing("linux section"))?;
    let process = spec.process().as_ref().ok_or(BundleError::Missing("process"))?;
    refuse_unknown(linux)?;
    let rootfs = rootfs(bundle, spec, linux)?;
    let mut mounts = Vec::new();
    for mount in spec.mounts().iter().flatten() {
        mounts.push(mount_plan(bundle, mount)?);
    }
    let host_dev = mounts
        .iter()
        .any(|m| m.destination == Path::new("/dev") && matches!(m.kind, MountKind::Bind { .. }));
    let paths = |list: &Option<Vec<String>>| list.iter().flatten().map(PathBuf::from).collect();
    Ok(ContainerPlan {
        namespaces: namespaces(linux)?,
        hostname: spec.hostname().clone(),
        domainname: spec.domainname().clone(),
        rootfs,
        mounts,
        devices: if host_dev { DevicesPlan::default() } else { devices(linux)? },
        masked_paths: paths(linux.masked_paths()),
        readonly_paths: paths(linux.readonly_paths()),
        sysctls: linux.sysctl().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
        cgroup: CgroupPlan {
            path: cgroup_path(id, linux)?,
            resources: resources(linux.resources().as_ref())?,
        },
        process: process_plan(process, linux)?,
        use_init: false,
    })
}

fn refuse_unknown(linux: &Linux) -> Result<(), BundleError> {
    let mappings = linux.uid_mappings().iter().chain(linux.gid_mappings()).flatten();
    if mappings.count() > 0 {
        return unsupported("user namespaces");
    }
    if linux.intel_rdt().is_some() {
        return unsupported("Intel RDT");
    }
    if linux.personality().is_some() {
        return unsupported("another personality");
    }
    Ok(())
}

fn rootfs(bundle: &Path, spec: &Spec, linux: &Linux) -> Result<RootfsPlan, BundleError> {
    let root = spec.root().as_ref().ok_or(BundleError::Missing("root"))?;
    let path = bundle.join(root.path());
    let propagation = match linux.rootfs_propagation().as_deref().unwrap_or("private") {
        "" | "private" | "rprivate" => Propagation::Private,
        "slave" | "rslave" => Propagation::Slave,
        "shared" | "rshared" => Propagation::Shared,
        "unbindable" | "runbindable" => Propagation::Unbindable,
        other => return unsupported(format!("rootfs propagation {other:?}")),
    };
    Ok(RootfsPlan {
        source: RootfsSource::Directory(path.clone()),
        mountpoint: path,
        readonly: root.readonly().unwrap_or(false),
        propagation,
    })
}

fn namespaces(linux: &Linux) -> Result<Namespaces, BundleError> {
    let mut plan = Namespaces::default();
    for namespace in linux.namespaces().iter().flatten() {
        let kind = match namespace.typ() {
            LinuxNamespaceType::Mount => NamespaceKind::Mount,
            LinuxNamespaceType::Cgroup => NamespaceKind::Cgroup,
            LinuxNamespaceType::Uts => NamespaceKind::Uts,
            LinuxNamespaceType::Ipc => NamespaceKind::Ipc,
            LinuxNamespaceType::Pid => NamespaceKind::Pid,
            LinuxNamespaceType::Network => NamespaceKind::Network,
            LinuxNamespaceType::User => return unsupported("user namespaces"),
            LinuxNamespaceType::Time => return unsupported("time namespaces"),
        };
        match namespace.path() {
            Some(path) if kind == NamespaceKind::Mount => {
                return unsupported(format!("joining mount namespace {}", path.display()));
            }
            Some(path) => drop(plan.join.insert(kind, path.clone())),
            None => drop(plan.new.insert(kind)),
        }
    }
    Ok(plan)
}

fn mount_plan(bundle: &Path, mount: &Mount) -> Result<MountPlan, BundleError> {
    let words = mount.options().as_deref().unwrap_or_default();
    let parsed = options::parse(words);
    if let Some(word) = parsed.data.iter().find(|word| word.starts_with("idmap")) {
        return unsupported(format!("mount option {word:?}"));
    }
    let source = mount.source().clone().unwrap_or_default();
    let kind = match mount.typ().as_deref().unwrap_or("none") {
        _ if parsed.bind.is_some() => MountKind::Bind {
            source: bundle.join(source),
            recursive: parsed.bind == Some(options::Depth::Recursive),
            propagation: parsed.propagation.unwrap_or_default(),
        },
        "bind" => MountKind::Bind {
            source: bundle.join(source),
            recursive: false,
            propagation: parsed.propagation.unwrap_or_default(),
        },
        "proc" => MountKind::Proc,
        "sysfs" => MountKind::Sysfs,
        "devpts" => MountKind::Devpts,
        "mqueue" => MountKind::Mqueue,
        "cgroup" | "cgroup2" => MountKind::Cgroup,
        "tmpfs" => options::tmpfs(&parsed.data).map_err(BundleError::Unsupported)?,
        other => return unsupported(format!("a mount of type {other:?}")),
    };
    Ok(MountPlan {
        destination: mount.destination().clone(),
        kind,
        attributes: parsed.attributes,
        copy_up: parsed.copy_up,
    })
}

/// What every OCI container has (runtime-spec, config-linux.md, "Default Devices").
fn devices(linux: &Linux) -> Result<DevicesPlan, BundleError> {
    let standard = [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8)];
    let standard = standard.into_iter().chain([("urandom", 1, 9), ("tty", 5, 0)]);
    let mut nodes: BTreeMap<PathBuf, DeviceNode> = BTreeMap::new();
    for (name, major, minor) in standard {
        let path = Path::new("/dev").join(name);
        let kind = DeviceKind::Char;
        let node =
            DeviceNode { path: path.clone(), kind, major, minor, mode: 0o666, uid: 0, gid: 0 };
        nodes.insert(path, node);
    }
    for device in linux.devices().iter().flatten() {
        nodes.insert(device.path().clone(), node(device)?);
    }
    let links = [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
        ("/dev/core", "/proc/kcore"),
    ];
    Ok(DevicesPlan {
        nodes: nodes.into_values().collect(),
        symlinks: links.iter().map(|(link, to)| (link.into(), to.into())).collect(),
    })
}

fn node(device: &LinuxDevice) -> Result<DeviceNode, BundleError> {
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Char,
        LinuxDeviceType::B => DeviceKind::Block,
        LinuxDeviceType::P | LinuxDeviceType::A => {
            return unsupported(format!("device {} of that type", device.path().display()));
        }
    };
    let number = |n: i64| u32::try_from(n).or_else(|_| unsupported(format!("device number {n}")));
    Ok(DeviceNode {
        path: device.path().clone(),
        kind,
        major: number(device.major())?,
        minor: number(device.minor())?,
        mode: device.file_mode().unwrap_or(0o666),
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}

/// Below each hierarchy's mount point. systemd's `slice:prefix:name` form needs
/// systemd to be told, which rcnt does not do.
fn cgroup_path(id: &str, linux: &Linux) -> Result<PathBuf, BundleError> {
    let Some(path) = linux.cgroups_path() else { return Ok(Path::new("rcnt-oci").join(id)) };
    if path.to_string_lossy().contains(':') {
        return unsupported(format!("cgroup {} through systemd", path.display()));
    }
    let plain = rcnt_relative(path);
    if plain.as_os_str().is_empty() { Ok(Path::new("rcnt-oci").join(id)) } else { Ok(plain) }
}

/// `path` without its leading slash and without dot components.
fn rcnt_relative(path: &Path) -> PathBuf {
    use std::path::Component;
    let normal = |c| if let Component::Normal(name) = c { Some(name) } else { None };
    path.components().filter_map(normal).collect()
}

fn resources(given: Option<&LinuxResources>) -> Result<Resources, BundleError> {
    let Some(given) = given else {
        return Ok(Resources { devices: default_device_rules(), ..Resources::default() });
    };
    if given.unified().as_ref().is_some_and(|map| !map.is_empty()) {
        return unsupported("raw cgroup v2 settings (linux.resources.unified)");
    }
    let mut plan = Resources::default();
    if let Some(memory) = given.memory() {
        // Negative means unlimited, which is what nothing means.
        plan.memory = memory.limit().and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
        plan.memory_swap = memory.swap().filter(|n| *n != 0 && plan.memory.is_some());
        plan.memory_reservation =
            memory.reservation().and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
        plan.memory_swappiness = memory.swappiness();
        plan.oom_kill_disable = memory.disable_oom_killer().unwrap_or(false);
    }
    if let Some(cpu) = given.cpu() {
        plan.cpu_quota = cpu.quota().filter(|n| *n > 0);
        plan.cpu_period = cpu.period().filter(|n| *n > 0);
        plan.cpu_shares = cpu.shares().filter(|n| *n > 0);
        let some = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
        plan.cpuset_cpus = some(cpu.cpus());
        plan.cpuset_mems = some(cpu.mems());
    }
    plan.pids_limit = given.pids().as_ref().map(|pids| pids.limit()).filter(|n| *n != 0);
    plan.blkio_weight = given.block_io().as_ref().and_then(|io| io.weight()).filter(|n| *n > 0);
    plan.devices = device_rules(given);
    Ok(plan)
}

/// Deny all, the bundle's rules in order, then what every container needs; no
/// rules when the bundle ends up allowing everything.
fn device_rules(given: &LinuxResources) -> Vec<DeviceRule> {
    let kind = |typ: Option<LinuxDeviceType>| match typ {
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => DeviceKind::Char,
        Some(LinuxDeviceType::B) => DeviceKind::Block,
        _ => DeviceKind::All,
    };
    let number = |n: Option<i64>| n.and_then(|n| u32::try_from(n).ok());
    let rules = given.devices().iter().flatten().map(|rule| DeviceRule {
        allow: rule.allow(),
        kind: kind(rule.typ()),
        major: number(rule.major()),
        minor: number(rule.minor()),
        access: rule.access().clone().filter(|a| !a.is_empty()).unwrap_or_else(|| "rwm".into()),
    });
    let rules: Vec<DeviceRule> = rules.collect();
    let everything = rules.last().is_some_and(|rule| {
        rule.allow && rule.kind == DeviceKind::All && (rule.major, rule.minor) == (None, None)
    });
    if everything {
        return Vec::new();
    }
    let (deny, allow): (Vec<_>, Vec<_>) =
        default_device_rules().into_iter().partition(|rule| !rule.allow);
    deny.into_iter().chain(rules).chain(allow).collect()
}

/// The process of the configuration, or of `exec --process`.
pub(crate) fn process_plan(process: &Process, linux: &Linux) -> Result<ProcessPlan, BundleError> {
    let user = process.user();
    let args = process.args().clone().unwrap_or_default();
    if process.selinux_label().as_deref().is_some_and(|label| !label.is_empty()) {
        return unsupported("an SELinux label");
    }
    let capabilities = capability_sets(process)?;
    let rlimits = process.rlimits().iter().flatten().map(|limit| Rlimit {
        name: json_name(&limit.typ()),
        soft: limit.soft(),
        hard: limit.hard(),
    });
    Ok(ProcessPlan {
        args,
        env: process.env().clone().unwrap_or_default(),
        cwd: process.cwd().clone(),
        user: UserPlan::Ids {
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
        },
        capabilities,
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        rlimits: rlimits.collect(),
        seccomp: seccomp(linux, capabilities)?,
        apparmor_profile: apparmor_profile(process)?,
        terminal: process.terminal().unwrap_or(false),
        oom_score_adj: process.oom_score_adj(),
        umask: user.umask(),
        additional_groups: Vec::new(),
    })
}

/// A profile by name on a host without AppArmor is refused rather than ignored.
fn apparmor_profile(process: &Process) -> Result<Option<String>, BundleError> {
    let Some(profile) = process.apparmor_profile().clone().filter(|p| !p.is_empty()) else {
        return Ok(None);
    };
    match HostSecurity::read().apparmor {
        true => Ok(Some(profile)),
        false if profile == "unconfined" => Ok(None),
        false => unsupported(format!("AppArmor profile {profile:?}: AppArmor is off")),
    }
}

/// The name a value has in `config.json`.
fn json_name(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// The sets as listed, less what the caller does not hold itself (as runc does,
/// with a word on stderr there).
fn capability_sets(process: &Process) -> Result<CapabilitySets, BundleError> {
    let held = capabilities::caller_bounding().map_err(BundleError::Capabilities)?;
    let Some(lists) = process.capabilities() else { return Ok(CapabilitySets::default()) };
    let bits = |list: &Option<std::collections::HashSet<_>>| {
        let names = list.iter().flatten().map(json_name);
        names.filter_map(|name| capabilities::parse(&name)).fold(0, |set, bit| set | bit) & held
    };
    Ok(CapabilitySets {
        bounding: bits(lists.bounding()),
        effective: bits(lists.effective()),
        permitted: bits(lists.permitted()),
        inheritable: bits(lists.inheritable()),
        ambient: bits(lists.ambient()),
    })
}

/// OCI's filter section is docker's profile format without the conditions.
fn seccomp(
    linux: &Linux,
    capabilities: CapabilitySets,
) -> Result<Option<SeccompProgram>, BundleError> {
    let Some(profile) = linux.seccomp() else { return Ok(None) };
    if profile.listener_path().is_some() {
        return unsupported("a seccomp listener");
    }
    let text = serde_json::to_vec(profile)
        .map_err(|source| BundleError::Json { path: "config.json".into(), source })?;
    Ok(compile_json(&text, Conditions::here(capabilities.bounding)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default_spec() -> Spec {
        serde_json::from_value(crate::spec::default_config()).unwrap()
    }

    #[test]
    fn the_default_configuration_is_planned_whole() {
        let plan = plan("abc", Path::new("/b"), &default_spec()).unwrap();
        assert_eq!(plan.cgroup.path, Path::new("rcnt-oci/abc"));
        assert_eq!(plan.namespaces.new.len(), 6);
        assert_eq!(plan.rootfs.mountpoint, Path::new("/b/rootfs"));
        assert_eq!(plan.mounts.len(), 7);
        assert!(plan.rootfs.readonly && plan.process.no_new_privileges);
        assert_eq!(plan.process.rlimits[0].name, "RLIMIT_NOFILE");
        assert_ne!(plan.process.capabilities.bounding, 0);
        assert!(plan.cgroup.resources.devices.iter().any(|r| !r.allow));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let refused = |pointer: &str, value: serde_json::Value| {
            let mut config = crate::spec::default_config();
            *config.pointer_mut(pointer).unwrap() = value;
            let spec: Spec = serde_json::from_value(config).unwrap();
            plan("x", Path::new("/b"), &spec).unwrap_err().to_string()
        };
        let text = refused("/mounts/0/type", "ext4".into());
        assert_eq!(text, "cannot provide a mount of type \"ext4\"");
        let text = refused("/linux/namespaces/0", serde_json::json!({"type": "user"}));
        assert_eq!(text, "cannot provide user namespaces");
    }

    #[test]
    fn cgroup_paths_stay_below_the_mount_point() {
        assert_eq!(rcnt_relative(Path::new("/a/../../b/./c")), Path::new("a/b/c"));
    }
}
