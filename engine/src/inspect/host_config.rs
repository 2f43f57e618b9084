//! `inspect`'s HostConfig: the flags, in docker's words.

use rcnt_netstack::bandwidth::Bandwidth;
use rcnt_netstack::egress::EgressList;
use rcnt_netstack::ports::{ContainerPort, PortSpec};
use serde_json::{Map, Value, json};

use crate::Engine;
use crate::container::Container;
use crate::request::{MountRequest, MountSource, NetworkMode, RunRequest};

pub(super) fn of(engine: &Engine, container: &Container) -> Value {
    let request = &container.record.request;
    // As it is started next.
    let publish = match engine.paths.ports(&container.id).exists() {
        true => crate::ports::wishes(&engine.paths, container).unwrap_or_default(),
        false => request.publish.clone(),
    };
    let list = |list: &[String]| if list.is_empty() { Value::Null } else { json!(list) };
    let binds: Vec<String> = request.mounts.iter().filter_map(bind).collect();
    let mut all = json!({
        "Binds": list(&binds),
        "ContainerIDFile": "",
        "LogConfig": { "Type": "json-file", "Config": {} },
        "NetworkMode": network_mode(&request.network),
        "PortBindings": port_bindings(&publish),
        "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
        "AutoRemove": request.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": null,
        "CapAdd": list(&request.cap_add),
        "CapDrop": list(&request.cap_drop),
        "CgroupnsMode": "private",
        "Dns": request.dns,
        "DnsOptions": request.dns_option,
        "DnsSearch": request.dns_search,
        "ExtraHosts": list(&request.add_host),
        "GroupAdd": list(&request.group_add),
        "IpcMode": "private",
        "Cgroup": "",
        "Links": links(container),
        "OomScoreAdj": request.oom_score_adj.unwrap_or(0),
        "PidMode": "",
        "Privileged": request.privileged,
        "PublishAllPorts": request.publish_all,
        "ReadonlyRootfs": request.read_only,
        "SecurityOpt": list(&request.security_opt),
        "Tmpfs": tmpfs(request),
        "UTSMode": "",
        "UsernsMode": "",
        "ShmSize": request.shm_size,
        "Sysctls": request.sysctls,
        "Runtime": "rcnt",
        "Isolation": "",
        "CpuShares": 0,
        "Memory": request.memory.unwrap_or(0),
        "MemorySwap": request.memory_swap.unwrap_or(0),
        "NanoCpus": request.nano_cpus.unwrap_or(0),
        "CgroupParent": engine.cgroup_parent(request),
        "PidsLimit": request.pids_limit,
        "Ulimits": ulimits(request),
        "Init": request.init,
    });
    // Docker has neither.
    all["Bandwidth"] = match request.bandwidth == Bandwidth::default() {
        true => Value::Null,
        false => json!(request.bandwidth.to_string()),
    };
    all["EgressAllow"] = json!(request.egress.as_ref().map(EgressList::words));
    all
}

/// As docker: `/source:/recipient/alias`.
fn links(container: &Container) -> Value {
    let name = &container.name;
    let one = |l: &rcnt_netstack::names::Link| format!("/{}:/{name}/{}", l.source, l.alias);
    let all: Vec<String> = container.record.request.links.iter().map(one).collect();
    if all.is_empty() { Value::Null } else { json!(all) }
}

fn network_mode(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::Bridge(name) => name.clone(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::Container(id) => format!("container:{id}"),
    }
}

fn bind(mount: &MountRequest) -> Option<String> {
    let mode = if mount.read_only { ":ro" } else { "" };
    let destination = mount.destination.display();
    match &mount.source {
        MountSource::Bind { path, create: true, .. } => {
            Some(format!("{}:{destination}{mode}", path.display()))
        }
        MountSource::Volume { name: Some(name), .. } => Some(format!("{name}:{destination}{mode}")),
        _ => None,
    }
}

fn port_bindings(specs: &[PortSpec]) -> Value {
    let mut all = Map::new();
    for spec in specs {
        let (first, last) = spec.container_ports;
        for (offset, port) in (first..=last).enumerate() {
            let host_port = match spec.host_ports {
                None => String::new(),
                // One container port and several host ports: any of these.
                Some((from, to)) if first == last && from != to => format!("{from}-{to}"),
                Some((from, _)) => (usize::from(from) + offset).to_string(),
            };
            let host_ip = spec.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
            let binding = json!({ "HostIp": host_ip, "HostPort": host_port });
            let key = ContainerPort { port, protocol: spec.protocol }.to_string();
            match all.entry(key).or_insert(Value::Null) {
                Value::Array(bindings) => bindings.push(binding),
                none => *none = json!([binding]),
            }
        }
    }
    Value::Object(all)
}

fn tmpfs(request: &RunRequest) -> Value {
    let mut all = Map::new();
    for mount in &request.mounts {
        if let MountSource::Tmpfs { size, mode, flags } = &mount.source {
            let mut options = flags.clone();
            options.extend(size.map(|size| format!("size={size}")));
            options.extend(mode.map(|mode| format!("mode={mode:o}")));
            all.insert(mount.destination.display().to_string(), json!(options.join(",")));
        }
    }
    if all.is_empty() { Value::Null } else { Value::Object(all) }
}

fn ulimits(request: &RunRequest) -> Value {
    let all: Vec<Value> = request
        .ulimits
        .iter()
        .map(|u| json!({ "Name": u.name, "Soft": u.soft, "Hard": u.hard }))
        .collect();
    if all.is_empty() { Value::Null } else { Value::Array(all) }
}
