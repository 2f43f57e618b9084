//! `linux.cgroupsPath`: where the container's cgroup is, made by mkdir or by systemd.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::LinuxNamespaceType;

use super::{OciError, Spec, refuse, resources, unit_properties};
use crate::plan::{CgroupPlan, UnitPlan};

const FIELD: &str = "linux.cgroupsPath";

/// Who makes the container's cgroup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupDriver {
    /// We do, with mkdir(2); `linux.cgroupsPath` is a path.
    #[default]
    Files,
    /// systemd does; `linux.cgroupsPath` is `slice:prefix:name`.
    Systemd,
}

/// The cgroup of container `id`, with its limits. `own` gives the text of
/// /proc/self/cgroup and is only asked when the path is relative.
pub(super) fn cgroup(
    id: &str,
    spec: &Spec,
    driver: CgroupDriver,
    own: impl FnOnce() -> Result<String, OciError>,
) -> Result<CgroupPlan, OciError> {
    let linux = spec.linux().as_ref();
    let given = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let resources = resources::resources(linux.and_then(|linux| linux.resources().as_ref()))?;
    let owner = owner(spec);
    let plan = CgroupPlan { all_controllers: true, owner, resources, ..CgroupPlan::default() };
    match driver {
        CgroupDriver::Files => {
            let given = given.unwrap_or(Path::new(""));
            if given.to_str().is_some_and(|text| text.contains(".slice:")) {
                let problem = format!("{} is the form for --systemd-cgroup", given.display());
                return refuse(FIELD, problem);
            }
            let path = relative(given);
            let named = !path.as_os_str().is_empty();
            let path = if named { path } else { PathBuf::from(id) };
            let bases = if given.is_absolute() { BTreeMap::new() } else { own_bases(&own()?) };
            Ok(CgroupPlan { path, bases, ..plan })
        }
        CgroupDriver::Systemd => {
            let (path, mut unit) = unit(id, given)?;
            unit.properties = unit_properties::properties(spec.annotations().as_ref())?;
            Ok(CgroupPlan { path, unit: Some(unit), ..plan })
        }
    }
}

/// Whose the cgroup is to be (config-linux.md, "Cgroup ownership"): the command's
/// user, when it sees its own cgroups only and may write to them.
fn owner(spec: &Spec) -> Option<u32> {
    let linux = spec.linux().as_ref()?;
    let mut namespaces = linux.namespaces().iter().flatten();
    let private =
        namespaces.any(|it| it.typ() == LinuxNamespaceType::Cgroup && it.path().is_none());
    let writable = spec.mounts().iter().flatten().any(|mount| {
        let cgroups = matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2"));
        let readonly = mount.options().iter().flatten().any(|option| option == "ro");
        cgroups && !readonly && mount.destination() == Path::new("/sys/fs/cgroup")
    });
    if !(private && writable) {
        return None;
    }
    let uid = spec.process().as_ref()?.user.uid;
    let mut users = linux.namespaces().iter().flatten();
    if !users.any(|it| it.typ() == LinuxNamespaceType::User) {
        return Some(uid).filter(|uid| *uid != 0);
    }
    // Of a user namespace that is joined nobody says who is who.
    linux.uid_mappings().iter().flatten().find_map(|map| {
        let offset = uid.checked_sub(map.container_id()).filter(|n| *n < map.size())?;
        map.host_id().checked_add(offset)
    })
}

/// `path` without its leading slash; ".." never climbs above the beginning.
fn relative(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => drop(plain.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    plain
}

/// A relative path begins at the caller's own cgroup in v1 hierarchies. In the v2
/// tree it begins one above: a cgroup with processes hands no controllers down
/// (cgroups(7), "no internal processes").
fn own_bases(text: &str) -> BTreeMap<String, PathBuf> {
    let mut bases = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let own = relative(Path::new(path));
        // "/../x" is outside of our cgroup namespace and cannot be named.
        if own.as_os_str().is_empty() || path.starts_with("/..") {
            continue;
        }
        if controllers.is_empty() {
            let above = own.parent().unwrap_or(Path::new("")).to_owned();
            if !above.as_os_str().is_empty() {
                bases.insert(String::new(), above);
            }
        }
        for controller in controllers.split(',').filter(|c| !c.is_empty()) {
            bases.insert(controller.to_owned(), own.clone());
        }
    }
    bases
}

/// `slice:prefix:name` → the unit and its cgroup.
fn unit(id: &str, given: Option<&Path>) -> Result<(PathBuf, UnitPlan), OciError> {
    let given = given.map(|path| path.to_string_lossy()).unwrap_or_default();
    let parts: Vec<&str> = given.split(':').collect();
    let (slice, prefix, name) = match parts[..] {
        [""] => ("", "rcnt", id),
        [slice, prefix, name] => (slice, prefix, name),
        _ => {
            let problem = format!(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {given:?} instead"
            );
            return refuse(FIELD, problem);
        }
    };
    let slice = if slice.is_empty() { "system.slice" } else { slice };
    let Some(above) = expand_slice(slice) else {
        return refuse(FIELD, format!("invalid slice name: {slice}"));
    };
    let unit = match (name.ends_with(".slice"), prefix) {
        (true, _) => name.to_owned(),
        (false, "") => format!("{name}.scope"),
        (false, prefix) => format!("{prefix}-{name}.scope"),
    };
    // systemd.unit(5): letters, digits and these; at most 255 bytes.
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    let simple = unit.bytes().all(allowed) && unit.len() < 256 && !unit.starts_with('.');
    if name.is_empty() || !simple {
        return refuse(FIELD, format!("{unit:?} is no name of a systemd unit"));
    }
    let path = match expand_slice(&unit) {
        Some(path) => path,
        None if unit.ends_with(".slice") => {
            return refuse(FIELD, format!("invalid slice name: {unit}"));
        }
        None => above.join(&unit),
    };
    let description = format!("rcnt container {id}");
    let slice = slice.to_owned();
    Ok((path, UnitPlan { name: unit, slice, description, properties: BTreeMap::new() }))
}

