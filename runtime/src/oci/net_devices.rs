//! `linux.netDevices`.

use std::collections::BTreeMap;

use super::config::Linux;
use super::{OciError, refuse};
use crate::plan::{NamespaceKind, Namespaces, NetDevicePlan};

/// Bytes of an interface's name without the NUL (linux/if.h, IFNAMSIZ).
const NAME_MAX: usize = 15;

/// Which interfaces move, in the order of their names on the host.
pub(super) fn net_devices(
    linux: &Linux,
    namespaces: &Namespaces,
) -> Result<Vec<NetDevicePlan>, OciError> {
    let mut plan: Vec<NetDevicePlan> = Vec::new();
    let given: BTreeMap<_, _> = linux.net_devices().iter().flatten().collect();
    if !given.is_empty() && !namespaces.separate(NamespaceKind::Network) {
        let problem = "unable to move network devices without a NET namespace";
        return refuse("linux.netDevices", problem);
    }
    for (host, device) in given {
        let path = format!("linux.netDevices.{host}");
        check_name(&path, host)?;
        if host == "lo" {
            return refuse(path, "the loopback device belongs to its namespace");
        }
        let name = device.name().as_deref().filter(|name| !name.is_empty()).unwrap_or(host);
        let path = format!("{path}.name");
        check_name(&path, name)?;
        check_template(&path, name)?;
        if name == "lo" {
            return refuse(path, "\"lo\" is the loopback device of the container");
        }
        let device = NetDevicePlan { host: host.clone(), name: name.to_owned() };
        if let Some(other) = plan.iter().find(|d| d.name == device.name && !d.is_template()) {
            return refuse(path, format!("{name:?} is what {:?} will be called", other.host));
        }
        plan.push(device);
    }
    Ok(plan)
}

/// As the kernel has it (dev_valid_name).
fn check_name(path: &str, name: &str) -> Result<(), OciError> {
    let fine = !name.is_empty()
        && name.len() <= NAME_MAX
        && name != "."
        && name != ".."
        && !name.bytes().any(|b| b == b'/' || b == b':' || b == 0 || b.is_ascii_whitespace());
    if fine { Ok(()) } else { refuse(path, format!("invalid network device name {name:?}")) }
}

/// `%d` once is a template for the kernel to fill; no other `%` can be in a name
/// that is set.
fn check_template(path: &str, name: &str) -> Result<(), OciError> {
    match name.matches('%').count() {
        0 => Ok(()),
        1 if name.contains("%d") => Ok(()),
        _ => {
            refuse(path, format!("invalid network device name {name:?}: one \"%d\" and no other %"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::namespaces::namespaces;
    use super::*;
    use serde_json::{Value, json};

    fn plan(devices: Value) -> Result<Vec<NetDevicePlan>, String> {
        let linux = json!({"namespaces": [{"type": "network"}], "netDevices": devices});
        let linux: Linux = serde_json::from_value(linux).unwrap();
        net_devices(&linux, &namespaces(&linux).unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_device_keeps_its_name_unless_it_gets_another() {
        let got = plan(json!({"eth1": {}, "dummy0": {"name": "inner"}, "e2": {"name": "net%d"}}));
        let got: Vec<_> = got.unwrap().into_iter().map(|d| (d.host, d.name)).collect();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(got, [pair("dummy0", "inner"), pair("e2", "net%d"), pair("eth1", "eth1")]);
    }

    #[test]
    fn names_the_kernel_does_not_take_are_refused() {
        for name in ["a/b", "a:b", "a b", "a\tb", ".", "..", "sixteen-bytes-xx", "a\0b", ""] {
            let text = plan(json!({ name: {} })).unwrap_err();
            assert!(text.contains("invalid network device name"), "{text}");
            if !name.is_empty() {
                let text = plan(json!({"eth0": {"name": name}})).unwrap_err();
                assert!(
                    text.contains("config.json: linux.netDevices.eth0.name: invalid"),
                    "{text}"
                );
            }
        }
        for name in ["a%s", "%d%d", "100%"] {
            assert!(plan(json!({"eth0": {"name": name}})).is_err(), "{name}");
        }
    }

    #[test]
    fn loopback_and_taken_names_are_refused() {
        assert!(plan(json!({"lo": {"name": "x"}})).unwrap_err().contains("linux.netDevices.lo:"));
        assert!(plan(json!({"e": {"name": "lo"}})).unwrap_err().contains("netDevices.e.name"));
        let text = plan(json!({"a": {"name": "x"}, "b": {"name": "x"}})).unwrap_err();
        assert!(text.contains("linux.netDevices.b.name: \"x\" is what \"a\""), "{text}");
        assert!(plan(json!({"a": {"name": "x%d"}, "b": {"name": "x%d"}})).is_ok());
    }

    #[test]
    fn devices_need_a_network_namespace() {
        let linux = json!({"netDevices": {"eth0": {}}});
        let linux: Linux = serde_json::from_value(linux).unwrap();
        let text = net_devices(&linux, &Namespaces::default()).unwrap_err().to_string();
        assert!(text.contains("unable to move network devices without a NET namespace"), "{text}");
    }
}
