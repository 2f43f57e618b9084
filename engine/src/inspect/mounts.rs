//! `inspect`'s Mounts.

use serde_json::{Value, json};

use crate::Engine;
use crate::container::Container;
use crate::request::MountSource;

pub(super) fn of(engine: &Engine, container: &Container) -> Value {
    let record = &container.record;
    let mut all: Vec<Value> = Vec::new();
    for mount in &record.request.mounts {
        let propagation = mount.propagation.clone().unwrap_or_else(|| "rprivate".to_owned());
        all.extend(match &mount.source {
            MountSource::Bind { path, .. } => Some(json!({
                "Type": "bind",
                "Source": path,
                "Destination": mount.destination,
                "Mode": if mount.read_only { "ro" } else { "" },
                "RW": !mount.read_only,
                "Propagation": propagation,
            })),
            MountSource::Tmpfs { .. } => Some(json!({
                "Type": "tmpfs",
                "Source": "",
                "Destination": mount.destination,
                "Mode": "",
                "RW": !mount.read_only,
                "Propagation": "",
            })),
            MountSource::Volume { .. } => None,
        });
    }
    for volume in &record.volumes {
        all.push(json!({
            "Type": "volume",
            "Name": volume.name,
            "Source": engine.paths.volume_data(&volume.name),
            "Destination": volume.destination,
            "Driver": "local",
            "Mode": if volume.read_only { "ro" } else { "z" },
            "RW": !volume.read_only,
            "Propagation": "",
        }));
    }
    Value::Array(all)
}
