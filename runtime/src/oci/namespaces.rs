//! `linux.namespaces`, what belongs to single ones of them (`uidMappings`,
//! `gidMappings`, `timeOffsets`), and what makes no sense without them.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType};

use super::config::{Linux, Spec};
use super::{OciError, refuse};
use crate::plan::{Clock, IdMapping, NamespaceKind, Namespaces, TimeOffset};

/// `linux.namespaces` with its companions.
pub(super) fn namespaces(linux: &Linux) -> Result<Namespaces, OciError> {
    let mut plan = Namespaces::default();
    for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let kind = kind(namespace.typ());
        let at = |field: &str| format!("linux.namespaces[{index}]{field}");
        if plan.separate(kind) {
            return refuse(at(".type"), format!("duplicated namespace {:?}", json_name(kind)));
        }
        match namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) if !path.is_absolute() => {
                return refuse(at(".path"), format!("{} is not absolute", path.display()));
            }
            Some(path) => drop(plan.join.insert(kind, path.clone())),
            None => drop(plan.new.insert(kind)),
        }
    }
    map_ids(&mut plan, linux)?;
    plan.time_offsets = time_offsets(&plan, linux)?;
    Ok(plan)
}

pub(super) fn kind(typ: LinuxNamespaceType) -> NamespaceKind {
    match typ {
        LinuxNamespaceType::Mount => NamespaceKind::Mount,
        LinuxNamespaceType::Cgroup => NamespaceKind::Cgroup,
        LinuxNamespaceType::Uts => NamespaceKind::Uts,
        LinuxNamespaceType::Ipc => NamespaceKind::Ipc,
        LinuxNamespaceType::Pid => NamespaceKind::Pid,
        LinuxNamespaceType::Network => NamespaceKind::Network,
        LinuxNamespaceType::User => NamespaceKind::User,
        LinuxNamespaceType::Time => NamespaceKind::Time,
    }
}

fn json_name(kind: NamespaceKind) -> String {
    format!("{kind:?}").to_lowercase()
}

fn map_ids(plan: &mut Namespaces, linux: &Linux) -> Result<(), OciError> {
    let fields = [
        ("linux.uidMappings", "uid", linux.uid_mappings()),
        ("linux.gidMappings", "gid", linux.gid_mappings()),
    ];
    for (path, what, given) in fields {
        let given = given.as_deref().unwrap_or_default();
        if !plan.separate(NamespaceKind::User) && !given.is_empty() {
            let problem =
                "user namespace mappings specified, but user namespace isn't enabled in the config";
            return refuse(path, problem);
        }
        if plan.new.contains(&NamespaceKind::User) && given.is_empty() {
            return refuse(path, format!("user namespaces enabled, but no {what} mappings found"));
        }
    }
    if plan.new.contains(&NamespaceKind::User) {
        plan.uid_mappings = mappings("linux.uidMappings", linux.uid_mappings().as_deref())?;
        plan.gid_mappings = mappings("linux.gidMappings", linux.gid_mappings().as_deref())?;
    }
    Ok(())
}

/// Ranges of ids as a plan has them; the JSON path is for the error.
pub(super) fn mappings(
    path: &str,
    given: Option<&[LinuxIdMapping]>,
) -> Result<Vec<IdMapping>, OciError> {
    let mut plan: Vec<IdMapping> = Vec::new();
    for (index, range) in given.unwrap_or_default().iter().enumerate() {
        let (container, host, size) = (range.container_id(), range.host_id(), range.size());
        let fits = |first: u32| first.checked_add(size.saturating_sub(1)).is_some();
        if size == 0 || !fits(container) || !fits(host) {
            let problem = format!("{container} {host} {size} is not a range of ids");
            return refuse(format!("{path}[{index}]"), problem);
        }
        let apart = |a: u32, b: u32, other: u32| {
            u64::from(a) + u64::from(size) <= u64::from(b)
                || u64::from(b) + u64::from(other) <= u64::from(a)
        };
        let clear = |old: &IdMapping| {
            apart(container, old.container, old.size) && apart(host, old.host, old.size)
        };
        if !plan.iter().all(clear) {
            return refuse(format!("{path}[{index}]"), "overlaps another range");
        }
        plan.push(IdMapping { container, host, size });
    }
    Ok(plan)
}

fn time_offsets(plan: &Namespaces, linux: &Linux) -> Result<BTreeMap<Clock, TimeOffset>, OciError> {
    let mut offsets = BTreeMap::new();
    let Some(given) = linux.time_offsets().as_ref().filter(|map| !map.is_empty()) else {
        return Ok(offsets);
    };
    let path = "linux.timeOffsets";
    if !plan.new.contains(&NamespaceKind::Time) {
        let problem = match plan.join.contains_key(&NamespaceKind::Time) {
            true => "time namespace offsets specified, but the time namespace is an existing one",
            false => {
                "time namespace offsets specified, but time namespace isn't enabled in the config"
            }
        };
        return refuse(path, problem);
    }
    for (name, offset) in given {
        let clock = match name.as_str() {
            "monotonic" => Clock::Monotonic,
            "boottime" => Clock::Boottime,
            _ => {
                return refuse(
                    path,
                    format!("{name:?} is not a clock of a time namespace: monotonic or boottime"),
                );
            }
        };
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        if nanoseconds >= 1_000_000_000 {
            let field = format!("{path}.{name}.nanosecs");
            return refuse(field, format!("{nanoseconds} is a second or more"));
        }
        offsets.insert(clock, TimeOffset { seconds: offset.secs().unwrap_or(0), nanoseconds });
    }
    Ok(offsets)
}

