//! `inspect`'s NetworkSettings: the places of a container, in docker's fields.

use serde_json::{Map, Value, json};

use super::ports;
use crate::Engine;
use crate::container::{Container, Endpoint, Status};
use crate::network;
use crate::request::{EndpointRequest, NetworkMode, is_user_defined};

pub(super) fn of(engine: &Engine, container: &Container) -> Value {
    let state = &container.state;
    let running = state.status == Status::Running;
    // Of the default network alone, as docker's.
    let default = state.endpoints.iter().find(|e| e.network.as_str() == "bridge");
    let mut settings = fields(default);
    let sandbox = match running {
        true => format!("/proc/{}/ns/net", state.pid),
        false => String::new(),
    };
    settings.insert("Bridge".into(), json!(""));
    settings.insert("SandboxID".into(), json!(if running { container.id.as_str() } else { "" }));
    settings.insert("SandboxKey".into(), json!(sandbox));
    settings.insert("HairpinMode".into(), json!(false));
    // Never filled in by docker either, but asked for by templates.
    settings.insert("LinkLocalIPv6Address".into(), json!(""));
    settings.insert("LinkLocalIPv6PrefixLen".into(), json!(0));
    settings.insert("SecondaryIPAddresses".into(), Value::Null);
    settings.insert("SecondaryIPv6Addresses".into(), Value::Null);
    settings.insert("Ports".into(), ports(container));
    settings.insert("Networks".into(), Value::Object(networks(engine, container)));
    Value::Object(settings)
}

fn networks(engine: &Engine, container: &Container) -> Map<String, Value> {
    let state = &container.state;
    let none = |name: &str| {
        let request = EndpointRequest { network: name.to_owned(), ..EndpointRequest::default() };
        let mut one = one(container, &request, None);
        // It has no address there, but is on it.
        if state.status == Status::Running
            && let (Some(one), Ok(network)) = (one.as_object_mut(), engine.find_network(name))
        {
            one.insert("NetworkID".into(), json!(network.id));
            one.insert("EndpointID".into(), json!(container.id));
        }
        Map::from_iter([(name.to_owned(), one)])
    };
    match &network::mode(&engine.paths, container) {
        NetworkMode::None => none("none"),
        NetworkMode::Host => none("host"),
        NetworkMode::Container(_) => Map::new(),
        NetworkMode::Bridge(_) if state.status == Status::Running => state
            .endpoints
            .iter()
            .map(|e| (e.network.to_string(), one(container, &e.request, Some(e))))
            .collect(),
        NetworkMode::Bridge(_) => network::wanted(&engine.paths, container)
            .unwrap_or_default()
            .iter()
            .map(|request| (request.network.clone(), one(container, request, None)))
            .collect(),
    }
}

/// One network: what was asked for and, while it runs, what there is.
fn one(container: &Container, request: &EndpointRequest, endpoint: Option<&Endpoint>) -> Value {
    let EndpointRequest { aliases, links, driver_opts, gw_priority, .. } = request;
    let list = |list: &[String]| if list.is_empty() { Value::Null } else { json!(list) };
    let mut one = fields(endpoint);
    let id = endpoint.map_or("", |e| &e.network_id);
    let names = match is_user_defined(&request.network) {
        true => json!(network::names(container, aliases)),
        false => Value::Null,
    };
    let opts = if driver_opts.is_empty() { Value::Null } else { json!(driver_opts) };
    one.extend([
        ("IPAMConfig".to_owned(), ipam_config(request)),
        ("Links".to_owned(), list(links)),
        ("Aliases".to_owned(), list(aliases)),
        ("DriverOpts".to_owned(), opts),
        ("GwPriority".to_owned(), json!(gw_priority)),
        ("NetworkID".to_owned(), json!(id)),
        ("DNSNames".to_owned(), names),
    ]);
    Value::Object(one)
}

/// Only what was asked for is there.
fn ipam_config(request: &EndpointRequest) -> Value {
    let mut config = Map::new();
    let mut put =
        |key: &str, value: Option<Value>| config.extend(value.map(|v| (key.to_owned(), v)));
    put("IPv4Address", request.ip.map(|ip| json!(ip)));
    put("IPv6Address", request.ip6.map(|ip| json!(ip)));
    let locals = (!request.link_local.is_empty()).then(|| json!(request.link_local));
    put("LinkLocalIPs", locals);
    if config.is_empty() { Value::Null } else { Value::Object(config) }
}

fn fields(endpoint: Option<&Endpoint>) -> Map<String, Value> {
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
