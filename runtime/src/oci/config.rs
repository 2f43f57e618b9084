//! `config.json` as it is read (runtime-spec 1.3, config.md): the whole of it
//! that concerns Linux, unknown fields ignored.
//!
//! Names that a future kernel or another runtime may know (capabilities, limits,
//! actions, policies…) are kept as text: the planner says which of them are
//! unknown, with the field's path, and passes over those that must be ignored.
//! `null` stands for an absent field, as it does for the programs that write
//! these files.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use oci_spec::runtime::{
    Hooks, LinuxDevice, LinuxIdMapping, LinuxIntelRdt, LinuxNamespace, LinuxNetDevice,
    LinuxTimeOffset, Mount, Root,
};
use serde::{Deserialize, Deserializer, Serialize};

use super::resources_config::LinuxResources;
use crate::seccomp::Profile;

/// The configuration of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    #[serde(rename = "ociVersion", deserialize_with = "or_default")]
    version: String,
    root: Option<Root>,
    mounts: Option<Vec<Mount>>,
    process: Option<Process>,
    hostname: Option<String>,
    domainname: Option<String>,
    hooks: Option<Hooks>,
    annotations: Option<BTreeMap<String, String>>,
    linux: Option<Linux>,
}

/// `linux`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Linux {
    uid_mappings: Option<Vec<LinuxIdMapping>>,
    gid_mappings: Option<Vec<LinuxIdMapping>>,
    sysctl: Option<BTreeMap<String, String>>,
    resources: Option<LinuxResources>,
    cgroups_path: Option<PathBuf>,
    namespaces: Option<Vec<LinuxNamespace>>,
    devices: Option<Vec<LinuxDevice>>,
    net_devices: Option<HashMap<String, LinuxNetDevice>>,
    seccomp: Option<Profile>,
    rootfs_propagation: Option<String>,
    masked_paths: Option<Vec<String>>,
    readonly_paths: Option<Vec<String>>,
    mount_label: Option<String>,
    intel_rdt: Option<LinuxIntelRdt>,
    memory_policy: Option<MemoryPolicy>,
    personality: Option<Personality>,
    time_offsets: Option<HashMap<String, LinuxTimeOffset>>,
}

/// One reader for each field, by the field's name.
macro_rules! readers {
    ($owner:ident { $($field:ident: $kind:ty, $doc:literal;)* }) => {
        impl $owner {
            $(
                #[doc = $doc]
                pub fn $field(&self) -> &$kind {
                    &self.$field
                }
            )*
        }
    };
}

readers!(Spec {
    version: String, "`ociVersion`";
    root: Option<Root>, "`root`";
    mounts: Option<Vec<Mount>>, "`mounts`";
    process: Option<Process>, "`process`";
    hostname: Option<String>, "`hostname`";
    domainname: Option<String>, "`domainname`";
    hooks: Option<Hooks>, "`hooks`";
    annotations: Option<BTreeMap<String, String>>, "`annotations`";
    linux: Option<Linux>, "`linux`";
});

readers!(Linux {
    uid_mappings: Option<Vec<LinuxIdMapping>>, "`linux.uidMappings`";
    gid_mappings: Option<Vec<LinuxIdMapping>>, "`linux.gidMappings`";
    sysctl: Option<BTreeMap<String, String>>, "`linux.sysctl`";
    resources: Option<LinuxResources>, "`linux.resources`";
    cgroups_path: Option<PathBuf>, "`linux.cgroupsPath`";
    namespaces: Option<Vec<LinuxNamespace>>, "`linux.namespaces`";
    devices: Option<Vec<LinuxDevice>>, "`linux.devices`";
    net_devices: Option<HashMap<String, LinuxNetDevice>>, "`linux.netDevices`";
    seccomp: Option<Profile>, "`linux.seccomp`";
    rootfs_propagation: Option<String>, "`linux.rootfsPropagation`";
    masked_paths: Option<Vec<String>>, "`linux.maskedPaths`";
    readonly_paths: Option<Vec<String>>, "`linux.readonlyPaths`";
    mount_label: Option<String>, "`linux.mountLabel`";
    intel_rdt: Option<LinuxIntelRdt>, "`linux.intelRdt`";
    memory_policy: Option<MemoryPolicy>, "`linux.memoryPolicy`";
    personality: Option<Personality>, "`linux.personality`";
    time_offsets: Option<HashMap<String, LinuxTimeOffset>>, "`linux.timeOffsets`";
});

/// `process`, also the whole file of `exec --process`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Process {
    /// On a terminal of its own.
    #[serde(deserialize_with = "or_default")]
    pub terminal: bool,
    /// The terminal's size; nothing when both are 0.
    pub console_size: Option<ConsoleSize>,
    /// Whom it runs as.
    #[serde(deserialize_with = "or_default")]
    pub user: User,
    /// Command and arguments.
    #[serde(deserialize_with = "or_default")]
    pub args: Vec<String>,
    /// `NAME=value`.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// Working directory.
    #[serde(deserialize_with = "or_default")]
    pub cwd: PathBuf,
    /// What it may do.
    pub capabilities: Option<Capabilities>,
    /// Resource limits.
    #[serde(deserialize_with = "or_default")]
    pub rlimits: Vec<PosixRlimit>,
    /// prctl(PR_SET_NO_NEW_PRIVS)
    #[serde(deserialize_with = "or_default")]
    pub no_new_privileges: bool,
    /// AppArmor profile; empty = none said.
    #[serde(deserialize_with = "or_default")]
    pub apparmor_profile: String,
    /// SELinux label; empty = none said.
    #[serde(deserialize_with = "or_default")]
    pub selinux_label: String,
    /// `/proc/self/oom_score_adj`
    pub oom_score_adj: Option<i32>,
    /// sched_setattr(2)
    pub scheduler: Option<Scheduler>,
    /// ioprio_set(2)
    pub io_priority: Option<IoPriority>,
    /// CPUs of an exec'd process.
    #[serde(rename = "execCPUAffinity")]
    pub exec_cpu_affinity: Option<ExecCpuAffinity>,
}

