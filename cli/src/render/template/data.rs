//! A value on its way through a template, and the steps into it.

use serde_json::Value;

use super::functions::truth;
use super::printf::display;

/// Fields of docker's documents that are maps with keys of the user's choosing:
/// asking one of these for an unknown key is no error, as in Go.
const MAPS: &[&str] = &[
    "Annotations",
    "DriverOpts",
    "ExposedPorts",
    "Labels",
    "Networks",
    "Options",
    "Opts",
    "PortBindings",
    "Ports",
    "Sysctls",
    "Tmpfs",
    "Volumes",
];

/// A value on its way through a pipeline.
#[derive(Debug, Clone)]
pub(super) enum Data {
    /// JSON; `map` says that its keys are the user's.
    Json { value: Value, map: bool },
    /// What a map has not: printed as Go prints it.
    Missing,
}

impl Data {
    /// JSON whose keys are docker's.
    pub(super) fn plain(value: Value) -> Self {
        Self::Json { value, map: false }
    }

    /// As JSON; what is missing is null.
    pub(super) fn into_value(self) -> Value {
        match self {
            Self::Json { value, .. } => value,
            Self::Missing => Value::Null,
        }
    }

    /// Go's truth.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Json { value, .. } => truth(value),
            Self::Missing => false,
        }
    }
}

/// Follows `.a.b`.
pub(super) fn steps(data: Data, names: &[String]) -> Result<Data, String> {
    let mut data = data;
    for name in names {
        data = match data {
            Data::Missing => return Err(format!("nil data; no entry for key \"{name}\"")),
            Data::Json { value: Value::Object(mut object), map } => match object.remove(name) {
                Some(value) => Data::Json { value, map: MAPS.contains(&name.as_str()) },
                None if map => Data::Missing,
                None => return Err(format!("map has no entry for key \"{name}\"")),
            },
            Data::Json { value: Value::Null, .. } => {
                return Err(format!("nil pointer evaluating {name}"));
            }
            Data::Json { value, .. } => {
                return Err(format!("can't evaluate field {name} in {}", display(&value)));
            }
        };
    }
    Ok(data)
}
