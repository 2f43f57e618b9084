//! `hooks`: those of the host's side for the caller, those inside for the plan.

use super::config::Spec;
use serde_json::{Map, Value, json};

use super::{OciError, refuse};
use crate::plan::{Hook, HooksPlan};

/// The hooks a container's maker runs itself, in the runtime's own namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutsideHooks {
    /// Deprecated, and what most hooks in the world are: before `create_runtime`.
    pub prestart: Vec<Hook>,
    /// With everything mounted, before the root is changed.
    pub create_runtime: Vec<Hook>,
    /// After the command has started.
    pub poststart: Vec<Hook>,
    /// After the container is deleted.
    pub poststop: Vec<Hook>,
}

/// The hooks that the maker of the container runs.
///
/// # Errors
/// A path that is not absolute, a timeout that is none.
pub fn outside_hooks(spec: &Spec) -> Result<OutsideHooks, OciError> {
    let Some(all) = spec.hooks() else { return Ok(OutsideHooks::default()) };
    Ok(OutsideHooks {
        #[allow(deprecated)] // by the specification, but nearly everybody's hooks
        prestart: list("prestart", all.prestart().as_deref())?,
        create_runtime: list("createRuntime", all.create_runtime().as_deref())?,
        poststart: list("poststart", all.poststart().as_deref())?,
        poststop: list("poststop", all.poststop().as_deref())?,
    })
}

/// The hooks that the container's first process runs or waits for.
pub(super) fn inside(spec: &Spec, state: Map<String, Value>) -> Result<HooksPlan, OciError> {
    let outside = outside_hooks(spec)?;
    let all = spec.hooks().as_ref();
    let given = |list: fn(&oci_spec::runtime::Hooks) -> &Option<Vec<oci_spec::runtime::Hook>>| {
        all.and_then(|all| list(all).as_deref())
    };
    let mut plan = HooksPlan {
        outside: !outside.prestart.is_empty() || !outside.create_runtime.is_empty(),
        create_container: list("createContainer", given(|all| all.create_container()))?,
        start_container: list("startContainer", given(|all| all.start_container()))?,
        state: Map::new(),
    };
    if !plan.is_empty() {
        plan.state = state;
    }
    Ok(plan)
}

fn list(kind: &str, given: Option<&[oci_spec::runtime::Hook]>) -> Result<Vec<Hook>, OciError> {
    let mut hooks = Vec::new();
    for (index, hook) in given.unwrap_or_default().iter().enumerate() {
        let at = |field: &str| format!("hooks.{kind}[{index}].{field}");
        if !hook.path().is_absolute() {
            return refuse(at("path"), format!("{} is not absolute", hook.path().display()));
        }
        let timeout = match hook.timeout() {
            None => None,
            Some(seconds) if seconds > 0 => Some(seconds.unsigned_abs()),
            Some(seconds) => {
                return refuse(at("timeout"), format!("{seconds} is not greater than zero"));
            }
        };
        hooks.push(Hook {
            path: hook.path().clone(),
            args: hook.args().clone().unwrap_or_default(),
            env: hook.env().clone(),
            timeout,
        });
    }
    Ok(hooks)
}

/// What a hook gets to know of a container besides its status and pid
/// (runtime-spec runtime.md, "State").
pub fn state(id: &str, bundle: &std::path::Path, spec: &Spec) -> Map<String, Value> {
    let mut state = Map::new();
    state.insert("ociVersion".into(), spec.version().as_str().into());
    state.insert("id".into(), id.into());
    state.insert("bundle".into(), json!(bundle));
    if let Some(annotations) = spec.annotations().as_ref().filter(|map| !map.is_empty()) {
        state.insert("annotations".into(), json!(annotations));
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(hooks: Value) -> Spec {
        serde_json::from_value(json!({"ociVersion": "1.0.2", "hooks": hooks})).unwrap()
    }

    #[test]
    fn hooks_are_sorted_by_who_runs_them() {
        let hook = json!([{"path": "/h", "args": ["h", "1"], "timeout": 3}]);
        let spec = spec(json!({"prestart": hook, "startContainer": hook}));
        let outside = outside_hooks(&spec).unwrap();
        assert_eq!((outside.prestart.len(), outside.poststop.len()), (1, 0));
        let plan = inside(&spec, state("x", std::path::Path::new("/b"), &spec)).unwrap();
        assert!(plan.outside && plan.create_container.is_empty());
        assert_eq!(plan.start_container[0].timeout, Some(3));
        assert_eq!(plan.state["id"], "x");
    }

    #[test]
    fn bad_hooks_are_named() {
        let text = |hooks| outside_hooks(&spec(hooks)).unwrap_err().to_string();
        let bad = json!({"poststop": [{"path": "/ok"}, {"path": "sh"}]});
        assert!(text(bad).contains("hooks.poststop[1].path: sh is not absolute"));
        let bad = json!({"poststop": [{"path": "/ok", "timeout": 0}]});
        assert!(text(bad).contains("hooks.poststop[0].timeout"));
    }
}
