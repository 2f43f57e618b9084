//! `linux.namespaces`.

use oci_spec::runtime::{Linux, LinuxNamespaceType};

use super::{OciError, refuse};
use crate::plan::{NamespaceKind, Namespaces};

pub(super) fn namespaces(linux: &Linux) -> Result<Namespaces, OciError> {
    let mut plan = Namespaces::default();
    for namespace in linux.namespaces().iter().flatten() {
        let kind = match namespace.typ() {
            LinuxNamespaceType::Mount => NamespaceKind::Mount,
            LinuxNamespaceType::Cgroup => NamespaceKind::Cgroup,
            LinuxNamespaceType::Uts => NamespaceKind::Uts,
            LinuxNamespaceType::Ipc => NamespaceKind::Ipc,
            LinuxNamespaceType::Pid => NamespaceKind::Pid,
            LinuxNamespaceType::Network => NamespaceKind::Network,
            LinuxNamespaceType::User => {
                return refuse("linux.namespaces", "user namespaces are not supported");
            }
            LinuxNamespaceType::Time => {
                return refuse("linux.namespaces", "time namespaces are not supported");
            }
        };
        match namespace.path() {
            Some(path) if kind == NamespaceKind::Mount => {
                return refuse(
                    "linux.namespaces",
                    format!("joining mount namespace {} is not supported", path.display()),
                );
            }
            Some(path) => drop(plan.join.insert(kind, path.clone())),
            None => drop(plan.new.insert(kind)),
        }
    }
    Ok(plan)
}
