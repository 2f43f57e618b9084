//! What `process` becomes, and what is refused of it.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::oci::spec::default_config;

/// The default configuration with `process` changed by a JSON merge.
fn spec(change: serde_json::Value) -> Spec {
    let mut config = default_config();
    merge(&mut config["process"], change);
    serde_json::from_value(config).unwrap()
}

fn merge(into: &mut serde_json::Value, change: serde_json::Value) {
    match (into.as_object_mut(), change) {
        (Some(into), serde_json::Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key).or_insert(json!({})), value);
            }
        }
        (_, change) => *into = change,
    }
}

fn container(spec: &Spec) -> Container<'_> {
    Container { id: "c1", bundle: Path::new("/b"), spec }
}

fn planned(change: serde_json::Value) -> ProcessPlan {
    first(container(&spec(change))).unwrap()
}

fn refused(change: serde_json::Value) -> String {
    first(container(&spec(change))).unwrap_err().to_string()
}

#[test]
fn what_makes_no_sense_is_refused_with_its_path() {
    for (change, words) in [
        (json!({"cwd": ""}), "process.cwd: Cwd property must not be empty"),
        (json!({"cwd": "a"}), "process.cwd: Cwd must be an absolute path"),
        (json!({"args": []}), "process.args: args must not be empty"),
        (json!({"env": ["A=1", "B"]}), "process.env[1]: invalid environment variable: missing '='"),
        (json!({"env": ["=1"]}), "process.env[0]: invalid environment variable: name cannot be"),
        (json!({"env": ["A=\0"]}), "process.env[0]: invalid environment variable: contains nul"),
        (json!({"user": {"uid": 4_294_967_295u32}}), "process.user.uid: 4294967295 is nobody's id"),
        (json!({"user": {"gid": 4_294_967_295u32}}), "process.user.gid: "),
        (json!({"user": {"additionalGids": [1, 4_294_967_295u32]}}), "user.additionalGids[1]: "),
        (json!({"user": {"umask": 512}}), "process.user.umask: 512"),
        (json!({"oomScoreAdj": 1001}), "process.oomScoreAdj: 1001"),
        (
            json!({"rlimits": [{"type": "RLIMIT_TEST"}]}),
            "process.rlimits[0].type: wrong rlimit value: RLIMIT_TEST",
        ),
        (
            json!({"rlimits": [{"type": "RLIMIT_CORE"}, {"type": "RLIMIT_CORE"}]}),
            "process.rlimits[1].type: RLIMIT_CORE is there twice",
        ),
        (
            json!({"rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]}),
            "process.rlimits[0].soft: 2 is above the hard limit 1",
        ),
        (json!({"selinuxLabel": "a:b"}), "selinux is disabled or not supported"),
        (
            json!({"capabilities": {"effective": ["CAP_SYS_ADMIN"]}}),
            "process.capabilities.effective: can't apply capabilities: CAP_SYS_ADMIN",
        ),
        (
            json!({"capabilities": {"inheritable": ["CAP_SYS_ADMIN"]}}),
            "process.capabilities.inheritable: can't apply capabilities: CAP_SYS_ADMIN",
        ),
    ] {
        let text = refused(change.clone());
        assert!(text.contains(words), "{change}: {text}");
    }
}

#[test]
fn a_profile_needs_apparmor() {
    let change = json!({"apparmorProfile": "mine"});
    match HostSecurity::read().apparmor {
        true => assert_eq!(planned(change).apparmor_profile.as_deref(), Some("mine")),
        false => {
            let words = "process.apparmorProfile: cannot apply \"mine\"";
            assert!(refused(change).contains(words));
        }
    }
}

#[test]
fn the_last_variable_of_a_name_counts() {
    let plan = planned(json!({"env": ["A=1", "B=2", "A=3", "C=\n", "A=4"]}));
    assert_eq!(plan.env, ["B=2", "C=\n", "A=4"]);
}

#[test]
fn ids_are_taken_as_they_are() {
    let user = json!({"user": {"uid": 4_294_967_294u32, "gid": 7, "additionalGids": [9, 5, 9]}});
    let expected = UserPlan::Ids { uid: 4_294_967_294, gid: 7, groups: vec![9, 5, 9] };
    assert_eq!(planned(user).user, expected);
}

#[test]
fn unknown_capabilities_are_passed_over_and_ambient_ones_need_the_others() {
    let bit = |name| capabilities::parse(name).unwrap();
    let sets = planned(json!({"capabilities": {
        "bounding": ["CAP_UNKNOWN", "UNKNOWN_CAP", "CAP_KILL", "kill"],
        "effective": ["CAP_KILL"], "permitted": ["CAP_KILL", "CAP_CHOWN"],
        "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL", "CAP_CHOWN"]
    }}))
    .capabilities;
    assert_eq!(sets.bounding, bit("CAP_KILL"));
    assert_eq!(sets.permitted, bit("CAP_KILL") | bit("CAP_CHOWN"));
    assert_eq!(sets.ambient, bit("CAP_KILL"));
    assert_eq!(planned(json!({"capabilities": null})).capabilities, CapabilitySets::default());
}

#[test]
fn a_container_can_be_made_without_a_process() {
    let mut config = default_config();
    config.as_object_mut().unwrap().remove("process");
    let spec: Spec = serde_json::from_value(config).unwrap();
    let plan = first(container(&spec)).unwrap();
    assert!(plan.args.is_empty());
    assert_eq!(plan.capabilities, CapabilitySets::default());
}

#[test]
fn processors_are_reset_unless_exec_has_a_say() {
    let affinity = json!({"execCPUAffinity": {"initial": "0", "final": "1"}});
    let plan = planned(affinity.clone());
    assert_eq!((plan.attributes.processors, plan.attributes.entering), (Processors::All, None));
    let spec = spec(affinity);
    let exec = |process: serde_json::Value| {
        let mut all = json!({"cwd": "/", "args": ["x"]});
        merge(&mut all, process);
        let process: Process = serde_json::from_value(all).unwrap();
        let plan = exec_plan(container(&spec), &process).unwrap();
        (plan.attributes.entering, plan.attributes.processors)
    };
    assert_eq!(exec(json!({})), (Some([0].into()), Processors::Only([1].into())));
    let initial = json!({"execCPUAffinity": {"initial": "0-1"}});
    assert_eq!(exec(initial), (Some([0, 1].into()), Processors::Inherited));
    assert_eq!(exec(json!({"execCPUAffinity": {}})), (None, Processors::All));
}

#[test]
fn a_further_process_has_the_containers_rights_unless_it_says_more() {
    let spec = spec(json!({"user": {"uid": 5, "umask": 63}, "ioPriority":
        {"class": "IOPRIO_CLASS_BE", "priority": 4}, "scheduler": {"policy": "SCHED_BATCH"}}));
    let bare: Process = serde_json::from_value(json!({"cwd": "/", "args": ["x"]})).unwrap();
    let plan = exec_plan(container(&spec), &bare).unwrap();
    let own = first(container(&spec)).unwrap();
    assert_eq!(plan.capabilities, own.capabilities);
    assert_eq!((&plan.rlimits, plan.umask), (&own.rlimits, Some(63)));
    assert_eq!(plan.attributes.scheduling, own.attributes.scheduling);
    assert_eq!(plan.attributes.io_priority.unwrap().class, 2);
    // But who it is, its variables and no_new_privs are its own.
    assert_eq!(plan.user, UserPlan::Ids { uid: 0, gid: 0, groups: vec![] });
    assert!(plan.env.is_empty() && !plan.no_new_privileges && own.no_new_privileges);
    let more = json!({"cwd": "/", "args": ["x"], "ioPriority": {"class": "IOPRIO_CLASS_IDLE"},
        "capabilities": {}});
    let more: Process = serde_json::from_value(more).unwrap();
    let plan = exec_plan(container(&spec), &more).unwrap();
    assert_eq!(plan.attributes.io_priority.unwrap().class, 3);
    assert_eq!(plan.capabilities, CapabilitySets::default());
}

#[test]
fn the_command_line_of_exec_changes_the_containers_process() {
    let spec = spec(json!({"user": {"gid": 3, "additionalGids": [1]}, "capabilities":
        {"inheritable": ["CAP_KILL"]}}));
    let options = ExecOptions {
        cwd: Some("/tmp".into()),
        env: vec!["TERM=x".into()],
        user: Some((8, None)),
        additional_gids: vec![2],
        apparmor: Some("p".into()),
        process_label: Some("l".into()),
        caps: vec!["CAP_SYS_TIME".into()],
        no_new_privs: Some(false),
        tty: false,
    };
    let process = exec_process(&spec, &["id".to_owned()], &options).unwrap();
    assert_eq!((process.user.uid, process.user.gid), (8, 3));
    assert_eq!(process.user.additional_gids, [1, 2]);
    assert!(!process.terminal && !process.no_new_privileges);
    assert_eq!((process.apparmor_profile.as_str(), process.selinux_label.as_str()), ("p", "l"));
    let named = process.capabilities.unwrap();
    assert!(named.bounding.contains(&"CAP_SYS_TIME".into()));
    assert_eq!(named.inheritable.unwrap(), ["CAP_KILL"]);
    assert_eq!(named.ambient, ["CAP_SYS_TIME"]);
    assert!(exec_process(&spec, &[], &options).is_err());
    // Where the configuration has no inheritable set, none is ambient.
    let bare = super::tests::spec(json!({}));
    let process = exec_process(&bare, &["id".to_owned()], &options).unwrap();
    assert!(process.capabilities.unwrap().ambient.is_empty());
}
