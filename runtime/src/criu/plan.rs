//! What CRIU is told about a container: from its plan and the facts around it
//! to the rest of [`Options`], which the caller has begun with what was asked
//! for. Pure.
//!
//! Every mount whose source is outside gets a name, its destination as planned.
//! Images hold that name; a restore, perhaps of another bundle on another
//! machine, says which host path it stands for then.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::facts::DumpFacts;
use super::message::Options;
use crate::cgroup::Layout;
use crate::init::clean;
use crate::plan::{ContainerPlan, MountKind, NamespaceKind};

/// Host's and container's null device, and the name of all files masked with it.
pub(super) const NULL: &str = "/dev/null";

/// A mount whose source is outside of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct External {
    /// Where the plan puts it, and its name in images.
    pub(super) name: PathBuf,
    /// What it is on the host.
    pub(super) source: PathBuf,
}

/// The external mounts of `plan` on a machine with `layout`.
pub(super) fn externals(plan: &ContainerPlan, layout: &Layout) -> Vec<External> {
    let mut found = Vec::new();
    for mount in &plan.mounts {
        let name = clean(&mount.destination);
        match &mount.kind {
            MountKind::Bind { source, .. } => {
                found.push(External { name, source: source.clone() });
            }
            MountKind::Cgroup if are_binds(plan) => {
                cgroup_views(plan, layout, &name, &mut found);
            }
            _ => {}
        }
    }
    for node in plan.devices.nodes.iter().filter(|_| plan.devices.bind) {
        found.push(External { name: clean(&node.path), source: node.path.clone() });
    }
    found
}

/// With a cgroup namespace of its own CRIU mounts the hierarchies as for anybody,
/// unless it is in a user namespace, which may not own that one.
fn are_binds(plan: &ContainerPlan) -> bool {
    let separate = |kind| plan.namespaces.separate(kind);
    !separate(NamespaceKind::Cgroup) || separate(NamespaceKind::User)
}

/// The container's own cgroup in each hierarchy, as `init` lays them out.
fn cgroup_views(plan: &ContainerPlan, layout: &Layout, at: &Path, found: &mut Vec<External>) {
    let own = &plan.cgroup.path;
    let unified = layout.unified_dir(own);
    if let (Some(source), true) = (&unified, layout.v1.is_empty()) {
        found.push(External { name: at.to_owned(), source: source.clone() });
        return;
    }
    let v1 = layout.v1.iter().map(|hierarchy| (&hierarchy.mountpoint, hierarchy.dir(own)));
    for (mountpoint, source) in v1.chain(layout.unified.iter().zip(unified)) {
        if let Some(name) = mountpoint.file_name() {
            found.push(External { name: at.join(name), source });
        }
    }
}

/// `KIND[KEY]:VALUE`, of which CRIU finds the value by the key as a whole.
fn external(kind: &str, key: &Path, value: &Path) -> String {
    let text = |path: &Path| String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned();
    format!("{kind}[{}]:{}", text(key), text(value))
}

/// Completes `options` for a dump of the container made of `plan`.
pub fn dump(options: &mut Options, plan: &ContainerPlan, facts: &DumpFacts) {
    options.pid = Some(facts.pid);
    options.root = plan.rootfs.mountpoint.clone();
    options.freeze_cgroup = facts.freezer.clone();
    options.track_mem = options.parent_image.is_some();
    for (kind, inode) in &facts.foreign_namespaces {
        let key = namespace_key(*kind);
        options.external.push(format!("{}[{inode}]:{key}", namespace_word(*kind)));
    }
    for (name, seen) in &facts.mounts {
        options.external.push(external("mnt", seen, name));
    }
    for masked in &facts.masked_files {
        options.external.push(external("mnt", masked, Path::new(NULL)));
    }
}

/// Completes `options` for a restore of a container made of `plan`. `root` is
/// where its root file system is mounted; of `namespaces`, each a kind and a
/// descriptor in the CRIU process, those are taken that exist outside.
pub fn restore(
    options: &mut Options,
    plan: &ContainerPlan,
    layout: &Layout,
    root: &Path,
    namespaces: &[(NamespaceKind, i32)],
) {
    options.root = root.to_owned();
    options.siblings = true;
    options.evasive_devices = true;
    for (kind, fd) in namespaces {
        options.inherit_fd.push((namespace_key(*kind).to_owned(), *fd));
    }
    for (kind, path) in &plan.namespaces.join {
        if !is_external(*kind) {
            options.join_ns.push((namespace_word(*kind), path.clone()));
        }
    }
    for External { name, source } in externals(plan, layout) {
        options.external.push(external("mnt", &name, &source));
    }
    if !plan.masked_paths.is_empty() {
        options.external.push(external("mnt", Path::new(NULL), Path::new(NULL)));
    }
}

