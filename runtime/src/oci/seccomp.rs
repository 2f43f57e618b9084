//! `linux.seccomp`.

use super::config::Linux;
use super::process::Container;
use super::{OciError, hooks, refuse};
use crate::plan::{CapabilitySets, SeccompListener, SeccompProgram};
use crate::seccomp::{ActionName, Conditions, Profile, compile_profile};

/// OCI's filter section is docker's profile format without the conditions.
pub(super) fn program(
    container: Container<'_>,
    linux: &Linux,
    capabilities: CapabilitySets,
) -> Result<Option<SeccompProgram>, OciError> {
    let Some(profile) = linux.seccomp().as_ref().filter(|profile| profile.filters()) else {
        return Ok(None);
    };
    check_numbers(profile)?;
    let notifies = notifies(profile)?;
    let mut program = compile_profile(profile, Conditions::here(capabilities.bounding)?)?;
    if notifies {
        program.flags.listener = true;
        program.listener = Some(SeccompListener {
            path: profile.listener_path.clone().into(),
            metadata: profile.listener_metadata.clone(),
            state: hooks::state(container.id, container.bundle, container.spec),
        });
    } else {
        // The kernel takes it together with a listener only.
        program.flags.wait_killable = false;
    }
    log::debug!("seccomp filter flags: {}", program.flags.bits());
    Ok(Some(program))
}

/// What the compiler would refuse too, but here with its path.
fn check_numbers(profile: &Profile) -> Result<(), OciError> {
    let at = |field: &str| format!("linux.seccomp.{field}");
    let Some(default) = profile.default_action else {
        return refuse(at("defaultAction"), "missing");
    };
    check_errno(at("defaultErrnoRet"), default, profile.default_errno_ret)?;
    for (index, rule) in profile.syscalls.iter().enumerate() {
        let at = |field: &str| at(&format!("syscalls[{index}].{field}"));
        check_errno(at("errnoRet"), rule.action, rule.errno_ret)?;
        if rule.names.is_empty() {
            return refuse(at("names"), "names no system call");
        }
        for (number, arg) in rule.args.iter().flatten().enumerate() {
            if arg.index > 5 {
                let problem = format!("{} is above 5: calls have six arguments", arg.index);
                return refuse(at(&format!("args[{number}].index")), problem);
            }
        }
    }
    Ok(())
}

/// "When the action does not support an errno, the runtime MUST print an error
/// and fail" (config-linux.md); the kernel cuts off larger ones silently.
fn check_errno(at: String, action: ActionName, errno: Option<u32>) -> Result<(), OciError> {
    const HIGHEST: u32 = 4095;
    match (action, errno) {
        (_, None) | (ActionName::Errno | ActionName::Trace, Some(0..=HIGHEST)) => Ok(()),
        (ActionName::Errno | ActionName::Trace, Some(errno)) => {
            refuse(at, format!("{errno} is above {HIGHEST}"))
        }
        (_, Some(_)) => refuse(at, "only SCMP_ACT_ERRNO and SCMP_ACT_TRACE return one"),
    }
}

