//! User names and passwords from docker's `config.json` (`auths`).
//!
//! Read only after a registry has asked for them, handed only to the registry
//! they were stored for. Credential helpers (`credsStore`, `credHelpers`) are
//! other programs and are not run here.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use crate::reference::DEFAULT_REGISTRY;

/// Docker Hub's key in config.json, from the days of the first registry protocol.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The most of config.json that is read.
const CONFIG_MAX: u64 = 1 << 20;

/// docker writes padded base64; hand-made files often lack the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);

/// A user name and password. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    user: String,
    password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// The value of an `Authorization` header (RFC 7617).
    pub(super) fn basic(&self) -> String {
        format!("Basic {}", BASE64.encode(format!("{}:{}", self.user, self.password)))
    }
}

/// config.json cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot read registry credentials from {path}")]
pub struct CredentialsError {
    path: String,
    #[source]
    source: io::Error,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// Where docker keeps it: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
pub(super) fn default_path() -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os("DOCKER_CONFIG") {
        return Some(Path::new(&dir).join("config.json"));
    }
    std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker/config.json"))
}

/// What `path` holds for `registry`; a file that is not there holds nothing.
pub(super) fn find(path: &Path, registry: &str) -> Result<Option<Credentials>, CredentialsError> {
    let wrong = |source| CredentialsError { path: path.display().to_string(), source };
    let mut text = Vec::new();
    match File::open(path).and_then(|f| f.take(CONFIG_MAX).read_to_end(&mut text)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(wrong(e)),
        Ok(_) => {}
    }
    let config: DockerConfig = serde_json::from_slice(&text).map_err(|e| wrong(e.into()))?;
    pick(&config, registry).map_err(wrong)
}

fn pick(config: &DockerConfig, registry: &str) -> io::Result<Option<Credentials>> {
    let hub = registry == DEFAULT_REGISTRY;
    let entry = match config.auths.get(if hub { HUB_KEY } else { registry }) {
        Some(entry) => Some(entry),
        // Older clients wrote whole addresses; only the host part counts, and it must be all of it.
        None => config.auths.iter().find(|(key, _)| host_part(key) == registry).map(|(_, e)| e),
    };
    let Some(entry) = entry else { return Ok(None) };
    match (&entry.auth, &entry.username, &entry.password) {
        (Some(auth), _, _) if !auth.is_empty() => decode(auth).map(Some),
        (_, Some(user), Some(password)) => {
            Ok(Some(Credentials { user: user.clone(), password: password.clone() }))
        }
        _ => Ok(None),
    }
}

fn host_part(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
    bare.split('/').next().unwrap_or(bare)
}

fn decode(auth: &str) -> io::Result<Credentials> {
    // The text itself is a secret: the error must not quote it.
    let wrong =
        || io::Error::new(io::ErrorKind::InvalidData, "an \"auth\" is not base64 of user:password");
    let bytes = BASE64.decode(auth.trim()).map_err(|_| wrong())?;
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    let (user, password) = text.split_once(':').ok_or_else(wrong)?;
    // docker pads with NULs where it once padded badly.
    let password = password.trim_matches('\0').to_owned();
    Ok(Credentials { user: user.to_owned(), password })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(json: &str, registry: &str) -> Option<String> {
        let config = serde_json::from_str(json).unwrap();
        pick(&config, registry).unwrap().map(|c| c.basic())
    }

    #[test]
    fn entries_are_found_by_the_whole_host_and_port() {
        let json = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
            "reg.test:5000": {"auth": "dTpwOnc"},
            "https://old.test/v2/": {"username": "u", "password": "p"},
            "empty.test": {}}, "credsStore": "x"}"#;
        assert_eq!(header(json, "docker.io").unwrap(), "Basic aHViOnB3");
        assert_eq!(header(json, "reg.test:5000").unwrap(), "Basic dTpwOnc=");
        assert_eq!(header(json, "old.test").unwrap(), "Basic dTpw");
        for stranger in ["reg.test", "reg.test:5001", "evil-reg.test:5000", "empty.test", "test"] {
            assert_eq!(header(json, stranger), None, "{stranger}");
        }
    }

    #[test]
    fn damaged_secrets_are_not_quoted() {
        let config = serde_json::from_str(r#"{"auths": {"r": {"auth": "s3cret!"}}}"#).unwrap();
        let error = pick(&config, "r").unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
        let shown = format!("{:?}", decode("dTpw").unwrap());
        assert!(!shown.contains('u') || !shown.contains("\"p\""), "{shown}");
    }

    #[test]
    fn a_missing_file_is_anonymous_and_a_broken_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        assert_eq!(find(&path, "r").unwrap(), None);
        rcnt_base::files::write_atomic(&path, b"{", rcnt_base::files::Durability::Volatile)
            .unwrap();
        assert!(find(&path, "r").unwrap_err().to_string().contains("config.json"));
    }
}
