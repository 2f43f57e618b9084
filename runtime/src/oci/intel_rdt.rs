//! `linux.intelRdt`.

use super::config::Linux;
use super::{OciError, refuse};
use crate::plan::IntelRdtPlan;

/// The resctrl group of container `id`, if it is to have one.
pub(super) fn intel_rdt(id: &str, linux: &Linux) -> Result<Option<IntelRdtPlan>, OciError> {
    let Some(given) = linux.intel_rdt() else { return Ok(None) };
    let class = given.clos_id().as_deref().filter(|class| !class.is_empty());
    if let Some(class) = class {
        check_class(class)?;
    }
    let text = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let schemata = given.schemata().iter().flatten().filter(|line| !line.is_empty());
    Ok(Some(IntelRdtPlan {
        group: class.unwrap_or(id).to_owned(),
        shared: class.is_some(),
        l3_cache: text(given.l3_cache_schema()),
        memory_bandwidth: text(given.mem_bw_schema()),
        schemata: schemata.cloned().collect(),
        monitor: given.enable_monitoring().unwrap_or(false).then(|| id.to_owned()),
    }))
}

/// One directory below resctrl's root, or the root itself.
fn check_class(class: &str) -> Result<(), OciError> {
    let inside = class != "." && class != ".." && !class.contains(['/', '\0', '\n']);
    if class == "/" || inside {
        return Ok(());
    }
    refuse("linux.intelRdt.closID", format!("invalid intelRdt.ClosID {class:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn plan(rdt: Value) -> Result<IntelRdtPlan, String> {
        let linux: Linux = serde_json::from_value(json!({ "intelRdt": rdt })).unwrap();
        intel_rdt("box", &linux).map(Option::unwrap).map_err(|e| e.to_string())
    }

    #[test]
    fn a_group_is_named_after_its_class_or_the_container() {
        let own = plan(json!({"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20"})).unwrap();
        assert_eq!((own.group.as_str(), own.shared, &own.monitor), ("box", false, &None));
        assert_eq!(own.lines(), "L3:0=f\nMB:0=20\n");
        let class = plan(json!({"closID": "gold", "enableMonitoring": true})).unwrap();
        assert_eq!((class.group.as_str(), class.shared), ("gold", true));
        assert_eq!((class.monitor.as_deref(), class.lines().as_str()), (Some("box"), ""));
        assert_eq!(plan(json!({"closID": "/"})).unwrap().group, "/");
        let lines = plan(json!({"memBwSchema": "MB:0=1", "schemata": ["L2:0=3", "", "L3:0=1"]}));
        assert_eq!(lines.unwrap().lines(), "MB:0=1\nL2:0=3\nL3:0=1\n");
        let none: Linux = serde_json::from_value(json!({})).unwrap();
        assert_eq!(intel_rdt("box", &none).unwrap(), None);
    }

    #[test]
    fn a_class_is_one_directory() {
        for class in [".", "..", "a/b", "/a", "a\n", "a\0"] {
            let text = plan(json!({ "closID": class })).unwrap_err();
            let wanted = "config.json: linux.intelRdt.closID: invalid intelRdt.ClosID ";
            assert!(text.starts_with(wanted), "{text}");
        }
    }
}
