//! A container as plain data: every decision is taken before anything is
//! touched. The engine (from docker-like flags) and `rcnt-oci` (from an OCI
//! bundle) make a [`ContainerPlan`]; [`crate::spawn`] turns it into a process.
//!
//! Nothing here reads files or calls the kernel. Collections are ordered, so
//! equal wishes give equal bytes and `--dry-run` prints something comparable.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

pub use rcnt_base::sys::seccomp::{FilterFlags, SockFilter};
use serde::{Deserialize, Serialize};

/// One container: what [`crate::spawn::spawn`] needs and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerPlan {
    /// Which namespaces are new, which belong to somebody else. What is in
    /// neither is shared with the caller (`--net=host`).
    pub namespaces: Namespaces,
    /// sethostname(2); needs a new UTS namespace.
    pub hostname: Option<String>,
    /// setdomainname(2); needs a new UTS namespace.
    pub domainname: Option<String>,
    /// The root file system.
    pub rootfs: RootfsPlan,
    /// Mounted in this order on top of the root file system.
    pub mounts: Vec<MountPlan>,
    /// Device nodes and `/dev` symlinks, made after the mounts.
    pub devices: DevicesPlan,
    /// Made unreadable: files by `/dev/null`, directories by an empty tmpfs. Absent ones are skipped.
    pub masked_paths: Vec<PathBuf>,
    /// Remounted read-only. Absent ones are skipped.
    pub readonly_paths: Vec<PathBuf>,
    /// Dotted name → value, written through a private procfs. The planner has
    /// checked that each belongs to a namespace of the container's own.
    pub sysctls: BTreeMap<String, String>,
    /// The control group and its limits.
    pub cgroup: CgroupPlan,
    /// The command.
    pub process: ProcessPlan,
    /// `--init`: pid 1 stays ours, forwards signals, reaps, and exits with the command's code.
    pub use_init: bool,
}

/// A kind of namespace (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// cgroup_namespaces(7)
    Cgroup,
    /// ipc_namespaces(7)
    Ipc,
    /// mount_namespaces(7)
    Mount,
    /// network_namespaces(7)
    Network,
    /// pid_namespaces(7)
    Pid,
    /// uts_namespaces(7)
    Uts,
}

/// The namespaces of a container. A mount namespace is always new.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Created by clone3(2).
    pub new: BTreeSet<NamespaceKind>,
    /// Entered by path, `/proc/<pid>/ns/net` of `--net=container:<id>`.
    pub join: BTreeMap<NamespaceKind, PathBuf>,
}

/// Where the root file system comes from and where it is put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootfsPlan {
    /// Its content.
    pub source: RootfsSource,
    /// An existing, empty host directory (for [`RootfsSource::Directory`] it may
    /// be the directory itself). Only the container's mount namespace sees
    /// anything on it.
    pub mountpoint: PathBuf,
    /// `--read-only`. Mounts on top decide for themselves.
    pub readonly: bool,
    /// Propagation of the root mount, `private` unless an OCI bundle says otherwise.
    pub propagation: Propagation,
}

/// Content of a root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootfsSource {
    /// overlayfs over an image's layers.
    Overlay {
        /// Layer directories, topmost first; at least one.
        lower: Vec<PathBuf>,
        /// The container's own changes.
        upper: PathBuf,
        /// overlayfs' work directory, on the same file system as `upper`.
        work: PathBuf,
    },
    /// A plain directory.
    Directory(PathBuf),
}

/// How mount events travel (mount_namespaces(7), "Shared subtrees").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// Neither way.
    #[default]
    Private,
    /// From the host into the container.
    Slave,
    /// Both ways.
    Shared,
    /// Private, and cannot be bind-mounted.
    Unbindable,
}

/// One mount. `destination` is a path inside the container; it is created when
/// missing and always resolved below the root, following symlinks there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPlan {
    /// Absolute, as the container sees it.
    pub destination: PathBuf,
    /// What is mounted.
    pub kind: MountKind,
    /// Attributes of the mount.
    pub attributes: MountAttributes,
    /// A fresh named volume (or podman's `tmpcopyup`): what the image has at
    /// `destination` is copied in first. No effect when it is not empty.
    pub copy_up: bool,
}

/// What a [`MountPlan`] mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// procfs of the container's pid namespace; only at `/proc`.
    Proc,
    /// sysfs of the container's network namespace; only at `/sys`.
    Sysfs,
    /// A fresh tmpfs.
    Tmpfs {
        /// Bytes; the kernel's default (half the memory) when absent.
        size: Option<u64>,
        /// Mode of its root directory, 0o1777 when absent.
        mode: Option<u32>,
        /// Owner of its root directory.
        uid: Option<u32>,
        /// Group of its root directory.
        gid: Option<u32>,
        /// Most inodes.
        inodes: Option<u64>,
    },
    /// A new devpts instance, `ptmxmode=0666,mode=0620,gid=5`.
    Devpts,
    /// POSIX message queues of the container's IPC namespace.
    Mqueue,
    /// The container's view of the cgroup hierarchies, v1, hybrid or v2 as on the host.
    Cgroup,
    /// A host file, directory, device or socket.
    Bind {
        /// Host path; must exist. Opened before the container's root is entered.
        source: PathBuf,
        /// With the mounts below it (`rbind`).
        recursive: bool,
        /// Propagation of the bind, docker's default `rprivate`.
        propagation: Propagation,
    },
}

/// Attributes of a mount (mount_setattr(2)). Only what is `true` is changed on a bind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountAttributes {
    /// `ro`
    pub readonly: bool,
    /// `nosuid`
    pub nosuid: bool,
    /// `nodev`
    pub nodev: bool,
    /// `noexec`
    pub noexec: bool,
    /// `noatime`
    pub noatime: bool,
    /// `nodiratime`
    pub nodiratime: bool,
    /// `nosymfollow`
    pub nosymfollow: bool,
    /// Apply to the mounts below as well (a recursive bind made `ro` all the way down).
    pub recursive: bool,
}

