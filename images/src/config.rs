//! The image configuration as the engine reads it: a typed view on the JSON
//! blob whose digest is the image's id (OCI image-spec config.md; docker's own
//! format is the same with a few more fields).
//!
//! Pure: bytes in, struct out. `null`, absent and empty mean the same here, as
//! they do to docker. Unknown fields are ignored; the blob itself is kept as it
//! came, so nothing is lost for those who push it on.

use std::collections::{BTreeMap, BTreeSet};

use rcnt_base::ids::Digest;
use serde::{Deserialize, Deserializer, Serialize};

/// A configuration larger than this is refused: the largest real ones are a few
/// hundred KiB.
pub const CONFIG_MAX: u64 = 8 << 20;

/// Why bytes are not an image configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Over [`CONFIG_MAX`].
    #[error("image configuration of {0} bytes is larger than {CONFIG_MAX}")]
    TooLarge(u64),
    /// Not JSON, too deeply nested, or fields of the wrong type.
    #[error("image configuration is malformed")]
    Malformed(#[source] serde_json::Error),
}

/// What an image says about how to run it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `amd64`, `arm64`… (Go's names).
    #[serde(deserialize_with = "or_default")]
    pub architecture: String,
    /// `linux`.
    #[serde(deserialize_with = "or_default")]
    pub os: String,
    /// The architecture's variant: `v8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// RFC 3339, as written by whoever built the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who built it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// `import`'s and `commit`'s message, docker's field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// How to run it.
    #[serde(deserialize_with = "or_default")]
    pub config: RunConfig,
    /// What it is made of.
    #[serde(deserialize_with = "or_default")]
    pub rootfs: RootFs,
    /// How it was built, oldest step first.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
}

/// The `config` object: defaults for a container made from the image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RunConfig {
    /// `user`, `uid`, `user:group`, `uid:gid`; empty is root.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `80/tcp`, `53/udp`, `8000-8010/tcp`: as written.
    #[serde(deserialize_with = "key_set", serialize_with = "as_empty_objects")]
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`, in order.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Empty: the command alone is run.
    #[serde(deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The default command, or the entrypoint's default arguments.
    #[serde(deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Directories that are to be volumes.
    #[serde(deserialize_with = "key_set", serialize_with = "as_empty_objects")]
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// Empty is `/`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels. They never configure the host (CVE-2026-53488).
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `SIGTERM`, `15`…; as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Seconds `stop` waits before SIGKILL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// How to tell whether the container is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// The shell of a Dockerfile's shell form.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// Dockerfile instructions for images built from this one.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
}

/// docker's HEALTHCHECK. Times are in nanoseconds, 0 means docker's default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", "…"]`.
    #[serde(deserialize_with = "or_default")]
    pub test: Vec<String>,
    /// Between checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// For one check.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Failures in this time after the start do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between checks during the start period.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row until unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// The layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layer archives.
    #[serde(deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// One build step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryEntry {
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who ran it.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// A remark.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The step made no layer.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// Reads a configuration blob.
    ///
    /// # Errors
    /// Too large or not what the format says; nesting is bounded by the parser.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() as u64 > CONFIG_MAX {
            return Err(ConfigError::TooLarge(bytes.len() as u64));
        }
        serde_json::from_slice(bytes).map_err(ConfigError::Malformed)
    }

    /// The configuration as a blob, for images made here.
    ///
    /// # Errors
    /// None in practice: every field has a JSON form.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

/// `null` is the default value.
fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// A list of words; images from docker's first years have one string.
fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Option::<Words>::deserialize(from)? {
        None => Vec::new(),
        Some(Words::One(word)) => vec![word],
        Some(Words::Many(words)) => words,
    })
}

/// `{"80/tcp": {}}` is a set of its keys.
fn key_set<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<String>, D::Error> {
    let map = Option::<BTreeMap<String, serde::de::IgnoredAny>>::deserialize(from)?;
    Ok(map.unwrap_or_default().into_keys().collect())
}

fn as_empty_objects<S: serde::Serializer>(
    set: &BTreeSet<String>,
    to: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Empty {}
    to.collect_map(set.iter().map(|key| (key, Empty {})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_own_configuration_is_read() {
        let json = br#"{"architecture":"amd64","os":"linux","created":"2024-05-01T10:00:00.5Z",
          "container":"x","docker_version":"20.10",
          "config":{"Hostname":"","User":"www:www","ExposedPorts":{"80/tcp":{},"53/udp":{}},
            "Env":["PATH=/bin","A=b=c"],"Entrypoint":["/e"],"Cmd":["a","b"],"Volumes":{"/data":{}},
            "WorkingDir":"/w","Labels":{"k":"v"},"StopSignal":"SIGQUIT","OnBuild":null,
            "Healthcheck":{"Test":["CMD-SHELL","x"],"Interval":30000000000,"Retries":3}},
          "rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},
          "history":[{"created":"2024-05-01T10:00:00Z","created_by":"COPY","empty_layer":true}]}"#;
        let image = ImageConfig::parse(json).unwrap();
        assert_eq!(image.config.exposed_ports.iter().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert_eq!(image.config.env, ["PATH=/bin", "A=b=c"]);
        assert_eq!(image.config.stop_signal.as_deref(), Some("SIGQUIT"));
        assert_eq!(image.config.healthcheck.as_ref().unwrap().retries, 3);
        assert_eq!(image.rootfs.diff_ids.len(), 1);
        assert!(image.history[0].empty_layer);
        let again = ImageConfig::parse(&image.to_json().unwrap()).unwrap();
        assert_eq!(again, image);
    }

    #[test]
    fn nulls_and_absence_are_empty() {
        let json = br#"{"config":{"Entrypoint":null,"Cmd":"sh","Env":null,"Volumes":null,"Labels":null},"history":null}"#;
        let image = ImageConfig::parse(json).unwrap();
        assert!(image.config.entrypoint.is_empty() && image.config.volumes.is_empty());
        assert_eq!(image.config.cmd, ["sh"]);
        assert_eq!(ImageConfig::parse(br#"{"config":null}"#).unwrap().config, RunConfig::default());
    }

    #[test]
    fn deep_and_wrong_json_is_refused_not_followed() {
        let deep = format!("{{\"history\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(ImageConfig::parse(deep.as_bytes()), Err(ConfigError::Malformed(_))));
        // Nobody reads an unknown field, however deep; passing over it takes no stack.
        let unknown = deep.replace("history", "unknown");
        assert!(ImageConfig::parse(unknown.as_bytes()).is_ok());
        let bad = br#"{"rootfs":{"type":"layers","diff_ids":["sha256:../../etc"]}}"#;
        assert!(ImageConfig::parse(bad).is_err());
        let large = vec![b' '; CONFIG_MAX as usize + 1];
        assert!(matches!(ImageConfig::parse(&large), Err(ConfigError::TooLarge(_))));
    }
}