/// Whether a listener is asked; the rules are such that its descriptor can get
/// out of the process that has loaded the filter already, which takes write(2).
fn notifies(profile: &Profile) -> Result<bool, OciError> {
    let at = |field: &str| format!("linux.seccomp.{field}");
    if profile.default_action == Some(ActionName::Notify) {
        return refuse(at("defaultAction"), "SCMP_ACT_NOTIFY cannot be used as default action");
    }
    let mut notifies = false;
    for (index, rule) in profile.syscalls.iter().enumerate() {
        if rule.action != ActionName::Notify {
            continue;
        }
        notifies = true;
        if let Some(name) = rule.names.iter().position(|name| name == "write") {
            return refuse(
                at(&format!("syscalls[{index}].names[{name}]")),
                "SCMP_ACT_NOTIFY cannot be used for the write syscall",
            );
        }
    }
    if notifies && profile.listener_path.is_empty() {
        let problem = "seccomp listenerPath is not set, but a rule has SCMP_ACT_NOTIFY";
        return refuse(at("listenerPath"), problem);
    }
    Ok(notifies)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::oci::Spec;

    fn plan(seccomp: serde_json::Value) -> Result<Option<SeccompProgram>, OciError> {
        let spec: Spec = serde_json::from_value(json!({"linux": {"seccomp": seccomp}})).unwrap();
        let container = Container { id: "c1", bundle: Path::new("/b"), spec: &spec };
        program(container, spec.linux().as_ref().unwrap(), CapabilitySets::default())
    }

    fn notify(path: &str, names: &[&str]) -> serde_json::Value {
        json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "m",
            "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}]
        })
    }

    #[test]
    fn a_listener_comes_with_a_notifying_rule_only() {
        let program = plan(notify("/a.sock", &["mkdir"])).unwrap().unwrap();
        assert_eq!(program.flags.bits(), 40);
        let listener = program.listener.unwrap();
        assert_eq!((listener.path.to_str(), listener.metadata.as_str()), (Some("/a.sock"), "m"));
        assert_eq!(listener.state["id"], "c1");
        let mut without = notify("/a.sock", &[]);
        without["syscalls"] = json!([]);
        let program = plan(without).unwrap().unwrap();
        assert_eq!((program.listener, program.flags.bits()), (None, 0));
    }

    #[test]
    fn numbers_out_of_range_are_refused_with_their_path() {
        let rule = |rule: serde_json::Value| {
            let json = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
            plan(json).unwrap_err().to_string()
        };
        let names = json!(["mkdir"]);
        for (json, words) in [
            (json!({"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 4096}), "errnoRet: "),
            (json!({"names": names, "action": "SCMP_ACT_ALLOW", "errnoRet": 1}), "errnoRet: only"),
            (json!({"names": [], "action": "SCMP_ACT_ERRNO"}), "names: "),
            (
                json!({"names": names, "action": "SCMP_ACT_ERRNO",
                    "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}),
                "args[0].index: 6",
            ),
        ] {
            let text = rule(json);
            assert!(text.contains(&format!("linux.seccomp.syscalls[0].{words}")), "{text}");
        }
        let default = json!({"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1});
        assert!(plan(default).unwrap_err().to_string().contains("linux.seccomp.defaultErrnoRet"));
        let none = json!({"syscalls": [{"names": names, "action": "SCMP_ACT_ERRNO"}]});
        assert!(plan(none).unwrap_err().to_string().contains("linux.seccomp.defaultAction"));
    }

    #[test]
    fn what_could_never_be_heard_is_refused() {
        let text = |json| plan(json).unwrap_err().to_string();
        assert!(text(notify("", &["mkdir"])).contains("linux.seccomp.listenerPath: "));
        let write = text(notify("/a", &["mkdir", "write"]));
        assert!(write.contains("linux.seccomp.syscalls[0].names[1]: SCMP_ACT_NOTIFY cannot be"));
        let mut default = notify("/a", &["mkdir"]);
        default["defaultAction"] = "SCMP_ACT_NOTIFY".into();
        assert!(text(default).contains("cannot be used as default action"));
    }

    #[test]
    fn flags_said_none_wanted_and_nothing_said_differ() {
        let flags = |flags: serde_json::Value| {
            let mut json = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []});
            json["flags"] = flags;
            plan(json).unwrap().unwrap().flags.bits()
        };
        let flag = |name: &str| format!("SECCOMP_FILTER_FLAG_{name}");
        assert_eq!(flags(serde_json::Value::Null), 4);
        assert_eq!(flags(json!([])), 0);
        assert_eq!(flags(json!([flag("TSYNC"), flag("LOG")])), 2);
        assert_eq!(flags(json!([flag("SPEC_ALLOW"), flag("LOG")])), 6);
    }
}
