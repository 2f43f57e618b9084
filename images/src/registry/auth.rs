//! Proving who we are: from a 401 to an `Authorization` header.
//!
//! A challenge counts only when the registry itself sent it (not a host it
//! redirects to). A token is asked for this repository and pulling, never for
//! what the challenge would like. A stored password goes to the registry or to
//! a token service of its own domain, over TLS unless the registry itself is
//! talked to in plain HTTP.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use ureq::http::{HeaderMap, StatusCode, Uri, header};

use super::challenge::{self, Challenge};
use super::credentials::{self, Credentials};
use super::error::{RegistryError, Said};
use super::http::{Ask, BodyError, Http, HttpError, read_document};
use super::url::{self, Origin};

/// Tokens are a few KiB; the document around one is not much more.
const TOKEN_MAX: u64 = 1 << 20;
/// How long the token document may take once its head is there.
const TOKEN_PATIENCE: Duration = Duration::from_secs(30);

/// Whom we prove ourselves to, and for what.
#[derive(Debug)]
pub(super) struct Auth {
    /// As the user wrote it: the key of the stored password.
    pub(super) registry: String,
    /// The repository path.
    pub(super) repository: String,
    /// The repository as docker shows it.
    pub(super) name: String,
    header: Mutex<Option<String>>,
}

impl Auth {
    pub(super) fn new(registry: &str, repository: &str, name: String) -> Self {
        let (registry, repository) = (registry.to_owned(), repository.to_owned());
        Self { registry, repository, name, header: Mutex::new(None) }
    }

    /// The header to send now, if any is known to be wanted.
    pub(super) fn header(&self) -> Option<String> {
        self.header.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers the challenge that a request with `used` met. Threads that meet
    /// it together ask for one token.
    pub(super) fn answer(
        &self,
        http: &Http,
        origin: &Origin,
        headers: &HeaderMap,
        used: Option<&str>,
    ) -> Result<(), RegistryError> {
        let mut header = self.header.lock().unwrap_or_else(PoisonError::into_inner);
        if header.as_deref() != used {
            return Ok(());
        }
        let challenges: Vec<Challenge> = headers
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(challenge::parse)
            .collect();
        let bearer = challenges.iter().find(|c| matches!(c, Challenge::Bearer { .. }));
        *header = match bearer.or(challenges.first()) {
            None => return Err(self.denied()),
            Some(Challenge::Basic) => {
                Some(self.credentials(http)?.ok_or_else(|| self.denied())?.basic())
            }
            Some(Challenge::Bearer { realm, service }) => {
                Some(self.token(http, origin, realm, service.as_deref())?)
            }
        };
        Ok(())
    }

    fn denied(&self) -> RegistryError {
        RegistryError::Denied { name: self.name.clone(), said: Said::default() }
    }

    fn credentials(&self, http: &Http) -> Result<Option<Credentials>, RegistryError> {
        let path = http.options().docker_config.clone().or_else(credentials::default_path);
        Ok(match path {
            Some(path) => credentials::find(&path, &self.registry)?,
            None => None,
        })
    }

    fn token(
        &self,
        http: &Http,
        registry: &Origin,
        realm: &str,
        service: Option<&str>,
    ) -> Result<String, RegistryError> {
        let shown: String = realm.chars().take(200).collect();
        let failed = |why: String| RegistryError::Token {
            registry: self.registry.clone(),
            realm: shown.clone(),
            why,
        };
        let (url, origin) =
            self.token_url(realm, service).ok_or_else(|| failed("not a URL".into()))?;
        if registry.https && !origin.https {
            return Err(failed("it is not https".into()));
        }
        let password = self.credentials(http)?;
        let trusted = challenge::may_hear_password(&origin.host, &registry.host)
            || http.options().trusted_realms.iter().any(|r| r.eq_ignore_ascii_case(&origin.host));
        if password.is_some() && !trusted {
            let registry = self.registry.clone();
            return Err(RegistryError::ForeignRealm { registry, realm: origin.host });
        }
        log::debug!(
            "asking {origin} for a token{}",
            if password.is_some() { " as a user" } else { "" }
        );
        let body = self.ask_realm(http, &url, password, &failed)?;
        parse_token(&body).map(|token| format!("Bearer {token}")).map_err(|why| failed(why.into()))
    }

    /// The token service's document.
    fn ask_realm(
        &self,
        http: &Http,
        url: &Uri,
        password: Option<Credentials>,
        failed: &dyn Fn(String) -> RegistryError,
    ) -> Result<Vec<u8>, RegistryError> {
        let basic = password.map(|p| p.basic());
        let ask = Ask { authorization: basic.as_deref(), ..Ask::default() };
        let answer = http.get(url, &ask).map_err(|e| match e {
            HttpError::Io(_, e) | HttpError::Tls(_, e) => failed(e.to_string()),
            HttpError::Redirect(why) => failed(format!("it redirects {why}")),
        })?;
        let status = answer.response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(self.denied());
        }
        if !status.is_success() {
            return Err(failed(format!("it answered {}", status.as_u16())));
        }
        read_document(answer.response, TOKEN_MAX, TOKEN_PATIENCE).map_err(|e| match e {
            BodyError::TooLarge => failed(format!("more than {TOKEN_MAX} bytes came")),
            BodyError::Io(e) => failed(e.to_string()),
        })
    }

    /// The realm's address with our question in it.
    fn token_url(&self, realm: &str, service: Option<&str>) -> Option<(Uri, Origin)> {
        let joint = if realm.contains('?') { '&' } else { '?' };
        let mut text = format!(
            "{realm}{joint}scope={}",
            url::encode(&format!("repository:{}:pull", self.repository))
        );
        if let Some(service) = service {
            text.push_str("&service=");
            text.push_str(&url::encode(service));
        }
        let url: Uri = text.parse().ok()?;
        let origin = Origin::of(&url)?;
        Some((url, origin))
    }
}

/// The token of a token service's document.
fn parse_token(body: &[u8]) -> Result<String, &'static str> {
    #[derive(Deserialize)]
    struct Document {
        token: Option<String>,
        access_token: Option<String>,
    }
    let document: Document =
        serde_json::from_slice(body).map_err(|_| "it did not answer with a token document")?;
    let token = document.token.or(document.access_token).unwrap_or_default();
    // RFC 6750, 2.1: what may stand in the header; nothing can end it early.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if token.is_empty() || !token.bytes().all(plain) {
        return Err("it did not answer with a usable token");
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_by_either_name_and_must_fit_a_header() {
        assert_eq!(parse_token(br#"{"token":"a.b-c"}"#).unwrap(), "a.b-c");
        assert_eq!(parse_token(br#"{"access_token":"x=","expires_in":60}"#).unwrap(), "x=");
        for bad in [r#"{}"#, r#"{"token":""}"#, r#"{"token":"a\r\nX: y"}"#, "[", r#"{"token":1}"#] {
            assert!(parse_token(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_question_names_our_repository_and_pulling_only() {
        let auth = Auth::new("r", "a/b", "r/a/b".into());
        let (url, origin) = auth.token_url("https://h/t?x=1", Some("a&b c")).unwrap();
        assert_eq!(url.to_string(), "https://h/t?x=1&scope=repository:a/b:pull&service=a%26b%20c");
        assert_eq!(origin.to_string(), "https://h");
        for bad in ["", "token", "/token", "file:///etc/passwd", "https://"] {
            assert!(auth.token_url(bad, None).is_none(), "{bad}");
        }
    }
}