/// `process.consoleSize`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsoleSize {
    /// Rows.
    pub height: u64,
    /// Columns.
    pub width: u64,
}

/// `process.user`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    /// User id inside.
    #[serde(deserialize_with = "or_default")]
    pub uid: u32,
    /// Group id inside.
    #[serde(deserialize_with = "or_default")]
    pub gid: u32,
    /// umask(2)
    pub umask: Option<u32>,
    /// Supplementary groups.
    #[serde(deserialize_with = "or_default")]
    pub additional_gids: Vec<u32>,
}

/// `process.capabilities`, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// What may ever be gained.
    #[serde(deserialize_with = "or_default")]
    pub bounding: Vec<String>,
    /// What is in force.
    #[serde(deserialize_with = "or_default")]
    pub effective: Vec<String>,
    /// What may be put in force.
    #[serde(deserialize_with = "or_default")]
    pub permitted: Vec<String>,
    /// `None` and empty differ to `exec --cap`.
    pub inheritable: Option<Vec<String>>,
    /// Kept across exec by non-root users.
    #[serde(deserialize_with = "or_default")]
    pub ambient: Vec<String>,
}

/// One of `process.rlimits`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PosixRlimit {
    /// getrlimit(2)'s name of it.
    #[serde(rename = "type")]
    pub name: String,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// `process.scheduler`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scheduler {
    /// `SCHED_OTHER`…
    pub policy: String,
    /// For SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR.
    pub priority: i32,
    /// `SCHED_FLAG_RESET_ON_FORK`…
    #[serde(deserialize_with = "or_default")]
    pub flags: Vec<String>,
    /// SCHED_DEADLINE, nanoseconds.
    pub runtime: u64,
    /// SCHED_DEADLINE, nanoseconds.
    pub deadline: u64,
    /// SCHED_DEADLINE, nanoseconds.
    pub period: u64,
}

/// `process.ioPriority`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IoPriority {
    /// `IOPRIO_CLASS_RT`…
    pub class: String,
    /// 0 (highest) to 7.
    pub priority: i64,
}

/// `process.execCPUAffinity`: lists like "0-3,7".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecCpuAffinity {
    /// While it enters the container.
    #[serde(deserialize_with = "or_default")]
    pub initial: String,
    /// When the command begins.
    #[serde(rename = "final", deserialize_with = "or_default")]
    pub last: String,
}

/// `linux.memoryPolicy`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryPolicy {
    /// `MPOL_BIND`…
    #[serde(deserialize_with = "or_default")]
    pub mode: String,
    /// "0-3,7"
    #[serde(deserialize_with = "or_default")]
    pub nodes: String,
    /// `MPOL_F_STATIC_NODES`…
    #[serde(deserialize_with = "or_default")]
    pub flags: Vec<String>,
}

/// `linux.personality`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Personality {
    /// `LINUX` or `LINUX32`.
    #[serde(deserialize_with = "or_default")]
    pub domain: String,
    /// None is defined.
    #[serde(deserialize_with = "or_default")]
    pub flags: Vec<String>,
}

/// `null` is the default value.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::oci;

    fn read(json: serde_json::Value) -> Result<Spec, oci::OciError> {
        oci::parse(Path::new("config.json"), json.to_string().as_bytes())
    }

    #[test]
    fn a_wrong_type_is_refused_with_the_fields_path() {
        let wrong = |json| read(json).unwrap_err().to_string();
        let text = wrong(serde_json::json!({"process": {"rlimits": [{}, {"soft": "x"}]}}));
        assert!(text.starts_with("config.json: process.rlimits[1].soft: invalid type"), "{text}");
        let text = wrong(serde_json::json!({"process": {"user": {"uid": 4_294_967_296_u64}}}));
        assert!(text.starts_with("config.json: process.user.uid: invalid value"), "{text}");
        let text = wrong(serde_json::json!({"linux": {"seccomp": {"architectures": ["z80"]}}}));
        assert!(text.contains("linux.seccomp.architectures[0]: string z80 is not"), "{text}");
    }

    #[test]
    fn unknown_names_and_null_are_no_mistakes() {
        let json = serde_json::json!({
            "process": {
                "user": null, "args": null, "rlimits": null, "cwd": "/",
                "capabilities": {"bounding": ["CAP_NONE"], "ambient": null},
                "of": "tomorrow"
            },
            "linux": {"seccomp": {"architectures": ["SCMP_ARCH_S390X"], "syscalls": null}}
        });
        let spec = read(json).unwrap();
        let process = spec.process().as_ref().unwrap();
        assert_eq!(process.user, User::default());
        assert_eq!(process.capabilities.as_ref().unwrap().bounding, ["CAP_NONE"]);
        // What is kept in the state directory is what was read.
        let again: Spec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(again, spec);
    }

    #[test]
    fn what_is_no_json_is_told_by_file() {
        let error = oci::parse::<Spec>(Path::new("/b/config.json"), b"{").unwrap_err();
        assert_eq!(error.to_string(), "/b/config.json is not an OCI runtime configuration");
    }
}
