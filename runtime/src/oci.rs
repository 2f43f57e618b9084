//! An OCI bundle's `config.json` → [`ContainerPlan`]. Pure but for reading the
//! file. What rcnt cannot do is refused in words, never ignored.

mod attributes;
mod cgroup;
pub mod config;
mod devices;
mod hooks;
mod intel_rdt;
mod mounts;
mod namespaces;
mod net_devices;
mod options;
mod process;
mod reader;
mod resources;
pub mod resources_config;
mod seccomp;
pub mod spec;
mod sysctls;
mod unit_properties;

use std::path::{Path, PathBuf};

pub use cgroup::CgroupDriver;
pub use config::{Linux, Process, Spec};
pub use hooks::{OutsideHooks, outside_hooks, state};
pub use mounts::forbid_pivot;
pub use process::{Container, ExecOptions, exec_plan, exec_process};
use reader::Reader;
pub use resources::limits;
pub use resources_config::LinuxResources;
use serde::de::DeserializeOwned;

use crate::plan::*;
use crate::seccomp::SeccompError;

/// Why a bundle cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
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
    /// A field asks for something that makes no sense or that nobody here can give.
    #[error("config.json: {path}: {problem}")]
    Field {
        /// The field's JSON path, `linux.resources.memory.limit`, `mounts[3].options[0]`.
        path: String,
        /// What is wrong with it and what would do.
        problem: String,
    },
    /// The filter cannot be compiled.
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    /// What we may pass on cannot be found out.
    #[error("cannot read the caller's capabilities")]
    Capabilities(#[source] std::io::Error),
    /// Where a relative cgroup path begins cannot be found out.
    #[error("cannot read /proc/self/cgroup")]
    OwnCgroup(#[source] std::io::Error),
}

/// The field at JSON path `path` cannot be met, because of `problem`.
fn refuse<T>(path: impl Into<String>, problem: impl Into<String>) -> Result<T, OciError> {
    Err(OciError::Field { path: path.into(), problem: problem.into() })
}

/// Reads `config.json` of the bundle.
pub fn read(bundle: &Path) -> Result<Spec, OciError> {
    let path = bundle.join("config.json");
    let text =
        std::fs::read(&path).map_err(|source| OciError::Read { path: path.clone(), source })?;
    parse(&path, &text)
}

/// `text` as a `T`; what is wrong with it is told with the field's path. `path`
/// is the file's, for texts that are not JSON.
///
/// # Errors
/// [`OciError::Json`] or [`OciError::Field`]
pub fn parse<T: DeserializeOwned>(path: &Path, text: &[u8]) -> Result<T, OciError> {
    let document: serde_json::Value = serde_json::from_slice(text)
        .map_err(|source| OciError::Json { path: path.to_owned(), source })?;
    T::deserialize(Reader(&document)).or_else(|misfit| match misfit.path() {
        nowhere if nowhere.is_empty() => {
            let source = serde::de::Error::custom(misfit.problem());
            Err(OciError::Json { path: path.to_owned(), source })
        }
        field => refuse(field, misfit.problem()),
    })
}

/// The plan of container `id`.
pub fn plan(
    id: &str,
    bundle: &Path,
    spec: &Spec,
    driver: CgroupDriver,
) -> Result<ContainerPlan, OciError> {
    let linux = spec.linux().as_ref().ok_or(OciError::Missing("linux section"))?;
    let namespaces = namespaces::namespaces(linux)?;
    namespaces::refuse_sharing(spec, &namespaces)?;
    let rootfs = mounts::rootfs(bundle, spec, linux)?;
    let here = mounts::Surroundings { bundle, rootfs: &rootfs.mountpoint, namespaces: &namespaces };
    let list = here.mounts(spec.mounts().as_deref().unwrap_or_default())?;
    mounts::refuse_missing_sources(&rootfs.mountpoint, &list)?;
    let label = linux.mount_label().clone().filter(|label| !label.is_empty());
    let net_devices = net_devices::net_devices(linux, &namespaces)?;
    Ok(ContainerPlan {
        intel_rdt: intel_rdt::intel_rdt(id, linux)?,
        net_devices,
        hostname: spec.hostname().clone(),
        domainname: spec.domainname().clone(),
        rootfs,
        devices: devices::devices(linux, &list, &namespaces)?,
        mounts: list,
        mount_label: label.filter(|_| crate::security::selinux_is_on()),
        masked_paths: mounts::paths("linux.maskedPaths", linux.masked_paths().as_deref())?,
        readonly_paths: mounts::paths("linux.readonlyPaths", linux.readonly_paths().as_deref())?,
        sysctls: sysctls::sysctls(
            linux.sysctl().as_ref(),
            spec.domainname().as_deref(),
            &namespaces,
        )?,
        cgroup: cgroup::cgroup(id, spec, driver, || {
            std::fs::read_to_string("/proc/self/cgroup").map_err(OciError::OwnCgroup)
        })?,
        process: process::first(Container { id, bundle, spec })?,
        hooks: hooks::inside(spec, hooks::state(id, bundle, spec))?,
        use_init: false,
        namespaces,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default_spec() -> Spec {
        serde_json::from_value(spec::default_config()).unwrap()
    }

    #[test]
    fn the_default_configuration_is_planned_whole() {
        let plan = plan("abc", Path::new("/b"), &default_spec(), CgroupDriver::Files).unwrap();
        assert_eq!(plan.cgroup.path, Path::new("abc"));
        assert_eq!(plan.namespaces.new.len(), 5);
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
            let mut config = spec::default_config();
            *config.pointer_mut(pointer).unwrap() = value;
            let spec: Spec = serde_json::from_value(config).unwrap();
            plan("x", Path::new("/b"), &spec, CgroupDriver::Files).unwrap_err().to_string()
        };
        let text = refused("/mounts/0/type", "bind".into());
        assert!(text.starts_with("config.json: mounts[0].type: "), "{text}");
        let text = refused("/linux/namespaces/0", serde_json::json!({"type": "user"}));
        assert!(text.starts_with("config.json: linux.uidMappings: "), "{text}");
        let text = refused("/linux/namespaces/3", serde_json::json!({"type": "time"}));
        assert_eq!(
            text,
            "config.json: hostname: unable to set hostname without a private UTS namespace"
        );
    }
}