/// `/dev`: nodes, symlinks and the console. Empty when `/dev` is a directory of
/// the host's: then nothing is made in it, the console included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicesPlan {
    /// Nodes made with mknod(2).
    pub nodes: Vec<DeviceNode>,
    /// Link path → target, `/dev/fd` → `/proc/self/fd`.
    pub symlinks: BTreeMap<PathBuf, PathBuf>,
}

/// A device node (mknod(2)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Path inside the container.
    pub path: PathBuf,
    /// Character or block.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The two kinds of device, and "any" for rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// `c`
    Char,
    /// `b`
    Block,
    /// `a`: only in [`DeviceRule`]s.
    All,
}

/// The control group: `path` below each hierarchy's mount point, and limits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CgroupPlan {
    /// Relative, `rcnt/<id>`.
    pub path: PathBuf,
    /// Limits and device rules.
    pub resources: Resources,
}

/// Limits, in the units of docker's flags. `None` = not limited, nothing written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// `--memory`, bytes.
    pub memory: Option<u64>,
    /// `--memory-swap`, bytes of memory *plus* swap; -1 = unlimited swap.
    pub memory_swap: Option<i64>,
    /// `--memory-reservation`, bytes.
    pub memory_reservation: Option<u64>,
    /// `--memory-swappiness`, 0–100.
    pub memory_swappiness: Option<u64>,
    /// `--oom-kill-disable`
    pub oom_kill_disable: bool,
    /// `--cpu-quota`, microseconds per period.
    pub cpu_quota: Option<i64>,
    /// `--cpu-period`, microseconds.
    pub cpu_period: Option<u64>,
    /// `--cpu-shares`, cgroup v1 units (2–262144).
    pub cpu_shares: Option<u64>,
    /// `--cpuset-cpus`, "0-3,5".
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`
    pub cpuset_mems: Option<String>,
    /// `--pids-limit`; -1 = unlimited.
    pub pids_limit: Option<i64>,
    /// `--blkio-weight`, 10–1000.
    pub blkio_weight: Option<u16>,
    /// Huge page limits: page size as the kernel writes it ("2MB") → bytes (OCI bundles).
    pub hugetlb: BTreeMap<String, u64>,
    /// Access to device numbers, evaluated in order, last match wins. Empty =
    /// no restriction (`--privileged`).
    pub devices: Vec<DeviceRule>,
}

/// One line of the device cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Allow, or deny.
    pub allow: bool,
    /// Kind of device.
    pub kind: DeviceKind,
    /// Major number, any when absent.
    pub major: Option<u32>,
    /// Minor number, any when absent.
    pub minor: Option<u32>,
    /// Letters of `rwm`.
    pub access: String,
}

/// The command and the rights it runs with; also the input of [`crate::exec::exec`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessPlan {
    /// Command and arguments; at least one.
    pub args: Vec<String>,
    /// `NAME=value`. HOME is added from the passwd file when absent.
    pub env: Vec<String>,
    /// Working directory inside the container, created when missing.
    pub cwd: PathBuf,
    /// Whom it runs as.
    pub user: UserPlan,
    /// Exactly these sets, inheritable included.
    pub capabilities: CapabilitySets,
    /// prctl(PR_SET_NO_NEW_PRIVS)
    pub no_new_privileges: bool,
    /// setrlimit(2). Each is an explicit request: one that needs more rights than the caller has fails.
    pub rlimits: Vec<Rlimit>,
    /// The compiled system call filter, loaded last.
    pub seccomp: Option<SeccompProgram>,
    /// AppArmor profile from exec on, "unconfined" included; `None` leaves the caller's.
    #[serde(default)]
    pub apparmor_profile: Option<String>,
    /// `-t`: a pty of the container's own devpts becomes stdio and controlling
    /// terminal; must agree with the [`crate::spawn::ChildIo`] given.
    pub terminal: bool,
    /// `/proc/self/oom_score_adj`
    pub oom_score_adj: Option<i32>,
    /// umask(2), 0o022 when absent.
    pub umask: Option<u32>,
    /// `--group-add`: names or numbers, looked up inside the root file system.
    pub additional_groups: Vec<String>,
}

/// Whom the command runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserPlan {
    /// Numbers, used as they are (OCI bundles).
    Ids {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// Supplementary groups, exactly these plus `additional_groups`.
        groups: Vec<u32>,
    },
    /// docker's `user[:group]` in names or numbers, resolved inside the root
    /// file system. Empty = root.
    Spec(String),
}

impl Default for UserPlan {
    fn default() -> Self {
        UserPlan::Spec(String::new())
    }
}

/// Capability sets as bits, `1 << CAP_x` (capabilities(7)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySets {
    /// What may ever be gained.
    pub bounding: u64,
    /// What is in force after exec.
    pub effective: u64,
    /// What may be put in force.
    pub permitted: u64,
    /// Empty by default: CVE-2022-24769.
    pub inheritable: u64,
    /// Kept across exec by non-root users; empty by default.
    pub ambient: u64,
}

/// One resource limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// docker's name: "nofile", "nproc", "core"…
    pub name: String,
    /// Soft limit; `u64::MAX` = unlimited.
    pub soft: u64,
    /// Hard limit; `u64::MAX` = unlimited.
    pub hard: u64,
}

/// A compiled system call filter, made by [`crate::seccomp`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompProgram {
    /// Classic BPF.
    pub filter: Vec<SockFilter>,
    /// How it is loaded.
    pub flags: FilterFlags,
}