/// The kinds that stay outside of images when they are somebody else's; the
/// others are entered by CRIU itself, by path.
pub(super) fn is_external(kind: NamespaceKind) -> bool {
    matches!(kind, NamespaceKind::Network | NamespaceKind::Pid)
}

/// The name of a foreign namespace in images, runc's.
fn namespace_key(kind: NamespaceKind) -> &'static str {
    if kind == NamespaceKind::Pid { "extRootPidNS" } else { "extRootNetNS" }
}

/// As in `/proc/<pid>/ns`.
pub(super) fn namespace_word(kind: NamespaceKind) -> &'static str {
    match kind {
        NamespaceKind::Cgroup => "cgroup",
        NamespaceKind::Ipc => "ipc",
        NamespaceKind::Mount => "mnt",
        NamespaceKind::Network => "net",
        NamespaceKind::Pid => "pid",
        NamespaceKind::Time => "time",
        NamespaceKind::User => "user",
        NamespaceKind::Uts => "uts",
    }
}

/// Which of CRIU's settings overrule what it is told by us: a file named by the
/// annotation `org.criu.config`, none where that is empty, else the runtime's own.
pub fn config_file(annotation: Option<&str>) -> Option<String> {
    match annotation {
        Some("") => None,
        Some(path) => Some(path.to_owned()),
        None => Some("/etc/criu/rcnt-oci.conf".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{self, CgroupDriver};
    use serde_json::json;

    const HYBRID: &str = "\
        1 2 0:3 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
        1 2 0:4 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n";

    /// A container with one bind, a network namespace of others, and a cgroup
    /// namespace if `own_cgroups`.
    fn plan_of(own_cgroups: bool) -> ContainerPlan {
        let mut config = oci::spec::default_config();
        let bind = json!({"destination": "/data/", "source": "/etc", "options": ["rbind"]});
        config["mounts"].as_array_mut().unwrap().push(bind);
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|it| it["type"] != "cgroup" && it["type"] != "network");
        namespaces.push(json!({"type": "network", "path": "/proc/1/ns/net"}));
        if own_cgroups {
            namespaces.push(json!({"type": "cgroup"}));
        }
        config["linux"]["cgroupsPath"] = "/c".into();
        let spec = serde_json::from_value(config).unwrap();
        oci::plan("x", Path::new("/b"), &spec, CgroupDriver::Files).unwrap()
    }

    #[test]
    fn what_is_outside_has_a_name_and_a_source() {
        let layout = Layout::parse(HYBRID.as_bytes());
        let names = |plan: &ContainerPlan| -> Vec<_> {
            externals(plan, &layout).into_iter().map(|it| (it.name, it.source)).collect()
        };
        let path = PathBuf::from;
        let with = names(&plan_of(true));
        assert_eq!(with, [(path("/data"), path("/etc"))]);
        // Views of the host's hierarchies without a namespace for them.
        let without = names(&plan_of(false));
        let cpu = (path("/sys/fs/cgroup/cpu"), path("/sys/fs/cgroup/cpu/c"));
        assert!(without.len() == 3 && without.contains(&cpu), "{without:?}");
    }

    #[test]
    fn a_restore_finds_by_name_what_a_dump_left_out() {
        let plan = plan_of(true);
        let layout = Layout::parse(HYBRID.as_bytes());
        let facts = DumpFacts {
            pid: 7,
            mounts: vec![("/data".into(), "/real".into())],
            masked_files: vec!["/proc/keys".into()],
            foreign_namespaces: vec![(NamespaceKind::Network, 99)],
            freezer: None,
        };
        let (mut dumped, mut restored) = (Options::default(), Options::default());
        dump(&mut dumped, &plan, &facts);
        let expected = ["net[99]:extRootNetNS", "mnt[/real]:/data", "mnt[/proc/keys]:/dev/null"];
        assert_eq!(dumped.external, expected);
        assert_eq!((dumped.pid, dumped.root), (Some(7), PathBuf::from("/b/rootfs")));
        let network = [(NamespaceKind::Network, 5)];
        restore(&mut restored, &plan, &layout, Path::new("/at"), &network);
        assert_eq!(restored.external, ["mnt[/data]:/etc", "mnt[/dev/null]:/dev/null"]);
        assert_eq!(restored.inherit_fd, [("extRootNetNS".to_owned(), 5)]);
        assert!(restored.join_ns.is_empty() && restored.siblings);
    }

    #[test]
    fn an_annotation_names_the_settings_or_forbids_them() {
        assert_eq!(config_file(Some("")), None);
        assert_eq!(config_file(Some("/x")).as_deref(), Some("/x"));
        assert!(config_file(None).is_some());
    }
}