/// systemd.slice(5): `a-b.slice` is `a.slice/a-b.slice`, `-.slice` the root.
/// `None` when it is no slice's name.
fn expand_slice(slice: &str) -> Option<PathBuf> {
    let name = slice.strip_suffix(".slice")?;
    if name == "-" {
        return Some(PathBuf::new());
    }
    let mut path = PathBuf::new();
    let mut prefix = String::new();
    for part in name.split('-') {
        if part.is_empty() || part.contains('/') {
            return None;
        }
        prefix.push_str(part);
        path.push(format!("{prefix}.slice"));
        prefix.push('-');
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN: &str = "\
4:memory:/process_api/c7
3:cpu,cpuacct:/
2:name=systemd:/../out
0::/user.slice/session-1.scope
";

    fn planned(path: Option<&str>, driver: CgroupDriver) -> Result<CgroupPlan, String> {
        let config = serde_json::json!({"linux": {"cgroupsPath": path}});
        let spec: Spec = serde_json::from_value(config).unwrap();
        cgroup("c1", &spec, driver, || Ok(OWN.to_owned())).map_err(|e| e.to_string())
    }

    #[test]
    fn absolute_paths_begin_at_the_root_and_others_at_the_callers_own() {
        let plan = planned(Some("/a/../../b/./c"), CgroupDriver::Files).unwrap();
        assert_eq!((plan.path.as_path(), plan.bases.len()), (Path::new("b/c"), 0));
        for (given, path) in [(None, "c1"), (Some(""), "c1"), (Some("x/y"), "x/y")] {
            let plan = planned(given, CgroupDriver::Files).unwrap();
            assert_eq!(plan.path, Path::new(path));
            assert_eq!(plan.bases["memory"], Path::new("process_api/c7"));
            assert_eq!(plan.bases[""], Path::new("user.slice"));
            assert_eq!(plan.bases.len(), 2);
        }
        assert_eq!(planned(Some("/"), CgroupDriver::Files).unwrap().path, Path::new("c1"));
    }

    #[test]
    fn systemd_units_are_where_systemd_puts_them() {
        let of = |given| {
            let plan = planned(given, CgroupDriver::Systemd).unwrap();
            let unit = plan.unit.unwrap();
            (plan.path.display().to_string(), unit.name, unit.slice)
        };
        let expect = |path: &str, name: &str, slice: &str| {
            (path.to_owned(), name.to_owned(), slice.to_owned())
        };
        assert_eq!(of(None), expect("system.slice/rcnt-c1.scope", "rcnt-c1.scope", "system.slice"));
        assert_eq!(
            of(Some("a-b.slice:cri:1")),
            expect("a.slice/a-b.slice/cri-1.scope", "cri-1.scope", "a-b.slice")
        );
        assert_eq!(of(Some(":x:y")), expect("system.slice/x-y.scope", "x-y.scope", "system.slice"));
        assert_eq!(of(Some("-.slice::y")), expect("y.scope", "y.scope", "-.slice"));
        assert_eq!(
            of(Some("a.slice::a-b.slice")),
            expect("a.slice/a-b.slice", "a-b.slice", "a.slice")
        );
        for bad in [
            "/a/b",
            "a:b",
            "a:b:c:d",
            "x:y:z",
            "a--b.slice:c:d",
            "a.slice:x:",
            "a.slice:/:b",
            "a.slice::..slice",
        ] {
            let text = planned(Some(bad), CgroupDriver::Systemd).unwrap_err();
            assert!(text.starts_with("config.json: linux.cgroupsPath: "), "{bad}: {text}");
        }
    }

    #[test]
    fn a_writable_private_cgroup_is_the_commands_users() {
        let of = |options: &[&str], namespaces: &[&str], uid: u32| {
            let namespaces: Vec<_> =
                namespaces.iter().map(|name| serde_json::json!({"type": name})).collect();
            let config = serde_json::json!({
                "process": {"user": {"uid": uid}},
                "mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}],
                "linux": {
                    "namespaces": namespaces,
                    "uidMappings": [{"containerID": 0, "hostID": 100_000, "size": 10}]
                }
            });
            owner(&serde_json::from_value(config).unwrap())
        };
        assert_eq!(of(&["rw"], &["cgroup", "user"], 3), Some(100_003));
        assert_eq!(of(&[], &["cgroup", "user"], 10), None);
        assert_eq!(of(&["ro"], &["cgroup", "user"], 3), None);
        assert_eq!(of(&[], &["user"], 3), None);
        assert_eq!((of(&[], &["cgroup"], 3), of(&[], &["cgroup"], 0)), (Some(3), None));
    }

    proptest! {
        #[test]
        fn paths_stay_below_their_beginning(path in "[a./]{0,20}") {
            let plain = relative(Path::new(&path));
            prop_assert!(plain.components().all(|c| matches!(c, Component::Normal(_))));
        }
    }
}
