//! A container as it is stored: what it is ([`Record`], written once) and how
//! it is ([`State`], rewritten at each change).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use rcnt_base::ids::{ContainerId, Digest, Name};
use rcnt_netstack::plan::Mac;
use rcnt_netstack::ports::{ContainerPort, PublishedPort};
use serde::{Deserialize, Deserializer, Serialize};
use time::OffsetDateTime;

use crate::request::{EndpointRequest, RunRequest};

/// Version of `container.json` and `state.json`.
pub const SCHEMA: u32 = 1;

/// A container as the commands see it.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: Name,
    /// What it is.
    pub record: Record,
    /// How it is.
    pub state: State,
}

/// What a container is. `container.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: Name,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// What the user asked for.
    pub request: RunRequest,
    /// The image it was made from.
    pub image_id: Digest,
    /// The request and the image's configuration, merged.
    pub config: ProcessConfig,
    /// Its volumes, in the order they are mounted.
    pub volumes: Vec<VolumeMount>,
    /// The text of `--security-opt seccomp=FILE`, as it was when it was created.
    #[serde(default)]
    pub seccomp_profile: Option<String>,
}

/// What runs: the image's configuration with the request's on top.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessConfig {
    /// ENTRYPOINT in force.
    pub entrypoint: Vec<String>,
    /// CMD in force.
    pub command: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Absolute.
    pub workdir: PathBuf,
    /// As typed, perhaps empty.
    pub user: String,
    /// Inside the container.
    pub hostname: String,
    /// The image's and the request's.
    pub labels: BTreeMap<String, String>,
    /// The image's and the request's.
    pub exposed: BTreeSet<ContainerPort>,
    /// What `stop` sends, checked.
    pub stop_signal: i32,
    /// Seconds until `stop` kills; negative: never.
    pub stop_timeout: i64,
}

impl ProcessConfig {
    /// Entrypoint and command together.
    pub fn args(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.command).cloned().collect()
    }
}

/// A volume of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// Its name; anonymous ones have 64 hex digits.
    pub name: Name,
    /// Made for this container: goes with it.
    pub anonymous: bool,
    /// Where it is mounted.
    pub destination: PathBuf,
    /// Whether a fresh one takes the image's content.
    pub copy: bool,
    /// Whether the container may not write to it.
    pub read_only: bool,
}

/// Docker's words for where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started.
    Created,
    /// Its process runs.
    Running,
    /// Its process has ended.
    Exited,
}

impl Status {
    /// `created`, `running`, `exited`.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Exited => "exited",
        }
    }
}

/// How a container is. `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Where it is in its life.
    pub status: Status,
    /// Its first process on the host; 0 when it does not run.
    pub pid: u32,
    /// Its supervisor; 0 when it does not run.
    pub supervisor: u32,
    /// 128+n after signal n, 125–127 when it could not start.
    pub exit_code: i32,
    /// Why it could not start, or was cleaned up after.
    pub error: String,
    /// Whether the kernel killed something in it for lack of memory.
    pub oom_killed: bool,
    /// When its process last started.
    #[serde(with = "time::serde::rfc3339::option")]
    pub started: Option<OffsetDateTime>,
    /// When its process last ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished: Option<OffsetDateTime>,
    /// Its places on networks while it runs, in the order of its interfaces.
    #[serde(default, alias = "endpoint", deserialize_with = "one_or_many")]
    pub endpoints: Vec<Endpoint>,
    /// What its links say to its processes while it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub linked_env: Vec<String>,
    /// Its published ports while it runs.
    pub ports: Vec<PublishedPort>,
}

impl State {
    /// A container that has never run.
    pub fn created() -> Self {
        Self {
            schema: SCHEMA,
            status: Status::Created,
            pid: 0,
            supervisor: 0,
            exit_code: 0,
            error: String::new(),
            oom_killed: false,
            started: None,
            finished: None,
            endpoints: Vec::new(),
            linked_env: Vec::new(),
            ports: Vec::new(),
        }
    }

    /// Its addresses on networks of ours while it runs.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.endpoints.iter().flat_map(Endpoint::addresses).collect()
    }

    /// This state after the process has ended.
    pub fn exited(self, exit_code: i32, error: &str, oom_killed: bool) -> Self {
        Self {
            status: Status::Exited,
            pid: 0,
            supervisor: 0,
            exit_code,
            error: error.to_owned(),
            oom_killed,
            finished: Some(OffsetDateTime::now_utc()),
            endpoints: Vec::new(),
            linked_env: Vec::new(),
            ports: Vec::new(),
            ..self
        }
    }
}

/// Reads a list, or what stood in its place when there could be but one: that one,
/// or null.
///
/// # Errors
/// Neither.
pub(crate) fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form<T> {
        Many(Vec<T>),
        One(Option<T>),
    }
    Ok(match Form::deserialize(deserializer)? {
        Form::Many(many) => many,
        Form::One(one) => one.into_iter().collect(),
    })
}

/// A place on a bridge network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network's name.
    pub network: Name,
    /// The network's id.
    pub network_id: String,
    /// Docker's EndpointID: 64 hex digits, new at each attach.
    #[serde(default)]
    pub endpoint_id: String,
    /// The interface inside.
    #[serde(default = "first_interface")]
    pub interface: String,
    /// The host's end of the veth pair.
    pub host_interface: String,
    /// Link-layer address inside.
    pub mac: Mac,
    /// Address and prefix length.
    pub address4: (Ipv4Addr, u8),
    /// The network's way out, whether or not the default route leads there; none on
    /// an internal network.
    pub gateway4: Option<Ipv4Addr>,
    /// Address and prefix length.
    pub address6: Option<(Ipv6Addr, u8)>,
    /// As `gateway4`.
    pub gateway6: Option<Ipv6Addr>,
    /// As what it was asked for.
    #[serde(default)]
    pub request: EndpointRequest,
}

impl Endpoint {
    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let addresses = [Some(self.address4.0.into()), self.address6.map(|(a, _)| a.into())];
        addresses.into_iter().flatten()
    }
}

fn first_interface() -> String {
    "eth0".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_from_when_there_was_one_network_load() {
        let mut old = serde_json::to_value(State::created()).unwrap();
        let endpoint = serde_json::json!({
            "network": "bridge", "network_id": "1", "host_interface": "veth1",
            "mac": "02:42:0a:5a:00:02", "address4": ["10.90.0.2", 21], "gateway4": "10.90.0.1",
            "address6": null, "gateway6": null,
        });
        let fields = old.as_object_mut().unwrap();
        fields.remove("endpoints");
        fields.insert("endpoint".into(), endpoint);
        let state: State = serde_json::from_value(old.clone()).unwrap();
        let [endpoint] = &state.endpoints[..] else { panic!("{state:?}") };
        assert_eq!((endpoint.interface.as_str(), endpoint.address4.1), ("eth0", 21));
        old["endpoint"] = serde_json::Value::Null;
        assert_eq!(serde_json::from_value::<State>(old).unwrap(), State::created());
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    }
}