/// What would change the host because the container shares its namespace.
pub(super) fn refuse_sharing(spec: &Spec, plan: &Namespaces) -> Result<(), OciError> {
    let given = |text: &Option<String>| text.as_ref().is_some_and(|t| !t.is_empty());
    let listed = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|l| !l.is_empty());
    let linux = spec.linux().as_ref();
    let uts = plan.separate(NamespaceKind::Uts);
    let mount = plan.separate(NamespaceKind::Mount);
    let no_uts = |what: &str| format!("unable to set {what} without a private UTS namespace");
    let no_mount = "unable to restrict sys entries without a private MNT namespace";
    if given(spec.hostname()) && !uts {
        return refuse("hostname", no_uts("hostname"));
    }
    if given(spec.domainname()) && !uts {
        return refuse("domainname", no_uts("domainname"));
    }
    if linux.is_some_and(|linux| listed(linux.masked_paths())) && !mount {
        return refuse("linux.maskedPaths", no_mount);
    }
    if linux.is_some_and(|linux| listed(linux.readonly_paths())) && !mount {
        return refuse("linux.readonlyPaths", no_mount);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn plan(linux: Value) -> Result<Namespaces, String> {
        let linux: Linux = serde_json::from_value(linux).unwrap();
        namespaces(&linux).map_err(|e| e.to_string())
    }

    fn refused(linux: Value) -> String {
        plan(linux).unwrap_err()
    }

    #[test]
    fn user_namespaces_go_with_their_mappings() {
        let range = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
        let user = json!([{"type": "user"}]);
        let whole = json!({"namespaces": user, "uidMappings": range, "gidMappings": range});
        let mapped = IdMapping { container: 0, host: 100_000, size: 10 };
        assert_eq!(plan(whole).unwrap().gid_mappings, [mapped]);
        assert!(
            refused(json!({"namespaces": user, "uidMappings": range}))
                .contains("linux.gidMappings: user namespaces enabled, but no gid mappings found")
        );
        assert!(
            refused(json!({"uidMappings": range}))
                .contains("linux.uidMappings: user namespace mappings specified")
        );
        let joined = json!({"namespaces": [{"type": "user", "path": "/proc/1/ns/user"}]});
        assert!(plan(joined).unwrap().uid_mappings.is_empty());
    }

    #[test]
    fn ranges_must_be_ranges_and_apart() {
        let range = |container: u32, host: u32, size: u32| json!({"containerID": container, "hostID": host, "size": size});
        let maps = |ranges: Value| json!({"namespaces": [{"type": "user"}], "uidMappings": ranges, "gidMappings": [range(0, 0, 1)]});
        assert!(refused(maps(json!([range(0, 0, 0)]))).contains("uidMappings[0]"));
        assert!(refused(maps(json!([range(0, 4_294_967_295, 2)]))).contains("uidMappings[0]"));
        assert!(
            refused(maps(json!([range(0, 0, 10), range(5, 20, 10)])))
                .contains("uidMappings[1]: overlaps")
        );
        assert!(
            refused(maps(json!([range(0, 0, 10), range(10, 9, 10)])))
                .contains("uidMappings[1]: overlaps")
        );
        assert!(plan(maps(json!([range(0, 0, 10), range(10, 10, 10)]))).is_ok());
    }

    #[test]
    fn clocks_need_a_time_namespace_and_a_name() {
        let offsets = json!({"monotonic": {"secs": -5, "nanosecs": 7}});
        assert!(refused(json!({"timeOffsets": offsets})).contains("time namespace isn't enabled"));
        let time = json!([{"type": "time"}]);
        let got = plan(json!({"namespaces": time, "timeOffsets": offsets})).unwrap().time_offsets;
        assert_eq!(got[&Clock::Monotonic], TimeOffset { seconds: -5, nanoseconds: 7 });
        let wall = json!({"realtime": {"secs": 1}});
        assert!(refused(json!({"namespaces": time, "timeOffsets": wall})).contains("\"realtime\""));
        let much = json!({"boottime": {"nanosecs": 1_000_000_000}});
        assert!(
            refused(json!({"namespaces": time, "timeOffsets": much})).contains("boottime.nanosecs")
        );
    }

    #[test]
    fn each_kind_comes_once_and_by_an_absolute_path() {
        let twice = json!({"namespaces": [{"type": "pid"}, {"type": "pid", "path": "/x"}]});
        assert!(refused(twice).contains("linux.namespaces[1].type: duplicated namespace \"pid\""));
        let relative = json!({"namespaces": [{"type": "pid", "path": "x"}]});
        assert!(refused(relative).contains("linux.namespaces[0].path"));
    }
}
