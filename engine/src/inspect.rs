//! `inspect`: a container in docker's JSON, field by field.

use rcnt_netstack::ports::ContainerPort;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::container::{Container, Status};
use crate::{Engine, signals};

mod host_config;
mod mounts;
mod networks;

/// Docker's time that has not come.
const NEVER: &str = "0001-01-01T00:00:00Z";

fn timestamp(time: Option<OffsetDateTime>) -> String {
    time.and_then(|t| t.format(&Rfc3339).ok()).unwrap_or_else(|| NEVER.to_owned())
}

/// The container as `docker inspect` shows one.
pub fn container(engine: &Engine, container: &Container) -> Value {
    let Container { id, name, record, state } = container;
    let paths = &engine.paths;
    let args = record.config.args();
    let dir = paths.container(id);
    json!({
        "Id": id,
        "Created": timestamp(Some(record.created)),
        "Path": args.first(),
        "Args": args.get(1..).unwrap_or_default(),
        "State": {
            "Status": state.status.as_str(),
            "Running": state.status == Status::Running,
            "Paused": false,
            "Restarting": false,
            "OOMKilled": state.oom_killed,
            "Dead": false,
            "Pid": state.pid,
            "ExitCode": state.exit_code,
            "Error": state.error,
            "StartedAt": timestamp(state.started),
            "FinishedAt": timestamp(state.finished),
        },
        "Image": record.image_id,
        "ResolvConfPath": dir.join("resolv.conf"),
        "HostnamePath": dir.join("hostname"),
        "HostsPath": dir.join("hosts"),
        "LogPath": paths.log(id),
        "Name": format!("/{name}"),
        "RestartCount": 0,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": host_config::of(engine, container),
        "GraphDriver": {
            "Data": {
                "MergedDir": paths.rootfs(id),
                "UpperDir": paths.container(id).join("upper"),
                "WorkDir": paths.container(id).join("work"),
            },
            "Name": "overlay2",
        },
        "Mounts": mounts::of(engine, container),
        "Config": config(container),
        "NetworkSettings": networks::of(engine, container),
    })
}

fn config(container: &Container) -> Value {
    let record = &container.record;
    let request = &record.request;
    let empty = |keys: Vec<String>| -> Value {
        Value::Object(keys.into_iter().map(|key| (key, json!({}))).collect())
    };
    let exposed = record.config.exposed.iter().map(ToString::to_string).collect();
    let volumes: Vec<String> = record
        .volumes
        .iter()
        .filter(|v| v.anonymous)
        .map(|v| v.destination.display().to_string())
        .collect();
    json!({
        "Hostname": record.config.hostname,
        "Domainname": request.domainname.clone().unwrap_or_default(),
        "User": record.config.user,
        "AttachStdin": request.interactive && request.attached,
        "AttachStdout": request.attached,
        "AttachStderr": request.attached,
        "ExposedPorts": empty(exposed),
        "Tty": request.tty,
        "OpenStdin": request.interactive,
        "StdinOnce": request.interactive && request.attached,
        "Env": record.config.env,
        "Cmd": record.config.command,
        "Image": request.image,
        "Volumes": if volumes.is_empty() { Value::Null } else { empty(volumes) },
        "WorkingDir": record.config.workdir,
        "Entrypoint": match record.config.entrypoint.is_empty() {
            true => Value::Null,
            false => json!(record.config.entrypoint),
        },
        "OnBuild": null,
        "Labels": record.config.labels,
        "StopSignal": signals::name(record.config.stop_signal),
        "StopTimeout": request.stop_timeout,
    })
}

/// `{"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": null}`.
pub fn ports(container: &Container) -> Value {
    let mut all = Map::new();
    if container.state.status == Status::Running {
        for exposed in &container.record.config.exposed {
            all.insert(exposed.to_string(), Value::Null);
        }
    }
    for port in &container.state.ports {
        let key = ContainerPort { port: port.container_port, protocol: port.protocol }.to_string();
        let binding =
            json!({ "HostIp": port.host_ip.to_string(), "HostPort": port.host_port.to_string() });
        match all.entry(key).or_insert(Value::Null) {
            Value::Array(bindings) => bindings.push(binding),
            none => *none = json!([binding]),
        }
    }
    Value::Object(all)
}
