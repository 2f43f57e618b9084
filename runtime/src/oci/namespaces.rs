//! `linux.namespaces`.

use oci_spec::runtime::{Linux, LinuxNamespaceType};

use super::{OciError, unsupported};
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
