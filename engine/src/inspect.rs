//! `inspect`: a container in docker's JSON, field by field.

use rcnt_netstack::ports::ContainerPort;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::container::{Container, Endpoint, Status};
use crate::request::NetworkMode;
use crate::{Engine, signals};

mod host_config;
mod mounts;

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
        "NetworkSettings": network_settings(container),
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

fn network_settings(container: &Container) -> Value {
    let state = &container.state;
    let endpoint = state.endpoints.first();
    let mut settings = endpoint_fields(endpoint);
    let sandbox = match state.status {
        Status::Running => format!("/proc/{}/ns/net", state.pid),
        _ => String::new(),
    };
    let mut networks = Map::new();
    match (&container.record.request.network, endpoint) {
        (NetworkMode::Bridge(name), endpoint) => {
            let mut one = endpoint_fields(endpoint);
            one.insert("NetworkID".into(), json!(endpoint.map_or("", |e| &e.network_id)));
            one.insert("Aliases".into(), Value::Null);
            one.insert("Links".into(), Value::Null);
            one.insert("DriverOpts".into(), Value::Null);
            networks.insert(name.clone(), Value::Object(one));
        }
        (NetworkMode::None, _) => drop(networks.insert("none".into(), endpoint_value())),
        (NetworkMode::Host, _) => drop(networks.insert("host".into(), endpoint_value())),
        (NetworkMode::Container(_), _) => {}
    }
    settings.insert("Bridge".into(), json!(""));
    settings.insert(
        "SandboxID".into(),
        json!(if sandbox.is_empty() { "" } else { container.id.as_str() }),
    );
    settings.insert("SandboxKey".into(), json!(sandbox));
    settings.insert("HairpinMode".into(), json!(false));
    settings.insert("Ports".into(), ports(container));
    settings.insert("Networks".into(), Value::Object(networks));
    Value::Object(settings)
}

fn endpoint_value() -> Value {
    Value::Object(endpoint_fields(None))
}

fn endpoint_fields(endpoint: Option<&Endpoint>) -> Map<String, Value> {
    let text = |text: Option<String>| json!(text.unwrap_or_default());
    let fields = [
        ("EndpointID", text(endpoint.map(|e| e.endpoint_id.clone()))),
        ("Gateway", text(endpoint.and_then(|e| e.gateway4).map(|g| g.to_string()))),
        ("IPAddress", text(endpoint.map(|e| e.address4.0.to_string()))),
        ("IPPrefixLen", json!(endpoint.map_or(0, |e| e.address4.1))),
        ("IPv6Gateway", text(endpoint.and_then(|e| e.gateway6).map(|g| g.to_string()))),
        ("GlobalIPv6Address", text(endpoint.and_then(|e| e.address6).map(|(a, _)| a.to_string()))),
        ("GlobalIPv6PrefixLen", json!(endpoint.and_then(|e| e.address6).map_or(0, |(_, l)| l))),
        ("MacAddress", text(endpoint.map(|e| e.mac.to_string()))),
    ];
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
